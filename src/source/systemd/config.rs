//! The table `[systemd.NAME]`.

use std::collections::BTreeSet;

use crate::base::table::Placed;
use crate::base::{Node, Problems, Table};
use crate::source::common::{Common, Defaults};
use crate::source::log::journal::Unit;

/// The most units of one table.
pub const MAX_UNITS: usize = 500;

/// The table `[systemd.NAME]`.
#[derive(Clone, Debug)]
pub struct Config {
    /// What all sources take.
    pub common: Common,
    /// Whole names of units, each once.
    pub units: Vec<String>,
}

impl Config {
    /// Reads the table of `name`; none when it cannot be used.
    pub fn read(name: &str, node: &Node, defaults: &Defaults, problems: &mut Problems) -> Option<Config> {
        let what = format!("[systemd.{name}]");
        let mut table = Table::open(node, &what, problems)?;
        let common = Common::read("systemd", name, &mut table, defaults, problems);
        if let Some(node) = table.node("interval").filter(|_| common.manual) {
            problems
                .error(&node.place, "units are told of, not looked at when asked", "`manual` has no meaning here")
                .help("leave out `interval`, or write a duration: how often all is looked at beside that");
        }
        let units = read_units(&mut table, problems);
        if let (Some(key), true) = (table.key_place("service"), units.as_ref().is_some_and(|units| units.len() > 1)) {
            problems
                .error(key, "`service` means one unit", "here are several, each a service of its own")
                .help("leave it out: the label `service` is the unit's name without its kind");
        }
        table.finish(problems);
        Some(Config { common, units: units? })
    }

    /// The label `service` of a unit.
    pub fn service(&self, unit: &str) -> String {
        match self.units.len() {
            1 => self.common.service.clone(),
            _ => unit.rsplit_once('.').map_or(unit, |(service, _)| service).to_string(),
        }
    }
}

fn read_units(table: &mut Table<'_>, problems: &mut Problems) -> Option<Vec<String>> {
    let (one, several) = (table.node("unit").is_some(), table.node("units"));
    let written: Vec<Placed<String>> = match (one, several) {
        (true, Some(node)) => {
            problems.error(&node.place, "`unit` and `units` stand beside each other", "one of them is enough");
            return None;
        }
        (_, Some(_)) => table.get("units", problems)?,
        (_, None) => vec![table.required("unit", "\"shop.service\"", problems)?],
    };
    let node = table.node("units");
    if let Some(node) = node.filter(|_| written.is_empty() || written.len() > MAX_UNITS) {
        problems.error(&node.place, format!("a table has 1 to {MAX_UNITS} units"), format!("{} here", written.len()));
        return None;
    }
    let before = problems.list.len();
    let mut known = BTreeSet::new();
    let mut units = Vec::new();
    for Placed { value, place } in written {
        match parse(&value) {
            Ok(unit) if known.insert(unit.clone()) => units.push(unit),
            Ok(unit) => drop(problems.error(&place, format!("`{unit}` stands here twice"), "once is enough")),
            Err((why, help)) => drop(problems.error(&place, why, "").help(help)),
        }
    }
    (problems.list.len() == before).then_some(units)
}

/// The whole name of a unit; one without a kind is that of a service.
fn parse(text: &str) -> Result<String, (String, String)> {
    const EXAMPLES: &str = "for example: \"shop.service\", \"worker@1.service\", \"backup.timer\"";
    if text.starts_with('/') {
        let why = format!("`{}` is a path", text.escape_default());
        return Err((
            why,
            "the unit of a mount point is named as `systemd-escape --path --suffix=mount` prints it".into(),
        ));
    }
    let unit = Unit::parse(text).map_err(|why| (why, EXAMPLES.to_string()))?;
    if unit.is_pattern() {
        return Err((format!("`{text}` is a pattern"), format!("name each unit; {EXAMPLES}")));
    }
    if unit.name().starts_with('@') {
        return Err((format!("`{text}` is no name of a unit: nothing stands before its `@`"), EXAMPLES.into()));
    }
    if unit.name().contains("@.") {
        return Err((format!("`{text}` is a template and no unit"), format!("name an instance of it; {EXAMPLES}")));
    }
    Ok(unit.name().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::{defaults, read};

    fn config(toml: &str) -> (Option<Config>, Vec<String>) {
        read(toml, |node, problems| Config::read("shop", node, &defaults(), problems))
    }

    #[test]
    fn units_are_named_with_or_without_their_kind() {
        for (toml, units, services) in [
            ("unit = \"shop\"", vec!["shop.service"], vec!["shop"]),
            ("unit = \"shop.service\"\nservice = \"api\"", vec!["shop.service"], vec!["api"]),
            ("units = [\"worker@1\", \"a.timer\"]", vec!["worker@1.service", "a.timer"], vec!["worker@1", "a"]),
            ("units = [\"srv-a\\\\x2db.mount\"]", vec!["srv-a\\x2db.mount"], vec!["shop"]),
        ] {
            let (config, problems) = config(toml);
            assert_eq!(problems, Vec::<String>::new(), "{toml}");
            let config = config.unwrap();
            assert_eq!(config.units, units, "{toml}");
            assert_eq!(units.iter().map(|unit| config.service(unit)).collect::<Vec<_>>(), services, "{toml}");
        }
    }

    #[test]
    fn every_mistake_is_named() {
        let many = format!("units = [{}]", (0..501).map(|n| format!("\"u{n}\",")).collect::<String>());
        for (toml, wanted) in [
            ("", "[systemd.shop] needs `unit`"),
            ("unit = 1", "this takes a string"),
            ("unit = \"a\"\nunits = [\"b\"]", "`unit` and `units` stand beside each other"),
            ("units = []", "a table has 1 to 500 units"),
            (&many, "a table has 1 to 500 units"),
            ("units = [\"a\", \"a.service\"]", "`a.service` stands here twice"),
            ("unit = \"shop-*\"", "`shop-*` is a pattern"),
            ("unit = \"worker@.service\"", "`worker@.service` is a template and no unit"),
            ("unit = \"@1\"", "`@1` is no name of a unit: nothing stands before its `@`"),
            ("unit = \"/srv/data\"", "`/srv/data` is a path"),
            ("unit = \"a b\"", "`a b` is no name of a unit: it has ` `"),
            ("unit = \"\"", "the name of a unit has 1 to 255 bytes"),
            ("units = [\"a\", \"b\"]\nservice = \"x\"", "`service` means one unit"),
            ("unit = \"a\"\ninterval = \"manual\"", "units are told of, not looked at when asked"),
            ("unit = \"a\"\nfollow = true", "unknown key `follow`"),
        ] {
            assert_eq!(config(toml).1, [wanted], "{toml}");
        }
    }
}

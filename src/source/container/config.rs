//! The table `[container.NAME]`.

use std::collections::BTreeSet;

use super::meant::Meant;
use crate::base::table::Placed;
use crate::base::{Node, Problems, Span, Table};
use crate::source::common::{Common, Defaults};
use crate::sys::engine::told::MAX_NAME;

/// The most services or containers of one table.
pub const MAX_DECLARED: usize = 200;

/// How long something may be missing where nothing is said.
const GRACE: Span = Span::secs(30);

/// The longest that something may be missing without a word.
const MAX_GRACE: Span = Span::hours(1);

/// The table `[container.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What all sources take.
    pub common: Common,
    /// Whether the table itself names the label `service`.
    pub has_service: bool,
    /// Which containers.
    pub meant: Meant,
    /// How long something may be missing, or unknown, before that is a failure.
    pub grace: Span,
}

impl Config {
    /// Reads the table of `name`; none when it cannot be used.
    pub fn read(name: &str, node: &Node, defaults: &Defaults, problems: &mut Problems) -> Option<Config> {
        let what = format!("[container.{name}]");
        let mut table = Table::open(node, &what, problems)?;
        refuse_manual(&mut table, problems);
        let common = Common::read("container", name, &mut table, defaults, problems);
        let meant = read_meant(&mut table, &what, problems);
        let has_service = table.key_place("service").is_some();
        let grace = read_grace(&mut table, problems);
        if let (Some(meant), Some(place)) = (&meant, table.key_place("service"))
            && meant.declared().len() != 1
        {
            problems
                .error(place, "`service` is the label of one target, and this table has several", "of which?")
                .help("leave it out: each service of the project is its own label");
        }
        table.finish(problems);
        Some(Config { common, has_service, meant: meant?, grace })
    }
}

/// The engine tells what happens: there is nothing to wait to be asked for.
fn refuse_manual(table: &mut Table<'_>, problems: &mut Problems) {
    let is_manual = table
        .node("interval")
        .is_some_and(|node| matches!(&node.value, crate::base::table::Value::Text(text) if text == "manual"));
    if is_manual && let Some(place) = table.key_place("interval") {
        problems
            .error(place, "containers are not looked at by hand", "the engine tells what happens to them")
            .help("write how often their figures are read: interval = \"15s\"");
    }
}

fn read_meant(table: &mut Table<'_>, what: &str, problems: &mut Problems) -> Option<Meant> {
    let written: Vec<&str> = ["project", "names"].into_iter().filter(|key| table.node(key).is_some()).collect();
    let [key] = written.as_slice() else {
        let label = if written.is_empty() { "neither is here" } else { "both are here" };
        problems.error(table.place(), format!("{what} takes either `project` or `names`"), label).help(
            "project = \"shop\" for the services of a compose project, names = [\"redis\"] for containers by name",
        );
        // What else is wrong is said at once.
        for key in ["project", "services", "names"] {
            table.node(key);
        }
        return None;
    };
    if *key == "names" {
        if table.node("services").is_some()
            && let Some(place) = table.key_place("services")
        {
            problems.error(place, "`services` are those of a `project`", "there is none here").help("write names only");
        }
        return read_names(table, "names", problems).map(Meant::Names);
    }
    let project: Placed<String> = table.get("project", problems)?;
    let services = match table.node("services") {
        Some(_) => read_names(table, "services", problems)?,
        None => BTreeSet::new(),
    };
    if let Err(why) = name_is_good(&project.value) {
        problems.error(&project.place, why, "no name").help("write the name that `docker compose ls` shows");
        return None;
    }
    Some(Meant::Project { project: project.value, services })
}

fn read_names(table: &mut Table<'_>, key: &str, problems: &mut Problems) -> Option<BTreeSet<String>> {
    let names: Vec<Placed<String>> = table.get(key, problems)?;
    let mut all = BTreeSet::new();
    for Placed { value, place } in &names {
        if let Err(why) = name_is_good(value) {
            problems.error(place, why, "no name").help("one name for each, as `docker ps` shows it");
        } else if !all.insert(value.clone()) {
            problems.error(place, format!("`{value}` stands here twice"), "again");
        }
    }
    let wrong = match all.len() {
        0 if names.is_empty() => format!("`{key}` names nothing"),
        n if n > MAX_DECLARED => format!("`{key}` names more than {MAX_DECLARED}"),
        0 => return None,
        _ => return Some(all),
    };
    if let Some(place) = table.key_place(key) {
        problems.error(place, wrong, "a list of names");
    }
    None
}

fn name_is_good(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("a name is empty"),
        _ if name.len() > MAX_NAME => Err("a name has at most 128 characters"),
        _ if name.contains('/') => Err("a name has no `/`: the project and its services are two keys"),
        _ if name.contains(['*', '?']) => {
            Err("`*` and `?` mean nothing in a name: a `project` alone means all its services")
        }
        _ if name.chars().any(|c| c.is_control() || c.is_whitespace()) => Err("a name has no spaces"),
        _ => Ok(()),
    }
}

fn read_grace(table: &mut Table<'_>, problems: &mut Problems) -> Span {
    let grace = table.or("grace", GRACE, problems);
    if (Span::ZERO..=MAX_GRACE).contains(&grace) {
        return grace;
    }
    if let Some(node) = table.node("grace") {
        let title = format!("`grace` is at most {MAX_GRACE}");
        problems.error(&node.place, title, "longer, and nobody would hear of it");
    }
    GRACE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::{defaults, read};

    fn config(toml: &str) -> (Option<Config>, Vec<String>) {
        read(toml, |node, problems| Config::read("shop", node, &defaults(), problems))
    }

    #[test]
    fn a_table_means_a_project_some_of_its_services_or_containers_by_name() {
        let names = |all: &[&str]| all.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        for (toml, wanted) in [
            ("project = \"shop\"", Meant::Project { project: "shop".into(), services: names(&[]) }),
            (
                "project = \"shop\"\nservices = [\"web\", \"api\"]\ngrace = \"1m\"",
                Meant::Project { project: "shop".into(), services: names(&["api", "web"]) },
            ),
            ("names = [\"redis\"]\nservice = \"cache\"", Meant::Names(names(&["redis"]))),
        ] {
            let (config, problems) = config(toml);
            assert_eq!(problems, Vec::<String>::new(), "{toml}");
            assert_eq!(config.unwrap().meant, wanted, "{toml}");
        }
        assert_eq!(config("project = \"shop\"").0.unwrap().grace, Span::secs(30));
        assert!(config("names = [\"redis\"]\nservice = \"cache\"").0.unwrap().has_service);
    }

    #[test]
    fn every_mistake_is_named() {
        for (toml, wanted) in [
            ("", "[container.shop] takes either `project` or `names`"),
            ("project = \"a\"\nnames = [\"b\"]", "[container.shop] takes either `project` or `names`"),
            ("services = [\"b\"]", "[container.shop] takes either `project` or `names`"),
            ("project = \"\"", "a name is empty"),
            ("project = \"a/b\"", "a name has no `/`: the project and its services are two keys"),
            ("project = \"a\"\nservices = []", "`services` names nothing"),
            ("project = \"a\"\nservices = \"b\"", "this takes a list"),
            ("project = \"a\"\nservices = [\"b\", \"b\"]", "`b` stands here twice"),
            ("names = [\"a b\"]", "a name has no spaces"),
            ("names = [\"a*\"]", "`*` and `?` mean nothing in a name: a `project` alone means all its services"),
            ("names = [\"b\"]\nservices = [\"c\"]", "`services` are those of a `project`"),
            ("project = \"a\"\nservice = \"b\"", "`service` is the label of one target, and this table has several"),
            (
                "names = [\"a\", \"b\"]\nservice = \"b\"",
                "`service` is the label of one target, and this table has several",
            ),
            ("project = \"a\"\ngrace = \"2h\"", "`grace` is at most 1h"),
            ("project = \"a\"\ngrace = 5", "`5` has no unit"),
            ("project = \"a\"\ninterval = \"manual\"", "containers are not looked at by hand"),
            ("project = \"a\"\nservces = [\"b\"]", "unknown key `servces`"),
        ] {
            let (_, problems) = config(toml);
            assert_eq!(problems, [wanted], "{toml}");
        }
    }
}

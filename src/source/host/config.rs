//! The table `[host]`.

use super::processes::{MAX_NAME, MAX_NAMES};
use crate::base::table::Placed;
use crate::base::{Node, Problems, Span, Table};
use crate::source::common::{Common, Defaults};

/// The table `[host]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What all sources take.
    pub common: Common,
    /// Mountpoints that are left out; `*` stands for any characters, `?` for one.
    pub ignore: Vec<String>,
    /// Processes that are looked for, by the name that `ps -o comm` shows.
    pub processes: Vec<String>,
}

impl Config {
    /// How often it looks where nothing is said.
    pub const INTERVAL: Span = Span::secs(10);

    /// Reads the table; `name` is `host`.
    pub fn read(name: &str, node: &Node, defaults: &Defaults, problems: &mut Problems) -> Option<Config> {
        let mut table = Table::open(node, "[host]", problems)?;
        let defaults = Defaults { interval: Config::INTERVAL, ..defaults.clone() };
        let common = Common::read("host", name, &mut table, &defaults, problems);
        let ignore = read_ignore(&mut table, problems);
        let processes = read_processes(&mut table, problems);
        table.finish(problems);
        Some(Config { common, ignore, processes })
    }
}

fn read_ignore(table: &mut Table<'_>, problems: &mut Problems) -> Vec<String> {
    let Some(mut disks) = table.node("disks").and_then(|node| Table::open(node, "`disks`", problems)) else {
        return Vec::new();
    };
    let ignore: Vec<Placed<String>> = disks.or("ignore", Vec::new(), problems);
    disks.finish(problems);
    for pattern in &ignore {
        if !pattern.value.starts_with(['/', '*', '?']) {
            problems
                .error(&pattern.place, format!("`{}` fits no mountpoint", pattern.value), "does not begin with `/`")
                .help("write the mountpoint as `df` shows it: \"/mnt\"; \"/mnt/*\" is everything below it");
        }
    }
    ignore.into_iter().map(|pattern| pattern.value).collect()
}

fn read_processes(table: &mut Table<'_>, problems: &mut Problems) -> Vec<String> {
    let names: Vec<Placed<String>> = table.or("processes", Vec::new(), problems);
    let kept = |name: &str| name.as_bytes()[..name.len().min(MAX_NAME)].to_vec();
    let mut seen: Vec<Vec<u8>> = Vec::new();
    for name in &names {
        if name.value.is_empty() || name.value.contains(['/', '\n']) {
            problems
                .error(&name.place, "this is no name of a process", "not a name")
                .help("write the name that `ps -o comm` shows, without a path: \"nginx\"");
        } else if name.value.contains(['*', '?']) {
            problems
                .error(&name.place, format!("`{}` would be compared as it stands", name.value), "no wildcards here")
                .help("write each name in full, as `ps -o comm` shows it: [\"nginx\", \"php-fpm8.2\"]");
        } else if seen.contains(&kept(&name.value)) {
            problems
                .error(&name.place, format!("`{}` is like a name before it", name.value), "cannot be told apart")
                .help(format!("the kernel keeps {MAX_NAME} bytes of the name of a process"));
        } else if seen.len() == MAX_NAMES {
            problems
                .error(&name.place, format!("more than {MAX_NAMES} names of processes"), "one too many")
                .help("name those whose end or growth would matter");
            break;
        } else {
            seen.push(kept(&name.value));
        }
    }
    names.into_iter().map(|name| name.value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::{defaults, read};

    #[test]
    fn the_table_is_read() {
        let toml = "processes = [\"nginx\", \"prometheus-node-exporter\"]\ndisks = { ignore = [\"/mnt/*\"] }";
        let (config, problems) = read(toml, |node, problems| Config::read("host", node, &defaults(), problems));
        assert_eq!(problems, Vec::<String>::new());
        let config = config.unwrap();
        assert_eq!(config.common.interval, Span::secs(10));
        assert_eq!(config.ignore, ["/mnt/*"]);
        assert_eq!(config.processes, ["nginx", "prometheus-node-exporter"]);
    }

    #[test]
    fn every_mistake_of_the_table_is_named() {
        let many: Vec<String> = (0..70).map(|n| format!("\"p{n}\"")).collect();
        let many = format!("processes = [{}]", many.join(","));
        for (toml, wanted) in [
            ("disks = { ignored = [] }", "unknown key `ignored`"),
            ("disks = [\"/x\"]", "`disks` is a table"),
            ("disks = { ignore = \"/x\" }", "this takes a list"),
            ("disks = { ignore = [\"mnt\"] }", "`mnt` fits no mountpoint"),
            ("disks = { ignore = [\"/mnt\", \"*/old\", \"\"] }", "`` fits no mountpoint"),
            ("processes = [\"ngi*\"]", "`ngi*` would be compared as it stands"),
            ("processes = [\"php-fpm8.?\"]", "`php-fpm8.?` would be compared as it stands"),
            ("process = [\"nginx\"]", "unknown key `process`"),
            ("processes = \"nginx\"", "this takes a list"),
            ("processes = [1]", "this takes a string"),
            ("processes = [\"\"]", "this is no name of a process"),
            ("processes = [\"/usr/sbin/nginx\"]", "this is no name of a process"),
            ("processes = [\"nginx\", \"nginx\"]", "`nginx` is like a name before it"),
            (
                "processes = [\"prometheus-node-exporter\", \"prometheus-node-x\"]",
                "`prometheus-node-x` is like a name before it",
            ),
            (&many, "more than 64 names of processes"),
        ] {
            let (_, problems) = read(toml, |node, problems| Config::read("host", node, &defaults(), problems));
            assert_eq!(problems, [wanted], "{toml}");
        }
    }
}

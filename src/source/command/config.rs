//! The table `[command.NAME]`.

use std::path::PathBuf;

use super::inside::Service;
use super::secretive;
use crate::base::table::{Entry, Placed, Read, Size, Value, wrong_kind};
use crate::base::{Node, Place, Problems, SecretRef, Table};
use crate::source::common::{Common, Defaults};
use crate::source::expect::{Expectation, Kind, Measure, read_expect, read_values};
use crate::sys::files;
use crate::sys::process;
use crate::sys::program::{self, Flaw};

/// The most that a configuration may let a program print, in bytes: it is held in memory as a whole.
const MAX_OUTPUT: Size = Size(4 << 20);

/// The most samples of one look that a configuration may allow.
const MAX_SAMPLES: u32 = 50_000;

/// The most arguments, and the most variables of the environment.
const MAX_WORDS: usize = 256;

/// What a program prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A text, for `text`, `number`, `version`.
    #[default]
    Text,
    /// One JSON document; anything else is a failure.
    Json,
    /// A page of metrics.
    Prometheus,
    /// What monitoring plugins print.
    Nagios,
}

/// All formats as they are written.
const FORMATS: [(&str, Format); 4] =
    [("text", Format::Text), ("json", Format::Json), ("prometheus", Format::Prometheus), ("nagios", Format::Nagios)];

/// The value of a variable in the environment of a program.
#[derive(Clone, Debug, PartialEq)]
pub enum Variable {
    /// Written out.
    Plain(String),
    /// Read anew for each look, and hidden in what the program prints.
    Secret(SecretRef),
}

/// The table `[command.NAME]`.
#[derive(Clone, Debug)]
pub struct Config {
    /// What all sources take.
    pub common: Common,
    /// Program and arguments.
    pub run: Vec<String>,
    /// Where the program stands in the configuration.
    pub place: Place,
    /// The service in whose container it runs; on the host where none is named.
    pub inside: Option<Service>,
    /// As whom it runs; the agent's own user where none is named, inside of a container the image's.
    pub user: Option<String>,
    /// Its environment, beside `PATH`, `LANG`, `HOME` and `USER`.
    pub env: Vec<(String, Variable)>,
    /// The folder that it starts in; `/` where none is named, inside of a container the image's.
    pub dir: Option<PathBuf>,
    /// What it prints.
    pub format: Format,
    /// What its answer must be.
    pub expect: Vec<Expectation>,
    /// Numbers taken from its answer.
    pub values: Vec<(String, Measure)>,
    /// How much of its output is read, in bytes.
    pub max_output: usize,
    /// The most samples of a page of metrics, or of performance data.
    pub max_samples: usize,
}

impl Config {
    /// Reads the table of `name`; none when it cannot be used.
    pub fn read(name: &str, node: &Node, defaults: &Defaults, problems: &mut Problems) -> Option<Config> {
        let what = format!("[command.{name}]");
        let mut table = Table::open(node, &what, problems)?;
        let common = Common::read("command", name, &mut table, defaults, problems);
        let run = read_run(&mut table, problems);
        let inside = read_inside(&mut table, problems);
        let user = read_user(&mut table, inside.is_some(), problems);
        let env = read_env(&mut table, problems);
        let dir = read_dir(&mut table, problems);
        let format = read_format(&mut table, problems);
        let expect = read_expect(&mut table, Kind::Command, problems);
        let values = read_values(&mut table, Kind::Command, problems);
        let max_output = read_max_output(&mut table, problems);
        let max_samples = read_max_samples(&mut table, problems);
        table.finish(problems);
        let (run, place) = run?;
        Some(Config { common, run, place, inside, user, env, dir, format, expect, values, max_output, max_samples })
    }

    /// Checks the program as it is on this host: it must be there, and nobody but root and the user of this process may
    /// be able to exchange it. Looks at files, so it is no part of [`Config::read`]. What runs inside of a container is
    /// not looked at.
    pub fn check_program(&self, problems: &mut Problems) {
        if self.inside.is_some() {
            return;
        }
        let program = self.run.first().map(String::as_str).unwrap_or_default();
        let path = process::find(program);
        let flaw = path.as_deref().map_or(Some(Flaw::NotThere), program::flaw);
        match (flaw, path) {
            (Some(Flaw::NotThere), path) => {
                let label = match path {
                    Some(_) => "there is no such file".to_string(),
                    None => format!("it is in none of {}", process::PATH),
                };
                let problem = problems.error(&self.place, format!("the program `{program}` is not there"), label);
                if let Some(help) = help_to_find(program) {
                    problem.help(help);
                }
            }
            (Some(flaw), path) => {
                let problem =
                    problems.error(&self.place, format!("the program `{program}` cannot be run"), format!("it {flaw}"));
                if let Some(help) = path.and_then(|path| flaw.help(&path)) {
                    problem.help(help);
                }
            }
            (None, path) => {
                if let Some(why) = path.and_then(|path| files::others_can_write(&path)) {
                    problems.error(&self.place, format!("the program `{program}` cannot be trusted"), why);
                }
            }
        }
    }
}

/// Where a program that was not found probably is.
fn help_to_find(program: &str) -> Option<String> {
    let name = program.rsplit('/').next().unwrap_or(program);
    if program.contains(char::is_whitespace) {
        return Some("each argument is a text of its own: run = [\"psql\", \"-c\", \"select 1\"]".into());
    }
    match name.starts_with("check_") && !program.starts_with("/usr/lib/nagios/plugins/") {
        true => {
            Some(format!("plugins for monitoring are in /usr/lib/nagios/plugins/{name} (package monitoring-plugins)"))
        }
        false => None,
    }
}

/// Program and arguments, and the place of the program.
fn read_run(table: &mut Table<'_>, problems: &mut Problems) -> Option<(Vec<String>, Place)> {
    const EXAMPLE: &str = r#"["/usr/bin/psql", "-XAtc", "select 1"]"#;
    if let Some(node) = table.node("run")
        && matches!(node.value, Value::Text(_))
    {
        wrong_kind(
            node,
            "a program and its arguments as a list",
            &format!("run = {EXAMPLE}; no shell is between"),
            problems,
        );
        return None;
    }
    let argv: Vec<Placed<String>> = table.required("run", EXAMPLE, problems)?;
    let before = problems.errors();
    let all = table.node("run").map(|node| node.place.clone()).unwrap_or_default();
    match argv.first() {
        None => drop(problems.error(&all, "a command without a program", "an empty list").help(EXAMPLE)),
        Some(program) => check_name(program, problems),
    }
    if argv.len() > MAX_WORDS {
        problems.error(&all, format!("a program is given at most {MAX_WORDS} arguments"), "too many");
    }
    check_arguments(&argv, problems);
    check_words_of_a_shell(&argv, problems);
    let place = argv.first()?.place.clone();
    (problems.errors() == before).then(|| (argv.into_iter().map(|a| a.value).collect(), place))
}

fn check_name(program: &Placed<String>, problems: &mut Problems) {
    if program.value.is_empty() {
        problems.error(&program.place, "a command without a program", "this names none");
    } else if program.value.contains('/') && !program.value.starts_with('/') {
        problems
            .error(&program.place, "a program with a relative path", "relative to what is not known when it runs")
            .help("write the whole path, or a name that stands in one of the usual folders");
    }
}

/// Warns of the first argument that only a shell would understand. `cut -d "|"` and the like are meant as they are.
fn check_words_of_a_shell(argv: &[Placed<String>], problems: &mut Problems) {
    const WORDS: [&str; 8] = ["|", "||", "&&", ">", ">>", "<", "2>&1", "&"];
    const TAKERS: [&str; 4] = ["-d", "-F", "-t", "-s"];
    const PROGRAMS: [&str; 4] = ["expr", "test", "[", "tr"];
    let program = argv.first().map(|program| base_name(&program.value)).unwrap_or_default();
    let is_meant =
        |i: usize| PROGRAMS.contains(&program) || argv[..i].last().is_some_and(|a| TAKERS.contains(&&*a.value));
    let found = argv.iter().enumerate().skip(1).find(|(i, word)| WORDS.contains(&&*word.value) && !is_meant(*i));
    if let Some((_, word)) = found {
        problems
            .warning(&word.place, format!("`{}` is an argument like any other", word.value), "there is no shell")
            .help("run = [\"/bin/sh\", \"-c\", \"…\"]");
    }
}

/// The last part of the path of a program.
fn base_name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

fn check_arguments(argv: &[Placed<String>], problems: &mut Problems) {
    let program = argv.first().map(|program| base_name(&program.value)).unwrap_or_default();
    for (i, argument) in argv.iter().enumerate() {
        if argument.value.contains('\0') {
            problems.error(&argument.place, "an argument with a NUL byte", "no program can be given this");
        }
        let before = i.checked_sub(1).and_then(|i| argv.get(i)).map(|a| a.value.as_str());
        if i > 0 && secretive::argument(&argument.value, before) {
            problems
                .error(
                    &argument.place,
                    "a secret is never written out here",
                    "everybody on this host can read the arguments of a program",
                )
                .help("give it in the environment or in a file: env = { PGPASSWORD = \"credential:pg\" }")
                .secret();
        } else if let Some(help) = secretive::of_client(program, &argument.value, before).filter(|_| i > 0) {
            problems
                .warning(
                    &argument.place,
                    format!("this is probably a secret for {program}"),
                    "everybody on this host can read the arguments of a program",
                )
                .help(help)
                .secret();
        }
    }
}

fn read_inside(table: &mut Table<'_>, problems: &mut Problems) -> Option<Service> {
    let Placed { value, place } = table.get::<Placed<String>>("inside", problems)?;
    match Service::parse(&value) {
        Ok(service) => Some(service),
        Err(why) => {
            problems
                .error(&place, format!("`{}` is no service", value.escape_debug()), why)
                .help("for example: inside = \"shop/db\"");
            None
        }
    }
}

fn read_user(table: &mut Table<'_>, is_inside: bool, problems: &mut Problems) -> Option<String> {
    let Placed { value, place } = table.get::<Placed<String>>("user", problems)?;
    // In a container numbers will do, and a group may follow: `1000:1000`.
    let fits =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '$' | '@') || (is_inside && c == ':');
    if value.is_empty() || value.len() > 256 || value.starts_with('-') || !value.chars().all(fits) {
        problems.error(&place, format!("`{value}` is no name of a user"), "").help("for example: user = \"postgres\"");
        return None;
    }
    Some(value)
}

fn read_env(table: &mut Table<'_>, problems: &mut Problems) -> Vec<(String, Variable)> {
    let Some(node) = table.node("env") else {
        return Vec::new();
    };
    let Some(mut inner) = Table::open(node, "`env`", problems) else {
        return Vec::new();
    };
    let entries = inner.rest();
    if entries.len() > MAX_WORDS {
        problems.error(&node.place, format!("a program is given at most {MAX_WORDS} variables"), "too many");
        return Vec::new();
    }
    entries.into_iter().filter_map(|entry| Some((entry.key.clone(), read_variable(entry, problems)?))).collect()
}

fn read_variable(entry: &Entry, problems: &mut Problems) -> Option<Variable> {
    if entry.key.is_empty() || entry.key.contains(['=', '\0']) {
        problems.error(&entry.place, format!("`{}` is no name of a variable", entry.key.escape_debug()), "");
        return None;
    }
    let Value::Text(text) = &entry.node.value else {
        wrong_kind(&entry.node, "a string", "\"…\"", problems);
        return None;
    };
    if let Ok(secret) = SecretRef::parse(text) {
        return Some(Variable::Secret(secret));
    }
    if secretive::variable(&entry.key, text) {
        // Says it in the words that every literal secret gets, and hides the value.
        SecretRef::read(&entry.node, problems);
        return None;
    }
    if text.contains('\0') {
        problems.error(&entry.node.place, "a variable with a NUL byte", "no program can be given this");
        return None;
    }
    Some(Variable::Plain(text.clone()))
}

fn read_dir(table: &mut Table<'_>, problems: &mut Problems) -> Option<PathBuf> {
    let Placed { value, place } = table.get::<Placed<PathBuf>>("dir", problems)?;
    if !value.is_absolute() || value.as_os_str().as_encoded_bytes().contains(&0) {
        problems.error(&place, "a folder is a whole path", "relative to what is not known").help("dir = \"/srv/shop\"");
    }
    Some(value)
}

fn read_format(table: &mut Table<'_>, problems: &mut Problems) -> Format {
    let Some(Placed { value, place }) = table.get::<Placed<String>>("format", problems) else {
        return Format::Text;
    };
    match FORMATS.iter().find(|(word, _)| *word == value) {
        Some((_, format)) => *format,
        None => {
            let known = FORMATS.map(|(word, _)| format!("\"{word}\"")).join(", ");
            problems.error(&place, format!("`{value}` is no format"), "").help(known);
            Format::Text
        }
    }
}

fn read_max_output(table: &mut Table<'_>, problems: &mut Problems) -> usize {
    let size = table.or("max_output", Size(64 << 10), problems);
    if let Some(node) = table.node("max_output") {
        if size > MAX_OUTPUT {
            problems.error(&node.place, "an output is at most 4MiB", "it is held in memory as a whole");
        } else if size == Size(0) {
            problems.error(&node.place, "an output of nothing could not be judged", "at least \"1B\"");
        }
    }
    usize::try_from(size.min(MAX_OUTPUT).0).unwrap_or(usize::MAX)
}

fn read_max_samples(table: &mut Table<'_>, problems: &mut Problems) -> usize {
    let most = table.or("max_samples", 1000u32, problems);
    if most > MAX_SAMPLES
        && let Some(node) = table.node("max_samples")
    {
        problems.error(&node.place, format!("at most {MAX_SAMPLES} samples of one command"), "too many");
    }
    most.min(MAX_SAMPLES) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Span;
    use crate::source::testing::{defaults, read};

    fn config(toml: &str) -> Config {
        let (config, problems) = read(toml, |node, problems| Config::read("db", node, &defaults(), problems));
        assert_eq!(problems, Vec::<String>::new(), "{toml}");
        config.unwrap()
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let config = config("run = [\"true\"]");
        assert_eq!((config.max_output, config.max_samples, config.format), (65_536, 1000, Format::Text));
        assert_eq!((config.user, config.env.len(), config.dir, config.inside), (None, 0, None, None));
        assert_eq!(config.expect.iter().map(Expectation::text).collect::<Vec<_>>(), ["exit == 0"]);
        assert_eq!(config.common.timeout, Span::secs(5));
    }

    #[test]
    fn secrets_and_plain_values_are_told_apart() {
        let env = config(
            "run = [\"true\"]\nenv = { PGPASSWORD = \"credential:pg\", TOKEN = \"env:T\", PGUSER = \"shop\", \
             PGPASSFILE = \"/etc/pgpass\", SSH_AUTH_SOCK = \"/run/x\", URL = \"postgres://shop@db/shop\" }",
        )
        .env;
        let secrets = [("PGPASSWORD", SecretRef::Credential("pg".into())), ("TOKEN", SecretRef::Env("T".into()))];
        for (name, value) in &env {
            let secret = secrets.iter().find(|(n, _)| n == name).map(|(_, place)| Variable::Secret(place.clone()));
            assert_eq!(secret.is_none(), matches!(value, Variable::Plain(_)), "{name}");
            assert!(secret.is_none_or(|secret| secret == *value), "{name}");
        }
        assert_eq!(env.len(), 6);
    }

    #[test]
    fn every_mistake_of_the_table_is_named() {
        for (toml, wanted) in [
            ("", "[command.db] needs `run`"),
            ("run = \"psql -c 1\"", "this takes a program and its arguments as a list"),
            ("run = [1]", "this takes a string"),
            ("run = []", "a command without a program"),
            ("run = [\"\"]", "a command without a program"),
            ("run = [\"bin/x\"]", "a program with a relative path"),
            ("run = [\"x\", \"a\\u0000b\"]", "an argument with a NUL byte"),
            ("run = [\"x\", \"--password=hunter2\"]", "a secret is never written out here"),
            ("run = [\"x\", \"--token\", \"hunter2\"]", "a secret is never written out here"),
            ("run = [\"x\", \"redis://:hunter2@h\"]", "a secret is never written out here"),
            ("run = [\"x\", \"host=h password=hunter2\"]", "a secret is never written out here"),
            ("run = [\"mysql\", \"-phunter2\"]", "this is probably a secret for mysql"),
            ("run = [\"/usr/bin/redis-cli\", \"-a\", \"hunter2\"]", "this is probably a secret for redis-cli"),
            ("run = [\"curl\", \"-u\", \"shop:hunter2\", \"x\"]", "this is probably a secret for curl"),
            ("run = [\"ps\", \"-ef\", \"|\", \"wc\", \"&&\"]", "`|` is an argument like any other"),
            ("run = [\"x\"]\ninside = \"shop\"", "`shop` is no service"),
            ("run = [\"x\"]\ninside = \"shop/*\"", "`shop/*` is no service"),
            ("run = [\"x\"]\ninside = 1", "this takes a string"),
            ("run = [\"x\"]\nuser = \"1000:1000\"", "`1000:1000` is no name of a user"),
            ("run = [\"x\"]\nuser = \"a b\"", "`a b` is no name of a user"),
            ("run = [\"x\"]\nuser = \"-x\"", "`-x` is no name of a user"),
            ("run = [\"x\"]\nenv = { PGPASSWORD = \"hunter2\" }", "a secret is never written out here"),
            ("run = [\"x\"]\nenv = { URL = \"postgres://u:hunter2@h/d\" }", "a secret is never written out here"),
            ("run = [\"x\"]\nenv = { \"A=B\" = \"x\" }", "`A=B` is no name of a variable"),
            ("run = [\"x\"]\nenv = { A = 1 }", "this takes a string"),
            ("run = [\"x\"]\nenv = { A = \"a\\u0000b\" }", "a variable with a NUL byte"),
            ("run = [\"x\"]\ndir = \"srv\"", "a folder is a whole path"),
            ("run = [\"x\"]\nformat = \"xml\"", "`xml` is no format"),
            ("run = [\"x\"]\nmax_output = \"5MiB\"", "an output is at most 4MiB"),
            ("run = [\"x\"]\nmax_output = \"0B\"", "an output of nothing could not be judged"),
            ("run = [\"x\"]\nmax_samples = 50001", "at most 50000 samples of one command"),
            ("run = [\"x\"]\nexpect = [\"stauts == 200\"]", "`stauts` is no subject"),
            ("run = [\"x\"]\nshell = true", "unknown key `shell`"),
        ] {
            let (_, problems) = read(toml, |node, problems| Config::read("db", node, &defaults(), problems));
            assert_eq!(problems, [wanted], "{toml}");
        }
    }

    #[test]
    fn a_secret_that_is_written_out_is_hidden_where_the_mistake_is_shown() {
        for toml in [
            "run = [\"x\", \"--password=hunter2\"]",
            "run = [\"mariadb\", \"-phunter2\"]",
            "run = [\"curl\", \"-H\", \"Authorization: Bearer hunter2\"]",
            "run = [\"x\"]\nenv = { PGPASSWORD = \"hunter2\" }",
            "run = [\"x\"]\nenv = { URL = \"postgres://u:hunter2@h/d\" }",
        ] {
            read(toml, |node, problems| {
                Config::read("db", node, &defaults(), problems);
                assert!(problems.list.iter().all(|p| p.is_secret), "{toml}");
                assert!(!format!("{:?}", problems.list).contains("hunter2"), "{toml}");
            });
        }
    }

    #[test]
    fn what_runs_in_a_container_is_not_looked_for_on_the_host() {
        let config = config("run = [\"/no/such/program\"]\ninside = \"shop/db\"\nuser = \"70:70\"\ndir = \"/data\"");
        let mut problems = Problems::default();
        config.check_program(&mut problems);
        assert_eq!(problems.list.len(), 0);
        assert_eq!(config.inside.map(|inside| inside.service), Some("db".into()));
        assert_eq!((config.user, config.dir), (Some("70:70".into()), Some("/data".into())));
    }

    #[test]
    fn what_is_meant_as_it_is_is_no_word_of_a_shell() {
        config("run = [\"cut\", \"-d\", \"|\", \"/etc/x\"]");
        config("run = [\"expr\", \"2\", \">\", \"1\"]");
        config("run = [\"/bin/sh\", \"-c\", \"a | b && c > d\"]");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test writes the program")]
    fn a_program_that_is_not_there_or_open_to_others_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("check");
        std::fs::write(&program, "#!/bin/sh\n").unwrap();
        let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode;
        let help = |program: &str| {
            let mut problems = Problems::default();
            config(&format!("run = [\"{program}\"]")).check_program(&mut problems);
            problems.list.into_iter().find_map(|p| p.help)
        };
        let titles = |program: &str| {
            let mut problems = Problems::default();
            config(&format!("run = [\"{program}\"]")).check_program(&mut problems);
            problems.list.into_iter().map(|p| format!("{}: {}", p.title, p.label)).collect::<Vec<_>>()
        };
        let path = program.to_str().unwrap();
        std::fs::set_permissions(&program, mode(0o755)).unwrap();
        assert_eq!(titles(path), Vec::<String>::new());
        assert_eq!(titles("true"), Vec::<String>::new());
        std::fs::set_permissions(&program, mode(0o757)).unwrap();
        assert_eq!(titles(path), [format!("the program `{path}` cannot be trusted: anybody can write to {path}")]);
        let missing = "the program `no-such-program` is not there: it is in none of /usr/local/sbin:";
        assert!(titles("no-such-program")[0].starts_with(missing));
        assert_eq!(titles("/nowhere/x"), ["the program `/nowhere/x` is not there: there is no such file"]);
        assert!(help("check_nothing").unwrap().contains("/usr/lib/nagios/plugins/check_nothing"));
        assert!(help("psql -c 1").unwrap().starts_with("each argument is a text of its own"));
        std::fs::set_permissions(&program, mode(0o644)).unwrap();
        assert_eq!(titles(path), [format!("the program `{path}` cannot be run: it is not executable")]);
        assert_eq!(help(path), Some(format!("chmod +x {path}")));
        std::fs::set_permissions(&program, mode(0o755)).unwrap();
        for (text, wanted) in [
            ("#!/bin/sh\r\n", "it has lines that end in CRLF"),
            ("#!/nowhere/sh\n", "it names `/nowhere/sh` in its first line, which is not there"),
            ("echo\n", "it has no first line `#!…`"),
        ] {
            std::fs::write(&program, text).unwrap();
            assert!(titles(path)[0].starts_with(&format!("the program `{path}` cannot be run: {wanted}")), "{text}");
        }
    }
}

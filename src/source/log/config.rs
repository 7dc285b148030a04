//! The table `[log.NAME]`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files;
use super::read::{self, Format, Part, Plan};
use super::secrets;
use crate::base::table::{Placed, Read, Size, Value, nearest, wrong_kind};
use crate::base::{Node, Place, Problems, Span, Table};
use crate::source::common::{Common, Defaults};
use crate::sys::look::Pattern;
use crate::sys::process;

/// How often what holds is written again while nothing comes.
pub const REPEAT: Span = Span::secs(15);

/// The longest line that is taken as a whole where nothing else is said.
const MAX_LINE: Size = Size(64 << 10);

/// The shortest and the longest `max_line`.
const LINES: (Size, Size) = (Size(256), Size(files::MAX_LINE as u64));

/// The longest time for which lines are kept.
const LONGEST_KEEP: Span = Span::hours(24 * 366);

/// The most globs, units or containers of one table.
const MAX_PLACES: usize = 32;

/// The most patterns, and the most values, of one table.
const MAX_PATTERNS: usize = 100;

/// The longest expression, in bytes.
const MAX_EXPRESSION: usize = 4096;

/// How the names of the patterns of secrets begin.
const SECRET: &str = "secret_";

/// The keys that say where lines come from; each table has one of them.
const ORIGINS: [&str; 4] = ["file", "journal", "container", "command"];

/// The table `[log.NAME]`.
#[derive(Clone, Debug)]
pub struct Config {
    /// What all sources take.
    pub common: Common,
    /// Whether `service` was written.
    pub has_service: bool,
    /// Where lines come from.
    pub from: From,
    /// Where that stands in the configuration.
    pub place: Place,
    /// What is looked for in them.
    pub plan: Plan,
    /// For how long lines are kept for search; nothing is kept where it is zero.
    pub keep: Span,
    /// The longest line that is taken as a whole, in bytes.
    pub max_line: usize,
}

/// Where lines come from.
#[derive(Clone, Debug, PartialEq)]
pub enum From {
    /// Files that these globs mean.
    Files(Vec<String>),
    /// The journal's entries of these units.
    Journal(Vec<String>),
    /// Containers: `project/service` with `*`, or a container's name.
    Containers(Vec<String>),
    /// What a program prints.
    Command(Vec<String>),
}

impl From {
    /// As it was written: the `instance`.
    pub fn written(&self) -> String {
        match self {
            From::Files(all) | From::Journal(all) | From::Containers(all) => all.join(" "),
            From::Command(argv) => argv.first().cloned().unwrap_or_default(),
        }
    }
}

impl Config {
    /// Reads the table of `name`; none when it cannot be used.
    pub fn read(name: &str, node: &Node, defaults: &Defaults, problems: &mut Problems) -> Option<Config> {
        let what = format!("[log.{name}]");
        let mut table = Table::open(node, &what, problems)?;
        refuse_rhythm(&mut table, problems);
        let common = Common::read_event("log", name, &mut table, defaults, REPEAT, problems);
        let has_service = table.key_place("service").is_some();
        let from = read_from(&mut table, &what, problems);
        let format = read_format(&mut table, problems);
        let patterns = read_expressions(&mut table, "patterns", problems);
        let values = read_expressions(&mut table, "values", problems);
        let hunts_secrets = table.or("secrets", true, problems);
        let max_line = read_max_line(&mut table, problems);
        let keep = read_keep(&mut table, problems);
        table.finish(problems);
        let wanted = read::Wanted {
            format,
            patterns: named(&patterns),
            values: named(&values),
            secrets: if hunts_secrets { searched() } else { Vec::new() },
            max_line,
            zone: defaults.zone.clone(),
            redact: Arc::new(|text| secrets::hide(text).into_owned()),
        };
        let plan = plan(wanted, &patterns, &values, problems);
        let (from, place) = from?;
        Some(Config { common, has_service, from, place, plan: plan?, keep, max_line })
    }

    /// Looks at what only this host can say: whether the program is there.
    pub fn check_program(&self, problems: &mut Problems) {
        let From::Command(argv) = &self.from else { return };
        let Some(program) = argv.first() else { return };
        if let Some(why) = process::program_problem(program) {
            problems.error(&self.place, format!("the program `{program}` cannot be run"), why);
        }
    }
}

/// `interval` and `timeout` are keys of every source that looks; here they would promise what is not so.
fn refuse_rhythm(table: &mut Table<'_>, problems: &mut Problems) {
    for key in ["interval", "timeout"] {
        if table.node(key).is_some()
            && let Some(place) = table.key_place(key)
        {
            problems
                .error(place, format!("a log takes no `{key}`"), "lines are read as they come")
                .help("leave it out; how long a rule waits is its `for`");
        }
    }
}

fn read_from(table: &mut Table<'_>, what: &str, problems: &mut Problems) -> Option<(From, Place)> {
    let written: Vec<&str> = ORIGINS.into_iter().filter(|key| table.node(key).is_some()).collect();
    let [key] = written.as_slice() else {
        let label = if written.is_empty() {
            "none stands here".into()
        } else {
            format!("{} stand here", written.join(" and "))
        };
        problems
            .error(
                &table.place().clone(),
                format!("{what} takes one of `file`, `journal`, `container` and `command`"),
                label,
            )
            .help("for example: file = \"/var/log/shop/*.log\", or journal = \"shop.service\"");
        return None;
    };
    let node = table.node(key)?;
    let texts = match &node.value {
        Value::Text(_) if *key == "command" => {
            wrong_kind(
                node,
                "a program and its arguments as a list",
                "command = [\"/usr/bin/kubectl\", \"logs\", \"-f\", \"shop\"]; no shell is between",
                problems,
            );
            return None;
        }
        Value::Text(text) => vec![Placed { value: text.clone(), place: node.inside() }],
        Value::List(_) => Vec::<Placed<String>>::read(node, problems)?,
        _ => {
            wrong_kind(node, "a string or a list of strings", "\"…\"", problems);
            return None;
        }
    };
    if texts.is_empty() {
        problems.error(&node.place, format!("`{key}` is empty"), "there would be nothing to read");
        return None;
    }
    let most = if *key == "command" { 256 } else { MAX_PLACES };
    if texts.len() > most {
        let label = format!("{} stand here", texts.len());
        problems.error(&node.place, format!("`{key}` takes at most {most}"), label);
        return None;
    }
    let before = problems.errors();
    let all = texts.iter().map(|text| text.value.clone()).collect();
    let from = match *key {
        "file" => {
            texts.iter().for_each(|text| check_glob(text, problems));
            From::Files(all)
        }
        "journal" => {
            texts.iter().for_each(|text| check_unit(text, problems));
            From::Journal(all)
        }
        "container" => {
            texts.iter().for_each(|text| check_container(text, problems));
            From::Containers(all)
        }
        _ => {
            check_command(&texts, problems);
            From::Command(all)
        }
    };
    (problems.errors() == before).then(|| (from, node.place.clone()))
}

fn check_glob(text: &Placed<String>, problems: &mut Problems) {
    if !text.value.starts_with('/') {
        problems
            .error(&text.place, "a path begins with `/`", "where would it begin?")
            .help("the agent has no folder of its own to begin at; `${state}` is the state folder");
    } else if let Err(why) = Pattern::parse(&text.value) {
        problems.error(&text.place, why, "").help("for example: file = \"/var/log/shop/*.log\"");
    } else if is_own(Path::new(&text.value)) {
        problems
            .warning(&text.place, "this is what the agent writes itself", "its own lines are left out")
            .help("watch what the application writes");
    }
}

fn is_own(path: &Path) -> bool {
    path.starts_with("/var/lib/backstop")
}

fn check_unit(text: &Placed<String>, problems: &mut Problems) {
    let is_good = |c: char| c.is_ascii_alphanumeric() || "@:-_.\\*?[]".contains(c);
    if text.value.is_empty()
        || text.value.len() > 255
        || !text.value.chars().all(is_good)
        || text.value.starts_with('-')
    {
        problems
            .error(&text.place, format!("`{}` is no name of a unit", text.value.escape_debug()), "")
            .help("for example: journal = \"shop.service\"");
    }
}

fn check_container(text: &Placed<String>, problems: &mut Problems) {
    let parts: Vec<&str> = text.value.split('/').collect();
    let is_good = |part: &&str| {
        !part.is_empty() && part.len() <= 255 && part.chars().all(|c| c.is_ascii_alphanumeric() || "_.-*".contains(c))
    };
    if parts.len() > 2 || !parts.iter().all(is_good) {
        problems.error(&text.place, format!("`{}` is no container", text.value.escape_debug()), "").help(
            "project and service of a compose file, as in \"shop/api\" or \"shop/*\", or the name of one container",
        );
    }
}

fn check_command(argv: &[Placed<String>], problems: &mut Problems) {
    let Some(program) = argv.first() else { return };
    if program.value.is_empty() {
        problems.error(&program.place, "a command without a program", "this names none");
    } else if program.value.contains('/') && !program.value.starts_with('/') {
        problems
            .error(&program.place, "a program with a relative path", "relative to what is not known when it runs")
            .help("write the whole path, or a name that stands in one of the usual folders");
    }
    if let Some(bad) = argv.iter().find(|argument| argument.value.contains('\0')) {
        problems.error(&bad.place, "an argument with a NUL", "no program can be given that");
    }
}

fn read_format(table: &mut Table<'_>, problems: &mut Problems) -> Format {
    let Some(Placed { value, place }) = table.get::<Placed<String>>("format", problems) else {
        return Format::Auto;
    };
    if let Some(format) = Format::ALL.into_iter().find(|format| format.as_str() == value) {
        return format;
    }
    let names: Vec<&str> = Format::ALL.into_iter().map(Format::as_str).collect();
    let help = match nearest(&value, &names) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("there are: {}", names.join(", ")),
    };
    problems.error(&place, format!("unknown format `{value}`"), "").help(help);
    Format::Auto
}

/// An expression with its name.
struct Expression {
    name: String,
    text: String,
    /// Where the text stands, without its quotes.
    place: Place,
}

fn named(expressions: &[Expression]) -> Vec<(String, String)> {
    expressions.iter().map(|e| (e.name.clone(), e.text.clone())).collect()
}

fn read_expressions(table: &mut Table<'_>, key: &str, problems: &mut Problems) -> Vec<Expression> {
    let Some(node) = table.node(key) else { return Vec::new() };
    let what = format!("`{key}`");
    let Some(mut inner) = Table::open(node, &what, problems) else { return Vec::new() };
    let entries = inner.rest();
    if entries.len() > MAX_PATTERNS {
        problems.error(
            &node.place,
            format!("`{key}` takes at most {MAX_PATTERNS}"),
            format!("{} stand here", entries.len()),
        );
    }
    let mut expressions = Vec::new();
    for entry in entries.into_iter().take(MAX_PATTERNS) {
        let Value::Text(text) = &entry.node.value else {
            wrong_kind(&entry.node, "a regular expression", "'(?i)out of memory'", problems);
            continue;
        };
        let is_good = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if entry.key.is_empty() || entry.key.len() > 63 || !entry.key.bytes().all(is_good) {
            problems
                .error(&entry.place, format!("`{}` is no name of a pattern", entry.key.escape_debug()), "")
                .help("letters, digits, `_` and `-`, at most 63: it becomes a label");
        } else if entry.key.starts_with(SECRET) {
            problems
                .error(&entry.place, format!("a name beginning with `{}` is taken", SECRET), "")
                .help("those are the patterns of secrets, which every log is searched for");
        } else if text.len() > MAX_EXPRESSION {
            problems.error(
                &entry.node.place,
                format!("an expression of {} bytes", text.len()),
                format!("at most {MAX_EXPRESSION}"),
            );
        } else {
            expressions.push(Expression { name: entry.key.clone(), text: text.clone(), place: entry.node.inside() });
        }
    }
    expressions
}

fn plan(wanted: read::Wanted, patterns: &[Expression], values: &[Expression], problems: &mut Problems) -> Option<Plan> {
    let find = |part: Part, name: &str| {
        let all = if part == Part::Value { values } else { patterns };
        all.iter().find(|e| e.name == name).map(|e| e.place.clone()).unwrap_or_default()
    };
    match Plan::new(wanted) {
        Ok(plan) => {
            for note in plan.notes().iter().filter(|note| note.part != Part::Secret) {
                problems
                    .warning(
                        &find(note.part, &note.name),
                        format!("`{}` is matched line by line, which is slower", note.name),
                        note.note,
                    )
                    .help("good for a log of some MB a minute; where more comes, write it without that");
            }
            Some(plan)
        }
        Err(refused) => {
            for one in refused {
                let mut place = find(one.part, &one.name);
                if let Some(at) = one.why.at {
                    place = place.part(at..at + 1);
                }
                let problem = problems.error(&place, format!("`{}` cannot be used", one.name), one.why.why);
                if let Some(help) = one.why.help {
                    problem.help(help);
                }
            }
            None
        }
    }
}

fn searched() -> Vec<(String, String)> {
    secrets::PATTERNS.iter().map(|(name, expression)| ((*name).to_string(), (*expression).to_string())).collect()
}

fn read_max_line(table: &mut Table<'_>, problems: &mut Problems) -> usize {
    let size = table.or("max_line", MAX_LINE, problems);
    if (LINES.0..=LINES.1).contains(&size) {
        return usize::try_from(size.0).unwrap_or(usize::MAX);
    }
    if let Some(node) = table.node("max_line") {
        problems.error(&node.place, "`max_line` is between 256B and 128KiB", "");
    }
    usize::try_from(MAX_LINE.0).unwrap_or(usize::MAX)
}

fn read_keep(table: &mut Table<'_>, problems: &mut Problems) -> Span {
    let keep = table.or("keep", Span::ZERO, problems);
    if keep <= LONGEST_KEEP {
        return keep;
    }
    if let Some(node) = table.node("keep") {
        problems.error(&node.place, "lines are kept for at most a year", "too long");
    }
    Span::ZERO
}

/// The files whose rights decide whether lines can be read.
pub fn files(from: &From) -> Vec<PathBuf> {
    match from {
        From::Files(globs) => {
            globs.iter().filter_map(|glob| Pattern::parse(glob).ok()).map(|pattern| pattern.folder()).collect()
        }
        From::Journal(_) | From::Containers(_) | From::Command(_) => Vec::new(),
    }
}

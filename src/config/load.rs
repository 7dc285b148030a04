//! Files to one tree: found, read, included, variables replaced.
//!
//! Enters: [`Options`]. Leaves: one tree of values, each with the place it stands at, and the [`Files`] that the
//! places count. Every mistake is gathered: a file that does not parse still gives the tables that do, and what is
//! wrong inside a broken table is left out, because it would be noise. Reads are capped; a file is a regular file.

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::base::table::{Entry, Node, Value, nearest};
use crate::base::{Place, Problems};
use crate::sys::read;

/// The longest configuration file, in bytes.
const MAX_FILE: usize = 1 << 20;

/// The most files that one configuration includes, itself counted.
const MAX_FILES: usize = 64;

/// The longest string after its variables were replaced, in bytes.
const MAX_TEXT: usize = 64 << 10;

/// The name by which messages call the configuration that is built in.
pub const EMBEDDED: &str = "the embedded default";

/// What a configuration is loaded with.
#[derive(Clone, Debug)]
pub struct Options {
    /// `--config`: this file and no other.
    pub path: Option<PathBuf>,
    /// `--set NAME=VALUE`: name and value.
    pub sets: Vec<(String, String)>,
    /// `--state`: overrides `[agent] state`.
    pub state: Option<PathBuf>,
    /// Whether standard error is a terminal, which gets the alerts where no file was written.
    pub stderr_is_terminal: bool,
    /// The host's name, for `${host}`.
    pub host: String,
    /// Looks an environment variable up.
    pub env: fn(&str) -> Option<String>,
}

impl Options {
    /// The options of this process, with its host name and environment.
    pub fn of_process() -> Options {
        Options {
            path: None,
            sets: Vec::new(),
            state: None,
            stderr_is_terminal: std::io::IsTerminal::is_terminal(&std::io::stderr()),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            env: |name| std::env::var(name).ok(),
        }
    }
}

/// One file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name as people gave it.
    pub name: String,
    /// Where it is; none for what is built in.
    pub path: Option<PathBuf>,
    /// Its text.
    pub text: String,
}

/// The files that were read; [`Place::file`] counts them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// In the order they were begun; the first is the one that was asked for or found.
    pub list: Vec<File>,
    /// The tables that hold a syntax error: what else is wrong in them is an echo of it.
    pub broken: Vec<Place>,
}

impl Files {
    /// Adds a file and returns its number.
    pub fn add(&mut self, name: &str, path: Option<PathBuf>, text: String) -> usize {
        self.list.push(File { name: name.into(), path, text });
        self.list.len() - 1
    }

    /// The name of the configuration: that of its first file.
    pub fn name(&self) -> &str {
        self.list.first().map_or(EMBEDDED, |f| f.name.as_str())
    }

    /// `file:line` of a place; only the file for one that means the file as a whole.
    pub fn line(&self, place: &Place) -> String {
        let Some(file) = self.list.get(place.file) else { return EMBEDDED.into() };
        if place.range.is_empty() && place.range.start == 0 {
            return file.name.clone();
        }
        let before = file.text.as_bytes().iter().take(place.range.start).filter(|b| **b == b'\n').count();
        format!("{}:{}", file.name, before + 1)
    }
}

/// The text of the user's configuration, if there is one: `--config`, `$BACKSTOP_CONFIG`, `./backstop.toml`,
/// `/etc/backstop/backstop.toml`. None means that the embedded default holds.
pub fn find(options: &Options) -> Option<PathBuf> {
    if let Some(path) = &options.path {
        return Some(path.clone());
    }
    if let Some(path) = (options.env)("BACKSTOP_CONFIG").filter(|p| !p.is_empty()) {
        return Some(path.into());
    }
    ["backstop.toml", "/etc/backstop/backstop.toml"].into_iter().map(PathBuf::from).find(|path| path.exists())
}

/// Reads the file at `path` with everything it includes into one tree.
pub fn read_file(path: &Path, files: &mut Files, problems: &mut Problems) -> Node {
    let mut trail = Vec::new();
    read_included(path, &Place { file: files.list.len(), range: 0..0 }, &mut trail, files, problems)
}

/// Reads `path`, which `from` asked for; `trail` is the way of includes to it.
fn read_included(
    path: &Path,
    from: &Place,
    trail: &mut Vec<PathBuf>,
    files: &mut Files,
    problems: &mut Problems,
) -> Node {
    let identity = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    if trail.contains(&identity) {
        let names: Vec<String> = trail.iter().chain([&identity]).map(|p| file_name(p)).collect();
        problems
            .error(from, "the files include each other", "leads back to where it began")
            .help(format!("the way is {}; take one of these out", names.join(" -> ")));
        return empty();
    }
    if files.list.len() >= MAX_FILES {
        problems.error(from, format!("more than {MAX_FILES} files"), "one too many");
        return empty();
    }
    let Some(text) = read_text(path, from, trail.is_empty(), files, problems) else { return empty() };
    let number = files.add(&path.display().to_string(), Some(path.to_path_buf()), text);
    let mut tree = parse(number, files, problems);
    let mut base = empty();
    trail.push(identity);
    for (name, place) in take_includes(&mut tree, problems) {
        let beside = path.parent().unwrap_or(Path::new("")).join(name);
        merge(&mut base, read_included(&beside, &place, trail, files, problems));
    }
    trail.pop();
    merge(&mut base, tree);
    base
}

fn read_text(path: &Path, from: &Place, first: bool, files: &mut Files, problems: &mut Problems) -> Option<String> {
    let mut bytes = Vec::new();
    let why = match read::into(path, &mut bytes, MAX_FILE) {
        Err(error) => error.to_string(),
        Ok(()) => match String::from_utf8(bytes) {
            Ok(text) => return Some(text),
            Err(error) => format!("it is no UTF-8 text, from byte {} on", error.utf8_error().valid_up_to()),
        },
    };
    if first {
        files.add(&path.display().to_string(), Some(path.to_path_buf()), String::new());
    }
    let label = if first { "" } else { "included here" };
    let problem = problems.error(from, format!("{} cannot be read: {why}", path.display()), label);
    if first && !path.exists() {
        problem.help(format!("to have one written: backstop init --output {}", path.display()));
    }
    None
}

/// Takes the key `include` out of a file's tree: paths and the places they stand at.
fn take_includes(tree: &mut Node, problems: &mut Problems) -> Vec<(String, Place)> {
    let Value::Table(entries) = &mut tree.value else { return Vec::new() };
    let Some(at) = entries.iter().position(|e| e.key == "include") else { return Vec::new() };
    let node = entries.remove(at).node;
    let Value::List(nodes) = node.value else {
        problems
            .error(&node.place, "`include` takes a list of files", "")
            .help("for example: include = [\"base.toml\"]");
        return Vec::new();
    };
    let mut paths = Vec::new();
    for node in nodes {
        match node.value {
            Value::Text(path) => paths.push((path, node.place)),
            _ => {
                problems.error(&node.place, "`include` takes a list of files", format!("this is {}", node.kind()));
            }
        }
    }
    paths
}

/// The most tables of a file whose syntax errors are reported.
const MAX_BROKEN: usize = 50;

/// Parses one file. Of the syntax errors the first of each table is reported; the rest is its echo.
///
/// The parser gives up at some errors, so a broken table is blanked and the file parsed again: whatever is wrong in
/// the other tables is found, too.
pub fn parse(file: usize, files: &mut Files, problems: &mut Problems) -> Node {
    let Files { list, broken } = files;
    let mut text = list[file].text.clone();
    loop {
        let (tree, errors) = DeTable::parse_recoverable(&text);
        let spans = errors.iter().map(|e| (e.span().unwrap_or(0..0), e.message()));
        let known = |at: usize| broken.iter().any(|b| b.file == file && b.range.contains(&at));
        let first = spans.filter(|(span, _)| !known(span.start)).min_by_key(|(span, _)| span.start);
        let count = broken.iter().filter(|b| b.file == file).count();
        let Some((span, message)) = first.filter(|_| count < MAX_BROKEN) else {
            let value = table(tree.get_ref(), file, problems);
            return Node { value, place: Place { file, range: 0..0 } };
        };
        let region = region(&text, span.start);
        problems
            .error(
                &Place { file, range: visible(&text, span.clone()) },
                format!("this cannot be read: {message}"),
                "from here on",
            )
            .help("the rest of this table was not looked at");
        blank(&mut text, &region, span.start);
        broken.push(Place { file, range: region });
    }
}

/// Replaces a table by as many spaces, line breaks aside; its heading stays unless the error at `at` is in it.
fn blank(text: &mut String, region: &std::ops::Range<usize>, at: usize) {
    let end = region.end.min(text.len());
    let is_heading = text[region.start..].trim_start().starts_with('[');
    let heading = text[region.start..end].find('\n').map_or(end, |n| region.start + n);
    let start = if is_heading && at > heading { heading } else { region.start };
    let spaces: String = text[start..end].bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }).collect();
    text.replace_range(start..end, &spaces);
}

/// A range that can be underlined: at least one byte where there is one, none of it a line break.
fn visible(text: &str, span: std::ops::Range<usize>) -> std::ops::Range<usize> {
    let start = span.start.min(text.len());
    let end = span.end.clamp(start, text.len());
    let line = text.get(start..end).and_then(|t| t.find('\n')).map_or(end, |n| start + n);
    if line > start { start..line } else { start..start }
}

/// The table that the byte `at` belongs to: the range from its heading to the next.
pub fn region(text: &str, at: usize) -> std::ops::Range<usize> {
    let mut start = 0;
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        if line.trim_start().starts_with('[') && offset > 0 {
            if offset > at {
                return start..offset;
            }
            start = offset;
        }
        offset += line.len();
    }
    start..text.len() + 1
}

fn table(from: &DeTable<'_>, file: usize, problems: &mut Problems) -> Value {
    let mut entries: Vec<Entry> = from
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            place: Place { file, range: key.span() },
            node: node(value, file, problems),
        })
        .collect();
    // The parser sorts by name; people number steps and rungs by where they wrote them.
    entries.sort_by_key(|e| e.place.range.start);
    Value::Table(entries)
}

fn node(from: &Spanned<DeValue<'_>>, file: usize, problems: &mut Problems) -> Node {
    let place = Place { file, range: from.span() };
    let value = match from.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Boolean(b) => Value::Bool(*b),
        DeValue::Integer(n) => match i64::from_str_radix(n.as_str(), n.radix()) {
            Ok(n) => Value::Whole(n),
            Err(_) => {
                problems.error(&place, "this number is out of range", "");
                Value::Whole(0)
            }
        },
        DeValue::Float(n) => Value::Float(n.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Datetime(date) => {
            problems.error(&place, "dates are written as text here", "a date").help(format!("\"{date}\""));
            Value::Text(date.to_string())
        }
        DeValue::Array(list) => Value::List(list.iter().map(|n| node(n, file, problems)).collect()),
        DeValue::Table(entries) => table(entries, file, problems),
    };
    Node { value, place }
}

/// An empty table that stands nowhere.
pub fn empty() -> Node {
    Node { value: Value::Table(Vec::new()), place: Place::default() }
}

/// Lays `over` on `base`: tables merge key by key, everything else is replaced whole.
pub fn merge(base: &mut Node, over: Node) {
    let Node { value: Value::Table(new), place } = over else {
        *base = over;
        return;
    };
    let Value::Table(old) = &mut base.value else {
        *base = Node { value: Value::Table(new), place };
        return;
    };
    base.place = place;
    for entry in new {
        match old.iter_mut().find(|e| e.key == entry.key) {
            Some(existing) => {
                existing.place = entry.place;
                merge(&mut existing.node, entry.node);
            }
            None => old.push(entry),
        }
    }
}

/// Names that `${…}` stands for, and what they stand for.
#[derive(Clone, Debug, Default)]
pub struct Vars(Vec<(String, String)>);

impl Vars {
    /// Takes `[vars]` out of the tree, adds the built-in names and what `--set` says.
    pub fn take(tree: &mut Node, host: &str, state: &str, sets: &[(String, String)], problems: &mut Problems) -> Vars {
        let mut vars = Vars(vec![("state".into(), state.into()), ("host".into(), host.into())]);
        let own = match &mut tree.value {
            Value::Table(entries) => entries.iter().position(|e| e.key == "vars").map(|at| entries.remove(at)),
            _ => None,
        };
        match own.map(|e| e.node) {
            Some(Node { value: Value::Table(entries), .. }) => entries.into_iter().for_each(|e| vars.add(e, problems)),
            Some(node) => {
                problems.error(&node.place, "[vars] is a table of strings", format!("this is {}", node.kind()));
            }
            None => {}
        }
        sets.iter().for_each(|(name, value)| vars.set(name, value.clone()));
        vars
    }

    fn add(&mut self, mut entry: Entry, problems: &mut Problems) {
        if ["state", "host"].contains(&entry.key.as_str()) {
            problems.error(&entry.place, format!("`{}` is built in", entry.key), "choose another name");
            return;
        }
        self.replace(&mut entry.node, problems);
        match entry.node.value {
            Value::Text(text) => self.set(&entry.key, text),
            _ => {
                let kind = entry.node.kind();
                problems.error(&entry.node.place, "a variable is a string", format!("this is {kind}"));
            }
        }
    }

    fn set(&mut self, name: &str, value: String) {
        self.0.retain(|(n, _)| n != name);
        self.0.push((name.into(), value));
    }

    /// Replaces `${name}` in every string of the tree; `$${` becomes a literal `${`. Gives the places of the strings
    /// that could not be completed.
    pub fn replace(&self, node: &mut Node, problems: &mut Problems) -> Vec<Place> {
        let inside = node.inside();
        match &mut node.value {
            Value::Text(text) if text.contains("${") => {
                let before = problems.errors();
                *text = self.replaced(text, &inside, problems);
                if problems.errors() > before { vec![node.place.clone()] } else { Vec::new() }
            }
            Value::List(nodes) => nodes.iter_mut().flat_map(|n| self.replace(n, problems)).collect(),
            Value::Table(entries) => entries.iter_mut().flat_map(|e| self.replace(&mut e.node, problems)).collect(),
            _ => Vec::new(),
        }
    }

    fn replaced(&self, text: &str, place: &Place, problems: &mut Problems) -> String {
        let mut out = String::new();
        let mut at = 0;
        while let Some(found) = text[at..].find("${") {
            let start = at + found;
            if text[at..start].ends_with('$') {
                out.push_str(&text[at..start - 1]);
                out.push_str("${");
                at = start + 2;
                continue;
            }
            out.push_str(&text[at..start]);
            let Some(length) = text[start..].find('}') else {
                problems.error(&place.part(start..text.len()), "`${` is not closed", "").help("a literal one is `$${`");
                return out;
            };
            let name = &text[start + 2..start + length];
            match self.0.iter().find(|(n, _)| n == name) {
                Some((_, value)) => out.push_str(value),
                None => self.unknown(name, &place.part(start..start + length + 1), problems),
            }
            at = start + length + 1;
            if out.len() > MAX_TEXT {
                problems.error(place, "the text is too long with its variables", format!("over {MAX_TEXT} bytes"));
                return String::new();
            }
        }
        out.push_str(&text[at..]);
        out
    }

    fn unknown(&self, name: &str, place: &Place, problems: &mut Problems) {
        let known: Vec<&str> = self.0.iter().map(|(n, _)| n.as_str()).collect();
        let problem = problems.error(place, format!("there is no variable `{name}`"), "not in [vars]");
        match nearest(name, &known) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem.help(format!("there are: {}; a literal one is `$${{`", known.join(", "))),
        };
    }
}

/// The key `key` of the table `table` at the top of a tree.
pub fn lookup<'t>(tree: &'t Node, table: &str, key: &str) -> Option<&'t Node> {
    child(child(tree, table)?, key)
}

/// The value of `key`, where `node` is a table that has it.
pub fn child<'t>(node: &'t Node, key: &str) -> Option<&'t Node> {
    match &node.value {
        Value::Table(entries) => entries.iter().find(|e| e.key == key).map(|e| &e.node),
        _ => None,
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Node, Vec<String>) {
        let mut problems = Problems::default();
        let mut files = Files::default();
        let file = files.add("x.toml", None, text.into());
        let tree = parse(file, &mut files, &mut problems);
        (tree, problems.list.into_iter().map(|p| p.title).collect())
    }

    #[test]
    fn keys_keep_the_order_they_were_written_in() {
        let (tree, problems) = parsed("[b]\nz = 1\na = 2\n[a]\n");
        let Value::Table(entries) = &tree.value else { panic!("a table") };
        assert_eq!(entries.iter().map(|e| e.key.as_str()).collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(lookup(&tree, "b", "a").unwrap().value, Value::Whole(2));
        assert!(problems.is_empty(), "{problems:?}");
    }

    #[test]
    fn the_later_file_overrides_key_by_key() {
        let (mut base, _) = parsed("[a]\nx = 1\ny = [1, 2]\n[[s]]\nn = 1\n[[s]]\nn = 2\n");
        let (over, _) = parsed("[a]\ny = [3]\n[[s]]\nn = 3\n");
        merge(&mut base, over);
        assert_eq!(lookup(&base, "a", "x").unwrap().value, Value::Whole(1));
        let Value::List(y) = &lookup(&base, "a", "y").unwrap().value else { panic!("a list") };
        assert_eq!(y.len(), 1);
        let Value::List(s) = &child(&base, "s").unwrap().value else { panic!("a list") };
        assert_eq!(s.len(), 1);
    }

    #[test]
    fn variables_are_replaced_once_and_unknown_ones_named() {
        let mut problems = Problems::default();
        let (mut tree, _) = parsed("[vars]\napi = 'http://${host}:1'\n[x]\na = '${api}/$${api}'\nb = '${apo}'\n");
        let vars = Vars::take(&mut tree, "web-1", "/var", &[("extra".into(), "${api}".into())], &mut problems);
        vars.replace(&mut tree, &mut problems);
        assert_eq!(lookup(&tree, "x", "a").unwrap().value, Value::Text("http://web-1:1/${api}".into()));
        let titles: Vec<&str> = problems.list.iter().map(|p| p.title.as_str()).collect();
        assert_eq!(titles, ["there is no variable `apo`"]);
        assert_eq!(problems.list[0].help.as_deref(), Some("did you mean `api`?"));
    }

    #[test]
    fn dates_are_refused() {
        assert_eq!(parsed("a = 2025-10-28\n").1, ["dates are written as text here"]);
    }
}

//! `packs`: the ready-made rules, laid under what people wrote.
//!
//! Each rule of a pack says in its key `needs` what must be configured for it, so that none of them has nothing to
//! judge and forever says that it cannot see. `[rule.NAME]` of the same name overrides key by key. Enters: what people
//! wrote, variables replaced. Leaves: the same over the rules that hold. What each rule means stands in docs/PACKS.md.

use super::SourceConfig;
use super::load::{Files, child, empty, lookup, merge, parse};
use crate::base::table::{Entry, Node, Placed, Read, Value, nearest};
use crate::base::{Place, Problems};

/// The packs in the order in which their rules come: name, the name of the file, its text.
const PACKS: [(&str, &str, &str); 6] = [
    ("host", "packs/host.toml (built in)", include_str!("../../config/packs/host.toml")),
    ("target", "packs/target.toml (built in)", include_str!("../../config/packs/target.toml")),
    ("container", "packs/container.toml (built in)", include_str!("../../config/packs/container.toml")),
    ("systemd", "packs/systemd.toml (built in)", include_str!("../../config/packs/systemd.toml")),
    ("log", "packs/log.toml (built in)", include_str!("../../config/packs/log.toml")),
    ("self", "packs/self.toml (built in)", include_str!("../../config/packs/self.toml")),
];

/// Keys that make a table a rule of its own, whatever it is called.
const VALUES: [&str; 3] = ["expr", "errors", "total"];

/// What must be configured for a rule to have something to judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// A source of this kind.
    Kind(&'static str),
    /// A target that is neither external nor optional.
    Own,
    /// A target that is not ours.
    External,
    /// A target of our own that is asked over TLS.
    Https,
    /// A way back.
    Steps,
}

impl Need {
    /// The need that a pack calls so; the kind of a source for itself.
    fn named(word: &str) -> Option<Need> {
        match word {
            "own" => Some(Need::Own),
            "external" => Some(Need::External),
            "https" => Some(Need::Https),
            "steps" => Some(Need::Steps),
            kind => {
                let kinds = ["host", "prometheus", "container", "systemd", "log"];
                kinds.into_iter().find(|known| *known == kind).map(Need::Kind)
            }
        }
    }

    fn is_met(self, own: &Node) -> bool {
        match self {
            Need::Kind(kind) => some_source(own, &|known, _| known == kind),
            Need::Own => some_source(own, &|_, table| is_own(table)),
            Need::External => some_source(own, &|_, table| says(table, "external", true)),
            Need::Https => some_source(own, &|kind, table| kind == "http" && is_own(table) && is_https(table)),
            Need::Steps => {
                matches!(lookup(own, "rollback", "step"), Some(Node { value: Value::List(steps), .. }) if !steps.is_empty())
            }
        }
    }

    /// What to write for it.
    fn example(self) -> String {
        match self {
            Need::Kind("host") => "a [host]".into(),
            Need::Kind(kind) => format!("a [{kind}.NAME]"),
            Need::Own => "a source that is neither external nor optional".into(),
            Need::External => "a source with external = true".into(),
            Need::Https => "an [http.NAME] of your own with an address that begins with https://".into(),
            Need::Steps => "a [[rollback.step]]".into(),
        }
    }
}

/// Packs that somebody named, each with its place.
type Chosen = Vec<(&'static str, Place)>;

/// The packs that hold, and where somebody chose them.
#[derive(Clone, Debug, Default)]
pub struct Packs {
    /// Their names, in order.
    pub names: Vec<&'static str>,
    /// Where the key `packs` stands; none where those hold that apply.
    pub place: Option<Place>,
}

/// All packs, in order.
pub fn names() -> impl Iterator<Item = &'static str> {
    PACKS.into_iter().map(|(name, ..)| name)
}

/// The pack of that name; one that does not exist is a problem.
pub fn named(name: &Placed<String>, problems: &mut Problems) -> Option<&'static str> {
    let known: Vec<&'static str> = names().collect();
    let found = known.iter().copied().find(|known| *known == name.value);
    if found.is_none() {
        let problem = problems.error(&name.place, format!("there is no pack `{}`", name.value), "");
        match nearest(&name.value, &known) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem.help(format!("there are: {}", known.join(", "))),
        };
    }
    found
}

/// Takes the key `packs` out of `own`, and lays the rules that hold under it.
pub(super) fn lay(mut own: Node, files: &mut Files, problems: &mut Problems) -> (Node, Packs) {
    let (place, chosen) = take(&mut own, problems);
    let (mut tree, mut packs) = (empty(), Packs { names: Vec::new(), place });
    for pack in PACKS {
        let name = pack.0;
        let choice = chosen.as_ref().map(|all| all.iter().find(|chosen| chosen.0 == name));
        let (mut here, mut missing) = (Vec::new(), None);
        for (rule, need) in rules(pack, files, problems) {
            match (choice, need.filter(|need| !need.is_met(&own))) {
                (Some(None), _) => {
                    drop_override(&mut own, &rule.key, &format!("`packs` leaves out `{name}`"), problems);
                }
                (_, Some(need)) => {
                    drop_override(&mut own, &rule.key, &format!("it needs {}", need.example()), problems);
                    missing = Some(need);
                }
                (_, None) => here.push(rule),
            }
        }
        if !here.is_empty() {
            packs.names.push(name);
            merge(&mut tree, of_rules(here));
        } else if let (Some(Some((_, place))), Some(need)) = (choice, missing) {
            let title = format!("no rule of the pack `{name}` has anything to judge");
            problems.warning(place, title, "has no effect").help(format!("it needs {}", need.example()));
        }
    }
    merge(&mut tree, own);
    (tree, packs)
}

/// The rules of these packs and nothing else, whatever they need.
pub(super) fn alone(wanted: &[&str], files: &mut Files, problems: &mut Problems) -> Node {
    let mut tree = empty();
    for pack in PACKS.into_iter().filter(|pack| wanted.contains(&pack.0)) {
        let rules = rules(pack, files, problems).into_iter().map(|(rule, _)| rule);
        merge(&mut tree, of_rules(rules.collect()));
    }
    tree
}

/// The place of the key `packs`, and the packs that it names, each with its place; none where they are not known.
fn take(own: &mut Node, problems: &mut Problems) -> (Option<Place>, Option<Chosen>) {
    let Value::Table(entries) = &mut own.value else { return (None, None) };
    let Some(at) = entries.iter().position(|entry| entry.key == "packs") else { return (None, None) };
    let node = entries.remove(at).node;
    let words = Vec::<Placed<String>>::read(&node, problems).unwrap_or_default();
    let chosen: Vec<_> = words.into_iter().map(|word| Some((named(&word, problems)?, word.place))).collect();
    // Where one of them is no pack, what the others leave out is not told: it may be what was meant.
    (Some(node.place), chosen.into_iter().collect())
}

/// The rules of a pack, each with what it needs.
fn rules(
    (_, file, text): (&str, &str, &str),
    files: &mut Files,
    problems: &mut Problems,
) -> Vec<(Entry, Option<Need>)> {
    let number = files.add(file, None, text.into());
    let tree = parse(number, files, problems);
    let Some(Node { value: Value::Table(rules), .. }) = child(&tree, "rule") else { return Vec::new() };
    let with_need = |mut rule: Entry| {
        let need = take_need(&mut rule);
        (rule, need)
    };
    rules.iter().cloned().map(with_need).collect()
}

/// Takes the key `needs` out of a rule.
fn take_need(rule: &mut Entry) -> Option<Need> {
    let Value::Table(keys) = &mut rule.node.value else { return None };
    let at = keys.iter().position(|key| key.key == "needs")?;
    match keys.remove(at).node.value {
        Value::Text(word) => Need::named(&word),
        _ => None,
    }
}

fn of_rules(rules: Vec<Entry>) -> Node {
    let place = Place::default();
    let table = |entries| Node { value: Value::Table(entries), place: place.clone() };
    table(vec![Entry { key: "rule".into(), place: place.clone(), node: table(rules) }])
}

/// Leaves out what was written over a ready-made rule that is not there: alone it would be no rule.
fn drop_override(own: &mut Node, name: &str, why: &str, problems: &mut Problems) {
    let Value::Table(tables) = &mut own.value else { return };
    let Some(rules) = tables.iter_mut().find(|entry| entry.key == "rule") else { return };
    let Value::Table(rules) = &mut rules.node.value else { return };
    let is_override = |rule: &Entry| rule.key == name && VALUES.iter().all(|key| child(&rule.node, key).is_none());
    let Some(at) = rules.iter().position(is_override) else { return };
    let rule = rules.remove(at);
    if !says(&rule.node, "enabled", false) {
        problems
            .warning(&rule.place, format!("the ready-made rule `{name}` is not there"), "has no effect")
            .help(why.to_string());
    }
}

/// Whether some source that is not switched off is as asked: of its kind and its table.
fn some_source(own: &Node, is_wanted: &dyn Fn(&str, &Node) -> bool) -> bool {
    let is_wanted = |kind: &str, table: &Node| !says(table, "enabled", false) && is_wanted(kind, table);
    SourceConfig::KINDS.iter().any(|kind| match child(own, kind) {
        Some(table) if *kind == "host" => is_wanted(kind, table),
        Some(Node { value: Value::Table(entries), .. }) => entries.iter().any(|entry| is_wanted(kind, &entry.node)),
        _ => false,
    })
}

fn is_own(table: &Node) -> bool {
    ["external", "optional"].iter().all(|key| !says(table, key, true))
}

fn is_https(table: &Node) -> bool {
    matches!(child(table, "url"), Some(Node { value: Value::Text(url), .. }) if url.to_ascii_lowercase().starts_with("https://"))
}

/// Whether a table says `key = what`.
fn says(table: &Node, key: &str, what: bool) -> bool {
    matches!(child(table, key), Some(Node { value: Value::Bool(said), .. }) if *said == what)
}

//! `[watch]`: when the verdict falls, how much must have been seen for it, and the phases until then and after.

use super::{Phase, Settings};
use crate::base::table::{Placed, Value};
use crate::base::{Node, Place, Problems, Quantity, Span, Table, Unit};

/// What holds where nothing is written: 48 hours, 90 %, 10 minutes, and one phase called `watch`.
pub fn default() -> Settings {
    let whole = Phase { name: "watch".into(), until: None };
    Settings { verdict: Span::hours(48), coverage: 0.9, settle: Span::mins(10), phases: vec![whole] }
}

/// Reads the table `[watch]`; what is wrong is in `problems` and reads as its default.
pub fn read(node: &Node, problems: &mut Problems) -> Settings {
    let mut settings = default();
    let Some(mut table) = Table::open(node, "[watch]", problems) else { return settings };
    if let Some(verdict) = table.get::<Placed<Span>>("verdict", problems) {
        if verdict.value <= Span::ZERO {
            problems.error(&verdict.place, "a watch is longer than nothing", "the verdict would fall at once");
        }
        settings.verdict = verdict.value;
    }
    if let Some(coverage) = table.get::<Placed<Quantity>>("coverage", problems) {
        if coverage.value.unit != Unit::Ratio || !(0.0..=1.0).contains(&coverage.value.value) {
            problems.error(&coverage.place, "this takes a percentage", "0% to 100%").help("coverage = \"90%\"");
        }
        settings.coverage = coverage.value.value;
    }
    settings.settle = table.or("settle", settings.settle, problems);
    if let Some(node) = table.node("phase") {
        settings.phases = read_phases(node, settings.verdict, problems);
    }
    not_yet(&mut table, &["restart_on"], problems);
    table.finish(problems);
    settings
}

/// Reads `[[watch.phase]]`: each ends later than the one before; the last may end with the verdict.
fn read_phases(node: &Node, verdict: Span, problems: &mut Problems) -> Vec<Phase> {
    let Value::List(nodes) = &node.value else {
        problems
            .error(&node.place, "`phase` is a list of tables", format!("this is {}", node.kind()))
            .help("write [[watch.phase]] with two brackets");
        return Vec::new();
    };
    let mut phases: Vec<Phase> = Vec::new();
    let mut begins = Span::ZERO;
    for (i, node) in nodes.iter().enumerate() {
        let Some((name, until, place)) = read_phase(node, problems) else { continue };
        if phases.iter().any(|phase| phase.name == name.value) {
            problems.error(&name.place, format!("two phases are called `{}`", name.value), "again here");
        }
        let is_last = i + 1 == nodes.len();
        match &until {
            Some(until) if until.value <= begins => {
                let label = if begins == Span::ZERO { "ends at once".into() } else { format!("begins at {begins}") };
                problems
                    .error(&until.place, "a phase ends before it begins", label)
                    .help("`until` counts from the deployment, not from the phase before");
            }
            Some(until) => begins = until.value,
            None if !is_last => {
                problems
                    .error(&place, "a phase without an end", "others come after it")
                    .help("for example until = \"1h\"; only the last may end with the verdict");
            }
            None if verdict <= begins => {
                problems
                    .error(&place, "a phase ends before it begins", format!("the verdict falls at {verdict}"))
                    .help("write `until`: phases may go on after the verdict");
            }
            None => {}
        }
        phases.push(Phase { name: name.value, until: until.map(|until| until.value) });
    }
    phases
}

/// One phase: its name, its end, and where its table stands.
fn read_phase(node: &Node, problems: &mut Problems) -> Option<(Placed<String>, Option<Placed<Span>>, Place)> {
    let mut table = Table::open(node, "a phase", problems)?;
    let name: Option<Placed<String>> = table.required("name", "\"first-hour\"", problems);
    if let Some(name) = name.as_ref().filter(|name| !is_name(&name.value)) {
        problems
            .error(&name.place, format!("`{}` is no name", name.value), "a name")
            .help("a-z, 0-9 and hyphens, at most 63, not beginning with a hyphen");
    }
    let until = table.get("until", problems);
    not_yet(&mut table, &["interval", "summary"], problems);
    let place = table.place().clone();
    table.finish(problems);
    Some((name?, until, place))
}

fn is_name(text: &str) -> bool {
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=63).contains(&text.len()) && letter(text.as_bytes()[0]) && text.bytes().all(|b| letter(b) || b == b'-')
}

/// Refuses keys that the grammar has and this version has not.
fn not_yet(table: &mut Table<'_>, keys: &[&str], problems: &mut Problems) {
    for key in keys {
        if let Some(place) = table.key_place(key) {
            problems
                .error(place, format!("unknown key `{key}`"), "would have no effect")
                .help(format!("`{key}` is not in this version"));
            table.node(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::table::Entry;

    #[test]
    fn figures_are_read_and_checked() {
        for (key, text, title) in [
            ("verdict", "24h", None),
            ("verdict", "0s", Some("a watch is longer than nothing")),
            ("coverage", "95%", None),
            ("coverage", "120%", Some("this takes a percentage")),
            ("coverage", "2s", Some("this takes a percentage")),
            ("phase", "x", Some("`phase` is a list of tables")),
            ("restart_on", "x", Some("unknown key `restart_on`")),
        ] {
            let node = |value| Node { value, place: Place::default() };
            let entry = Entry { key: key.into(), place: Place::default(), node: node(Value::Text(text.into())) };
            let mut problems = Problems::default();
            read(&node(Value::Table(vec![entry])), &mut problems);
            assert_eq!(problems.list.first().map(|p| p.title.as_str()), title, "{key} = {text}");
        }
    }

    /// What is wrong with these phases, and the settings they give.
    fn phases(written: &[&[(&str, &str)]]) -> (Settings, Vec<String>) {
        let node = |value| Node { value, place: Place::default() };
        let entry = |key: &str, value| Entry { key: key.into(), place: Place::default(), node: node(value) };
        let table = |keys: &&[(&str, &str)]| {
            node(Value::Table(keys.iter().map(|(key, text)| entry(key, Value::Text((*text).into()))).collect()))
        };
        let list = Value::List(written.iter().map(table).collect());
        let mut problems = Problems::default();
        let settings = read(&node(Value::Table(vec![entry("phase", list)])), &mut problems);
        (settings, problems.list.into_iter().map(|p| p.title).collect())
    }

    #[test]
    fn phases_follow_each_other_until_the_last_ends() {
        let (settings, problems) = phases(&[
            &[("name", "first-hour"), ("until", "1h")],
            &[("name", "day"), ("until", "24h")],
            &[("name", "rest")],
        ]);
        assert_eq!(problems, Vec::<String>::new());
        for (age, phase) in [
            (Span::secs(-1), None),
            (Span::ZERO, Some("first-hour")),
            (Span::mins(60), Some("day")),
            (Span::hours(24), Some("rest")),
            (Span::hours(48), None),
        ] {
            assert_eq!(settings.phase_at(age), phase, "{age}");
        }
        assert_eq!(default().phase_at(Span::hours(47)), Some("watch"));
        let beyond = phases(&[&[("name", "a"), ("until", "72h")]]).0;
        assert_eq!(beyond.phase_at(Span::hours(71)), Some("a"), "phases may go on after the verdict");
    }

    #[test]
    fn phases_that_are_never_there_are_refused() {
        for (written, title) in [
            (&[&[("until", "1h")][..]][..], "a phase needs `name`"),
            (&[&[("name", "A")]], "`A` is no name"),
            (&[&[("name", "")]], "`` is no name"),
            (&[&[("name", "a"), ("until", "0s")]], "a phase ends before it begins"),
            (&[&[("name", "a"), ("until", "2h")], &[("name", "b"), ("until", "1h")]], "a phase ends before it begins"),
            (&[&[("name", "a"), ("until", "48h")], &[("name", "b")]], "a phase ends before it begins"),
            (&[&[("name", "a")], &[("name", "b")]], "a phase without an end"),
            (&[&[("name", "a"), ("until", "1h")], &[("name", "a")]], "two phases are called `a`"),
            (&[&[("name", "a"), ("interval", "5s")]], "unknown key `interval`"),
            (&[&[("name", "a"), ("summary", "1d")]], "unknown key `summary`"),
        ] {
            assert_eq!(phases(written).1, [title], "{written:?}");
        }
    }
}

//! `[watch]`: when the verdict falls, and how much must have been seen for it.

use super::Settings;
use crate::base::table::Placed;
use crate::base::{Node, Problems, Quantity, Span, Table, Unit};

/// What holds where nothing is written: 48 hours, 90 %, 10 minutes.
pub fn default() -> Settings {
    Settings { verdict: Span::hours(48), coverage: 0.9, settle: Span::mins(10) }
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
    for key in ["phase", "restart_on"] {
        if let Some(place) = table.key_place(key) {
            problems
                .error(place, format!("unknown key `{key}`"), "would have no effect")
                .help(format!("`{key}` is not in this version"));
            table.node(key);
        }
    }
    table.finish(problems);
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Place;
    use crate::base::table::{Entry, Value};

    #[test]
    fn figures_are_read_and_checked() {
        for (key, text, title) in [
            ("verdict", "24h", None),
            ("verdict", "0s", Some("a watch is longer than nothing")),
            ("coverage", "95%", None),
            ("coverage", "120%", Some("this takes a percentage")),
            ("coverage", "2s", Some("this takes a percentage")),
            ("phase", "x", Some("unknown key `phase`")),
        ] {
            let node = |value| Node { value, place: Place::default() };
            let entry = Entry { key: key.into(), place: Place::default(), node: node(Value::Text(text.into())) };
            let mut problems = Problems::default();
            read(&node(Value::Table(vec![entry])), &mut problems);
            assert_eq!(problems.list.first().map(|p| p.title.as_str()), title, "{key} = {text}");
        }
    }
}

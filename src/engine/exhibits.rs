//! The last lines that sources showed, and which of them belong to an alert.
//!
//! Enters: the exhibits of each batch. Leaves: for an alert of a rule that reads the counters of lines, the newest lines
//! that these counted; for the evidence of a rollback, the newest lines of all targets.
//!
//! Pure, and in memory only: what a decision shows is journaled with the decision, the rest is gone with the process. How
//! many lines there were is not known here, because a source shows only some; the counters in the store know it. Nothing
//! fails: past a bound the target that holds most gives up its oldest line, so that a loud one never drives out what a
//! quiet one said.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::Serialize;

use crate::base::exhibit::Like;
use crate::base::label::NAME;
use crate::base::{Batch, Exhibit, Labels, Line, SourceRef, Span, Timestamp};
use crate::store::{Matcher, Selector};

/// How many lines are kept of each pattern and each level of a target.
const MAX_OF_NAME: usize = 20;

/// How many lines are kept of a target.
const MAX_OF_TARGET: usize = 200;

/// How many lines are kept.
const MAX_LINES: usize = 2000;

/// How many bytes of lines are kept.
const MAX_BYTES: usize = 1 << 20;

/// How many lines an alert shows.
const MAX_SHOWN: usize = 3;

/// Among how many of the newest lines those that an alert shows are chosen.
const MAX_COMPARED: usize = 200;

/// How much of a line tells it from others, in bytes.
const MAX_SHAPE: usize = 200;

/// How old a line that an alert shows may be, whatever its rule reads.
const MAX_AGE: Span = Span::hours(24);

/// Series that say something of the lines that match a pattern; the first counts them.
const OF_PATTERNS: [&str; 3] = ["log_matches_total", "log_matches_new", "log_last_match_timestamp_seconds"];

/// The series that counts lines by their level.
const OF_LEVELS: &str = "log_lines_total";

/// The last lines of each target.
#[derive(Debug, Default)]
pub(super) struct Exhibits {
    shelves: BTreeMap<(SourceRef, String), Shelf>,
}

/// The last lines of one target, the newest last.
#[derive(Debug, Default)]
struct Shelf {
    lines: VecDeque<Kept>,
    bytes: usize,
}

/// One line, when it came, and the labels that all series have that count it.
#[derive(Debug)]
struct Kept {
    seen: Timestamp,
    labels: Labels,
    exhibit: Exhibit,
}

/// What a line is counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Name<'a> {
    Pattern(&'a str),
    Level(&'a str),
}

/// A line that belongs to an alert: what counted it, and through which of the rule's selectors it was found.
#[derive(Clone, Copy)]
struct Found<'a> {
    kept: &'a Kept,
    name: Name<'a>,
    selector: &'a Selector,
    window: Span,
}

/// A line in the evidence of a rollback.
#[derive(Debug, Serialize)]
pub(super) struct Shown<'a> {
    source: String,
    instance: &'a str,
    /// When it came; it may have been written before.
    seen: Timestamp,
    #[serde(flatten)]
    exhibit: &'a Exhibit,
}

impl Exhibits {
    /// Keeps what a batch shows. The oldest lines go where there are too many.
    pub(super) fn keep(&mut self, batch: &Batch) {
        if batch.exhibits.is_empty() {
            return;
        }
        let shelf = self.shelves.entry((batch.source.clone(), batch.instance.clone())).or_default();
        let mut known: HashMap<Option<&str>, Labels> = HashMap::new();
        for exhibit in &batch.exhibits[batch.exhibits.len().saturating_sub(MAX_OF_TARGET)..] {
            let service = exhibit.service.as_deref();
            let labels = known.entry(service).or_insert_with(|| counted_as(batch, service)).clone();
            shelf.push(Kept { seen: batch.at, labels, exhibit: exhibit.clone().bounded() });
        }
        shelf.thin();
        while self.n_lines() > MAX_LINES || self.n_bytes() > MAX_BYTES {
            let Some(loudest) = self.shelves.values_mut().max_by_key(|shelf| shelf.bytes) else { return };
            loudest.drop_oldest();
        }
    }

    /// The lines that an alert is about, the newest first and no two alike: those that the series which `reads` means
    /// counted, each selector within its time before `now`, as far as they agree with `labels` of the alert.
    ///
    /// `count` tells how much the counters that a selector means rose in a time before `now`.
    pub(super) fn of_alert(
        &self,
        reads: &[(Selector, Span)],
        labels: &Labels,
        now: Timestamp,
        count: impl Fn(&Selector, Span) -> u64,
    ) -> Vec<Line> {
        let found = self.find(reads, labels, now);
        let shown = newest_of_each_kind(&found);
        let n = |among: &[Found<'_>], name: Name<'_>| among.iter().filter(|found| found.name == name).count() as u64;
        let mut lines = Vec::new();
        for (i, one) in shown.iter().enumerate() {
            let is_first = shown[..i].iter().all(|before| before.name != one.name);
            let count = || count(&one.counter(labels), one.window).max(n(&found, one.name));
            let like = is_first.then(count).filter(|count| *count > n(&shown, one.name));
            let like = like.map(|count| Like { count, window: one.window });
            lines.push(Line { like, ..Line::of(&one.kept.exhibit, one.name.pattern()) });
        }
        lines
    }

    /// The last lines of all targets, the oldest first and at most `most`: as many of each target as fit.
    pub(super) fn last(&self, most: usize) -> Vec<Shown<'_>> {
        let mut all: Vec<(usize, Shown<'_>)> = Vec::new();
        for ((source, instance), shelf) in &self.shelves {
            let shown = |kept| Shown::of(source, instance, kept);
            all.extend(shelf.lines.iter().rev().map(shown).enumerate());
        }
        all.sort_by_key(|(depth, _)| *depth);
        all.truncate(most);
        all.sort_by_key(|(depth, shown)| (shown.seen, std::cmp::Reverse(*depth)));
        all.into_iter().map(|(_, shown)| shown).collect()
    }

    /// Forgets the lines of sources that are no more.
    pub(super) fn retain(&mut self, is_there: impl Fn(&SourceRef) -> bool) {
        self.shelves.retain(|(source, _), _| is_there(source));
    }

    /// Moves the times at which lines came by `by`, because the wall clock was set. What is written on them stays.
    pub(super) fn shift(&mut self, by: Span) {
        self.shelves.values_mut().flat_map(|shelf| &mut shelf.lines).for_each(|kept| kept.seen += by);
    }

    /// What belongs to an alert, the newest first.
    fn find<'a>(&'a self, reads: &'a [(Selector, Span)], labels: &Labels, now: Timestamp) -> Vec<Found<'a>> {
        let mut found: Vec<Found<'a>> = Vec::new();
        for kept in self.shelves.values().flat_map(|shelf| shelf.lines.iter().rev()) {
            let by = |(selector, window): &'a (Selector, Span)| {
                let window = (*window).min(MAX_AGE);
                // Counters rise when a line is read, so that is what decides, not when it says that it was written.
                let name = (kept.seen > now - window).then(|| kept.name_for(selector, labels)).flatten()?;
                Some(Found { kept, name, selector, window })
            };
            found.extend(reads.iter().find_map(by));
        }
        found.sort_by_key(|found| std::cmp::Reverse((found.kept.seen, found.kept.exhibit.at)));
        found
    }

    fn n_lines(&self) -> usize {
        self.shelves.values().map(|shelf| shelf.lines.len()).sum()
    }

    fn n_bytes(&self) -> usize {
        self.shelves.values().map(|shelf| shelf.bytes).sum()
    }
}

impl Shelf {
    fn push(&mut self, kept: Kept) {
        self.bytes += kept.size();
        self.lines.push_back(kept);
    }

    fn drop_oldest(&mut self) {
        if let Some(kept) = self.lines.pop_front() {
            self.bytes -= kept.size();
        }
    }

    /// Leaves the lines that are among the last of one of their names, at most [`MAX_OF_TARGET`].
    fn thin(&mut self) {
        let mut held: HashMap<Name<'_>, usize> = HashMap::new();
        let mut is_wanted = Vec::with_capacity(self.lines.len());
        for kept in self.lines.iter().rev() {
            let mut is_among_the_last = false;
            for name in kept.names() {
                let n = held.entry(name).or_default();
                *n += 1;
                is_among_the_last |= *n <= MAX_OF_NAME;
            }
            is_wanted.push(is_among_the_last);
        }
        drop(held);
        self.lines.retain(|_| is_wanted.pop().unwrap_or(false));
        self.bytes = self.lines.iter().map(Kept::size).sum();
        while self.lines.len() > MAX_OF_TARGET {
            self.drop_oldest();
        }
    }
}

impl Kept {
    /// All that it is counted for.
    fn names(&self) -> impl Iterator<Item = Name<'_>> {
        let patterns = self.exhibit.patterns.iter().map(|pattern| Name::Pattern(pattern));
        patterns.chain([Name::Level(&self.exhibit.level)])
    }

    /// For what the series that `selector` means count it, as far as that agrees with `labels` of an alert.
    fn name_for(&self, selector: &Selector, labels: &Labels) -> Option<Name<'_>> {
        let shared = selector.matchers.iter().filter(|matcher| !is_own(&matcher.label));
        if !shared.into_iter().all(|matcher| matcher.matches(self.labels.get(&matcher.label))) || !self.agrees(labels) {
            return None;
        }
        let is_asked_for = |label: &str, value: &str| {
            let wanted = labels.get(label);
            selector.admits(label, value) && (wanted.is_empty() || wanted == value)
        };
        if OF_PATTERNS.iter().any(|name| selector.admits_name(name)) && selector.admits("level", "") {
            let patterns = &self.exhibit.patterns;
            if let Some(pattern) = patterns.iter().find(|pattern| is_asked_for("pattern", pattern)) {
                return Some(Name::Pattern(pattern));
            }
        }
        // Without a level it asks how much is written, not what.
        let is_about_levels = selector.matchers.iter().any(|matcher| matcher.label == "level");
        let level = &*self.exhibit.level;
        let is_meant = selector.admits_name(OF_LEVELS) && is_about_levels && selector.admits("pattern", "");
        (is_meant && is_asked_for("level", level)).then_some(Name::Level(level))
    }

    /// Whether no label that both have differs. What an aggregation left out says nothing.
    fn agrees(&self, labels: &Labels) -> bool {
        labels.iter().filter(|(name, _)| !is_own(name)).all(|(name, value)| {
            let mine = self.labels.get(name);
            mine.is_empty() || mine == value
        })
    }

    /// Bytes of memory, roughly.
    fn size(&self) -> usize {
        let e = &self.exhibit;
        let names: usize = e.patterns.iter().chain(&e.service).map(|name| name.len() + size_of::<String>()).sum();
        size_of::<Kept>() + e.text.len() + e.place.len() + e.level.len() + names
    }
}

impl<'a> Name<'a> {
    fn pattern(self) -> Option<&'a str> {
        match self {
            Name::Pattern(pattern) => Some(pattern),
            Name::Level(_) => None,
        }
    }
}

impl Found<'_> {
    /// The counters that counted it, for the alert with these labels.
    fn counter(&self, labels: &Labels) -> Selector {
        let (counter, own) = match self.name {
            Name::Pattern(pattern) => (OF_PATTERNS[0], Matcher::equal("pattern", pattern)),
            Name::Level(level) => (OF_LEVELS, Matcher::equal("level", level)),
        };
        let asked = self.selector.matchers.iter().filter(|matcher| !is_own(&matcher.label)).cloned();
        let of_alert = labels.iter().filter(|(name, _)| !is_own(name) && !self.kept.labels.get(name).is_empty());
        let of_alert = of_alert.map(|(name, value)| Matcher::equal(name, value));
        Selector { name: Some(counter.into()), matchers: asked.chain(of_alert).chain([own]).collect() }
    }
}

impl<'a> Shown<'a> {
    fn of(source: &SourceRef, instance: &'a str, kept: &'a Kept) -> Shown<'a> {
        Shown { source: source.to_string(), instance, seen: kept.seen, exhibit: &kept.exhibit }
    }
}

/// Labels that say which of a target's series it is, not which target.
fn is_own(label: &str) -> bool {
    [NAME, "pattern", "level"].contains(&label)
}

/// The labels that all series of `batch` have that count lines of `service`: told by the first of them. Where it has none,
/// what is known of every target.
fn counted_as(batch: &Batch, service: Option<&str>) -> Labels {
    let counts = |labels: &Labels| {
        let is_one = OF_PATTERNS.contains(&labels.name()) || labels.name() == OF_LEVELS;
        is_one && service.is_none_or(|service| labels.get("service") == service)
    };
    let one = batch.samples.iter().map(|sample| &sample.labels).find(|labels| counts(labels));
    one.map(|labels| labels.filtered(|name| !is_own(name))).unwrap_or_else(|| {
        let SourceRef { kind, name } = &batch.source;
        let service = service.unwrap_or_default();
        Labels::new([("job", name.as_str()), ("source", kind), ("instance", &batch.instance), ("service", service)])
    })
}

/// The newest line of each of the newest kinds.
fn newest_of_each_kind<'a>(found: &[Found<'a>]) -> Vec<Found<'a>> {
    let (mut shown, mut shapes) = (Vec::new(), Vec::new());
    for one in found.iter().take(MAX_COMPARED) {
        let shape = shape(&one.kept.exhibit.text);
        if !shapes.contains(&shape) {
            shapes.push(shape);
            shown.push(*one);
        }
        if shown.len() == MAX_SHOWN {
            break;
        }
    }
    shown
}

/// A line without what differs between two of its kind: words with digits in them (times, numbers, identities).
fn shape(text: &str) -> String {
    let text = &text[..text.floor_char_boundary(MAX_SHAPE)];
    let words = text.split(|c: char| !c.is_alphanumeric());
    let words = words.filter(|word| !word.is_empty() && !word.contains(|c: char| c.is_ascii_digit()));
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Outcome, Sample};

    const NOW: Timestamp = Timestamp(1_761_640_000_000);

    fn exhibit(level: &str, patterns: &[&str], text: &str) -> Exhibit {
        Exhibit {
            at: NOW,
            place: "api.log".into(),
            service: None,
            level: level.into(),
            patterns: patterns.iter().map(|name| name.to_string()).collect(),
            text: text.into(),
        }
    }

    /// A batch of the source `log.NAME`, `before` now, with one counter a service.
    fn batch(name: &str, services: &[&str], before: Span, exhibits: Vec<Exhibit>) -> Batch {
        let labels = |service: &&str| {
            let own = [("__name__", OF_LEVELS), ("level", "info"), ("job", name), ("source", "log"), ("instance", "h")];
            Labels::new(own).merged(&Labels::new([("service", *service), ("team", "shop")]))
        };
        let samples = services.iter().map(|service| Sample { labels: labels(service), value: 1.0, at: None }).collect();
        Batch {
            source: SourceRef::new("log", name),
            instance: "h".into(),
            at: NOW - before,
            interval: Span::secs(15),
            outcome: Outcome::Good,
            samples,
            checkpoint: None,
            holds: true,
            exhibits,
        }
    }

    fn reads(selectors: &[&str]) -> Vec<(Selector, Span)> {
        let read = |text: &&str| (crate::promql::compile_selector(text).expect("a selector"), Span::mins(5));
        selectors.iter().map(read).collect()
    }

    /// The texts that an alert with these labels shows for a rule that reads these selectors.
    fn texts(exhibits: &Exhibits, selectors: &[&str], labels: &[(&str, &str)]) -> Vec<String> {
        let labels = Labels::new(labels.iter().copied());
        let lines = exhibits.of_alert(&reads(selectors), &labels, NOW, |_, _| 0);
        lines.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn an_alert_shows_the_lines_that_its_selectors_count_and_no_others() {
        let mut exhibits = Exhibits::default();
        let of_service = |service: &str, e: Exhibit| Exhibit { service: Some(service.into()), ..e };
        exhibits.keep(&batch("api", &["api"], Span::secs(40), vec![exhibit("error", &["oom", "disk"], "no room")]));
        exhibits.keep(&batch("api", &["api"], Span::secs(30), vec![exhibit("fatal", &[], "gone")]));
        let of_two = vec![
            of_service("web", exhibit("error", &["oom"], "web died")),
            of_service("worker", exhibit("warning", &["slow"], "worker waits")),
        ];
        exhibits.keep(&batch("all", &["web", "worker"], Span::secs(20), of_two));
        let none: &[(&str, &str)] = &[];
        for (selectors, labels, wanted) in [
            (&["log_matches_total{pattern=\"oom\"}"][..], none, &["web died", "no room"][..]),
            (&["log_matches_new{pattern=~\"o.*\"}"], none, &["web died", "no room"]),
            (&["log_last_match_timestamp_seconds"], none, &["worker waits", "web died", "no room"]),
            (&["log_matches_total{pattern=\"oom\",job=\"api\"}"], none, &["no room"]),
            (&["log_matches_total{pattern=\"oom\",instance!=\"h\"}"], none, &[]),
            (&["log_matches_total{service=\"web\"}"], none, &["web died"]),
            (&["log_matches_total{team=\"shop\",source=\"log\",service!=\"web\"}"], none, &["worker waits", "no room"]),
            (&["log_lines_total{level=~\"critical|fatal\"}"], none, &["gone"]),
            (&["log_lines_total{level=\"error\"}", "log_lines_total"], none, &["web died", "no room"]),
            (&["log_lines_total"], none, &[]),
            (&["log_value", "http_requests_total{level=\"error\"}", "log_matches_total{pattern=\"x\"}"], none, &[]),
            // Labels of the alert that the value still has.
            (&["log_matches_total"], &[("pattern", "disk"), ("alertname", "x")], &["no room"]),
            (&["log_matches_total"], &[("service", "worker")], &["worker waits"]),
            (&["log_lines_total{level=~\".*\"}"], &[("level", "fatal"), ("job", "api")], &["gone"]),
            (&["log_lines_total{level=~\".*\"}"], &[("job", "other")], &[]),
        ] {
            assert_eq!(texts(&exhibits, selectors, labels), wanted, "{selectors:?} {labels:?}");
        }
    }

    #[test]
    fn lines_are_shown_that_came_within_the_time_of_the_rule_whenever_they_were_written() {
        let mut exhibits = Exhibits::default();
        exhibits.keep(&batch("api", &["api"], Span::mins(5), vec![exhibit("error", &[], "too long ago")]));
        let late = Exhibit { at: NOW - Span::hours(3), ..exhibit("error", &[], "read late") };
        exhibits.keep(&batch("api", &["api"], Span::mins(4), vec![late]));
        assert_eq!(texts(&exhibits, &["log_lines_total{level=\"error\"}"], &[]), ["read late"]);
        exhibits.shift(-Span::hours(1));
        assert_eq!(texts(&exhibits, &["log_lines_total{level=\"error\"}"], &[]), [""; 0]);
    }

    #[test]
    fn lines_of_a_kind_are_one_with_the_count_that_their_counter_knows() {
        let mut exhibits = Exhibits::default();
        let lines = ["req 8f31 failed in 12 ms", "worker 3 lost", "req 77aa failed in 9 ms", "req 1 failed in 1 ms"];
        let lines = lines.map(|text| exhibit("error", &["bad"], text)).to_vec();
        exhibits.keep(&batch("api", &["api"], Span::secs(10), lines));
        let asked = std::cell::RefCell::new(Vec::new());
        let count = |counter: &Selector, window: Span| {
            asked.borrow_mut().push(format!("{counter} {}", window.human()));
            41
        };
        let labels = Labels::new([("job", "api"), ("alertname", "bad")]);
        let reads = reads(&["log_matches_new{pattern=~\"b.d\",team=\"shop\"}"]);
        let lines = exhibits.of_alert(&reads, &labels, NOW, count);
        let shown: Vec<_> = lines.iter().map(|line| (&*line.text, line.counted())).collect();
        let like = Some("41 like it in 5 min".to_string());
        assert_eq!(shown, [("req 1 failed in 1 ms", like), ("worker 3 lost", None)]);
        let counter = r#"log_matches_total{team="shop",job="api",pattern="bad"} 5 min"#;
        assert_eq!(*asked.borrow(), [counter]);
        // A counter that has just begun knows less than was shown.
        let lines = exhibits.of_alert(&reads, &labels, NOW, |_, _| 0);
        assert_eq!(lines[0].counted().as_deref(), Some("4 like it in 5 min"));
        // No more than are shown: nothing to say.
        exhibits = Exhibits::default();
        exhibits.keep(&batch("api", &["api"], Span::secs(10), vec![exhibit("error", &["bad"], "once")]));
        assert_eq!(exhibits.of_alert(&reads, &labels, NOW, |_, _| 1)[0].like, None);
    }

    #[test]
    fn a_loud_target_never_drives_out_what_a_quiet_one_said() {
        let mut exhibits = Exhibits::default();
        exhibits.keep(&batch("quiet", &["quiet"], Span::secs(299), vec![exhibit("fatal", &["oom"], "the one")]));
        let long = "x".repeat(5000);
        for n in 0..3000 {
            let (source, level) = (format!("loud-{}", n % 12), format!("level-{}", n % 97));
            let many = (0..10).map(|i| exhibit(&level, &[&format!("p{i}")], &long)).collect();
            exhibits.keep(&batch(&source, &["x"], Span::millis(3000 - n), many));
            assert!(exhibits.n_lines() <= MAX_LINES && exhibits.n_bytes() <= MAX_BYTES);
            assert!(exhibits.shelves.values().all(|shelf| shelf.lines.len() <= MAX_OF_TARGET));
        }
        assert!(exhibits.n_bytes() > MAX_BYTES / 2, "the room is used");
        let bytes = |shelf: &Shelf| shelf.lines.iter().map(Kept::size).sum::<usize>();
        assert!(exhibits.shelves.values().all(|shelf| shelf.bytes == bytes(shelf)));
        assert_eq!(texts(&exhibits, &["log_matches_total{pattern=\"oom\"}"], &[]), ["the one"]);
        assert_eq!(exhibits.last(200).len(), 200);
        assert_eq!(exhibits.last(200)[0].exhibit.text, "the one");
    }

    #[test]
    fn of_each_pattern_and_level_the_last_are_kept() {
        let mut exhibits = Exhibits::default();
        exhibits.keep(&batch("api", &["api"], Span::secs(99), vec![exhibit("info", &["rare"], "rare")]));
        let many = |n: usize| (0..n).map(|i| exhibit("info", &["often"], &format!("often {i}"))).collect::<Vec<_>>();
        (0..50).for_each(|i| exhibits.keep(&batch("api", &["api"], Span::secs(90 - i), many(7))));
        assert_eq!(exhibits.n_lines(), MAX_OF_NAME + 1);
        assert_eq!(texts(&exhibits, &["log_matches_total{pattern=\"rare\"}"], &[]), ["rare"]);
        exhibits.keep(&batch("api", &["api"], Span::secs(1), many(100_000)));
        assert_eq!(exhibits.n_lines(), MAX_OF_NAME + 1);
        exhibits.retain(|source| source.name != "api");
        assert_eq!(exhibits.n_lines(), 0);
    }

    #[test]
    fn the_last_lines_are_shared_out_among_the_targets() {
        let mut exhibits = Exhibits::default();
        let many = |n: usize| (0..n).map(|i| exhibit("error", &[], &format!("line {i}"))).collect::<Vec<_>>();
        exhibits.keep(&batch("a", &["a"], Span::secs(9), many(20)));
        exhibits.keep(&batch("b", &["b"], Span::secs(8), many(2)));
        let told = |most| {
            let shown = exhibits.last(most);
            shown.iter().map(|s| format!("{} {}", s.source, s.exhibit.text)).collect::<Vec<_>>()
        };
        assert_eq!(told(5), ["log.a line 17", "log.a line 18", "log.a line 19", "log.b line 0", "log.b line 1"]);
        assert_eq!(told(100).len(), 22);
        let json = serde_json::to_value(exhibits.last(1)).unwrap();
        assert_eq!(json[0]["source"], "log.a");
        assert_eq!(json[0]["text"], "line 19");
    }
}

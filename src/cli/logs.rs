//! `backstop logs`: what log sources have kept, from the state folder; no agent needs to run.
//!
//! Exit: 0 something was found, 1 nothing was, 2 a word of the command line is wrong, 3 nothing is kept that could be searched.

use jiff::tz::TimeZone;
use regex::{Regex, RegexBuilder};

use super::out::{Out, pad, plural};
use super::query::point;
use super::{Context, Exit, Failure, place};
use crate::base::Timestamp;
use crate::source::log::kept::{self, Found, Kept, Matcher, Query, SearchError};
use crate::source::log::level::Level;

/// The most lines of one answer.
const MAX_LIMIT: u64 = 100_000;

/// How large a regular expression may become, in bytes.
const MAX_REGEX: usize = 8 << 20;

/// Searches the lines that log sources have kept.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "A source keeps its lines where its table says so:  [log.api]  keep = \"48h\"\n\
                        They are read from the state folder, also while no agent runs. Secrets were hidden before they were\n\
                        written; what is not there cannot be found. A time is written 2025-10-28T09:41:00Z, as Unix seconds,\n\
                        or as an age: 90m.\n\n  \
                        backstop logs                                    the newest of all sources\n  \
                        backstop logs api --level error --since 1h       what failed lately\n  \
                        backstop logs --contains 'order 4711'            the way of an order\n  \
                        backstop logs api --match 'timeout after \\d{4,} ms' --format json\n\n\
                        Exit codes: 0 found, 1 nothing found, 2 the command line is wrong, 3 nothing is kept.")]
pub struct Args {
    /// Sources by name, as in [log.NAME]; all where none is given.
    #[arg(value_name = "SOURCE")]
    sources: Vec<String>,
    /// Only events whose text matches this regular expression.
    #[arg(long = "match", value_name = "REGEX", conflicts_with = "contains", value_parser = regex)]
    matching: Option<Regex>,
    /// Only events in which this stands, letter by letter.
    #[arg(long, value_name = "TEXT")]
    contains: Option<String>,
    /// Only events at least this bad: trace, debug, info, warning, error, critical, fatal.
    #[arg(long, value_name = "LEVEL", value_parser = level)]
    level: Option<Level>,
    /// Only events from this time on.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only events up to this time.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// At most so many events, the newest.
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u64).range(1..=MAX_LIMIT))]
    limit: u64,
}

/// Searches and shows.
pub async fn run(context: &mut Context, args: &Args) -> Result<Exit, Failure> {
    let now = context.clock.now();
    let query = query(args, now).map_err(|why| Failure::usage(why, None))?;
    let folder = place::lines(&context.place().state);
    let search = move || kept::search(&folder, &query);
    let found = crate::sys::tasks::blocking(search).await.map_err(Failure::unknown)?.map_err(|error| {
        let help = matches!(error, SearchError::NothingKept(_)).then(|| {
            "to keep lines:   keep = \"48h\"   in the table [log.NAME]; another state folder: --state DIR".into()
        });
        Failure { text: crate::base::chain(&error), help, exit: Exit::Unknown }
    })?;
    for why in &found.trouble {
        Out::error(&format!("note: {}", harmless(why)));
    }
    if context.json() {
        for kept in &found.events {
            context.out.bytes(&json(kept));
        }
    } else {
        let zone = context.when(now).zone;
        context.out.text(&render(&found, &zone));
        if found.has_more {
            Out::error(&format!(
                "note: the newest {}; there may be more: --limit N",
                plural(found.events.len(), "event")
            ));
        }
    }
    Ok(if found.events.is_empty() { Exit::Bad } else { Exit::Good })
}

fn query(args: &Args, now: Timestamp) -> Result<Query, String> {
    let at = |text: &Option<String>| text.as_deref().map(|text| point(text, now)).transpose();
    let (since, until) = (at(&args.since)?, at(&args.until)?);
    if let (Some(since), Some(until)) = (since, until)
        && since > until
    {
        return Err("--since is later than --until".into());
    }
    let contains = args.contains.clone().map(Matcher::Contains);
    Ok(Query {
        // As it stands in the configuration is right as well.
        sources: args.sources.iter().map(|name| name.strip_prefix("log.").unwrap_or(name).to_string()).collect(),
        since,
        until,
        level: args.level,
        matcher: args.matching.clone().map(Matcher::Regex).or(contains),
        limit: usize::try_from(args.limit).unwrap_or(usize::MAX),
    })
}

fn regex(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text).size_limit(MAX_REGEX).build().map_err(|error| error.to_string())
}

fn level(text: &str) -> Result<Level, String> {
    let name = match text.to_ascii_lowercase().as_str() {
        "warn" => "warning".to_string(),
        "err" => "error".to_string(),
        "crit" => "critical".to_string(),
        other => other.to_string(),
    };
    let known = || Level::ALL.into_iter().filter(|level| *level != Level::Unknown);
    known().find(|level| level.as_str() == name).ok_or_else(|| {
        let all: Vec<&str> = known().map(Level::as_str).collect();
        format!("the levels are {}", all.join(", "))
    })
}

/// Columns of time, level and place, then the text; its further lines stand under its first.
fn render(found: &Found, zone: &TimeZone) -> String {
    let width = found.events.iter().map(|kept| harmless(&kept.place).chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for kept in &found.events {
        let level = if kept.level == Level::Unknown { "-" } else { kept.level.as_str() };
        let head =
            format!("{}  {}{}", kept.at.date_clock(zone), pad(level, 10), pad(&harmless(&kept.place), width + 2));
        let mut lines = kept.text.split('\n').map(harmless);
        text += &format!("{head}{}\n", lines.next().unwrap_or_default());
        lines.for_each(|line| text += &format!("    {line}\n"));
    }
    text
}

/// One event as one line for machines; JSON writes control characters as escapes.
fn json(kept: &Kept) -> Vec<u8> {
    let at = kept.at.rfc3339();
    let (source, level, place, text) = (&kept.source, kept.level.as_str(), &kept.place, &kept.text);
    serde_json::json!({ "at": at, "source": source, "level": level, "place": place, "text": text })
        .to_string()
        .into_bytes()
}

/// Text that no terminal obeys: control characters, and those that turn the direction of writing, become visible.
fn harmless(text: &str) -> String {
    let turns = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => out.push(' '),
            c if c.is_control() || turns(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn asked(line: &str) -> Result<Query, String> {
        let words = std::iter::once("logs").chain(line.split_whitespace());
        let args = Line::try_parse_from(words).map_err(|error| error.to_string())?.args;
        query(&args, NOW)
    }

    #[test]
    fn words_become_a_query() {
        let query =
            asked("api log.web --contains x --level WARN --since 1h --until 2023-11-14T22:13:20Z --limit 7").unwrap();
        assert_eq!(query.sources, ["api", "web"]);
        assert_eq!((query.since, query.until), (Some(Timestamp(NOW.0 - 3_600_000)), Some(NOW)));
        assert_eq!((query.level, query.limit), (Some(Level::Warning), 7));
        assert!(matches!(query.matcher, Some(Matcher::Contains(text)) if text == "x"));
        let query = asked("--match a+").unwrap();
        assert!(matches!(query.matcher, Some(Matcher::Regex(regex)) if regex.as_str() == "a+"));
        assert_eq!((query.sources.len(), query.limit), (0, 100));
    }

    #[test]
    fn a_wrong_word_is_said() {
        for (line, wanted) in [
            ("--match (", "unclosed group"),
            ("--match a --contains b", "cannot be used with"),
            ("--level bad", "the levels are trace, debug, info, warning, error, critical, fatal"),
            ("--level unknown", "the levels are"),
            ("--since yesterday", "nor an age like 5m"),
            ("--since 1h --until 2h", "--since is later than --until"),
            ("--limit 0", "0 is not in 1..=100000"),
        ] {
            let error = asked(line).unwrap_err();
            assert!(error.contains(wanted), "{line}: {error}");
        }
    }

    fn kept(level: Level, place: &str, text: &str) -> Kept {
        Kept { at: NOW, source: "api".into(), level, place: place.into(), text: text.into() }
    }

    #[test]
    fn events_are_shown_in_columns_that_no_terminal_obeys() {
        let events = vec![
            kept(Level::Info, "shop/api (3f2a)", "started"),
            kept(Level::Unknown, "x", "a\tb \u{1b}[31mred\u{1b}[0m\u{202e}"),
            kept(Level::Error, "shop/api (3f2a)", "failed\nat Shop.java:7\r"),
        ];
        let shown = render(&Found { events, ..Found::default() }, &TimeZone::UTC);
        assert_eq!(
            shown,
            "2023-11-14 22:13:20  info      shop/api (3f2a)  started\n\
             2023-11-14 22:13:20  -         x                a b \\u{1b}[31mred\\u{1b}[0m\\u{202e}\n\
             2023-11-14 22:13:20  error     shop/api (3f2a)  failed\n    at Shop.java:7\\u{d}\n"
        );
    }

    #[test]
    fn machines_read_one_object_a_line() {
        let line = String::from_utf8(json(&kept(Level::Error, "x", "a\n\u{1b}b"))).unwrap();
        assert_eq!(line.lines().count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["at"], "2023-11-14T22:13:20.000Z");
        assert_eq!(
            (&value["source"], &value["level"], &value["text"]),
            (&"api".into(), &"error".into(), &"a\n\u{1b}b".into())
        );
    }
}

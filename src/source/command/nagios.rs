//! What monitoring plugins print: a line for people, and performance data.
//!
//! Enters: the output of a plugin. Leaves: the text, and the figures with their thresholds in base units (seconds,
//! bytes, shares). Implements the Monitoring Plugins Development Guidelines, sections "Plugin Output for Nagios" and
//! "Performance data": `'label'=value[UOM];[warn];[crit];[min];[max]`, and the format of thresholds. An item that is
//! wrong is counted and left out, and costs none of the others.
//!
//! Numbers have a point and nothing else: `1,5` could mean one and a half or fifteen, so it is refused. `KB` is 1000
//! and `KiB` is 1024 bytes.

/// The longest label, in bytes.
pub const MAX_LABEL: usize = 256;

/// The longest unit, in bytes.
const MAX_UNIT: usize = 16;

/// What a plugin printed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Everything that is for people: the first line, and the long text below it.
    pub text: String,
    /// The figures, each label once, in order of appearance.
    pub perfdata: Vec<Perfdata>,
    /// How many items were wrong, given twice or too many.
    pub n_rejected: usize,
}

/// One figure, in base units.
#[derive(Clone, Debug, PartialEq)]
pub struct Perfdata {
    /// The label, its quotes taken off.
    pub label: String,
    /// The value; none where the plugin said `U`: it could not be determined.
    pub value: Option<f64>,
    /// When the plugin warns.
    pub warn: Option<Range>,
    /// When it is critical.
    pub crit: Option<Range>,
    /// The least that is possible.
    pub min: Option<f64>,
    /// The most that is possible.
    pub max: Option<f64>,
}

/// A threshold: an alert is outside of the two bounds, or between them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// None: there is no lower bound.
    pub low: Option<f64>,
    /// None: there is no upper bound.
    pub high: Option<f64>,
    /// An alert is between the bounds, both included.
    pub is_inside: bool,
}

/// What an exit code says.
pub fn state(exit: i32) -> &'static str {
    match exit {
        0 => "OK",
        1 => "WARNING",
        2 => "CRITICAL",
        _ => "UNKNOWN",
    }
}

/// Reads the output of a plugin; of performance data at most `max` items.
pub fn parse(output: &str, max: usize) -> Report {
    let (text, data) = split(output);
    let mut report = Report { text, ..Report::default() };
    let mut labels = std::collections::HashSet::new();
    let mut items = Items { rest: &data };
    while let Some(item) = items.next_item() {
        match item.and_then(|(label, figures)| perfdata(label, figures)) {
            Some((item, is_whole)) if report.perfdata.len() < max && labels.insert(item.label.clone()) => {
                report.n_rejected += usize::from(!is_whole);
                report.perfdata.push(item);
            }
            _ => report.n_rejected += 1,
        }
    }
    report
}

/// The text, and the performance data: what follows `|` on the first line, and everything that follows the next `|`.
fn split(output: &str) -> (String, String) {
    let (first, others) = output.split_once('\n').unwrap_or((output, ""));
    let (line, data) = first.split_once('|').unwrap_or((first, ""));
    let (long, more) = others.split_once('|').unwrap_or((others, ""));
    let text = format!("{}\n{}", line.trim_end(), long.trim_end());
    (text.trim().to_string(), format!("{data}\n{more}"))
}

/// Performance data, cut into items.
struct Items<'t> {
    rest: &'t str,
}

impl<'t> Items<'t> {
    /// The label and the figures of the next item; within, none where it is no item.
    fn next_item(&mut self) -> Option<Option<(String, &'t str)>> {
        self.rest = self.rest.trim_start();
        if self.rest.is_empty() {
            return None;
        }
        let label = if self.rest.starts_with('\'') { self.quoted() } else { self.plain() };
        let figures = self.word();
        Some(label.zip(figures.strip_prefix('=')))
    }

    /// A label in quotes; two quotes within are one.
    fn quoted(&mut self) -> Option<String> {
        let mut label = String::new();
        let mut rest = &self.rest[1..];
        loop {
            let (part, behind) = rest.split_once('\'')?;
            label.push_str(part);
            match behind.strip_prefix('\'') {
                Some(more) => {
                    label.push('\'');
                    rest = more;
                }
                None => {
                    self.rest = behind;
                    return Some(label);
                }
            }
        }
    }

    fn plain(&mut self) -> Option<String> {
        let end = self.rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(self.rest.len());
        let (label, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(label.to_string())
    }

    /// Everything up to the next blank.
    fn word(&mut self) -> &'t str {
        let end = self.rest.find(char::is_whitespace).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }
}

/// An item, and whether all of its figures could be read; none where its label or its value is wrong.
fn perfdata(label: String, figures: &str) -> Option<(Perfdata, bool)> {
    if label.is_empty() || label.len() > MAX_LABEL || label.contains(char::is_control) {
        return None;
    }
    let fields: Vec<&str> = figures.split(';').collect();
    let field = |i: usize| fields.get(i).copied().unwrap_or_default();
    let (value, unit) = match field(0) {
        "U" => (None, ""),
        text => number(text).map(|(value, unit)| (Some(value), unit))?,
    };
    let scale = Scale::of(unit)?;
    let mut is_whole = fields.get(5..).unwrap_or_default().iter().all(|extra| extra.is_empty());
    let mut read = |text: &str| match text {
        "" => None,
        text => bound(text, unit).or_else(|| {
            is_whole = false;
            None
        }),
    };
    let (min, max) = (read(field(3)).map(|n| scale.apply(n)), read(field(4)).map(|n| scale.apply(n)));
    let mut read = |text: &str| match text {
        "" => None,
        text => range(text, unit, scale).or_else(|| {
            is_whole = false;
            None
        }),
    };
    let (warn, crit) = (read(field(1)), read(field(2)));
    Some((Perfdata { label, value: value.map(|n| scale.apply(n)), warn, crit, min, max }, is_whole))
}

/// A threshold: `10`, `10:`, `~:10`, `10:20`, `@10:20`.
fn range(text: &str, unit: &str, scale: Scale) -> Option<Range> {
    let (is_inside, text) = text.strip_prefix('@').map_or((false, text), |rest| (true, rest));
    let (start, end) = text.split_once(':').unwrap_or(("0", text));
    let low = match start {
        "~" => None,
        // `:10` is no range by the guidelines, but plugins print it for `10`.
        "" => Some(0.0),
        start => Some(bound(start, unit)?),
    };
    let high = if end.is_empty() { None } else { Some(bound(end, unit)?) };
    if text.is_empty() || low.zip(high).is_some_and(|(low, high)| low > high) {
        return None;
    }
    Some(Range { low: low.map(|n| scale.apply(n)), high: high.map(|n| scale.apply(n)), is_inside })
}

/// A bound is a number; some plugins repeat the unit of the value behind it.
fn bound(text: &str, unit: &str) -> Option<f64> {
    number(text).filter(|(_, rest)| rest.is_empty() || *rest == unit).map(|(n, _)| n)
}

/// The finite number at the start of `text`, and what follows it.
fn number(text: &str) -> Option<(f64, &str)> {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from.min(bytes.len())..].iter().take_while(|b| b.is_ascii_digit()).count();
    let sign = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let whole = digits(sign);
    let mut end = sign + whole;
    if bytes.get(end) == Some(&b'.') {
        let fraction = digits(end + 1);
        if whole + fraction == 0 {
            return None;
        }
        end += 1 + fraction;
    } else if whole == 0 {
        return None;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let power = digits(end + 1 + sign);
        // Without digits it is the beginning of a unit.
        end += if power > 0 { 1 + sign + power } else { 0 };
    }
    let value: f64 = text[..end].parse().ok()?;
    value.is_finite().then_some((value, &text[end..]))
}

/// How a unit becomes a base unit. Divided rather than multiplied by a fraction: 45 % is 0.45 and not 0.45000000000000001.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Scale {
    times: f64,
    by: f64,
}

impl Scale {
    /// The scale of a unit; a unit without a base unit of ours (`V`, `C`, `rpm`) leaves the number as it is. None where
    /// this cannot be a unit.
    fn of(unit: &str) -> Option<Scale> {
        let (times, by) = match unit {
            "ms" => (1.0, 1e3),
            "us" | "µs" | "μs" => (1.0, 1e6),
            "ns" => (1.0, 1e9),
            "%" => (1.0, 100.0),
            "kB" | "KB" => (1e3, 1.0),
            "MB" => (1e6, 1.0),
            "GB" => (1e9, 1.0),
            "TB" => (1e12, 1.0),
            "PB" => (1e15, 1.0),
            "KiB" => (1024.0, 1.0),
            "MiB" => (1024f64.powi(2), 1.0),
            "GiB" => (1024f64.powi(3), 1.0),
            "TiB" => (1024f64.powi(4), 1.0),
            "PiB" => (1024f64.powi(5), 1.0),
            _ => (1.0, 1.0),
        };
        let fits = |c: char| !c.is_control() && !c.is_ascii_digit() && !matches!(c, '\'' | '"' | ',' | '.' | '=' | ':');
        (unit.len() <= MAX_UNIT && unit.chars().all(fits)).then_some(Scale { times, by })
    }

    fn apply(self, n: f64) -> f64 {
        n * self.times / self.by
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(item: &str) -> Perfdata {
        let report = parse(&format!("OK|{item}"), 10);
        assert_eq!((report.perfdata.len(), report.n_rejected), (1, 0), "{item}");
        report.perfdata.into_iter().next().unwrap()
    }

    fn range(low: Option<f64>, high: Option<f64>, is_inside: bool) -> Option<Range> {
        Some(Range { low, high, is_inside })
    }

    #[test]
    fn text_and_figures_are_told_apart_over_several_lines() {
        let output = "DISK OK - free space: / 3326 MB (56%); | /=2643MB;5948;5958;0;5968\n\
            / 15272 MB (77%);\n/boot 68 MB (69%); | /boot=68MB;88;93;0;98\n/home=69357MB;253404;253409;0;253414\n\
            /var/log=818MB;970;975;0;980\n";
        let report = parse(output, 10);
        assert_eq!(report.text, "DISK OK - free space: / 3326 MB (56%);\n/ 15272 MB (77%);\n/boot 68 MB (69%);");
        let labels: Vec<&str> = report.perfdata.iter().map(|p| p.label.as_str()).collect();
        assert_eq!((labels, report.n_rejected), (vec!["/", "/boot", "/home", "/var/log"], 0));
        assert_eq!(report.perfdata[0].value, Some(2_643e6));
        assert_eq!(report.perfdata[0].warn, range(Some(0.0), Some(5_948e6), false));
        assert_eq!((report.perfdata[3].min, report.perfdata[3].max), (Some(0.0), Some(980e6)));
    }

    #[test]
    fn what_real_plugins_print_is_read() {
        let load =
            "LOAD OK - total load average: 3.22, 1.60, 1.08|load1=3.220;50.000;60.000;0; load5=1.600;50.000;60.000;0; ";
        assert_eq!(parse(load, 10).perfdata.iter().map(|p| p.value).collect::<Vec<_>>(), [Some(3.22), Some(1.6)]);
        let procs = one("procs=94;5000;;0;");
        assert_eq!((procs.value, procs.warn, procs.crit), (Some(94.0), range(Some(0.0), Some(5000.0), false), None));
        let tcp = one("time=0.000136s;;;0.000000;10.000000");
        assert_eq!((tcp.value, tcp.max), (Some(0.000136), Some(10.0)));
    }

    #[test]
    fn labels_may_be_quoted_and_hold_quotes() {
        for (item, label) in [
            ("'a label'=1", "a label"),
            ("'it''s'=1", "it's"),
            ("''''=1", "'"),
            ("'a=b'=1", "a=b"),
            ("'a;b|c'=1", "a;b|c"),
            ("a.b/c:d=1", "a.b/c:d"),
            ("größe=1", "größe"),
        ] {
            assert_eq!(one(item).label, label);
        }
    }

    #[test]
    fn units_become_base_units() {
        for (figure, wanted) in [
            ("5", 5.0),
            ("5s", 5.0),
            ("5ms", 0.005),
            ("5us", 0.000_005),
            ("5µs", 0.000_005),
            ("5ns", 0.000_000_005),
            ("45%", 0.45),
            ("5B", 5.0),
            ("5KB", 5e3),
            ("5kB", 5e3),
            ("5MB", 5e6),
            ("5GB", 5e9),
            ("5TB", 5e12),
            ("5KiB", 5120.0),
            ("5GiB", 5.0 * 1024.0 * 1024.0 * 1024.0),
            ("5c", 5.0),
            ("5V", 5.0),
            ("5e3", 5000.0),
            ("5E-3s", 0.005),
            ("5eV", 5.0),
            ("-1.5", -1.5),
            ("+1.5", 1.5),
            (".5", 0.5),
            ("5.", 5.0),
        ] {
            assert_eq!(one(&format!("a={figure}")).value, Some(wanted), "{figure}");
        }
        assert_eq!(one("a=U;1;2").value, None, "the plugin could not say");
    }

    #[test]
    fn ranges_are_read_as_the_guidelines_say() {
        for (text, wanted) in [
            ("10", range(Some(0.0), Some(10.0), false)),
            ("10:", range(Some(10.0), None, false)),
            ("~:10", range(None, Some(10.0), false)),
            ("10:20", range(Some(10.0), Some(20.0), false)),
            ("@10:20", range(Some(10.0), Some(20.0), true)),
            ("@10", range(Some(0.0), Some(10.0), true)),
            ("-10:-5", range(Some(-10.0), Some(-5.0), false)),
            (":10", range(Some(0.0), Some(10.0), false)),
            ("10ms", range(Some(0.0), Some(10.0), false)),
        ] {
            let scaled = one(&format!("a=1ms;{text};{text}"));
            let in_ms = |n: Option<f64>| n.map(|n| n / 1e3);
            let wanted = wanted.map(|r| Range { low: in_ms(r.low), high: in_ms(r.high), ..r });
            assert_eq!((scaled.warn, scaled.crit), (wanted, wanted), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_counted_and_costs_nothing_else() {
        for (item, n_rejected) in [
            ("a=", 1),
            ("a", 1),
            ("=1", 1),
            ("''=1", 1),
            ("'open=1", 1),
            ("a=one", 1),
            ("a=1,5", 1),
            ("a=1.234,5", 1),
            ("a=inf", 1),
            ("a=nan", 1),
            ("a=.", 1),
            ("a=-", 1),
            ("a=1e999", 1),
            ("a=1s2", 1),
            ("a=1averyveryverylongunit", 1),
            ("a b=1", 1),
            ("good=2", 1),
        ] {
            let report = parse(&format!("OK|good=1 {item}\n|more=3"), 10);
            assert_eq!(report.n_rejected, n_rejected, "{item}");
            assert_eq!((&*report.perfdata[0].label, report.perfdata[0].value), ("good", Some(1.0)), "{item}");
            assert!(report.perfdata.iter().any(|p| p.label == "more"), "{item}");
        }
        for figures in ["1;x", "1;;20:10", "1;1,5", "1;;;x", "1;;;;x", "1;;;;;x", "1;@", "1;10s"] {
            let report = parse(&format!("OK|a={figures} b=2"), 10);
            assert_eq!((report.perfdata.len(), report.n_rejected), (2, 1), "{figures}: the value itself is good");
            assert_eq!(report.perfdata[0].value, Some(1.0));
        }
    }

    #[test]
    fn labels_and_items_are_bounded() {
        let long = "x".repeat(MAX_LABEL + 1);
        assert_eq!(parse(&format!("OK|{long}=1"), 10).n_rejected, 1);
        let many: String = (0..50).map(|i| format!("a{i}=1 ")).collect();
        let report = parse(&format!("OK|{many}"), 10);
        assert_eq!((report.perfdata.len(), report.n_rejected), (10, 40));
    }

    #[test]
    fn an_output_without_figures_is_text() {
        for (output, text) in
            [("", ""), ("\n", ""), ("OK", "OK"), ("OK\nmore\n", "OK\nmore"), ("|", ""), ("a|\n|\n", "a")]
        {
            assert_eq!(parse(output, 10), Report { text: text.into(), ..Report::default() }, "{output:?}");
        }
        assert_eq!([0, 1, 2, 3, 4, 137].map(state), ["OK", "WARNING", "CRITICAL", "UNKNOWN", "UNKNOWN", "UNKNOWN"]);
    }
}

//! Templates with what they give.

use std::collections::BTreeMap;

use super::{Data, External, Template};
use crate::base::{Labels, Timestamp};
use crate::promql::Point;

fn expand(text: &str, value: f64) -> String {
    let template = Template::parse(text).unwrap_or_else(|e| panic!("{text}: {e:?}"));
    let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect()
    };
    let external = External { labels: map(&[("region", "eu")]), url: "http://prometheus:9090/x".into() };
    let labels = map(&[("instance", "web-1.example.org:9100"), ("job", "api"), ("empty_like", "A_b c")]);
    let data = Data { labels, value, external: &external, at: Timestamp(0) };
    let mut query = |text: &str| match text {
        "up" => Ok([("a", 1.0), ("b", 0.5)]
            .map(|(i, value)| Point {
                labels: Labels::new([("__name__", "up"), ("instance", i)]),
                value,
                newest: Timestamp(0),
            })
            .to_vec()),
        "nothing" => Ok(Vec::new()),
        _ => Err("unexpected end of input".into()),
    };
    template.expand(&data, &mut query)
}

#[test]
fn values_labels_and_functions_are_expanded() {
    for (text, value, expected) in [
        ("{{ $value }} {{.Value}}", 0.15, "0.15 0.15"),
        ("{{ $labels.job }}{{ .Labels.job }}{{ $labels.none }}|", 0.0, "apiapi|"),
        ("{{ $labels }}", 0.0, "map[empty_like:A_b c instance:web-1.example.org:9100 job:api]"),
        (
            "{{ $externalLabels.region }} {{ $externalURL }} {{ externalURL }} {{ pathPrefix }}",
            0.0,
            "eu http://prometheus:9090/x http://prometheus:9090/x /x",
        ),
        ("{{ $value | humanizePercentage }}", 0.1534, "15.34%"),
        ("{{ $value | humanize }}", 1_234_567.0, "1.235M"),
        ("{{ humanize $value }}", 0.001_234, "1.234m"),
        ("{{ $value | humanize1024 }}", 1536.0, "1.5ki"),
        ("{{ $value | humanizeDuration }}", 93_784.5, "1d 2h 3m 4s"),
        ("{{ $value | humanizeDuration }} {{ humanizeDuration 0.0035 }}", 59.5, "59.5s 3.5ms"),
        ("{{ $value | humanizeTimestamp }}", 1_761_644_467.5, "2025-10-28 09:41:07.5 +0000 UTC"),
        (
            "{{ printf \"%.3f|%5.1f|%-6s|%q|%d|%x|%e|%t|%%|%v|%05d|%+d\" $value 2.25 \"ab\" \"c\\\"\" 42 255 1234.5 true \"v\" 42 7 }}",
            1.5,
            "1.500|  2.2|ab    |\"c\\\"\"|42|ff|1.234500e+03|true|%|v|00042|+7",
        ),
        (
            "{{ printf \"%d\" $value }} {{ printf \"%s\" }} {{ printf \"x\" 1 }}",
            1.5,
            "%!d(float64=1.5) %!s(MISSING) x%!(EXTRA int=1)",
        ),
        ("{{ printf \"%g %.2g %G\" $value $value $value }}", 0.000_012_34, "1.234e-05 1.2e-05 1.234E-05"),
        ("{{ title \"hello wOrld-x\" }} {{ toUpper \"aé\" }} {{ \"ABC\" | toLower }}", 0.0, "Hello WOrld-X AÉ abc"),
        ("{{ reReplaceAll \"(.*):\\\\d+\" \"$1\" $labels.instance }}", 0.0, "web-1.example.org"),
        ("{{ stripPort $labels.instance }} {{ stripDomain $labels.instance }}", 0.0, "web-1.example.org web-1:9100"),
        ("{{ match \"^web\" $labels.instance }}", 0.0, "true"),
        ("{{ if gt $value 0.5 }}high{{ else if gt $value 0.1 }}mid{{ else }}low{{ end }}", 0.3, "mid"),
        ("{{ if and (eq $labels.job \"api\") (not (lt $value 1.0)) }}y{{ else }}n{{ end }}", 1.0, "y"),
        ("{{ or $labels.none $labels.job }} {{ and 0 1 }}", 0.0, "api 0"),
        ("{{ range query \"up\" }}{{ .Labels.instance }}={{ .Value }};{{ end }}", 0.0, "a=1;b=0.5;"),
        (
            "{{ range $i, $x := query \"up\" }}{{ $i }}{{ $x.Labels.instance }}{{ $x | value }} {{ end }}",
            0.0,
            "0a1 1b0.5 ",
        ),
        ("{{ range query \"nothing\" }}x{{ else }}none{{ end }}", 0.0, "none"),
        ("{{ with query \"up\" }}{{ . | first | value | humanizePercentage }}{{ end }}", 0.0, "100%"),
        ("{{ with query \"nothing\" }}x{{ else }}-{{ end }}", 0.0, "-"),
        (
            "{{ query \"up\" | first | label \"instance\" }} {{ len (query \"up\") }} {{ (index (query \"up\") 1).Value }}",
            0.0,
            "a 2 0.5",
        ),
        ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}", 0.0, "2"),
        ("a {{- /* nothing */ -}} b{{/* x */}}\n{{- $value -}}\n c", 3.0, "ab3c"),
        (
            "{{ range query \"up\" }}{{ if eq .Value 1.0 }}{{ continue }}{{ end }}{{ .Value }}{{ break }}{{ end }}",
            0.0,
            "0.5",
        ),
        (
            "{{ index $labels \"job\" }} {{ `raw \\n` }} {{ 'a' }} {{ 0x10 }} {{ print 1 2 \"x\" 3 }}",
            0.0,
            "api raw \\n 97 16 1 2x3",
        ),
        ("{{ parseDuration \"1h30m\" }} {{ humanize \"1500\" }}", 0.0, "5400 1.5k"),
        ("{{ ge 1 1 }} {{ le \"a\" \"b\" }} {{ ne 1 2 }} {{ eq 3 1 2 3 }}", 0.0, "true true true true"),
        ("{{ }", 0.0, ""),
    ] {
        if text == "{{ }" {
            assert!(Template::parse(text).is_err());
            continue;
        }
        assert_eq!(expand(text, value), expected, "{text}");
    }
}

#[test]
fn floats_are_written_as_go_writes_them() {
    for (value, expected) in [
        (0.0, "0"),
        (1.0, "1"),
        (0.666_666_666_666_666_6, "0.6666666666666666"),
        (100_000.0, "100000"),
        (1_234_567.0, "1.234567e+06"),
        (0.0001, "0.0001"),
        (0.000_01, "1e-05"),
        (1e21, "1e+21"),
        (1e100, "1e+100"),
        (-2.5, "-2.5"),
        (f64::NAN, "NaN"),
        (f64::INFINITY, "+Inf"),
        (f64::NEG_INFINITY, "-Inf"),
    ] {
        assert_eq!(expand("{{ $value }}", value), expected);
    }
}

#[test]
fn an_error_while_expanding_is_the_text() {
    for (text, part) in [
        ("{{ query \"(\" }}", "error calling query: error executing query: unexpected end of input"),
        ("{{ query \"nothing\" | first }}", "first() called on vector with no elements"),
        ("{{ toUpper $value }}", "expected string; got float64"),
        ("{{ gt $value 1 }}", "incompatible types for comparison"),
        ("{{ .Nothing }}", "can't evaluate field Nothing"),
        ("{{ printf \"%2000d\" 1 }}", "is over 1000"),
        ("{{ match \"(\" \"x\" }}", "error calling match"),
    ] {
        let said = expand(text, 2.0);
        assert!(said.starts_with("<error expanding template: ") && said.contains(part), "{text}: {said}");
    }
}

#[test]
fn an_expansion_that_would_not_end_is_ended() {
    let nested = format!("{}x{}", "{{ range query \"up\" }}".repeat(20), "{{ end }}".repeat(20));
    assert!(expand(&nested, 0.0).contains("more than"));
    let long = "{{ $x := \"0123456789\" }}".to_string() + &"{{ $x = print $x $x }}".repeat(30);
    assert!(expand(&long, 0.0).contains("more than 65536 bytes"));
}

#[test]
fn slips_are_errors_with_their_place() {
    let errors: Vec<String> = [
        "{{ $value | humanise }}",
        "a {{ $valu }}",
        "{{ if $value }}x",
        "x {{ end }}",
        "{{ else }}",
        "{{ \"abc }}",
        "{{ 1x }}",
        "{{ (1 }}",
        "{{ }}",
        "{{ $value | }}",
        "{{ define \"x\" }}{{ end }}",
        "{{ break }}",
        "{{ 1 2 }}",
        "{{ if true }}{{ $x := 1 }}{{ end }}{{ $x }}",
        "{{ /* }}",
        "{{ $value",
    ]
    .map(|text| {
        let error = Template::parse(text).unwrap_err();
        format!("{text} | {} | {}", error.message, text.get(error.at.clone()).unwrap_or("?"))
    })
    .to_vec();
    insta::assert_snapshot!(errors.join("\n"));
}

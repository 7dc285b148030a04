//! One search over a buffer finds what each pattern finds on each line by itself.

use regex::bytes::RegexBuilder;

use super::*;

/// Patterns with everything that could see beyond a line, or past its end.
const PATTERNS: &[&str] = &[
    "error",
    "^error",
    "error$",
    "^error$",
    r"\berror\b",
    r"\Berr",
    r"err\B",
    r"error\s",
    r"\serror",
    r"a\s+b",
    r"a[^b]c",
    r"a\nb",
    r"(?s)a.b",
    "a.b",
    r"(?m)^a|b$",
    r"(?mR)^a|b$",
    r"(?i)ERROR",
    r"(?i)größe",
    r"(?i)[k-z]oo",
    r"\p{Greek}+",
    r"[äö]x",
    r"(?u)\bü\b",
    r"(?u)\w+x\b",
    r"(?u:.)b$",
    "a*",
    "^$",
    "x?y*$",
    r"\b",
    ".*err.*or.*",
    "^.*b",
    "(a|b)*c",
    "(x+x+)+y",
    "(a*)*b",
    r"\Aab|bc\z",
    r"\r",
    r"a\r?$",
    r"[\x00-\x1f]",
    r"(?-u)\xff",
    r"(?u)[^a]$",
    "a{2,3}b",
    "(?:a|^)b",
    "ab|",
    r"[\s\S]b",
    r"\b{start}a|b\b{end}",
    r"$\b",
    r"a$\b",
    r"(?x) a b # with a remark",
    r"\d+ ms",
    r"\W\w$",
    "[^ ]+ [^ ]+$",
];

const PIECES: &[&[u8]] = &[
    b"error",
    b"ERROR",
    b"a",
    b"b",
    b"c",
    b"x",
    b"xx",
    b"y",
    b" ",
    b"\t",
    b"\r",
    b"\n",
    b"\n",
    b"\r\n",
    b"\xc3\xbc",
    b"\xce\xb1",
    b"\xff",
    b"\0",
    b"gr\xc3\xb6\xc3\x9fe",
    b"ab",
    b"bc",
    b"12 ms",
    b"foo",
    b"K",
    b"\xe2\x84\xaa",
    b".",
    b"-",
    b"\x0b",
    b"\xc2\x85",
];

/// What each pattern matches when each line stands alone.
fn naive(patterns: &[&str], text: &[u8]) -> Vec<u64> {
    let compiled = patterns.iter().map(|text| {
        let with = |is_unicode: bool| RegexBuilder::new(text).unicode(is_unicode).build();
        with(false).or_else(|_| with(true)).unwrap()
    });
    let lines: Vec<&[u8]> = text
        .split(|b| *b == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty())
        .collect();
    compiled.map(|regex| lines.iter().filter(|line| regex.is_match(line)).count() as u64).collect()
}

/// What the plan counts, where no line continues another.
fn counted(plan: &Plan, text: &[u8]) -> Vec<u64> {
    read_all(plan, text).matches().iter().map(|matches| matches.total).collect()
}

fn text(random: &mut Random) -> Vec<u8> {
    (0..random.below(40)).flat_map(|_| random.one(PIECES).to_vec()).collect()
}

#[test]
fn the_union_finds_what_each_pattern_finds_on_each_line() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    // Each by itself: a pattern that hits every line hides what another misses.
    for pattern in PATTERNS {
        let plan = plan(Format::Access, &[pattern]);
        for _ in 0..150 {
            let text = text(&mut random);
            assert_eq!(counted(&plan, &text), naive(&[pattern], &text), "{pattern} in {}", text.escape_ascii());
        }
    }
    for _ in 0..100 {
        let some: Vec<&str> = (0..random.below(8) + 2).map(|_| *random.one(PATTERNS)).collect();
        let plan = plan(Format::Access, &some);
        for _ in 0..30 {
            let text = text(&mut random);
            assert_eq!(counted(&plan, &text), naive(&some, &text), "{some:?} in {}", text.escape_ascii());
        }
    }
}

#[test]
fn patterns_made_at_random_find_the_same() {
    const PARTS: &[&str] = &[
        "a", "b", "x", "error", ".", r"\s", r"\S", r"\w", r"\b", r"\B", "^", "$", "[^a]", "[a-c]", "(?:a|b)", "(?i:k)",
        r"\d", r"\r", "ü", "(?u:\\w)", "(?s:.)", "(?m:^)", "(?m:$)", "(?mR:$)", r"\n", "(?u:\\b)", r"\A", r"\z", " ",
    ];
    const TIMES: &[&str] = &["", "", "", "", "*", "+", "?", "{2}", "*?", "{0,2}"];
    let mut random = Random(7);
    for _ in 0..500 {
        let mut pattern: String =
            (0..random.below(5) + 1).map(|_| format!("(?:{}){}", random.one(PARTS), random.one(TIMES))).collect();
        if random.below(4) == 0 {
            pattern = format!("{pattern}|{}", random.one(PARTS));
        }
        let plan = plan(Format::Access, &[pattern.as_str()]);
        for _ in 0..12 {
            let text = text(&mut random);
            assert_eq!(
                counted(&plan, &text),
                naive(&[pattern.as_str()], &text),
                "{pattern} in {}",
                text.escape_ascii()
            );
        }
    }
}

#[test]
fn hostile_patterns_cost_what_others_do() {
    let plan = plan(Format::Access, &["(x+x+)+y", "(a*)*b", "(?:x|xx|xxx)+z"]);
    let spent = |n: usize| {
        let text = format!("{}\n", "x".repeat(n)).repeat((1 << 20) / n);
        let before = cpu_nanos();
        assert_eq!(counted(&plan, text.as_bytes()), [0, 0, 0]);
        cpu_nanos() - before
    };
    spent(100);
    let (short, long) = (spent(100), spent(50_000));
    assert!(long < short * 20 + 200_000_000, "{long} ns for long lines, {short} ns for short ones");
}

#[test]
fn what_cannot_be_compiled_is_refused_all_at_once() {
    let mut wanted = wanted(Format::Auto, &["a(b", "good", r"(?=x)y", r"(a)\1", r"\w{1000}{1000}"]);
    wanted.patterns.push(("p1".into(), "twice".into()));
    wanted.patterns.push(("long".into(), "x".repeat(MAX_EXPRESSION + 1)));
    wanted.values =
        vec![("none".into(), "took [0-9]+".into()), ("two".into(), "(a)(b)".into()), ("one".into(), "(a)".into())];
    wanted.secrets = vec![("s".into(), "[z-a]".into())];
    let refused = Plan::new(wanted).unwrap_err();
    let told: Vec<String> = refused
        .iter()
        .map(|refused| {
            assert!(refused.why.help.is_some(), "{refused:?}");
            let at = refused.why.at.map_or(String::new(), |at| format!(" at {at}"));
            format!("{:?} {}{at}: {}", refused.part, refused.name, refused.why.why)
        })
        .collect();
    assert_eq!(
        told,
        [
            "Pattern p0 at 1: unclosed group",
            "Pattern p2 at 0: look-around, including look-ahead and look-behind, is not supported",
            "Pattern p3 at 3: backreferences are not supported",
            "Pattern p4: it becomes larger than 1 MiB when it is compiled",
            "Pattern p1: another one has this name",
            "Pattern long: it has 8193 bytes; 8192 are taken",
            "Secret s at 1: invalid character class range, the start must be <= the end",
            "Value none: a value captures one group, and 0 stand here",
            "Value two: a value captures one group, and 2 stand here",
        ]
    );
}

#[test]
fn too_many_patterns_are_refused() {
    let many: Vec<String> = (0..=MAX_COUNTED).map(|n| format!("error {n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(Plan::new(wanted(Format::Auto, &many)).unwrap_err().len(), 1);
    let plan = plan(Format::Auto, &many[..MAX_COUNTED]);
    assert_eq!(counted(&plan, b"x error 255 y\n").iter().sum::<u64>(), 3);
}

#[test]
fn what_costs_more_is_said() {
    let plan =
        plan(Format::Auto, &["connection refused", "a*", r"\w\w: \d", r"a\nb", r".*too many files", "(?i)error"]);
    let told: Vec<(&str, &str)> =
        plan.notes().iter().map(|note| (note.name.as_str(), note.note.split(',').next().unwrap())).collect();
    assert_eq!(
        told,
        [
            ("p1", "it can match without any text"),
            ("p2", "it begins with no fixed text"),
            ("p3", "it can never match: a line holds no end of a line"),
        ]
    );
}

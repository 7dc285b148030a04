//! Data flows one way: a folder of `src/` imports only from folders of a lower rank, never from its siblings.
//!
//! Reads every path that begins with `crate::`, or that climbs with `super::` to the root of the crate, wherever it
//! stands: in a `use`, grouped or not, or in the middle of an expression.

use crate::support::rust::{Token, tokens};
use crate::support::{rust_files, text};

/// The folders in the order of the data; those of one rank are siblings. docs/ARCHITECTURE.md quotes this.
const RANKS: [(&str, u8); 16] = [
    ("base", 0),
    ("sys", 1),
    ("source", 2),
    ("store", 3),
    ("promql", 4),
    ("rule", 5),
    ("incident", 6),
    ("notify", 7),
    ("rollback", 7),
    ("watch", 7),
    ("engine", 8),
    ("web", 9),
    ("proxy", 9),
    ("config", 10),
    ("agent", 11),
    ("cli", 12),
];

/// `main.rs` starts the library and nothing else.
const MAIN_LINES: usize = 40;

#[test]
fn folders_import_only_from_those_before_them() {
    let found: Vec<_> = rust_files("src").iter().flat_map(|(path, text)| violations(path, text)).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn every_folder_has_a_rank_and_every_rank_a_folder() {
    let mut folders: Vec<_> = rust_files("src").iter().filter_map(|(path, _)| module(path).first().cloned()).collect();
    folders.dedup();
    let mut ranked: Vec<_> = RANKS.iter().map(|(folder, _)| folder.to_string()).collect();
    ranked.sort();
    assert_eq!(folders, ranked);
}

#[test]
fn main_only_starts_the_library() {
    assert_eq!(too_long(&text("src/main.rs")), None);
}

#[test]
fn architecture_quotes_the_ranks() {
    let page = text("docs/ARCHITECTURE.md");
    for (folder, rank) in RANKS {
        let is_row = |line: &&str| line.starts_with(&format!("| {rank} |")) && line.contains(&format!("`{folder}/`"));
        assert!(page.lines().any(|line| is_row(&line)), "the code map lacks `{folder}/` with rank {rank}");
    }
}

fn too_long(main: &str) -> Option<String> {
    let n_lines = main.lines().count();
    (n_lines >= MAIN_LINES).then(|| format!("src/main.rs has {n_lines} lines; it must stay under {MAIN_LINES}"))
}

/// What the file at `path` imports against the order, one line each: `src/a/b.rs:7: …`.
fn violations(path: &str, text: &str) -> Vec<String> {
    let module = module(path);
    let Some(own) = module.first() else { return Vec::new() };
    let Some(own_rank) = rank(own) else {
        return vec![format!("{path}:1: `{own}` has no rank in tests/layers.rs")];
    };
    let tokens = tokens(text);
    let is_allowed = |import: &Import| import.folder == own || rank(import.folder).is_some_and(|rank| rank < own_rank);
    let mut found: Vec<_> = imports(&tokens, module.len())
        .into_iter()
        .filter(|import| !is_allowed(import))
        .map(|Import { folder, line }| format!("{path}:{line}: `{own}` must not import {}", name(folder)))
        .collect();
    found.extend(foreign_files(&tokens).map(|line| format!("{path}:{line}: `{own}` must not give a module a path")));
    found
}

fn name(folder: &str) -> String {
    match rank(folder) {
        Some(_) => format!("`{folder}`"),
        None if folder == "*" => "the whole crate".to_owned(),
        None => format!("`{folder}`, which has no rank"),
    }
}

fn rank(folder: &str) -> Option<u8> {
    RANKS.iter().find(|(name, _)| *name == folder).map(|(_, rank)| *rank)
}

/// The module that a file is, from the root of the crate: none for `lib.rs` and `main.rs`, which stand above all.
fn module(path: &str) -> Vec<String> {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs");
    let mut module: Vec<_> = path.split('/').map(str::to_owned).collect();
    if ["mod", "lib", "main"].contains(&module.last().map_or("", String::as_str)) {
        module.pop();
    }
    module
}

/// A folder that a path leads to; `*` is the crate as a whole.
struct Import<'a> {
    folder: &'a str,
    line: usize,
}

/// All imports of a file whose module lies `depth` below the root of the crate.
fn imports<'a>(tokens: &[Token<'a>], depth: usize) -> Vec<Import<'a>> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let (mut found, mut inline) = (Vec::new(), Vec::new());
    let mut braces = 0;
    for (at, token) in tokens.iter().enumerate() {
        match token.text {
            "{" => {
                braces += 1;
                if at >= 2 && text(at - 2) == "mod" {
                    inline.push(braces);
                }
            }
            "}" => {
                inline.pop_if(|opened| *opened == braces);
                braces -= 1;
            }
            "crate" if text(at + 1) == "::" => follow(tokens, at + 2, 0, &mut found),
            "crate" if text(at + 1) == "as" => found.push(Import { folder: "*", line: token.line }),
            "super" | "self" if text(at + 1) == "::" && (at == 0 || text(at - 1) != "::") => {
                follow(tokens, at, depth + inline.len(), &mut found);
            }
            _ => {}
        }
    }
    found
}

/// Follows the path whose next segment is at `at`, having come to a module `depth` below the root.
fn follow<'a>(tokens: &[Token<'a>], at: usize, depth: usize, found: &mut Vec<Import<'a>>) {
    let Some(Token { text, line }) = tokens.get(at).copied() else { return };
    let goes_on = tokens.get(at + 1).is_some_and(|token| token.text == "::");
    match text {
        "{" => group(tokens, at).for_each(|item| follow(tokens, item, depth, found)),
        "super" if goes_on => follow(tokens, at + 2, depth.saturating_sub(1), found),
        "self" if goes_on => follow(tokens, at + 2, depth, found),
        "self" | "super" if depth == 0 => found.push(Import { folder: "*", line }),
        folder if depth == 0 => found.push(Import { folder, line }),
        _ => {}
    }
}

/// Where the items of the group that opens at `open` begin.
fn group(tokens: &[Token<'_>], open: usize) -> impl Iterator<Item = usize> {
    let (mut depth, mut items) = (0, Vec::new());
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        let opens_item = at == open || (depth == 1 && token.text == ",");
        let is_empty = tokens.get(at + 1).is_none_or(|next| next.text == "}");
        if opens_item && !is_empty {
            items.push(at + 1);
        }
    }
    items.into_iter()
}

/// The lines where a module is read from a file of another name, past the folders.
fn foreign_files(tokens: &[Token<'_>]) -> impl Iterator<Item = usize> {
    tokens.windows(4).filter_map(|four| match [four[0].text, four[1].text, four[2].text, four[3].text] {
        ["#", "[", "path", "="] => Some(four[0].line),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str, expected: &[&str]) {
        assert_eq!(violations(path, text), expected, "{path}: {text}");
    }

    #[test]
    fn an_import_of_a_higher_folder_is_caught() {
        check("src/source/tcp.rs", "use crate::rule::Rule;", &["src/source/tcp.rs:1: `source` must not import `rule`"]);
        check(
            "src/base/mod.rs",
            "mod a;\n\npub use crate::sys::clock;",
            &["src/base/mod.rs:3: `base` must not import `sys`"],
        );
        check("src/web/mod.rs", "use crate::agent;", &["src/web/mod.rs:1: `web` must not import `agent`"]);
    }

    #[test]
    fn an_import_of_a_sibling_is_caught() {
        check(
            "src/notify/outbox.rs",
            "use crate::watch::Verdict;",
            &["src/notify/outbox.rs:1: `notify` must not import `watch`"],
        );
        check(
            "src/rollback/mod.rs",
            "use crate::notify;",
            &["src/rollback/mod.rs:1: `rollback` must not import `notify`"],
        );
        check("src/watch/mod.rs", "use crate::rollback;", &["src/watch/mod.rs:1: `watch` must not import `rollback`"]);
    }

    #[test]
    fn grouped_imports_are_caught_item_by_item() {
        let text = "use crate::{\n    base::{Labels, level::{self, Level}},\n    engine::{Engine},\n    cli as commands,\n    store,\n};";
        check(
            "src/rule/mod.rs",
            text,
            &["src/rule/mod.rs:3: `rule` must not import `engine`", "src/rule/mod.rs:4: `rule` must not import `cli`"],
        );
        check(
            "src/rule/mod.rs",
            "use {crate::base::Level, crate::web::Page};",
            &["src/rule/mod.rs:1: `rule` must not import `web`"],
        );
    }

    #[test]
    fn a_path_in_code_is_caught() {
        check(
            "src/store/mod.rs",
            "fn f(x: &crate::rule::Rule) -> u8 {\n    crate::engine::step(x)\n}",
            &[
                "src/store/mod.rs:1: `store` must not import `rule`",
                "src/store/mod.rs:2: `store` must not import `engine`",
            ],
        );
        check(
            "src/store/mod.rs",
            "macro_rules! m { () => { $crate::cli::run() } }",
            &["src/store/mod.rs:1: `store` must not import `cli`"],
        );
        check(
            "src/store/mod.rs",
            "use crate /* not hidden */ ::\n // nor so\n web::Page;",
            &["src/store/mod.rs:3: `store` must not import `web`"],
        );
    }

    #[test]
    fn climbing_out_of_the_folder_is_caught() {
        let said = |line: usize| format!("src/rule/ratio.rs:{line}: `rule` must not import `engine`");
        check("src/rule/ratio.rs", "use super::super::engine::step;", &[&said(1)]);
        check("src/rule/ratio.rs", "use super::{super::engine::step, Rule};", &[&said(1)]);
        check("src/rule/ratio.rs", "mod tests {\n use super::super::super::{base::Level, engine};\n}", &[&said(2)]);
        check("src/rule/ratio.rs", "fn f() { self::super::super::engine::step() }", &[&said(1)]);
        check("src/rule/mod.rs", "use super::engine;", &["src/rule/mod.rs:1: `rule` must not import `engine`"]);
        check(
            "src/rule/mod.rs",
            "mod a { mod b {} }\nuse super::engine;",
            &["src/rule/mod.rs:2: `rule` must not import `engine`"],
        );
    }

    #[test]
    fn the_whole_crate_and_unknown_folders_are_caught() {
        check("src/sys/mod.rs", "use crate::*;", &["src/sys/mod.rs:1: `sys` must not import the whole crate"]);
        check("src/sys/mod.rs", "use crate as all;", &["src/sys/mod.rs:1: `sys` must not import the whole crate"]);
        check(
            "src/sys/mod.rs",
            "use crate::{self as all};",
            &["src/sys/mod.rs:1: `sys` must not import the whole crate"],
        );
        check(
            "src/sys/mod.rs",
            "use crate::util::f;",
            &["src/sys/mod.rs:1: `sys` must not import `util`, which has no rank"],
        );
        check("src/util/mod.rs", "", &["src/util/mod.rs:1: `util` has no rank in tests/layers.rs"]);
        check("src/util.rs", "", &["src/util.rs:1: `util` has no rank in tests/layers.rs"]);
        check(
            "src/sys/mod.rs",
            "#[path = \"../rule/mod.rs\"]\nmod rule;",
            &["src/sys/mod.rs:1: `sys` must not give a module a path"],
        );
    }

    #[test]
    fn what_is_allowed_is_not_caught() {
        let text = "use crate::{base::{Level, Labels}, promql, rule::ratio};\nuse super::{condition, Rule};";
        check("src/rule/trend.rs", text, &[]);
        check("src/rule/mod.rs", "mod tests { use super::*; use super::super::base::Level; }", &[]);
        check("src/rule/mod.rs", "pub(crate) fn f() {} pub(super) fn g() {} fn h() { super::base::level() }", &[]);
        check("src/rule/mod.rs", "use std::engine; use engine::x; fn f() { engine::y() }", &[]);
        check("src/cli/run.rs", "use crate::{agent, base, config, engine, notify, rollback, watch, web};", &[]);
        check("src/lib.rs", "pub mod cli; use crate::cli::run;", &[]);
        check("src/main.rs", "fn main() { backstop::cli::main() }", &[]);
    }

    #[test]
    fn comments_and_strings_are_no_imports() {
        check(
            "src/base/mod.rs",
            "//! See crate::engine.\n/// use crate::cli;\n// crate::web\n/* use crate::rule; */",
            &[],
        );
        check("src/base/mod.rs", "const A: &str = \"use crate::cli;\";", &[]);
        check("src/base/mod.rs", "const A: &str = r#\"\" use crate::cli;\"#;", &[]);
        check("src/base/mod.rs", "const A: char = '\"'; /* \" */ const B: &[u8] = b\"crate::cli\";", &[]);
        check(
            "src/base/mod.rs",
            "const A: char = '\"'; use crate::cli; // \"",
            &["src/base/mod.rs:1: `base` must not import `cli`"],
        );
    }

    #[test]
    fn a_long_main_is_caught() {
        assert_eq!(too_long(&"\n".repeat(MAIN_LINES - 1)), None);
        let said = too_long(&"\n".repeat(MAIN_LINES));
        assert_eq!(said.as_deref(), Some("src/main.rs has 40 lines; it must stay under 40"));
    }
}

//! What the documents say of the project holds: links lead somewhere, named tests exist, the first screen shows how
//! to begin, and nothing speaks of the machine it was written on.

use std::collections::BTreeSet;

use crate::support::{files, root, rust, rust_files, text};

/// How many lines of the README a person sees before scrolling.
const FIRST_SCREEN: usize = 30;

/// What a person needs to begin.
const FIRST_COMMANDS: [&str; 2] = ["    cargo run --release -- demo", "    cargo run --release -- run"];

/// Paths of one machine, and marks of unfinished work; each in two halves, so that this file is clean itself.
const UNWANTED: [(&str, &str); 6] =
    [("/wor", "k/"), ("/root", "/.cargo"), ("/home", "/user/"), ("/tmp/bash", "_jobs"), ("TO", "DO"), ("FIX", "ME")];

#[test]
fn named_tests_exist() {
    let functions =
        rust_files("src").into_iter().chain(rust_files("tests")).flat_map(|(_, text)| functions(&text)).collect();
    let pages = ["docs/PROMISES.md", "docs/ARCHITECTURE.md"];
    let found: Vec<_> = pages.iter().flat_map(|page| unheld(page, &text(page), &functions)).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn links_to_files_lead_somewhere() {
    let pages: Vec<_> = files("").into_iter().filter(|path| path.ends_with(".md")).collect();
    assert!(pages.contains(&"README.md".to_owned()));
    let broken = |page: &String| broken_links(page, &text(page), |path| root().join(path).exists());
    let found: Vec<_> = pages.iter().flat_map(broken).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn the_first_screen_of_the_readme_shows_how_to_begin() {
    assert_eq!(missing_commands(&text("README.md")), [""; 0]);
}

#[test]
fn nothing_speaks_of_the_machine_it_was_written_on() {
    let found: Vec<_> = files("").iter().flat_map(|path| unwanted(path, &lossy(path))).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn scripts_can_be_started() {
    use std::os::unix::fs::PermissionsExt;
    for path in ["tests/run", ".ci/run"] {
        let mode = root().join(path).metadata().expect("the script exists").permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{path} is not executable");
    }
}

fn lossy(path: &str) -> String {
    let bytes = std::fs::read(root().join(path)).unwrap_or_else(|e| panic!("cannot read {path}: {e}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The names of all functions in `text`.
fn functions(text: &str) -> BTreeSet<String> {
    let tokens = rust::tokens(text);
    tokens.windows(2).filter(|pair| pair[0].text == "fn").map(|pair| pair[1].text.to_owned()).collect()
}

/// What the columns "held by" of the tables in `page` name in backticks and no function is called, and the cells that
/// neither name a test, nor link to what holds the row, nor admit that nothing does yet.
fn unheld(path: &str, page: &str, functions: &BTreeSet<String>) -> Vec<String> {
    let mut column = None;
    let mut found = Vec::new();
    for (line, text) in (1..).zip(page.lines()) {
        let cells: Vec<_> = text.trim().trim_matches('|').split('|').map(str::trim).collect();
        let is_row = text.starts_with('|');
        let Some(at) = column.filter(|_| is_row) else {
            column = cells.iter().position(|cell| is_row && *cell == "held by");
            continue;
        };
        let cell = cells.get(at).copied().unwrap_or_default();
        if cell.chars().all(|c| "-: ".contains(c)) && !cell.is_empty() {
            continue;
        }
        let names: Vec<_> = cell.split('`').skip(1).step_by(2).collect();
        let is_test = |name: &str| functions.contains(name.rsplit("::").next().unwrap_or(name));
        let missing = names.iter().filter(|name| !is_test(name));
        found.extend(missing.map(|name| format!("{path}:{line}: there is no test `{name}`")));
        if names.is_empty() && !cell.contains("](") && !cell.starts_with("not yet: ") {
            found.push(format!("{path}:{line}: says neither what holds it nor \"not yet: …\""));
        }
    }
    found
}

/// The links of a page to files of the repository that do not exist.
fn broken_links(path: &str, page: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut is_code = false;
    let mut found = Vec::new();
    for (line, text) in (1..).zip(page.lines()) {
        if text.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        if is_code {
            continue;
        }
        let prose: String = text.split('`').step_by(2).collect();
        for link in prose.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            let file = link.split('#').next().unwrap_or_default();
            let is_local = !file.is_empty() && !file.contains("://") && !file.starts_with("mailto:");
            if is_local && !resolve(folder, file).is_some_and(|path| exists(&path)) {
                found.push(format!("{path}:{line}: the link {link} leads nowhere"));
            }
        }
    }
    found
}

/// The path below the root that `link` means in a page of `folder`; none if it leaves the repository.
fn resolve(folder: &str, link: &str) -> Option<String> {
    let mut parts: Vec<_> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in link.split('/') {
        match part {
            "" => return None,
            "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

fn missing_commands(readme: &str) -> Vec<&'static str> {
    let screen: Vec<_> = readme.lines().take(FIRST_SCREEN).collect();
    FIRST_COMMANDS.into_iter().filter(|command| !screen.contains(command)).collect()
}

/// The unwanted texts in a file; a path counts only where it begins, not in the middle of a longer one.
fn unwanted(path: &str, text: &str) -> Vec<String> {
    let is_within = |c: char| c.is_alphanumeric() || "-_.~}".contains(c);
    let mut found = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        for (head, tail) in UNWANTED {
            let wanted = format!("{head}{tail}");
            if text.match_indices(&wanted).any(|(at, _)| !text[..at].ends_with(is_within)) {
                found.push(format!("{path}:{line}: contains {wanted}"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_without_its_test_is_caught() {
        let functions = functions("#[test]\nfn it_holds() {}\n// fn only_a_comment() {}");
        let check = |cell: &str, expected: &[&str]| {
            let page =
                format!("`not_a_test` here\n\n| promise | held by |\n|---|---|\n| `x` | {cell} |\n\n| a `b` |\n");
            assert_eq!(unheld("P.md", &page, &functions), expected, "{cell}");
        };
        check("`it_holds`", &[]);
        check("`all::it_holds`, by day", &[]);
        check("[clippy.toml](../clippy.toml)", &[]);
        check("not yet: the outbox", &[]);
        check("`it_held`", &["P.md:5: there is no test `it_held`"]);
        check("`it_holds`, `only_a_comment`", &["P.md:5: there is no test `only_a_comment`"]);
        check("trust us", &["P.md:5: says neither what holds it nor \"not yet: …\""]);
        check("", &["P.md:5: says neither what holds it nor \"not yet: …\""]);
    }

    #[test]
    fn a_broken_link_is_caught() {
        let check = |text: &str, expected: &[&str]| {
            let exists = |path: &str| ["README.md", "docs/A.md"].contains(&path);
            assert_eq!(broken_links("docs/B.md", text, exists), expected, "{text}");
        };
        check("[a](A.md), [b](./A.md#part), [c](../README.md), [d](#here), [e](https://example.org/x)", &[]);
        check("`[a](C.md)`\n```text\n[a](C.md)\n```", &[]);
        check("one\n[a](A.md) [b](C.md)", &["docs/B.md:2: the link C.md leads nowhere"]);
        check("[a](docs/A.md)", &["docs/B.md:1: the link docs/A.md leads nowhere"]);
        check("[a](/README.md)", &["docs/B.md:1: the link /README.md leads nowhere"]);
        check("[a](../../README.md)", &["docs/B.md:1: the link ../../README.md leads nowhere"]);
    }

    #[test]
    fn a_first_screen_without_its_commands_is_caught() {
        let both = FIRST_COMMANDS.join("\n");
        assert_eq!(missing_commands(&both), [""; 0]);
        assert_eq!(missing_commands(FIRST_COMMANDS[1]), [FIRST_COMMANDS[0]]);
        assert_eq!(missing_commands(&format!("{}{both}", "\n".repeat(FIRST_SCREEN - 1))), [FIRST_COMMANDS[1]]);
    }

    #[test]
    fn a_path_of_one_machine_is_caught() {
        let path = UNWANTED[0].0.to_owned() + UNWANTED[0].1;
        let said = [format!("a:2: contains {path}")];
        assert_eq!(unwanted("a", &format!("x\nsee {path}main")), said);
        assert_eq!(unwanted("a", &format!("x\n{path}")), said);
        assert_eq!(unwanted("a", &format!("https://example.org{path}x ~{path} ${{HOME}}{path}")), [""; 0]);
    }
}

//! What the program is built from: no banned crate, no second network stack, one TLS provider, known licences.
//!
//! Reads what cargo has resolved for this host. deny.toml says the same to those who have cargo-deny; a test
//! compares the two.

use std::process::Command;

use serde_json::Value;

use crate::support::{root, text};

/// Crates that may not be built in, and why.
const BANNED: [(&str, &str); 9] = [
    ("openssl", "TLS is rustls with ring"),
    ("openssl-sys", "TLS is rustls with ring"),
    ("native-tls", "TLS is rustls with ring"),
    ("aws-lc-rs", "with two providers built in, rustls cannot choose and panics at first use"),
    ("aws-lc-sys", "with two providers built in, rustls cannot choose and panics at first use"),
    ("tsink", "the store is ours"),
    ("linemux", "files are followed by our own reader, which survives rotation"),
    ("systemd", "LGPL, and links libsystemd"),
    ("openmetrics-parser", "LGPL"),
];

/// Crates that may be built in once only: a second version means two stacks that do not know each other's types.
const SINGLE: [&str; 10] =
    ["axum", "h2", "http", "hyper", "reqwest", "rusqlite", "rustls", "tokio", "tokio-rustls", "tower"];

/// Licences under which code may be built in.
const LICENCES: [&str; 10] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Zlib",
];

/// Crates that tests may use and the program may not.
const FOR_TESTS_ONLY: [&str; 1] = ["prometheus-parse"];

/// The features of rustls that bring another provider than ring.
const OTHER_PROVIDERS: [&str; 4] = ["aws-lc-rs", "aws_lc_rs", "fips", "prefer-post-quantum"];

#[test]
fn dependencies_are_within_the_rules() {
    let found = problems(&metadata());
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn deny_toml_says_the_same() {
    let deny: toml::Table = text("deny.toml").parse().expect("deny.toml is TOML");
    let names = |list: &toml::Value, is_single: bool| -> Vec<String> {
        let entries = list.as_array().expect("bans.deny is a list").iter();
        let of_kind = entries.filter(|entry| entry.get("deny-multiple-versions").is_some() == is_single);
        sorted(of_kind.map(|entry| entry["crate"].as_str().expect("each entry names its crate").to_owned()))
    };
    let own = |list: &[&str]| sorted(list.iter().map(|name| name.to_string()));
    assert_eq!(names(&deny["bans"]["deny"], false), own(&BANNED.map(|(name, _)| name)));
    assert_eq!(names(&deny["bans"]["deny"], true), own(&SINGLE));
    let licences = deny["licenses"]["allow"].as_array().expect("licenses.allow is a list").iter();
    assert_eq!(sorted(licences.map(|name| name.as_str().expect("a licence is text").to_owned())), own(&LICENCES));
}

fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// What cargo resolved for this host, all features of the lock file considered; nothing is fetched.
fn metadata() -> Value {
    let host = cargo(&["-vV"]).lines().find_map(|line| line.strip_prefix("host: ").map(str::to_owned));
    let host = host.expect("`cargo -vV` names the host");
    let json = cargo(&["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", &host]);
    serde_json::from_str(&json).expect("`cargo metadata` prints JSON")
}

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(arguments).current_dir(root()).output().expect("cargo can be started");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {} failed:\n{errors}", arguments.join(" "));
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}

/// All that is wrong with what was resolved, one line each.
fn problems(metadata: &Value) -> Vec<String> {
    let checks = [banned, second_versions, providers, licences, for_tests_only];
    checks.iter().flat_map(|check| check(metadata)).collect()
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().expect("metadata lists packages").iter()
}

fn name(package: &Value) -> &str {
    package["name"].as_str().expect("a package has a name")
}

fn nodes(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["resolve"]["nodes"].as_array().expect("metadata lists the resolved packages").iter()
}

/// The resolved nodes of the packages called `wanted`.
fn nodes_of<'a>(metadata: &'a Value, wanted: &str) -> Vec<&'a Value> {
    let ids: Vec<_> =
        packages(metadata).filter(|package| name(package) == wanted).map(|package| &package["id"]).collect();
    nodes(metadata).filter(|node| ids.contains(&&node["id"])).collect()
}

fn banned(metadata: &Value) -> Vec<String> {
    let reason = |package: &Value| BANNED.iter().find(|(banned, _)| *banned == name(package));
    packages(metadata).filter_map(reason).map(|(name, why)| format!("`{name}` is banned: {why}")).collect()
}

fn second_versions(metadata: &Value) -> Vec<String> {
    let versions = |wanted: &str| -> Vec<&str> {
        packages(metadata)
            .filter(|package| name(package) == wanted)
            .filter_map(|package| package["version"].as_str())
            .collect()
    };
    let twice = SINGLE.iter().map(|name| (name, versions(name))).filter(|(_, versions)| versions.len() > 1);
    twice.map(|(name, versions)| format!("`{name}` is there more than once: {}", versions.join(", "))).collect()
}

fn providers(metadata: &Value) -> Vec<String> {
    let rustls = nodes_of(metadata, "rustls");
    if rustls.is_empty() {
        return vec!["`rustls` is not there: what speaks TLS?".to_owned()];
    }
    let features = || rustls.iter().filter_map(|node| node["features"].as_array()).flatten().filter_map(Value::as_str);
    let others = features().filter(|feature| OTHER_PROVIDERS.contains(feature));
    let mut found: Vec<_> =
        others.map(|other| format!("`rustls` is built with `{other}`; ring is its only provider")).collect();
    if !features().any(|feature| feature == "ring") {
        found.push("`rustls` is built without `ring`".to_owned());
    }
    found
}

fn licences(metadata: &Value) -> Vec<String> {
    packages(metadata).filter_map(|package| Some(format!("`{}` {}", name(package), licence(package)?))).collect()
}

fn licence(package: &Value) -> Option<String> {
    let Some(licence) = package["license"].as_str() else {
        return Some("states no licence".to_owned());
    };
    match spdx::allows(licence, &LICENCES) {
        Ok(true) => None,
        Ok(false) => Some(format!("has the licence {licence}, which tests/dependencies.rs does not list")),
        Err(why) => Some(format!("has a licence that cannot be read ({why}): {licence}")),
    }
}

fn for_tests_only(metadata: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for wanted in FOR_TESTS_ONLY {
        let ids: Vec<_> = nodes_of(metadata, wanted).into_iter().map(|node| &node["id"]).collect();
        let is_wanted = |link: &&Value| ids.contains(&&link["pkg"]);
        let is_dev = |kind: &Value| kind["kind"] == "dev";
        for node in nodes(metadata) {
            let links = node["deps"].as_array().into_iter().flatten().filter(is_wanted);
            let kinds = links.flat_map(|link| link["dep_kinds"].as_array().into_iter().flatten());
            if kinds.into_iter().any(|kind| !is_dev(kind)) {
                let user = node["id"].as_str().unwrap_or_default();
                found.push(format!("`{wanted}` is for tests only, but {user} is built with it"));
            }
        }
    }
    found
}

/// Licence expressions: names joined by `OR`, `AND`, `WITH`, brackets, and the old `/`, which means `OR`.
mod spdx {
    /// Whether `expression` lets us choose licences that are all on the list. An exception (`WITH`) only gives
    /// further rights, so the licence before it decides.
    pub fn allows(expression: &str, list: &[&str]) -> Result<bool, String> {
        let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
        let words: Vec<_> = spaced.split_whitespace().collect();
        let mut rest = words.as_slice();
        let allowed = any(&mut rest, list)?;
        match rest.first() {
            None => Ok(allowed),
            Some(word) => Err(format!("`{word}` is not expected there")),
        }
    }

    fn any(rest: &mut &[&str], list: &[&str]) -> Result<bool, String> {
        let mut allowed = all(rest, list)?;
        while take(rest, "OR") {
            allowed |= all(rest, list)?;
        }
        Ok(allowed)
    }

    fn all(rest: &mut &[&str], list: &[&str]) -> Result<bool, String> {
        let mut allowed = one(rest, list)?;
        while take(rest, "AND") {
            allowed &= one(rest, list)?;
        }
        Ok(allowed)
    }

    fn one(rest: &mut &[&str], list: &[&str]) -> Result<bool, String> {
        if take(rest, "(") {
            let allowed = any(rest, list)?;
            return if take(rest, ")") { Ok(allowed) } else { Err("a bracket is not closed".to_owned()) };
        }
        let licence = word(rest)?;
        if take(rest, "WITH") {
            word(rest)?;
        }
        Ok(list.contains(&licence))
    }

    fn take(rest: &mut &[&str], wanted: &str) -> bool {
        let is_next = rest.first() == Some(&wanted);
        if is_next {
            *rest = &rest[1..];
        }
        is_next
    }

    fn word<'a>(rest: &mut &[&'a str]) -> Result<&'a str, String> {
        match rest.split_first() {
            Some((word, after)) if !["OR", "AND", "WITH", "(", ")"].contains(word) => {
                *rest = after;
                Ok(word)
            }
            Some((word, _)) => Err(format!("`{word}` is not expected there")),
            None => Err("it ends too early".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn package(name: &str, version: &str, licence: Value) -> Value {
        json!({ "name": name, "version": version, "id": format!("{name}@{version}"), "license": licence })
    }

    fn sound() -> Value {
        json!({
            "packages": [
                package("backstop", "0.1.0", json!("Apache-2.0 OR MIT")),
                package("rustls", "0.23.1", json!("MIT")),
                package("prometheus-parse", "0.2.5", json!("MIT")),
            ],
            "resolve": { "nodes": [
                { "id": "backstop@0.1.0", "features": [], "deps": [
                    { "pkg": "rustls@0.23.1", "dep_kinds": [{ "kind": null }] },
                    { "pkg": "prometheus-parse@0.2.5", "dep_kinds": [{ "kind": "dev" }] },
                ] },
                { "id": "rustls@0.23.1", "features": ["ring", "std"], "deps": [] },
                { "id": "prometheus-parse@0.2.5", "features": [], "deps": [] },
            ] },
        })
    }

    /// `plant` spoils what was sound; `expected` is all that may be said about it.
    fn check(plant: impl FnOnce(&mut Value), expected: &[&str]) {
        let mut metadata = sound();
        plant(&mut metadata);
        assert_eq!(problems(&metadata), expected);
    }

    fn add(metadata: &mut Value, package: Value) {
        metadata["packages"].as_array_mut().unwrap().push(package);
    }

    #[test]
    fn a_sound_tree_has_no_problems() {
        check(|_| {}, &[]);
    }

    #[test]
    fn every_banned_crate_is_caught() {
        for (name, why) in BANNED {
            let said = format!("`{name}` is banned: {why}");
            check(|metadata| add(metadata, package(name, "1.0.0", json!("MIT"))), &[&said]);
        }
        check(|metadata| add(metadata, package("openssl-probe", "0.2.0", json!("MIT"))), &[]);
    }

    #[test]
    fn a_second_version_is_caught() {
        let add_twice = |name: &'static str| {
            move |metadata: &mut Value| {
                add(metadata, package(name, "1.0.0", json!("MIT")));
                add(metadata, package(name, "0.14.2", json!("MIT")));
            }
        };
        for name in SINGLE.into_iter().filter(|name| *name != "rustls") {
            check(add_twice(name), &[&format!("`{name}` is there more than once: 1.0.0, 0.14.2")]);
        }
        check(
            |metadata| add(metadata, package("rustls", "0.22.0", json!("MIT"))),
            &["`rustls` is there more than once: 0.23.1, 0.22.0"],
        );
        check(add_twice("syn"), &[]);
    }

    #[test]
    fn another_tls_provider_is_caught() {
        let with = |features: Value| move |metadata: &mut Value| metadata["resolve"]["nodes"][1]["features"] = features;
        check(with(json!(["ring", "aws_lc_rs"])), &["`rustls` is built with `aws_lc_rs`; ring is its only provider"]);
        check(with(json!(["ring", "fips"])), &["`rustls` is built with `fips`; ring is its only provider"]);
        check(with(json!(["std"])), &["`rustls` is built without `ring`"]);
        check(
            |metadata| metadata["packages"][1]["name"] = json!("rustles"),
            &["`rustls` is not there: what speaks TLS?"],
        );
    }

    #[test]
    fn a_licence_off_the_list_is_caught() {
        let planted = |licence: Value| |metadata: &mut Value| add(metadata, package("x", "1.0.0", licence));
        check(planted(json!("LGPL-3.0")), &["`x` has the licence LGPL-3.0, which tests/dependencies.rs does not list"]);
        check(planted(Value::Null), &["`x` states no licence"]);
        check(planted(json!("MIT OR")), &["`x` has a licence that cannot be read (it ends too early): MIT OR"]);
    }

    #[test]
    fn a_test_crate_in_the_program_is_caught() {
        let said = "`prometheus-parse` is for tests only, but backstop@0.1.0 is built with it";
        let kinds =
            |kinds: Value| move |metadata: &mut Value| metadata["resolve"]["nodes"][0]["deps"][1]["dep_kinds"] = kinds;
        check(kinds(json!([{ "kind": null }])), &[said]);
        check(kinds(json!([{ "kind": "dev" }, { "kind": null }])), &[said]);
        check(kinds(json!([{ "kind": "build" }])), &[said]);
    }

    #[test]
    fn licence_expressions_are_read() {
        let list = ["MIT", "ISC", "Apache-2.0"];
        let check = |expression: &str, expected: Result<bool, &str>| {
            assert_eq!(spdx::allows(expression, &list), expected.map_err(str::to_owned), "{expression}");
        };
        check("MIT", Ok(true));
        check("GPL-3.0", Ok(false));
        check("MIT/GPL-3.0", Ok(true));
        check("GPL-2.0 / GPL-3.0", Ok(false));
        check("GPL-3.0 OR MIT", Ok(true));
        check("MIT AND GPL-3.0", Ok(false));
        check("MIT AND ISC OR GPL-3.0", Ok(true));
        check("GPL-3.0 AND MIT OR ISC", Ok(true));
        check("GPL-3.0 AND (MIT OR ISC)", Ok(false));
        check("(GPL-3.0 OR MIT) AND ISC", Ok(true));
        check("Apache-2.0 WITH LLVM-exception", Ok(true));
        check("GPL-2.0 WITH Classpath-exception-2.0 AND MIT", Ok(false));
        check("mit", Ok(false));
        check("", Err("it ends too early"));
        check("MIT ISC", Err("`ISC` is not expected there"));
        check("(MIT", Err("a bracket is not closed"));
        check("MIT)", Err("`)` is not expected there"));
        check("OR MIT", Err("`OR` is not expected there"));
    }
}

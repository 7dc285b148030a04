//! What people write: `tests/configs/bad/NAME.toml` gives the diagnostics in `NAME.expected`, `good/NAME.toml` the
//! summary (and warnings) there. `UPDATE_GOLDEN=1` writes them anew; review the difference as prose.

use std::path::{Path, PathBuf};

use backstop::config::{self, Loaded, Options};

const FOLDER: &str = "tests/configs";

fn options(path: &Path) -> Options {
    Options {
        path: Some(path.into()),
        sets: Vec::new(),
        state: Some("/var/lib/backstop".into()),
        stderr_is_terminal: false,
        host: "web-1".into(),
        env: |_| None,
    }
}

/// Every `.toml` below `tests/configs/KIND`, sorted; relative, so that messages do not depend on the checkout.
fn files(kind: &str) -> Vec<PathBuf> {
    let folder = Path::new(FOLDER).join(kind);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the folder of configurations is there")
        .map(|e| e.expect("it can be listed").path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "toml"));
    files.sort();
    assert!(!files.is_empty());
    files
}

fn hold(path: &Path, extension: &str, found: &str) {
    let golden = path.with_extension(extension);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, found).expect("goldens can be written");
    }
    let wanted = std::fs::read_to_string(&golden).unwrap_or_default();
    assert!(wanted == found, "{} differs\n--- wanted\n{wanted}\n--- found\n{found}", golden.display());
}

fn text(loaded: &Loaded) -> String {
    format!("{}{}\n", loaded.render(false), loaded.conclusion(None))
}

#[test]
fn bad_configurations_are_refused_with_every_mistake_named() {
    for path in files("bad") {
        let loaded = config::load(&options(&path));
        assert!(loaded.config.is_none() && loaded.problems.errors() > 0, "{} is not refused", path.display());
        let found = text(&loaded);
        assert!(!found.contains("backtrace"), "{found}");
        hold(&path, "expected", &found);
    }
}

#[test]
fn good_configurations_are_taken() {
    for path in files("good") {
        let loaded = config::load(&options(&path));
        hold(&path, "expected", &text(&loaded));
        assert!(loaded.config.is_some(), "{}: {}", path.display(), text(&loaded));
    }
}

#[test]
fn secrets_are_neither_repeated_nor_printed() {
    for name in ["literal-secret", "credentials-in-url", "syntax-keys"] {
        let loaded = config::load(&options(&Path::new(FOLDER).join("bad").join(name).with_extension("toml")));
        assert!(!text(&loaded).contains("hunter2"), "{}", text(&loaded));
    }
}

#[test]
fn the_whole_configuration_is_printed_with_its_lines() {
    let path = Path::new(FOLDER).join("good/shop.toml");
    let config = config::load(&options(&path)).config.unwrap();
    let printed = config.print();
    assert!(!printed.contains("not to be printed") && !printed.contains("not-to-be-printed"), "{printed}");
    hold(&path, "print", &printed);
    let path = Path::new(FOLDER).join("good/grammar.toml");
    hold(&path, "print", &config::load(&options(&path)).config.unwrap().print());
}

#[test]
fn alerts_carry_the_labels_of_the_application() {
    let config = config::load(&options(&Path::new(FOLDER).join("good/shop.toml"))).config.unwrap();
    assert!(config.rules.iter().all(|rule| rule.labels.get("team") == "shop"));
}

#[test]
fn the_embedded_default_holds_where_nothing_is_written() {
    let mut options = options(Path::new("/"));
    (options.path, options.stderr_is_terminal) = (None, true);
    options.env = |name| (name == "BACKSTOP_CONFIG").then(String::new);
    if Path::new("/etc/backstop/backstop.toml").exists() {
        return;
    }
    let loaded = config::load(&options);
    assert_eq!(loaded.render(false), "");
    let config = loaded.config.expect("the default is good");
    let line = "the embedded default: good. 1 target, 10 rules (1 can roll back), 2 channels, mode observe, 0 steps";
    assert_eq!(config.summary(), line);
    options.stderr_is_terminal = false;
    assert_eq!(config::load(&options).config.unwrap().channels.len(), 1);
}

#[test]
fn the_example_is_good() {
    let loaded = config::load(&options(Path::new("config/example.toml")));
    assert!(loaded.config.is_some(), "{}", text(&loaded));
}

#[test]
fn variables_and_the_state_folder_can_be_overridden() {
    let mut options = options(&Path::new(FOLDER).join("good/shop.toml"));
    options.sets.push(("api".into(), "http://127.0.0.1:9".into()));
    let config = config::load(&options).config.unwrap();
    assert!(config.print().contains("http://127.0.0.1:9/health"));
    assert_eq!(config.socket(), Path::new("/run/backstop/control.sock"));
    options.state = Some("/elsewhere".into());
    let other = config::load(&options).config.unwrap();
    assert_eq!(other.socket(), Path::new("/elsewhere/control.sock"));
    assert_ne!(config.hash, other.hash);
}

#[test]
fn a_file_that_others_can_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = scratch("writable");
    let path = folder.join("backstop.toml");
    std::fs::write(&path, "[http.api]\nurl = \"http://127.0.0.1/\"\n").unwrap();
    for (mode, refused) in [(0o644, false), (0o664, false), (0o646, true)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let loaded = config::load(&options(&path));
        assert_eq!(loaded.config.is_none(), refused, "{mode:o}: {}", text(&loaded));
        assert_eq!(text(&loaded).contains("anybody can write to"), refused);
    }
}

#[test]
fn files_that_are_no_text_are_refused() {
    let folder = scratch("no-text");
    for (name, content, words) in [
        ("binary.toml", b"a = \"\xff\xfe\"".to_vec(), "no UTF-8"),
        ("long.toml", vec![b'#'; (1 << 20) + 1], "longer than"),
    ] {
        let path = folder.join(name);
        std::fs::write(&path, content).unwrap();
        let found = text(&config::load(&options(&path)));
        assert!(found.contains(words), "{found}");
    }
    assert!(text(&config::load(&options(&folder))).contains("cannot be read"));
    assert!(text(&config::load(&options(&folder.join("missing.toml")))).contains("cannot be read"));
}

/// Seeded: 500 damaged copies of two good files. Whatever they say, the answer is a configuration or an error.
#[test]
fn a_damaged_file_is_refused_or_taken_and_never_a_panic() {
    let folder = scratch("damaged");
    let good = [std::fs::read("tests/configs/good/shop.toml"), std::fs::read("tests/configs/good/base.inc")];
    let shop: Vec<u8> = good.into_iter().flat_map(|f| f.unwrap()).skip("include = [\"base.inc\"]\n".len()).collect();
    let good = [shop, std::fs::read("tests/configs/good/grammar.toml").unwrap()];
    let path = folder.join("backstop.toml");
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    let pieces =
        "[~]~\"~'~=~${~}~\n~%~5s~\u{1b}~é~and ~> ~{~[[~.~baseline ~* ~- ~reaches ~within ~3 of ~99999999999999999999";
    let pieces: Vec<&str> = pieces.split('~').collect();
    for round in 0..500 {
        let mut bytes = good[round % good.len()].clone();
        for _ in 0..=next(4) {
            let at = next(bytes.len());
            match next(4) {
                0 => drop(bytes.drain(at..(at + next(40)).min(bytes.len()))),
                1 => bytes[at] = next(256) as u8,
                2 => {
                    let to = (at + next(60)).min(bytes.len());
                    let copy = bytes[at..to].to_vec();
                    let into = next(bytes.len());
                    drop(bytes.splice(into..into, copy));
                }
                _ => drop(bytes.splice(at..at, pieces[next(pieces.len())].bytes())),
            }
        }
        std::fs::write(&path, &bytes).unwrap();
        let loaded = config::load(&options(&path));
        assert_eq!(loaded.config.is_none(), loaded.problems.errors() > 0, "round {round}: {}", text(&loaded));
        let shown = loaded.render(round % 2 == 0);
        assert!(shown.len() < 1 << 20, "round {round}");
        if let Some(config) = loaded.config {
            assert!(!config.print().is_empty());
        }
    }
}

/// A fresh folder of this test.
fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("config-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the build folder can be written");
    folder
}

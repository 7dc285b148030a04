//! What several test files need: the files of the repository, its Rust text as tokens, and the way to say that a
//! part is left out.

pub mod docker;
pub mod mutate;
pub mod port;
pub mod rust;

use std::io::Write;
use std::path::{Path, PathBuf};

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file of the repository, named by its path below the root.
pub fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("cannot read {path}: {e}"))
}

/// All files below `folder` (a path below the root, or "" for all), as sorted paths below the root.
///
/// Left out: what git keeps for itself and what cargo builds.
pub fn files(folder: &str) -> Vec<String> {
    let (mut found, mut open) = (Vec::new(), vec![root().join(folder)]);
    while let Some(folder) = open.pop() {
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("cannot list {}: {e}", folder.display()));
        for path in entries.map(|entry| entry.expect("a folder of the repository can be listed").path()) {
            if path.is_symlink() || [".git", "target"].contains(&below_root(&path).as_str()) {
                continue;
            } else if path.is_dir() {
                open.push(path);
            } else {
                found.push(below_root(&path));
            }
        }
    }
    found.sort();
    found
}

/// All files of Rust below `folder`, as (path, text).
pub fn rust_files(folder: &str) -> Vec<(String, String)> {
    let rust = files(folder).into_iter().filter(|path| path.ends_with(".rs"));
    rust.map(|path| (path.clone(), text(&path))).collect()
}

fn below_root(path: &Path) -> String {
    path.strip_prefix(root()).expect("only paths below the root are walked").to_string_lossy().into_owned()
}

/// A folder of its own for one test, removed when the value is dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes an empty folder; `name` must be that of the test, which makes it unique within the process.
    pub fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("backstop-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap_or_else(|e| panic!("cannot make {}: {e}", path.display()));
        Scratch(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Whether a test of `part`, which starts a server of others, is to run; says so when it is not.
///
/// The names of such tests begin with `outside_`; `tests/run` runs them, a plain `cargo test` leaves them out.
#[allow(dead_code, reason = "there may be no test with an outside server at the moment")]
pub fn outside(part: &str) -> bool {
    let asked = std::env::var("BACKSTOP_OUTSIDE").is_ok_and(|value| value == "1");
    if !asked {
        left_out(part, "BACKSTOP_OUTSIDE=1 runs it, and so does ./tests/run");
    }
    asked && wanted(part)
}

/// Whether `part` is not named in `BACKSTOP_SKIP` (names with commas between); says so when it is.
pub fn wanted(part: &str) -> bool {
    let skipped = std::env::var("BACKSTOP_SKIP").unwrap_or_default();
    let wanted = !skipped.split(',').any(|name| name.trim() == part);
    if !wanted {
        left_out(part, "BACKSTOP_SKIP names it");
    }
    wanted
}

/// Says that the calling test leaves itself out. `tests/run` counts these lines as skipped tests, so each test says
/// it once.
///
/// Written past the print macros: the test harness hides what these print when a test passes.
pub fn left_out(part: &str, why: &str) {
    let line = format!("LEFT OUT: {part}: {why}\n");
    drop(std::io::stderr().write_all(line.as_bytes()));
}

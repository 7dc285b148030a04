//! The rule files of a test, found and read.

use std::path::{Path, PathBuf};

use crate::base::Problems;
use crate::config::{self, Config, Files, Loaded, Options};
use crate::rule::prometheus::{self, GroupConfig, yaml};
use crate::sys::{glob, read};

/// The most rule files of a test.
const MAX_FILES: usize = 200;

/// Rules of both kinds.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Groups of Prometheus, in the order of the files.
    pub groups: Vec<GroupConfig>,
    /// Configurations of backstop.
    pub own: Vec<Config>,
    /// What looks like a mistake, and is none.
    pub warnings: Vec<String>,
}

/// Reads the files that `patterns` mean, seen from `folder`, and the ready-made rules of `packs`.
///
/// # Errors
/// All mistakes in them, as people read them.
pub fn load(patterns: &[String], packs: &[&str], folder: &Path, options: &Options) -> Result<Rules, String> {
    let mut rules = Rules::default();
    let mut said = String::new();
    let mut paths: Vec<PathBuf> = Vec::new();
    for pattern in patterns {
        let found = glob::paths(&folder.join(pattern));
        if found.is_empty() {
            rules.warnings.push(format!("no file matches {pattern:?}"));
        }
        for path in found {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
    }
    if paths.len() > MAX_FILES {
        return Err(format!("error: more than {MAX_FILES} rule files\n"));
    }
    for path in paths {
        said += &file(&path, &mut rules, options).err().unwrap_or_default();
    }
    if !packs.is_empty() {
        said += &keep(config::of_packs(packs, options), &mut rules).err().unwrap_or_default();
    }
    if said.is_empty() { Ok(rules) } else { Err(said) }
}

/// Reads one file of either kind into `rules`.
///
/// # Errors
/// All mistakes in it, as people read them.
pub fn file(path: &Path, rules: &mut Rules, options: &Options) -> Result<(), String> {
    if is_toml(path) { own(path, rules, options) } else { groups(path, rules) }
}

/// Whether the name ends in `.toml`.
pub fn is_toml(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("toml"))
}

/// The text of a file.
///
/// # Errors
/// Why it cannot be read, as people read it.
pub fn text(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let why = match read::into(path, &mut bytes, yaml::MAX_FILE) {
        Err(error) => error.to_string(),
        Ok(()) => match String::from_utf8(bytes) {
            Ok(text) => return Ok(text),
            Err(_) => "it is no UTF-8 text".into(),
        },
    };
    Err(format!("error: {} cannot be read: {why}\n", path.display()))
}

/// Reads a text with `reader` (text, number of the file, problems); mistakes are rendered with their lines.
///
/// # Errors
/// The mistakes.
pub fn parsed<T>(
    path: &Path,
    text: String,
    reader: impl FnOnce(&mut Files, usize, &mut Problems) -> Option<T>,
) -> Result<T, String> {
    let (mut files, mut problems) = (Files::default(), Problems::default());
    let number = files.add(&path.display().to_string(), Some(path.to_path_buf()), text);
    let value = reader(&mut files, number, &mut problems);
    match value.filter(|_| problems.errors() == 0) {
        Some(value) => Ok(value),
        None => Err(config::diagnose::render(&problems, &files, false)),
    }
}

fn groups(path: &Path, rules: &mut Rules) -> Result<(), String> {
    let text = text(path)?;
    let file = parsed(path, text, |files, number, problems| {
        prometheus::read(&files.list[number].text.clone(), number, problems)
    })?;
    rules.groups.extend(file.groups);
    Ok(())
}

fn own(path: &Path, rules: &mut Rules, options: &Options) -> Result<(), String> {
    keep(config::load(&Options { path: Some(path.to_path_buf()), ..options.clone() }), rules)
}

fn keep(loaded: Loaded, rules: &mut Rules) -> Result<(), String> {
    match loaded.config {
        Some(config) => rules.own.push(config),
        None => return Err(loaded.render(false)),
    }
    Ok(())
}

//! Which rules are run, and with which configuration around them.

use std::path::Path;

use super::super::test::rules as files;
use super::super::{Failure, Globals, place};
use crate::base::Problems;
use crate::config::{Config, Files, load};
use crate::rule::prometheus::GroupConfig;

/// The keys of a file that has only rules.
const ONLY_RULES: [&str; 3] = ["rule", "packs", "vars"];

/// Rules, and what they run in.
#[derive(Debug)]
pub struct Rules {
    /// What they are from, as people call it.
    pub name: String,
    /// The configuration, with the rules that are run.
    pub config: Config,
    /// Groups of Prometheus.
    pub groups: Vec<GroupConfig>,
}

/// The rules of the configuration, or those of `file`. A file with only rules takes all else from the configuration.
///
/// # Errors
/// All mistakes of the files, rendered.
pub fn find(globals: &Globals, file: Option<&Path>) -> Result<Rules, Failure> {
    let Some(path) = file else {
        let config = place::configuration(globals)?;
        return Ok(Rules { name: config.name.clone(), config, groups: Vec::new() });
    };
    let mistakes = |text: String| Failure::usage(text.trim_end().to_string(), None);
    let mut read = files::Rules::default();
    files::file(path, &mut read, &place::options(globals)).map_err(mistakes)?;
    let name = path.display().to_string();
    let Some(own) = read.own.pop() else {
        let mut config = place::configuration(globals)?;
        config.rules.clear();
        return Ok(Rules { name, config, groups: read.groups });
    };
    let config = match has_only_rules(path).map_err(mistakes)? {
        true => {
            let mut config = place::configuration(globals)?;
            config.rules = own.rules;
            config
        }
        false => own,
    };
    Ok(Rules { name, config, groups: Vec::new() })
}

fn has_only_rules(path: &Path) -> Result<bool, String> {
    let text = files::text(path)?;
    let (mut all, mut problems) = (Files::default(), Problems::default());
    let number = all.add(&path.display().to_string(), Some(path.to_path_buf()), text);
    let tree = load::parse(number, &mut all, &mut problems);
    let keys = match &tree.value {
        crate::base::table::Value::Table(entries) => entries.iter().map(|entry| entry.key.as_str()).collect(),
        _ => Vec::new(),
    };
    Ok(keys.iter().all(|key| ONLY_RULES.contains(key)))
}

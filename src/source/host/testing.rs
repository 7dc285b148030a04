//! What the tests of the rooms share.

use super::Config;
use crate::base::label::NAME;
use crate::base::{Labels, Sample};
use crate::source::common::Target;
use crate::source::testing::{defaults, read};

/// The configuration that `toml` writes.
pub(super) fn config(toml: &str) -> Config {
    let (config, problems) = read(toml, |node, problems| Config::read("host", node, &defaults(), problems));
    assert_eq!(problems, Vec::<String>::new());
    config.unwrap()
}

/// A target whose labels [`shown`] leaves out.
pub(super) fn target() -> Target {
    let mut common = config("").common;
    common.labels = Labels::empty();
    Target::new(&common, "here".into())
}

/// Each sample as `name{its own labels} value`.
pub(super) fn shown(samples: &[Sample]) -> Vec<String> {
    let ours = ["job", "service", "source", "instance", "app"];
    let own = |labels: &Labels| labels.filtered(|name| name == NAME || !ours.contains(&name)).to_string();
    samples.iter().map(|s| format!("{} {}", own(&s.labels), s.value)).collect()
}

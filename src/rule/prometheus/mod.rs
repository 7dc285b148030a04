//! Rule files of Prometheus, taken as they are: groups of recording and alerting rules, with templates.
//!
//! Enters: the text of a rule file; then, at each tick, `now` and a [`Host`] that evaluates and writes. Leaves: the series
//! that the rules produce, and their alerts. What is not implemented (native histograms, `define` in templates) is refused when
//! the file is read, with its place. Nothing here asks the clock or reads a file.

mod file;
mod group;
pub mod template;
pub mod yaml;

pub use file::{GroupConfig, Kind, RuleConfig, RuleFile, duration, is_label_name, is_metric_name, read};
pub use group::{ActiveAlert, Firing, Group, Host, INTERVAL, OUTAGE, RuleError, State};
pub use template::{External, Template};

//! How each part of a look went, under the names that the node exporter gives to its collectors
//! (`node_scrape_collector_success{collector}`). A change is logged once.

use std::io::{Error, ErrorKind, Result};

use crate::base::{Labels, Sample};
use crate::source::common::{Target, sample};

/// The parts, in the order in which they were looked at first.
#[derive(Debug, Default)]
pub(super) struct Parts {
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    name: &'static str,
    labels: Option<Labels>,
    /// How it went in the look before; none before the first.
    before: Option<bool>,
    error: Option<Error>,
}

impl Parts {
    /// Says how something of a part went; a part is good when all of it is.
    pub(super) fn add(&mut self, name: &'static str, went: Result<()>) {
        let i = self.parts.iter().position(|part| part.name == name).unwrap_or_else(|| {
            self.parts.push(Part { name, labels: None, before: None, error: None });
            self.parts.len() - 1
        });
        let part = &mut self.parts[i];
        part.error = part.error.take().or(went.err());
    }

    /// Ends a look: a sample for each part.
    pub(super) fn report(&mut self, target: &Target, samples: &mut Vec<Sample>) {
        for part in &mut self.parts {
            let error = part.error.take();
            let is_good = error.is_none();
            if part.before != Some(is_good) {
                part.log(error);
            }
            part.before = Some(is_good);
            let labels = part
                .labels
                .get_or_insert_with(|| target.series("node_scrape_collector_success", &[("collector", part.name)]));
            samples.push(sample(labels.clone(), f64::from(is_good)));
        }
    }
}

impl Part {
    fn log(&self, error: Option<Error>) {
        let collector = self.name;
        match error {
            // Not every kernel has everything.
            Some(error) if [ErrorKind::NotFound, ErrorKind::Unsupported].contains(&error.kind()) => {
                tracing::debug!(collector, %error, "This host lacks a part of what [host] looks at.");
            }
            Some(error) => {
                tracing::warn!(collector, %error, "A part of this host cannot be read; its series are missing.")
            }
            None if self.before == Some(false) => tracing::info!(collector, "A part of this host can be read again."),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::host::testing::{shown, target};

    #[test]
    fn a_part_is_good_when_all_of_it_is() {
        let mut parts = Parts::default();
        for (second, wanted) in [(Err(Error::other("x")), 0), (Ok(()), 1)] {
            parts.add("a", Ok(()));
            parts.add("b", second);
            parts.add("b", Ok(()));
            let mut samples = Vec::new();
            parts.report(&target(), &mut samples);
            assert_eq!(
                shown(&samples),
                [
                    "node_scrape_collector_success{collector=\"a\"} 1".to_string(),
                    format!("node_scrape_collector_success{{collector=\"b\"}} {wanted}"),
                ]
            );
        }
    }
}

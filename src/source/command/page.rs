//! The format `prometheus`: the output is a page of metrics.
//!
//! Leaves: its samples. A series that would say how the look went, or what our own figures are, becomes `exported_…`,
//! whatever time it bears.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::base::{Failure, Sample};
use crate::source::common::Target;
use crate::source::exposition::{self, Fault, Format, Series};
use crate::source::masks::Masks;
use crate::source::prometheus::labels_of;

/// The samples of a page, at most `max`; `own` are the names that are ours. A series that is there twice, at no other
/// time, is left out.
///
/// # Errors
/// Reason `format` with the line that is none, `too-large` or `too-many`; no sample of such a page is taken.
pub(super) fn samples(
    page: &[u8],
    max: usize,
    target: &Target,
    masks: &Masks,
    own: &[&str],
) -> Result<Vec<Sample>, Failure> {
    let (mut samples, mut n_read, mut taken) = (Vec::new(), 0, HashSet::new());
    let read = exposition::read(page, Format::Unsaid, |point| {
        n_read += 1;
        if n_read > max {
            return Err(Fault { reason: "too-many", what: "more samples than max_samples allows" });
        }
        let series = exposition::decode(point.series)?;
        let labels = labels_of(&hidden(series, masks), target, own);
        if point.at.is_some() || taken.insert(labels.clone()) {
            samples.push(Sample { labels, value: point.value, at: point.at });
        }
        Ok(())
    });
    match read {
        Ok(_) => Ok(samples),
        Err(Failure { reason: "body", detail }) => Err(Failure { reason: "format", detail }),
        Err(failure) => Err(failure),
    }
}

/// The series without secrets.
fn hidden<'s>(series: Series<'s>, masks: &Masks) -> Series<'s> {
    let name = Cow::Owned(masks.hide(&series.name));
    let labels = series.labels.into_iter().map(|(name, value)| (name, Cow::Owned(masks.hide(&value))));
    Series { name, labels: labels.collect() }
}

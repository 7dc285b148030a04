//! What of a host can hang (a sensor on a dead disk, a driver that holds its lock), looked at apart from the rest.

use std::io::{Error, ErrorKind, Result};

use crate::base::{Sample, Span};
use crate::sys::apart::{Apart, Late};

/// Looks at `thing` for at most `budget`; adds what came to `samples`. An answer that comes later is thrown away; as long as
/// an earlier look has not come back it is not waited for.
pub(super) async fn look<T: Send + 'static>(
    thing: &mut Apart<T>,
    budget: Span,
    samples: &mut Vec<Sample>,
    look: impl FnOnce(&mut T, &mut Vec<Sample>) -> Result<()> + Send + 'static,
) -> Result<()> {
    if thing.is_busy() {
        return Err(Error::new(ErrorKind::TimedOut, "an earlier look at it still hangs"));
    }
    let work = move |thing: &mut T| {
        let mut seen = Vec::new();
        let looked = look(thing, &mut seen);
        (seen, looked)
    };
    let (seen, looked) = thing.run("host", budget, work).await.map_err(|late| match late {
        Late::TimedOut(_) | Late::StillBusy => Error::new(ErrorKind::TimedOut, late.to_string()),
        Late::NoThread(_) | Late::Lost => Error::other(late.to_string()),
    })?;
    samples.extend(seen);
    looked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Labels;
    use crate::source::common::sample;

    #[tokio::test]
    async fn what_hangs_is_left_alone_until_it_returns() {
        let (release, gate) = std::sync::mpsc::channel::<()>();
        let mut apart = Apart::new(1);
        let mut samples = Vec::new();
        let late = look(&mut apart, Span::millis(20), &mut samples, move |n, seen| {
            assert!(gate.recv().is_err(), "nothing is sent, only let go");
            *n += 1;
            seen.push(sample(Labels::empty(), 1.0));
            Ok(())
        });
        assert_eq!(late.await.unwrap_err().to_string(), "no answer within 20ms");
        let again = look(&mut apart, Span::millis(20), &mut samples, |_, _| panic!("it is away")).await;
        assert_eq!(again.unwrap_err().to_string(), "an earlier look at it still hangs");
        drop(release);
        let returned = async {
            while look(&mut apart, Span::secs(5), &mut samples, |_, _| Ok(())).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Span::secs(5).to_std(), returned).await.expect("it returned");
        assert_eq!(apart.run("test", Span::secs(5), |n| *n).await, Ok(2));
        assert_eq!(samples, [], "an answer that came too late is not a sample of now");
    }

    #[tokio::test]
    async fn an_answer_in_time_is_added_with_its_error() {
        let mut apart = Apart::new(());
        let mut samples = Vec::new();
        let looked = look(&mut apart, Span::secs(5), &mut samples, |(), seen| {
            seen.push(sample(Labels::empty(), 2.0));
            Err(Error::other("half of it"))
        });
        assert_eq!(looked.await.unwrap_err().to_string(), "half of it");
        assert_eq!(samples.len(), 1);
    }

    #[tokio::test]
    async fn a_look_that_panics_costs_itself_only() {
        let mut apart = Apart::new(());
        for _ in 0..2 {
            let looked = look(&mut apart, Span::secs(5), &mut Vec::new(), |(), _| panic!("a bug")).await;
            assert!(looked.unwrap_err().to_string().starts_with("a look at it failed for good"));
        }
    }
}

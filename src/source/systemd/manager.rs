//! How systemd is asked: over its bus as long as that works, else through systemctl.

use std::collections::BTreeSet;

use super::config::Config;
use super::one::Known;
use crate::base::{Failure, Span, Timestamp};
use crate::sys::clock::{Clock, pause};
use crate::sys::units::{Address, Bus, Show, Unit};

/// How long after a failure the bus is tried again within one look: it may just be starting again.
const AGAIN: Span = Span::millis(100);

/// The shortest time until a lost connection is made again; each try that fails doubles it.
const LISTEN_AGAIN: Span = Span::millis(200);

/// The longest.
const LONGEST_WAIT: Span = Span::secs(10);

/// The bus and what stands in for it.
#[derive(Debug)]
pub(super) struct Manager {
    address: Address,
    names: Vec<String>,
    timeout: Span,
    bus: Option<Bus>,
    show: Show,
    /// When a lost connection is made again, and how long it is waited then; none while there is one, and where there never was.
    again: Option<(Timestamp, Span)>,
    /// Why systemctl is asked.
    stands_in: Option<Failure>,
}

impl Manager {
    pub(super) fn new(address: Address, systemctl: Option<&str>, config: &Config) -> Manager {
        Manager {
            address,
            names: config.units.clone(),
            timeout: config.common.timeout,
            bus: None,
            show: Show::new(systemctl),
            again: None,
            stands_in: None,
        }
    }

    /// Waits until units may have changed: which. For ever where there is no connection. Whoever ends the wait loses
    /// nothing.
    pub(super) async fn changed(&mut self, clock: &Clock) -> BTreeSet<usize> {
        loop {
            if let Some(bus) = &mut self.bus {
                match bus.changed().await {
                    Ok(()) => return bus.take_changed(),
                    Err(failure) => self.lose(&failure, clock.now()),
                }
            }
            let Some((again, gap)) = self.again else { std::future::pending().await };
            // Also where the clock was set back.
            clock.sleep_until(again.min(clock.now() + gap)).await;
            self.wait(clock.now(), Span(gap.0 * 2));
            if self.connect(self.timeout).await.is_ok() {
                tracing::info!("The bus of the system is back.");
            }
        }
    }

    fn lose(&mut self, failure: &Failure, now: Timestamp) {
        tracing::debug!(%failure, "The bus of the system is lost.");
        self.bus = None;
        self.wait(now, LISTEN_AGAIN);
    }

    fn wait(&mut self, now: Timestamp, gap: Span) {
        let gap = gap.min(LONGEST_WAIT);
        self.again = Some((now + gap, gap));
    }

    async fn connect(&mut self, timeout: Span) -> Result<&mut Bus, Failure> {
        let bus = match self.bus.take() {
            Some(bus) => bus,
            None => Bus::connect(&self.address, &self.names, timeout).await?,
        };
        self.again = None;
        let bus = self.bus.insert(bus);
        bus.with_timeout(timeout);
        Ok(bus)
    }

    /// All units, in their order; none for one of which what is known still holds.
    pub(super) async fn all(&mut self, known: &[Known], clock: &Clock) -> Result<Vec<Option<Unit>>, Failure> {
        let end = clock.now() + Span(self.timeout.0 / 2);
        let failure = loop {
            let left = end - clock.now();
            let failure = match self.ask(known, left, clock).await {
                Ok(units) => {
                    if let Some(before) = self.stands_in.take() {
                        tracing::info!(%before, "systemd can be asked over its bus again.");
                    }
                    return Ok(units);
                }
                Err(failure) => failure,
            };
            if self.bus.is_some() {
                self.lose(&failure, clock.now());
            }
            // Where systemctl stands in already, one try is enough.
            if failure.reason == "permission" || self.stands_in.is_some() || end - clock.now() <= AGAIN {
                break failure;
            }
            pause(AGAIN).await;
        };
        match self.show.units(&self.names, Span(self.timeout.0 / 4)).await {
            Ok(units) => {
                if self.stands_in.is_none() {
                    tracing::warn!(%failure, "systemctl is asked at each interval instead; a change is seen that late.");
                }
                self.stands_in = Some(failure);
                Ok(units.into_iter().map(Some).collect())
            }
            Err(also) => Err(Failure::new(failure.reason, format!("{}; {}", failure.detail, also.detail))),
        }
    }

    async fn ask(&mut self, known: &[Known], timeout: Span, clock: &Clock) -> Result<Vec<Option<Unit>>, Failure> {
        let end = clock.now() + timeout;
        let bus = self.connect(timeout).await?;
        // What is noted now is answered by what follows; what comes behind it is noted anew.
        let mut due = bus.take_changed();
        let states = bus.states().await?;
        let now = clock.now();
        due.extend(
            known
                .iter()
                .zip(&states)
                .enumerate()
                .filter(|(_, (known, state))| !known.holds(state, now))
                .map(|(at, _)| at),
        );
        let mut units: Vec<Option<Unit>> = known.iter().map(|_| None).collect();
        while let Some(at) = due.pop_first() {
            let left = end - clock.now();
            match tokio::time::timeout(left.to_std(), bus.unit(at)).await {
                Ok(unit) => units[at] = unit?,
                // systemd answers, and this look is over: they are asked for behind it.
                Err(_) => {
                    bus.note_again(at);
                    due.into_iter().for_each(|at| bus.note_again(at));
                    break;
                }
            }
        }
        Ok(units)
    }

    /// The unit at this place of the list, which changed. None where it cannot be asked for: the next look at all says why.
    pub(super) async fn one(&mut self, at: usize, clock: &Clock) -> Option<Unit> {
        let bus = self.bus.as_mut()?;
        match bus.unit(at).await {
            Ok(unit) => unit,
            Err(failure) => {
                self.lose(&failure, clock.now());
                None
            }
        }
    }
}

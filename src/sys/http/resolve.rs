//! Name look-ups: at most one under way for a name, whoever asks for it.
//!
//! Enters: a host name. Leaves: its addresses, or a failure with the reason `resolve`. The system's resolver cannot be
//! interrupted, so a look-up lives on when nobody waits for it any more; the next to ask for that name joins it. So a
//! resolver that hangs costs one thread a name, however often it is asked, and [`MAX_UNDER_WAY`] threads in all.

use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::base::{Failure, Span};

/// How many look-ups may be under way at once: redirects can name any host.
pub(super) const MAX_UNDER_WAY: usize = 16;

/// How long a look-up waits for a place among them.
const PATIENCE: Span = Span::secs(1);

/// How many addresses of a name are tried.
const MAX_ADDRESSES: usize = 8;

type Found = Result<Arc<[SocketAddr]>, String>;
type LookUp = dyn Fn(&str) -> std::io::Result<Vec<SocketAddr>> + Send + Sync;

/// Looks names up, each once at a time.
pub(super) struct Resolver {
    under_way: Mutex<HashMap<String, watch::Receiver<Option<Found>>>>,
    places: Arc<Semaphore>,
    look_up: Box<LookUp>,
}

impl Resolver {
    /// Asks the system: `/etc/hosts`, DNS, whatever it is set up for.
    pub(super) fn of_system() -> Resolver {
        Resolver::with(|host| Ok((host, 0).to_socket_addrs()?.collect()))
    }

    /// Asks `look_up`, which may block.
    pub(super) fn with(look_up: impl Fn(&str) -> std::io::Result<Vec<SocketAddr>> + Send + Sync + 'static) -> Resolver {
        let places = Arc::new(Semaphore::new(MAX_UNDER_WAY));
        Resolver { under_way: Mutex::default(), places, look_up: Box::new(look_up) }
    }

    /// The addresses of `host`, in the order in which the system prefers them, with port 0.
    ///
    /// # Errors
    /// Reason `resolve`.
    pub(super) async fn resolve(self: &Arc<Self>, host: &str) -> Result<Arc<[SocketAddr]>, Failure> {
        let known = self.lock().get(host).cloned();
        let mut answer = match known {
            Some(answer) => answer,
            None => {
                // At the start all targets ask at once; only a resolver that hangs keeps its places for long.
                let place = tokio::time::timeout(PATIENCE.to_std(), self.places.clone().acquire_owned()).await;
                let Ok(Ok(place)) = place else { return Err(crowded()) };
                self.join(host, place)
            }
        };
        // Copied out, so that no lock of the channel is held by who got the answer.
        let found = answer.wait_for(Option::is_some).await.ok().and_then(|found| found.clone());
        match found {
            Some(Ok(addresses)) if !addresses.is_empty() => Ok(addresses),
            Some(Ok(_)) => Err(Failure::new("resolve", format!("{host} has no address"))),
            Some(Err(why)) => Err(Failure::new("resolve", format!("{host}: {why}"))),
            None => Err(Failure::new("resolve", format!("{host}: the look-up ended without an answer"))),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "it outlives who asked; the resolver owns it, and counts it")]
    fn join(self: &Arc<Self>, host: &str, place: OwnedSemaphorePermit) -> watch::Receiver<Option<Found>> {
        let mut under_way = self.lock();
        if let Some(answer) = under_way.get(host) {
            return answer.clone();
        }
        let (said, answer) = watch::channel(None);
        under_way.insert(host.to_string(), answer.clone());
        let (resolver, host) = (self.clone(), host.to_string());
        drop(tokio::task::spawn_blocking(move || {
            // Ended by dropping it, so that the name is free again even after a panic.
            let entry = Entry { resolver, host, _place: place };
            let found = (entry.resolver.look_up)(&entry.host);
            let addresses = found.map(|all| all.into_iter().take(MAX_ADDRESSES).collect::<Arc<[_]>>());
            drop(entry);
            said.send_replace(Some(addresses.map_err(|e| plain(&e))));
        }));
        answer
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, watch::Receiver<Option<Found>>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}

fn crowded() -> Failure {
    let detail = format!("{MAX_UNDER_WAY} look-ups have had no answer yet: does the resolver of this host work?");
    Failure::new("resolve", detail)
}

/// A look-up under way.
struct Entry {
    resolver: Arc<Resolver>,
    host: String,
    _place: OwnedSemaphorePermit,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.resolver.lock().remove(&self.host);
    }
}

/// What the system says, without what it says each time.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.strip_prefix("failed to lookup address information: ").map_or(text.clone(), str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    /// A resolver that answers when it is told to, and counts how often it was asked.
    fn held() -> (Arc<Resolver>, mpsc::Sender<()>, Arc<AtomicUsize>) {
        let (go, wait) = mpsc::channel();
        let (wait, asked) = (Mutex::new(wait), Arc::new(AtomicUsize::new(0)));
        let counted = asked.clone();
        let look_up = move |_: &str| {
            counted.fetch_add(1, Ordering::SeqCst);
            wait.lock().unwrap().recv().unwrap_or_default();
            Ok(vec!["127.0.0.1:0".parse().unwrap()])
        };
        (Arc::new(Resolver::with(look_up)), go, asked)
    }

    fn joined(resolver: &Arc<Resolver>, host: &str) -> watch::Receiver<Option<Found>> {
        resolver.join(host, resolver.places.clone().try_acquire_owned().unwrap())
    }

    #[tokio::test]
    async fn more_names_than_places_are_looked_up_one_after_another() {
        let resolver = Arc::new(Resolver::with(|_| Ok(vec!["127.0.0.1:0".parse().unwrap()])));
        let hosts: Vec<String> = (0..10 * MAX_UNDER_WAY).map(|i| format!("host-{i}")).collect();
        let mut all = tokio::task::JoinSet::new();
        for host in hosts {
            let resolver = resolver.clone();
            all.spawn(async move { resolver.resolve(&host).await });
        }
        assert!(all.join_all().await.into_iter().all(|found| found.is_ok()));
    }

    #[tokio::test]
    async fn all_who_ask_for_a_name_share_one_look_up() {
        let (resolver, go, asked) = held();
        let (first, second) = (joined(&resolver, "a"), joined(&resolver, "a"));
        // Who asked first went away; the look-up goes on for the others.
        drop(first);
        drop(second);
        let waits = resolver.resolve("a");
        go.send(()).unwrap();
        assert_eq!(waits.await.unwrap().len(), 1);
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        go.send(()).unwrap();
        resolver.resolve("a").await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 2, "an answer is not kept");
    }

    #[tokio::test]
    async fn a_resolver_that_hangs_costs_a_bounded_number_of_threads() {
        let (resolver, go, _) = held();
        for i in 0..MAX_UNDER_WAY {
            drop(joined(&resolver, &format!("host-{i}")));
        }
        let failure = resolver.resolve("one-more").await.unwrap_err();
        assert_eq!(failure.reason, "resolve");
        assert!(failure.detail.starts_with("16 look-ups have had no answer yet"), "{failure}");
        drop(go);
    }

    #[tokio::test]
    async fn a_name_that_is_not_known_is_said_by_its_name() {
        let unknown = |_: &str| Err(std::io::Error::other("failed to lookup address information: Name unknown"));
        for (resolver, wanted) in [
            (Resolver::with(unknown), "resolve: shop: name unknown"),
            (Resolver::with(|_| Ok(Vec::new())), "resolve: shop has no address"),
            (Resolver::with(|_| panic!("a bug")), "resolve: shop: the look-up ended without an answer"),
        ] {
            let resolver = Arc::new(resolver);
            assert_eq!(resolver.resolve("shop").await.unwrap_err().to_string(), wanted);
            assert!(resolver.lock().is_empty(), "the name is free again");
        }
    }
}

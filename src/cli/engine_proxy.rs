//! `backstop engine-proxy`: the container engine for those who may only read it.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Context, Exit, Failure, place, run};
use crate::config::{self, SourceConfig};
use crate::proxy::{NotRead, Proxy, Root};
use crate::source::command::inside::Declared;
use crate::sys::engine::address::PROXY;
use crate::sys::engine::{Address, Engine};
use crate::sys::tasks::Tasks;
use crate::sys::{listen, systemd};

/// Lets the container engine be read, and nothing else be done with it.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Runs as a service with a user of its own that may open the engine's socket:\n  \
                          systemctl enable --now backstop-engine-proxy.socket\n\n\
                        SIGHUP reads anew what the configuration declares under `inside`.\n\n\
                        Exit codes: 0 stopped by a signal, 2 wrong usage, 3 no socket.")]
pub struct Args {
    /// Where it listens, unless systemd hands it a socket.
    #[arg(long, value_name = "PATH", default_value = PROXY)]
    listen: PathBuf,
    /// The group that may open the socket that it makes.
    #[arg(long, value_name = "GROUP", default_value = "backstop")]
    group: String,
    /// The engine: unix:///path or tcp://127.0.0.1:port; Docker's or Podman's socket where none is given.
    #[arg(long, value_name = "ADDRESS")]
    engine: Option<String>,
}

/// Serves until SIGTERM or Ctrl-C.
pub async fn run(context: &mut Context, args: &Args) -> Result<Exit, Failure> {
    run::log_to_stderr("info");
    let address = match &args.engine {
        Some(text) => Address::parse(text).map_err(|why| Failure::usage(format!("--engine: {why}"), None))?,
        None => Address::found_engine(),
    };
    if address == Address::Socket(args.listen.clone()) {
        return Err(Failure::usage("--engine and --listen are the same socket", None));
    }
    let failed = |error: listen::ListenError| Failure::unknown(error.to_string());
    let (listener, place) = match listen::given(|name| std::env::var(name).ok()).map_err(failed)? {
        Some(listener) => (listener, "the socket of systemd".to_string()),
        None => {
            let listener = listen::bind(&args.listen, Some(&args.group)).map_err(failed)?;
            (listener, args.listen.display().to_string())
        }
    };
    let proxy = Arc::new(Proxy::new(Engine::new(Some(address.clone()))));
    declare(context, &proxy);
    let stop = CancellationToken::new();
    let system = |error: std::io::Error| Failure::unknown(format!("listen for signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(system)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(system)?;
    context.out.line(&format!("backstop {} lets {address} be read at {place}", env!("CARGO_PKG_VERSION")));
    systemd::ready("lets the container engine be read");
    let (mut tasks, its_stop, its_proxy) = (Tasks::new(), stop.clone(), proxy.clone());
    let (ended, mut has_ended) = tokio::sync::oneshot::channel();
    tasks.spawn("engine proxy", async move { drop(ended.send(its_proxy.serve(listener, its_stop).await)) });
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                systemd::reloading();
                declare(context, &proxy);
                systemd::ready("lets the container engine be read");
            }
            ended = &mut has_ended => return match ended {
                Ok(Err(error)) => Err(Failure::unknown(format!("listen at {place}: {error}"))),
                _ => Err(Failure::unknown("the proxy ended by itself; this is a bug")),
            },
        }
    }
    systemd::stopping();
    stop.cancel();
    tasks.finish(crate::base::Span::secs(2)).await;
    Ok(Exit::Good)
}

/// Reads what the configuration declares under `inside`, and says what came of it.
fn declare(context: &Context, proxy: &Proxy) {
    match proxy.runs().declare(read(context)) {
        Ok(n) => tracing::info!(n, "Programs that are declared to run inside of containers."),
        Err(error) => tracing::warn!(%error, "The configuration does not count for what runs inside of containers."),
    }
}

fn read(context: &Context) -> Result<Root, NotRead> {
    let loaded = config::load(&place::options(&context.globals));
    let paths = loaded.files.list.iter().filter_map(|file| file.path.as_deref());
    let files: Result<Vec<PathBuf>, _> = paths.map(std::path::absolute).collect();
    let files = files.map_err(|error| NotRead::Untrusted(error.to_string()))?;
    let root = Root { files, declared: Vec::new() };
    // First: what others could have written is not to be believed in its mistakes either.
    root.check()?;
    let Some(config) = &loaded.config else {
        // All of it: the log is where root looks.
        return Err(NotRead::Mistaken(format!("{}{}", loaded.render(false), loaded.conclusion(None))));
    };
    let declared = config.sources.iter().filter_map(|source| match source {
        SourceConfig::Command(command) => Declared::of(command),
        _ => None,
    });
    Ok(Root { declared: declared.collect(), ..root })
}

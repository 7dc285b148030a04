//! `backstop run`: the agent in the foreground, until SIGTERM or Ctrl-C.

use std::io::IsTerminal;

use super::out::Out;
use super::{Context, Exit, Failure};
use crate::agent::{self, Options, StartError};

/// Watches this host until it is told to stop.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Without a configuration it watches this machine with the embedded default.\n\
                        SIGHUP reads the configuration again; a wrong one is refused and the old one goes on.\n\n\
                        Exit codes: 0 stopped by a signal, 2 configuration, 3 state folder, address or another agent: try again.")]
pub struct Args {}

/// Starts the agent and waits for its end.
pub async fn run(context: &mut Context, _: &Args) -> Result<Exit, Failure> {
    let configured = super::place::configuration(&context.globals).map(|c| c.agent.log);
    log_to_stderr(configured.as_deref().unwrap_or("info"));
    let running = agent::start(context.options()).await.map_err(|e| failed(&e))?;
    context.out.line(&format!("backstop {} watches with {}", env!("CARGO_PKG_VERSION"), running.config));
    if let Some(address) = running.listen {
        context.out.line(&format!("metrics and health on http://{address}/metrics"));
    }
    context.out.line(&format!("state in {}; how it stands: backstop status", running.state.display()));
    running.wait().await.map_err(|e| failed(&e))?;
    Ok(Exit::Good)
}

impl Context {
    /// What an agent of this command line is started with.
    pub(super) fn options(&self) -> Options {
        Options {
            config_path: self.globals.config.clone(),
            state: self.globals.state.clone(),
            sets: self.globals.sets.clone(),
            ..Options::default()
        }
    }
}

/// Why an agent did not start, as the command line says it.
pub(super) fn failed(error: &StartError) -> Failure {
    let exit = if error.exit_code() == 2 { Exit::Usage } else { Exit::Unknown };
    Failure { text: error.to_string(), help: None, exit }
}

/// The agent's own log goes to standard error (`$BACKSTOP_LOG` overrides `[agent] log`), where systemd and terminals expect it.
pub(super) fn log_to_stderr(configured: &str) {
    let level = tracing_subscriber::EnvFilter::try_from_env("BACKSTOP_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(configured));
    let log = tracing_subscriber::fmt()
        .with_env_filter(level)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    if let Err(error) = log.try_init() {
        Out::error(&format!("backstop: the log is set up already: {error}"));
    }
}

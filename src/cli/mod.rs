//! One file a subcommand.
//!
//! Enters: the command line and its environment. Leaves: text on standard output, mistakes on standard error, and
//! an exit code that pipelines can rely on: 0 good, 1 bad, 2 usage or configuration, 3 could not tell. What a
//! subcommand shows is a pure function of a snapshot; what it changes, it asks of the running agent.

mod backtest;
mod check;
mod demo;
mod demo_service;
mod deploy;
mod engine_proxy;
mod explain;
mod import;
mod init;
mod logs;
mod out;
mod place;
mod probe;
mod query;
mod replay;
mod rollback;
mod run;
mod show;
mod signal;
mod status;
pub mod test;
mod test_alert;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::base::Timestamp;
use crate::engine::command::{Command, Reply};
use crate::engine::snapshot::Snapshot;
use crate::sys::clock::Clock;
use crate::web::client::{Client, ClientError};
use out::Out;
use place::Place;
use show::When;

/// What the exit code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Good = 0,
    /// A verdict, a gate, a refusal: no.
    Bad = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// Nobody can say.
    Unknown = 3,
}

/// Why a subcommand ended early.
#[derive(Debug)]
pub struct Failure {
    text: String,
    help: Option<String>,
    exit: Exit,
}

impl Failure {
    /// The command line or the configuration is wrong.
    fn usage(text: impl Into<String>, help: Option<String>) -> Failure {
        Failure { text: text.into(), help, exit: Exit::Usage }
    }

    /// It cannot be known, or done, now.
    fn unknown(text: impl Into<String>) -> Failure {
        Failure { text: text.into(), help: None, exit: Exit::Unknown }
    }
}

/// When standard output is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How answers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Watches one Linux host after a deployment and takes a bad version back.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "backstop",
    version,
    after_help = "See it work in half a minute, without root or network:  backstop demo\n\
                  Watch this machine, without a configuration:            backstop run\n\n\
                  A deployment in a pipeline:\n  \
                    backstop deploy start --version 2.1.0\n  \
                    …deploy…\n  \
                    backstop deploy complete --wait\n\n\
                  The configuration is the first found of --config, $BACKSTOP_CONFIG, ./backstop.toml,\n\
                  /etc/backstop/backstop.toml, the embedded default.\n\n\
                  Exit codes: 0 good, 1 bad (a verdict, a gate, not accepted), 2 usage or configuration, 3 could not tell."
)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    what: What,
}

/// What every subcommand takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Globals {
    /// The configuration file.
    #[arg(long, global = true, value_name = "FILE", env = "BACKSTOP_CONFIG", help_heading = "Everywhere")]
    pub config: Option<PathBuf>,
    /// The agent's state folder.
    #[arg(long, global = true, value_name = "DIR", env = "BACKSTOP_STATE", help_heading = "Everywhere")]
    pub state: Option<PathBuf>,
    /// Overrides a variable of the configuration's [vars]; may be repeated.
    #[arg(long = "set", global = true, value_name = "NAME=VALUE", value_parser = pair, help_heading = "Everywhere")]
    pub sets: Vec<(String, String)>,
    /// How answers are written.
    #[arg(long, global = true, value_enum, default_value = "text", help_heading = "Everywhere")]
    pub format: Format,
    /// When output is coloured.
    #[arg(long, global = true, value_enum, default_value = "auto", help_heading = "Everywhere")]
    pub color: Color,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum What {
    /// Watches this host until it is told to stop.
    Run(run::Args),
    /// Looks at this host and writes a first configuration.
    Init(init::Args),
    /// Checks the configuration and names every mistake at once.
    Check(check::Args),
    /// Looks at targets once and says what was reached.
    Probe(probe::Args),
    /// Shows everything with a small shop and a bad release, in half a minute.
    Demo(demo::Args),
    /// Runs unit tests of rules, in promtool's format or ours.
    Test(test::Args),
    /// Runs the rules over what was recorded: what would have happened.
    Backtest(backtest::Args),
    /// Sends a message the way alerts go, and waits until each channel took it.
    TestAlert(test_alert::Args),
    /// Tells the agent that a version goes live.
    Deploy(deploy::Args),
    /// The watch over the newest deployment.
    Watch(watch::Args),
    /// The way back: its plan, its run, and who decides.
    Rollback(rollback::Args),
    /// States something: a tick, an approval, a result, a count.
    Signal(signal::Args),
    /// Shows how everything stands.
    Status(status::Args),
    /// Explains what a rule judges and why it stands where it stands.
    Explain(explain::Args),
    /// Evaluates an expression over the samples.
    Query(query::Args),
    /// Searches the lines that log sources have kept.
    Logs(logs::Args),
    /// Takes in old samples from an OpenMetrics file.
    Import(import::Args),
    /// Lets the container engine be read, and nothing else be done with it.
    EngineProxy(engine_proxy::Args),
    /// The demo's shop.
    #[command(hide = true)]
    DemoService(demo_service::Args),
    /// The demo's deployment, and its rollback.
    #[command(hide = true)]
    DemoSwitch(demo_service::SwitchArgs),
}

/// What a subcommand works with.
#[derive(Debug)]
pub struct Context {
    globals: Globals,
    out: Out,
    clock: Clock,
}

/// Reads the command line of this process, does what it says, and gives its exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Printing fails only when nobody reads.
            drop(error.print());
            return ExitCode::from(error.exit_code().clamp(0, 255) as u8);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            Out::error(&format!("backstop: start the runtime: {error}"));
            return ExitCode::from(Exit::Unknown as u8);
        }
    };
    let mut context = Context { out: Out::new(cli.globals.color), globals: cli.globals, clock: Clock::new() };
    let exit = match runtime.block_on(dispatch(&mut context, cli.what)) {
        Ok(exit) => exit,
        Err(failure) => {
            let help = failure.help.map(|h| format!("\n{h}")).unwrap_or_default();
            Out::error(&format!("backstop: {}{help}", failure.text));
            failure.exit
        }
    };
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    ExitCode::from(exit as u8)
}

async fn dispatch(context: &mut Context, what: What) -> Result<Exit, Failure> {
    match what {
        What::Run(args) => run::run(context, &args).await,
        What::Init(args) => init::run(context, &args).await,
        What::Probe(args) => probe::run(context, &args).await,
        What::Check(args) => check::run(context, &args).await,
        What::Demo(args) => demo::run(context, &args).await,
        What::Test(args) => test::run(context, &args).await,
        What::Backtest(args) => backtest::run(context, &args).await,
        What::TestAlert(args) => test_alert::run(context, &args).await,
        What::Deploy(args) => deploy::run(context, &args).await,
        What::Watch(args) => watch::run(context, &args).await,
        What::Rollback(args) => rollback::run(context, &args).await,
        What::Signal(args) => signal::run(context, &args).await,
        What::Status(args) => status::run(context, &args).await,
        What::Explain(args) => explain::run(context, &args).await,
        What::Query(args) => query::run(context, &args).await,
        What::Logs(args) => logs::run(context, &args).await,
        What::Import(args) => import::run(context, &args).await,
        What::EngineProxy(args) => engine_proxy::run(context, &args).await,
        What::DemoService(args) => demo_service::run(&args).await,
        What::DemoSwitch(args) => demo_service::switch(context, &args).await,
    }
}

impl Context {
    fn json(&self) -> bool {
        self.globals.format == Format::Json
    }

    /// Texts are written for `now` in the configured zone.
    fn when(&self, now: Timestamp) -> When {
        When { zone: place::zone(&self.globals), now }
    }

    fn place(&self) -> Place {
        place::find(&self.globals)
    }

    fn client(&self) -> Result<Client, Failure> {
        Client::new(&self.place().socket).map_err(|e| Failure::unknown(e.to_string()))
    }

    /// The running agent's newest snapshot.
    async fn snapshot(&self) -> Result<Snapshot, Failure> {
        self.client()?.snapshot().await.map_err(|e| no_answer(&e))
    }

    /// Sends a command, shows the answer; a refusal is exit 1.
    async fn command(&mut self, command: Command) -> Result<Exit, Failure> {
        let reply = self.client()?.command(&command).await.map_err(|e| no_answer(&e))?;
        self.show(&reply);
        Ok(match reply {
            Reply::Done { .. } => Exit::Good,
            Reply::Refused { .. } | Reply::Bad { .. } => Exit::Bad,
            Reply::Wrong { .. } => Exit::Usage,
        })
    }

    fn show(&mut self, reply: &Reply) {
        match reply {
            _ if self.json() => self.out.json(reply),
            Reply::Done { text, .. } | Reply::Bad { text } => self.out.line(text),
            Reply::Wrong { why, help } => Out::error(&format!("backstop: {why}\n{help}")),
            Reply::Refused { why, help } => {
                let help = help.as_deref().map(|h| format!("\n{h}")).unwrap_or_default();
                Out::error(&format!("refused: {why}{help}"));
            }
        }
    }
}

/// An agent that cannot be asked, with what to look at.
fn no_answer(error: &ClientError) -> Failure {
    let help = matches!(error, ClientError::NoAgent { .. }).then(|| {
        let systemd = std::path::Path::new("/run/systemd/system").is_dir();
        let command = if systemd { "systemctl status backstop" } else { "backstop run" };
        format!("is it running?   {command}\nanother state folder or socket: --state DIR, or the agent's --config FILE")
    });
    Failure { text: error.to_string(), help, exit: Exit::Unknown }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().into(), value.into())),
        _ => Err("it is written NAME=VALUE".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn the_commands_that_messages_print_are_understood() {
        for line in [
            "run",
            "check --strict --print",
            "init --output -",
            "demo --fault blind",
            "test errors_test.yml errors.toml --run errors",
            "backtest --last 14d --deploy 2d=2.1.0 --all",
            "backtest --data dump.om --rules rules.toml --format json",
            "test-alert --channel slack/ops",
            "deploy start --version 2.1.0",
            "deploy start shop --version 2.1.0 --previous 2.0.3 --live --force --wait",
            "deploy complete --wait",
            "watch status",
            "rollback plan",
            "rollback approve R-9 --reason checked",
            "rollback approve",
            "rollback deny R-9 --reason no",
            "rollback stop R-9",
            "rollback start --reason broken --override older-than-deployment",
            "rollback start shop --reason broken",
            "rollback execute 01k8n0000000000000000000000-1 --session --state /var/lib/backstop",
            "signal set tests --value passed=184 --value coverage=87.5% --reason nightly --for 2h",
            "signal set tests --json result.json",
            "signal set tickets --by 3",
            "signal reject approval --reason broken",
            "signal clear approval",
            "signal list --format json",
            "status --format json --color never",
            "explain errors --set api=http://localhost",
            "query up --at 5m",
            "query up --from 2h --to 1700000000 --step 15s --format json",
            "query up --range 1h",
            "logs api --level error --since 1h",
            "logs --contains order --until 5m --limit 10 --format json",
            "logs api web --match timeout",
            "import -",
        ] {
            let words = std::iter::once("backstop").chain(line.split(' '));
            if let Err(error) = Cli::try_parse_from(words) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn a_missing_agent_is_said_with_what_to_look_at() {
        let error = ClientError::NoAgent { socket: "/run/backstop/control.sock".into(), why: "no such file".into() };
        let failure = no_answer(&error);
        assert_eq!(failure.text, "no agent answers at /run/backstop/control.sock (no such file)");
        assert_eq!(failure.exit, Exit::Unknown);
        assert!(failure.help.unwrap().starts_with("is it running?   "));
    }

    #[test]
    fn a_setting_has_a_name_and_a_value() {
        assert_eq!(pair("api=http://x/?a=b"), Ok(("api".into(), "http://x/?a=b".into())));
        assert!(pair("api").is_err());
        assert!(pair("=x").is_err());
    }
}

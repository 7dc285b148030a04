//! The control socket's routes: what the command line and pipelines use.
//!
//! `GET /api/status` the snapshot · `POST /api/command` a [`Command`] in, a [`Reply`] out · `POST /-/reload`.
//! Who calls is known from the socket, never from the body: the command's `by` is overwritten with the caller's
//! user name. Only root and the agent's own user may change what is deployed or rolled back; everybody who may talk to
//! the agent may state a signal.

use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};

use super::serve::Caller;
use super::{Gate, bounded, not_yet};
use crate::engine::command::{Command, Reply};
use crate::engine::signals::Word;
use crate::source::signal::MAX_JSON;
use crate::sys::users;

/// The longest body of a command: a posted result as a JSON text, each byte of which may take two, and what stands
/// beside it.
const MAX_COMMAND: usize = 2 * MAX_JSON + 32 * 1024;

#[derive(Clone)]
struct Control {
    gate: Gate,
    agent: u32,
}

/// The routes of the control socket; to be served by [`super::serve_unix`], which knows the caller.
pub fn control_router(gate: Gate) -> Router {
    let control = Control { gate, agent: rustix::process::geteuid().as_raw() };
    let routes = Router::new()
        .route("/api/status", get(status))
        .route("/api/command", post(command).layer(DefaultBodyLimit::max(MAX_COMMAND)))
        .route("/-/reload", post(reload))
        .with_state(control);
    bounded(routes)
}

async fn status(State(control): State<Control>) -> Response {
    match control.gate.snapshot().await {
        Some(snapshot) => Json(&*snapshot).into_response(),
        None => not_yet(),
    }
}

async fn command(
    State(control): State<Control>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Json(command): Json<Command>,
) -> Response {
    if !may(&command, caller.uid, control.agent) {
        return Json(refusal(caller.uid, control.agent)).into_response();
    }
    match control.gate.command(signed(command, users::name(caller.uid))).await {
        Some(reply) => Json(reply).into_response(),
        None => not_yet(),
    }
}

async fn reload(State(control): State<Control>, ConnectInfo(caller): ConnectInfo<Caller>) -> Response {
    if !is_trusted(caller.uid, control.agent) {
        return (StatusCode::FORBIDDEN, "only root and the agent's own user may do this\n").into_response();
    }
    match control.gate.reload().await {
        Some(Ok(text)) => format!("{text}\n").into_response(),
        Some(Err(why)) => (StatusCode::UNPROCESSABLE_ENTITY, format!("{why}\n")).into_response(),
        None => not_yet(),
    }
}

fn is_trusted(uid: u32, agent: u32) -> bool {
    uid == 0 || uid == agent
}

/// Whether this user may send this command.
fn may(command: &Command, uid: u32, agent: u32) -> bool {
    match command {
        // Who may talk to the agent at all: its user, root, the group of its socket.
        Command::TestAlert { .. } | Command::Signal(_) => true,
        Command::DeployStart { .. }
        | Command::DeployComplete { .. }
        | Command::RollbackStart { .. }
        | Command::RollbackApprove { .. }
        | Command::RollbackDeny { .. }
        | Command::RollbackStop { .. } => is_trusted(uid, agent),
    }
}

fn refusal(uid: u32, agent: u32) -> Reply {
    let who = if agent == 0 { "root".to_string() } else { format!("root or {}", users::name(agent)) };
    Reply::refused(
        format!("{} may not change deployments or rollbacks here", users::name(uid)),
        format!("ask {who}, or run the command with sudo"),
    )
}

/// The command with its author as the kernel knows him.
fn signed(mut command: Command, name: String) -> Command {
    match &mut command {
        Command::DeployStart { by, .. }
        | Command::DeployComplete { by }
        | Command::RollbackStart { by, .. }
        | Command::RollbackApprove { by, .. }
        | Command::RollbackDeny { by, .. }
        | Command::RollbackStop { by, .. }
        | Command::TestAlert { by, .. }
        | Command::Signal(Word { by, .. }) => *by = name,
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Span;
    use crate::sys::tasks::Tasks;
    use crate::web::client::{Client, ClientError};
    use crate::web::samples;
    use crate::web::{serve_unix, tests::model_loop};

    const AGENT: u32 = 990;

    fn approve() -> Command {
        Command::RollbackApprove { run: Some(9), by: "root".into(), reason: None }
    }

    #[test]
    fn only_root_and_the_agents_user_move_a_rollback() {
        let test = Command::TestAlert { channel: None, by: String::new() };
        for (command, uid, allowed) in [
            (approve(), 0, true),
            (approve(), AGENT, true),
            (approve(), 1000, false),
            (Command::DeployComplete { by: String::new() }, 1000, false),
            (test, 1000, true),
        ] {
            assert_eq!(may(&command, uid, AGENT), allowed, "{command:?} by {uid}");
        }
        let Reply::Refused { why, help } = refusal(4_000_000, 0) else { panic!("a refusal") };
        assert_eq!(why, "uid 4000000 may not change deployments or rollbacks here");
        assert_eq!(help.unwrap(), "ask root, or run the command with sudo");
    }

    #[tokio::test]
    async fn a_command_arrives_with_the_callers_own_name() {
        crate::sys::http::install_crypto_provider();
        let folder = std::env::temp_dir().join(format!("backstop-control-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("control.sock");
        let client = Client::new(&path).unwrap();
        assert!(matches!(client.snapshot().await, Err(ClientError::NoAgent { .. })));

        let mut tasks = Tasks::new();
        let gate = model_loop(&mut tasks, Some(samples::quiet()));
        let listener = crate::web::bind_unix(&path).await.unwrap();
        drop(listener); // a stale file must not stand in the way
        let (router, stop) = (control_router(gate), tasks.stop_signal());
        let served = path.clone();
        tasks.spawn("control", async move { serve_unix(served, router, stop).await.unwrap() });
        let snapshot = loop {
            match client.snapshot().await {
                Err(ClientError::NoAgent { .. }) => tokio::task::yield_now().await,
                other => break other.unwrap(),
            }
        };
        assert_eq!(snapshot, samples::quiet());
        let claims = Command::DeployComplete { by: "somebody else".into() };
        let me = users::name(rustix::process::geteuid().as_raw());
        let expected = Reply::done(format!("DeployComplete {{ by: {me:?} }}"));
        assert_eq!(client.command(&claims).await.unwrap(), expected);
        assert_eq!(client.reload().await.unwrap(), Err("line 3 is wrong".to_string()));
        tasks.stop(Span::secs(5)).await;
        assert!(!path.exists(), "the socket goes with its agent");
        std::fs::remove_dir_all(folder).unwrap();
    }
}

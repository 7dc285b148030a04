//! `backstop test-alert`: a message to each channel by the way that alerts go, and what became of it.
//!
//! It asks the running agent; where none runs, a short-lived one is started on the same state, so outbox, template
//! and receipt are the real ones. Its exit code is a gate: 0 only when every channel accepted.

use super::out::{Out, pad};
use super::{Context, Exit, Failure, no_answer, run as run_agent};
use crate::agent::{self, Running};
use crate::base::{Span, Timestamp};
use crate::engine::command::{Command, Reply};
use crate::engine::snapshot::{DeliveryState, Snapshot};
use crate::sys::clock::{Stopwatch, pause};
use crate::web::client::{Client, ClientError};

/// How long channels may take.
const PATIENCE: Span = Span::secs(40);

/// How often their deliveries are looked at.
const POLL: Span = Span::millis(200);

/// Sends a message the way alerts go.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  backstop test-alert\n  backstop test-alert --channel email/team\n\n\
                        Accepted is not seen: ask a person whether it arrived.\n\n\
                        Exit codes: 0 every channel accepted, 1 one did not within 40 s, 2 configuration, 3 could not ask.")]
pub struct Args {
    /// Only this channel, as KIND/NAME; all where left out.
    #[arg(long)]
    channel: Option<String>,
}

/// The agent that is asked.
enum Asked {
    Remote(Client),
    Own(Box<Running>),
}

impl Asked {
    async fn snapshot(&self) -> Result<Snapshot, Failure> {
        match self {
            Asked::Remote(client) => client.snapshot().await.map_err(|e| no_answer(&e)),
            Asked::Own(running) => {
                let snapshot = running.gate.snapshot().await;
                snapshot.map(|s| (*s).clone()).ok_or_else(|| Failure::unknown("the agent ended"))
            }
        }
    }

    async fn command(&self, command: Command) -> Result<Reply, Failure> {
        match self {
            Asked::Remote(client) => client.command(&command).await.map_err(|e| no_answer(&e)),
            Asked::Own(running) => {
                running.gate.command(command).await.ok_or_else(|| Failure::unknown("the agent ended"))
            }
        }
    }
}

/// Sends, waits, shows.
pub async fn run(context: &mut Context, args: &Args) -> Result<Exit, Failure> {
    let client = context.client()?;
    let asked = match client.snapshot().await {
        Ok(_) => Asked::Remote(client),
        Err(ClientError::NoAgent { .. }) => {
            Out::error("no agent runs here; a short-lived one sends the message");
            let options = agent::Options { without_sources: true, in_process: true, ..context.options() };
            Asked::Own(Box::new(agent::start(options).await.map_err(|e| run_agent::failed(&e))?))
        }
        Err(error) => return Err(no_answer(&error)),
    };
    let result = send(context, &asked, args).await;
    if let Asked::Own(running) = asked {
        running.stop().await;
    }
    result
}

async fn send(context: &mut Context, asked: &Asked, args: &Args) -> Result<Exit, Failure> {
    let by = crate::sys::users::current();
    let reply = asked.command(Command::TestAlert { channel: args.channel.clone(), by }).await?;
    let Reply::Done { deliveries, .. } = &reply else {
        context.show(&reply);
        return Ok(Exit::Bad);
    };
    let watch = Stopwatch::start();
    let rows = loop {
        let rows = rows(&asked.snapshot().await?, deliveries);
        if rows.iter().all(Row::is_settled) || watch.elapsed() >= PATIENCE {
            break rows;
        }
        pause(POLL).await;
    };
    if context.json() {
        context.out.json(&rows);
    } else {
        context.out.text(&render(&rows));
    }
    Ok(if !rows.is_empty() && rows.iter().all(Row::is_accepted) { Exit::Good } else { Exit::Bad })
}

/// One channel's part.
#[derive(Clone, Debug, serde::Serialize)]
struct Row {
    channel: String,
    decided: Timestamp,
    state: DeliveryState,
    seen: Timestamp,
}

impl Row {
    fn is_settled(&self) -> bool {
        !matches!(self.state, DeliveryState::Waiting { .. })
    }

    fn is_accepted(&self) -> bool {
        matches!(self.state, DeliveryState::Accepted { .. })
    }
}

fn rows(snapshot: &Snapshot, deliveries: &[String]) -> Vec<Row> {
    let of = |id: &String| {
        snapshot.channels.iter().find_map(|channel| {
            let delivery = channel.recent.iter().find(|d| d.id == *id)?;
            let (decided, state) = (delivery.decided, delivery.state.clone());
            Some(Row { channel: channel.name.clone(), decided, state, seen: snapshot.at })
        })
    };
    deliveries.iter().filter_map(of).collect()
}

/// The table, and what it means.
fn render(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "no channel is configured: nobody is told. Write one: [channel.KIND.NAME]\n".into();
    }
    let cells: Vec<[String; 4]> = rows.iter().map(cells).collect();
    let head = ["channel", "accepted by", "after", "what it said"].map(String::from);
    let all: Vec<&[String; 4]> = std::iter::once(&head).chain(&cells).collect();
    let width = |i: usize| all.iter().map(|row| row[i].chars().count()).max().unwrap_or(0) + 2;
    let widths = [width(0), width(1), width(2)];
    let mut text = String::new();
    for row in &all {
        text +=
            &format!("{}{}{}{}\n", pad(&row[0], widths[0]), pad(&row[1], widths[1]), pad(&row[2], widths[2]), row[3]);
    }
    let accepted = rows.iter().filter(|r| r.is_accepted()).count();
    text += &format!("{accepted} of {} accepted.", rows.len());
    let missing: Vec<&str> = rows.iter().filter(|r| !r.is_accepted()).map(|r| r.channel.as_str()).collect();
    if !missing.is_empty() {
        text += &format!(" Look at {}: its address, its secret, its own log.", missing.join(", "));
    }
    text + &format!("\nAccepted is not seen: ask a person. Exit code {}.\n", u8::from(accepted < rows.len()))
}

fn cells(row: &Row) -> [String; 4] {
    let after = |at: Timestamp| format!("{:.1} s", (at - row.decided).as_secs().max(0.0));
    let (by, after, said) = match &row.state {
        DeliveryState::Accepted { at, by, said } => (by.clone(), after(*at), said.clone()),
        DeliveryState::Waiting { error } => {
            let why = error.as_deref().map(|e| format!("still tried: {e}")).unwrap_or_else(|| "no answer yet".into());
            ("-".into(), after(row.seen), why)
        }
        DeliveryState::GaveUp { why } => ("-".into(), after(row.seen), why.clone()),
        DeliveryState::Replaced => ("-".into(), after(row.seen), "a newer message took its place".into()),
    };
    let one_line: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(120).collect();
    [row.channel.clone(), by, after, one_line]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::snapshot::DeliveryView;
    use crate::web::samples;

    fn row(channel: &str, after: i64, state: DeliveryState) -> Row {
        let decided = samples::at("09:41:00");
        Row { channel: channel.into(), decided, state, seen: decided + Span::millis(after) }
    }

    #[test]
    fn each_channel_says_what_it_said() {
        let at = |ms| samples::at("09:41:00") + Span::millis(ms);
        let accepted =
            |ms, by: &str, said: &str| DeliveryState::Accepted { at: at(ms), by: by.into(), said: said.into() };
        let rows = [
            row("slack/ops", 400, accepted(300, "#shop-ops", "ok (message 1761640867.2219)")),
            row("email/team", 1200, accepted(1100, "smtp.example.org:465, 2 recipients", "250 2.0.0 queued as 4F1A")),
            row("pagerduty/oncall", 10_000, DeliveryState::GaveUp { why: "400 invalid\nrouting key".into() }),
            row("webhook/hub", 40_000, DeliveryState::Waiting { error: Some("connection refused".into()) }),
        ];
        insta::assert_snapshot!(render(&rows));
    }

    #[test]
    fn deliveries_are_found_by_their_ids() {
        let mut snapshot = samples::quiet();
        snapshot.channels[1].recent.push(DeliveryView {
            id: "d2".into(),
            number: 2,
            subject: "test".into(),
            decided: snapshot.at,
            state: DeliveryState::Waiting { error: None },
        });
        let rows = rows(&snapshot, &["d2".into(), "unknown".into()]);
        assert_eq!(rows.iter().map(|r| r.channel.as_str()).collect::<Vec<_>>(), ["pagerduty/oncall"]);
        assert!(!rows[0].is_settled());
    }
}

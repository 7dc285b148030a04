//! What happened to a container.

use serde::Deserialize;

use super::container::Labels;
use super::{Container, Health, Id, MAX_IMAGE, Odd, State, shown, shown_to};

/// What happened to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Happened {
    /// It was made.
    Created,
    /// It was started.
    Started,
    /// Its program ended.
    Died,
    /// The kernel ended one of its processes for want of memory.
    Oom,
    /// Its health check found something else than before.
    Health,
    /// Its processes stand still.
    Paused,
    /// They go on.
    Unpaused,
    /// Somebody restarted it; it died and was started before this is said.
    Restarted,
    /// It has another name.
    Renamed,
    /// It was removed.
    Destroyed,
}

impl Happened {
    /// All of them.
    pub const ALL: [Happened; 10] = [
        Happened::Created,
        Happened::Started,
        Happened::Died,
        Happened::Oom,
        Happened::Health,
        Happened::Paused,
        Happened::Unpaused,
        Happened::Restarted,
        Happened::Renamed,
        Happened::Destroyed,
    ];

    /// Docker's word for it; Podman's, where it is another.
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Happened::Created => &["create"],
            Happened::Started => &["start"],
            Happened::Died => &["die", "died"],
            Happened::Oom => &["oom"],
            Happened::Health => &["health_status"],
            Happened::Paused => &["pause"],
            Happened::Unpaused => &["unpause"],
            Happened::Restarted => &["restart"],
            Happened::Renamed => &["rename"],
            Happened::Destroyed => &["destroy", "remove"],
        }
    }

    /// What a container does behind it, as far as that follows.
    fn state(self) -> State {
        match self {
            Happened::Created => State::Created,
            Happened::Started | Happened::Health | Happened::Unpaused | Happened::Restarted => State::Running,
            Happened::Died => State::Exited,
            Happened::Paused => State::Paused,
            Happened::Destroyed => State::Removing,
            Happened::Oom | Happened::Renamed => State::Unknown,
        }
    }
}

/// An event of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub happened: Happened,
    /// When, in nanoseconds since 1970; 0 where the engine does not say.
    pub at: i64,
    /// With what a program ended ([`Happened::Died`]).
    pub exit_code: Option<i64>,
    /// What the health check found ([`Happened::Health`]).
    pub health: Option<Health>,
    /// To which; its name is the new one where it has another.
    pub container: Container,
}

/// Reads what `/events` says; nothing where it is about something else.
///
/// # Errors
/// When it is no event.
pub fn event(json: &[u8]) -> Result<Option<Event>, Odd> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Told {
        #[serde(default, rename = "Type")]
        kind: String,
        #[serde(default)]
        action: String,
        #[serde(default)]
        actor: Option<Actor>,
        #[serde(default, rename = "time")]
        seconds: i64,
        #[serde(default, rename = "timeNano")]
        nanos: i64,
        /// Where Podman says it.
        #[serde(default)]
        health_status: Option<String>,
    }
    #[derive(Deserialize)]
    struct Actor {
        #[serde(default, rename = "ID")]
        id: String,
        #[serde(default, rename = "Attributes")]
        attributes: Option<Attributes>,
    }
    #[derive(Deserialize, Default)]
    struct Attributes {
        #[serde(default)]
        name: Option<String>,
        #[serde(default)]
        image: Option<String>,
        #[serde(default, rename = "exitCode", alias = "containerExitCode")]
        exit_code: Option<String>,
        #[serde(flatten)]
        labels: Labels,
    }
    let told: Told = serde_json::from_slice(json).map_err(|_| Odd)?;
    // The action of an exec carries its command line, so a text is only compared.
    let (word, detail) = told.action.split_once(':').unwrap_or((&told.action, ""));
    let Some(happened) = Happened::ALL.into_iter().find(|happened| happened.words().contains(&word)) else {
        return Ok(None);
    };
    if told.kind != "container" || !(detail.is_empty() || happened == Happened::Health) {
        return Ok(None);
    }
    let actor = told.actor.ok_or(Odd)?;
    let attributes = actor.attributes.unwrap_or_default();
    let labels = attributes.labels;
    let state = happened.state();
    let container = Container {
        id: Id::try_from(actor.id).map_err(|_| Odd)?,
        name: shown(attributes.name.as_deref().unwrap_or_default().trim_start_matches('/')),
        service: labels.service(),
        number: labels.number(),
        is_one_off: labels.is_one_off(),
        image: shown_to(&attributes.image.unwrap_or_default(), MAX_IMAGE),
        state,
        is_running: state.is_running(),
        created: 0,
        ports: Vec::new(),
    };
    let exit_code = attributes.exit_code.filter(|_| happened == Happened::Died).and_then(|code| code.parse().ok());
    let health = match (happened, detail.trim(), told.health_status.as_deref()) {
        (Happened::Health, "", Some(podman)) => Health::parse(podman),
        (Happened::Health, docker, _) => Health::parse(docker),
        _ => None,
    };
    let at = if told.nanos > 0 { told.nanos } else { told.seconds.max(0).saturating_mul(1_000_000_000) };
    Ok(Some(Event { happened, at, exit_code, health, container }))
}

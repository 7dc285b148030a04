//! An entry of a list of containers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::Deserialize;

use super::{Id, MAX_IMAGE, Odd, State, shown, shown_to};

/// A container, as a list or an event names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// The project and the service of compose, where it belongs to one.
    pub service: Option<(String, String)>,
    /// Which of its service it is, counted from 1.
    pub number: Option<u32>,
    /// Whether it was made by hand for one command (`compose run`): it is none of those that the service consists of.
    pub is_one_off: bool,
    /// The image as it was named when it was made; an id where that name belongs to another image now.
    pub image: String,
    /// What it does; of an event what it does since.
    pub state: State,
    /// Whether it runs; also while it is paused or about to be started again.
    pub is_running: bool,
    /// When it was made, in seconds since 1970; 0 in an event.
    pub created: i64,
    /// Its TCP ports that the host has taken over, at most [`MAX_PORTS`]; none in an event.
    pub ports: Vec<Published>,
}

/// The most published ports of one container that are kept.
pub const MAX_PORTS: usize = 64;

/// A port of a container that the host has taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Where the host listens for it.
    pub at: SocketAddr,
    /// Its number inside.
    pub inner: u16,
}

impl Container {
    /// One of which no more than its id is known.
    pub fn unseen(id: Id) -> Container {
        Container {
            id,
            name: String::new(),
            service: None,
            number: None,
            is_one_off: false,
            image: String::new(),
            state: State::Unknown,
            is_running: false,
            created: 0,
            ports: Vec::new(),
        }
    }
}

/// The labels that are read. Those of Docker's compose are written by podman-compose too.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Labels {
    #[serde(rename = "com.docker.compose.project")]
    project: Option<String>,
    #[serde(rename = "com.docker.compose.service")]
    service: Option<String>,
    #[serde(rename = "com.docker.compose.container-number")]
    number: Option<String>,
    #[serde(rename = "com.docker.compose.oneoff")]
    one_off: Option<String>,
    #[serde(rename = "io.podman.compose.project")]
    podman_project: Option<String>,
    #[serde(rename = "io.podman.compose.service")]
    podman_service: Option<String>,
    #[serde(rename = "org.opencontainers.image.version")]
    pub(super) version: Option<String>,
    #[serde(rename = "org.opencontainers.image.revision")]
    pub(super) revision: Option<String>,
}

impl Labels {
    pub(super) fn service(&self) -> Option<(String, String)> {
        let project = self.project.as_ref().or(self.podman_project.as_ref())?;
        let service = self.service.as_ref().or(self.podman_service.as_ref())?;
        Some((shown(project), shown(service)))
    }

    pub(super) fn number(&self) -> Option<u32> {
        self.number.as_ref()?.parse().ok()
    }

    pub(super) fn is_one_off(&self) -> bool {
        self.one_off.as_ref().is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }
}

/// Reads an element of `/containers/json`.
///
/// # Errors
/// When it is none.
pub fn listed(json: &[u8]) -> Result<Container, Odd> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Listed {
        id: Id,
        #[serde(default)]
        names: Option<Vec<String>>,
        #[serde(default)]
        labels: Option<Labels>,
        #[serde(default)]
        image: Option<String>,
        #[serde(default)]
        state: String,
        #[serde(default)]
        created: i64,
        #[serde(default)]
        ports: Option<Vec<Port>>,
    }
    let listed: Listed = serde_json::from_slice(json).map_err(|_| Odd)?;
    // A container has further names where others link to it: `/other/alias`.
    let names = listed.names.unwrap_or_default();
    let own = names.iter().map(|name| name.trim_start_matches('/')).find(|name| !name.contains('/'));
    let labels = listed.labels.unwrap_or_default();
    let state = State::parse(&listed.state);
    Ok(Container {
        name: own.map(shown).unwrap_or_default(),
        service: labels.service(),
        number: labels.number(),
        is_one_off: labels.is_one_off(),
        image: shown_to(&listed.image.unwrap_or_default(), MAX_IMAGE),
        state,
        is_running: state.is_running(),
        created: listed.created,
        ports: listed.ports.unwrap_or_default().iter().filter_map(Port::published).take(MAX_PORTS).collect(),
        id: listed.id,
    })
}

/// A port as a list describes it; without a public number it is not published.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Port {
    #[serde(rename = "IP")]
    ip: String,
    private_port: Option<u16>,
    public_port: Option<u16>,
    #[serde(rename = "Type")]
    kind: String,
}

impl Port {
    fn published(&self) -> Option<Published> {
        // Podman leaves the address out where it is any.
        let ip: IpAddr = if self.ip.is_empty() { Ipv4Addr::UNSPECIFIED.into() } else { self.ip.parse().ok()? };
        let number = self.public_port.filter(|number| *number > 0 && self.kind == "tcp")?;
        Some(Published { at: SocketAddr::new(ip, number), inner: self.private_port? })
    }
}

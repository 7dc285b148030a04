//! The containers of an engine.

use crate::base::Failure;
use crate::cli::init::findings::{Container, Containers};
use crate::sys::engine::{self, Engine};

/// The most containers that are remembered.
const MAX_CONTAINERS: usize = 512;

/// Lists the containers, but those that were made by hand for one command.
pub async fn look(engine: &Engine) -> Result<Containers, Failure> {
    engine.agree().await?;
    let mut found = Containers { engine: engine.address().to_string(), ..Containers::default() };
    let mut n_more = 0;
    let n_unread = engine.list(|container| {
        if container.is_one_off {
            return;
        }
        match found.list.len() < MAX_CONTAINERS {
            true => found.list.push(known(container)),
            false => n_more += 1,
        }
    });
    let n_unread = n_unread.await?;
    found.n_passed_over = n_unread + n_more;
    found.list.sort_by(|a, b| (&a.service, &a.name).cmp(&(&b.service, &b.name)));
    Ok(found)
}

fn known(container: engine::Container) -> Container {
    Container {
        id: container.id.to_string(),
        name: container.name,
        service: container.service,
        is_running: container.is_running,
        ports: container.ports.iter().map(|port| (port.at, port.inner)).collect(),
    }
}

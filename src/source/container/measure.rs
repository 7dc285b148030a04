//! What a container uses, as its owner asks for it: from control groups, or from a test.

use super::verdict::Proof;
use crate::sys::cgroup::{Figures, Interface};
use crate::sys::engine::Id;

/// What was read of one container.
#[derive(Debug)]
pub struct Reading {
    /// Whether the main process lives.
    pub proof: Proof,
    /// Whether the rest was read.
    pub has_figures: bool,
    /// Nothing was read so far, and something will be in a moment.
    pub is_coming: bool,
    /// What it uses.
    pub figures: Figures,
    /// What goes through its network.
    pub interfaces: Vec<Interface>,
}

impl Default for Reading {
    fn default() -> Reading {
        Reading {
            proof: Proof::Unseen,
            has_figures: false,
            is_coming: false,
            figures: Figures::default(),
            interfaces: Vec::new(),
        }
    }
}

impl Reading {
    /// Nothing was read; what it holds of texts is kept for the next time.
    pub fn clear(&mut self) {
        (self.proof, self.has_figures, self.is_coming) = (Proof::Unseen, false, false);
    }
}

/// Reads what containers use.
pub trait Measure: std::fmt::Debug + Send {
    /// Reads what the container `id` uses, whose main process is `pid`, into `reading`. Its network is left out where it is
    /// the host's.
    fn read(&mut self, id: &Id, pid: u32, has_host_network: bool, reading: &mut Reading);

    /// Forgets all containers but these.
    fn keep(&mut self, is_there: &dyn Fn(&Id) -> bool);
}

//! Where reading goes on after a restart: one short record a file.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::mark::Mark;
use super::sealed::Sealed;
use super::track::Track;
use crate::base::Timestamp;
use crate::sys::tail::{Facts, FileId};

/// The version that is written. One that is newer is refused.
pub const VERSION: u32 = 1;

/// All positions, with what the caller remembers of each file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saved<S> {
    #[serde(rename = "v")]
    pub(super) version: u32,
    /// Whether there were more files than are followed.
    #[serde(rename = "many", default, skip_serializing_if = "is_false")]
    pub(super) is_crowded: bool,
    pub(super) files: Vec<Kept<S>>,
    /// Files that may not be read yet.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub(super) sealed: Vec<Shut>,
}

/// One file that existed when watching began and may not be read yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Shut {
    #[serde(rename = "p")]
    path: Bytes,
    #[serde(rename = "d")]
    dev: u64,
    #[serde(rename = "i")]
    ino: u64,
    #[serde(rename = "o")]
    size: u64,
}

impl Shut {
    pub(super) fn of((id, sealed): (&FileId, &Sealed)) -> Shut {
        Shut { path: Bytes::of(&sealed.path), dev: id.dev, ino: id.ino, size: sealed.size }
    }

    pub(super) fn id(&self) -> FileId {
        FileId { dev: self.dev, ino: self.ino }
    }

    pub(super) fn sealed(self) -> (FileId, Sealed) {
        (self.id(), Sealed { path: self.path.path(), size: self.size, n_missed: 0 })
    }
}

/// One file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Kept<S> {
    #[serde(rename = "p")]
    home: Bytes,
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    family: Option<Bytes>,
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    away: Option<Bytes>,
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    real: Option<Bytes>,
    #[serde(rename = "d")]
    dev: u64,
    #[serde(rename = "i")]
    ino: u64,
    #[serde(rename = "o")]
    position: u64,
    #[serde(flatten)]
    mark: Mark,
    #[serde(rename = "m")]
    modified: i64,
    /// What was put aside up to then is known; only told where something was.
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    known_until: Option<i64>,
    /// Since when it was empty, if what was put aside since then is not taken in yet; else told by what is known of it.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    empty_since: Option<i64>,
    #[serde(rename = "z", default, skip_serializing_if = "is_false")]
    is_packed: bool,
    #[serde(rename = "l", default, skip_serializing_if = "is_false")]
    is_in_long: bool,
    #[serde(rename = "e", default, skip_serializing_if = "is_false")]
    is_ended: bool,
    #[serde(rename = "x", default, skip_serializing_if = "is_false")]
    is_displaced: bool,
    #[serde(rename = "s")]
    state: S,
}

/// A path; few are no text, and those are kept as numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Bytes {
    Text(String),
    Raw(Vec<u8>),
}

impl Bytes {
    fn of(path: &Path) -> Bytes {
        let bytes = path.as_os_str().as_bytes();
        match std::str::from_utf8(bytes) {
            Ok(text) => Bytes::Text(text.into()),
            Err(_) => Bytes::Raw(bytes.into()),
        }
    }

    fn path(self) -> PathBuf {
        match self {
            Bytes::Text(text) => text.into(),
            Bytes::Raw(bytes) => OsString::from_vec(bytes).into(),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl<S: Clone + Default> Kept<S> {
    pub(super) fn of(track: &Track<S>) -> Kept<S> {
        let other = |path: &Path| (*path != *track.home).then(|| Bytes::of(path));
        Kept {
            home: Bytes::of(&track.home),
            family: other(&track.family),
            away: track.away.as_deref().and_then(other),
            real: track.real.as_deref().and_then(other),
            dev: track.id.dev,
            ino: track.id.ino,
            position: track.position,
            mark: track.mark,
            modified: track.modified,
            known_until: Some(track.known_until).filter(|until| *until > i64::MIN),
            empty_since: track.empty_since.filter(|at| (*at, Mark::default()) != (track.modified, track.mark)),
            is_packed: track.is_packed,
            is_in_long: track.is_in_long,
            is_ended: track.is_ended,
            is_displaced: track.is_displaced,
            state: track.state.clone(),
        }
    }

    pub(super) fn track(self) -> Track<S> {
        let home = self.home.path();
        let family = self.family.map_or_else(|| home.clone(), Bytes::path);
        let id = FileId { dev: self.dev, ino: self.ino };
        let facts = Facts { id, size: 0, modified: self.modified, changed: 0, n_links: 1, is_regular: true };
        let mut track = Track::new(&home, family.into(), facts, self.is_packed, Timestamp::default());
        track.away = self.away.map(Bytes::path);
        track.real = self.real.map(Bytes::path);
        track.empty_since = self.empty_since.or((self.mark == Mark::default()).then_some(self.modified));
        track.known_until = self.known_until.unwrap_or(i64::MIN);
        track.position = self.position;
        track.mark = self.mark;
        track.is_in_long = self.is_in_long;
        track.is_ended = self.is_ended;
        track.is_displaced = self.is_displaced;
        track.is_home = false;
        track.is_placed = false;
        track.is_listed = false;
        track.is_resumed = true;
        track.state = self.state;
        track
    }
}

//! What an engine tells of itself, and of an image.

use std::fmt;

use serde::Deserialize;

use super::{MAX_ERROR, MAX_IMAGE, Odd, shown, shown_to, time};
use crate::base::Timestamp;

/// The most digests of one image that are kept.
const MAX_DIGESTS: usize = 16;

/// An engine as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its version.
    pub version: String,
    /// The version of its API.
    pub api: String,
    /// The version of control groups on its host: 1 or 2.
    pub cgroup: Option<u8>,
    /// Whether containers outlive it.
    pub live_restore: bool,
    /// How many containers there are, whether they run or not.
    pub containers: u64,
}

/// An image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// By what registries know it, `name@sha256:…`, at most 16; none where it was made here.
    pub digests: Vec<String>,
    /// When it was made; nothing where its maker hid that.
    pub created: Option<Timestamp>,
}

/// Reads `/images/ID/json`.
///
/// # Errors
/// When it is none.
pub fn image(json: &[u8]) -> Result<Image, Odd> {
    #[derive(Deserialize)]
    struct Told {
        #[serde(rename = "Id")]
        _id: String,
        #[serde(default, rename = "RepoDigests")]
        digests: Option<Vec<String>>,
        #[serde(default, rename = "Created")]
        created: Option<String>,
    }
    let told: Told = serde_json::from_slice(json).map_err(|_| Odd)?;
    let mut digests: Vec<String> =
        told.digests.unwrap_or_default().iter().map(|digest| shown_to(digest, MAX_IMAGE)).collect();
    digests.sort();
    digests.truncate(MAX_DIGESTS);
    Ok(Image { digests, created: told.created.as_deref().and_then(time) })
}

/// Reads `/info`; `versions` tells the rest.
///
/// # Errors
/// When it is none.
pub(in crate::sys::engine) fn info(json: &[u8], versions: &Versions) -> Result<Info, Odd> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Told {
        #[serde(default)]
        cgroup_version: Option<String>,
        #[serde(default)]
        live_restore_enabled: Option<bool>,
        containers: i64,
    }
    let told: Told = serde_json::from_slice(json).map_err(|_| Odd)?;
    Ok(Info {
        version: versions.engine.clone(),
        api: versions.api.to_string(),
        cgroup: told.cgroup_version.and_then(|text| text.trim_start_matches('v').parse().ok()),
        live_restore: told.live_restore_enabled.unwrap_or(false),
        containers: told.containers.max(0).cast_unsigned(),
    })
}

/// What `/version` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sys::engine) struct Versions {
    /// The version of the API.
    pub(in crate::sys::engine) api: Version,
    /// The lowest that the engine still speaks.
    pub(in crate::sys::engine) min: Option<Version>,
    /// The version of the engine.
    pub(in crate::sys::engine) engine: String,
}

/// Reads `/version`.
///
/// # Errors
/// When it tells none.
pub(in crate::sys::engine) fn versions(json: &[u8]) -> Result<Versions, Odd> {
    #[derive(Deserialize)]
    struct Told {
        #[serde(rename = "ApiVersion")]
        api: String,
        #[serde(default, rename = "MinAPIVersion")]
        min: Option<String>,
        #[serde(default, rename = "Version")]
        engine: Option<String>,
    }
    let told: Told = serde_json::from_slice(json).map_err(|_| Odd)?;
    let min = told.min.as_deref().and_then(Version::parse);
    let engine = shown(&told.engine.unwrap_or_default());
    Ok(Versions { api: Version::parse(&told.api).ok_or(Odd)?, min, engine })
}

/// A version of the API: `1.41`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::sys::engine) struct Version(pub(in crate::sys::engine) u16, pub(in crate::sys::engine) u16);

impl Version {
    fn parse(text: &str) -> Option<Version> {
        let (major, minor) = text.split_once('.')?;
        // Podman writes three parts.
        let minor = minor.split('.').next()?;
        Some(Version(major.parse().ok()?, minor.parse().ok()?))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// What an engine says about an error: `{"message": …}`, as a line.
pub fn message(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Error {
        message: String,
    }
    let said = serde_json::from_slice::<Error>(body).map(|error| error.message).unwrap_or_default();
    shown_to(said.trim(), MAX_ERROR)
}

/// What a runtime prints about an error, as a line.
pub(in crate::sys::engine) fn message_of(printed: &[u8]) -> String {
    shown_to(String::from_utf8_lossy(printed).trim(), MAX_ERROR)
}

//! The common beginning of everything this room stores: a JSON object with a `format` number.
//!
//! A newer format is refused by name, before anything else of it is looked at.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// The format written today, of plans, requests and records alike.
pub const FORMAT: u32 = 1;

/// Why stored bytes could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// It is no JSON.
    #[error("it is no JSON: {0}")]
    NoJson(String),
    /// It does not say its format.
    #[error("it has no format number")]
    NoFormat,
    /// A newer version of backstop wrote it.
    #[error("it has format {found}, and this version of backstop reads up to {FORMAT}")]
    Newer {
        /// What stands there.
        found: u64,
    },
    /// It lacks something, or holds something unknown.
    #[error("it does not have the form of format {FORMAT}: {0}")]
    Form(String),
}

/// Reads one stored thing.
///
/// # Errors
/// When it is no JSON, has another format, or another form.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, FormatError> {
    let value: Value = serde_json::from_slice(bytes).map_err(|e| FormatError::NoJson(e.to_string()))?;
    match value.get("format").and_then(Value::as_u64) {
        None => Err(FormatError::NoFormat),
        Some(found) if found > u64::from(FORMAT) => Err(FormatError::Newer { found }),
        Some(_) => serde_json::from_value(value).map_err(|e| FormatError::Form(e.to_string())),
    }
}

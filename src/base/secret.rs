//! Secrets: where they are read from, and values that cannot print themselves.

use std::fmt;

pub use secrecy::{ExposeSecret, SecretString as Secret};
use serde::{Deserialize, Serialize};

/// Where a secret stands. The only forms that a configuration takes; a literal is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecretRef {
    /// `env:NAME`, an environment variable of the agent.
    Env(String),
    /// `file:/path`, the file's content without its last line break.
    File(std::path::PathBuf),
    /// `credential:NAME`, a file in systemd's credentials folder.
    Credential(String),
}

impl SecretRef {
    /// Parses one of the three forms.
    ///
    /// # Errors
    /// A fragment that never repeats the text, which may be the secret itself.
    pub fn parse(text: &str) -> Result<SecretRef, String> {
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(SecretRef::Env(name.into())),
            Some(("file", path)) if path.starts_with('/') => Ok(SecretRef::File(path.into())),
            Some(("credential", name)) if !name.is_empty() && !name.contains('/') => {
                Ok(SecretRef::Credential(name.into()))
            }
            _ => Err("a secret is never written out here".into()),
        }
    }
}

/// Prints the place, never the value.
impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretRef::Env(name) => write!(f, "env:{name}"),
            SecretRef::File(path) => write!(f, "file:{}", path.display()),
            SecretRef::Credential(name) => write!(f, "credential:{name}"),
        }
    }
}

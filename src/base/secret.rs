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
            Some(("file", _)) => Err("`file:` takes a whole path, from the root".into()),
            Some((kind @ ("env" | "credential"), "")) => Err(format!("`{kind}:` takes a name, and it is missing")),
            Some(("credential", _)) => Err("`credential:` takes a name, not a path".into()),
            _ => Err(SecretRef::LITERAL.into()),
        }
    }

    /// What is said of a text in none of the three forms.
    pub const LITERAL: &str = "a secret is never written out here";

    /// The file it stands in, where the configuration names one.
    pub fn file(&self) -> Option<std::path::PathBuf> {
        match self {
            SecretRef::File(path) => Some(path.clone()),
            SecretRef::Env(_) | SecretRef::Credential(_) => None,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_not_whole_is_said_without_being_repeated() {
        for (text, wanted) in [
            ("file:hunter2", "`file:` takes a whole path, from the root"),
            ("env:", "`env:` takes a name, and it is missing"),
            ("credential:", "`credential:` takes a name, and it is missing"),
            ("credential:hunter/2", "`credential:` takes a name, not a path"),
            ("hunter2", SecretRef::LITERAL),
            ("postgres://hunter2", SecretRef::LITERAL),
        ] {
            assert_eq!(SecretRef::parse(text), Err(wanted.into()), "{text}");
        }
    }
}

//! Fetches secrets from where the configuration says that they stand.
//!
//! Enters: a [`SecretRef`]. Leaves: a [`Secret`], which cannot print itself. Read anew each time, so a rotated
//! secret works without a restart. Errors name the place, never a value.

use std::path::Path;
use std::sync::Arc;

use super::{read, tasks};
use crate::base::{Secret, SecretRef};

/// The longest secret, in bytes: a token, a password, a private key.
pub const MAX_SECRET: usize = 64 << 10;

type Env = dyn Fn(&str) -> Option<String> + Send + Sync;

/// Reads secrets; cheap to clone.
#[derive(Clone)]
pub struct Secrets {
    env: Arc<Env>,
}

impl Secrets {
    /// Reads from the environment of this process.
    pub fn of_process() -> Secrets {
        Secrets::with_env(|name| std::env::var(name).ok())
    }

    /// Reads environment variables through `env`; files as ever.
    pub fn with_env(env: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Secrets {
        Secrets { env: Arc::new(env) }
    }

    /// The secret behind `place`, without one trailing line break.
    ///
    /// # Errors
    /// A fragment that names the place and why nothing could be read there; an empty secret is an error.
    pub async fn read(&self, place: &SecretRef) -> Result<Secret, String> {
        let found = match place {
            SecretRef::Env(name) => (self.env)(name).ok_or_else(|| "is not set".to_string()),
            SecretRef::File(path) => from_file(path).await,
            SecretRef::Credential(name) => match (self.env)("CREDENTIALS_DIRECTORY") {
                Some(folder) => from_file(&Path::new(&folder).join(name)).await,
                None => Err("cannot be found: this process was given no credentials folder".into()),
            },
        };
        match found {
            Ok(text) if text.is_empty() => Err(format!("{place} is empty")),
            Ok(text) if text.len() > MAX_SECRET => Err(format!("{place} is longer than {MAX_SECRET} bytes")),
            Ok(text) => Ok(Secret::from(text)),
            Err(why) => Err(format!("{place} {why}")),
        }
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

/// Off the async workers: the file may lie on a mount that hangs.
async fn from_file(path: &Path) -> Result<String, String> {
    let path = path.to_path_buf();
    tasks::blocking(move || {
        let mut bytes = Vec::new();
        read::into(&path, &mut bytes, MAX_SECRET).map_err(|e| format!("cannot be read: {e}"))?;
        let mut text = String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_string())?;
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        Ok(text)
    })
    .await?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::ExposeSecret;

    #[tokio::test]
    async fn each_of_the_three_places_is_read() {
        let root = env!("CARGO_MANIFEST_DIR");
        let secrets = Secrets::with_env(move |name| match name {
            "TOKEN" => Some("s3cret".into()),
            "EMPTY" => Some(String::new()),
            "CREDENTIALS_DIRECTORY" => Some(root.into()),
            _ => None,
        });
        for (place, wanted) in [
            ("env:TOKEN", Ok("s3cret")),
            ("env:NONE", Err("env:NONE is not set")),
            ("env:EMPTY", Err("env:EMPTY is empty")),
            ("credential:.gitignore", Ok("target")),
            ("file:/dev/zero", Err("file:/dev/zero cannot be read: not a regular file")),
        ] {
            let got = secrets.read(&SecretRef::parse(place).unwrap()).await;
            match (got, wanted) {
                (Ok(secret), Ok(part)) => assert!(secret.expose_secret().contains(part), "{place}"),
                (Err(why), Err(text)) => assert_eq!(why, text),
                (got, wanted) => panic!("{place}: {:?} instead of {wanted:?}", got.map(|_| "a secret")),
            }
        }
    }
}

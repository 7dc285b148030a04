//! Fetches secrets from where the configuration says that they stand.
//!
//! Enters: a [`SecretRef`]. Leaves: a [`Secret`], which cannot print itself. Read anew each time, so a rotated
//! secret works without a restart. Errors name the place, never a value.

use std::path::Path;
use std::sync::Arc;

use super::reader::{Content, Reader};
use crate::base::{Secret, SecretRef};

/// The longest secret, in bytes: a token, a password, a private key.
pub const MAX_SECRET: usize = 64 << 10;

type Env = dyn Fn(&str) -> Option<String> + Send + Sync;

/// Reads secrets; cheap to clone.
#[derive(Clone)]
pub struct Secrets {
    env: Arc<Env>,
    reader: Reader,
}

impl Secrets {
    /// Reads from the environment of this process.
    pub fn of_process() -> Secrets {
        Secrets::with_env(|name| std::env::var(name).ok())
    }

    /// Reads environment variables through `env`; files as ever.
    pub fn with_env(env: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Secrets {
        Secrets { env: Arc::new(env), reader: Reader::of_process() }
    }

    /// Reads files through `reader`.
    pub fn with_reader(self, reader: Reader) -> Secrets {
        Secrets { reader, ..self }
    }

    /// The content of a file that belongs to a secret or stands beside one: a body, a certificate; of at most `most` bytes.
    ///
    /// # Errors
    /// A fragment that goes on after the path.
    pub async fn file(&self, path: &Path, most: usize) -> Content {
        self.reader.read(path, most).await
    }

    /// The secret behind `place`, without one trailing line break.
    ///
    /// # Errors
    /// A fragment that names the place and why nothing could be read there; an empty secret is an error.
    pub async fn read(&self, place: &SecretRef) -> Result<Secret, String> {
        let found = match place {
            SecretRef::Env(name) => (self.env)(name).ok_or_else(|| "is not set".to_string()),
            SecretRef::File(path) => self.text(path).await,
            SecretRef::Credential(name) => match (self.env)("CREDENTIALS_DIRECTORY") {
                Some(folder) => self.text(&Path::new(&folder).join(name)).await,
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

    async fn text(&self, path: &Path) -> Result<String, String> {
        let bytes = self.file(path, MAX_SECRET).await?;
        let text = std::str::from_utf8(&bytes).map_err(|_| "is not UTF-8 text".to_string())?;
        let text = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
        Ok(text.to_string())
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
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

    #[tokio::test(start_paused = true)]
    async fn a_secret_on_a_mount_that_hangs_is_said_and_not_read_again() {
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let wait = std::sync::Mutex::new(wait);
        let reader = Reader::with(move |_, _| {
            assert!(wait.lock().unwrap().recv().is_err(), "it waits until it is let go");
            Ok(Vec::new())
        });
        let secrets = Secrets::with_env(|_| None).with_reader(reader);
        let place = SecretRef::parse("file:/mnt/token").unwrap();
        for _ in 0..3 {
            let why = secrets.read(&place).await.unwrap_err();
            assert!(why.starts_with("file:/mnt/token is still being read, since "), "{why}");
        }
        drop(go);
    }
}

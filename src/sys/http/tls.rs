//! TLS as a target asks for it: who is believed, and how this side proves itself.
//!
//! Enters: [`Tls`] (files, a key's place). Leaves: an encrypted stream, and what its handshake showed. The files are
//! read anew for each new connection, and what is made of them only when they changed, so a renewed certificate works
//! without a restart. A session is never resumed: a resumed one shows the certificate of the first.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificate::{self, Handshake};
use super::failure;
use crate::base::secret::ExposeSecret;
use crate::base::{Failure, Secret, SecretRef};
use crate::sys::clock::Clock;
use crate::sys::secret::Secrets;
use crate::sys::tasks;

/// The longest file of certificates, in bytes: the bundle of a Linux distribution has 220 kB.
const MAX_FILE: usize = 4 << 20;

/// How TLS is spoken with a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// A file of certificates (PEM) that are believed instead of the system's: authorities, or the server's own.
    pub ca: Option<PathBuf>,
    /// A file with this side's certificate and those between it and its authority (PEM).
    pub cert: Option<PathBuf>,
    /// Where the private key of `cert` stands (PEM).
    pub key: Option<SecretRef>,
    /// Whether the server must prove who it is.
    pub verify: bool,
}

impl Default for Tls {
    fn default() -> Tls {
        Tls { ca: None, cert: None, key: None, verify: true }
    }
}

impl Tls {
    /// The files that a handshake reads.
    pub fn files(&self) -> Vec<PathBuf> {
        let key = self.key.as_ref().and_then(SecretRef::file);
        self.ca.iter().chain(&self.cert).cloned().chain(key).collect()
    }
}

/// The certificates that this host believes, loaded when first needed.
#[derive(Clone, Debug, Default)]
pub(super) struct SystemRoots(Arc<OnceLock<Arc<dyn ServerCertVerifier>>>);

/// Makes handshakes for one target.
#[derive(Debug)]
pub(super) struct Handshakes {
    tls: Tls,
    secrets: Option<Secrets>,
    roots: SystemRoots,
    made: Mutex<Option<Made>>,
}

/// What was made of files, and of which.
#[derive(Clone, Debug)]
struct Made {
    of: [u8; 32],
    config: Arc<ClientConfig>,
    verifier: Arc<dyn ServerCertVerifier>,
}

/// The content of the files of a target.
struct Files {
    ca: Option<Arc<Vec<u8>>>,
    cert: Option<Arc<Vec<u8>>>,
    key: Option<Secret>,
}

impl Handshakes {
    /// Handshakes as `tls` says; `secrets` is where its files are read.
    pub(super) fn new(tls: Tls, secrets: Option<Secrets>, roots: SystemRoots) -> Handshakes {
        Handshakes { tls, secrets, roots, made: Mutex::default() }
    }

    /// The certificates of the host.
    pub(super) fn roots(&self) -> SystemRoots {
        self.roots.clone()
    }

    /// Encrypts `tcp`. What the handshake showed is given also when it failed.
    pub(super) async fn encrypt(
        &self,
        tcp: TcpStream,
        host: &str,
    ) -> (Result<TlsStream<TcpStream>, Failure>, Option<Handshake>) {
        let made = match self.made().await {
            Ok(made) => made,
            Err(failure) => return (Err(failure), None),
        };
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let Ok(server) = ServerName::try_from(name.to_string()) else {
            return (Err(Failure::new("tls", format!("{host} is no name that a certificate could be for"))), None);
        };
        let witness = Arc::new(Witness { inner: made.verifier, chain: Mutex::default() });
        let mut config = (*made.config).clone();
        config.dangerous().set_certificate_verifier(witness.clone());
        let connected = TlsConnector::from(Arc::new(config)).connect(server, tcp).await;
        let chain = witness.chain.lock().map(|c| c.clone()).unwrap_or_default();
        let version = connected.as_ref().ok().and_then(|stream| stream.get_ref().1.protocol_version());
        let shown = (!chain.is_empty()).then(|| Handshake::new(version, &chain));
        let now = Clock::new().now().millis() / 1000;
        let stream = connected.map_err(|error| match failure::rustls_error(&error) {
            Some(tls) => Failure::new("tls", certificate::words(tls, &chain, name, now)),
            None => failure::in_handshake(&error),
        });
        (stream, shown)
    }

    /// Reads the files, and makes of them what is not made yet.
    async fn made(&self) -> Result<Made, Failure> {
        let files = self.read().await?;
        let of = files.digest();
        let known = self.made.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(made) = known.filter(|made| made.of == of) {
            return Ok(made);
        }
        let (tls, roots) = (self.tls.clone(), self.roots.clone());
        let work = tasks::blocking(move || make(&tls, &files, &roots));
        let (config, verifier) = work.await.map_err(|why| Failure::new("tls", why))??;
        let made = Made { of, config: Arc::new(config), verifier };
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = Some(made.clone());
        Ok(made)
    }

    async fn read(&self) -> Result<Files, Failure> {
        let key = match (&self.tls.key, &self.secrets) {
            (Some(place), Some(secrets)) => {
                Some(secrets.read(place).await.map_err(|why| Failure::new("secret", format!("tls.key: {why}")))?)
            }
            _ => None,
        };
        let ca = self.file("tls.ca", self.tls.ca.as_deref()).await?;
        let cert = self.file("tls.cert", self.tls.cert.as_deref()).await?;
        Ok(Files { ca, cert, key })
    }

    async fn file(&self, key: &str, path: Option<&Path>) -> Result<Option<Arc<Vec<u8>>>, Failure> {
        let (Some(path), Some(secrets)) = (path, &self.secrets) else { return Ok(None) };
        match secrets.file(path, MAX_FILE).await {
            Ok(content) => Ok(Some(content)),
            Err(why) => Err(Failure::new("file", format!("{key}: {} {why}", path.display()))),
        }
    }
}

impl Files {
    /// What tells these contents from others.
    fn digest(&self) -> [u8; 32] {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        let key = self.key.as_ref().map(|k| k.expose_secret().as_bytes());
        for part in [self.ca.as_ref().map(|c| &c[..]), self.cert.as_ref().map(|c| &c[..]), key] {
            // The length before each part, so that no two contents look alike.
            context.update(&part.map_or(u64::MAX, |p| p.len() as u64).to_le_bytes());
            context.update(part.unwrap_or_default());
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        digest
    }
}

fn make(tls: &Tls, files: &Files, roots: &SystemRoots) -> Result<(ClientConfig, Arc<dyn ServerCertVerifier>), Failure> {
    super::install_crypto_provider();
    let provider = CryptoProvider::get_default().ok_or_else(|| Failure::new("tls", "there is no cryptography"))?;
    let verifier = verifier(tls, files, roots, provider)?;
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| Failure::new("tls", e.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier.clone());
    let mut config = match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => {
            let chain = certificates(
                &tls.cert.as_ref().map_or_else(String::new, |path| format!("tls.cert: {}", path.display())),
                cert,
            )?;
            let key = PrivateKeyDer::from_pem_slice(key.expose_secret().as_bytes()).map_err(|_| {
                Failure::new("secret", "tls.key holds no private key in PEM that can be read without a password")
            })?;
            builder.with_client_auth_cert(chain, key).map_err(|e| Failure::new("tls", key_words(&e)))?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok((config, verifier))
}

fn key_words(error: &Error) -> String {
    match error {
        Error::InconsistentKeys(_) => "tls.key does not belong to tls.cert".into(),
        other => format!("tls.cert and tls.key cannot be used: {other}"),
    }
}

fn certificates(key: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(Failure::new("file", format!("{key}: there is no certificate in PEM"))),
        Err(_) => Err(Failure::new("file", format!("{key}: a certificate in it is broken PEM"))),
    }
}

fn verifier(
    tls: &Tls,
    files: &Files,
    roots: &SystemRoots,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, Failure> {
    if !tls.verify {
        return Ok(Arc::new(Anybody(provider.clone())));
    }
    let Some(ca) = &files.ca else { return roots.verifier(provider) };
    let key = tls.ca.as_ref().map_or_else(String::new, |path| format!("tls.ca: {}", path.display()));
    let pinned = certificates(&key, ca)?;
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(pinned.iter().cloned());
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone())
        .build()
        .map_err(|e| Failure::new("file", format!("{key}: no certificate in it can be used: {e}")))?;
    Ok(Arc::new(Pinned { inner, pinned }))
}

impl SystemRoots {
    fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, Failure> {
        if let Some(made) = self.0.get() {
            return Ok(made.clone());
        }
        let made = rustls_platform_verifier::Verifier::new(provider.clone()).map_err(|e| {
            let detail = format!(
                "this host has no certificates to believe (Debian: ca-certificates), and no tls.ca is given: {e}"
            );
            Failure::new("tls", detail)
        })?;
        Ok(self.0.get_or_init(|| Arc::new(made)).clone())
    }
}

/// Remembers the chain that a server presented, and lets another judge it.
#[derive(Debug)]
struct Witness {
    inner: Arc<dyn ServerCertVerifier>,
    chain: Mutex<Vec<CertificateDer<'static>>>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = std::iter::once(end_entity).chain(intermediates).map(|c| c.clone().into_owned()).collect();
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = chain;
        self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Believes the certificates of a file: those they signed, and they themselves. A server's own self-signed
/// certificate is often marked as an authority's, which webpki does not take from a server.
#[derive(Debug)]
struct Pinned {
    inner: Arc<WebPkiServerVerifier>,
    pinned: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.pinned.iter().any(|pinned| pinned == end_entity) {
            return self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        }
        certificate::is_current(end_entity, now.as_secs().cast_signed()).map_err(Error::InvalidCertificate)?;
        let read = rustls::server::ParsedCertificate::try_from(end_entity)?;
        rustls::client::verify_server_name(&read, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// `verify = false`: believes anybody. The proof that the server has the key of its certificate is not asked for either:
/// whoever stood between would show a certificate of their own.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

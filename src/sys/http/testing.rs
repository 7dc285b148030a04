//! Servers that follow a script byte by byte, and certificates made for the moment.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::sys::tasks::Tasks;

/// One thing that a server does with a connection; after the last one it closes.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Reads until a blank line and one body of the announced length.
    Read,
    /// Writes these bytes.
    Say(Vec<u8>),
    /// Writes these bytes again and again.
    Repeat(Vec<u8>),
    /// Writes a byte each time the client could have gone away.
    Dribble(Vec<u8>),
    /// Does nothing more.
    Hang,
}

/// Writes text.
pub(crate) fn say(text: &str) -> Act {
    Act::Say(text.as_bytes().to_vec())
}

/// An answer after which the connection may be used again.
pub(crate) fn ok(body: &str) -> Act {
    say(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}

/// A server on loopback that ends with the value.
#[derive(Debug)]
pub(crate) struct Scripted {
    pub(crate) url: String,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
    _tasks: Tasks,
}

impl Scripted {
    /// The first connection meets the first script, and so on; the last one goes for all others.
    pub(crate) async fn start(scripts: Vec<Vec<Act>>) -> Scripted {
        Scripted::at("127.0.0.1:0", scripts, None).await
    }

    /// The same within TLS.
    pub(crate) async fn tls(config: ServerConfig, script: Vec<Act>) -> Scripted {
        Scripted::at("127.0.0.1:0", vec![script], Some(config)).await
    }

    pub(crate) async fn at(address: &str, scripts: Vec<Vec<Act>>, tls: Option<ServerConfig>) -> Scripted {
        let listener = TcpListener::bind(address).await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let acceptor = tls.map(|config| tokio_rustls::TlsAcceptor::from(Arc::new(config)));
        let (counted, heard, mut tasks) = (connections.clone(), requests.clone(), Tasks::new());
        tasks.spawn("server", async move {
            let mut all = Tasks::new();
            while let Ok((stream, _)) = listener.accept().await {
                let n = counted.fetch_add(1, Ordering::SeqCst).min(scripts.len() - 1);
                let (script, heard, acceptor) = (scripts[n].clone(), heard.clone(), acceptor.clone());
                all.spawn("connection", async move {
                    match acceptor {
                        None => drop(play(stream, script, &heard).await),
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                drop(play(stream, script, &heard).await);
                            }
                        }
                    }
                });
            }
        });
        Scripted { url, connections, requests, _tasks: tasks }
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// What was read, request by request.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn play<S>(mut stream: S, script: Vec<Act>, heard: &Mutex<Vec<String>>) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    for act in script {
        match act {
            Act::Read => heard.lock().unwrap().push(String::new()),
            Act::Say(bytes) => stream.write_all(&bytes).await?,
            Act::Repeat(bytes) => loop {
                stream.write_all(&bytes).await?;
            },
            Act::Dribble(bytes) => {
                for byte in bytes {
                    stream.write_all(&[byte]).await?;
                    stream.flush().await?;
                    crate::sys::clock::pause(crate::base::Span::millis(5)).await;
                }
            }
            Act::Hang => std::future::pending().await,
        }
        if matches!(heard.lock().unwrap().last(), Some(last) if last.is_empty()) {
            let request = read_one(&mut stream).await?;
            if let Some(last) = heard.lock().unwrap().last_mut() {
                *last = request;
            }
        }
        stream.flush().await?;
    }
    stream.shutdown().await
}

async fn read_one<S: AsyncRead + Unpin>(stream: &mut S) -> std::io::Result<String> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).and_then(|n| n.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Ok(text);
            }
        }
        match stream.read(&mut buffer).await? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => bytes.extend_from_slice(&buffer[..n]),
        }
    }
}

/// A certificate with its key, both PEM.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) cert: String,
    pub(crate) key: String,
}

/// An authority made for the moment.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// From when to when something is valid: years.
pub(crate) type Years = (i32, i32);

/// Valid today.
pub(crate) const NOW: Years = (2020, 2040);

fn params(names: &[&str], years: Years) -> CertificateParams {
    let mut params = CertificateParams::new(names.iter().map(|n| n.to_string()).collect::<Vec<_>>()).unwrap();
    params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    params
}

fn authority_params(name: &str, years: Years) -> CertificateParams {
    let mut params = params(&[], years);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Authority {
    /// A root.
    pub(crate) fn root(name: &str) -> Authority {
        let (params, key) = (authority_params(name, NOW), KeyPair::generate().unwrap());
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { pem, issuer: Issuer::new(params, key) }
    }

    /// An authority that this one signed.
    pub(crate) fn intermediate(&self, name: &str, years: Years) -> Authority {
        let (params, key) = (authority_params(name, years), KeyPair::generate().unwrap());
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        Authority { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate for these names.
    pub(crate) fn sign(&self, names: &[&str], years: Years) -> Identity {
        let key = KeyPair::generate().unwrap();
        let cert = params(names, years).signed_by(&key, &self.issuer).unwrap().pem();
        Identity { cert, key: key.serialize_pem() }
    }
}

/// A certificate that nobody signed; as `openssl req -x509` makes it, marked as an authority's.
pub(crate) fn self_signed(names: &[&str], years: Years) -> Identity {
    let (mut params, key) = (params(names, years), KeyPair::generate().unwrap());
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Identity { cert: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

impl Identity {
    /// A server with this identity, which may demand one signed by `clients`.
    pub(crate) fn server(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
        clients: Option<&Authority>,
    ) -> ServerConfig {
        super::install_crypto_provider();
        let chain: Vec<_> = CertificateDer::pem_slice_iter(self.cert.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let builder = ServerConfig::builder_with_protocol_versions(versions);
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
                let verifier = rustls::server::WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
                builder.with_client_cert_verifier(verifier)
            }
        };
        builder.with_single_cert(chain, key).unwrap()
    }
}

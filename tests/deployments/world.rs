//! A world on loopback, as data says: HTTP answers, pages of metrics, files, programs, ports, figures of a look.
//!
//! A world is a table of TOML. A bad world is the good one with some entries replaced. Programs are shell scripts that
//! answer by their arguments; files have an age and a mode; a port is open or not. A number that is written `+5` on a page
//! of metrics, or as a figure, grows by 5 with each look; a figure `50 -2` begins at 50 and falls, and `0.4 +0.01 to 0.7`
//! grows from 0.4 and falls back to it at 0.7. Lines of logs are written between two looks.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use crate::support::port::Port;
use backstop::base::Batch;
use backstop::promql;
use backstop::sys::tasks::Tasks;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What there is to see.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct World {
    /// Answers by path and query, or by method, path and query where the method is not GET.
    pub http: BTreeMap<String, Answer>,
    /// Pages of metrics by path.
    pub page: BTreeMap<String, String>,
    /// Files by their path below the folder.
    pub file: BTreeMap<String, File>,
    /// Programs by name and pattern of their arguments: `sqlite3 *devices*`.
    pub run: BTreeMap<String, Printed>,
    /// Ports by name: whether they are open.
    pub port: BTreeMap<String, bool>,
    /// Figures put in the place of those that a look gave, by selector: what nobody can order from a real host or clock.
    pub figure: BTreeMap<String, toml::Value>,
    /// What series were in the seven days before, by selector and as figures are written, with a little noise. `none`
    /// takes back what the good world says.
    pub history: BTreeMap<String, toml::Value>,
    /// How many days the certificate of the TLS server is still valid.
    pub certificate: Option<i64>,
    /// What was stated of signals.
    pub signal: BTreeMap<String, Said>,
    /// Lines that are written between two looks, by log: `log.NAME`, or `log.NAME SERVICE`.
    pub log: BTreeMap<String, Vec<String>>,
    /// Lines that are written once, when the world begins to be so.
    pub once: BTreeMap<String, Vec<String>>,
    /// Containers by `project/service`.
    pub container: BTreeMap<String, Container>,
}

/// A container, running and well where nothing else is said.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Container {
    /// It is not there.
    pub gone: bool,
    /// It ended, with this code.
    pub exited: Option<i64>,
    /// What its health check finds: `starting`, `healthy`, `unhealthy`; it has none where none is said.
    pub health: Option<String>,
    /// Memory in use without file cache, in MiB.
    pub memory: Option<u64>,
    /// How much it may use, in MiB.
    pub limit: Option<u64>,
    /// How many minutes before the test began it was started; 60 where none is said.
    pub started: Option<i64>,
    /// How often the engine started it again.
    pub restarts: u64,
    /// Its image.
    pub image: Option<String>,
}

/// An answer of the HTTP server.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Answer {
    /// 200 where none is written.
    pub status: Option<u16>,
    /// Headers beside the length and type.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
    /// The body, as JSON.
    pub json: Option<String>,
    /// A header (`x-key`) or header with value (`authorization: Bearer x`) without which the answer is 401.
    pub wants: Option<String>,
    /// What the body of the request must contain, else the answer is 422.
    pub asked: Option<String>,
    /// Closes the connection instead of answering.
    pub closes: bool,
    /// Never answers.
    pub hangs: bool,
}

/// A file or folder.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// Its content.
    pub text: String,
    /// How old it is, in minutes.
    pub age: u64,
    /// Its mode in octal: `0640`.
    pub mode: Option<String>,
    /// A folder.
    pub folder: bool,
    /// It is not there.
    pub gone: bool,
}

/// What a program answers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Printed {
    /// Its output.
    pub out: String,
    /// What it says on standard error.
    pub err: String,
    /// Its exit code.
    pub exit: u8,
}

/// What was stated of a signal.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Said {
    /// It was set.
    pub set: bool,
    /// It was rejected.
    pub rejected: bool,
    /// How often it was counted.
    pub count: u64,
    /// Values posted with it.
    pub values: BTreeMap<String, f64>,
    /// JSON posted with it.
    pub json: Option<String>,
}

impl World {
    /// This world with the entries of another in the place of its own.
    pub fn with(&self, other: &World) -> World {
        fn over<T: Clone>(a: &BTreeMap<String, T>, b: &BTreeMap<String, T>) -> BTreeMap<String, T> {
            a.iter().chain(b).map(|(k, v)| (k.clone(), v.clone())).collect()
        }
        World {
            http: over(&self.http, &other.http),
            page: over(&self.page, &other.page),
            file: over(&self.file, &other.file),
            run: over(&self.run, &other.run),
            port: over(&self.port, &other.port),
            figure: over(&self.figure, &other.figure),
            history: {
                let mut history = over(&self.history, &other.history);
                history.retain(|_, figure| figure.as_str() != Some("none"));
                history
            },
            certificate: other.certificate.or(self.certificate),
            signal: over(&self.signal, &other.signal),
            log: over(&self.log, &other.log),
            once: over(&self.once, &other.once),
            container: over(&self.container, &other.container),
        }
    }

    /// Puts the figures of this world into a look; `totals` holds what grew so far.
    /// A figure whose series the look did not give changes nothing: the source must name it.
    pub fn figures(&self, batch: &mut Batch, totals: &mut BTreeMap<String, f64>) {
        for (text, figure) in &self.figure {
            let selector = promql::compile_selector(text).unwrap_or_else(|e| panic!("{text}: {e:?}"));
            let figure = Figure::of(figure);
            for sample in batch.samples.iter_mut().filter(|s| selector.matches(&s.labels)) {
                sample.value = figure.after(1.0, totals.entry(sample.labels.to_string()).or_default());
            }
        }
    }
}

/// How a figure goes on from look to look.
#[derive(Clone, Copy, Debug)]
pub enum Figure {
    /// It stays.
    Is(f64),
    /// It grows, or falls, by a step with each look.
    Grows {
        /// From here.
        from: f64,
        /// So much.
        step: f64,
        /// And falls back when it comes to here.
        to: Option<f64>,
    },
}

impl Figure {
    /// As it is written: `5`, `"+5"`, `"50 -2"`, `"0.4 +0.01 to 0.7"`.
    pub fn of(value: &toml::Value) -> Figure {
        let text = match value {
            toml::Value::Integer(n) => return Figure::Is(*n as f64),
            toml::Value::Float(n) => return Figure::Is(*n),
            toml::Value::String(text) => text,
            other => panic!("{other} is no figure"),
        };
        let parse = |word: &str| word.parse::<f64>().unwrap_or_else(|e| panic!("{text}: {e}"));
        match text.split(' ').collect::<Vec<_>>()[..] {
            [step] if step.starts_with('+') => Figure::Grows { from: 0.0, step: parse(step), to: None },
            [value] => Figure::Is(parse(value)),
            [from, step] => Figure::Grows { from: parse(from), step: parse(step), to: None },
            [from, step, "to", to] => Figure::Grows { from: parse(from), step: parse(step), to: Some(parse(to)) },
            _ => panic!("{text} is no figure"),
        }
    }

    /// Its value so many looks later; `total` holds what grew so far.
    pub fn after(&self, looks: f64, total: &mut f64) -> f64 {
        match *self {
            Figure::Is(value) => value,
            Figure::Grows { from, step, to } => {
                *total += step * looks;
                if to.is_some_and(|to| from + *total >= to) {
                    *total = 0.0;
                }
                from + *total
            }
        }
    }
}

/// The world as it is served at the moment.
#[derive(Debug, Default)]
struct Served {
    world: World,
    totals: BTreeMap<String, f64>,
    tls: Option<Arc<tokio_rustls::rustls::ServerConfig>>,
}

/// A place where worlds are shown: a folder, two servers, ports.
pub struct Stage {
    folder: PathBuf,
    served: Arc<Mutex<Served>>,
    http: SocketAddr,
    https: SocketAddr,
    ports: BTreeMap<String, Port>,
    authority: Authority,
    _tasks: Tasks,
}

impl Stage {
    /// A stage in `folder`, for worlds with these ports.
    pub async fn new(folder: &Path, ports: &[&str]) -> Stage {
        let served = Arc::new(Mutex::new(Served::default()));
        let mut tasks = Tasks::new();
        let http = serve(&mut tasks, &served, false).await;
        let https = serve(&mut tasks, &served, true).await;
        let ports = ports.iter().map(|name| (name.to_string(), Port::closed())).collect();
        let authority = Authority::new();
        let stage = Stage { folder: folder.into(), served, http, https, ports, authority, _tasks: tasks };
        for below in ["data", "bin"] {
            std::fs::create_dir_all(stage.folder.join(below)).unwrap();
        }
        std::fs::write(stage.folder.join("ca.pem"), &stage.authority.pem).unwrap();
        stage
    }

    /// The folder of its programs.
    pub fn bin(&self) -> String {
        self.folder.join("bin").display().to_string()
    }

    /// The variables of a configuration that lead to this stage.
    pub fn variables(&self) -> Vec<(String, String)> {
        let below = |name: &str| self.folder.join(name).display().to_string();
        let own = [
            ("api", format!("http://{}", self.http)),
            ("tls", format!("https://localhost:{}", self.https.port())),
            ("ca", below("ca.pem")),
            ("data", below("data")),
            ("bin", below("bin")),
        ];
        let ports = self.ports.iter().map(|(name, port)| (format!("port-{name}"), port.address().to_string()));
        own.into_iter().map(|(name, value)| (name.to_string(), value)).chain(ports).collect()
    }

    /// Shows a world. Counters go on.
    pub fn show(&mut self, world: &World) {
        let data = self.folder.join("data");
        clear(&data);
        world.file.iter().for_each(|(path, file)| put(&data.join(path), file));
        programs(&self.folder.join("bin"), &world.run);
        for (name, port) in &self.ports {
            if world.port.get(name).is_some_and(|open| *open) { port.open() } else { port.close() }
        }
        let tls = world.certificate.map(|days| self.authority.server(days));
        let mut served = lock(&self.served);
        served.world = world.clone();
        served.tls = tls;
    }

    /// Forgets what grew.
    pub fn begin(&mut self) {
        lock(&self.served).totals.clear();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

fn clear(folder: &Path) {
    std::fs::remove_dir_all(folder).unwrap();
    std::fs::create_dir(folder).unwrap();
}

fn put(path: &Path, file: &File) {
    if file.gone {
        return;
    }
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    if file.folder {
        std::fs::create_dir_all(path).unwrap();
    } else {
        std::fs::write(path, &file.text).unwrap();
    }
    let mode =
        file.mode.as_deref().map_or(if file.folder { 0o755 } else { 0o640 }, |m| u32::from_str_radix(m, 8).unwrap());
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    let modified = SystemTime::now() - Duration::from_secs(60 * file.age);
    std::fs::File::open(path).unwrap().set_modified(modified).unwrap();
}

/// Makes a script of each program. Written anew only where it changed: one that runs cannot be written.
fn programs(folder: &Path, run: &BTreeMap<String, Printed>) {
    let mut scripts: BTreeMap<&str, String> = BTreeMap::new();
    for (call, printed) in run {
        let (program, arguments) = call.split_once(' ').unwrap_or((call, "*"));
        let pattern: Vec<String> = arguments.split('*').map(quoted).collect();
        let script = scripts.entry(program).or_insert_with(|| "#!/bin/sh\ncase \"$*\" in\n".into());
        let (out, err) = (quoted(&printed.out), quoted(&printed.err));
        writeln!(script, "{}) printf '%s' {out}; printf '%s' {err} >&2; exit {};;", pattern.join("*"), printed.exit)
            .unwrap();
    }
    for (program, mut script) in scripts {
        script += "*) echo \"nobody said what to answer to: $*\" >&2; exit 99;;\nesac\n";
        let path = folder.join(program);
        if std::fs::read_to_string(&path).unwrap_or_default() != script {
            let new = path.with_extension("new");
            std::fs::write(&new, script).unwrap();
            std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
            std::fs::rename(&new, &path).unwrap();
        }
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

async fn serve(tasks: &mut Tasks, served: &Arc<Mutex<Served>>, with_tls: bool) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = served.clone();
    tasks.spawn("server", async move {
        let mut connections = Tasks::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.reap();
            let served = served.clone();
            connections.spawn("connection", async move {
                let tls = lock(&served).tls.clone().filter(|_| with_tls);
                match tls {
                    Some(tls) => {
                        if let Ok(stream) = tokio_rustls::TlsAcceptor::from(tls).accept(stream).await {
                            drop(converse(stream, &served).await);
                        }
                    }
                    None if with_tls => {}
                    None => drop(converse(stream, &served).await),
                }
            });
        }
    });
    address
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, served: &Mutex<Served>) -> std::io::Result<()> {
    let Some((head, body)) = request(&mut stream).await? else { return Ok(()) };
    let mut words = head.split_ascii_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let named = if method == "GET" { path.to_string() } else { format!("{method} {path}") };
    let (answer, page) = {
        let mut served = lock(served);
        let page = served.world.page.get(path).cloned().map(|page| grown(&page, path, &mut served.totals));
        (served.world.http.get(&named).cloned(), page)
    };
    let mut answer = match (answer, page) {
        (Some(answer), _) => answer,
        (None, Some(body)) => Answer { body, ..Answer::default() },
        (None, None) => Answer { status: Some(404), body: format!("nothing is at {named}"), ..Answer::default() },
    };
    if answer.hangs {
        std::future::pending::<()>().await;
    }
    if answer.closes {
        return stream.shutdown().await;
    }
    if !answer.wants.as_deref().is_none_or(|header| has(&head, header)) {
        answer = Answer { status: Some(401), ..Answer::default() };
    } else if !answer.asked.as_deref().is_none_or(|part| body.contains(part)) {
        answer = Answer { status: Some(422), ..Answer::default() };
    }
    stream.write_all(rendered(&answer).as_bytes()).await?;
    stream.shutdown().await
}

/// The head and body of a request; none where the connection ended before.
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Option<(String, String)>> {
    const MOST: usize = 1 << 20;
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = header(head, "content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
            if body.len() >= length {
                return Ok(Some((head.to_string(), body.to_string())));
            }
        }
        if bytes.len() > MOST || stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let named = |line: &&str| line.split_once(':').is_some_and(|(n, _)| n.eq_ignore_ascii_case(name));
    head.lines().skip(1).find(named).and_then(|line| line.split_once(':')).map(|(_, value)| value.trim())
}

/// Whether a request has a header: `name`, or `name: value`.
fn has(head: &str, wanted: &str) -> bool {
    match wanted.split_once(": ") {
        Some((name, value)) => header(head, name) == Some(value),
        None => header(head, wanted).is_some(),
    }
}

fn rendered(answer: &Answer) -> String {
    let (kind, body) = match &answer.json {
        Some(json) => ("application/json", json),
        None => ("text/plain; version=0.0.4", &answer.body),
    };
    let mut text =
        format!("HTTP/1.1 {} ok\r\ncontent-type: {kind}\r\nconnection: close\r\n", answer.status.unwrap_or(200));
    answer.headers.iter().for_each(|(name, value)| write!(text, "{name}: {value}\r\n").unwrap());
    write!(text, "content-length: {}\r\n\r\n{body}", body.len()).unwrap();
    text
}

/// A page of metrics whose numbers with a plus have grown by one look more.
fn grown(page: &str, path: &str, totals: &mut BTreeMap<String, f64>) -> String {
    let mut line = |line: &str| match line.rsplit_once(" +") {
        Some((series, step)) if !line.starts_with('#') => {
            let total = totals.entry(format!("{path} {series}")).or_default();
            *total += step.trim().parse::<f64>().unwrap_or_else(|e| panic!("{line}: {e}"));
            format!("{series} {total}\n")
        }
        _ => format!("{line}\n"),
    };
    let mut text = String::new();
    page.lines().map(str::trim).filter(|l| !l.is_empty()).for_each(|l| text += &line(l));
    text
}

/// What signs the certificate of the server.
struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Authority {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: rcgen::Issuer::new(params, key), pem }
    }

    /// A server for `localhost` whose certificate ends in so many days.
    fn server(&self, days: i64) -> Arc<tokio_rustls::rustls::ServerConfig> {
        use tokio_rustls::rustls;
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_string()]).unwrap();
        let today = jiff::Zoned::now().date();
        let at = |days: i64| {
            let date = today.saturating_add(jiff::Span::new().days(days));
            rcgen::date_time_ymd(date.year().into(), date.month() as u8, date.day() as u8)
        };
        (params.not_before, params.not_after) = (at(-100), at(days));
        let chain = vec![params.signed_by(&key, &self.issuer).unwrap().der().clone()];
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap())
    }
}

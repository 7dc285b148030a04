//! What all sources share: their common keys, the labels of their series, and the batch of one look.
//!
//! Labels of every series: `job`, `service`, `source`, `instance`, `app` and what `labels` says; on `probe_*` also
//! `external="true"` where the target is not ours and `optional="true"` where its absence alerts nobody. Every look yields `probe_success`, `probe_duration_seconds` and,
//! when it failed, `probe_failure_info{reason}`.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::base::label::NAME;
use crate::base::table::Value;
use crate::base::{
    Batch, Failure, Labels, Outcome, Place, Problems, Sample, Secret, SecretRef, SourceRef, Span, Table, Timestamp,
};
use crate::sys::clock::Stopwatch;
use crate::sys::http::{Client, Tls};
use crate::sys::secret::Secrets;

/// What holds where a source says nothing else.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// `app.interval`.
    pub interval: Span,
    /// `app.timeout`.
    pub timeout: Span,
    /// `app.name`.
    pub app: String,
    /// `app.labels`.
    pub labels: Labels,
    /// `app.zone`: of times that name none.
    pub zone: jiff::tz::TimeZone,
}

/// The outside, as far as sources share it; cheap to clone.
#[derive(Clone, Debug)]
pub struct Outside {
    /// The HTTP client with its connections.
    pub http: Client,
    /// Where secrets are read.
    pub secrets: Secrets,
    /// How many programs may run at once, over all sources.
    pub programs: Arc<Semaphore>,
    /// The agent itself.
    pub house: Arc<House>,
}

/// What sources must know of the agent: where it lives, and what it writes itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct House {
    /// The state folder; none where there is no agent, as in a test of one source.
    pub state: Option<PathBuf>,
    /// Files outside it that the agent writes: those of its channels.
    pub files: Vec<PathBuf>,
    /// `agent.engine`: the address of the container engine; the usual places where none is written.
    pub engine: Option<String>,
}

/// The most programs that run at once: they share the host with what is watched.
pub const MAX_PROGRAMS: usize = 4;

impl Outside {
    /// The outside of this process; nothing is opened yet.
    pub fn of_process() -> Outside {
        let programs = Arc::new(Semaphore::new(MAX_PROGRAMS));
        Outside { http: Client::new(), secrets: Secrets::of_process(), programs, house: Arc::default() }
    }

    /// The same for an agent that lives there.
    pub fn of(self, house: House) -> Outside {
        Outside { house: Arc::new(house), ..self }
    }
}

/// The keys that every source takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Common {
    /// Kind and name, as in the heading.
    pub reference: SourceRef,
    /// How often it looks; of a manual one, how often it looks at most.
    pub interval: Span,
    /// `interval = "manual"`: it looks only when somebody asks, as a verification or `backstop probe` does.
    pub manual: bool,
    /// How long one look may take; never longer than the interval.
    pub timeout: Span,
    /// The label `service`.
    pub service: String,
    /// The label `app`.
    pub app: String,
    /// Further labels: the application's, overridden by the source's own.
    pub labels: Labels,
    /// Its absence is a line in the report and no alert.
    pub optional: bool,
    /// Not ours: its trouble never rolls anything back.
    pub external: bool,
    /// `enabled = false` leaves it out.
    pub enabled: bool,
}

/// Names that the product itself gives to labels.
const OWN_LABELS: [&str; 7] = ["job", "service", "source", "instance", "app", "external", "optional"];

impl Common {
    /// The shortest interval: below it the agent would be the load that it watches.
    pub const MIN_INTERVAL: Span = Span::millis(100);

    /// The longest look of a source that looks only when it is asked.
    pub const MAX_MANUAL_TIMEOUT: Span = Span::mins(10);

    /// Reads the common keys of `kind.name` from its table.
    pub fn read(kind: &str, name: &str, table: &mut Table<'_>, defaults: &Defaults, problems: &mut Problems) -> Common {
        let manual = is_manual(table);
        let interval =
            if manual { default_interval(defaults) } else { read_interval(table, defaults.interval, problems) };
        let timeout = match manual {
            true => read_manual_timeout(table, defaults.timeout, problems),
            false => read_timeout(table, defaults.timeout, interval, problems),
        };
        let common = Common::read_event(kind, name, table, defaults, interval, problems);
        Common { manual, timeout, ..common }
    }

    /// The same for a source that does not look but is told: it has neither interval nor timeout, and repeats what
    /// holds every `repeat`.
    pub fn read_event(
        kind: &str,
        name: &str,
        table: &mut Table<'_>,
        defaults: &Defaults,
        repeat: Span,
        problems: &mut Problems,
    ) -> Common {
        let own = read_labels(table, problems);
        Common {
            reference: SourceRef::new(kind, name),
            interval: repeat,
            manual: false,
            timeout: repeat,
            service: table.or("service", name.to_string(), problems),
            app: defaults.app.clone(),
            labels: defaults.labels.merged(&own),
            optional: table.or("optional", false, problems),
            external: table.or("external", false, problems),
            enabled: table.or("enabled", true, problems),
        }
    }
}

/// Whether the table says `interval = "manual"`.
fn is_manual(table: &mut Table<'_>) -> bool {
    table.node("interval").is_some_and(|node| matches!(&node.value, Value::Text(text) if text == "manual"))
}

fn default_interval(defaults: &Defaults) -> Span {
    defaults.interval.max(Common::MIN_INTERVAL)
}

fn read_interval(table: &mut Table<'_>, default: Span, problems: &mut Problems) -> Span {
    let interval = table.or("interval", default, problems);
    if interval >= Common::MIN_INTERVAL {
        return interval;
    }
    if let Some(node) = table.node("interval") {
        let title = format!("an interval is at least {}", Common::MIN_INTERVAL);
        problems.error(&node.place, title, "too short");
    }
    default.max(Common::MIN_INTERVAL)
}

fn read_timeout(table: &mut Table<'_>, default: Span, interval: Span, problems: &mut Problems) -> Span {
    let Some(node) = table.node("timeout") else {
        return default.min(interval);
    };
    let timeout = table.or("timeout", default.min(interval), problems);
    if timeout <= Span::ZERO {
        problems.error(&node.place, "a timeout is longer than nothing", "no look could succeed");
    } else if timeout > interval {
        problems
            .error(
                &node.place,
                "the timeout is longer than the interval",
                format!("this source looks every {interval}"),
            )
            .help(format!("write timeout = \"{interval}\" or less, or a longer interval"));
    }
    timeout.min(interval)
}

/// Nothing waits for the next look of a manual source, but a person does for this one.
fn read_manual_timeout(table: &mut Table<'_>, default: Span, problems: &mut Problems) -> Span {
    let Some(node) = table.node("timeout") else {
        return default;
    };
    let timeout = table.or("timeout", default, problems);
    if timeout <= Span::ZERO || timeout > Common::MAX_MANUAL_TIMEOUT {
        let title = format!("a timeout is longer than nothing, and at most {}", Common::MAX_MANUAL_TIMEOUT);
        problems.error(&node.place, title, "of a look that is waited for");
    }
    timeout.clamp(Common::MIN_INTERVAL, Common::MAX_MANUAL_TIMEOUT)
}

fn read_labels(table: &mut Table<'_>, problems: &mut Problems) -> Labels {
    let mut pairs = Vec::new();
    for (name, value, place) in read_texts(table, "labels", problems) {
        if OWN_LABELS.contains(&name.as_str()) {
            problems
                .error(&place, format!("the label `{name}` is given by backstop"), "would be ambiguous")
                .help("choose another name; `service` is a key of its own");
        } else if !is_label_name(&name) {
            problems
                .error(&place, format!("`{name}` is no name of a label"), "not a name")
                .help("letters, digits and `_`, not beginning with a digit or `__`");
        } else {
            pairs.push((name, value));
        }
    }
    Labels::new(pairs)
}

fn is_label_name(name: &str) -> bool {
    let first = name.as_bytes().first().copied().unwrap_or(b'0');
    !first.is_ascii_digit() && !name.starts_with("__") && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Reads a table of texts, each with the place of its key.
pub fn read_texts(table: &mut Table<'_>, key: &str, problems: &mut Problems) -> Vec<(String, String, Place)> {
    let Some(node) = table.node(key) else {
        return Vec::new();
    };
    let what = format!("`{key}`");
    let Some(mut inner) = Table::open(node, &what, problems) else {
        return Vec::new();
    };
    let mut texts = Vec::new();
    for entry in inner.rest() {
        match &entry.node.value {
            Value::Text(text) => texts.push((entry.key.clone(), text.clone(), entry.place.clone())),
            _ => crate::base::table::wrong_kind(&entry.node, "a string", "\"…\"", problems),
        }
    }
    texts
}

/// How a request proves who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// `{ bearer }`: `Authorization: Bearer …`.
    Bearer(SecretRef),
    /// `{ user, password }`: `Authorization: Basic …`.
    Basic(String, SecretRef),
    /// `{ header, value }`: a header of one's own.
    Header(http::header::HeaderName, SecretRef),
}

impl Auth {
    /// Reads the key `auth`, which is one of three small tables.
    pub fn read(table: &mut Table<'_>, problems: &mut Problems) -> Option<Auth> {
        let node = table.node("auth")?;
        let mut inner = Table::open(node, "`auth`", problems)?;
        let before = problems.list.len();
        let bearer: Option<SecretRef> = inner.get("bearer", problems);
        let user: Option<String> = inner.get("user", problems);
        let password: Option<SecretRef> = inner.get("password", problems);
        let header: Option<String> = inner.get("header", problems);
        let value: Option<SecretRef> = inner.get("value", problems);
        inner.finish(problems);
        let auth = match (bearer, user, password, header, value) {
            (Some(token), None, None, None, None) => Some(Auth::Bearer(token)),
            (None, Some(user), Some(password), None, None) if !user.contains(':') => Some(Auth::Basic(user, password)),
            (None, None, None, Some(header), Some(value)) => header.parse().ok().map(|h| Auth::Header(h, value)),
            _ => None,
        };
        if auth.is_none() && problems.list.len() == before {
            problems
                .error(&node.place, "`auth` takes one of three forms", "none of them")
                .help("{ bearer = \"env:NAME\" }, { user = \"…\", password = \"env:NAME\" } or { header = \"X-Key\", value = \"env:NAME\" }");
        }
        auth
    }

    /// The file that the secret stands in, if it is one.
    pub fn file(&self) -> Option<std::path::PathBuf> {
        let (Auth::Bearer(place) | Auth::Basic(_, place) | Auth::Header(_, place)) = self;
        place.file()
    }

    /// The header to send, its value marked as not to be printed, and the secret in it.
    ///
    /// # Errors
    /// Reason `secret`, when it cannot be read or is nothing that a header can hold.
    pub async fn proof(
        &self,
        secrets: &Secrets,
    ) -> Result<(http::header::HeaderName, http::header::HeaderValue, Secret), Failure> {
        use crate::base::secret::ExposeSecret;
        let (name, place) = match self {
            Auth::Bearer(place) | Auth::Basic(_, place) => (http::header::AUTHORIZATION, place),
            Auth::Header(name, place) => (name.clone(), place),
        };
        let secret = secrets.read(place).await.map_err(|why| Failure::new("secret", why))?;
        let text = match self {
            Auth::Bearer(_) => format!("Bearer {}", secret.expose_secret()),
            Auth::Basic(user, _) => {
                format!("Basic {}", base64(format!("{user}:{}", secret.expose_secret()).as_bytes()))
            }
            Auth::Header(..) => secret.expose_secret().to_string(),
        };
        let mut value = http::header::HeaderValue::from_str(&text)
            .map_err(|_| Failure::new("secret", format!("{place} holds what no header can")))?;
        value.set_sensitive(true);
        Ok((name, value, secret))
    }
}

/// Adds what `auth` asks for to `headers`; returns what is then left of `timeout`, for the request itself.
///
/// # Errors
/// Reason `secret`, or `timeout` when the secret lies on a mount that hangs.
pub async fn prove(
    auth: Option<&Auth>,
    secrets: &Secrets,
    headers: &mut http::header::HeaderMap,
    timeout: Span,
) -> Result<Span, Failure> {
    let Some(auth) = auth else {
        return Ok(timeout);
    };
    let watch = Stopwatch::start();
    match tokio::time::timeout(timeout.to_std(), auth.proof(secrets)).await {
        Ok(proof) => {
            let (name, value, _) = proof?;
            headers.insert(name, value);
            Ok(timeout - watch.elapsed())
        }
        Err(_) => Err(Failure::new("timeout", format!("the secret could not be read within {timeout}"))),
    }
}

/// Reads the key `tls`: `{ ca, cert, key, verify }`, all of them optional.
pub fn read_tls(table: &mut Table<'_>, problems: &mut Problems) -> Tls {
    let Some(node) = table.node("tls") else {
        return Tls::default();
    };
    let Some(mut inner) = Table::open(node, "`tls`", problems) else {
        return Tls::default();
    };
    let ca = read_path(&mut inner, "ca", problems);
    let cert = read_path(&mut inner, "cert", problems);
    let key = read_key(&mut inner, problems);
    let verify = inner.or("verify", true, problems);
    if !verify && ca.is_some() {
        problems
            .error(&node.place, "`ca` has no meaning with verify = false", "nothing is compared with it")
            .help("leave out `verify`: then what `ca` holds is believed, and nothing else");
    }
    for (there, missing) in [("cert", "key"), ("key", "cert")] {
        if inner.node(there).is_some() && inner.node(missing).is_none() {
            problems
                .error(&node.place, format!("`{there}` needs `{missing}`"), "one proves nothing without the other")
                .help("write tls = { cert = \"/path/client.pem\", key = \"/path/client.key\" }");
        }
    }
    inner.finish(problems);
    Tls { ca, cert, key, verify }
}

fn read_path(table: &mut Table<'_>, key: &str, problems: &mut Problems) -> Option<std::path::PathBuf> {
    let node = table.node(key)?;
    let path: std::path::PathBuf = table.get(key, problems)?;
    if path.is_absolute() {
        return Some(path);
    }
    let problem = problems.error(&node.place, format!("`{key}` takes the whole path of a file"), "not from the root");
    problem.help("for example \"/etc/ssl/certs/shop.pem\"");
    if path.to_string_lossy().contains("-----BEGIN") {
        problem.secret();
    }
    None
}

/// A private key: a path, or the place of a secret.
fn read_key(table: &mut Table<'_>, problems: &mut Problems) -> Option<SecretRef> {
    let node = table.node("key")?;
    match &node.value {
        Value::Text(text) if text.starts_with('/') && !text.contains('\n') => Some(SecretRef::File(text.into())),
        _ => table.get("key", problems),
    }
}

/// Base 64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().chain(&[0, 0]).take(3).fold(0u32, |bits, b| bits << 8 | u32::from(*b));
        for i in 0..4 {
            let known = i <= three.len();
            text.push(if known { ALPHABET[(bits >> (18 - 6 * i)) as usize & 63] as char } else { '=' });
        }
    }
    text
}

/// One thing a source looks at: its labels, made once.
#[derive(Debug)]
pub struct Target {
    /// Kind and name.
    pub reference: SourceRef,
    /// The `instance` label.
    pub instance: String,
    /// How often it is looked at.
    pub interval: Span,
    /// It looks only when it is asked.
    pub manual: bool,
    /// How long a look may take.
    pub timeout: Span,
    base: Labels,
    probe: Labels,
    success: Labels,
    duration: Labels,
}

impl Target {
    /// A target of the source `common` describes.
    pub fn new(common: &Common, instance: String) -> Target {
        let own = Labels::new([
            ("job", common.reference.name.as_str()),
            ("service", &common.service),
            ("source", &common.reference.kind),
            ("instance", &instance),
            ("app", &common.app),
        ]);
        let base = common.labels.merged(&own);
        let probe = base
            .with("external", if common.external { "true" } else { "" })
            .with("optional", if common.optional { "true" } else { "" });
        Target {
            reference: common.reference.clone(),
            interval: common.interval,
            manual: common.manual,
            timeout: common.timeout,
            success: probe.with(NAME, "probe_success"),
            duration: probe.with(NAME, "probe_duration_seconds"),
            instance,
            base,
            probe,
        }
    }

    /// The labels of a series of this target.
    pub fn series(&self, name: &str, more: &[(&str, &str)]) -> Labels {
        join(&self.base, name, more)
    }

    /// The labels of a `probe_*` series of this target.
    pub fn probe_series(&self, name: &str, more: &[(&str, &str)]) -> Labels {
        join(&self.probe, name, more)
    }

    /// The labels of a series that the target itself named: its labels that we give ourselves become `exported_*`.
    pub fn scraped(&self, name: &str, theirs: &[(&str, &str)]) -> Labels {
        let mut pairs: Vec<(Arc<str>, Arc<str>)> = self.base.pairs().to_vec();
        pairs.push((NAME.into(), name.into()));
        // Sorted, so that the order on the page never decides who becomes `exported_exported_*`.
        let mut theirs = theirs.to_vec();
        theirs.sort_unstable();
        for (label, value) in theirs {
            let mut label = label.to_string();
            while !self.base.get(&label).is_empty() || pairs.iter().any(|(n, _)| **n == *label) {
                label.insert_str(0, "exported_");
            }
            pairs.push((label.into(), value.into()));
        }
        Labels::new(pairs)
    }

    /// The batch of one look that took `seconds`; what every look yields is added to `samples`.
    pub fn batch(&self, at: Timestamp, seconds: f64, outcome: Outcome, mut samples: Vec<Sample>) -> Batch {
        samples.push(sample(self.success.clone(), if outcome == Outcome::Good { 1.0 } else { 0.0 }));
        samples.push(sample(self.duration.clone(), seconds));
        if let Outcome::Failed(failure) = &outcome {
            samples.push(sample(self.probe_series("probe_failure_info", &[("reason", failure.reason)]), 1.0));
        }
        Batch {
            checkpoint: None,
            holds: false,
            exhibits: Vec::new(),
            source: self.reference.clone(),
            instance: self.instance.clone(),
            at,
            interval: self.interval,
            outcome,
            samples,
        }
    }

    /// The same where nobody could look: who is asked about the target does not answer. It fails, and nothing says that
    /// the target is down: `probe_success` has no value.
    pub fn blind(&self, at: Timestamp, seconds: f64, failure: Failure, samples: Vec<Sample>) -> Batch {
        let mut batch = self.batch(at, seconds, Outcome::Failed(failure), samples);
        batch.samples.retain(|sample| sample.labels != self.success);
        batch
    }
}

fn join(base: &Labels, name: &str, more: &[(&str, &str)]) -> Labels {
    let added = more.iter().copied().chain([(NAME, name)]).map(|(n, v)| (Arc::from(n), Arc::from(v)));
    Labels::new(base.pairs().iter().cloned().chain(added))
}

/// A sample at the time of its batch.
pub fn sample(labels: Labels, value: f64) -> Sample {
    Sample { labels, value, at: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::{defaults, read};

    fn common(toml: &str) -> (Common, Vec<String>) {
        let (common, problems) = read(toml, |node, problems| {
            let mut table = Table::open(node, "[http.api]", problems).unwrap();
            let common = Common::read("http", "api", &mut table, &defaults(), problems);
            table.finish(problems);
            common
        });
        (common, problems)
    }

    #[test]
    fn a_source_inherits_what_it_does_not_say() {
        let (common, problems) = common("external = true\nlabels = { team = \"shop\" }");
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!((common.interval, common.timeout), (Span::secs(15), Span::secs(5)));
        let target = Target::new(&common, "127.0.0.1:80".into());
        assert_eq!(
            target.probe_series("probe_success", &[]).to_string(),
            r#"probe_success{app="shop",external="true",instance="127.0.0.1:80",job="api",service="api",source="http",team="shop",zone="a"}"#
        );
        assert_eq!(target.series("up", &[]).get("external"), "");
    }

    #[test]
    fn every_mistake_in_the_common_keys_is_named() {
        for (toml, wanted) in [
            ("interval = \"10ms\"", "an interval is at least 100ms"),
            ("interval = \"manually\"", "`manually` is no duration"),
            ("interval = \"1s\"\ntimeout = \"2s\"", "the timeout is longer than the interval"),
            ("interval = \"manual\"\ntimeout = \"11m\"", "a timeout is longer than nothing, and at most 10m"),
            ("timeout = \"0s\"", "a timeout is longer than nothing"),
            ("labels = { job = \"x\" }", "the label `job` is given by backstop"),
            ("labels = { \"1a\" = \"x\" }", "`1a` is no name of a label"),
            ("labels = { a = 1 }", "this takes a string"),
            ("gate = \"go-live\"", "unknown key `gate`"),
        ] {
            assert_eq!(common(toml).1, [wanted], "{toml}");
        }
    }

    #[test]
    fn a_manual_source_waits_until_it_is_asked() {
        let (common, problems) = common("interval = \"manual\"");
        assert_eq!(problems, Vec::<String>::new());
        assert!(common.manual);
        assert_eq!((common.interval, common.timeout), (Span::secs(15), Span::secs(5)));
        let long = crate::source::common::tests::common("interval = \"manual\"\ntimeout = \"1m\"").0;
        assert_eq!(long.timeout, Span::mins(1));
    }

    #[test]
    fn an_optional_target_says_so_where_it_is_judged() {
        let target = Target::new(&common("optional = true").0, "h:1".into());
        assert_eq!(target.probe_series("probe_success", &[]).get("optional"), "true");
        assert_eq!(target.series("up", &[]).get("optional"), "");
    }

    #[test]
    fn a_short_interval_shortens_the_default_timeout() {
        assert_eq!(common("interval = \"500ms\"").0.timeout, Span::millis(500));
    }

    #[test]
    fn labels_of_the_target_never_replace_ours() {
        let target = Target::new(&common("").0, "h:1".into());
        let labels = target.scraped("x", &[("job", "theirs"), ("exported_job", "older"), ("team", "a")]);
        assert_eq!(labels.get("job"), "api");
        assert_eq!(labels.get("exported_job"), "older");
        assert_eq!(labels.get("exported_exported_job"), "theirs");
        assert_eq!(labels.get("team"), "a");
    }

    #[test]
    fn every_mistake_of_tls_is_named() {
        let tls = |toml: &str| {
            read(toml, |node, problems| {
                let mut table = Table::open(node, "[http.api]", problems).unwrap();
                let tls = read_tls(&mut table, problems);
                table.finish(problems);
                tls
            })
        };
        for (toml, wanted) in [
            ("tls = true", "`tls` is a table"),
            ("tls = { ca = \"ca.pem\" }", "`ca` takes the whole path of a file"),
            ("tls = { cert = \"/c\" }", "`cert` needs `key`"),
            ("tls = { key = \"/k\" }", "`key` needs `cert`"),
            ("tls = { cert = \"/c\", key = \"-----BEGIN\" }", "a secret is never written out here"),
            ("tls = { ca = \"/c\", verify = false }", "`ca` has no meaning with verify = false"),
            ("tls = { verify = \"no\" }", "this takes true or false"),
            ("tls = { verfy = false }", "unknown key `verfy`"),
        ] {
            assert_eq!(tls(toml).1, [wanted], "{toml}");
        }
        let (read, problems) = tls("tls = { ca = \"/a\", cert = \"/c\", key = \"credential:key\" }");
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(read.key, Some(SecretRef::Credential("key".into())));
        assert_eq!(tls("tls = { cert = \"/c\", key = \"/k\" }").0.key, Some(SecretRef::File("/k".into())));
        assert_eq!(tls("").0, Tls::default());
    }

    #[test]
    fn base64_matches_the_vectors_of_rfc_4648() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}

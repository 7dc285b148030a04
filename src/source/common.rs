//! What all sources share: their common keys, the labels of their series, and the batch of one look.
//!
//! Labels of every series: `job`, `service`, `source`, `instance`, `app` and what `labels` says; on `probe_*` also
//! `external="true"` where the target is not ours. Every look yields `probe_success`, `probe_duration_seconds` and,
//! when it failed, `probe_failure_info{reason}`.

use std::sync::Arc;

use crate::base::label::NAME;
use crate::base::table::Value;
use crate::base::{
    Batch, Failure, Labels, Outcome, Place, Problems, Sample, SecretRef, SourceRef, Span, Table, Timestamp,
};
use crate::sys::clock::Stopwatch;
use crate::sys::http::Client;
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
}

/// The outside, as far as sources share it; cheap to clone.
#[derive(Clone, Debug)]
pub struct Outside {
    /// The HTTP client with its connections.
    pub http: Client,
    /// Where secrets are read.
    pub secrets: Secrets,
}

impl Outside {
    /// The outside of this process; nothing is opened yet.
    pub fn of_process() -> Outside {
        Outside { http: Client::new(), secrets: Secrets::of_process() }
    }
}

/// The keys that every source takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Common {
    /// Kind and name, as in the heading.
    pub reference: SourceRef,
    /// How often it looks.
    pub interval: Span,
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
const OWN_LABELS: [&str; 6] = ["job", "service", "source", "instance", "app", "external"];

impl Common {
    /// The shortest interval: below it the agent would be the load that it watches.
    pub const MIN_INTERVAL: Span = Span::millis(100);

    /// Reads the common keys of `kind.name` from its table.
    pub fn read(kind: &str, name: &str, table: &mut Table<'_>, defaults: &Defaults, problems: &mut Problems) -> Common {
        let interval = read_interval(table, defaults.interval, problems);
        let timeout = read_timeout(table, defaults.timeout, interval, problems);
        let own = read_labels(table, problems);
        Common {
            reference: SourceRef::new(kind, name),
            interval,
            timeout,
            service: table.or("service", name.to_string(), problems),
            app: defaults.app.clone(),
            labels: defaults.labels.merged(&own),
            optional: table.or("optional", false, problems),
            external: table.or("external", false, problems),
            enabled: table.or("enabled", true, problems),
        }
    }
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
    Header(reqwest::header::HeaderName, SecretRef),
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

    /// The header to send, its value marked as not to be printed.
    ///
    /// # Errors
    /// Reason `secret`, when it cannot be read or is nothing that a header can hold.
    pub async fn header(
        &self,
        secrets: &Secrets,
    ) -> Result<(reqwest::header::HeaderName, reqwest::header::HeaderValue), Failure> {
        use crate::base::secret::ExposeSecret;
        let (name, place) = match self {
            Auth::Bearer(place) | Auth::Basic(_, place) => (reqwest::header::AUTHORIZATION, place),
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
        let mut value = reqwest::header::HeaderValue::from_str(&text)
            .map_err(|_| Failure::new("secret", format!("{place} holds what no header can")))?;
        value.set_sensitive(true);
        Ok((name, value))
    }
}

/// Adds what `auth` asks for to `headers`; returns what is then left of `timeout`, for the request itself.
///
/// # Errors
/// Reason `secret`, or `timeout` when the secret lies on a mount that hangs.
pub async fn prove(
    auth: Option<&Auth>,
    secrets: &Secrets,
    headers: &mut reqwest::header::HeaderMap,
    timeout: Span,
) -> Result<Span, Failure> {
    let Some(auth) = auth else {
        return Ok(timeout);
    };
    let watch = Stopwatch::start();
    match tokio::time::timeout(timeout.to_std(), auth.header(secrets)).await {
        Ok(header) => {
            let (name, value) = header?;
            headers.insert(name, value);
            Ok(timeout - watch.elapsed())
        }
        Err(_) => Err(Failure::new("timeout", format!("the secret could not be read within {timeout}"))),
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
        let probe = base.with("external", if common.external { "true" } else { "" });
        Target {
            reference: common.reference.clone(),
            interval: common.interval,
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
            source: self.reference.clone(),
            instance: self.instance.clone(),
            at,
            interval: self.interval,
            outcome,
            samples,
        }
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
            ("interval = \"manual\"", "`manual` is no duration"),
            ("interval = \"1s\"\ntimeout = \"2s\"", "the timeout is longer than the interval"),
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
    fn base64_matches_the_vectors_of_rfc_4648() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}

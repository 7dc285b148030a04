//! `[remote.NAME]`: a Prometheus-compatible server that rules are asked of.
//!
//! Keys: `url` (up to, and without, `/api/v1`), `auth` and `tls` as in `[http.NAME]`, `timeout` (`"10s"`), `enabled`. Several
//! servers are several tables; a rule names one with `remote = "NAME"`.

use crate::base::table::{Placed, nearest};
use crate::base::{Node, Place, Problems, Span, Table};
use crate::rule::{self, Value};
use crate::source::common::{Auth, read_tls};
use crate::source::prometheus::read_url;
use crate::sys::http::{Tls, Url};

/// The longest time that an answer may take: a rule waits for it, and for nothing else.
const MAX_TIMEOUT: Span = Span::mins(2);

/// The table `[remote.NAME]`.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Its name.
    pub name: String,
    /// Its address, to which `/api/v1/query` is added.
    pub url: Url,
    /// How to prove who asks.
    pub auth: Option<Auth>,
    /// Whom to believe, and how to prove oneself, where there is TLS.
    pub tls: Tls,
    /// How long everything that a rule asks at once may take.
    pub timeout: Span,
    /// `enabled = false`: no rule may name it.
    pub enabled: bool,
    /// Where its name stands.
    pub place: Place,
}

impl Remote {
    /// Reads the table of `name`; none when it cannot be used.
    pub fn read(name: &str, place: &Place, node: &Node, problems: &mut Problems) -> Option<Remote> {
        let what = format!("[remote.{name}]");
        let mut table = Table::open(node, &what, problems)?;
        let url = read_url(&mut table, "\"http://prometheus:9090\"", problems);
        if let (Some(url), Some(node)) = (&url, table.node("url")) {
            check_path(url, node, problems);
        }
        let auth = Auth::read(&mut table, problems);
        let tls = read_tls(&mut table, problems);
        let timeout = read_timeout(&mut table, problems);
        let enabled = table.or("enabled", true, problems);
        table.finish(problems);
        Some(Remote { name: name.into(), url: url?, auth, tls, timeout, enabled, place: place.clone() })
    }
}

fn check_path(url: &Url, node: &Node, problems: &mut Problems) {
    if url.path().contains("/api/v1") {
        problems
            .error(&node.place, "the address of the server, without what follows", "`/api/v1/query` is added to it")
            .help("write what stands before /api/v1");
    } else if url.fragment().is_some() {
        problems.error(&node.place, "an address of a server has no `#`", "").help("leave it out");
    }
}

fn read_timeout(table: &mut Table<'_>, problems: &mut Problems) -> Span {
    let Some(Placed { value, place }) = table.get::<Placed<Span>>("timeout", problems) else {
        return rule::config::REMOTE_TIMEOUT;
    };
    if value <= Span::ZERO {
        problems.error(&place, "a timeout is longer than nothing", "no answer could come");
    } else if value > MAX_TIMEOUT {
        problems.error(&place, format!("a timeout is at most {MAX_TIMEOUT}"), "the rule sees nothing meanwhile");
    }
    value
}

/// Gives each rule the timeout of its server, and says which servers do not exist, are off, or are asked by nobody.
/// `written` are the names of all tables, those with mistakes too.
pub fn settle(rules: &mut [rule::config::Config], remotes: &[Remote], written: &[&str], problems: &mut Problems) {
    for rule in rules.iter_mut() {
        let Some(named) = &rule.remote else { continue };
        let name = named.value.as_str();
        match (remotes.iter().find(|r| r.name == name), &mut rule.rule.value) {
            (Some(remote), _) if !remote.enabled && rule.enabled => {
                problems
                    .error(&named.place, format!("the remote `{name}` is switched off"), "nothing could be asked")
                    .also(&remote.place, "enabled = false")
                    .help("switch the rule off, too");
            }
            (Some(remote), Value::Remote { timeout, .. }) => *timeout = remote.timeout,
            (Some(_), _) => {}
            // A table with a mistake of its own was named rightly.
            (None, _) if written.contains(&name) => {}
            (None, _) => {
                let problem = problems.error(&named.place, format!("there is no remote `{name}`"), "");
                match nearest(name, written) {
                    Some(near) => problem.help(format!("did you mean `{near}`?")),
                    None if written.is_empty() => problem.help("add [remote.NAME] with its `url`"),
                    None => problem.help(format!("there are: {}", written.join(", "))),
                };
            }
        }
    }
    for remote in remotes.iter().filter(|r| r.enabled) {
        let is_asked = |rule: &rule::config::Config| rule.remote.as_ref().is_some_and(|n| n.value == remote.name);
        // A rule with a mistake is missing here, and may be the one.
        if problems.errors() == 0 && !rules.iter().any(is_asked) {
            problems
                .warning(&remote.place, format!("nobody asks the remote `{}`", remote.name), "")
                .help(format!("write remote = \"{}\" in a rule, or take it out", remote.name));
        }
    }
}

//! Findings to the text of a configuration. Pure: the same findings give the same text.
//!
//! - `plan`: what is written · `names`, `text`: valid names, safe texts · `said`: what people hear of it

mod names;
mod plan;
mod said;
#[cfg(test)]
mod tests;
mod text;

use std::net::SocketAddr;

use self::names::{Names, slug};
use self::plan::{Place, Plan, stem};
pub use self::said::said;
pub use self::text::plain;
use self::text::{Page, list, quoted};
use super::findings::{Findings, Health, Metrics, Pages, Says};

/// The configuration for what was found.
pub fn write(findings: &Findings) -> String {
    let plan = plan::plan(findings);
    let mut writer = Writer { page: Page::default(), names: Names::default(), errors: Vec::new(), probe: None };
    writer.page.note(&format!(
        "Written by `backstop init` on {}: what runs there, and what it answers. Change what is wrong, take out what \
         you do not need; all that is not written has a default (`backstop check --print`).",
        plain(&findings.host)
    ));
    writer.app(findings, &plan);
    writer.page.table("host", "processors, memory, disks, network, with ready-made rules", &[]);
    writer.containers(&plan);
    writer.units(&plan);
    plan.ports.iter().for_each(|place| writer.port(place));
    writer.left_out(&plan);
    writer.rules();
    writer.channel();
    writer.rollback(&plan);
    writer.page.text()
}

struct Writer {
    page: Page,
    names: Names,
    /// For each page of metrics with a counter of requests: the name of its table, the counter, the label.
    errors: Vec<(String, &'static str, &'static str)>,
    /// The first source that asks an application, as in its heading.
    probe: Option<String>,
}

impl Writer {
    fn app(&mut self, findings: &Findings, plan: &Plan<'_>) {
        let (name, from) = match plan.projects.as_slice() {
            [project] => (slug(&project.name), "the compose project"),
            _ => (slug(findings.host.split('.').next().unwrap_or_default()), "this host"),
        };
        let mut keys = vec![("name", quoted(&name))];
        let version = version(plan);
        if let Some(Version::Sure(version, why)) = &version {
            keys.push(("version", format!("{version:34} # how the running version is read: {why}")));
        }
        self.page.table("app", &format!("called after {from}"), &keys);
        if let Some(Version::Guess(version)) = version {
            self.page.lines(&format!(
                "# version = {version}   # how the running version is read, where this is the application"
            ));
        }
    }

    fn containers(&mut self, plan: &Plan<'_>) {
        for project in &plan.projects {
            let name = self.names.give("container", &project.name, None);
            let services = list(project.services.iter().map(String::as_str));
            self.page.table(
                &format!("container.{name}"),
                "each of these services must run, and be healthy",
                &[("project", quoted(&project.name)), ("services", services)],
            );
            if !project.resting.is_empty() {
                let resting: Vec<String> = project.resting.iter().map(|name| plain(name)).collect();
                self.page.note(&format!("Not listed, because nothing of it runs now: {}.", resting.join(", ")));
            }
        }
        if let [first, ..] = plan.singles.as_slice() {
            let wanted = if plan.singles.len() == 1 { first } else { "containers" };
            let name = self.names.give("container", wanted, None);
            let names = list(plan.singles.iter().map(String::as_str));
            self.page.table(&format!("container.{name}"), "containers outside of compose", &[("names", names)]);
        }
        let projects = plan.projects.iter().map(|project| format!("{}/*", project.name));
        let logs: Vec<String> = projects.chain(plan.singles.iter().cloned()).collect();
        if !logs.is_empty() {
            let wanted = plan.projects.first().filter(|_| logs.len() == 1).map_or("containers", |p| p.name.as_str());
            let name = self.names.give("log", wanted, None);
            let logs = list(logs.iter().map(String::as_str));
            let comment = "counted by level; errors are shown with an alert";
            self.page.table(&format!("log.{name}"), comment, &[("container", logs)]);
        }
    }

    fn units(&mut self, plan: &Plan<'_>) {
        let [first, ..] = plan.units.as_slice() else { return };
        let (wanted, key, value) = match plan.units.len() {
            1 => (stem(&first.name), "unit", quoted(&first.name)),
            _ => ("services", "units", list(plan.units.iter().map(|unit| unit.name.as_str()))),
        };
        let comment = "services of systemd that were installed here";
        for (kind, key, comment) in [("systemd", key, comment), ("log", "journal", "what they write to the journal")] {
            let name = self.names.give(kind, wanted, None);
            // Of a table with one unit the label is the name of the table, if nothing else is said.
            let label = (plan.units.len() == 1 && name != wanted).then(|| ("service", quoted(wanted)));
            let keys: Vec<_> = [(key, value.clone())].into_iter().chain(label).collect();
            self.page.table(&format!("{kind}.{name}"), comment, &keys);
        }
    }

    fn port(&mut self, place: &Place<'_>) {
        match &place.port.says {
            Says::Http(pages) => self.http(place, pages),
            Says::Known(known) if known.name == "https" => {
                self.tcp(place, "encrypted: an [http] with the name on its certificate sees more");
            }
            Says::Known(known) => self.tcp(place, &format!("{}: does it take connections", known.title)),
            Says::Greets | Says::Other(_) => self.tcp(place, "no HTTP: does it take connections"),
            Says::Closed => {}
        }
    }

    fn http(&mut self, place: &Place<'_>, pages: &Pages) {
        let at = place.port.address;
        if let Some(health) = &pages.health {
            let word = health.status.as_ref().filter(|word| word.bytes().all(|b| b.is_ascii_alphanumeric()));
            let expect = word.map(|word| format!("['json status == \"{word}\"']"));
            let keys = [("url", address(at, health.path))].into_iter().chain(expect.map(|expect| ("expect", expect)));
            let comment = if health.status.is_some() { "its health, as it says" } else { "2xx while it is well" };
            let name = self.source("http", place, comment, keys.collect());
            self.probe.get_or_insert(format!("http.{name}"));
        } else if let (Some(status), None) = (pages.root, &pages.metrics) {
            let mut keys = vec![("url", address(at, "/")), ("expect", format!("['status == {status}']"))];
            if (300..400).contains(&status) {
                keys.insert(1, ("redirects", "0".into()));
            }
            self.source("http", place, "as it answered; a page about its health says more", keys);
        }
        if let Some(metrics) = &pages.metrics {
            let name = self.source("prometheus", place, &counted(metrics), vec![("url", address(at, "/metrics"))]);
            self.errors.extend(metrics.requests.map(|(counter, label)| (name, counter, label)));
        }
        if *pages == Pages::default() {
            self.tcp(place, "speaks HTTP, and no page of it says that it is well");
        }
    }

    fn tcp(&mut self, place: &Place<'_>, comment: &str) {
        self.source("tcp", place, comment, vec![("address", quoted(&place.port.address.to_string()))]);
    }

    /// A table of a source that asks a port; gives its name.
    fn source(&mut self, kind: &str, place: &Place<'_>, comment: &str, mut keys: Vec<(&str, String)>) -> String {
        let name = self.names.give(kind, &place.name, Some(place.port.address.port()));
        let service = place.service.as_ref().filter(|service| **service != name);
        keys.extend(service.map(|service| ("service", quoted(service))));
        let whose = if place.whose.is_empty() { String::new() } else { format!("{}: ", plain(&place.whose)) };
        self.page.table(&format!("{kind}.{name}"), &format!("{whose}{comment}"), &keys);
        name
    }

    fn left_out(&mut self, plan: &Plan<'_>) {
        const SHOWN: usize = 16;
        if plan.left_out.is_empty() {
            return;
        }
        let mut text = plan.left_out.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
        if plan.left_out.len() > SHOWN {
            text += &format!(", and {} more", plan.left_out.len() - SHOWN);
        }
        self.page.gap();
        self.page.note(&format!("Left out: {text}."));
    }

    fn rules(&mut self) {
        const MOST: usize = 4;
        for (i, (job, counter, label)) in self.errors.iter().take(MOST).enumerate() {
            let name = if i == 0 { "errors".into() } else { format!("errors-{job}") };
            self.page.table(
                &format!("rule.{name}"),
                "the share of failed requests, judged by its counts",
                &[
                    ("errors", format!("'{counter}{{job=\"{job}\",{label}=~\"5..\"}}'")),
                    ("total", format!("'{counter}{{job=\"{job}\"}}'")),
                    ("critical", "\"> 10%\"".into()),
                    ("rollback", "{ when = \"critical\", for = \"5m\" }".into()),
                ],
            );
        }
    }

    fn channel(&mut self) {
        self.page.gap();
        self.page.note(
            "Alerts go to alerts.jsonl in the state folder until somebody is named here; then `backstop test-alert`:",
        );
        self.page.lines(CHANNEL);
    }

    fn rollback(&mut self, plan: &Plan<'_>) {
        let steps = match (plan.projects.as_slice(), plan.units.iter().find(|unit| unit.is_own)) {
            ([project, ..], _) => {
                vec![format!("[\"/usr/local/bin/deploy-{}\", \"{{previous}}\"]", slug(&project.name))]
            }
            ([], Some(unit)) => vec![
                format!("[\"/usr/local/bin/deploy-{}\", \"{{previous}}\"]", slug(stem(&unit.name))),
                format!("[\"/usr/bin/systemctl\", \"restart\", {}]", quoted(&unit.name)),
            ],
            ([], None) => return,
        };
        self.page.gap();
        self.page.note(
            "The way back: a program of yours that puts the version on which it is given. With \"observe\" it is only \
             said what would be done; \"ask\" waits for a yes, \"auto\" does it.",
        );
        self.page.lines("# [rollback]\n# mode = \"observe\"");
        for step in steps {
            self.page.lines(&format!("#\n# [[rollback.step]]\n# command = {step}"));
        }
        if let Some(probe) = &self.probe {
            self.page.lines(&format!("#\n# [rollback.verify]\n# probes = [\"{probe}\"]"));
        }
    }
}

/// A channel that everybody can fill in.
const CHANNEL: &str = r#"# [channel.email.ops]
# to       = ["you@example.org"]
# from     = "backstop@example.org"
# server   = "smtp://mail.example.org:587"
# user     = "backstop"
# password = "env:SMTP_PASSWORD""#;

fn address(at: SocketAddr, path: &str) -> String {
    quoted(&format!("http://{at}{path}"))
}

fn counted(metrics: &Metrics) -> String {
    format!("{} sample{} now", metrics.n_samples, if metrics.n_samples == 1 { "" } else { "s" })
}

/// How the running version is read.
enum Version {
    /// There is one way that speaks for itself, and this is it.
    Sure(String, String),
    /// An example.
    Guess(String),
}

/// The first of: a page about health that has it; a unit of one's own behind a link; the one container, or the one unit.
fn version(plan: &Plan<'_>) -> Option<Version> {
    let sure = |version: String, why: String| Some(Version::Sure(version, why));
    let told = plan.ports.iter().filter_map(|place| match &place.port.says {
        Says::Http(Pages { health: Some(Health { path, has_version: true, .. }), .. }) => Some((place, path)),
        _ => None,
    });
    let told: Vec<_> = told.collect();
    // A database tells its version too: only where one alone does, and it is known whose it is, is it the application's.
    if let [(place, path), more @ ..] = told.as_slice() {
        let url = address(place.port.address, path);
        let version = format!("{{ http = {url}, json = \"version\" }}");
        return match more.is_empty() && !place.whose.is_empty() {
            true => sure(version, format!("as {} says", plain(&place.whose))),
            false => Some(Version::Guess(version)),
        };
    }
    if let Some((unit, link)) = plan.units.iter().find_map(|unit| Some((unit, unit.link.as_ref()?))) {
        let link = link.to_str()?;
        return sure(format!("{{ link = {} }}", quoted(link)), format!("the release of {}", plain(&unit.name)));
    }
    let services = || plan.projects.iter().flat_map(|p| p.services.iter().map(move |s| format!("{}/{s}", p.name)));
    let all: Vec<String> = services().chain(plan.singles.iter().cloned()).collect();
    // What answers over HTTP is rather the application than its database.
    let speaks = |name: &&String| plan.ports.iter().any(|p| p.whose == **name && matches!(p.port.says, Says::Http(_)));
    let speaking: Vec<String> = all.iter().filter(speaks).cloned().collect();
    let own: Vec<&str> = plan.units.iter().filter(|unit| unit.is_own).map(|unit| unit.name.as_str()).collect();
    let container = |name: &str| format!("{{ container = {} }}", quoted(name));
    match (all.as_slice(), speaking.as_slice(), own.as_slice()) {
        ([one], ..) | (_, [one], _) => sure(container(one), format!("the image of {}", plain(one))),
        ([], _, [unit]) => sure(format!("{{ unit = {} }}", quoted(unit)), format!("the program of {}", plain(unit))),
        (_, [first, ..], _) | ([first, ..], [], _) => Some(Version::Guess(container(first))),
        ([], _, [first, ..]) => Some(Version::Guess(format!("{{ unit = {} }}", quoted(first)))),
        ([], _, []) => None,
    }
}

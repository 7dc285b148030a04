//! What of the findings is written: which projects, containers and units, and how each port belongs to them.
//!
//! Names that no configuration could hold are left out here and counted, so that what follows needs no further checking.

use std::collections::{BTreeMap, BTreeSet};

use super::names::slug;
use super::text::plain;
use crate::cli::init::findings::{Container, Findings, Known, Owner, Port, Says, Unit};

/// The most projects, containers outside of them, and units that are written; together they fit into one table of a log.
const MAX_PROJECTS: usize = 16;
const MAX_SINGLES: usize = 16;
const MAX_UNITS: usize = 32;

/// The most services of one project that are listed.
const MAX_SERVICES: usize = 64;

/// What is written.
#[derive(Debug, Default)]
pub struct Plan<'f> {
    /// The projects of compose of which something runs.
    pub projects: Vec<Project>,
    /// The containers outside of them that run.
    pub singles: Vec<String>,
    /// The units that run.
    pub units: Vec<&'f Unit>,
    /// The ports that get tables.
    pub ports: Vec<Place<'f>>,
    /// What is left out and why, in words that are safe to show.
    pub left_out: Vec<String>,
}

/// A project of compose.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Project {
    /// Its name.
    pub name: String,
    /// Its services of which a container runs.
    pub services: Vec<String>,
    /// Its other services.
    pub resting: Vec<String>,
}

/// A port, and where it belongs.
#[derive(Debug)]
pub struct Place<'f> {
    /// The port.
    pub port: &'f Port,
    /// What its tables are called.
    pub name: String,
    /// The label that the container's or unit's own series have.
    pub service: Option<String>,
    /// Whose it is, for people.
    pub whose: String,
}

/// Decides what is written.
pub fn plan(findings: &Findings) -> Plan<'_> {
    let mut plan = Plan::default();
    if let Ok(containers) = &findings.containers {
        plan.take_containers(&containers.list);
        plan.say_more(containers.n_passed_over, "container");
    }
    if let Ok(units) = &findings.units {
        plan.take_units(&units.list);
    }
    if let Ok(ports) = &findings.ports {
        ports.list.iter().for_each(|port| plan.take_port(port));
        plan.say_more(ports.n_passed_over, "port");
    }
    plan
}

impl<'f> Plan<'f> {
    fn take_containers(&mut self, containers: &[Container]) {
        let mut projects: BTreeMap<&str, BTreeMap<&str, bool>> = BTreeMap::new();
        let mut singles = BTreeSet::new();
        let mut n_odd = 0;
        for container in containers {
            match &container.service {
                Some((project, service)) if is_part(project) && is_part(service) => {
                    *projects.entry(project).or_default().entry(service).or_default() |= container.is_running;
                }
                None if is_part(&container.name) && container.is_running && !lasts(&container.name) => {
                    self.left_out.push(format!("{} (its name looks made for one deployment)", plain(&container.name)));
                }
                None if is_part(&container.name) && container.is_running => {
                    singles.insert(container.name.clone());
                }
                None if is_part(&container.name) => {}
                _ => n_odd += 1,
            }
        }
        for (name, services) in projects {
            let of = |runs: bool| services.iter().filter(move |(_, r)| **r == runs).map(|(name, _)| name.to_string());
            let mut project = Project { name: name.into(), services: of(true).collect(), resting: of(false).collect() };
            if project.services.is_empty() {
                self.left_out.push(format!("compose project {} (nothing of it runs)", plain(name)));
                continue;
            }
            let n_services = project.services.len();
            project.services.truncate(MAX_SERVICES);
            self.say_more(n_services - project.services.len(), "service");
            self.projects.push(project);
        }
        let n = self.projects.len();
        self.projects.truncate(MAX_PROJECTS);
        self.say_more(n - self.projects.len(), "compose project");
        let n = singles.len();
        self.singles = singles.into_iter().take(MAX_SINGLES).collect();
        self.say_more(n - self.singles.len(), "container");
        if n_odd > 0 {
            self.left_out.push(format!("{n_odd} with names that no configuration can hold"));
        }
    }

    fn take_units(&mut self, units: &'f [Unit]) {
        for unit in units {
            match is_unit(&unit.name) {
                // An alias is told beside the unit that it means.
                true if self.units.iter().any(|known| known.name == unit.name) => {}
                true if unit.is_running && self.units.len() < MAX_UNITS => self.units.push(unit),
                // Packages leave services behind that run once or on demand.
                true if !unit.is_running && !unit.is_own => {}
                _ => self.left_out.push(format!("{} ({})", plain(&unit.name), plain(&unit.state))),
            }
        }
    }

    fn take_port(&mut self, port: &'f Port) {
        let belongs = self.belongs(&port.owner);
        let is_whole = match &port.says {
            Says::Http(_) => true,
            Says::Known(Known { is_base, .. }) => belongs.is_some() || !is_base,
            Says::Greets | Says::Other(_) => belongs.is_some(),
            Says::Closed => false,
        };
        let program = port.owner.program.as_deref().filter(|name| !name.is_empty());
        if !is_whole {
            let what = match (&port.says, program) {
                (Says::Known(known), _) => known.title.to_string(),
                (Says::Closed, _) => return,
                (_, Some(program)) => format!("{}, no HTTP", plain(program)),
                (_, None) => "no HTTP".into(),
            };
            self.left_out.push(format!("{} ({what})", port.address));
            return;
        }
        let number = port.address.port();
        let place = match (belongs, &port.says, program) {
            (Some((name, service, whose)), ..) => Place { port, name, service: Some(service), whose },
            (None, Says::Known(known), _) => {
                Place { port, name: known.name.into(), service: None, whose: String::new() }
            }
            (None, _, Some(program)) => Place { port, name: slug(program), service: None, whose: plain(program) },
            (None, _, None) => Place { port, name: format!("port-{number}"), service: None, whose: String::new() },
        };
        self.ports.push(place);
    }

    /// The name for tables of what is owned by a container or unit that is written, the label of its series, and how
    /// people call it.
    fn belongs(&self, owner: &Owner) -> Option<(String, String, String)> {
        if let Some(container) = &owner.container {
            return match &container.service {
                Some((project, service)) => {
                    let home = self.projects.iter().find(|p| p.name == *project && p.services.contains(service))?;
                    let is_shared = self.projects.iter().any(|p| p != home && p.services.contains(service));
                    let name = if is_shared { format!("{project}-{service}") } else { service.clone() };
                    Some((slug(&name), service.clone(), format!("{project}/{service}")))
                }
                None => {
                    let name = self.singles.iter().find(|name| **name == container.name)?;
                    Some((slug(name), name.clone(), name.clone()))
                }
            };
        }
        let unit = self.units.iter().find(|unit| Some(unit.name.as_str()) == owner.unit.as_deref())?;
        let stem = stem(&unit.name);
        Some((slug(stem), stem.into(), unit.name.clone()))
    }

    fn say_more(&mut self, n: usize, noun: &str) {
        if n > 0 {
            self.left_out.push(format!("{n} more {noun}{}", if n == 1 { "" } else { "s" }));
        }
    }
}

/// The name of a unit without `.service`.
pub fn stem(unit: &str) -> &str {
    unit.strip_suffix(".service").unwrap_or(unit)
}

/// Whether this can be the name of a project, a service or a container.
fn is_part(text: &str) -> bool {
    text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

/// Whether the next deployment will probably call it the same: not where the name ends with a part made of digits and
/// letters that is no word, as a revision or the id of a task is.
fn lasts(name: &str) -> bool {
    let last = name.rsplit(['.', '-', '_']).next().unwrap_or(name);
    let is_hex =
        last.len() >= 7 && last.bytes().all(|b| b.is_ascii_hexdigit()) && last.bytes().any(|b| b.is_ascii_digit());
    let is_task = last.len() >= 20 && last.bytes().any(|b| b.is_ascii_digit());
    !(is_hex || is_task)
}

/// Whether this can be the name of a service of systemd (systemd.unit(5)).
fn is_unit(text: &str) -> bool {
    text.len() <= 255
        && text.ends_with(".service")
        && !text.ends_with("@.service")
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "@:-_.\\".contains(c))
}

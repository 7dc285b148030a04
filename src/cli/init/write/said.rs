//! What people hear on standard error: what was looked at, and what could not be seen.

use super::plain;
use crate::base::Failure;
use crate::cli::init::findings::{Containers, Findings, Ports, Units};

/// One line a part, each as it shall be printed.
pub fn said(findings: &Findings) -> Vec<String> {
    let parts = [
        ("services", findings.units.as_ref().map(units)),
        ("containers", findings.containers.as_ref().map(containers)),
        ("ports", findings.ports.as_ref().map(ports)),
    ];
    let mut lines = vec![format!("looked at {} as {}:", plain(&findings.host), plain(&findings.user))];
    for (part, seen) in parts {
        lines.push(format!("  {part:11} {}", seen.unwrap_or_else(unseen)));
    }
    let n_unowned = findings.ports.as_ref().map_or(0, |ports| ports.n_unowned);
    if n_unowned > 0 {
        let hint = if findings.user == "root" { "" } else { ": sudo backstop init sees it" };
        lines.push(format!("  {:11} who has {n_unowned} of them could not be seen{hint}", ""));
    }
    lines
}

fn unseen(failure: &Failure) -> String {
    match failure.reason {
        // It is as good an answer as any.
        "missing" => format!("none: {}", failure.detail.split(": ").next().unwrap_or_default()),
        _ => format!("could not be seen: {failure}"),
    }
}

fn units(units: &Units) -> String {
    let n_running = units.list.iter().filter(|unit| unit.is_running).count();
    let n_found = units.list.len();
    format!("{} loaded; {n_found} installed here or well known, {n_running} of these running", units.n_loaded)
}

fn containers(containers: &Containers) -> String {
    let n_running = containers.list.iter().filter(|container| container.is_running).count();
    let mut projects: Vec<&str> = containers.list.iter().filter_map(|c| Some(c.service.as_ref()?.0.as_str())).collect();
    projects.dedup();
    let projects = match projects.as_slice() {
        [] => String::new(),
        [one] => format!(", compose project {}", plain(one)),
        more => format!(", {} compose projects", more.len()),
    };
    format!("{} at {}, {n_running} running{projects}", containers.list.len(), containers.engine)
}

fn ports(ports: &Ports) -> String {
    let mut text = format!("{} on this host", ports.list.len());
    if ports.n_elsewhere > 0 {
        text += &format!("; {} on addresses of a network were not", ports.n_elsewhere);
    }
    if ports.n_passed_over > 0 {
        text += &format!("; {} more were too many", ports.n_passed_over);
    }
    text
}

//! What of an answer passes: the fields that stand here, and none that does not.
//!
//! A field whose value has another shape than is written here does not pass either: where a number or a text should be, no
//! object with further fields gets through.

use serde_json::{Map, Value};

use crate::sys::engine::told;

/// What passes of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Keep {
    /// A text, a number, yes or no, or nothing.
    Plain,
    /// Each of a list.
    Each(&'static Keep),
    /// These fields of an object, and labels where there are some beside them.
    Fields(&'static [(&'static str, Keep)]),
    /// The labels of an object that are known.
    Labels,
    /// These fields of an object, and labels that are known.
    FieldsAndLabels(&'static [(&'static str, Keep)]),
}

/// Labels that pass begin with one of these.
const LABELS: [&str; 3] = ["com.docker.compose.", "org.opencontainers.image.", "io.podman.compose."];

/// Labels of compose that hold command lines, files or variables of the one who ran it.
const NO_LABELS: [&str; 4] = [
    "com.docker.compose.project.working_dir",
    "com.docker.compose.project.config_files",
    "com.docker.compose.project.environment_file",
    "com.docker.compose.slug",
];

const P: Keep = Keep::Plain;

/// `/version`
pub const VERSION: Keep =
    Keep::Fields(&[("ApiVersion", P), ("Arch", P), ("MinAPIVersion", P), ("Os", P), ("Version", P)]);

/// `/info`
pub const INFO: Keep = Keep::Fields(&[
    ("Architecture", P),
    ("CgroupDriver", P),
    ("CgroupVersion", P),
    ("Containers", P),
    ("ContainersPaused", P),
    ("ContainersRunning", P),
    ("ContainersStopped", P),
    ("Images", P),
    ("KernelVersion", P),
    ("LiveRestoreEnabled", P),
    ("MemTotal", P),
    ("NCPU", P),
    ("OSType", P),
    ("OperatingSystem", P),
    ("ServerVersion", P),
]);

const MOUNTS: Keep = Keep::Each(&Keep::Fields(&[("Name", P), ("Type", P)]));

const HEALTH: Keep = Keep::Fields(&[("FailingStreak", P), ("Status", P)]);

/// An element of `/containers/json`
pub const LISTED: Keep = Keep::Fields(&[
    ("Created", P),
    ("Health", HEALTH),
    ("Id", P),
    ("Image", P),
    ("ImageID", P),
    ("Labels", Keep::Labels),
    ("Mounts", MOUNTS),
    ("Names", Keep::Each(&P)),
    ("Ports", Keep::Each(&Keep::Fields(&[("IP", P), ("PrivatePort", P), ("PublicPort", P), ("Type", P)]))),
    ("State", P),
    ("Status", P),
]);

/// `/containers/ID/json`
pub const CONTAINER: Keep = Keep::Fields(&[
    ("Config", Keep::Fields(&[("Image", P), ("Labels", Keep::Labels), ("Tty", P)])),
    ("Created", P),
    (
        "HostConfig",
        Keep::Fields(&[
            ("CpuPeriod", P),
            ("CpuQuota", P),
            ("LogConfig", Keep::Fields(&[("Type", P)])),
            ("Memory", P),
            ("NanoCpus", P),
            ("NetworkMode", P),
            ("PidsLimit", P),
            ("RestartPolicy", Keep::Fields(&[("MaximumRetryCount", P), ("Name", P)])),
        ]),
    ),
    ("Id", P),
    ("Image", P),
    ("ImageName", P),
    ("Mounts", MOUNTS),
    ("Name", P),
    ("RestartCount", P),
    (
        "State",
        Keep::Fields(&[
            ("Dead", P),
            ("Error", P),
            ("ExitCode", P),
            ("FinishedAt", P),
            ("Health", HEALTH),
            ("OOMKilled", P),
            ("Paused", P),
            ("Pid", P),
            ("Restarting", P),
            ("Running", P),
            ("StartedAt", P),
            ("Status", P),
        ]),
    ),
]);

/// `/images/ID/json`
pub const IMAGE: Keep = Keep::Fields(&[
    ("Architecture", P),
    ("Config", Keep::Fields(&[("Labels", Keep::Labels)])),
    ("Created", P),
    ("Id", P),
    ("Os", P),
    ("RepoDigests", Keep::Each(&P)),
    ("RepoTags", Keep::Each(&P)),
    ("Size", P),
]);

/// An object of `/events`
const EVENT: Keep = Keep::Fields(&[
    ("Action", P),
    (
        "Actor",
        Keep::Fields(&[
            (
                "Attributes",
                Keep::FieldsAndLabels(&[("containerExitCode", P), ("exitCode", P), ("image", P), ("name", P)]),
            ),
            ("ID", P),
        ]),
    ),
    ("HealthStatus", P),
    ("Type", P),
    ("scope", P),
    ("time", P),
    ("timeNano", P),
]);

/// What stands for an object that could not be read: whoever reads it knows that something is missing.
pub const UNREADABLE: &str = "{}";

/// The same for an event: one of a container that does not say of which.
pub const UNREADABLE_EVENT: &str = r#"{"Type":"container","Action":"start"}"#;

/// The fields of an object that pass.
///
/// # Errors
/// When it is no JSON object.
pub fn object(json: &[u8], keep: Keep) -> Result<String, told::Odd> {
    let value: Value = serde_json::from_slice(json).map_err(|_| told::Odd)?;
    if !value.is_object() {
        return Err(told::Odd);
    }
    Ok(kept(value, keep).unwrap_or_default().to_string())
}

/// What passes of an event; nothing of one that is not of a container, or that is not known.
///
/// # Errors
/// When it is none.
pub fn event(json: &[u8]) -> Result<Option<String>, told::Odd> {
    let Some(read) = told::event(json)? else { return Ok(None) };
    let mut value: Value = serde_json::from_slice(json).map_err(|_| told::Odd)?;
    // The word as it is known here: what stands behind it is nobody's to choose.
    let word = read.happened.words()[0];
    value["Action"] = match read.health {
        Some(health) => format!("{word}: {}", health.as_str()),
        None => word.to_string(),
    }
    .into();
    value["HealthStatus"] = read.health.map(|health| health.as_str()).into();
    Ok(kept(value, EVENT).map(|value| value.to_string()))
}

fn kept(value: Value, keep: Keep) -> Option<Value> {
    match (keep, value) {
        (Keep::Plain, Value::Object(_) | Value::Array(_)) => None,
        (_, Value::Null) => Some(Value::Null),
        (Keep::Plain, plain) => Some(plain),
        (Keep::Each(each), Value::Array(list)) => {
            Some(Value::Array(list.into_iter().filter_map(|value| kept(value, *each)).collect()))
        }
        (Keep::Fields(fields), Value::Object(object)) => Some(Value::Object(chosen(object, fields, false))),
        (Keep::FieldsAndLabels(fields), Value::Object(object)) => Some(Value::Object(chosen(object, fields, true))),
        (Keep::Labels, Value::Object(object)) => Some(Value::Object(chosen(object, &[], true))),
        (Keep::Each(_) | Keep::Fields(_) | Keep::FieldsAndLabels(_) | Keep::Labels, _) => None,
    }
}

fn chosen(object: Map<String, Value>, fields: &[(&str, Keep)], has_labels: bool) -> Map<String, Value> {
    let mut chosen = Map::new();
    for (name, value) in object {
        let keep = match fields.iter().find(|(known, _)| *known == name) {
            Some((_, keep)) => *keep,
            None if has_labels && is_label(&name) => Keep::Plain,
            None => continue,
        };
        if let Some(value) = kept(value, keep) {
            chosen.insert(name, value);
        }
    }
    chosen
}

fn is_label(name: &str) -> bool {
    LABELS.iter().any(|begin| name.starts_with(begin)) && !NO_LABELS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! recorded {
        ($name:literal) => {
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/engine/", $name))
        };
    }

    /// Puts a secret into every text, under every name, beside every value that is there.
    fn planted(value: &mut Value) {
        match value {
            Value::Object(object) => {
                object.values_mut().for_each(planted);
                object.insert("hunter2-name".into(), "hunter2".into());
                object.insert("Env".into(), serde_json::json!(["TOKEN=hunter2"]));
                object.insert("Cmd".into(), serde_json::json!({ "Image": "hunter2" }));
            }
            Value::Array(list) => {
                list.iter_mut().for_each(planted);
                list.push(serde_json::json!({ "Source": "hunter2" }));
            }
            _ => {}
        }
    }

    #[test]
    fn nothing_that_was_planted_passes_and_what_is_read_of_an_answer_stays_the_same() {
        for (name, text, keep) in [
            ("inspect", recorded!("inspect-healthy.json"), CONTAINER),
            ("oom", recorded!("inspect-oom.json"), CONTAINER),
            ("image", recorded!("image.json"), IMAGE),
            ("info", recorded!("info.json"), INFO),
            ("version", recorded!("version.json"), VERSION),
        ] {
            let mut value: Value = serde_json::from_str(text).unwrap();
            let plain = object(text.as_bytes(), keep).unwrap();
            assert!(plain.len() > 50 && !plain.contains("hunter2"), "{name}: {plain}");
            planted(&mut value);
            let full = object(value.to_string().as_bytes(), keep).unwrap();
            assert!(!full.contains("hunter2") && !full.contains("TOKEN"), "{name}: {full}");
            if keep == CONTAINER {
                assert_eq!(told::inspected(plain.as_bytes()), told::inspected(text.as_bytes()));
            }
            if keep == IMAGE {
                assert_eq!(told::image(plain.as_bytes()), told::image(text.as_bytes()));
            }
        }
        let Ok(Value::Array(list)) = serde_json::from_str(recorded!("list.json")) else { panic!("it is a list") };
        for mut element in list {
            let text = element.to_string();
            planted(&mut element);
            let passed = object(element.to_string().as_bytes(), LISTED).unwrap();
            assert!(!passed.contains("hunter2") && !passed.contains("tail"), "{passed}");
            assert_eq!(told::listed(passed.as_bytes()), told::listed(text.as_bytes()));
        }
        assert_eq!(object(b"[]", INFO), Err(told::Odd));
    }

    #[test]
    fn events_pass_without_what_nobody_reads_and_those_of_commands_do_not() {
        let mut n_passed = 0;
        for line in recorded!("events.json").lines() {
            let mut value: Value = serde_json::from_str(line).unwrap();
            planted(&mut value);
            let passed = event(value.to_string().as_bytes()).unwrap();
            assert_eq!(passed.is_some(), told::event(line.as_bytes()).unwrap().is_some(), "{line}");
            if let Some(passed) = passed {
                n_passed += 1;
                assert!(!passed.contains("hunter2"), "{passed}");
                assert_eq!(told::event(passed.as_bytes()), told::event(line.as_bytes()));
            }
        }
        assert_eq!(n_passed, 9);
        let odd = recorded!("events.json").lines().find(|line| line.contains("health_status: healthy")).unwrap();
        let passed =
            event(odd.replace("health_status: healthy", "health_status: hunter2").as_bytes()).unwrap().unwrap();
        assert!(passed.contains(r#""Action":"health_status""#) && !passed.contains("hunter2"), "{passed}");
        assert!(told::event(UNREADABLE_EVENT.as_bytes()).is_err() && told::listed(UNREADABLE.as_bytes()).is_err());
    }

    #[test]
    fn a_field_of_another_shape_does_not_pass() {
        let json = br#"{"Id":{"Env":["A"]},"Names":[["A"],"/x",{"A":1}],"Labels":{"com.docker.compose.service":{"A":1},
            "com.docker.compose.project.working_dir":"/A"},"State":["A"],"Mounts":{"Type":"A"}}"#;
        assert_eq!(object(json, LISTED).unwrap(), r#"{"Labels":{},"Names":["/x"]}"#);
    }
}

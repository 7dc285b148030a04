//! Temperatures: the sensors below `/sys/class/hwmon` (`node_hwmon_*`) and the zones below `/sys/class/thermal`
//! (`node_thermal_zone_temp`). Virtual machines have none.

use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

use super::lines::{Known, only, text, too_many};
use crate::base::{Labels, Sample};
use crate::source::common::{Target, sample};
use crate::sys::read::{self, Folder};

/// The most chips, zones, or sensors of one chip that are looked at.
const MAX_SENSORS: usize = 64;

/// The longest file of a sensor.
const MAX_FILE: usize = 4096;

/// The kernel writes thousandths of a degree.
const MILLI: f64 = 0.001;

/// The chips of `/sys/class/hwmon`.
#[derive(Debug)]
pub(super) struct Hwmon {
    path: PathBuf,
    buffer: Vec<u8>,
    chips: Known<Chip>,
}

#[derive(Debug)]
struct Chip {
    folder: Option<Folder>,
    name: Option<Labels>,
    sensors: Vec<Sensor>,
}

#[derive(Debug)]
struct Sensor {
    file: String,
    temperature: Labels,
    label: Option<Labels>,
}

impl Hwmon {
    pub(super) fn new(path: PathBuf) -> Hwmon {
        Hwmon { path, buffer: Vec::new(), chips: Known::new() }
    }

    /// Looks at the temperatures of every chip.
    pub(super) fn look(&mut self, target: &Target, samples: &mut Vec<Sample>) -> Result<()> {
        let names = names(&self.path, "hwmon")?;
        for (i, name) in names.iter().take(MAX_SENSORS).enumerate() {
            let chip = self.chips.row(i, name.as_bytes(), || Chip::new(&self.path.join(name), target));
            samples.extend(chip.name.iter().map(|labels| sample(labels.clone(), 1.0)));
            let before = samples.len();
            for (folder, sensor) in chip.folder.iter().flat_map(|f| chip.sensors.iter().map(move |s| (f, s))) {
                let read = folder.read(&sensor.file, &mut self.buffer, MAX_FILE);
                if let Some(value) = read.ok().and_then(|()| only(&self.buffer)) {
                    samples.push(sample(sensor.temperature.clone(), value * MILLI));
                    samples.extend(sensor.label.iter().map(|labels| sample(labels.clone(), 1.0)));
                }
            }
            // Another chip may have got its number.
            if samples.len() == before {
                *chip = Chip::new(&self.path.join(name), target);
            }
        }
        self.chips.end(names.len().min(MAX_SENSORS));
        bounded(&self.path, names.len())
    }
}

impl Chip {
    fn new(path: &Path, target: &Target) -> Chip {
        let mut buffer = Vec::new();
        let mut folder = Folder::open(path).ok();
        let mut read = |folder: &Folder, file: &str| {
            folder.read(file, &mut buffer, MAX_FILE).ok()?;
            Some(text(buffer.trim_ascii()).into_owned()).filter(|t| !t.is_empty())
        };
        let mut files = Vec::new();
        if let Some(folder) = &mut folder {
            // What cannot be listed has no sensors.
            drop(folder.names(|file| {
                let number = file.strip_prefix(b"temp").and_then(|rest| rest.strip_suffix(b"_input"));
                if let Some(Ok(number)) = number.map(std::str::from_utf8) {
                    files.push(format!("temp{number}"));
                }
                files.len() < MAX_SENSORS
            }));
        }
        files.sort();
        let name = folder.as_ref().and_then(|folder| read(folder, "name"));
        let chip = chip_label(path, name.as_deref());
        let sensor = |sensor: &String| {
            let series = |name: &str| target.series(name, &[("chip", &chip), ("sensor", sensor)]);
            let label = folder.as_ref().and_then(|folder| read(folder, &format!("{sensor}_label")));
            Sensor {
                file: format!("{sensor}_input"),
                temperature: series("node_hwmon_temp_celsius"),
                label: label.map(|label| series("node_hwmon_sensor_label").with("label", &label)),
            }
        };
        let sensors = files.iter().map(sensor).collect();
        let labels =
            |name: String| target.series("node_hwmon_chip_names", &[("chip", &chip), ("chip_name", &clean(&name))]);
        Chip { sensors, name: name.map(labels), folder }
    }
}

/// What the exporter calls a chip: by the device behind it (`platform_coretemp_0`), else by its name, else by its folder.
fn chip_label(path: &Path, name: Option<&str>) -> String {
    let device = read::resolve(&path.join("device")).ok();
    let part =
        |path: Option<&Path>| path.and_then(Path::file_name).map_or(String::new(), |n| clean(&n.to_string_lossy()));
    let own = part(device.as_deref());
    let kind = part(device.as_deref().and_then(Path::parent));
    match (kind.as_str(), own.as_str(), name.map(clean)) {
        (kind, own, _) if !kind.is_empty() && !own.is_empty() => format!("{kind}_{own}"),
        (_, own, _) if !own.is_empty() => own.to_string(),
        (_, _, Some(name)) if !name.is_empty() => name,
        _ => part(Some(path)),
    }
}

/// A name in small letters, digits, `:` and `_`.
fn clean(name: &str) -> String {
    let plain = |c: char| {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_alphanumeric() || c == ':' { c } else { '_' }
    };
    name.chars().map(plain).collect::<String>().trim_matches('_').to_string()
}

/// The zones of `/sys/class/thermal`.
#[derive(Debug)]
pub(super) struct Zones {
    path: PathBuf,
    buffer: Vec<u8>,
    zones: Known<Option<(Folder, Labels)>>,
}

impl Zones {
    pub(super) fn new(path: PathBuf) -> Zones {
        Zones { path, buffer: Vec::new(), zones: Known::new() }
    }

    /// Looks at every zone; one that is switched off gives no number.
    pub(super) fn look(&mut self, target: &Target, samples: &mut Vec<Sample>) -> Result<()> {
        let names = names(&self.path, "thermal_zone")?;
        for (i, name) in names.iter().take(MAX_SENSORS).enumerate() {
            let zone = self.zones.row(i, name.as_bytes(), || self::zone(&self.path.join(name), name, target));
            let read = zone.as_ref().map(|(folder, _)| folder.read("temp", &mut self.buffer, MAX_FILE));
            match (&zone, read.and_then(Result::ok).and_then(|()| only(&self.buffer))) {
                (Some((_, labels)), Some(value)) => samples.push(sample(labels.clone(), value * MILLI)),
                // Another zone may have got its number.
                _ => *zone = self::zone(&self.path.join(name), name, target),
            }
        }
        self.zones.end(names.len().min(MAX_SENSORS));
        bounded(&self.path, names.len())
    }
}

fn zone(path: &Path, name: &str, target: &Target) -> Option<(Folder, Labels)> {
    let folder = Folder::open(path).ok()?;
    let mut kind = Vec::new();
    folder.read("type", &mut kind, MAX_FILE).ok()?;
    let number = name.strip_prefix("thermal_zone").unwrap_or(name);
    let labels = target.series("node_thermal_zone_temp", &[("zone", number), ("type", &text(kind.trim_ascii()))]);
    Some((folder, labels))
}

/// The names below `path` that begin with `prefix`, sorted, at most one more than are looked at.
fn names(path: &Path, prefix: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    Folder::open(path)?.names(|name| {
        let name = std::str::from_utf8(name).ok().filter(|name| name.starts_with(prefix));
        names.extend(name.map(str::to_string));
        names.len() <= MAX_SENSORS
    })?;
    names.sort();
    Ok(names)
}

fn bounded(path: &Path, n: usize) -> Result<()> {
    match n {
        0 => Err(Error::new(ErrorKind::NotFound, format!("{}: no sensor", path.display()))),
        n if n > MAX_SENSORS => too_many(&path.to_string_lossy(), "sensors", MAX_SENSORS),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests write the files that are read")]
mod tests {
    use super::*;
    use crate::source::host::testing::{shown, target};

    fn put(path: PathBuf, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn chips_are_named_and_read_as_the_exporter_does() {
        let place = tempfile::tempdir().unwrap();
        let class = place.path().join("class/hwmon");
        let device = place.path().join("devices/platform/coretemp.0");
        put(device.join("hwmon/hwmon0/name"), "coretemp\n");
        put(device.join("hwmon/hwmon0/temp1_input"), "45500\n");
        put(device.join("hwmon/hwmon0/temp1_label"), "Package id 0\n");
        put(device.join("hwmon/hwmon0/temp2_input"), "-3000\n");
        put(device.join("hwmon/hwmon0/temp3_input"), "\n");
        std::os::unix::fs::symlink(&device, device.join("hwmon/hwmon0/device")).unwrap();
        std::fs::create_dir_all(&class).unwrap();
        std::os::unix::fs::symlink(device.join("hwmon/hwmon0"), class.join("hwmon0")).unwrap();
        put(class.join("hwmon1/name"), "ACPI-tz\n");
        put(class.join("hwmon1/temp1_input"), "20000\n");
        put(class.join("hwmon2/temp1_input"), "x\n");
        let mut hwmon = Hwmon::new(class);
        for _ in 0..2 {
            let mut samples = Vec::new();
            hwmon.look(&target(), &mut samples).unwrap();
            assert_eq!(
                shown(&samples),
                [
                    "node_hwmon_chip_names{chip=\"platform_coretemp_0\",chip_name=\"coretemp\"} 1",
                    "node_hwmon_temp_celsius{chip=\"platform_coretemp_0\",sensor=\"temp1\"} 45.5",
                    "node_hwmon_sensor_label{chip=\"platform_coretemp_0\",label=\"Package id 0\",sensor=\"temp1\"} 1",
                    "node_hwmon_temp_celsius{chip=\"platform_coretemp_0\",sensor=\"temp2\"} -3",
                    "node_hwmon_chip_names{chip=\"acpi_tz\",chip_name=\"acpi_tz\"} 1",
                    "node_hwmon_temp_celsius{chip=\"acpi_tz\",sensor=\"temp1\"} 20",
                ]
            );
        }
    }

    #[test]
    fn zones_are_read_by_number_and_type() {
        let place = tempfile::tempdir().unwrap();
        put(place.path().join("thermal_zone0/type"), "x86_pkg_temp\n");
        put(place.path().join("thermal_zone0/temp"), "51000\n");
        put(place.path().join("thermal_zone1/temp"), "1\n");
        put(place.path().join("cooling_device0/type"), "fan\n");
        let mut samples = Vec::new();
        Zones::new(place.path().into()).look(&target(), &mut samples).unwrap();
        assert_eq!(shown(&samples), ["node_thermal_zone_temp{type=\"x86_pkg_temp\",zone=\"0\"} 51"]);
    }

    #[test]
    fn none_and_too_many_are_said() {
        let place = tempfile::tempdir().unwrap();
        let look = |path: &Path| Hwmon::new(path.into()).look(&target(), &mut Vec::new()).unwrap_err().to_string();
        assert!(look(place.path()).ends_with(": no sensor"));
        assert!(look(Path::new("/none")).starts_with("/none: "));
        for n in 0..=MAX_SENSORS {
            put(place.path().join(format!("hwmon{n}/temp1_input")), "1000\n");
        }
        assert!(look(place.path()).contains("more than 64 sensors"));
    }
}

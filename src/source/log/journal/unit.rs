//! Names of units: those that are read, and that of the agent itself.

use std::path::Path;

use crate::base::wildcard;
use crate::sys::read;

/// The longest name of a unit (UNIT_NAME_MAX of systemd), in bytes.
const MAX: usize = 255;

/// The kinds of units, as their names end.
const KINDS: [&str; 11] = [
    ".service",
    ".socket",
    ".target",
    ".device",
    ".mount",
    ".automount",
    ".swap",
    ".timer",
    ".path",
    ".slice",
    ".scope",
];

/// A unit whose entries are read, or a pattern that means several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    name: String,
    is_pattern: bool,
}

impl Unit {
    /// Reads a name; one without a kind is that of a service. In a pattern `*` stands for any characters and `?` for one.
    ///
    /// # Errors
    /// What is wrong with it, as a fragment.
    pub fn parse(text: &str) -> Result<Unit, String> {
        let is_pattern = text.contains(['*', '?']);
        if text.is_empty() || text.len() > MAX {
            return Err(format!("the name of a unit has 1 to {MAX} bytes"));
        }
        let is_allowed =
            |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c) || (is_pattern && "*?".contains(c));
        if let Some(c) = text.chars().find(|c| !is_allowed(*c)) {
            return Err(format!("`{text}` is no name of a unit: it has `{}`", c.escape_default()));
        }
        let has_kind = KINDS.iter().any(|kind| text.ends_with(kind) && text.len() > kind.len());
        let name = if has_kind || is_pattern { text.to_string() } else { format!("{text}.service") };
        Ok(Unit { name, is_pattern })
    }

    /// The whole name, or the pattern.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it means several units. journalctl would take those that have written something when it starts, and be blind
    /// to one that comes later; so a pattern is applied here, to all of the journal.
    pub fn is_pattern(&self) -> bool {
        self.is_pattern
    }

    /// Whether it means the unit of this name; a pattern without a kind means services too: `shop-*` is `shop-a.service`.
    pub fn means(&self, name: &str) -> bool {
        if !self.is_pattern {
            return self.name == name;
        }
        let fits = |text: &str| wildcard::fits(self.name.as_bytes(), text.as_bytes());
        fits(name) || name.strip_suffix(".service").is_some_and(fits)
    }
}

/// The name of the service that this process is, if systemd started it as one.
pub fn own() -> Option<String> {
    let mut text = Vec::new();
    read::into(Path::new("/proc/self/cgroup"), &mut text, 64 << 10).ok()?;
    own_of(&String::from_utf8_lossy(&text))
}

/// As journald does: the first part of the path of the cgroup that is no slice. What a user's own manager runs is not told
/// apart by it, and a session has other programs in it: these are none.
fn own_of(cgroup: &str) -> Option<String> {
    let path = cgroup.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        (controllers.is_empty() || controllers == "name=systemd").then_some(path).filter(|path| *path != "/")
    })?;
    let unit = path.split('/').find(|part| !part.is_empty() && !part.ends_with(".slice"))?;
    (unit.ends_with(".service") && !unit.starts_with("user@")).then(|| unit.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_kind_is_that_of_a_service() {
        for (text, name) in [
            ("shop", "shop.service"),
            ("shop.service", "shop.service"),
            ("backup.timer", "backup.timer"),
            ("worker@1", "worker@1.service"),
            ("a.b", "a.b.service"),
            ("shop-*", "shop-*"),
        ] {
            assert_eq!(Unit::parse(text).unwrap().name(), name);
        }
    }

    #[test]
    fn what_is_no_name_is_refused_with_its_reason() {
        for (text, why) in [
            ("", "the name of a unit has 1 to 255 bytes"),
            ("a b", "`a b` is no name of a unit: it has ` `"),
            ("a\nb", "`a\nb` is no name of a unit: it has `\\n`"),
            ("shop[12]", "`shop[12]` is no name of a unit: it has `[`"),
        ] {
            assert_eq!(Unit::parse(text).unwrap_err(), why);
        }
        assert!(Unit::parse(&"x".repeat(256)).is_err());
    }

    #[test]
    fn a_pattern_means_services_with_and_without_their_kind() {
        let means = |unit: &str, name: &str| Unit::parse(unit).unwrap().means(name);
        assert!(means("worker@*", "worker@7.service") && means("worker@?", "worker@7.service"));
        assert!(means("*.timer", "backup.timer") && !means("*.timer", "backup.service"));
        assert!(!means("worker@?", "worker@77.service"));
        assert!(means("shop", "shop.service") && !means("shop", "shop2.service"));
    }

    #[test]
    fn the_own_unit_is_the_one_that_journald_names() {
        for (cgroup, own) in [
            ("0::/system.slice/backstop.service\n", Some("backstop.service")),
            ("0::/system.slice/backstop.service/sub\n", Some("backstop.service")),
            ("12:pids:/x\n1:name=systemd:/system.slice/system-b.slice/b@1.service\n0::/\n", Some("b@1.service")),
            ("0::/user.slice/user-1000.slice/session-3.scope\n", None),
            ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/backstop.service\n", None),
            ("0::/\n", None),
            ("nonsense", None),
            ("", None),
        ] {
            assert_eq!(own_of(cgroup).as_deref(), own, "{cgroup}");
        }
    }
}

//! What would mend a target that could not be looked at: one command to copy.
//!
//! Enters: the failure, the files that the look reads, and who looked. Leaves: a command for root, or one that shows
//! more; nothing where only a person can know.

use std::path::{Path, PathBuf};

use crate::base::Failure;
use crate::sys::files::{self, Denied, Right};
use crate::sys::users;

/// Where the service gets secrets from that are no files.
const SHOW_UNIT: &str = "systemctl show backstop -p Environment -p EnvironmentFiles -p LoadCredential";

/// The command for a failure of the target `instance`, looked at by `user`, which reads `files` on the way.
pub(super) fn command(failure: &Failure, instance: &str, files: &[PathBuf], user: &str) -> Option<String> {
    match failure.reason {
        "permission" | "secret" | "file" => {
            match files.iter().find_map(|path| files::first_denied(path)) {
                Some(denied) => allow(&denied, &users::group(denied.gid), &account(user)),
                // What the service is given by its unit, a shell does not have.
                None if is_of_the_unit(failure) => Some(SHOW_UNIT.into()),
                None => None,
            }
        }
        "refused" => Some(format!("ss -ltnp 'sport = :{}'", port(instance)?)),
        "resolve" => Some(format!("getent ahosts {}", host(instance)?)),
        "tls" => {
            let (name, port) = (host(instance)?, port(instance)?);
            let address = if name.contains(':') { format!("'[{name}]:{port}'") } else { format!("{name}:{port}") };
            Some(format!("openssl s_client -connect {address} -servername {name} </dev/null"))
        }
        _ => None,
    }
}

/// Whether a secret is missing that a service gets by its unit.
fn is_of_the_unit(failure: &Failure) -> bool {
    failure.reason == "secret" && ["env:", "credential:"].iter().any(|form| failure.detail.contains(form))
}

/// The user as setfacl takes him: by name, or by number where he has none.
fn account(user: &str) -> String {
    user.trim_start_matches("uid ").to_string()
}

/// The smallest right that lets `user` in. Membership in a group reaches further than one file, so it is only proposed
/// where the group is there for such a purpose and the file already lets it in. Nothing where the path cannot be shown.
fn allow(denied: &Denied, group: &str, user: &str) -> Option<String> {
    let path = denied.path.to_str().filter(|path| !path.chars().any(char::is_control))?;
    // Whoever may open an engine's socket is as good as root.
    if ["docker.sock", "podman.sock"].iter().any(|name| denied.path.ends_with(name)) {
        return Some("systemctl enable --now backstop-engine-proxy.socket && systemctl restart backstop".into());
    }
    let in_home = ["/home", "/root", "/run/user"].iter().any(|hidden| denied.path.starts_with(Path::new(hidden)));
    if denied.lets_group && denied.gid != 0 && !in_home && is_name(group) {
        return Some(format!("usermod -aG {group} {user} && systemctl restart backstop"));
    }
    let right = match denied.right {
        Right::Pass => "x",
        Right::List => "rx",
        Right::Read => "r",
        Right::Talk => "rw",
    };
    Some(format!("setfacl -m u:{user}:{right} {}", quoted(path)))
}

/// Whether the files of users know it by a name.
fn is_name(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c)) && !text.starts_with('-')
}

/// For a shell: as it is where nothing in it is special, else in single quotes.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_string();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// The host of `host:port` or `[v6]:port`, where it is nothing but a name or an address.
fn host(instance: &str) -> Option<&str> {
    let host = instance.rsplit_once(':').map_or(instance, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let named = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
    (!host.is_empty() && !host.starts_with('-') && host.chars().all(named)).then_some(host)
}

fn port(instance: &str) -> Option<u16> {
    instance.rsplit_once(':').and_then(|(_, port)| port.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_file_is_opened_no_further_than_needed() {
        for (path, right, lets_group, gid, group, wanted) in [
            ("/var/log/nginx", Right::Pass, true, 4, "adm", "usermod -aG adm backstop && systemctl restart backstop"),
            ("/etc/shop/token", Right::Read, true, 0, "root", "setfacl -m u:backstop:r /etc/shop/token"),
            ("/srv/backup", Right::Pass, false, 33, "www-data", "setfacl -m u:backstop:x /srv/backup"),
            ("/srv/backup", Right::List, false, 33, "www-data", "setfacl -m u:backstop:rx /srv/backup"),
            ("/run/db.sock", Right::Talk, false, 33, "www-data", "setfacl -m u:backstop:rw /run/db.sock"),
            ("/srv/data", Right::Pass, true, 70_000, "gid 70000", "setfacl -m u:backstop:x /srv/data"),
            ("/home/anna", Right::Pass, true, 1000, "anna", "setfacl -m u:backstop:x /home/anna"),
            ("/srv/it's", Right::List, false, 5, "x", "setfacl -m u:backstop:rx '/srv/it'\\''s'"),
        ] {
            let denied = Denied { path: path.into(), right, gid, lets_group };
            assert_eq!(allow(&denied, group, "backstop").as_deref(), Some(wanted));
        }
        let hostile = Denied { path: "/srv/a\u{1b}[2J".into(), right: Right::Read, gid: 0, lets_group: false };
        assert_eq!(allow(&hostile, "root", "backstop"), None);
        assert_eq!(account("uid 1000"), "1000");
    }

    #[test]
    fn other_failures_lead_to_the_command_that_shows_more() {
        for (reason, instance, wanted) in [
            ("refused", "127.0.0.1:8080", Some("ss -ltnp 'sport = :8080'")),
            ("refused", "[::1]:80", Some("ss -ltnp 'sport = :80'")),
            ("resolve", "db.internal:5432", Some("getent ahosts db.internal")),
            ("resolve", "$(reboot):80", None),
            (
                "tls",
                "example.org:443",
                Some("openssl s_client -connect example.org:443 -servername example.org </dev/null"),
            ),
            ("tls", "[::1]:443", Some("openssl s_client -connect '[::1]:443' -servername ::1 </dev/null")),
            ("status", "127.0.0.1:80", None),
        ] {
            let failure = Failure::new(reason, "x");
            assert_eq!(command(&failure, instance, &[], "backstop").as_deref(), wanted, "{reason} {instance}");
        }
    }

    #[test]
    fn a_secret_of_the_unit_is_looked_for_there() {
        for (detail, wanted) in [
            ("env:TOKEN is not set", Some(SHOW_UNIT)),
            ("credential:pg cannot be found", Some(SHOW_UNIT)),
            ("file:/none cannot be read: no such file", None),
        ] {
            assert_eq!(command(&Failure::new("secret", detail), "h:1", &[], "backstop").as_deref(), wanted, "{detail}");
        }
    }
}

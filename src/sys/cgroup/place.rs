//! Which group is meant: the lines of `/proc/PID/cgroup` (cgroups(7)), and paths, none of which may lead elsewhere.

use super::GroupError;

/// The longest path of a group that is followed, in bytes.
const MAX_PATH: usize = 4096;

/// The lines of `/proc/PID/cgroup`, as controllers (none: version 2) and path.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.split(|b| *b == b'\n').filter_map(|line| {
        let mut parts = line.splitn(3, |b| *b == b':');
        parts.next()?;
        Some((parts.next()?, parts.next()?))
    })
}

/// The path up to the part that is of container `id`; none where no part is.
///
/// Engines write `ID` (cgroupfs), `docker-ID.scope`, `libpod-ID.scope`, `crio-ID.scope` (systemd); what a container makes
/// inside its own group stands behind it.
pub(super) fn of_container<'p>(path: &'p [u8], id: &str) -> Option<&'p [u8]> {
    let mut end = 0;
    for part in path.split(|b| *b == b'/') {
        end += part.len();
        let name = part.strip_suffix(b".scope").unwrap_or(part);
        // `libpod-conmon-ID` is the process that minds the container.
        if let Some(engine) = name.strip_suffix(id.as_bytes())
            && !id.is_empty()
            && (engine.is_empty() || engine.ends_with(b"-") && !engine.ends_with(b"conmon-"))
        {
            return path.get(..end);
        }
        end += 1;
    }
    None
}

/// The path of a group below the group `top` that is mounted, without a `/` at its beginning.
///
/// # Errors
/// When it leads elsewhere, or is none.
pub(super) fn below<'p>(path: &'p [u8], top: &[u8]) -> Result<&'p [u8], GroupError> {
    let hidden = |why| GroupError::Hidden { path: shown(path), why };
    if path.len() > MAX_PATH {
        return Err(hidden("it is longer than a path can be"));
    }
    let Some(plain) = path.strip_prefix(b"/") else { return Err(hidden("it does not begin with `/`")) };
    if path.contains(&0) || path.contains(&b'\n') {
        return Err(hidden("it holds bytes that no path has"));
    }
    let mut parts = plain.split(|b| *b == b'/');
    if !plain.is_empty() && parts.any(|part| part.is_empty() || part == b"." || part == b"..") {
        return Err(hidden(
            "it lies outside of what is mounted here, as in a container with control groups of its own",
        ));
    }
    if path.ends_with(b" (deleted)") {
        return Err(GroupError::Missing { path: shown(path) });
    }
    if top == b"/" {
        return Ok(plain);
    }
    match path.strip_prefix(top) {
        Some([]) => Ok(b""),
        Some([b'/', rest @ ..]) => Ok(rest),
        _ => Err(hidden("only another part of the control groups is mounted here")),
    }
}

/// A path for people: at most 200 bytes of it, without control characters.
pub(super) fn shown(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(&path[..path.len().min(200)]);
    let mut text: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    if path.len() > 200 {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_whatever_the_path_holds() {
        let text = b"9:name=systemd:/a\n4:cpu,cpuacct:/b:c\n0::/\nbroken\n1:x\n";
        let all: Vec<(&[u8], &[u8])> = lines(text).collect();
        assert_eq!(all, [(&b"name=systemd"[..], &b"/a"[..]), (b"cpu,cpuacct", b"/b:c"), (b"", b"/")]);
    }

    #[test]
    fn a_container_is_known_by_its_id_in_every_form() {
        let id = "0123456789abcdef0123456789abcdef";
        for (path, wanted) in [
            (format!("/docker/{id}"), Some(format!("/docker/{id}"))),
            (format!("/system.slice/docker-{id}.scope"), Some(format!("/system.slice/docker-{id}.scope"))),
            (format!("/machine.slice/libpod-{id}.scope/container"), Some(format!("/machine.slice/libpod-{id}.scope"))),
            (format!("/docker/{id}/system.slice/x.service"), Some(format!("/docker/{id}"))),
            (format!("/machine.slice/libpod-conmon-{id}.scope"), None),
            (format!("/docker/x{id}"), None),
            (format!("/docker/{id}x"), None),
            ("/".into(), None),
            (String::new(), None),
        ] {
            assert_eq!(of_container(path.as_bytes(), id), wanted.as_deref().map(str::as_bytes), "{path}");
        }
        assert_eq!(of_container(b"/docker/", ""), None);
    }

    #[test]
    fn no_path_leads_elsewhere() {
        for (path, top, wanted) in [
            ("/", "/", Ok("")),
            ("/docker/a", "/", Ok("docker/a")),
            ("/docker/a/b", "/docker/a", Ok("b")),
            ("/docker/a", "/docker/a", Ok("")),
            ("/docker/ab", "/docker/a", Err("only another part")),
            ("/../other", "/", Err("lies outside")),
            ("/a/../../etc", "/", Err("lies outside")),
            ("/a//b", "/", Err("lies outside")),
            ("/./a", "/", Err("lies outside")),
            ("a", "/", Err("does not begin")),
            ("", "/", Err("does not begin")),
            ("/a\0b", "/", Err("bytes that no path has")),
            ("/a (deleted)", "/", Err("there is no control group")),
        ] {
            let found = below(path.as_bytes(), top.as_bytes()).map_err(|e| e.to_string());
            match (&found, wanted) {
                (Ok(found), Ok(wanted)) => assert_eq!(*found, wanted.as_bytes(), "{path}"),
                (Err(why), Err(wanted)) => assert!(why.contains(wanted), "{path}: {why}"),
                _ => panic!("{path}: {found:?}"),
            }
        }
        let long = format!("/{}", "a".repeat(1 << 20));
        assert!(below(long.as_bytes(), b"/").unwrap_err().to_string().len() < 400);
    }
}

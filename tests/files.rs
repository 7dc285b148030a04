//! Files are observed in a real file system: links, folders, FIFOs, rights, patterns.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use backstop::base::Span;
use backstop::sys::look::{self, Blind, Pattern};

use crate::support::Scratch;

/// Makes a file whose age is this many seconds.
fn file(path: &Path, content: &str, age: u64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    let opened = fs::File::options().write(true).open(path).unwrap();
    opened.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 - age)).unwrap();
}

fn newest(folder: &Path, pattern: &str) -> Result<Option<String>, Blind> {
    let pattern = Pattern::parse(&format!("{}/{pattern}", folder.display())).unwrap();
    let seen = pattern.newest(Span::secs(30))?;
    Ok(seen.map(|seen| seen.path.strip_prefix(folder).unwrap().display().to_string()))
}

#[test]
fn what_is_there_is_seen_without_being_opened() {
    let scratch = Scratch::new("what_is_there_is_seen");
    let folder = scratch.path();
    let path = folder.join("dump.sql");
    file(&path, "12345", 60);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
    let seen = look::at(&path).unwrap().unwrap();
    assert_eq!((seen.size, seen.mode, seen.modified.0), (Some(5), 0o604, (1_700_000_000 - 60) * 1000));
    assert!(seen.is_writable && !seen.is_folder);

    symlink(&path, folder.join("link")).unwrap();
    assert_eq!(look::at(&folder.join("link")).unwrap().unwrap().size, Some(5), "a link is what it points to");
    symlink(folder.join("gone"), folder.join("dangling")).unwrap();
    assert_eq!(look::at(&folder.join("dangling")), Ok(None), "a link to nothing is nothing");
    symlink(folder.join("loop"), folder.join("loop")).unwrap();
    assert!(matches!(look::at(&folder.join("loop")), Err(Blind::Io { .. })));

    assert_eq!(look::at(&folder.join("absent")), Ok(None));
    assert_eq!(look::at(&path.join("below-a-file")), Ok(None));
    assert_eq!(look::at(folder).unwrap().unwrap().size, None, "a folder has no size");
    let fifo = folder.join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    assert_eq!(look::at(&fifo).unwrap().unwrap().size, None, "nobody writes into it, and nobody waits for it");
    assert_eq!(look::at(Path::new("/dev/zero")).unwrap().unwrap().size, None);
}

#[test]
fn the_newest_of_a_pattern_is_found() {
    let scratch = Scratch::new("the_newest_of_a_pattern");
    let folder = scratch.path();
    for (name, age) in [
        ("a/dump-1.sql", 300),
        ("a/dump-2.sql", 200),
        ("a/dump-3.sql.gz", 100),
        ("a/.hidden.sql", 50),
        ("b/deep/er/dump-4.sql", 20),
        ("b/.git/dump-5.sql", 10),
        ("same/x", 70),
        ("same/y", 70),
    ] {
        file(&folder.join(name), "x", age);
    }
    fs::create_dir(folder.join("a/folder.sql")).unwrap();
    symlink(folder.join("b"), folder.join("b/deep/up")).unwrap();
    symlink(folder.join("gone"), folder.join("a/dump-9.sql")).unwrap();
    for (pattern, wanted) in [
        ("a/*.sql", Some("a/dump-2.sql")),
        ("a/dump-[12].sql", Some("a/dump-2.sql")),
        ("a/dump-?.*", Some("a/dump-3.sql.gz")),
        ("a/.*.sql", Some("a/.hidden.sql")),
        ("*/dump-1.sql", Some("a/dump-1.sql")),
        ("**/*.sql", Some("b/deep/er/dump-4.sql")),
        ("b/**/dump-4.sql", Some("b/deep/er/dump-4.sql")),
        ("a/**/dump-1.sql", Some("a/dump-1.sql")),
        ("same/*", Some("same/y")),
        ("a/dump-1.sql", Some("a/dump-1.sql")),
        ("a/*.bak", None),
        ("absent/*", None),
        ("a/dump-1.sql/*", None),
    ] {
        assert_eq!(newest(folder, pattern).unwrap().as_deref(), wanted, "{pattern}");
    }
}

#[test]
fn a_look_through_folders_ends() {
    let scratch = Scratch::new("a_look_through_folders");
    let folder = scratch.path();
    let mut deep = folder.to_owned();
    for _ in 0..look::MAX_DEPTH + 5 {
        deep.push("d");
    }
    file(&deep.join("too-deep"), "x", 1);
    file(&folder.join("d/d/found"), "x", 1);
    assert!(matches!(newest(folder, "**/too-deep"), Err(Blind::TooDeep { .. })), "what was not looked into is said");
    fs::remove_dir_all(folder.join("d/d/d")).unwrap();
    assert_eq!(newest(folder, "**/found").unwrap().as_deref(), Some("d/d/found"));
    let pattern = Pattern::parse(&format!("{}/**/x", folder.display())).unwrap();
    assert_eq!(pattern.newest(Span(-1)), Err(Blind::TooLong(Span(-1))), "time that is up ends it");
}

/// Root may look everywhere, so this needs another user; as root the look is told apart by what access(2) says.
#[test]
fn a_folder_that_refuses_is_named_with_who_was_refused() {
    let scratch = Scratch::new("a_folder_that_refuses");
    let folder = scratch.path();
    file(&folder.join("closed/dump.sql"), "x", 1);
    fs::set_permissions(folder.join("closed"), fs::Permissions::from_mode(0o0)).unwrap();
    let (direct, like) = (look::at(&folder.join("closed/dump.sql")), newest(folder, "closed/*"));
    fs::set_permissions(folder.join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    let who = backstop::sys::users::current();
    if rustix::process::geteuid().is_root() {
        assert!(direct.unwrap().is_some() && like.unwrap().is_some(), "root is not refused");
        return;
    }
    let denied = Blind::Denied { folder: folder.join("closed"), who };
    assert_eq!(direct, Err(denied.clone()));
    assert_eq!(like, Err(denied));
}

//! Files that lines are appended to, synced and rotated.
//!
//! Enters: a path and a line. Leaves: nothing; when the call returns without an error the line is on the disk.
//! A file that would grow past its size becomes `FILE.1`, that one `FILE.2`, and so on; rotated files are
//! deleted when they are too old or too many. A torn last line, left by a crash, is ended first, so that it
//! spoils only itself. Callers take turns: two at once could rotate twice.

use std::fs::{self, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::OFlags;

use crate::base::{Span, Timestamp};

/// How large a file may grow, and how long rotated ones are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// In bytes; a single longer line still goes into a file of its own.
    pub max_size: u64,
    /// Since the last write to the rotated file.
    pub keep: Span,
}

/// The most rotated files, however young.
pub const MAX_ROTATED: u32 = 99;

/// Appends `line` and a line break to the file at `path`, which is made if it is missing, and syncs it.
///
/// # Errors
/// When the file is no regular file, or cannot be opened, written, rotated or synced. The line may be partly
/// there then.
pub fn line(path: &Path, line: &[u8], rotation: Rotation, now: Timestamp) -> Result<()> {
    let size = fs::metadata(path).map_or(0, |m| if m.is_file() { m.len() } else { 0 });
    if size > 0 && size.saturating_add(line.len() as u64 + 1) > rotation.max_size {
        rotate(path, rotation, now)?;
    }
    let is_new = !path.exists();
    // Without NONBLOCK the mere opening of a named pipe would wait for its reader.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let mut file =
        OpenOptions::new().read(true).append(true).create(true).mode(0o640).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::with_capacity(line.len() + 2);
    if file.metadata()?.len() > 0 && !ends_a_line(&mut file)? {
        bytes.push(b'\n');
    }
    bytes.extend_from_slice(line);
    bytes.push(b'\n');
    file.write_all(&bytes)?;
    file.sync_data()?;
    if is_new { sync_folder(path) } else { Ok(()) }
}

fn ends_a_line(file: &mut (impl Read + Seek)) -> Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn rotate(path: &Path, rotation: Rotation, now: Timestamp) -> Result<()> {
    let oldest = UNIX_EPOCH + Duration::from_millis((now - rotation.keep).0.max(0) as u64);
    remove(&numbered(path, MAX_ROTATED))?;
    for number in (1..MAX_ROTATED).rev() {
        let from = numbered(path, number);
        match fs::metadata(&from) {
            Ok(m) if m.modified()? < oldest => remove(&from)?,
            Ok(_) => fs::rename(&from, numbered(path, number + 1))?,
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    fs::rename(path, numbered(path, 1))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// A new name is durable when its folder is.
fn sync_folder(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    OpenOptions::new().read(true).open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(4_000_000_000_000);

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("backstop-append-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn content(path: &Path) -> String {
        let mut buffer = Vec::new();
        crate::sys::read::into(path, &mut buffer, 1 << 20).unwrap();
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn a_file_past_its_size_is_rotated_and_an_old_one_deleted() {
        let path = folder("rotate").join("log");
        let keep_all = Rotation { max_size: 10, keep: Span(NOW.0) };
        for text in ["one", "two", "three", "a line longer than the file", "four"] {
            line(&path, text.as_bytes(), keep_all, NOW).unwrap();
        }
        let files = [path.clone(), numbered(&path, 1), numbered(&path, 2), numbered(&path, 3)];
        let all: Vec<String> = files.iter().map(|f| content(f)).collect();
        assert_eq!(all, ["four\n", "a line longer than the file\n", "three\n", "one\ntwo\n"]);
        line(&path, b"five and more", Rotation { max_size: 10, keep: Span::secs(1) }, NOW).unwrap();
        assert_eq!((content(&path).as_str(), content(&numbered(&path, 1)).as_str()), ("five and more\n", "four\n"));
        assert!(!numbered(&path, 2).exists() && !numbered(&path, 3).exists());
    }

    #[test]
    fn a_torn_line_spoils_only_itself() {
        let path = folder("torn").join("log");
        let rotation = Rotation { max_size: 1000, keep: Span::hours(1) };
        line(&path, b"whole", rotation, NOW).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"to").unwrap();
        line(&path, b"next", rotation, NOW).unwrap();
        assert_eq!(content(&path), "whole\n{\"to\nnext\n");
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let rotation = Rotation { max_size: 1000, keep: Span::hours(1) };
        assert!(line(Path::new("/dev/null"), b"x", rotation, NOW).is_err());
        assert!(line(Path::new("/proc/no/such/folder/log"), b"x", rotation, NOW).is_err());
    }
}

//! Capped reads of small files: what the kernel shows under `/proc`, and secrets.
//!
//! Enters: a path. Leaves: at most `cap` bytes in a buffer that the caller keeps. A file that is longer is an
//! error, never a silent cut; a pipe or a device is refused before it could block.

use std::fs::OpenOptions;
use std::io::{Error, ErrorKind, Read, Result};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Replaces the content of `buffer` by that of the regular file at `path`.
///
/// # Errors
/// When the file cannot be opened or read, is no regular file, or holds more than `cap` bytes. The buffer is
/// empty then.
pub fn into(path: &Path, buffer: &mut Vec<u8>, cap: usize) -> Result<()> {
    buffer.clear();
    let read = fill(path, buffer, cap);
    if read.is_err() {
        buffer.clear();
    }
    read
}

fn fill(path: &Path, buffer: &mut Vec<u8>, cap: usize) -> Result<()> {
    // Without NONBLOCK the mere opening of a named pipe would wait for its writer.
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    let limit = u64::try_from(cap).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(buffer)?;
    if buffer.len() > cap {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("longer than {cap} bytes")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("rustfmt.toml");
        let mut buffer = b"old".to_vec();
        into(&path, &mut buffer, 1 << 16).unwrap();
        assert!(buffer.starts_with(b"max_width"));
        assert_eq!(into(&path, &mut buffer, 5).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert!(buffer.is_empty());
    }

    #[test]
    fn what_could_block_or_never_end_is_refused() {
        let mut buffer = Vec::new();
        assert_eq!(into(Path::new("/dev/zero"), &mut buffer, 10).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert!(into(Path::new("/"), &mut buffer, 10).is_err());
    }
}

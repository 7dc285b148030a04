//! Files of any length, read from their beginning to their end: what people import.

#![expect(clippy::disallowed_types, reason = "this is a room that opens files")]

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::files::FileError;

/// Opens a file, or a pipe such as a shell gives for `<(zcat dump.gz)`, for reading.
///
/// # Errors
/// When it cannot be opened, or is a folder.
pub fn open(path: &Path) -> Result<impl Read + Send + 'static, FileError> {
    let file = File::open(path).map_err(FileError::io("open", path))?;
    let meta = file.metadata().map_err(FileError::io("open", path))?;
    if meta.is_dir() {
        return Err(FileError::NotRegular { path: path.to_owned(), found: "a folder" });
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_no_file_to_read() {
        let error = open(Path::new("/")).map(drop).unwrap_err().to_string();
        assert!(error.contains("a folder"), "{error}");
        assert!(open(Path::new("/proc/self/status")).is_ok());
    }
}

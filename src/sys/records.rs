//! A journal of records: one a line, each with its checksum, each on the disk before the next thing is done.
//!
//! A line is `<crc32 of the text, 8 hex digits> <text>\n`; the text is JSON and never holds a line break. A last
//! line without its line break is what a crash leaves of an append that nobody was told about: it is no record, and
//! the next writer removes it. A whole line with a wrong checksum was acknowledged once and has been damaged
//! since, wherever it stands: that is an error, because leaving it out would forget that something was done.

#![expect(clippy::disallowed_types, reason = "this is a room that opens files")]

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::files::{self, FileError};

/// What went wrong with a journal.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A whole line that does not match its checksum.
    #[error("line {line} of {} is damaged", path.display())]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// An append failed and could not be taken back; this writer writes no more.
    #[error("the end of {} is unknown after a failed write", path.display())]
    Lost {
        /// The journal.
        path: PathBuf,
    },
}

/// The content of a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// The texts, oldest first, without their checksums.
    pub texts: Vec<String>,
    /// Whether bytes without a line break followed the last whole record.
    pub torn: bool,
    /// The bytes that the whole records take.
    pub length: u64,
}

/// Reads the whole records of a journal of at most `max` bytes. A journal that does not exist is empty.
///
/// # Errors
/// When the file cannot be read, or a whole record is damaged.
pub fn read_all(path: &Path, max: u64) -> Result<Records, RecordsError> {
    match files::read_capped(path, max) {
        Ok(bytes) => parse(&bytes).map_err(|line| RecordsError::Damaged { path: path.to_owned(), line }),
        Err(error) if error.is_not_found() => Ok(Records::default()),
        Err(error) => Err(error.into()),
    }
}

/// The records in `bytes`, or the number of the first damaged line.
fn parse(bytes: &[u8]) -> Result<Records, usize> {
    let mut records = Records::default();
    for (i, line) in bytes.split_inclusive(|b| *b == b'\n').enumerate() {
        let Some(whole) = line.strip_suffix(b"\n") else {
            records.torn = true;
            break;
        };
        records.texts.push(unframe(whole).ok_or(i + 1)?);
        records.length += line.len() as u64;
    }
    Ok(records)
}

fn unframe(line: &[u8]) -> Option<String> {
    let (sum, text) = line.split_at_checked(8)?;
    let text = text.strip_prefix(b" ")?;
    let expected = format!("{:08x}", crc32fast::hash(text));
    if sum != expected.as_bytes() {
        return None;
    }
    String::from_utf8(text.to_vec()).ok()
}

fn frame(text: &str) -> String {
    format!("{:08x} {text}\n", crc32fast::hash(text.as_bytes()))
}

/// The one writer of a journal.
#[derive(Debug)]
pub struct Writer {
    file: File,
    path: PathBuf,
    length: u64,
    lost: bool,
}

impl Writer {
    /// Opens a journal of at most `max` bytes, or makes it with `mode`; removes a torn end and hands out the
    /// records that stand there.
    ///
    /// # Errors
    /// When it cannot be opened, read or cut, or a whole record is damaged.
    pub fn open(path: &Path, mode: u32, max: u64) -> Result<(Writer, Records), RecordsError> {
        let is_new = !files::exists(path);
        let file = files::open_to_append(path, mode)?;
        if is_new {
            files::sync_folder_of(path)?;
        }
        let records = read_all(path, max)?;
        if records.torn {
            file.set_len(records.length)
                .and_then(|()| file.sync_all())
                .map_err(FileError::io("cut the torn end of", path))?;
        }
        Ok((Writer { file, path: path.to_owned(), length: records.length, lost: false }, records))
    }

    /// Appends one record and syncs it: when this returns, it survives a power cut.
    ///
    /// # Errors
    /// When it could not be written or synced; it is then no record, or (when even that could not be brought
    /// about) this writer refuses everything further.
    pub fn append(&mut self, text: &str) -> Result<(), RecordsError> {
        if self.lost {
            return Err(RecordsError::Lost { path: self.path.clone() });
        }
        let line = frame(text);
        let written = if text.contains('\n') {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "a record holds no line break"))
        } else {
            self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data())
        };
        if let Err(source) = written {
            self.lost = self.file.set_len(self.length).and_then(|()| self.file.sync_data()).is_err();
            return Err(FileError::io("append to", &self.path)(source).into());
        }
        self.length += line.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::testing::Scratch;
    use super::*;

    const MAX: u64 = 4096;

    #[test]
    fn records_come_back_in_order() {
        let scratch = Scratch::new("records");
        let path = scratch.at("journal");
        let (mut writer, before) = Writer::open(&path, 0o640, MAX).unwrap();
        assert_eq!(before, Records::default());
        for text in [r#"{"a":1}"#, "", "ä"] {
            writer.append(text).unwrap();
        }
        assert!(writer.append("two\nlines").is_err());
        writer.append("last").unwrap();
        assert_eq!(read_all(&path, MAX).unwrap().texts, [r#"{"a":1}"#, "", "ä", "last"]);
        assert!(read_all(&path, 10).is_err(), "a journal over the cap is refused");
        assert_eq!(read_all(&scratch.at("missing"), MAX).unwrap(), Records::default());
    }

    #[test]
    fn a_torn_end_of_any_length_is_no_record_and_the_next_writer_removes_it() {
        let scratch = Scratch::new("torn");
        let (whole, last) = (frame("first"), frame("second"));
        for cut in 0..last.len() {
            let path = scratch.put("journal", format!("{whole}{}", &last[..cut]).as_bytes());
            let records = read_all(&path, MAX).unwrap();
            assert_eq!((records.texts.len(), records.torn), (1, cut > 0), "cut {cut}");
            let (mut writer, _) = Writer::open(&path, 0o640, MAX).unwrap();
            writer.append("third").unwrap();
            let records = read_all(&path, MAX).unwrap();
            assert_eq!((records.texts, records.torn), (vec!["first".into(), "third".into()], false), "cut {cut}");
        }
    }

    #[test]
    fn damage_anywhere_is_found_and_never_read_over() {
        let whole = format!("{}{}{}", frame("first"), frame("second"), frame("third"));
        for at in 0..whole.len() {
            let mut bytes = whole.clone().into_bytes();
            bytes[at] ^= 0x04;
            let last = at == whole.len() - 1;
            match parse(&bytes) {
                Err(line) => assert!((1..=3).contains(&line)),
                Ok(records) => assert!(last && records.torn && records.texts.len() == 2, "byte {at}: {records:?}"),
            }
        }
    }
}

//! The files of an archive: their names, and which of them are there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::wire::{BadHeader, FORMAT, HEADER, Header, Kind};
use crate::base::chain;
use crate::sys::blocks::{self, Blocks};
use crate::sys::files::FileError;

/// A log that grows or waits to be sealed.
pub(super) const LOG: &str = "log";
/// A sealed segment.
pub(super) const SEALED: &str = "seg";
/// An import in work; it holds the number.
pub(super) const PART: &str = "part";
/// A sealing in work.
pub(super) const SEALING: &str = "sealing";

/// The path of a file of an archive.
pub(super) fn path(folder: &Path, number: u64, suffix: &str) -> PathBuf {
    folder.join(format!("{number:08}.{suffix}"))
}

/// The file's own name, for statements.
pub(super) fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Which forms a number has in the folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Forms {
    pub log: bool,
    pub sealed: bool,
    pub part: bool,
    pub sealing: bool,
}

/// The numbers of an archive, oldest first.
///
/// A file that is renamed while a folder is listed may be missed by one listing, not by two that follow each other:
/// a sealed form stands before its log goes.
pub(super) fn list(folder: &Path) -> Result<BTreeMap<u64, Forms>, FileError> {
    let mut found: BTreeMap<u64, Forms> = BTreeMap::new();
    for _ in 0..2 {
        for name in blocks::names(folder)? {
            let Some((digits, suffix)) = name.split_once('.') else { continue };
            let Some(number) = digits.parse().ok().filter(|number| format!("{number:08}") == digits) else { continue };
            match suffix {
                LOG => found.entry(number).or_default().log = true,
                SEALED => found.entry(number).or_default().sealed = true,
                PART => found.entry(number).or_default().part = true,
                SEALING => found.entry(number).or_default().sealing = true,
                _ => {}
            }
        }
    }
    Ok(found)
}

/// Reads the header of an open file and checks that it is what its name says.
///
/// # Errors
/// A sentence fragment behind the file's name.
pub(super) fn header(file: &Blocks, number: u64, kind: Kind) -> Result<Header, String> {
    let mut bytes = [0; HEADER];
    let n = file.read_at(0, &mut bytes).map_err(|error| format!("cannot be read: {}", chain(&error)))?;
    match Header::parse(&bytes[..n]) {
        Ok(header) if header.number != number => Err(format!("holds the samples of number {}", header.number)),
        Ok(header) if header.kind != kind => Err("is not of the kind that its name says".into()),
        Ok(header) => Ok(header),
        Err(BadHeader::Newer(format)) => Err(format!(
            "has format {format}; this version reads formats up to {FORMAT}: install the newer backstop again to read it"
        )),
        Err(BadHeader::Damaged(why)) => Err(format!("cannot be read: {why}")),
    }
}

/// What is wrong with the files, bounded in length.
#[derive(Clone, Debug, Default)]
pub(super) struct Trouble {
    pub lines: Vec<String>,
    more: usize,
}

impl Trouble {
    const MAX: usize = 100;

    pub(super) fn say(&mut self, line: String) {
        if self.lines.len() < Trouble::MAX {
            self.lines.push(line);
        } else {
            self.more += 1;
        }
    }

    pub(super) fn take(mut self) -> Vec<String> {
        if self.more > 0 {
            self.lines.push(format!("and {} more", self.more));
        }
        self.lines
    }
}

//! Why the system would refuse to run a file that is there, in words that say what to mend.
//!
//! Enters: a path. Leaves: its [`Flaw`], if it has one. Of the file the first line is read, at most 256 bytes as the
//! kernel does (execve(2)). A file that cannot be looked at has no flaw here: whoever runs it will say why.

#![expect(clippy::disallowed_types, reason = "this room looks at files")]

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::process::find;

/// How much of the beginning of a file the kernel looks at, in bytes.
const HEAD: u64 = 256;

/// Why a file cannot be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// There is nothing at the path.
    NotThere,
    /// A folder, a socket or the like.
    NoFile,
    /// Nobody has the right to execute it.
    NotExecutable,
    /// A text whose first line names no interpreter.
    NoInterpreterLine,
    /// Its first line ends in a carriage return, which counts as a part of the name of the interpreter.
    CarriageReturn,
    /// The interpreter that its first line names is not there.
    NoInterpreter(String),
}

/// As a sentence about the file goes on.
impl std::fmt::Display for Flaw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Flaw::NotThere => f.write_str("is not there"),
            Flaw::NoFile => f.write_str("is no file"),
            Flaw::NotExecutable => f.write_str("is not executable"),
            Flaw::NoInterpreterLine => f.write_str("has no first line `#!…`, so the system does not know what runs it"),
            Flaw::CarriageReturn => f.write_str("has lines that end in CRLF, which is no end of a line here"),
            Flaw::NoInterpreter(name) => write!(f, "names `{name}` in its first line, which is not there"),
        }
    }
}

impl Flaw {
    /// What to do about it.
    pub fn help(&self, path: &Path) -> Option<String> {
        let path = path.display();
        match self {
            Flaw::NotThere | Flaw::NoFile => None,
            Flaw::NotExecutable => Some(format!("chmod +x {path}")),
            Flaw::NoInterpreterLine => Some("begin the file with, for example, #!/bin/sh".into()),
            Flaw::CarriageReturn => Some(format!("sed -i 's/\\r$//' {path}")),
            Flaw::NoInterpreter(name) => Some(format!("install {name}, or correct the first line of {path}")),
        }
    }
}

/// The first thing that keeps the file at `path` from being run.
pub fn flaw(path: &Path) -> Option<Flaw> {
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Some(Flaw::NotThere),
        Err(_) => return None,
    };
    if !meta.is_file() {
        return Some(Flaw::NoFile);
    }
    if meta.permissions().mode() & 0o111 == 0 {
        return Some(Flaw::NotExecutable);
    }
    let mut head = Vec::new();
    File::open(path).ok()?.take(HEAD).read_to_end(&mut head).ok()?;
    flaw_of(&head, |name| find(name).is_some_and(|path| path.exists()))
}

/// What is wrong with a file that begins like this.
fn flaw_of(head: &[u8], is_there: impl Fn(&str) -> bool) -> Option<Flaw> {
    let Some(rest) = head.strip_prefix(b"#!") else {
        // Programs of all kinds have zero bytes in their first lines.
        return (!head.contains(&0)).then_some(Flaw::NoInterpreterLine);
    };
    let line = rest.split(|b| *b == b'\n').next().unwrap_or_default();
    if line.ends_with(b"\r") {
        return Some(Flaw::CarriageReturn);
    }
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_ascii_whitespace();
    let Some(interpreter) = words.next() else {
        return Some(Flaw::NoInterpreterLine);
    };
    let missing = |name: &str| Some(Flaw::NoInterpreter(name.chars().filter(|c| !c.is_control()).collect()));
    if !is_there(interpreter) {
        return missing(interpreter);
    }
    // `env` looks for its first word that is neither an option nor a variable.
    let by_env = interpreter.ends_with("/env").then(|| words.next()).flatten();
    by_env.filter(|name| !name.starts_with('-') && !name.contains('=') && !is_there(name)).and_then(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_script_is_judged_as_the_kernel_does() {
        let there = |name: &str| matches!(name, "/bin/sh" | "/usr/bin/env" | "python3");
        let no = |name: &str| Some(Flaw::NoInterpreter(name.into()));
        for (head, wanted) in [
            (&b"#!/bin/sh\necho"[..], None),
            (b"#! /bin/sh -e\n", None),
            (b"#!/usr/bin/env python3\n", None),
            (b"#!/usr/bin/env -S x y\n", None),
            (b"\x7fELF\x02\x01\x01\0", None),
            (b"#!/bin/sh\r\necho", Some(Flaw::CarriageReturn)),
            (b"#!/usr/bin/env python3\r\n", Some(Flaw::CarriageReturn)),
            (b"#!/nowhere/sh\n", no("/nowhere/sh")),
            (b"#!/usr/bin/env ruby9\n", no("ruby9")),
            (b"#!\n", Some(Flaw::NoInterpreterLine)),
            (b"echo hello\n", Some(Flaw::NoInterpreterLine)),
            (b"", Some(Flaw::NoInterpreterLine)),
        ] {
            assert_eq!(flaw_of(head, there), wanted, "{}", String::from_utf8_lossy(head));
        }
    }

    #[test]
    fn programs_of_the_system_have_no_flaw() {
        for program in ["/bin/sh", "/usr/bin/perl", "/usr/bin/env"] {
            assert!(matches!(flaw(Path::new(program)), None | Some(Flaw::NotThere)), "{program}");
        }
        assert_eq!(flaw(Path::new("/etc/passwd")), Some(Flaw::NotExecutable));
        assert_eq!(flaw(Path::new("/nowhere/x")), Some(Flaw::NotThere));
        assert_eq!(flaw(Path::new("/etc")), Some(Flaw::NoFile));
    }
}

//! What `journalctl -o json` prints, read as it comes: one object a line, one entry an object.
//!
//! Enters: bytes, cut anywhere. Leaves: the few fields of an entry that are of use ([`Entry`]), as often as a line ends.
//! The memory is that of one entry with every field at its bound, however long a line is: a message beyond `max` bytes is
//! cut, any other field beyond [`MAX_FIELD`] counts as absent. A field comes as a string, as an array of bytes where it is
//! no text, as an array of these where the entry has it several times (the first counts), or as null where it was too large
//! for journalctl. A line that is no such object is told as such and nothing else suffers: no string holds a newline, so the
//! next line begins behind the next one.

/// The longest field beside the message, in bytes.
pub const MAX_FIELD: usize = 4096;

/// The longest name of a field that is of use, in bytes.
const MAX_NAME: usize = 32;

/// A field that is of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The text.
    Message,
    /// Where the entry is in the journal.
    Cursor,
    /// When journald took it, in microseconds since 1970.
    Realtime,
    /// How bad it is, 0 to 7.
    Priority,
    /// How it came to journald.
    Transport,
    /// The process that wrote it.
    Pid,
    /// The user that wrote it.
    Uid,
    /// The program that wrote it.
    Exe,
    /// How the writer calls itself.
    Identifier,
    /// The unit of the writer.
    SystemdUnit,
    /// The slice of the writer.
    Slice,
    /// The unit that PID 1 writes about.
    Unit,
    /// The unit that another program of the system writes about.
    ObjectUnit,
    /// The unit whose process left a core.
    CoredumpUnit,
    /// Which kind of message it is.
    MessageId,
}

/// Their names in the journal. Those of one underscore are written by journald itself and can be trusted.
pub const FIELDS: [(&str, Field); 15] = [
    ("MESSAGE", Field::Message),
    ("__CURSOR", Field::Cursor),
    ("__REALTIME_TIMESTAMP", Field::Realtime),
    ("PRIORITY", Field::Priority),
    ("_TRANSPORT", Field::Transport),
    ("_PID", Field::Pid),
    ("_UID", Field::Uid),
    ("_EXE", Field::Exe),
    ("SYSLOG_IDENTIFIER", Field::Identifier),
    ("_SYSTEMD_UNIT", Field::SystemdUnit),
    ("_SYSTEMD_SLICE", Field::Slice),
    ("UNIT", Field::Unit),
    ("OBJECT_SYSTEMD_UNIT", Field::ObjectUnit),
    ("COREDUMP_UNIT", Field::CoredumpUnit),
    ("MESSAGE_ID", Field::MessageId),
];

/// One entry; its memory is used again for the next.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    values: [Vec<u8>; FIELDS.len()],
    /// Whether the message was longer than allowed, or too large for journalctl.
    pub is_cut: bool,
}

impl Entry {
    /// What a field holds; empty where it is absent.
    pub fn get(&self, field: Field) -> &[u8] {
        &self.values[field as usize]
    }

    /// A field that is text.
    pub fn text(&self, field: Field) -> Option<&str> {
        std::str::from_utf8(self.get(field)).ok().filter(|text| !text.is_empty())
    }

    /// A field that is a number.
    pub fn number<N: std::str::FromStr>(&self, field: Field) -> Option<N> {
        self.text(field)?.parse().ok()
    }

    fn clear(&mut self) {
        self.values.iter_mut().for_each(Vec::clear);
        // One long message must not hold its memory for ever.
        self.values[Field::Message as usize].shrink_to(MAX_FIELD);
        self.is_cut = false;
    }
}

/// What a line was.
#[derive(Debug)]
pub enum Line<'a> {
    /// An entry.
    Entry(&'a Entry),
    /// Something else.
    Strange,
}

/// Reads lines as they come.
#[derive(Debug)]
pub struct Scanner {
    state: State,
    name: Vec<u8>,
    /// The field whose value is read; none for one that is of no use.
    field: Option<Field>,
    entry: Entry,
    max: usize,
    /// Whether the line has anything in it.
    is_begun: bool,
}

/// Where in a line it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In front of the object.
    Outside,
    /// In front of a name; behind a comma where true.
    BeforeName(bool),
    /// In a name; behind a backslash where true. Names that are of use have none.
    Name(bool),
    BeforeColon,
    BeforeValue(Depth),
    /// In a string; where in an escape.
    Text(Depth, Escape),
    /// In a number or a word; its value, if it is a byte so far.
    Word(Depth, Option<u16>, bool),
    AfterValue(Depth),
    /// Behind the object.
    Done,
    /// The rest of a line that is none.
    Strange,
}

/// In how many arrays the value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    Field,
    /// In an array: bytes of one value, or several values.
    Array,
    /// In an array in an array: bytes of one of several values.
    Inner,
}

/// Where in an escape a string is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    None,
    /// Behind a backslash, and the first half of a pair, if one came before.
    Begun(Option<u16>),
    /// In a `\u`: how many digits came, their value, and the first half of a pair.
    Unicode(u8, u16, Option<u16>),
    /// Behind the first half of a pair.
    Half(u16),
}

impl Scanner {
    /// With messages cut at `max` bytes.
    pub fn new(max: usize) -> Scanner {
        let (name, entry) = (Vec::with_capacity(MAX_NAME), Entry::default());
        Scanner { state: State::Outside, name, field: None, entry, max, is_begun: false }
    }

    /// Forgets the line that was begun.
    pub fn reset(&mut self) {
        (self.state, self.field, self.is_begun) = (State::Outside, None, false);
        self.entry.clear();
    }

    /// The next line of `bytes`, which are taken up to its end; none when all are taken and it has not ended.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Option<Line<'_>> {
        if !self.is_begun {
            self.reset();
        }
        while let Some(&byte) = bytes.first() {
            // Most bytes are inside of strings and need no look each.
            let skip = match self.state {
                State::Text(_, Escape::None) => self.plain(bytes),
                State::Strange => memchr::memchr(b'\n', bytes).unwrap_or(bytes.len()),
                _ => 0,
            };
            if skip > 0 {
                *bytes = &bytes[skip..];
                continue;
            }
            *bytes = &bytes[1..];
            if byte == b'\n' {
                match self.state {
                    State::Outside => continue,
                    state => {
                        self.is_begun = false;
                        let is_entry = state == State::Done;
                        return Some(if is_entry { Line::Entry(&self.entry) } else { Line::Strange });
                    }
                }
            }
            self.is_begun = true;
            self.state = self.step(byte);
        }
        None
    }

    /// Takes the part of a string that is what it means; its length.
    fn plain(&mut self, bytes: &[u8]) -> usize {
        let end = memchr::memchr3(b'"', b'\\', b'\n', bytes).unwrap_or(bytes.len());
        self.keep(&bytes[..end]);
        end
    }

    fn step(&mut self, byte: u8) -> State {
        use State::*;
        let is_space = matches!(byte, b' ' | b'\t' | b'\r');
        match (self.state, byte) {
            (Strange, _) => Strange,
            (Text(depth, escape), _) => self.step_text(depth, escape, byte),
            (Name(false), b'"') => BeforeColon,
            (Name(is_escaped), _) => {
                // One byte too much is kept, so that a name that is too long is none that is of use.
                if self.name.len() <= MAX_NAME {
                    self.name.push(byte);
                }
                Name(!is_escaped && byte == b'\\')
            }
            (Word(depth, value, false), b'0'..=b'9') if depth != Depth::Field => {
                Word(depth, value.and_then(|v| v.checked_mul(10)?.checked_add(u16::from(byte - b'0'))), false)
            }
            (Word(depth, value, _), b'0'..=b'9' | b'a'..=b'z' | b'-' | b'+' | b'.' | b'E') => Word(depth, value, true),
            (Word(depth, value, is_word), _) => {
                if !is_word {
                    match value.and_then(|value| u8::try_from(value).ok()) {
                        Some(value) => self.keep(&[value]),
                        None if depth != Depth::Field => return Strange,
                        None => {}
                    }
                }
                self.state = AfterValue(depth);
                self.step(byte)
            }
            (state, _) if is_space => state,
            (Outside, b'{') => BeforeName(false),
            (BeforeName(false), b'}') => Done,
            (BeforeName(_), b'"') => {
                self.name.clear();
                Name(false)
            }
            (BeforeColon, b':') => {
                self.field = self.named();
                BeforeValue(Depth::Field)
            }
            (BeforeValue(depth @ (Depth::Field | Depth::Array)), b'"') => Text(depth, Escape::None),
            (BeforeValue(Depth::Field), b'[') => BeforeValue(Depth::Array),
            (BeforeValue(Depth::Array), b'[') => BeforeValue(Depth::Inner),
            (BeforeValue(depth @ (Depth::Array | Depth::Inner)), b']') => self.close(depth),
            (BeforeValue(depth @ (Depth::Array | Depth::Inner)), b'0'..=b'9') => {
                Word(depth, Some(u16::from(byte - b'0')), false)
            }
            (BeforeValue(depth), b'0'..=b'9' | b'a'..=b'z' | b'-') => {
                if byte == b'n' && depth == Depth::Field && self.field == Some(Field::Message) {
                    self.entry.is_cut = true;
                }
                Word(depth, None, true)
            }
            (AfterValue(Depth::Field), b',') => BeforeName(true),
            (AfterValue(Depth::Field), b'}') => Done,
            (AfterValue(depth), b',') => BeforeValue(depth),
            (AfterValue(depth @ (Depth::Array | Depth::Inner)), b']') => self.close(depth),
            _ => Strange,
        }
    }

    /// Behind the end of an array.
    fn close(&mut self, depth: Depth) -> State {
        match depth {
            Depth::Inner => {
                self.end_value();
                State::AfterValue(Depth::Array)
            }
            _ => State::AfterValue(Depth::Field),
        }
    }

    fn step_text(&mut self, depth: Depth, escape: Escape, byte: u8) -> State {
        let go_on = State::Text(depth, Escape::None);
        match (escape, byte) {
            (Escape::None, b'"') => {
                if depth == Depth::Array {
                    self.end_value();
                }
                State::AfterValue(depth)
            }
            (Escape::None, b'\\') => State::Text(depth, Escape::Begun(None)),
            (Escape::None, byte) => {
                self.keep(&[byte]);
                go_on
            }
            (Escape::Half(first), b'\\') => State::Text(depth, Escape::Begun(Some(first))),
            (Escape::Half(_), byte) => {
                self.keep_char(None);
                self.step_text(depth, Escape::None, byte)
            }
            (Escape::Begun(first), b'u') => State::Text(depth, Escape::Unicode(0, 0, first)),
            (Escape::Begun(first), byte) => {
                if first.is_some() {
                    self.keep_char(None);
                }
                let meant = match byte {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'r' => b'\r',
                    b'b' => 8,
                    b'f' => 12,
                    b'"' | b'\\' | b'/' => byte,
                    _ => return State::Strange,
                };
                self.keep(&[meant]);
                go_on
            }
            (Escape::Unicode(n, value, first), byte) => {
                let Some(digit) = char::from(byte).to_digit(16).and_then(|digit| u16::try_from(digit).ok()) else {
                    return State::Strange;
                };
                let value = value << 4 | digit;
                if n < 3 {
                    return State::Text(depth, Escape::Unicode(n + 1, value, first));
                }
                self.unicode(value, first, depth)
            }
        }
    }

    /// The end of a `\u`, behind the first half of a pair, if one came before.
    fn unicode(&mut self, value: u16, first: Option<u16>, depth: Depth) -> State {
        let is_first = (0xd800..0xdc00).contains(&value);
        if let Some(first) = first {
            let pair = char::decode_utf16([first, value]).next().and_then(Result::ok);
            self.keep_char(pair);
            if pair.is_some() {
                return State::Text(depth, Escape::None);
            }
        }
        if is_first {
            return State::Text(depth, Escape::Half(value));
        }
        self.keep_char(char::from_u32(u32::from(value)));
        State::Text(depth, Escape::None)
    }

    /// Keeps a character, or the sign for one that is none.
    fn keep_char(&mut self, c: Option<char>) {
        let mut utf8 = [0; 4];
        let text = c.unwrap_or(char::REPLACEMENT_CHARACTER).encode_utf8(&mut utf8);
        self.keep(text.as_bytes());
    }

    /// The field that the name means, unless the entry has it already.
    fn named(&self) -> Option<Field> {
        let (_, field) = FIELDS.iter().find(|(name, _)| name.as_bytes() == self.name)?;
        self.entry.get(*field).is_empty().then_some(*field)
    }

    /// The first of several values is whole, and the others are of no use.
    fn end_value(&mut self) {
        if self.field.is_some_and(|field| !self.entry.get(field).is_empty()) {
            self.field = None;
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let Some(field) = self.field else { return };
        let value = &mut self.entry.values[field as usize];
        let is_message = field == Field::Message;
        let max = if is_message { self.max } else { MAX_FIELD };
        let room = max.saturating_sub(value.len()).min(bytes.len());
        value.extend_from_slice(&bytes[..room]);
        if room < bytes.len() && is_message {
            self.entry.is_cut = true;
        } else if room < bytes.len() {
            // A part of it would be something else.
            value.clear();
            self.field = None;
        }
    }
}

#[cfg(test)]
mod tests;

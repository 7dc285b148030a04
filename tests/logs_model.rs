//! Random histories of files that are written, rotated, emptied, packed and deleted, followed with crashes in between: each
//! line is counted once, but for those that the writer destroyed before they could be read.
//!
//! The model knows every file as it is on disk, so it knows which lines still exist anywhere. Counts and positions are
//! committed together, as the agent does it; a crash takes back the counts to the last commit.
//!
//! `BACKSTOP_HISTORIES=200000` runs more of them, `BACKSTOP_SEED=17` that one, or with both so many from that one on.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use backstop::base::Timestamp;
use backstop::source::log::files::{Content, Follower, Saved, Wanted};
use backstop::sys::look::Pattern;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

/// The longest line, short so that many are too long.
const MAX_LINE: usize = 60;

/// How many histories that fail are shown.
const MAX_WRONG: usize = 8;

/// How many of the first bytes of a file are known again.
const HEAD: usize = 1024;

const BEGIN: i64 = 1_700_000_000_000;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    /// The service writes so many lines.
    Write(usize),
    /// It writes many, so that the head of the file is full.
    Flood,
    /// A line that is too long.
    Long,
    /// Half a line; the next that is written is its other half.
    Half,
    /// The service opens its file anew, as after a signal.
    Reopen,
    /// Another service writes to its own file.
    Other(usize),
    /// The files move up by one and the file becomes the first.
    Rename,
    /// The same, with a date as its name.
    RenameDated,
    /// The same as the first, by copying, after which the file is emptied.
    CopyTruncate,
    /// Only the copy.
    Copy,
    /// The file is emptied.
    Truncate,
    /// The oldest file that is not packed and was put aside is packed.
    Pack,
    /// The same, and what was packed is not deleted yet.
    PackBegun,
    /// What was packed is deleted.
    PackDone,
    /// The file is deleted.
    Delete,
    /// The oldest that was put aside is deleted.
    DeleteOldest,
    /// Another name for the file.
    Link,
    /// Time goes by, in milliseconds.
    Wait(i64),
    /// The follower reads so many bytes.
    Poll(usize),
    /// Counts and positions are durable.
    Commit,
    /// The agent dies.
    Crash,
    /// It comes again.
    Start,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Memory {
    n_lines: u64,
}

/// What a file holds, unpacked.
#[derive(Debug, Default)]
struct Node {
    text: Vec<u8>,
    modified: i64,
    /// In which life of the agent a poll saw it.
    seen: Option<u32>,
}

type Shared = Rc<RefCell<Node>>;

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    There,
    /// No file has it any more; whether the agent had seen the file, in its life of then, and it was deleted whole.
    Destroyed(Option<u32>),
}

struct World {
    base: PathBuf,
    names: BTreeMap<String, Shared>,
    /// What the service has open.
    writer: Option<(File, Shared)>,
    other: Option<(File, Shared)>,
    half: Option<(usize, String)>,
    n_lines: usize,
    /// Lines that were there before the agent.
    n_old: usize,
    fates: HashMap<usize, Fate>,
    broken: HashSet<usize>,
    packing: Option<(String, String)>,
    n_dates: u32,
    now: i64,
    life: u32,
    follower: Option<Follower<Memory>>,
    patterns: Vec<Pattern>,
    counts: HashMap<usize, u32>,
    order: Vec<usize>,
    committed: Option<(String, HashMap<usize, u32>, Vec<usize>)>,
    is_first: bool,
    has_other: bool,
    has_all: bool,
    has_links: bool,
    /// Lines of a copy that somebody made by hand and that is followed as a file of its own: it has no place in the order.
    copied: HashSet<usize>,
    /// Lines of such a copy that nobody can know for one: shorter than what is kept of the head of its original, which grew
    /// behind it and is gone.
    unknowable: HashSet<usize>,
}

impl World {
    fn new(base: &Path, patterns: &[&str]) -> World {
        World {
            base: base.to_owned(),
            names: BTreeMap::new(),
            writer: None,
            other: None,
            half: None,
            n_lines: 0,
            n_old: 0,
            fates: HashMap::new(),
            broken: HashSet::new(),
            packing: None,
            n_dates: 0,
            now: BEGIN,
            life: 0,
            follower: None,
            patterns: patterns.iter().map(|p| Pattern::parse(&base.join(p).display().to_string()).unwrap()).collect(),
            counts: HashMap::new(),
            order: Vec::new(),
            committed: None,
            is_first: true,
            has_links: false,
            copied: HashSet::new(),
            unknowable: HashSet::new(),
            has_all: patterns.contains(&"app.log*"),
            has_other: patterns.iter().any(|p| ["*.log", "o*.log"].contains(p)),
        }
    }

    fn open(&mut self, name: &str) -> (File, Shared) {
        let path = self.base.join(name);
        let is_new = !self.names.contains_key(name);
        let file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        let node = self.names.entry(name.into()).or_default().clone();
        if is_new {
            self.stamp(&file, &node);
        }
        (file, node)
    }

    fn stamp(&self, file: &File, node: &Shared) {
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_millis(self.now as u64)).unwrap();
        node.borrow_mut().modified = self.now;
    }

    fn write(&mut self, text: &str) {
        if self.writer.is_none() {
            self.writer = Some(self.open("app.log"));
        }
        let (mut file, node) = self.writer.take().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        node.borrow_mut().text.extend_from_slice(text.as_bytes());
        if self.now - node.borrow().modified >= 60_000 {
            // By now it may have been let go of.
            node.borrow_mut().seen = None;
        }
        self.stamp(&file, &node);
        if !self.names.values().any(|named| Rc::ptr_eq(named, &node)) {
            // Into a file that was deleted: only who has it open can read it.
            let seen = node.borrow().seen;
            let whole: Vec<usize> = World::ids(&node.borrow().text).collect();
            for id in whole {
                if self.fates[&id] == Fate::There {
                    self.fates.insert(id, Fate::Destroyed(seen));
                }
            }
        }
        self.writer = Some((file, node));
    }

    fn line(&mut self, filler: usize) -> String {
        let id = self.n_lines;
        self.n_lines += 1;
        self.fates.insert(id, Fate::There);
        format!("L{id}:{}E\n", "x".repeat(filler))
    }

    fn lines(&mut self, n: usize, filler: usize) {
        let mut text = self.half.take().map(|(_, rest)| rest).unwrap_or_default();
        for i in 0..n {
            text += &self.line(filler + i * 7 % 11);
        }
        self.write(&text);
    }

    /// Which lines each file has, whole.
    fn ids(text: &[u8]) -> impl Iterator<Item = usize> {
        text.split_inclusive(|b| *b == b'\n').filter_map(|line| id(line, false))
    }

    /// Content went away: lines that no file has now are destroyed.
    fn gone(&mut self, text: &[u8], seen: Option<u32>) {
        if let Some(node) = self.names.get("app.log.bak").filter(|_| self.has_all) {
            let copy = &node.borrow().text;
            if copy.len() < HEAD.min(text.len()) && text.starts_with(copy) {
                self.unknowable.extend(World::ids(copy));
            }
        }
        let left = self.left();
        for id in World::ids(text) {
            if !left.contains(&id) && self.fates[&id] == Fate::There {
                self.fates.insert(id, Fate::Destroyed(seen));
            }
        }
    }

    /// The lines that some file has that is looked for, or was put aside.
    fn left(&self) -> HashSet<usize> {
        let mut left: HashSet<usize> = HashSet::new();
        for (_, node) in self.names.iter().filter(|(name, _)| self.has_all || *name != "app.log.bak") {
            left.extend(World::ids(&node.borrow().text));
        }
        left
    }

    fn half_breaks(&mut self) {
        // Its two halves come to lie in different files.
        if let Some((id, _)) = self.half.take() {
            self.broken.insert(id);
        }
    }

    fn unlink(&mut self, name: &str) {
        let Some(node) = self.names.remove(name) else { return };
        fs::remove_file(self.base.join(name)).unwrap();
        let (text, seen) = (node.borrow().text.clone(), node.borrow().seen);
        self.gone(&text, seen);
    }

    fn rename(&mut self, from: &str, to: &str) {
        self.unlink(to);
        if let Some(node) = self.names.remove(from) {
            fs::rename(self.base.join(from), self.base.join(to)).unwrap();
            self.names.insert(to.into(), node);
        }
    }

    /// The numbered files move up; the last goes.
    fn shift(&mut self) {
        self.finish_packing();
        for n in (1..=4).rev() {
            for ending in ["", ".gz"] {
                let from = format!("app.log.{n}{ending}");
                if self.names.contains_key(&from) {
                    if n == 4 {
                        self.unlink(&from);
                    } else {
                        self.rename(&from, &format!("app.log.{}{ending}", n + 1));
                    }
                }
            }
        }
    }

    fn copy(&mut self, to: &str) -> bool {
        let Some(node) = self.names.get("app.log").cloned() else { return false };
        self.unlink(to);
        let text = node.borrow().text.clone();
        let mut file = File::create(self.base.join(to)).unwrap();
        file.write_all(&text).unwrap();
        let copy = Rc::new(RefCell::new(Node { text, ..Node::default() }));
        self.stamp(&file, &copy);
        self.names.insert(to.into(), copy);
        true
    }

    fn truncate(&mut self) {
        let Some(node) = self.names.get("app.log").cloned() else { return };
        let file = OpenOptions::new().write(true).open(self.base.join("app.log")).unwrap();
        file.set_len(0).unwrap();
        let text = std::mem::take(&mut node.borrow_mut().text);
        node.borrow_mut().seen = None;
        self.stamp(&file, &node);
        if self.writer.as_ref().is_some_and(|(_, own)| Rc::ptr_eq(own, &node)) {
            self.half_breaks();
        }
        self.gone(&text, None);
    }

    fn begin_packing(&mut self) {
        self.finish_packing();
        let is_aside = |name: &&String| {
            let rest = name.strip_prefix("app.log");
            rest.is_some_and(|rest| rest.starts_with(['.', '-']) && rest[1..].bytes().all(|b| b.is_ascii_digit()))
        };
        // Nobody packs what is still written.
        let is_free =
            |name: &&String| self.writer.as_ref().is_none_or(|(_, own)| !Rc::ptr_eq(own, &self.names[name.as_str()]));
        let Some(name) = self.names.keys().filter(is_aside).rfind(is_free).cloned() else { return };
        let packed = format!("{name}.gz");
        self.unlink(&packed);
        let text = self.names[&name].borrow().text.clone();
        let mut encoder = GzEncoder::new(File::create(self.base.join(&packed)).unwrap(), Compression::fast());
        encoder.write_all(&text).unwrap();
        let file = encoder.finish().unwrap();
        let modified = self.names[&name].borrow().modified;
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_millis(modified as u64)).unwrap();
        let node = Node { text, modified, seen: None };
        self.names.insert(packed.clone(), Rc::new(RefCell::new(node)));
        self.packing = Some((name, packed));
    }

    fn finish_packing(&mut self) {
        if let Some((name, packed)) = self.packing.take()
            && self.names.contains_key(&packed)
        {
            self.unlink(&name);
        }
    }

    fn poll(&mut self, budget: usize) -> bool {
        let Some(follower) = &mut self.follower else { return false };
        let (counts, order) = (&mut self.counts, &mut self.order);
        let polled =
            follower.poll(Timestamp(self.now), budget, &mut |memory: &mut Memory, piece| match piece.content {
                Content::Lines(lines) => {
                    for line in lines.split_inclusive(|b| *b == b'\n') {
                        assert!(!line.contains(&0), "NULs");
                        assert!(line.len() <= MAX_LINE + 1, "a line that is too long is not cut");
                        memory.n_lines += 1;
                        if let Some(id) = id(line, false) {
                            *counts.entry(id).or_default() += 1;
                            order.push(id);
                        }
                    }
                }
                Content::Cut(line) => {
                    assert_eq!(line.len(), MAX_LINE);
                    if let Some(id) = id(line, true) {
                        *counts.entry(id).or_default() += 1;
                        order.push(id);
                    }
                }
                Content::Gap(_) | Content::Ended => {}
            });
        // What it follows is open from now on, until the agent dies.
        for file in follower.watches().files {
            if let Some(node) = file.file_name().and_then(|name| self.names.get(name.to_str()?)) {
                node.borrow_mut().seen = Some(self.life);
            }
        }
        polled.is_more
    }

    fn start(&mut self) {
        if self.follower.is_some() {
            return;
        }
        let wanted = Wanted { patterns: self.patterns.clone(), max_line: MAX_LINE, max_files: 64, own: Vec::new() };
        let mut follower = Follower::new(wanted);
        match &self.committed {
            None if self.is_first => {
                self.is_first = false;
                // A file that appears later and is put aside before the agent ever saw it is not known to it.
                if !self.names.contains_key("app.log") {
                    drop(self.open("app.log"));
                }
                self.n_old = self.n_lines;
                follower.begin(Timestamp(self.now));
                let saved = serde_json::to_string(&follower.save()).unwrap();
                self.committed = Some((saved, HashMap::new(), Vec::new()));
            }
            None => panic!("the first start commits"),
            Some((saved, ..)) => {
                let saved: Saved<Memory> = serde_json::from_str(saved).unwrap();
                follower.resume(saved).unwrap();
            }
        }
        self.follower = Some(follower);
    }

    fn crash(&mut self) {
        if self.follower.take().is_some() {
            self.life += 1;
            let (_, counts, order) = self.committed.as_ref().unwrap();
            (self.counts, self.order) = (counts.clone(), order.clone());
        }
    }

    fn commit(&mut self) {
        if let Some(follower) = &self.follower {
            let saved = serde_json::to_string(&follower.save()).unwrap();
            self.committed = Some((saved, self.counts.clone(), self.order.clone()));
        }
    }

    fn step(&mut self, step: &Step) {
        self.now += 7;
        match step {
            Step::Write(n) => self.lines(*n, 3),
            Step::Flood => self.lines(40, 25),
            Step::Long => self.lines(1, 3 * MAX_LINE),
            Step::Half => {
                if self.half.is_none() {
                    let line = self.line(9);
                    let (a, b) = line.split_at(line.len() - 5);
                    self.write(a);
                    self.half = Some((self.n_lines - 1, b.to_string()));
                }
            }
            Step::Reopen => {
                let old = self.writer.take();
                let new = self.open("app.log");
                if old.is_none_or(|(_, node)| !Rc::ptr_eq(&node, &new.1)) {
                    self.half_breaks();
                }
                self.writer = Some(new);
            }
            Step::Other(n) if self.has_other => {
                if self.other.is_none() {
                    self.other = Some(self.open("other.log"));
                }
                let mut text = String::new();
                for _ in 0..*n {
                    text += &self.line(5);
                }
                let (mut file, node) = self.other.take().unwrap();
                file.write_all(text.as_bytes()).unwrap();
                node.borrow_mut().text.extend_from_slice(text.as_bytes());
                self.stamp(&file, &node);
                self.other = Some((file, node));
            }
            Step::Other(_) => {}
            Step::Rename => {
                if self.names.contains_key("app.log") {
                    self.shift();
                    self.rename("app.log", "app.log.1");
                }
            }
            Step::RenameDated => {
                if self.names.contains_key("app.log") {
                    self.n_dates += 1;
                    let name = format!("app.log-{}", 20_251_100 + self.n_dates);
                    self.rename("app.log", &name);
                }
            }
            Step::CopyTruncate => {
                if self.names.contains_key("app.log") {
                    self.shift();
                    self.copy("app.log.1");
                    self.truncate();
                }
            }
            Step::Copy => {
                self.copy("app.log.bak");
                if let Some(node) = self.names.get("app.log.bak").filter(|_| self.has_all) {
                    self.copied.extend(World::ids(&node.borrow().text));
                }
            }
            Step::Truncate => self.truncate(),
            Step::Pack => {
                self.begin_packing();
                self.finish_packing();
            }
            Step::PackBegun => self.begin_packing(),
            Step::PackDone => self.finish_packing(),
            Step::Delete => self.unlink("app.log"),
            Step::DeleteOldest => {
                self.finish_packing();
                let oldest = self.names.keys().rfind(|name| name.starts_with("app.log.")).cloned();
                if let Some(name) = oldest {
                    self.unlink(&name);
                }
            }
            // Where nothing but the file itself is meant, what goes on under another name is none of it.
            Step::Link if !self.has_all => {}
            Step::Link => {
                self.has_links = true;
                self.unlink("app.log.link");
                if let Some(node) = self.names.get("app.log").cloned() {
                    fs::hard_link(self.base.join("app.log"), self.base.join("app.log.link")).unwrap();
                    self.names.insert("app.log.link".into(), node);
                }
            }
            Step::Wait(millis) => self.now += millis,
            Step::Poll(budget) => drop(self.poll(*budget)),
            Step::Commit => self.commit(),
            Step::Crash => self.crash(),
            Step::Start => self.start(),
        }
    }

    /// All is over: what is still there is read to its end.
    fn finish(&mut self) -> Result<(), String> {
        self.finish_packing();
        if let Some((_, rest)) = self.half.take() {
            self.write(&rest);
        }
        self.start();
        for wait in [10, 1100, 1100, 1100, 61_000, 1100, 1100, 61_000] {
            self.now += wait;
            for n in 0.. {
                if !self.poll(300) {
                    break;
                }
                if n > 10_000 {
                    return Err("it reads without end".into());
                }
            }
        }
        let mut wrong = String::new();
        for id in 0..self.n_lines {
            let n = self.counts.get(&id).copied().unwrap_or(0);
            let wanted = u32::from(id >= self.n_old);
            if n == wanted {
                continue;
            }
            let may_miss = match self.fates[&id] {
                _ if self.broken.contains(&id) => true,
                Fate::There => false,
                Fate::Destroyed(seen) => seen != Some(self.life),
            };
            if n > wanted && !self.unknowable.contains(&id) || n < wanted && !may_miss {
                writeln!(wrong, "line {id} is counted {n} times and not {wanted}: {:?}", self.fates[&id]).unwrap();
            }
        }
        let order: Vec<usize> = self.order.iter().filter(|id| !self.copied.contains(id)).copied().collect();
        if let Some(pair) = order.windows(2).find(|pair| pair[0] >= pair[1])
            && self.other.is_none()
            && !self.has_links
        {
            writeln!(wrong, "line {} comes before line {}", pair[0], pair[1]).unwrap();
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

/// Which line this is, if it is whole, or was cut.
fn id(line: &[u8], is_cut: bool) -> Option<usize> {
    let text = std::str::from_utf8(line).ok()?.strip_prefix('L')?;
    let (number, rest) = text.split_once(':')?;
    let is_whole = rest.strip_suffix("E\n").is_some_and(|filler| filler.bytes().all(|b| b == b'x'));
    if is_whole || is_cut { number.parse().ok() } else { None }
}

/// A generator of numbers that is the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

const PATTERNS: [&[&str]; 4] = [&["app.log"], &["app.log*"], &["*.log"], &["app.log", "o*.log", "app.log.1"]];

/// A history: which files are meant, what was there before, and what happens.
fn history(seed: u64) -> (&'static [&'static str], Vec<Step>) {
    let mut dice = Dice(seed);
    let patterns = PATTERNS[dice.roll(PATTERNS.len() as u64) as usize];
    // Most files are rotated in one way only.
    let way = dice.roll(5);
    let mut steps = vec![Step::Write(1 + dice.roll(3) as usize)];
    for _ in 0..dice.roll(3) {
        steps.push(rotation(way, &mut dice));
        steps.push(Step::Reopen);
        steps.push(Step::Write(1 + dice.roll(30) as usize));
    }
    steps.push(Step::Start);
    for _ in 0..6 + dice.roll(35) {
        let step = match dice.roll(32) {
            0..=7 => Step::Write(1 + dice.roll(4) as usize),
            8 => Step::Flood,
            9 => Step::Long,
            10 => Step::Half,
            11 | 12 => Step::Reopen,
            13 => Step::Other(1 + dice.roll(3) as usize),
            14..=16 => rotation(way, &mut dice),
            17 => match dice.roll(3) {
                0 => Step::Pack,
                1 => Step::PackBegun,
                _ => Step::PackDone,
            },
            18 => match dice.roll(8) {
                0 => Step::Truncate,
                1 => Step::Delete,
                2 => Step::DeleteOldest,
                3 => Step::Copy,
                4 => Step::Link,
                _ => Step::Write(1),
            },
            19 => Step::Wait([50, 300, 1200, 61_000, 400_000][dice.roll(5) as usize]),
            20..=26 => Step::Poll([61, 150, 400, 5000, 1 << 20][dice.roll(5) as usize]),
            27 | 28 => Step::Commit,
            29 => Step::Crash,
            _ => Step::Start,
        };
        steps.push(step);
    }
    (patterns, steps)
}

fn rotation(way: u64, dice: &mut Dice) -> Step {
    match way {
        0 | 1 => Step::Rename,
        2 | 3 => Step::CopyTruncate,
        _ if dice.roll(2) == 0 => Step::RenameDated,
        _ => Step::RenameDated,
    }
}

fn run(base: &Path, patterns: &[&str], steps: &[Step]) -> Result<(), String> {
    fs::remove_dir_all(base).ok();
    fs::create_dir(base).unwrap();
    let mut world = World::new(base, patterns);
    for step in steps {
        world.step(step);
    }
    world.finish()
}

/// The history without all that it fails without.
fn shrunk(base: &Path, patterns: &[&str], mut steps: Vec<Step>) -> Vec<Step> {
    loop {
        let before = steps.len();
        let mut at = 0;
        while at < steps.len() {
            let mut fewer = steps.clone();
            let step = fewer.remove(at);
            if !matches!(step, Step::Start) && run(base, patterns, &fewer).is_err() {
                steps = fewer;
            } else {
                at += 1;
            }
        }
        if steps.len() == before {
            return steps;
        }
    }
}

fn room() -> tempfile::TempDir {
    let shared = Path::new("/dev/shm");
    if shared.is_dir() { tempfile::tempdir_in(shared).unwrap() } else { tempfile::tempdir().unwrap() }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn whatever_happens_to_a_file_each_line_counts_once() {
    let folder = room();
    let base = folder.path().join("x");
    let seed = number("BACKSTOP_SEED");
    let n = number("BACKSTOP_HISTORIES").unwrap_or(if seed.is_some() { 1 } else { 10_000 });
    let first = seed.unwrap_or(0);
    let mut wrong = Vec::new();
    for seed in first..first + n {
        let (patterns, steps) = history(seed);
        if run(&base, patterns, &steps).is_err() {
            let steps = shrunk(&base, patterns, steps);
            let why = run(&base, patterns, &steps).unwrap_err();
            wrong.push(format!("seed {seed}, {patterns:?}\n{why}{steps:?}"));
            if wrong.len() == MAX_WRONG {
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

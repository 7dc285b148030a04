//! What one cannot leave to chance: each test is one thing that happens to a file. Random histories are in `tests`.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "the tests write the files that are followed")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::sys::tail::denied;
use crate::sys::wake::Wake;

/// A folder, a follower and a clock.
struct Bench {
    folder: tempfile::TempDir,
    wanted: Wanted,
    follower: Follower<u32>,
    now: Timestamp,
    last: Polled,
}

impl Bench {
    fn new(patterns: &[&str]) -> Bench {
        Bench::with(patterns, |_, _| {})
    }

    fn with(patterns: &[&str], change: impl FnOnce(&mut Wanted, &Path)) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let full = |pattern: &&str| Pattern::parse(&folder.path().join(pattern).display().to_string()).unwrap();
        let patterns = patterns.iter().map(full).collect();
        let mut wanted = Wanted { patterns, max_line: 20, max_files: MAX_FILES, own: Vec::new() };
        change(&mut wanted, folder.path());
        let follower = Follower::new(wanted.clone());
        Bench { folder, wanted, follower, now: Timestamp(1_763_000_000_000), last: Polled::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn append(&self, name: &str, text: impl AsRef<[u8]>) {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap();
        file.write_all(text.as_ref()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn pack(&self, from: &str, to: &str) {
        let mut encoder = GzEncoder::new(fs::File::create(self.path(to)).unwrap(), Compression::fast());
        encoder.write_all(&fs::read(self.path(from)).unwrap()).unwrap();
        encoder.finish().unwrap();
        fs::remove_file(self.path(from)).unwrap();
    }

    fn begin(&mut self) {
        self.last = self.follower.begin(self.now);
    }

    /// What comes within `after`, as one text: `place: line`, `place: ...` for a cut one, `place! gap`, `place.` at the end.
    fn poll_after(&mut self, after: Span) -> String {
        let mut all = String::new();
        self.now += after;
        for _ in 0..100 {
            let base = self.folder.path();
            self.last = self.follower.poll(self.now, 1 << 20, &mut |n: &mut u32, piece| {
                let place = piece.place.strip_prefix(base).unwrap_or(piece.place).display();
                match piece.content {
                    Content::Lines(lines) => {
                        for line in lines.split_inclusive(|byte| *byte == b'\n') {
                            *n += 1;
                            all += &format!("{place}: {}|", String::from_utf8_lossy(line).replace('\n', "/"));
                        }
                    }
                    Content::Cut(line) => all += &format!("{place}: {}...|", String::from_utf8_lossy(line)),
                    Content::Gap(gap) => all += &format!("{place}! {:?} {}|", gap.why, gap.n_bytes),
                    Content::Ended => all += &format!("{place}.|"),
                }
            });
            if !self.last.is_more {
                return all;
            }
        }
        panic!("it reads without end");
    }

    fn poll(&mut self) -> String {
        self.poll_after(Span::secs(1))
    }

    /// Dies, and comes again from what was saved.
    fn restart(&mut self) {
        let text = serde_json::to_string(&self.follower.save()).unwrap();
        self.follower = Follower::new(self.wanted.clone());
        self.follower.resume(serde_json::from_str(&text).unwrap()).unwrap();
    }

    fn troubles(&self) -> Vec<String> {
        let base = format!("{}/", self.folder.path().display());
        self.last.troubles.iter().map(|trouble| trouble.to_string().replace(&base, "")).collect()
    }
}

#[test]
fn what_was_there_before_says_nothing_and_what_comes_later_is_read_whole() {
    let mut bench = Bench::new(&["*.log"]);
    bench.append("a.log", "old\nhalf");
    bench.begin();
    bench.append("a.log", " done\nnew\n");
    bench.append("b.log", "first\n");
    assert_eq!(bench.poll(), "a.log: half done/|a.log: new/|b.log: first/|");
    assert_eq!(bench.poll(), "");
    assert_eq!((bench.last.n_files, bench.last.n_unread, bench.last.due), (2, 0, None));
}

/// What was there before is old also when it opens only later; `restarts` in between.
fn opens_later(restarts: bool) {
    let mut bench = Bench::new(&["*.log*"]);
    for name in ["a.log", "b.log", "c.log", "d.log"] {
        bench.append(name, "old\nolder\nha");
        denied::set(&bench.path(name), true);
    }
    bench.append("e.log.1", "old");
    bench.pack("e.log.1", "e.log.1.gz");
    denied::set(&bench.path("e.log.1.gz"), true);
    bench.begin();
    assert_eq!(bench.troubles().len(), 5);
    bench.append("later.log", "first\n");
    denied::set(&bench.path("later.log"), true);
    bench.append("a.log", "lf\nnew\n");
    assert_eq!(bench.poll(), "");
    if restarts {
        bench.restart();
        assert_eq!(bench.poll(), "");
    }
    bench.rename("b.log", "b.log.1");
    bench.append("b.log", "after\n");
    fs::write(bench.path("c.log"), "anew\n").unwrap();
    assert_eq!(bench.poll(), "b.log: after/|");
    if restarts {
        bench.restart();
    }
    bench.append("c.log", "and much more of it\n");
    for name in ["a.log", "b.log.1", "c.log", "d.log", "e.log.1.gz", "later.log"] {
        denied::set(&bench.path(name), false);
    }
    let all = "a.log: half/|a.log: new/|c.log: anew/|c.log: and much more of it/|later.log: first/|";
    assert_eq!(bench.poll(), all);
    bench.append("d.log", "lf\n");
    assert_eq!(bench.poll(), "d.log: half/|");
    assert!(bench.follower.sealed.is_empty() && bench.troubles().is_empty());
}

#[test]
fn what_was_there_before_says_nothing_either_when_it_may_be_read_only_later() {
    opens_later(false);
    opens_later(true);
}

#[test]
fn a_refused_file_that_is_gone_is_forgotten() {
    let mut bench = Bench::new(&["*.log"]);
    bench.append("a.log", "old\n");
    denied::set(&bench.path("a.log"), true);
    bench.begin();
    assert_eq!(bench.follower.sealed.len(), 1);
    fs::remove_file(bench.path("a.log")).unwrap();
    bench.poll();
    bench.poll();
    assert!(bench.follower.sealed.is_empty());
}

#[test]
fn a_last_line_waits_for_its_newline() {
    let mut bench = Bench::new(&["a.log"]);
    bench.begin();
    bench.append("a.log", "one\ntw");
    assert_eq!(bench.poll(), "a.log: one/|");
    assert_eq!(bench.last.n_unread, 2);
    bench.restart();
    bench.append("a.log", "o\n");
    assert_eq!(bench.poll(), "a.log: two/|");
}

#[test]
fn a_line_that_is_too_long_is_cut_and_counted() {
    let mut bench = Bench::new(&["a.log"]);
    bench.append("a.log", "12345678901234567890\n123456789012345678901");
    assert_eq!(bench.poll(), "a.log: 12345678901234567890/|a.log: 12345678901234567890...|");
    assert_eq!(bench.last.n_cut, 1);
    bench.append("a.log", "x".repeat(1000));
    bench.restart();
    assert_eq!(bench.poll(), "", "the rest of it is passed over, after a restart too");
    bench.append("a.log", "end\nnext\n");
    assert_eq!(bench.poll(), "a.log: next/|");
}

#[test]
fn a_renamed_file_is_read_to_its_end_and_then_the_new_one() {
    let mut bench = Bench::new(&["a.log"]);
    bench.begin();
    bench.append("a.log", "1\n");
    assert_eq!(bench.poll(), "a.log: 1/|");
    bench.append("a.log", "2\n");
    bench.rename("a.log", "a.log.1");
    bench.append("a.log", "3\n");
    bench.append("a.log.1", "late\n");
    assert_eq!(bench.poll(), "a.log.1: 2/|a.log.1: late/|a.log: 3/|");
    bench.append("a.log.1", "later, no newline");
    assert_eq!(bench.poll_after(Span::secs(50)), "");
    assert_eq!(bench.poll_after(Span::secs(59)), "", "it is quiet since a minute at the earliest");
    assert_eq!(bench.poll(), "a.log.1: later, no newline|a.log.1.|");
    bench.append("a.log", "4\n");
    assert_eq!(bench.poll(), "a.log: 4/|");
}

#[test]
fn every_generation_is_read_in_order_after_a_restart() {
    let mut bench = Bench::new(&["a.log"]);
    bench.append("a.log", "old\n");
    bench.begin();
    bench.append("a.log", "1\n");
    assert_eq!(bench.poll(), "a.log: 1/|");
    bench.append("a.log", "2\n");
    bench.rename("a.log", "a.log.1");
    bench.append("a.log", "3\n");
    bench.rename("a.log.1", "a.log.2");
    bench.rename("a.log", "a.log.1");
    bench.append("a.log", "4\n");
    bench.rename("a.log.2", "a.log.3");
    bench.rename("a.log.1", "a.log.2");
    bench.rename("a.log", "a.log.1");
    bench.append("a.log", "5\n");
    bench.pack("a.log.3", "a.log.3.gz");
    bench.pack("a.log.2", "a.log.2.gz");
    bench.restart();
    let read = bench.poll();
    assert_eq!(read, "a.log.3.gz: 2/|a.log.2.gz: 3/|a.log.1: 4/|a.log: 5/|a.log.3.gz.|a.log.2.gz.|");
    assert_eq!(bench.poll(), "");
    bench.restart();
    assert_eq!(bench.poll_after(Span::secs(100)), "");
}

#[test]
fn dated_names_are_read_in_order_after_a_restart() {
    let mut bench = Bench::new(&["a.log"]);
    bench.append("a.log", "old\n");
    bench.begin();
    bench.append("a.log", "1\n");
    bench.rename("a.log", "a-20251120.log");
    bench.append("a.log", "2\n");
    bench.rename("a.log", "a-20251121.log");
    bench.append("a.log", "3\n");
    bench.restart();
    assert_eq!(bench.poll(), "a-20251120.log: 1/|a-20251121.log: 2/|a.log: 3/|");
}

#[test]
fn what_was_not_read_before_a_file_was_emptied_is_read_from_its_copy() {
    for packs in [false, true] {
        let mut bench = Bench::new(&["a.log"]);
        bench.append("a.log", "old\n");
        bench.begin();
        bench.append("a.log", "1\n2\n");
        fs::copy(bench.path("a.log"), bench.path("a.log.1")).unwrap();
        fs::write(bench.path("a.log"), "").unwrap();
        // Longer already than the position was.
        bench.append("a.log", "3 and much more text\n");
        let aside = if packs { "a.log.1.gz" } else { "a.log.1" };
        if packs {
            bench.pack("a.log.1", aside);
        }
        bench.restart();
        let ended = if packs { "a.log.1.gz.|" } else { "" };
        let wanted = format!("{aside}: 1/|{aside}: 2/|a.log: 3 and much more text/|{ended}");
        assert_eq!(bench.poll(), wanted, "{packs}");
        assert_eq!(bench.poll(), "");
    }
}

#[test]
fn a_file_that_is_emptied_without_a_copy_is_a_gap_and_begins_anew() {
    let mut bench = Bench::new(&["a.log"]);
    bench.begin();
    bench.append("a.log", "1\nhalf");
    assert_eq!(bench.poll(), "a.log: 1/|");
    fs::write(bench.path("a.log"), "another beginning\n").unwrap();
    assert_eq!(bench.poll(), "", "whoever rotates may not be done");
    assert_eq!(bench.poll(), "a.log! Truncated 4|a.log.|a.log: another beginning/|");
    assert_eq!((bench.last.n_gaps, bench.last.n_lost), (1, 4));
    assert_eq!(bench.poll(), "");
}

#[test]
fn a_deleted_file_is_read_to_its_end_and_closed() {
    let mut bench = Bench::new(&["a.log"]);
    bench.begin();
    bench.append("a.log", "1\n");
    assert_eq!(bench.poll(), "a.log: 1/|");
    let mut writer = fs::OpenOptions::new().append(true).open(bench.path("a.log")).unwrap();
    fs::remove_file(bench.path("a.log")).unwrap();
    writer.write_all(b"2\n").unwrap();
    assert_eq!(bench.poll(), "a.log: 2/|");
    writer.write_all(b"3\n").unwrap();
    assert_eq!(bench.poll_after(Span::secs(59)), "a.log: 3/|");
    assert_eq!(bench.poll_after(Span::secs(61)), "a.log.|", "though its writer keeps it");
    bench.append("a.log", "new\n");
    assert_eq!(bench.poll(), "a.log: new/|");
}

#[test]
fn a_file_that_vanished_during_a_restart_is_a_gap() {
    let mut bench = Bench::new(&["a.log"]);
    bench.append("a.log", "1\n");
    bench.begin();
    fs::remove_file(bench.path("a.log")).unwrap();
    bench.append("a.log", "a new file, perhaps with the inode of the old one\n".replace(", ", "\n"));
    bench.restart();
    let read = bench.poll() + &bench.poll() + &bench.poll();
    let gap = read.split('|').next().unwrap();
    assert!(["a.log! Vanished 0", "a.log! Truncated 0"].contains(&gap), "{read}");
    assert!(read.ends_with("a.log: a new file/|a.log: perhaps with the ino...|"), "{read}");
}

#[test]
fn rotated_files_that_are_meant_too_are_read_once() {
    let mut bench = Bench::new(&["a.log*"]);
    bench.append("a.log.1", "older\n");
    bench.append("a.log.0", "oldest\n");
    bench.pack("a.log.0", "a.log.2.gz");
    bench.append("a.log", "old\n");
    bench.begin();
    bench.append("a.log", "1\n");
    assert_eq!(bench.poll(), "a.log: 1/|");
    bench.rename("a.log.2.gz", "a.log.3.gz");
    bench.pack("a.log.1", "a.log.2.gz");
    bench.append("a.log", "2\n");
    bench.rename("a.log", "a.log.1");
    bench.append("a.log", "3\n");
    assert_eq!(bench.poll(), "a.log.1: 2/|a.log: 3/|");
    fs::copy(bench.path("a.log"), bench.path("a.log.copy")).unwrap();
    assert_eq!(bench.poll(), "", "a copy is no new content");
    bench.pack("a.log.1", "a.log.1.gz");
    assert_eq!(bench.poll_after(Span::secs(61)), "a.log.1.|a.log.1.|");
    bench.restart();
    assert_eq!(bench.poll_after(Span::secs(61)), "");
    assert_eq!(bench.poll_after(Span::secs(61)), "");
    bench.append("x", "restored\n");
    bench.pack("x", "a.log.7.gz");
    assert_eq!(bench.poll(), "a.log.7.gz: restored/|a.log.7.gz.|", "what is new and packed is read unpacked");
}

#[test]
fn a_broken_packed_file_is_said_and_ends_in_a_gap() {
    let mut bench = Bench::new(&["a.log*"]);
    bench.append("a.log", "1\n");
    bench.begin();
    let long: String = (0..2000).map(|i| format!("line {i}\n")).collect();
    bench.append("x", long);
    bench.pack("x", "a.log.1.gz");
    let packed = fs::read(bench.path("a.log.1.gz")).unwrap();
    fs::write(bench.path("a.log.1.gz"), &packed[..packed.len() - 8]).unwrap();
    let read = bench.poll();
    assert!(read.starts_with("a.log.1.gz: line 0/|") && read.ends_with("line 1999/|"), "{read}");
    fs::write(bench.path("a.log.2.gz"), b"this was never packed").unwrap();
    assert_eq!(bench.poll(), "");
    let ended = bench.poll_after(Span::secs(61));
    assert_eq!(ended, "a.log.1.gz! Broken 0|a.log.1.gz.|");
    bench.poll_after(Span::secs(61));
    assert_eq!(bench.troubles().len(), 1, "{:?}", bench.troubles());
    assert!(bench.troubles()[0].starts_with("a.log.2.gz: it cannot be unpacked: "), "{:?}", bench.troubles());
}

#[test]
fn links_are_followed_and_a_switched_link_is_a_rotation() {
    let mut bench = Bench::new(&["current.log", "hard*.log"]);
    bench.append("day1", "old\n");
    symlink(bench.path("day1"), bench.path("current.log")).unwrap();
    bench.append("hard1.log", "h\n");
    fs::hard_link(bench.path("hard1.log"), bench.path("hard2.log")).unwrap();
    bench.begin();
    bench.append("day1", "1\n");
    bench.append("hard2.log", "once\n");
    assert_eq!(bench.poll(), "current.log: 1/|hard1.log: once/|");
    bench.append("day1", "2\n");
    bench.append("day2", "3\n");
    fs::remove_file(bench.path("current.log")).unwrap();
    symlink(bench.path("day2"), bench.path("current.log")).unwrap();
    bench.restart();
    assert_eq!(bench.poll(), "day1: 2/|current.log: 3/|");
}

#[test]
fn what_is_no_regular_file_is_never_opened() {
    let mut bench = Bench::new(&["*"]);
    let mkfifo = rustix::fs::mknodat(
        rustix::fs::CWD,
        bench.path("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    );
    mkfifo.unwrap();
    fs::create_dir(bench.path("folder")).unwrap();
    symlink("/dev/zero", bench.path("device")).unwrap();
    bench.append("file", "1\n");
    assert_eq!(bench.poll(), "file: 1/|");
    assert_eq!(bench.troubles(), Vec::<String>::new());
}

#[test]
fn files_of_this_process_are_never_followed() {
    let mut bench = Bench::with(&["**/*.log"], |wanted, base| {
        wanted.own = vec![base.join("state"), base.join("own.log")];
    });
    fs::create_dir(bench.path("state")).unwrap();
    bench.append("state/x.log", "own\n");
    bench.append("own.log", "own\n");
    fs::hard_link(bench.path("own.log"), bench.path("other.log")).unwrap();
    fs::create_dir(bench.path("z")).unwrap();
    symlink(bench.path("state/x.log"), bench.path("z/link.log")).unwrap();
    bench.append("z/a.log", "theirs\n");
    assert_eq!(bench.poll(), "z/a.log: theirs/|");
}

#[test]
fn of_too_many_files_those_modified_last_are_followed() {
    let mut bench = Bench::with(&["*.log"], |wanted, _| wanted.max_files = 3);
    for i in 0..6 {
        bench.append(&format!("{i}.log"), "old\n");
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000 + i);
        fs::File::open(bench.path(&format!("{i}.log"))).unwrap().set_modified(at).unwrap();
    }
    bench.begin();
    assert_eq!(bench.last.n_files, 3);
    assert_eq!(bench.troubles().len(), 1);
    assert!(bench.troubles()[0].ends_with("6 files are meant, and the 3 that were modified last are followed"));
    assert_eq!(bench.last.troubles[0].why.reason(), "too-many");
    bench.append("0.log", "new\n");
    assert_eq!(bench.poll(), "0.log: new/|", "one that is written again is followed from where it was");
    bench.append("3.log", "new\n");
    assert_eq!(bench.poll(), "3.log: new/|");
}

#[test]
fn nuls_that_a_writer_left_are_no_line() {
    let mut bench = Bench::new(&["a.log"]);
    bench.append("a.log", "old\n");
    bench.begin();
    bench.append("a.log", "1\n");
    assert_eq!(bench.poll(), "a.log: 1/|");
    // Emptied under a writer that keeps its place: a hole of three gigabytes, then what it writes.
    fs::write(bench.path("a.log"), "").unwrap();
    let file = fs::OpenOptions::new().write(true).open(bench.path("a.log")).unwrap();
    std::os::unix::fs::FileExt::write_at(&file, b"2\n", 3 << 30).unwrap();
    bench.poll();
    assert_eq!(bench.poll(), "a.log! Truncated 0|a.log.|a.log: 2/|");
    // Room that is not filled yet.
    bench.append("a.log", [0; 5000]);
    assert_eq!(bench.poll(), "");
    std::os::unix::fs::FileExt::write_at(&file, b"3\n", (3 << 30) + 2).unwrap();
    bench.restart();
    assert_eq!(bench.poll(), "a.log: 3/|");
}

#[test]
fn a_poll_keeps_its_budget_and_files_take_turns() {
    let mut bench = Bench::new(&["*.log"]);
    let text: String = (0..1000).map(|i| format!("{i}\n")).collect();
    for name in ["a.log", "b.log", "c.log"] {
        bench.append(name, &text);
    }
    let (mut n_polls, mut n_lines) = (0, BTreeMap::<PathBuf, usize>::new());
    loop {
        let polled = bench.follower.poll(bench.now, 100, &mut |_, piece| {
            if let Content::Lines(lines) = piece.content {
                *n_lines.entry(piece.place.to_owned()).or_default() += memchr::memchr_iter(b'\n', lines).count();
            }
        });
        assert!(polled.n_read <= 100, "{polled:?}");
        n_polls += 1;
        if n_polls == 20 {
            assert_eq!(n_lines.len(), 3, "each had its turn");
        }
        if !polled.is_more {
            break;
        }
    }
    assert!(n_polls >= 3 * text.len() / 100, "{n_polls}");
    assert_eq!(n_lines.values().copied().collect::<Vec<_>>(), [1000, 1000, 1000]);
}

#[test]
fn what_is_remembered_of_a_file_goes_with_it() {
    let mut bench = Bench::new(&["a.log"]);
    bench.begin();
    bench.append("a.log", "1\n2\n");
    bench.poll();
    bench.restart();
    bench.append("a.log", "3\n");
    bench.poll();
    let saved = serde_json::to_string(&bench.follower.save()).unwrap();
    assert!(saved.contains("\"s\":3"), "{saved}");
    let length = saved.len() - bench.folder.path().as_os_str().len();
    assert!(length < 200, "{length}: {saved}");
    let newer = saved.replace("\"v\":1", "\"v\":2");
    let refused = Follower::<u32>::new(bench.wanted.clone()).resume(serde_json::from_str(&newer).unwrap());
    assert_eq!(refused.unwrap_err(), "the positions in files are of version 2, newer than 1");
}

#[test]
fn a_file_that_an_editor_wrote_anew_is_read_on() {
    let mut bench = Bench::new(&["a.log"]);
    let text: String = (0..100).map(|i| format!("line {i}\n")).collect();
    bench.append("a.log", &text);
    bench.begin();
    fs::write(bench.path("new"), text + "added\n").unwrap();
    bench.rename("new", "a.log");
    assert_eq!(bench.poll(), "a.log: added/|");
}

#[test]
fn a_path_that_is_no_text_is_saved_too() {
    use std::os::unix::ffi::OsStrExt;
    let mut bench = Bench::new(&["*.log"]);
    let name = std::ffi::OsStr::from_bytes(b"\xff.log");
    fs::write(bench.folder.path().join(name), "1\n").unwrap();
    assert!(bench.poll().ends_with(".log: 1/|"));
    bench.restart();
    assert_eq!(bench.poll(), "");
}

#[test]
fn what_cannot_be_looked_into_holds_up_no_other_file() {
    let mut bench = Bench::new(&["*/*.log"]);
    for name in ["app", "gone"] {
        fs::create_dir(bench.path(name)).unwrap();
    }
    // Nobody can look into it, root neither.
    symlink("loop", bench.path("loop")).unwrap();
    bench.begin();
    bench.append("app/a.log", "1\n");
    bench.append("gone/a.log", "1\n");
    assert_eq!(bench.poll(), "app/a.log: 1/|gone/a.log: 1/|");
    assert_eq!(bench.troubles().len(), 1, "{:?}", bench.troubles());
    fs::write(bench.path("app/a.log"), "emptied\n").unwrap();
    bench.poll();
    assert_eq!(bench.poll(), "app/a.log! Truncated 0|app/a.log.|app/a.log: emptied/|");
    bench.append("gone/b.log", "2\n");
    fs::remove_file(bench.path("gone/a.log")).unwrap();
    bench.restart();
    let read = bench.poll() + &bench.poll() + &bench.poll();
    assert_eq!(read, "gone/b.log: 2/|gone/a.log! Vanished 0|gone/a.log.|");
    assert_eq!((bench.poll(), bench.last.due), (String::new(), None), "nothing is looked for without end");
}

#[test]
fn a_file_whose_folder_cannot_be_looked_into_keeps_its_position() {
    let mut bench = Bench::new(&["app/a.log"]);
    fs::create_dir(bench.path("app")).unwrap();
    bench.begin();
    bench.append("app/a.log", "1\n");
    assert_eq!(bench.poll(), "app/a.log: 1/|");
    bench.rename("app", "aside");
    symlink("app", bench.path("app")).unwrap();
    bench.restart();
    for _ in 0..5 {
        assert_eq!(bench.poll(), "");
    }
    assert_eq!(bench.last.due, Some(bench.now + find::VEILED), "it is not asked for without end");
    assert_eq!(bench.troubles().len(), 2, "the file and its folder, once each: {:?}", bench.troubles());
    fs::remove_file(bench.path("app")).unwrap();
    bench.rename("aside", "app");
    bench.append("app/a.log", "2\n");
    assert_eq!(bench.poll(), "app/a.log: 2/|");
}

#[test]
fn other_patterns_drop_what_they_do_not_mean_and_begin_what_is_new_to_them() {
    let mut bench = Bench::new(&["a.log", "b.log", "z*"]);
    bench.begin();
    for name in ["a.log", "b.log", "z.log"] {
        bench.append(name, "1\n");
    }
    assert_eq!(bench.poll(), "a.log: 1/|b.log: 1/|z.log: 1/|");
    bench.rename("z.log", "z.log.1");
    bench.append("z.log", "2\n");
    assert_eq!(bench.poll(), "z.log: 2/|");
    for name in ["a.log", "b.log", "z.log.1"] {
        bench.append(name, "3\n");
    }
    bench.append("c.log", "old\n");
    bench.rename("b.log", "b.log.1");
    bench.append("b.log", "4\n");
    let patterns =
        ["b.log", "c.log", "z.log"].map(|name| Pattern::parse(&bench.path(name).display().to_string()).unwrap());
    bench.wanted.patterns = patterns.to_vec();
    bench.restart();
    let homes: Vec<_> = bench.follower.tracks.iter().map(|t| t.home.file_name().unwrap().to_owned()).collect();
    assert_eq!(homes, ["b.log", "z.log", "z.log"], "what was not read of a rotated file is still wanted");
    bench.begin();
    assert_eq!((bench.last.n_gaps, bench.last.n_files), (0, 5));
    bench.append("c.log", "5\n");
    assert_eq!(bench.poll(), "b.log.1: 3/|b.log: 4/|c.log: 5/|z.log.1: 3/|");
    bench.append("a.log", "6\n");
    assert_eq!(bench.poll(), "");
}

/// Whoever follows and waits: polls and watches until nothing changes, as the agent does.
async fn settle(bench: &mut Bench, wake: &mut Wake) -> String {
    let mut read = String::new();
    for _ in 0..10 {
        read += &bench.poll();
        let watches = bench.follower.watches();
        let watching = wake.watch(&watches.folders, &watches.files);
        assert_eq!(watching.unwatched, []);
        if !watching.is_changed {
            return read;
        }
    }
    panic!("it changes without end");
}

async fn is_woken(wake: &mut Wake) -> bool {
    tokio::time::timeout(std::time::Duration::from_secs(10), wake.wait()).await.is_ok_and(|woken| woken.is_ok())
}

#[tokio::test]
async fn a_folder_that_is_removed_and_made_again_wakes() {
    let mut bench = Bench::new(&["app/log/*.log"]);
    fs::create_dir_all(bench.path("app/log")).unwrap();
    bench.append("app/log/a.log", "old\n");
    bench.begin();
    let mut wake = Wake::new().unwrap();
    assert_eq!(settle(&mut bench, &mut wake).await, "");
    for i in 0..2 {
        fs::remove_dir_all(bench.path("app")).unwrap();
        assert!(is_woken(&mut wake).await);
        settle(&mut bench, &mut wake).await;
        fs::create_dir(bench.path("app")).unwrap();
        assert!(is_woken(&mut wake).await, "a folder on the way came");
        settle(&mut bench, &mut wake).await;
        fs::create_dir(bench.path("app/log")).unwrap();
        assert!(is_woken(&mut wake).await, "the folder came");
        settle(&mut bench, &mut wake).await;
        bench.append("app/log/b.log", "new\n");
        assert!(is_woken(&mut wake).await, "the file came");
        assert_eq!(settle(&mut bench, &mut wake).await, "app/log/b.log: new/|", "{i}");
    }
}

#[tokio::test]
async fn a_link_on_the_way_that_is_switched_wakes() {
    let mut bench = Bench::new(&["app/current/log/*.log"]);
    for release in ["1", "2"] {
        fs::create_dir_all(bench.path(&format!("app/releases/{release}/log"))).unwrap();
        bench.append(&format!("app/releases/{release}/log/a.log"), format!("old of {release}\n"));
    }
    symlink("releases/1", bench.path("app/current")).unwrap();
    bench.begin();
    let mut wake = Wake::new().unwrap();
    assert_eq!(settle(&mut bench, &mut wake).await, "");
    symlink("releases/2", bench.path("app/next")).unwrap();
    bench.rename("app/next", "app/current");
    assert!(is_woken(&mut wake).await);
    assert_eq!(settle(&mut bench, &mut wake).await, "app/current/log/a.log: old of 2/|");
    bench.append("app/releases/2/log/a.log", "new\n");
    assert!(is_woken(&mut wake).await);
    assert_eq!(settle(&mut bench, &mut wake).await, "app/current/log/a.log: new/|");
}

#[test]
fn what_goes_on_behind_a_copy_is_read_from_there() {
    let mut bench = Bench::new(&["a.log*"]);
    bench.begin();
    bench.append("a.log.bak", "1\n");
    assert_eq!(bench.poll(), "a.log.bak: 1/|");
    bench.append("a.log", "1\n2\n");
    bench.append("a.log.1", "1\n");
    assert_eq!(bench.poll(), "a.log.1: 1/|a.log: 2/|");
    fs::remove_file(bench.path("a.log")).unwrap();
    bench.append("a.log.bak.2", "1\n3\n");
    assert_eq!(bench.poll(), "a.log.bak.2: 3/|");
}

#[test]
fn a_copy_of_a_file_that_was_emptied_is_no_new_content() {
    let mut bench = Bench::new(&["a.log*"]);
    bench.append("a.log", "a long line that is old\n");
    bench.begin();
    fs::write(bench.path("a.log"), "1\n2").unwrap();
    fs::copy(bench.path("a.log"), bench.path("a.log.bak")).unwrap();
    bench.append("a.log", "2\n");
    let read: Vec<String> = (0..4).map(|_| bench.poll_after(Span::millis(1100))).collect();
    assert_eq!(read, ["", "a.log! Truncated 0|a.log.|a.log: 1/|a.log: 22/|", "", ""]);
    assert_eq!(bench.poll_after(Span::secs(61)), "");
}

#[test]
fn copies_inside_the_pattern_are_counted_once() {
    for (n, line) in [(200, "an error\n"), (3, "x\n"), (200, "x\n"), (40_000, "another error\n")] {
        let mut bench = Bench::new(&["*"]);
        bench.begin();
        bench.append("b.log", line.repeat(n));
        let mut counts = vec![bench.poll().matches('|').count()];
        let mut copy = |bench: &mut Bench, to: &str| {
            fs::copy(bench.path("b.log"), bench.path(to)).unwrap();
            counts.push(bench.poll().matches('|').count());
        };
        copy(&mut bench, "b.bak1");
        bench.append("b.log", "one more\n");
        assert_eq!(bench.poll(), "b.log: one more/|", "{n} {line:?}");
        copy(&mut bench, "b.bak2");
        copy(&mut bench, "a.save");
        assert_eq!(counts, [n, 0, 0, 0], "{n} {line:?}");
        bench.append("b.bak1", "other\n");
        assert_eq!(bench.poll(), "b.bak1: other/|", "{n} {line:?}");
        bench.restart();
        assert_eq!(bench.poll(), "", "{n} {line:?}");
        assert_eq!(bench.poll(), "", "{n} {line:?}");
    }
}

#[test]
fn a_copy_that_was_seen_empty_and_in_parts_is_counted_once() {
    let mut bench = Bench::new(&["*"]);
    let text: String = (0..200).map(|i| format!("line {i}\n")).collect();
    bench.append("b.log", &text);
    assert_eq!(bench.poll().matches('|').count(), 200);
    for name in ["b.bak", "copy"] {
        bench.append(name, "");
        assert_eq!(bench.poll(), "");
        bench.append(name, &text[..500]);
        assert_eq!(bench.poll(), "", "{name}");
        bench.append(name, &text[500..]);
        assert_eq!(bench.poll(), "", "{name}");
        bench.append(name, format!("to {name}\n"));
        assert_eq!(bench.poll(), format!("{name}: to {name}/|"));
    }
    bench.append("small", "");
    bench.append("d.log", "1\n2\n3\n");
    assert_eq!(bench.poll(), "d.log: 1/|d.log: 2/|d.log: 3/|");
    bench.append("small", "1\n2\n3\n");
    assert_eq!(bench.poll(), "");
    bench.append("e.log", "1\n2\n");
    assert_eq!(bench.poll(), "e.log: 1/|e.log: 2/|", "so few bytes have to be all of the other");
}

//! Files that Debian's logrotate rotates while they are written and followed: each line is counted once.
//!
//! `BACKSTOP_ROUNDS=50` rotates each so often.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use backstop::base::{Span, Timestamp};
use backstop::source::log::files::{Content, Follower, Saved, Wanted};
use backstop::sys::clock::Clock;
use backstop::sys::look::Pattern;

use crate::support::outside;

/// Who writes: one line after the other, until he is told to stop.
struct Writer {
    stop: AtomicBool,
    /// How often the file was rotated: it is opened anew then.
    n_rotated: AtomicU64,
    n_lines: AtomicU64,
    /// Held while nothing may be written.
    pause: Mutex<()>,
}

impl Writer {
    fn write(&self, path: &Path) {
        let open = || OpenOptions::new().create(true).append(true).open(path).unwrap();
        let (mut file, mut n_rotated) = (open(), 0);
        while !self.stop.load(Ordering::SeqCst) {
            let paused = self.pause.lock().unwrap();
            if self.n_rotated.load(Ordering::SeqCst) != n_rotated {
                n_rotated = self.n_rotated.load(Ordering::SeqCst);
                file = open();
            }
            let n = self.n_lines.load(Ordering::SeqCst);
            let text: String = (n..n + 5).map(|i| format!("{i} of what the service has to say\n")).collect();
            file.write_all(text.as_bytes()).unwrap();
            self.n_lines.store(n + 5, Ordering::SeqCst);
            drop(paused);
            std::thread::yield_now();
        }
    }
}

struct Reader {
    wanted: Wanted,
    follower: Option<Follower<u64>>,
    counts: HashMap<u64, u32>,
    saved: Option<String>,
    gaps: Vec<String>,
    clock: Clock,
    ahead: Span,
}

impl Reader {
    fn poll(&mut self) -> bool {
        if self.follower.is_none() {
            let mut follower = Follower::new(self.wanted.clone());
            if let Some(saved) = &self.saved {
                let saved: Saved<u64> = serde_json::from_str(saved).unwrap();
                follower.resume(saved).unwrap();
            }
            self.follower = Some(follower);
        }
        let now: Timestamp = self.clock.now() + self.ahead;
        let (counts, gaps) = (&mut self.counts, &mut self.gaps);
        let polled = self.follower.as_mut().unwrap().poll(now, 1 << 20, &mut |_, piece| match piece.content {
            Content::Lines(lines) => {
                for line in String::from_utf8_lossy(lines).lines() {
                    let number =
                        line.strip_suffix(" of what the service has to say").unwrap_or_else(|| panic!("{line}"));
                    *counts.entry(number.parse().unwrap()).or_default() += 1;
                }
            }
            Content::Gap(gap) => gaps.push(format!("{}: {gap}", piece.place.display())),
            Content::Cut(_) | Content::Ended => {}
        });
        polled.is_more
    }

    fn stop(&mut self) {
        if let Some(follower) = self.follower.take() {
            self.saved = Some(serde_json::to_string(&follower.save()).unwrap());
        }
    }
}

/// `n_rounds` rotations with `options`; `pattern` is followed.
fn rotate(options: &str, pattern: &str, n_rounds: u32) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.log");
    let (config, state) = (folder.path().join("rotate.conf"), folder.path().join("rotate.state"));
    fs::write(&path, "").unwrap();
    fs::write(&config, format!("{} {{\n  su root root\n  rotate 1000\n  missingok\n  {options}\n}}\n", path.display()))
        .unwrap();
    let writer = Arc::new(Writer {
        stop: AtomicBool::new(false),
        n_rotated: AtomicU64::new(0),
        n_lines: AtomicU64::new(0),
        pause: Mutex::new(()),
    });
    let patterns = vec![Pattern::parse(&folder.path().join(pattern).display().to_string()).unwrap()];
    let wanted = Wanted { patterns, max_line: 1000, max_files: 2000, own: Vec::new() };
    let mut reader = Reader {
        wanted,
        follower: None,
        counts: HashMap::new(),
        saved: None,
        gaps: Vec::new(),
        clock: Clock::new(),
        ahead: Span::ZERO,
    };
    reader.poll();
    std::thread::scope(|scope| {
        scope.spawn(|| writer.write(&path));
        let mut dice = 7u64;
        for _ in 0..n_rounds {
            // Some lines are written between two rotations.
            let enough = writer.n_lines.load(Ordering::SeqCst) + 20;
            while writer.n_lines.load(Ordering::SeqCst) < enough {
                std::thread::yield_now();
            }
            // A date tells only seconds apart; what is rotated twice in one is left by logrotate.
            let second = |clock: &Clock| clock.now().millis() / 1000;
            let last = second(&reader.clock);
            while options.contains("dateext") && second(&reader.clock) == last {
                std::thread::yield_now();
            }
            // What is copied or packed at once must not be written to meanwhile: logrotate itself would lose it.
            let loses =
                options.contains("copytruncate") || options.contains("compress") && !options.contains("delaycompress");
            let paused = loses.then(|| writer.pause.lock().unwrap());
            let status = Command::new("/usr/sbin/logrotate").arg("-f").arg("-s").arg(&state).arg(&config).status();
            // It fails where a file of the same second is there already, and leaves the log as it is.
            assert!(status.unwrap().success() || options.contains("dateext"));
            writer.n_rotated.fetch_add(1, Ordering::SeqCst);
            drop(paused);
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            match (dice >> 33) % 5 {
                0 => reader.stop(),
                1 => {}
                _ => drop(reader.poll()),
            }
        }
        writer.stop.store(true, Ordering::SeqCst);
    });
    for _ in 0..20 {
        reader.ahead = Span(reader.ahead.0 + 10_000);
        while reader.poll() {}
    }
    let n_lines = writer.n_lines.load(Ordering::SeqCst);
    let wrong: Vec<(u64, u32)> =
        (0..n_lines).map(|n| (n, reader.counts.get(&n).copied().unwrap_or(0))).filter(|(_, n)| *n != 1).collect();
    let n_files = fs::read_dir(folder.path()).unwrap().count();
    assert!(n_files > n_rounds as usize / 2, "it rotates: {n_files}");
    let n_wrong = wrong.len();
    let some = &wrong[..n_wrong.min(5)];
    assert!(n_wrong == 0, "{options}, {pattern}: of {n_lines} lines {n_wrong} are wrong: {some:?}, {:?}", reader.gaps);
    assert!(reader.gaps.is_empty(), "{options}, {pattern}: {:?}", reader.gaps);
}

#[test]
fn outside_each_line_that_logrotate_moves_counts_once() {
    if !outside("logrotate") {
        return;
    }
    let n_rounds = std::env::var("BACKSTOP_ROUNDS").map_or(10, |text| text.parse().unwrap());
    for pattern in ["app.log", "app.log*"] {
        for options in [
            "create",
            "create\n  compress",
            "create\n  compress\n  delaycompress",
            "copytruncate",
            "copytruncate\n  compress",
            "copytruncate\n  compress\n  delaycompress",
        ] {
            rotate(options, pattern, n_rounds);
        }
        for options in ["create\n  compress", "copytruncate\n  compress"] {
            // Each of these takes a second.
            rotate(&format!("{options}\n  dateext\n  dateformat -%Y%m%d-%s"), pattern, n_rounds.div_ceil(2));
        }
    }
}

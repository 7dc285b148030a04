//! Samples on disk: what is written comes back, whatever stops the writer, and damage is said and costs only itself.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use backstop::base::{Labels, Sample, SourceRef, Span, Timestamp};
use backstop::store::archive::{
    self, AppendError, Archive, Entry, Importer, Options, Origin, Owner, ReadError, ReadLimits, Recovered, State,
};
use backstop::store::{Matcher, Selector, is_stale, stale};

use crate::support::mutate::{self, Random};
use crate::support::{Scratch, outside, root};

const START: i64 = 1_700_000_000_000;

/// A folder that needs no disk, where the machine has one: thousands of files are made in it.
struct Folder(PathBuf, Option<Scratch>);

impl Folder {
    fn new(name: &str) -> Folder {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() {
            let path = memory.join(format!("backstop-{name}-{}", std::process::id()));
            if std::fs::create_dir(&path).is_ok() {
                return Folder(path, None);
            }
        }
        let scratch = Scratch::new(name);
        Folder(scratch.path().to_owned(), Some(scratch))
    }

    fn samples(&self) -> PathBuf {
        self.0.join("samples")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.1.is_none() {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }
}

fn options() -> Options {
    Options { min_free: 0, ..Options::default() }
}

fn open(folder: &Path) -> (Archive, Recovered) {
    Archive::open(folder, options(), Timestamp(START)).unwrap()
}

fn source() -> SourceRef {
    SourceRef::new("prometheus", "api")
}

fn labels(name: &str, path: usize) -> Labels {
    Labels::new([
        ("__name__", name.to_string()),
        ("instance", "a:80".into()),
        ("job", "api".into()),
        ("path", format!("/p{path}")),
    ])
}

fn sample(labels: &Labels, value: f64) -> Sample {
    Sample { labels: labels.clone(), value, at: None }
}

/// Appends one look of the target `a:80`.
fn look(archive: &mut Archive, at: i64, samples: &[Sample]) {
    let source = source();
    let origin = Origin::Target { source: &source, instance: "a:80", interval: Span::secs(5), good: true };
    let entry = Entry { origin, at: Timestamp(at), samples, ended: &[], checkpoint: None };
    archive.append(&entry, Timestamp(at)).unwrap();
}

fn selector(name: &str) -> Selector {
    Selector { name: Some(name.into()), matchers: Vec::new() }
}

/// Whether both hold the same; what differs is said in one line, not in all samples.
fn same(found: &Content, expected: &Content, place: &str) {
    let count = |content: &Content| content.values().map(Vec::len).sum::<usize>();
    let (n_found, n_expected) = (count(found), count(expected));
    assert!(
        found == expected,
        "{place}: {n_found} samples of {} series, not {n_expected} of {}",
        found.len(),
        expected.len()
    );
}

type Content = BTreeMap<Labels, Vec<(i64, u64)>>;

fn content(read: &archive::Read) -> Content {
    let bits = |s: &backstop::store::Stretch| {
        s.times().iter().copied().zip(s.values().iter().map(|v| v.to_bits())).collect::<Vec<_>>()
    };
    read.stretches.iter().map(|s| (s.labels().clone(), bits(s))).collect()
}

fn read_all(folder: &Path) -> archive::Read {
    read(folder, &[], i64::MIN, i64::MAX)
}

fn read(folder: &Path, selectors: &[Selector], from: i64, to: i64) -> archive::Read {
    archive::read(folder, selectors, Timestamp(from), Timestamp(to), ReadLimits::default()).unwrap()
}

fn seal_all(archive: &mut Archive, now: i64) -> u64 {
    let mut n = 0;
    while let Some(sealing) = archive.next_sealing(Timestamp(now)).unwrap() {
        assert_eq!(sealing.run().unwrap().trouble, [""; 0]);
        n += 1;
    }
    n
}

/// Begins a new log and seals the one before.
fn turn(archive: &mut Archive, now: i64) {
    archive.close_if_due(Timestamp(now)).unwrap();
    seal_all(archive, now);
}

/// A small archive with all kinds of records, and what stands in it: series that come, go and return, own times,
/// stale markers, odd values, a checkpoint, a family.
fn fill(archive: &mut Archive, n_looks: i64) -> Content {
    let mut content = Content::new();
    let source = source();
    let a: Vec<Labels> = (0..5).map(|i| labels("requests_total", i)).collect();
    let gone = labels("sometimes", 0);
    let timed = labels("with_time", 0);
    let alerts = Labels::new([("__name__", "ALERTS"), ("rule", "errors")]);
    for i in 0..n_looks {
        let at = START + i * 5000;
        let mut put = |labels: &Labels, at: i64, value: f64| {
            content.entry(labels.clone()).or_default().push((at, value.to_bits()));
        };
        let mut samples = Vec::new();
        for (n, labels) in a.iter().enumerate() {
            let value = if i == 7 {
                f64::from_bits(0x7ff8_dead_beef_0001)
            } else {
                (i * n as i64) as f64 + 0.5 * (n % 2) as f64
            };
            samples.push(sample(labels, value));
            put(labels, at, value);
        }
        if i % 3 != 0 {
            samples.push(sample(&gone, i as f64));
            put(&gone, at, i as f64);
        }
        samples.push(Sample { labels: timed.clone(), value: -0.0, at: Some(Timestamp(at - 7)) });
        put(&timed, at - 7, -0.0);
        let ended = if i % 3 == 0 { vec![gone.clone()] } else { Vec::new() };
        ended.iter().for_each(|labels| put(labels, at, stale()));
        let checkpoint = format!("position {i}");
        let origin = Origin::Target { source: &source, instance: "a:80", interval: Span::secs(5), good: i % 4 != 0 };
        let checkpoint = Some(checkpoint.as_bytes());
        let entry = Entry { origin, at: Timestamp(at), samples: &samples, ended: &ended, checkpoint };
        archive.append(&entry, Timestamp(at)).unwrap();
        let own = [sample(&alerts, 1.0)];
        put(&alerts, at + 1, 1.0);
        let at = Timestamp(at + 1);
        let entry = Entry { origin: Origin::Family("rules"), at, samples: &own, ended: &[], checkpoint: None };
        archive.append(&entry, at).unwrap();
    }
    content
}

#[test]
fn what_is_appended_is_read_from_the_log_and_from_the_sealed_segment() {
    let folder = Folder::new("archive_round");
    let (mut archive, recovered) = open(&folder.samples());
    assert!(recovered.trouble.is_empty() && recovered.torn.is_none());
    let written = fill(&mut archive, 700);
    let from_log = read_all(&folder.samples());
    same(&content(&from_log), &written, "log");
    assert_eq!(from_log.trouble, [""; 0]);
    turn(&mut archive, START + 3_600_000);
    assert!(folder.samples().join("00000001.seg").exists() && !folder.samples().join("00000001.log").exists());
    let sealed = read_all(&folder.samples());
    same(&content(&sealed), &written, "sealed");
    assert_eq!(sealed.trouble, [""; 0]);
    // Windows are open on the left, whatever the chunks are.
    for (from, to) in [(0, 1), (0, 5000), (5000, 5000 * 240), (5000 * 239, 5000 * 241), (5000 * 600, 5000 * 9000)] {
        let (from, to) = (START + from, START + to);
        let expected: Content = written
            .iter()
            .map(|(l, s)| (l.clone(), s.iter().copied().filter(|(at, _)| *at > from && *at <= to).collect::<Vec<_>>()))
            .filter(|(_, s)| !s.is_empty())
            .collect();
        same(&content(&read(&folder.samples(), &[], from, to)), &expected, &format!("{from} {to}"));
    }
    let one = Selector { name: Some("requests_total".into()), matchers: vec![Matcher::equal("path", "/p3")] };
    let found = read(&folder.samples(), std::slice::from_ref(&one), START, i64::MAX);
    assert_eq!(found.stretches.len(), 1);
    let limits = ReadLimits::default();
    let series = archive::series(&folder.samples(), &[one], Timestamp(START), Timestamp(i64::MAX), limits).unwrap();
    assert_eq!(series.labels, [labels("requests_total", 3)]);
    let few = ReadLimits { max_samples: 100, ..limits };
    let error = archive::read(&folder.samples(), &[], Timestamp(0), Timestamp(i64::MAX), few).unwrap_err();
    assert!(matches!(error, ReadError::TooManySamples(100)));
}

#[test]
fn memory_gets_back_who_wrote_what_and_the_last_looks() {
    let folder = Folder::new("archive_recent");
    let (mut archive, _) = open(&folder.samples());
    let written = fill(&mut archive, 50);
    for sealed in [false, true] {
        if sealed {
            turn(&mut archive, START + 3_600_000);
        }
        drop(archive);
        let (again, recovered) = open(&folder.samples());
        archive = again;
        assert_eq!(recovered.trouble, [""; 0]);
        assert_eq!(recovered.checkpoints[&(source(), "a:80".to_string())], b"position 49");
        let recent =
            recovered.recent(Timestamp(START + 5000 * 10), Timestamp(i64::MAX), ReadLimits::default()).unwrap();
        assert_eq!(recent.targets.len(), 1);
        let target = &recent.targets[0];
        assert_eq!((&target.source, target.instance.as_str(), target.interval), (&source(), "a:80", Span::secs(5)));
        assert_eq!((target.last, target.good), (Timestamp(START + 49 * 5000), Some(Timestamp(START + 49 * 5000))));
        assert_eq!(recent.families, ["rules"]);
        assert_eq!(recent.series.len(), written.len());
        for series in &recent.series {
            let own = series.stretch.labels().name() == "ALERTS";
            assert_eq!(series.owner, Some(if own { Owner::Family(0) } else { Owner::Target(0) }));
            let expected = written[series.stretch.labels()].iter().filter(|(at, _)| *at > START + 50_000).count();
            assert_eq!(series.stretch.times().len(), expected);
        }
    }
}

fn logs_in(folder: &Folder) -> usize {
    let names = std::fs::read_dir(folder.samples()).unwrap().map(|file| file.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().ends_with(".log")).count()
}

#[test]
fn a_log_that_is_opened_again_goes_on() {
    let folder = Folder::new("archive_again");
    for i in 0..5 {
        let (mut archive, recovered) = open(&folder.samples());
        assert_eq!((recovered.trouble.len(), recovered.torn), (0, None));
        look(&mut archive, START + i, &[sample(&labels("m", 0), i as f64), sample(&labels("m", i as usize), i as f64)]);
        assert!(archive.sync_due().is_some());
        archive.sync().unwrap();
        assert_eq!(archive.sync_due(), None);
    }
    assert_eq!(logs_in(&folder), 1);
    let read = read_all(&folder.samples());
    assert_eq!((read.stretches.len(), read.stretches[0].times().len(), read.trouble.len()), (5, 5, 0));
}

#[test]
fn a_torn_tail_of_any_length_is_cut_said_and_costs_only_the_last_record() {
    let folder = Folder::new("archive_torn");
    let (mut archive, _) = open(&folder.samples());
    let log = folder.samples().join("00000001.log");
    fill(&mut archive, 4);
    let before = std::fs::metadata(&log).unwrap().len() as usize;
    let kept = content(&read_all(&folder.samples()));
    look(&mut archive, START + 60_000, &[sample(&labels("m", 0), 1.0), sample(&labels("m", 1), 2.5)]);
    drop(archive);
    let whole = std::fs::read(&log).unwrap();
    for cut in before..whole.len() {
        std::fs::write(&log, &whole[..cut]).unwrap();
        let read = read_all(&folder.samples());
        same(&content(&read), &kept, &format!("cut {cut}"));
        assert_eq!(read.trouble, [""; 0], "cut {cut}");
        let (mut archive, recovered) = open(&folder.samples());
        assert_eq!(recovered.trouble, [""; 0], "cut {cut}");
        assert_eq!(recovered.torn.map_or(0, |torn| torn.bytes), (cut - before) as u64, "cut {cut}");
        look(&mut archive, START + 90_000, &[sample(&labels("m", 1), 3.0)]);
        drop(archive);
        let read = read_all(&folder.samples());
        assert_eq!(read.stretches.len(), kept.len() + 1, "cut {cut}");
        assert_eq!(logs_in(&folder), 1, "cut {cut}");
    }
}

/// Whether `found` holds nothing but what was written.
fn is_part_of(found: &Content, written: &Content) -> bool {
    let sets: BTreeMap<&Labels, BTreeSet<&(i64, u64)>> = written.iter().map(|(l, s)| (l, s.iter().collect())).collect();
    found
        .iter()
        .all(|(labels, samples)| sets.get(labels).is_some_and(|all| samples.iter().all(|sample| all.contains(sample))))
}

#[test]
fn a_bad_byte_anywhere_in_a_log_is_said_and_the_other_records_stay() {
    let folder = Folder::new("archive_bad_log");
    let (mut archive, _) = open(&folder.samples());
    let written = fill(&mut archive, 6);
    look(&mut archive, START + 100_000, &[sample(&labels("last", 0), 1.0)]);
    drop(archive);
    let log = folder.samples().join("00000001.log");
    let whole = std::fs::read(&log).unwrap();
    let n_written: usize = written.values().map(Vec::len).sum();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&log, &bytes).unwrap();
        let read = read_all(&folder.samples());
        let mut found = content(&read);
        let has_last = found.remove(&labels("last", 0)).is_some();
        assert!(is_part_of(&found, &written), "byte {at}");
        let n_found: usize = found.values().map(Vec::len).sum();
        // Whatever is missing is said, but for a torn last record, which is what a reader sees of one in work.
        assert!(!read.trouble.is_empty() || (n_found == n_written && !has_last), "byte {at}");
        let lost_a_definition = read.trouble.iter().any(|line| line.contains("whose definition is lost"));
        assert!(at < 40 || has_last || n_found == n_written || lost_a_definition, "byte {at}: {:?}", read.trouble);
        let (mut archive, recovered) = open(&folder.samples());
        assert!(!recovered.trouble.is_empty() || recovered.torn.is_some(), "byte {at}");
        look(&mut archive, START + 200_000, &[sample(&labels("after", 0), 1.0)]);
        drop(archive);
        let after = read_all(&folder.samples());
        let mut found_after = content(&after);
        assert!(found_after.remove(&labels("after", 0)).is_some(), "byte {at}");
        found_after.remove(&labels("last", 0));
        same(&found_after, &found, &format!("byte {at}"));
        for file in std::fs::read_dir(folder.samples()).unwrap() {
            std::fs::remove_file(file.unwrap().path()).unwrap();
        }
    }
}

#[test]
fn a_bad_byte_anywhere_in_a_sealed_segment_is_said_and_the_other_chunks_stay() {
    let folder = Folder::new("archive_bad_segment");
    let (mut archive, _) = open(&folder.samples());
    let written = fill(&mut archive, 300);
    turn(&mut archive, START + 3_600_000);
    drop(archive);
    let path = folder.samples().join("00000001.seg");
    let whole = std::fs::read(&path).unwrap();
    let mut costs_one_series = 0;
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&path, &bytes).unwrap();
        let read = read_all(&folder.samples());
        let found = content(&read);
        assert!(is_part_of(&found, &written), "byte {at}");
        assert!(read.trouble.iter().any(|line| line.contains("00000001.seg")), "byte {at}: {:?}", read.trouble);
        costs_one_series += usize::from(written.iter().filter(|(l, s)| found.get(*l) != Some(s)).count() == 1);
    }
    assert!(costs_one_series > whole.len() / 3, "most bytes are of one series: {costs_one_series} of {}", whole.len());
}

#[test]
fn a_newer_format_is_refused_by_name_and_the_others_stay_readable() {
    let folder = Folder::new("archive_newer");
    let (mut archive, _) = open(&folder.samples());
    let written = fill(&mut archive, 10);
    turn(&mut archive, START + 3_600_000);
    look(&mut archive, START + 3_700_000, &[sample(&labels("late", 0), 1.0)]);
    drop(archive);
    let log = folder.samples().join("00000002.log");
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[8] = 2;
    std::fs::write(&log, &bytes).unwrap();
    let (mut archive, recovered) = open(&folder.samples());
    let said =
        "00000002.log has format 2; this version reads formats up to 1: install the newer backstop again to read it";
    assert_eq!(recovered.trouble, [said]);
    look(&mut archive, START + 3_800_000, &[sample(&labels("more", 0), 1.0)]);
    let read = read_all(&folder.samples());
    assert_eq!(read.trouble, [said]);
    assert_eq!(read.stretches.len(), written.len() + 1);
    assert_eq!(std::fs::read(&log).unwrap(), bytes, "nothing touches it");
}

/// Made once for each format, by the first version that writes it.
fn make_fixtures(at: &Path) {
    let folder = Folder::new("archive_fixture_made");
    let (mut archive, _) = open(&folder.samples());
    fill(&mut archive, 20);
    turn(&mut archive, START + 3_600_000);
    look(&mut archive, START + 100_000, &[sample(&labels("in_the_log", 1), 2.5)]);
    drop(archive);
    std::fs::create_dir_all(at).unwrap();
    for name in ["00000001.seg", "00000002.log"] {
        std::fs::copy(folder.samples().join(name), at.join(name)).unwrap();
    }
}

#[test]
fn files_of_format_1_are_read() {
    let folder = Folder::new("archive_fixture");
    let samples = folder.samples();
    std::fs::create_dir(&samples).unwrap();
    let fixtures = root().join("tests/fixtures/samples-1");
    if std::env::var("BACKSTOP_MAKE_FIXTURES").is_ok() && !fixtures.exists() {
        make_fixtures(&fixtures);
    }
    for name in ["00000001.seg", "00000002.log"] {
        std::fs::copy(fixtures.join(name), samples.join(name)).unwrap();
    }
    let read = read_all(&samples);
    assert_eq!(read.trouble, [""; 0]);
    let scratch = Folder::new("archive_fixture_expected");
    let (mut archive, _) = open(&scratch.samples());
    let mut expected = fill(&mut archive, 20);
    expected.insert(labels("in_the_log", 1), vec![(START + 100_000, 2.5f64.to_bits())]);
    same(&content(&read), &expected, "fixture");
    let (_, recovered) = open(&samples);
    assert_eq!(recovered.checkpoints[&(source(), "a:80".to_string())], b"position 19");
}

#[test]
fn retention_goes_by_age_then_by_size_and_spares_the_growing_log_and_the_checkpoints() {
    let folder = Folder::new("archive_retention");
    let (mut archive, _) = open(&folder.samples());
    fill(&mut archive, 10);
    let hour = 3_600_000;
    for h in 1..=6 {
        turn(&mut archive, START + h * hour);
        look(&mut archive, START + h * hour, &[sample(&labels("m", 0), h as f64)]);
    }
    let now = Timestamp(START + 6 * hour);
    assert_eq!(archive.retain(now).unwrap().files, 0);
    archive.set_options(Options { keep: Span::hours(4), ..options() });
    let gone = archive.retain(now).unwrap();
    assert_eq!((gone.files, gone.for_size, gone.files_left), (2, 0, 5));
    let first = |folder: &Path| read(folder, &[selector("m")], 0, i64::MAX).stretches[0].times()[0];
    assert_eq!(first(&folder.samples()), START + 2 * hour);
    archive.set_options(Options { max_bytes: gone.left - 1, ..options() });
    let gone = archive.retain(now).unwrap();
    assert_eq!((gone.files, gone.for_size), (1, 1));
    assert_eq!(first(&folder.samples()), START + 3 * hour);
    archive.set_options(Options { max_bytes: 0, ..options() });
    assert_eq!(archive.retain(now).unwrap().files_left, 1);
    assert_eq!(archive.counters().removed, 6);
    assert_eq!(first(&folder.samples()), START + 6 * hour);
    drop(archive);
    let (_, recovered) = open(&folder.samples());
    assert_eq!(recovered.checkpoints[&(source(), "a:80".to_string())], b"position 9");
}

#[test]
fn a_clock_step_moves_everything_before_it_for_every_reader() {
    let folder = Folder::new("archive_step");
    let (mut archive, _) = open(&folder.samples());
    let m = labels("m", 0);
    look(&mut archive, START, &[sample(&m, 1.0)]);
    archive.clock_stepped(Span::hours(-1), Timestamp(START - 3_600_000)).unwrap();
    look(&mut archive, START - 3_595_000, &[sample(&m, 2.0)]);
    archive.clock_stepped(Span::secs(100), Timestamp(START - 3_490_000)).unwrap();
    look(&mut archive, START - 3_490_000, &[sample(&m, 3.0)]);
    let expected = [START - 3_500_000, START - 3_495_000, START - 3_490_000];
    for sealed in [0, 2] {
        assert_eq!(if sealed > 0 { seal_all(&mut archive, START) } else { 0 }, sealed);
        let read = read(&folder.samples(), &[], START - 3_600_000, START);
        assert_eq!(read.stretches[0].times(), expected);
        assert_eq!(read.stretches[0].values(), [1.0, 2.0, 3.0]);
        let window = self::read(&folder.samples(), &[], expected[0], expected[1]);
        assert_eq!(window.stretches[0].times(), [expected[1]]);
    }
    // The file with the step goes only after those that it moves.
    archive.set_options(Options { keep: Span::millis(7_000), ..options() });
    assert_eq!(archive.retain(Timestamp(expected[2])).unwrap().files, 1);
    assert_eq!(read_all(&folder.samples()).stretches[0].times(), &expected[1..]);
}

#[test]
fn a_clock_step_moves_nothing_of_an_earlier_boot_and_nothing_imported() {
    let folder = Folder::new("archive_boots");
    let samples = folder.samples();
    let m = labels("m", 0);
    let (mut archive, _) = open(&samples);
    look(&mut archive, START, &[sample(&m, 1.0)]);
    drop(archive);
    // The host was started again, with a clock that is two hours ahead until somebody sets it.
    std::fs::write(samples.join("boot"), "another").unwrap();
    let wrong = START + 60_000 + 7_200_000;
    let (mut archive, recovered) = Archive::open(&samples, options(), Timestamp(wrong)).unwrap();
    assert_eq!(recovered.trouble, [""; 0]);
    look(&mut archive, wrong, &[sample(&m, 2.0)]);
    let mut importer = archive::Importer::new(&samples, Timestamp(wrong)).unwrap();
    importer.add(&labels("old", 0), Timestamp(START - 86_400_000), 5.0).unwrap();
    importer.finish().unwrap();
    archive.clock_stepped(Span::hours(-2), Timestamp(START + 61_000)).unwrap();
    look(&mut archive, START + 75_000, &[sample(&m, 3.0)]);
    for _ in 0..2 {
        let read = read_all(&samples);
        assert_eq!(read.trouble, [""; 0]);
        let times = |name: &str| read.stretches.iter().find(|s| s.labels().name() == name).unwrap().times().to_vec();
        assert_eq!(times("m"), [START, START + 60_000, START + 75_000]);
        assert_eq!(times("old"), [START - 86_400_000]);
        seal_all(&mut archive, START + 80_000);
    }
    // The same boot goes on with the same log.
    drop(archive);
    let (archive, _) = Archive::open(&samples, options(), Timestamp(START + 90_000)).unwrap();
    assert_eq!(archive.counters().logs, 0);
}

#[test]
fn late_records_are_sorted_and_the_last_word_on_a_time_counts() {
    let folder = Folder::new("archive_late");
    let (mut archive, _) = open(&folder.samples());
    let m = labels("m", 0);
    for (at, value) in [(30, 1.0), (10, 2.0), (20, 3.0), (30, 4.0), (40, 5.0)] {
        look(&mut archive, START + at, &[sample(&m, value)]);
    }
    for _ in 0..2 {
        let read = read(&folder.samples(), &[], START + 10, START + 30);
        assert_eq!(read.stretches[0].times(), [START + 20, START + 30]);
        assert_eq!(read.stretches[0].values(), [3.0, 4.0]);
        turn(&mut archive, START + 3_600_000);
    }
}

#[test]
fn a_sealing_that_was_broken_off_is_done_again() {
    let folder = Folder::new("archive_sealing");
    let (mut archive, _) = open(&folder.samples());
    let written = fill(&mut archive, 30);
    let log = std::fs::read(folder.samples().join("00000001.log")).unwrap();
    archive.close_if_due(Timestamp(START + 3_600_000)).unwrap();
    drop(archive);
    std::fs::write(folder.samples().join("00000001.sealing"), b"half").unwrap();
    let (mut archive, recovered) = open(&folder.samples());
    assert_eq!(recovered.trouble, [""; 0]);
    assert!(!folder.samples().join("00000001.sealing").exists());
    assert_eq!(seal_all(&mut archive, START), 1);
    // Killed between the new name and the end of the log.
    std::fs::write(folder.samples().join("00000001.log"), log).unwrap();
    same(&content(&read_all(&folder.samples())), &written, "again");
    drop(archive);
    let (_archive, recovered) = open(&folder.samples());
    assert_eq!(recovered.trouble, [""; 0]);
    assert!(!folder.samples().join("00000001.log").exists());
    same(&content(&read_all(&folder.samples())), &written, "again");
}

#[test]
fn what_a_damaged_log_lost_is_still_said_when_it_is_sealed() {
    let folder = Folder::new("archive_damaged_sealing");
    let (mut archive, _) = open(&folder.samples());
    fill(&mut archive, 30);
    drop(archive);
    let log = folder.samples().join("00000001.log");
    let mut bytes = std::fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    let (mut archive, recovered) = open(&folder.samples());
    assert_eq!(recovered.trouble.len(), 1, "{:?}", recovered.trouble);
    let before = content(&read_all(&folder.samples()));
    let sealed = archive.next_sealing(Timestamp(START)).unwrap().unwrap().run().unwrap();
    assert_eq!(sealed.trouble, recovered.trouble);
    let read = read_all(&folder.samples());
    same(&content(&read), &before, "sealed");
    assert_eq!(read.trouble, recovered.trouble);
}

#[test]
fn too_little_room_is_a_state_of_its_own_and_passes() {
    let folder = Folder::new("archive_room");
    let (mut archive, _) = open(&folder.samples());
    let m = [sample(&labels("m", 0), 1.0)];
    let at = Timestamp(START);
    let entry = Entry { origin: Origin::Family("rules"), at, samples: &m, ended: &[], checkpoint: None };
    archive.set_options(Options { min_free: u64::MAX, ..options() });
    assert!(matches!(archive.append(&entry, at), Err(AppendError::NoRoom { .. })));
    assert_eq!((archive.state(), archive.counters().no_room), (State::NoRoom, 1));
    archive.set_options(options());
    archive.append(&entry, at).unwrap();
    assert_eq!((archive.state(), archive.counters().records), (State::Writing, 1));
    let long = vec![0; archive::MAX_CHECKPOINT + 1];
    let error = archive.append(&Entry { checkpoint: Some(&long), ..entry }, at).unwrap_err();
    assert_eq!(error.to_string(), "the record has 1048577 bytes, and at most 1048576 are taken");
}

#[test]
fn imports_stand_beside_a_running_archive_in_any_order_of_times() {
    let folder = Folder::new("archive_import");
    let (mut archive, _) = open(&folder.samples());
    look(&mut archive, START, &[sample(&labels("m", 0), 99.0)]);
    let mut importer = Importer::new(&folder.samples(), Timestamp(START)).unwrap();
    let mut other = Importer::new(&folder.samples(), Timestamp(START)).unwrap();
    for i in (0..1000).rev() {
        importer.add(&labels("m", (i % 2) as usize), Timestamp(START - i * 1000), i as f64).unwrap();
        other.add(&labels("other", 0), Timestamp(START + i), 1.0).unwrap();
    }
    importer.add(&labels("m", 0), Timestamp(START), 5.0).unwrap();
    drop(Importer::new(&folder.samples(), Timestamp(START)).unwrap());
    let done = importer.finish().unwrap();
    assert_eq!((done.samples, done.segments), (1000, 1));
    assert_eq!(done.range, Some((Timestamp(START - 999_000), Timestamp(START))));
    other.finish().unwrap();
    archive.clock_stepped(Span::ZERO, Timestamp(START)).unwrap();
    look(&mut archive, START + 5, &[sample(&labels("m", 1), 7.0)]);
    let read = read(&folder.samples(), &[selector("m")], 0, i64::MAX);
    assert_eq!(read.trouble, [""; 0]);
    assert_eq!(read.stretches.iter().map(|s| s.times().len()).collect::<Vec<_>>(), [500, 501]);
    assert_eq!(read.stretches[0].values().last(), Some(&5.0), "what was written last counts");
    let mut names: Vec<String> =
        std::fs::read_dir(folder.samples()).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["00000001.log", "00000002.seg", "00000003.seg", "00000004.log", "boot"]);
}

#[test]
fn readers_see_everything_while_logs_are_sealed_beside_them() {
    let folder = Folder::new("archive_beside");
    let samples = folder.samples();
    let (mut archive, _) =
        Archive::open(&samples, Options { seal_bytes: 2000, ..options() }, Timestamp(START)).unwrap();
    let m = labels("m", 0);
    look(&mut archive, START, &[sample(&m, 0.0)]);
    let (over, reported) = (Arc::new(AtomicBool::new(false)), Arc::new(std::sync::atomic::AtomicU64::new(1)));
    let reader = std::thread::spawn({
        let (samples, over, reported) = (samples.clone(), over.clone(), reported.clone());
        move || {
            let mut n = 0;
            while !over.load(Ordering::Relaxed) {
                let at_least = reported.load(Ordering::SeqCst) as usize;
                let read = read_all(&samples);
                assert_eq!(read.trouble, [""; 0]);
                let values = read.stretches[0].values();
                assert!(values.len() >= at_least, "{} of {at_least}", values.len());
                assert!(values.iter().enumerate().all(|(i, value)| *value == i as f64));
                n += 1;
            }
            n
        }
    });
    for i in 1..4000 {
        look(&mut archive, START + i, &[sample(&m, i as f64)]);
        reported.store(i as u64 + 1, Ordering::SeqCst);
        if i % 50 == 0 {
            seal_all(&mut archive, START + i);
        }
    }
    over.store(true, Ordering::Relaxed);
    assert!(reader.join().unwrap() > 0);
}

/// Gives a mutated file good checksums again, so that what stands behind them is tried too.
fn with_good_checksums(input: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    let number = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    if bytes.len() < 40 {
        return bytes;
    }
    let put = |bytes: &mut [u8], at: usize, sum: u32| bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
    let sum = crc32fast::hash(&bytes[..36]);
    put(&mut bytes, 36, sum);
    let n = bytes.len();
    if bytes[10] == 1 {
        let mut at = 40;
        while at + 16 <= n {
            let length = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
            let end = (at + 16).saturating_add(length).min(n);
            let sum = crc32fast::hash(&bytes[at + 16..end]);
            put(&mut bytes, at + 8, sum);
            let place = [&bytes[at..at + 12], &bytes[12..20], &(at as u64).to_le_bytes()].concat();
            put(&mut bytes, at + 12, crc32fast::hash(&place));
            at = end;
        }
    } else if n >= 92 {
        let (footer, end) = (n - 52, n - 52);
        let (index, length) = (number(&bytes, footer), number(&bytes, footer + 8));
        if index.saturating_add(length) == end {
            let sum = crc32fast::hash(&bytes[index..end]);
            put(&mut bytes, footer + 40, sum);
        }
        let sum = crc32fast::hash(&bytes[footer..footer + 48]);
        put(&mut bytes, footer + 48, sum);
    }
    bytes
}

#[test]
fn mutation_of_segments() {
    let folder = Folder::new("mutation_of_segments");
    let (mut archive, _) = open(&folder.samples());
    let mut written = fill(&mut archive, 20);
    written.insert(labels("in_the_log", 1), vec![(START + 100_000, 2.5f64.to_bits())]);
    drop(archive);
    let mut corpus = vec![std::fs::read(folder.samples().join("00000001.log")).unwrap()];
    let (mut archive, _) = open(&folder.samples());
    turn(&mut archive, START + 3_600_000);
    drop(archive);
    corpus.push(std::fs::read(folder.samples().join("00000001.seg")).unwrap());
    let mut n = std::cell::Cell::new(0u64);
    let limits = ReadLimits { max_samples: 100_000, max_series: 1000 };
    mutate::run("segments", &corpus, |input| {
        n.set(n.get() + 1);
        let at = folder.0.join("try");
        let is_sealed = input.get(10) == Some(&2);
        let path = at.join(if is_sealed { "00000001.seg" } else { "00000001.log" });
        for bytes in [input.to_vec(), with_good_checksums(input)] {
            drop(std::fs::remove_dir_all(&at));
            std::fs::create_dir(&at).unwrap();
            std::fs::write(&path, &bytes).unwrap();
            let all = (Timestamp(i64::MIN), Timestamp(i64::MAX));
            let read = archive::read(&at, &[], all.0, all.1, limits);
            if bytes == input
                && let Ok(read) = &read
            {
                assert!(is_part_of(&content(read), &written), "samples that nobody wrote");
            }
            drop(archive::read(
                &at,
                &[selector("requests_total")],
                Timestamp(START),
                Timestamp(START + 50_000),
                limits,
            ));
            drop(archive::series(&at, &[selector("sometimes")], all.0, all.1, limits));
            if n.get().is_multiple_of(10) {
                drop(archive::recent(&at, Timestamp(START), Timestamp(i64::MAX), limits));
                let (mut archive, _) = open(&at);
                look(&mut archive, START, &[sample(&labels("m", 0), 1.0)]);
                drop(archive.next_sealing(Timestamp(START)).unwrap().map(|sealing| sealing.run()));
                archive.retain(Timestamp(START)).unwrap();
            }
        }
    });
    assert!(*n.get_mut() > 0);
}

/// What `killed_writers_lose_nothing_that_was_written` kills; by itself it does nothing.
#[test]
fn a_writer_that_others_kill() {
    let Ok(folder) = std::env::var("BACKSTOP_WRITER") else { return };
    let seal = Options { seal_bytes: 20_000, sync_every: Span::ZERO, ..options() };
    let (mut archive, recovered) = Archive::open(Path::new(&folder), seal, Timestamp(START)).unwrap();
    let mut out = std::io::stdout();
    // The harness has begun a line.
    writeln!(out).unwrap();
    for line in &recovered.trouble {
        writeln!(out, "trouble {line}").unwrap();
    }
    let series: Vec<Labels> = (0..20).map(|i| labels("written", i)).collect();
    let next = recovered
        .checkpoints
        .values()
        .next()
        .map_or(0, |bytes| String::from_utf8_lossy(bytes).parse::<i64>().unwrap() + 1);
    let source = source();
    for i in next.. {
        let samples: Vec<Sample> = series.iter().map(|labels| sample(labels, i as f64)).collect();
        let checkpoint = i.to_string();
        let origin = Origin::Target { source: &source, instance: "a:80", interval: Span::secs(5), good: true };
        let at = Timestamp(START + i);
        let entry = Entry { origin, at, samples: &samples, ended: &[], checkpoint: Some(checkpoint.as_bytes()) };
        archive.append(&entry, at).unwrap();
        writeln!(out, "appended {i}").unwrap();
        if i % 100 == 0 {
            archive.sync().unwrap();
            while let Some(sealing) = archive.next_sealing(at).unwrap() {
                sealing.run().unwrap();
            }
        }
    }
}

#[test]
fn killed_writers_lose_nothing_that_was_written() {
    let rounds = std::env::var("BACKSTOP_ROUNDS").map_or(10, |n| n.parse().unwrap());
    let folder = Scratch::new("killed_writers");
    let samples = folder.path().join("samples");
    let mut random = Random(7);
    let mut last = -1i64;
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["store::a_writer_that_others_kill", "--exact", "--nocapture", "--test-threads", "1"])
            .env("BACKSTOP_WRITER", &samples)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let stop_after = random.below(1500) as i64;
        let before = last;
        for line in lines.by_ref() {
            let line = line.unwrap();
            assert!(!line.starts_with("trouble"), "round {round}: {line}");
            let Some(i) = line.strip_prefix("appended ") else { continue };
            assert_eq!(i.parse::<i64>().unwrap(), last + 1, "round {round}");
            last += 1;
            if last - before > stop_after {
                child.kill().unwrap();
                break;
            }
        }
        // What was still in the pipe was said before the end too.
        for line in lines.map_while(Result::ok) {
            last = line.strip_prefix("appended ").and_then(|i| i.parse().ok()).unwrap_or(last);
        }
        child.wait().unwrap();
        let read = read_all(&samples);
        assert_eq!(read.trouble, [""; 0], "round {round}");
        assert_eq!(read.stretches.len(), 20);
        for stretch in &read.stretches {
            // A record may have been written whose report was not.
            let n = stretch.values().len() as i64;
            assert!(n == last + 1 || n == last + 2, "round {round}: {n} of {}", last + 1);
            assert!(stretch.values().iter().enumerate().all(|(i, value)| *value == i as f64), "round {round}");
        }
        last = read.stretches[0].values().len() as i64 - 1;
    }
    let files = std::fs::read_dir(&samples).unwrap().count();
    assert!(files > 1, "the writers were killed beside sealings too");
}

/// On a file system of its own that is really full.
#[test]
fn outside_a_full_disk_refuses_samples_and_takes_them_again() {
    if !outside("disk") {
        return;
    }
    let folder = Scratch::new("archive_full");
    let at = folder.path().join("disk");
    std::fs::create_dir(&at).unwrap();
    let mount =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m,mode=0750", "tmpfs"]).arg(&at).status().unwrap();
    assert!(mount.success(), "a tmpfs can be mounted");
    let samples = at.join("samples");
    let (mut archive, _) = open(&samples);
    let m = [sample(&labels("m", 0), 0.1)];
    let filler = at.join("filler");
    let append = |archive: &mut Archive, i: i64| {
        let entry = Entry {
            origin: Origin::Family("rules"),
            at: Timestamp(START + i),
            samples: &m,
            ended: &[],
            checkpoint: None,
        };
        archive.append(&entry, Timestamp(START + i))
    };
    append(&mut archive, 0).unwrap();
    drop(std::fs::write(&filler, vec![1; 2 << 20]));
    let mut written = 1;
    while append(&mut archive, written).is_ok() {
        written += 1;
    }
    assert_eq!(archive.state(), State::Failing);
    let said = archive.clock_stepped(Span::ZERO, Timestamp(START));
    assert!(said.is_err(), "no log can be begun either");
    assert!(append(&mut archive, written).is_err());
    std::fs::remove_file(&filler).unwrap();
    append(&mut archive, written).unwrap();
    assert_eq!(archive.state(), State::Writing);
    let read = read_all(&samples);
    let result = (read.trouble.clone(), read.stretches[0].times().len() as i64);
    drop(archive);
    assert!(Command::new("umount").arg(&at).status().unwrap().success());
    assert_eq!(result, (Vec::new(), written + 1));
}

/// How the series of a service change: half counters, two fifths buckets, a tenth gauges.
fn next_value(kind: usize, value: f64, random: &mut Random) -> f64 {
    match kind {
        0..5 => value + random.below(50) as f64,
        5..9 => value + if random.below(3) == 0 { random.below(10) as f64 } else { 0.0 },
        _ => value + random.below(21) as f64 - 10.0,
    }
}

/// 2,000 series for 48 hours every 5 seconds are to take at most 250 MB: 3.6 bytes a sample.
#[test]
fn a_sample_takes_less_than_its_share_of_the_disk() {
    let folder = Folder::new("archive_size");
    let (mut archive, _) = open(&folder.samples());
    let mut random = Random(3);
    let mut samples: Vec<Sample> = (0..100).map(|i| sample(&labels("series", i), 1000.0)).collect();
    for i in 0..720 {
        for (n, sample) in samples.iter_mut().enumerate() {
            sample.value = next_value(n % 10, sample.value, &mut random);
        }
        look(&mut archive, START + i * 5000, &samples);
    }
    let log_bytes = archive.counters().bytes as f64 / 72_000.0;
    archive.close_if_due(Timestamp(START + 3_600_000)).unwrap();
    let sealed = archive.next_sealing(Timestamp(START)).unwrap().unwrap().run().unwrap();
    let sealed_bytes = sealed.bytes as f64 / sealed.samples as f64;
    assert_eq!(sealed.samples, 72_000);
    assert!(sealed_bytes < 2.2 && log_bytes < 5.0, "{sealed_bytes} sealed, {log_bytes} in the log");
    assert!(!is_stale(samples[0].value));
}

//! Random histories of a log against what a client must have in the end.
//!
//! `SSE_MODEL_RUNS=100000 cargo test --release model` is the long run; a failure
//! prints the seed, and `SSE_MODEL_SEED=n` replays it.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::memory::{MemoryDisk, MemoryFile, NAME};
use super::{Disk, STREAM};
use crate::event::{Batch, Gap};
use crate::request::{BelowRoot, Lifetime, MetaVariables, Request, Settings};
use crate::source::{Host, Next, Now, Opened, Opening, Source};

struct MemoryWorld(MemoryDisk);

impl Host for MemoryWorld {
    fn disk(&self, _: &Path) -> Box<dyn Disk> {
        Box::new(self.0.clone())
    }

    fn disk_below(&self, _: &Path, _: &BelowRoot) -> std::io::Result<Box<dyn Disk>> {
        Ok(Box::new(self.0.clone()))
    }

    fn warn(&self, _: &str) {}

    fn read(&self, _: &Path, _: u64) -> std::io::Result<Vec<u8>> {
        Err(std::io::Error::from(std::io::ErrorKind::NotFound))
    }

    fn utc_offset_seconds(&self, _: u64) -> i32 {
        0
    }
}

/// What a client keeps: every event, and the id it had after it.
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    id: String,
    name: String,
    data: String,
}

/// A log that is written and rotated, and a client that follows it.
struct History {
    disk: MemoryDisk,
    random: fastrand::Rng,
    now_ms: u64,
    source: Box<dyn Source>,
    /// The file that the writer has open.
    writing: MemoryFile,
    /// What it has written of the current line.
    unfinished: String,
    next_number: usize,
    /// All records, in the order in which they were finished.
    written: Vec<String>,
    kept: Vec<Kept>,
    last_id: String,
    opened_at: String,
}

const START_MS: u64 = 1_000_000;

impl History {
    fn new(seed: u64) -> Self {
        Self::on(MemoryDisk::default(), seed)
    }

    fn on(disk: MemoryDisk, seed: u64) -> Self {
        *disk.now_ns.borrow_mut() = i128::from(START_MS) * 1_000_000;
        let writing = disk.create(disk.name());
        let (source, _) = open(&disk, START_MS, None);
        Self {
            opened_at: source.position().unwrap().as_str().into(),
            source,
            disk,
            random: fastrand::Rng::with_seed(seed),
            now_ms: START_MS,
            writing,
            unfinished: String::new(),
            next_number: 0,
            written: Vec::new(),
            kept: Vec::new(),
            last_id: String::new(),
        }
    }

    fn now(&self) -> Now {
        now(self.now_ms)
    }

    fn wait(&mut self, ms: u64) {
        self.now_ms += ms;
        *self.disk.now_ns.borrow_mut() = i128::from(self.now_ms) * 1_000_000;
    }

    /// Writes part of a line, a line, or several at once.
    fn append(&mut self) {
        let mut text = String::new();
        for _ in 0..self.random.usize(1..4) {
            if self.unfinished.is_empty() {
                let filler = "x".repeat([0, 3, 100, 300][self.random.usize(0..4)]);
                // The mark keeps what a truncation left of one record, and the next one
                // behind it, from looking like a third.
                self.unfinished = format!("#{}:{filler}", self.next_number);
                self.next_number += 1;
                text.push_str(&self.unfinished);
            }
            if self.random.u8(0..3) > 0 {
                text.push('\n');
                self.written.push(std::mem::take(&mut self.unfinished));
            } else {
                self.unfinished.push('+');
                text.push('+');
            }
        }
        self.disk.append(&self.writing, text.as_bytes());
    }

    /// Leaves a hole, or is given a file that is filled up with NULs. A long one within a
    /// line ends it.
    fn pad(&mut self) {
        let nuls = [1, 100, 5_000, 70_000][self.random.usize(0..4)];
        if nuls >= 4096 && !self.unfinished.is_empty() {
            self.written.push(std::mem::take(&mut self.unfinished));
        } else if !self.unfinished.is_empty() {
            // So that two short ones do not make a long one.
            self.disk.append(&self.writing, b"+");
            self.unfinished.push('+');
        }
        self.disk.append(&self.writing, &vec![0; nuls]);
    }

    /// What was unfinished when its file was left is a record of its own.
    fn leave_file(&mut self) {
        if !self.unfinished.is_empty() {
            self.written.push(std::mem::take(&mut self.unfinished));
        }
    }

    fn shift_chain(&mut self) {
        for number in (1..40).rev() {
            self.disk.rename(
                &format!("{NAME}.{number}"),
                &format!("{NAME}.{}", number + 1),
            );
        }
    }

    fn rotate_by_rename(&mut self) {
        self.shift_chain();
        self.disk.rename(NAME, &format!("{NAME}.1"));
        if self.random.bool() {
            // Daemons write on into the file that they have open.
            self.append();
            self.poll_sometimes();
        }
        self.leave_file();
        self.writing = self.disk.create(NAME);
    }

    fn rotate_by_copy(&mut self) {
        self.shift_chain();
        let copy = self.disk.create(&format!("{NAME}.1"));
        if self.random.bool() {
            // A client comes, or looks, while the file is being copied.
            let all = self.writing.bytes();
            let pieces = [self.random.usize(0..=all.len()), all.len()];
            let mut from = 0;
            for to in pieces {
                self.disk.append(&copy, &all[from.min(to)..to]);
                from = to.max(from);
                match self.random.u8(0..6) {
                    0 if !self.kept.is_empty() => self.reconnect(),
                    1 => self.wait(1_000),
                    _ => {}
                }
                self.poll_sometimes();
            }
        } else {
            self.disk.append(&copy, &self.writing.bytes());
        }
        self.leave_file();
        self.disk.truncate(&self.writing, 0);
    }

    fn poll(&mut self) {
        let mut out = Batch::new();
        loop {
            let next = self.source.poll(self.now(), &mut out);
            self.keep(out.as_bytes().to_vec());
            out.clear();
            if next != Next::More {
                break;
            }
        }
    }

    fn poll_sometimes(&mut self) {
        if self.random.bool() {
            self.poll();
        }
    }

    /// Reads the stream as a browser does.
    fn keep(&mut self, wire: Vec<u8>) {
        let wire = String::from_utf8(wire).unwrap();
        for block in wire.split_terminator("\n\n") {
            let (mut name, mut data) = (String::new(), Vec::new());
            for line in block.lines() {
                match line
                    .split_once(": ")
                    .unwrap_or((line.trim_end_matches(':'), ""))
                {
                    ("id", id) => self.last_id = id.into(),
                    ("event", event) => name = event.into(),
                    ("data", text) => data.push(text.to_owned()),
                    other => panic!("unexpected line {other:?}"),
                }
            }
            let data = data.join("\n");
            self.kept.push(Kept {
                id: self.last_id.clone(),
                name,
                data,
            });
        }
    }

    /// The follower dies; the client comes back to another one, with any id that it had.
    fn reconnect(&mut self) {
        let keep = self.random.usize(0..=self.kept.len().min(30));
        self.kept.truncate(self.kept.len() - keep);
        self.last_id = self
            .kept
            .last()
            .map(|kept| kept.id.clone())
            .unwrap_or_default();
        if self.last_id.is_empty() {
            // It never got an event: what it has is the place where its stream opened.
            self.last_id.clone_from(&self.opened_at);
        }
        let (source, gap) = open(&self.disk, self.now_ms, Some(&self.last_id));
        self.source = source;
        if let Some(gap) = gap {
            let mut out = Batch::new();
            out.gap(&gap, self.source.position());
            self.keep(out.as_bytes().to_vec());
        }
    }

    /// Lets everything come to rest.
    fn settle(&mut self) {
        self.leave_file();
        self.disk.append(&self.writing, b"\nlast\n");
        self.written.push("last".into());
        for _ in 0..4 {
            self.poll();
            self.wait(6_000);
        }
        self.poll();
    }

    fn records(&self) -> Vec<String> {
        let records = self.kept.iter().filter(|k| k.name.is_empty());
        records
            .map(|k| k.data.clone())
            .filter(|data| !data.is_empty())
            .collect()
    }

    /// The client has every record, once and in order.
    fn compare(&self) {
        let brief = |records: &[String]| -> Vec<String> {
            records
                .iter()
                .map(|r| format!("{:.5} ({})", r, r.len()))
                .collect()
        };
        let records = self.records();
        let same = records
            .iter()
            .zip(&self.written)
            .take_while(|(a, b)| a == b)
            .count();
        assert!(
            records == self.written,
            "after {same}, had\n  {:?}\nof\n  {:?}",
            brief(&records[same..]),
            brief(&self.written[same..])
        );
    }

    fn gaps(&self) -> usize {
        self.kept.iter().filter(|k| k.name == "gap").count()
    }
}

fn now(now_ms: u64) -> Now {
    Now {
        monotonic: Duration::from_millis(now_ms),
        unix_ms: now_ms,
    }
}

fn open(disk: &MemoryDisk, now_ms: u64, last_id: Option<&str>) -> (Box<dyn Source>, Option<Gap>) {
    let last_id = ("HTTP_LAST_EVENT_ID", last_id.unwrap_or_default());
    open_with(disk, now_ms, &[("SSE_BACKLOG", "1000000"), last_id])
}

fn open_with(
    disk: &MemoryDisk,
    now_ms: u64,
    pairs: &[(&str, &str)],
) -> (Box<dyn Source>, Option<Gap>) {
    let mut meta = MetaVariables::of(pairs);
    meta.push("SSE_FILE", NAME.as_bytes());
    let settings = Settings::parse(&meta, Lifetime::Hour).unwrap().0;
    let request = Request::from_meta(&meta);
    let host: Rc<dyn Host> = Rc::new(MemoryWorld(disk.clone()));
    let opening = Opening {
        settings: &settings,
        request: &request,
        now: now(now_ms),
        host: &host,
        live: None,
    };
    match (STREAM.open)(&opening).unwrap() {
        Opened::Stream(source, gap) => (source, gap),
        Opened::Finished => panic!("a tail has no end"),
    }
}

/// Records, short enough to be read in a failure.
fn brief(records: &[String]) -> Vec<String> {
    records
        .iter()
        .map(|r| format!("{:.5} ({})", r, r.len()))
        .collect()
}

/// Runs `history` for many seeds; a failure names its own.
fn check(history: impl Fn(u64) + std::panic::RefUnwindSafe) {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let seeds = match number("SSE_MODEL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SSE_MODEL_RUNS").unwrap_or(400),
    };
    for seed in seeds {
        if std::panic::catch_unwind(|| history(seed)).is_err() {
            panic!("replay with SSE_MODEL_SEED={seed}");
        }
    }
}

#[test]
fn without_truncation_a_client_has_exactly_what_was_written() {
    check(|seed| {
        let mut h = History::new(seed);
        let mut rotations = 0;
        for _ in 0..h.random.usize(5..60) {
            match h.random.u8(0..20) {
                0..9 => h.append(),
                9..14 => h.poll(),
                14 => h.wait(1_000),
                15 => h.wait(6_000),
                16 | 17 if rotations < 12 => {
                    rotations += 1;
                    h.rotate_by_rename();
                }
                18 if !h.kept.is_empty() => h.reconnect(),
                19 if h.random.bool() => h.pad(),
                _ => h.poll_sometimes(),
            }
        }
        h.settle();
        h.compare();
        assert_eq!(h.gaps(), 0);
    });
}

#[test]
fn a_compressed_rotation_between_the_place_and_now_is_named_in_a_gap() {
    let mut h = History::new(0);
    for text in [&b"1\n"[..], b"2\n", b"3\n"] {
        h.disk.append(&h.writing, text);
        h.shift_chain();
        h.disk.rename(NAME, "log.1");
        h.writing = h.disk.create(NAME);
    }
    h.disk.append(&h.writing, b"4\n");
    h.disk.rename("log.2", "log.2.gz");
    h.last_id = "2-".to_owned() + &format!("{:016x}", one_line_anchor(b"1\n"));
    let (source, gap) = open(&h.disk, h.now_ms, Some(&h.last_id));
    assert_eq!(gap, None);
    h.source = source;
    h.poll();
    let kept: Vec<&str> = h.kept.iter().map(|kept| kept.data.as_str()).collect();
    assert_eq!(
        kept,
        [r#"{"reason":"rotated","file":"log.2.gz"}"#, "3", "4"]
    );
}

#[test]
fn a_line_that_is_written_to_a_rotated_file_minutes_later_is_not_lost() {
    let mut h = History::new(0);
    h.disk.append(&h.writing, b"1\n");
    h.poll();
    let old = h.writing.clone();
    h.shift_chain();
    h.disk.rename(NAME, "log.1");
    h.writing = h.disk.create(NAME);
    h.disk.append(&h.writing, b"2\n");
    h.poll();
    for (wait_ms, text) in [(6_000, &b"3\n"[..]), (60_000, b"4"), (500_000, b"+\n5\n")] {
        h.wait(wait_ms);
        h.poll();
        h.disk.append(&old, text);
        h.poll();
    }
    let kept: Vec<&str> = h.kept.iter().map(|kept| kept.data.as_str()).collect();
    assert_eq!(kept, ["1", "2", "3", "4", "+", "5"]);
}

/// A follower that has read `log`, with whatever `before` has put beside it.
fn reading(before: impl FnOnce(&mut History)) -> History {
    let mut h = History::new(0);
    h.wait(1_000);
    before(&mut h);
    h.wait(1_000);
    let text = "x".repeat(400) + "\n1\n";
    h.disk.append(&h.writing, text.as_bytes());
    h.poll();
    h.kept.clear();
    h.wait(1_000);
    h
}

/// As an editor does: the new file takes the place of the old one at once.
fn replace(h: &mut History, text: &[u8]) {
    h.disk.remove(NAME);
    h.writing = h.disk.create(NAME);
    h.disk.append(&h.writing, text);
    h.wait(10);
}

fn kept(h: &History) -> Vec<&str> {
    h.kept.iter().map(|kept| kept.data.as_str()).collect()
}

#[test]
fn a_rotated_file_that_is_written_on_is_not_read_again_when_the_log_is_replaced() {
    let mut h = reading(|h| {
        h.disk.append(&h.writing, b"old\n");
        h.disk.rename(NAME, "log.1");
        h.writing = h.disk.create(NAME);
    });
    h.disk.append(&h.disk.file("log.1").unwrap(), b"late\n");
    h.wait(1_000);
    replace(&mut h, b"2\n");
    h.poll();
    assert_eq!(kept(&h), ["late", "2"]);
}

#[test]
fn a_copy_that_was_made_before_the_log_was_replaced_is_not_read_again() {
    let mut h = reading(|_| {});
    let copy = h.disk.create("log.1");
    h.disk.append(&copy, &h.writing.bytes());
    replace(&mut h, b"2\n");
    h.poll();
    // It may be a file that came in between: that cannot be told from a copy.
    assert_eq!(kept(&h), [r#"{"reason":"rotated"}"#, "2"]);
}

#[test]
fn a_file_that_came_and_was_rotated_is_not_lost_in_silence_when_the_one_before_is_gone() {
    for late in [false, true] {
        let mut h = reading(|_| {});
        let gone = h.writing.clone();
        replace(&mut h, b"2\n");
        h.disk.rename(NAME, "log.1");
        h.writing = h.disk.create(NAME);
        h.disk.append(&h.writing, b"3\n");
        h.wait(1_000);
        if late {
            h.disk.append(&gone, b"late\n");
        }
        h.poll();
        let gap = r#"{"reason":"rotated"}"#;
        let expected = match late {
            false => &[gap, "2", "3"][..],
            true => &["late", gap, "2", "3"],
        };
        assert_eq!(kept(&h), expected);
    }
}

#[test]
fn a_record_is_not_made_of_two_files_that_are_alike_before_the_place() {
    let mut h = reading(|_| {});
    let start = |name: &str| format!("{name}{}", "x".repeat(300));
    let place = h.writing.bytes().len();
    h.disk.append(&h.writing, start("one").as_bytes());
    h.poll();
    h.disk.truncate(&h.writing, place);
    h.disk.append(&h.writing, (start("two") + "!\n").as_bytes());
    h.poll();
    assert_eq!(kept(&h), [start("two") + "!"]);
}

#[test]
fn an_id_of_an_unfinished_end_is_no_place_in_a_new_file_that_begins_alike() {
    let mut h = History::new(0);
    h.disk.append(&h.writing, b"#");
    h.poll();
    replace(&mut h, b"#1\n");
    h.wait(6_000);
    h.poll();
    assert_eq!(kept(&h), ["#", "#1"]);
    let end_of_the_old = h.kept[0].id.clone();
    let (source, gap) = open(&h.disk, h.now_ms, Some(&end_of_the_old));
    assert_eq!(
        gap.map(|gap| gap.reason),
        Some(crate::event::Reason::UnknownId)
    );
    h.kept.clear();
    h.source = source;
    h.poll();
    assert_eq!(kept(&h), ["#1"]);
}

#[test]
fn a_large_file_that_was_written_anew_is_not_taken_for_the_old_one_for_a_second() {
    let mut h = reading(|_| {});
    let lines = "the same line\n".repeat(10_000);
    h.disk.append(&h.writing, lines.as_bytes());
    h.poll();
    h.kept.clear();
    h.wait(20);
    h.disk.append(&h.writing, b"the same line\n");
    h.poll();
    h.wait(20);
    let length = h.writing.bytes().len();
    h.disk.truncate(&h.writing, 0);
    // The lines stand where they stood.
    let anew = "y".repeat(402) + "\n" + &"the same line\n".repeat(10_003);
    assert_eq!(anew.len(), length + 2 * 14);
    h.disk.append(&h.writing, anew.as_bytes());
    h.poll();
    assert_eq!(h.kept[0].data, "the same line");
    assert_eq!(h.kept[1].data, r#"{"reason":"truncated"}"#);
    assert_eq!(h.kept.len(), 2 + 1 + 10_003);
}

#[test]
fn a_filter_that_passes_little_holds_no_poll_up_while_the_last_records_are_looked_for() {
    let mut h = History::new(0);
    let passed_over = "no\n".repeat(400_000);
    let text = format!("yes 1\nyes 2\n{passed_over}yes 3\n");
    h.disk.append(&h.writing, text.as_bytes());
    let filtered = [("SSE_FILTER", "yes"), ("SSE_BACKLOG", "2")];
    let (source, gap) = open_with(&h.disk, h.now_ms, &filtered);
    assert_eq!(gap, None);
    h.source = source;
    let mut polls = 0;
    while h.source.position().is_none() {
        let mut out = Batch::new();
        assert_eq!(h.source.poll(h.now(), &mut out), Next::More);
        h.keep(out.as_bytes().to_vec());
        polls += 1;
    }
    assert_eq!(polls, 4);
    // Whoever is cut off now has lost nothing.
    let (place, expected) = (h.last_id.clone(), h.source.position().unwrap());
    assert_eq!(place, expected.as_str());
    h.kept.clear();
    h.poll();
    assert_eq!(kept(&h), ["yes 2", "yes 3"]);
}

/// A follower that has left a file for a newer one.
fn lingering() -> (History, MemoryFile) {
    let mut h = reading(|_| {});
    let old = h.writing.clone();
    h.disk.rename(NAME, "log.1");
    h.writing = h.disk.create(NAME);
    h.disk.append(&h.writing, b"2\n");
    h.poll();
    h.kept.clear();
    (h, old)
}

#[test]
fn a_late_line_without_end_does_not_keep_a_poll_from_returning() {
    let (mut h, old) = lingering();
    h.disk.append(&old, &vec![b'x'; 8 << 20]);
    let mut out = Batch::new();
    let mut polls = 0;
    while h.source.poll(h.now(), &mut out) == Next::More {
        polls += 1;
        assert!(polls < 1_000);
    }
    assert!(polls > 4, "{polls}");
    h.disk.append(&old, b"\n");
    h.poll();
    let names: Vec<&str> = h.kept.iter().map(|kept| kept.name.as_str()).collect();
    assert_eq!(names, ["", "gap"]);
}

#[test]
fn late_lines_stay_apart_however_slow_their_reader_is() {
    let (mut h, old) = lingering();
    let line = "x".repeat(100);
    let lines = (line.clone() + "\n").repeat(2_500);
    h.disk.append(&old, lines.as_bytes());
    for _ in 0..12 {
        let mut out = Batch::new();
        h.source.poll(h.now(), &mut out);
        h.keep(out.as_bytes().to_vec());
        h.wait(6_000);
    }
    assert_eq!(h.kept.len(), 2_500);
    assert!(h.kept.iter().all(|kept| kept.data == line));
}

/// The anchor of the end of a file that holds only this.
fn one_line_anchor(line: &[u8]) -> u64 {
    super::TailId::start_after(Some(&MemoryFile::of(line))).anchor
}

#[test]
fn after_truncation_a_gap_says_so_and_the_rest_is_whole() {
    check(|seed| {
        let mut h = History::new(seed);
        for _ in 0..h.random.usize(5..60) {
            match h.random.u8(0..20) {
                0..9 => h.append(),
                9..13 => h.poll(),
                13 | 14 => {
                    let length = h.writing.bytes().len();
                    let length = if h.random.bool() {
                        0
                    } else {
                        h.random.usize(0..=length)
                    };
                    h.disk.truncate(&h.writing, length);
                    h.unfinished.clear();
                    h.poll_sometimes();
                }
                15 | 16 => {
                    // Removed or replaced. A file that comes and goes between two looks
                    // is never known, so there is a look after each.
                    h.poll();
                    if h.random.bool() {
                        h.disk.remove(NAME);
                        h.poll_sometimes();
                    }
                    h.unfinished.clear();
                    h.writing = h.disk.create(NAME);
                    h.append();
                    h.poll();
                    h.wait(6_000);
                    h.poll();
                }
                17 if !h.kept.is_empty() => h.reconnect(),
                _ => h.poll_sometimes(),
            }
        }
        h.settle();
        let last_gap = h
            .kept
            .iter()
            .rposition(|kept| kept.name == "gap")
            .map_or(0, |at| at + 1);
        h.kept.drain(..last_gap);
        let since = h.records();
        let content = String::from_utf8(h.writing.bytes()).unwrap();
        let lines: Vec<String> = content
            .lines()
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect();
        assert!(
            since.ends_with(&lines),
            "had {:?} of {:?}",
            brief(&since),
            brief(&lines)
        );
        let mut once = since.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), since.len(), "doubled: {:?}", brief(&since));
    });
}

/// A client that comes when so many bytes of the log have been copied.
fn between_copy_and_truncation(copied_bytes: usize, is_read: bool) -> History {
    let mut h = History::new(0);
    h.disk.append(&h.writing, b"1\n2\n");
    h.poll();
    h.wait(1_000);
    let copy = h.disk.create("log.1");
    let all = h.writing.bytes();
    h.disk.append(&copy, &all[..copied_bytes]);
    h.wait(1_000);
    (h.source, _) = open(&h.disk, h.now_ms, Some(&h.last_id));
    if is_read {
        h.poll();
    }
    h.disk.append(&copy, &all[copied_bytes..]);
    h.wait(1_000);
    h.disk.truncate(&h.writing, 0);
    h
}

#[test]
fn a_client_that_comes_between_copy_and_truncation_loses_nothing_and_gets_no_gap() {
    for copied_bytes in 0..=4 {
        for (is_read, is_seen) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut h = between_copy_and_truncation(copied_bytes, is_read);
            if is_seen {
                h.poll();
            }
            h.disk.append(&h.writing, b"3\n");
            h.poll();
            assert_eq!(kept(&h), ["1", "2", "3"], "{copied_bytes}");
            h.disk.truncate(&h.writing, 0);
            h.disk.append(&h.writing, b"4\n");
            h.poll();
            // Nobody has copied that.
            assert_eq!(kept(&h)[3..], [r#"{"reason":"truncated"}"#, "4"]);
        }
    }
}

#[test]
fn a_client_that_comes_back_in_an_older_file_while_the_log_is_copied_gets_nothing_twice() {
    for copied_bytes in 0..=4 {
        let mut h = History::new(0);
        h.disk.append(&h.writing, b"0\n");
        h.poll();
        h.disk.rename(NAME, "log.2");
        h.wait(1_000);
        h.writing = h.disk.create(NAME);
        h.disk.append(&h.writing, b"1\n2\n");
        h.wait(1_000);
        let copy = h.disk.create("log.1");
        h.disk.append(&copy, &b"1\n2\n"[..copied_bytes]);
        h.wait(1_000);
        (h.source, _) = open(&h.disk, h.now_ms, Some(&h.last_id));
        h.poll();
        h.disk.append(&copy, &b"1\n2\n"[copied_bytes..]);
        h.poll();
        h.wait(6_000);
        h.poll();
        assert_eq!(kept(&h), ["0", "1", "2"], "{copied_bytes}");
        h.disk.truncate(&h.writing, 0);
        h.disk.append(&h.writing, b"3\n");
        h.poll();
        assert_eq!(kept(&h), ["0", "1", "2", "3"], "{copied_bytes}");
    }
}

#[test]
fn an_editor_whose_new_file_is_written_while_it_is_looked_at_repeats_nothing() {
    let mut h = reading(|_| {});
    let text = h.writing.bytes();
    h.disk.rename(NAME, "log~");
    // The time of the poll was read before.
    *h.disk.now_ns.borrow_mut() += 3_000_000;
    h.writing = h.disk.create(NAME);
    h.disk.append(&h.writing, &text[..text.len() - 2]);
    h.poll();
    assert_eq!(kept(&h), [""; 0]);
    h.disk.append(&h.writing, b"1\n2\n");
    h.poll();
    assert_eq!(kept(&h), ["2"]);
}

/// Ways of naming rotated files.
#[derive(Clone, Copy, Debug)]
enum Naming {
    /// `log.1` is the newest.
    Down,
    /// `log.1` is the oldest.
    Up,
    /// By the date, and several of one day counted up.
    Date,
    /// By the date, the day first.
    DayFirst,
    /// `app.1.log` is the newest.
    ExtensionLast,
    ExtensionLastUp,
    /// `app-2026-11-28.log`.
    DateAndExtension,
    /// `app.log.2026-11-28.log`.
    DateAndExtensionAgain,
}

impl Naming {
    const ALL: [Self; 8] = [
        Self::Down,
        Self::Up,
        Self::Date,
        Self::DayFirst,
        Self::ExtensionLast,
        Self::ExtensionLastUp,
        Self::DateAndExtension,
        Self::DateAndExtensionAgain,
    ];

    fn disk(self) -> MemoryDisk {
        match self {
            Self::Down | Self::Up | Self::Date | Self::DayFirst => MemoryDisk::default(),
            _ => MemoryDisk::following("app.log"),
        }
    }

    /// The name of the rotated file that is the `age`th from the newest, of `count`.
    fn name(self, age: usize, count: usize) -> String {
        // Three a day, the last days of a month first.
        let number = count.saturating_sub(age);
        let (day, of_day) = (26 + number / 3, 1 + number % 3);
        let (day, month) = if day > 30 { (day - 30, 12) } else { (day, 11) };
        match self {
            Self::Down => format!("log.{age}"),
            Self::Up => format!("log.{}", number + 1),
            Self::Date => format!("log.2026-{month}-{day:02}.{of_day}"),
            Self::DayFirst => format!("log.{day:02}-{month}-2026.{of_day}"),
            Self::ExtensionLast => format!("app.{age}.log"),
            Self::ExtensionLastUp => format!("app-{}.log", number + 1),
            Self::DateAndExtension => format!("app-2026-{month}-{day:02}.{of_day}.log"),
            Self::DateAndExtensionAgain => format!("app.log.2026-{month}-{day:02}.{of_day}.log"),
        }
    }

    fn shifts(self) -> bool {
        matches!(self, Self::Down | Self::ExtensionLast)
    }
}

impl History {
    fn rotate_as(&mut self, naming: Naming, count: &mut usize) {
        if naming.shifts() {
            for age in (1..=*count).rev() {
                let (from, to) = (naming.name(age, *count), naming.name(age + 1, *count));
                self.disk.rename(&from, &to);
            }
        }
        *count += 1;
        self.disk.rename(self.disk.name(), &naming.name(1, *count));
        if self.random.bool() {
            self.append();
            self.poll_sometimes();
        }
        self.leave_file();
        self.writing = self.disk.create(self.disk.name());
    }

    /// Each record once and in order, but for a gap before what is missing or comes again.
    fn compare_but_for_gaps(&self) {
        let mut next = 0;
        let mut gap = false;
        for kept in &self.kept {
            if kept.name == "gap" {
                gap = true;
                continue;
            }
            if !kept.name.is_empty() || kept.data.is_empty() {
                continue;
            }
            let at = self.written.iter().position(|line| *line == kept.data);
            let at = at.unwrap_or_else(|| panic!("{:.9} was never written", kept.data));
            let expected = self.written.get(next);
            assert!(
                gap || at == next,
                "{:.9} for {expected:.9?} of {:?} in silence",
                kept.data,
                brief(&self.written)
            );
            (next, gap) = (at + 1, false);
        }
        let end = self.written.len();
        assert!(gap || next == end, "only {next} of {end} in silence");
    }
}

#[test]
fn however_rotated_files_are_named_a_client_has_exactly_what_was_written() {
    check(|seed| {
        let naming = Naming::ALL[seed as usize % Naming::ALL.len()];
        let mut h = History::on(naming.disk(), seed);
        let mut rotations = 0;
        for _ in 0..h.random.usize(5..60) {
            match h.random.u8(0..20) {
                0..9 => h.append(),
                9..14 => h.poll(),
                14 => h.wait(1_000),
                15 => h.wait(6_000),
                16 | 17 if rotations < 12 => {
                    h.wait(100);
                    h.rotate_as(naming, &mut rotations);
                }
                18 if !h.kept.is_empty() => h.reconnect(),
                _ => h.poll_sometimes(),
            }
        }
        h.settle();
        h.compare_but_for_gaps();
        h.compare();
        assert_eq!(h.gaps(), 0, "{naming:?}");
    });
}

#[test]
fn a_file_that_is_moved_to_an_unknown_name_is_never_lost_in_silence() {
    check(|seed| {
        let mut h = History::new(seed);
        let (mut rotations, mut moves) = (0, 0);
        for _ in 0..h.random.usize(5..60) {
            match h.random.u8(0..20) {
                0..9 => h.append(),
                9..14 => h.poll(),
                14 => h.wait(6_000),
                15 if rotations < 12 => {
                    h.wait(100);
                    h.rotate_as(Naming::Down, &mut rotations);
                }
                16..19 => {
                    // What comes and goes between two looks, or before a place that a client
                    // comes back to, is never known.
                    h.poll();
                    moves += 1;
                    h.wait(100);
                    h.disk.rename(NAME, &format!("saved-{moves}"));
                    h.poll_sometimes();
                    h.leave_file();
                    h.writing = h.disk.create(NAME);
                    h.poll();
                }
                _ => h.poll_sometimes(),
            }
        }
        h.settle();
        h.compare_but_for_gaps();
    });
}

#[test]
fn of_identical_lines_none_is_lost_or_comes_again_in_silence() {
    check(|seed| {
        let mut h = History::new(seed);
        let (mut rotations, mut written) = (0, 0);
        for _ in 0..h.random.usize(5..60) {
            match h.random.u8(0..20) {
                0..9 => {
                    let count = [1, 1, 3, 100][h.random.usize(0..4)];
                    h.disk.append(&h.writing, "ping\n".repeat(count).as_bytes());
                    written += count;
                }
                9..14 => h.poll(),
                14 => h.wait(6_000),
                15 | 16 if rotations < 12 => {
                    h.wait(100);
                    h.rotate_pinging(&mut rotations);
                }
                17 if !h.kept.is_empty() => h.reconnect(),
                _ => h.poll_sometimes(),
            }
        }
        for _ in 0..3 {
            h.poll();
            h.wait(6_000);
        }
        let had = h.records().len();
        assert!(
            had == written || h.gaps() > 0,
            "had {had} of {written} in silence"
        );
    });
}

impl History {
    fn rotate_pinging(&mut self, count: &mut usize) {
        for age in (1..=*count).rev() {
            let (from, to) = (format!("log.{age}"), format!("log.{}", age + 1));
            self.disk.rename(&from, &to);
        }
        *count += 1;
        self.disk.rename(NAME, "log.1");
        self.writing = self.disk.create(NAME);
    }
}

#[test]
fn copy_and_truncate_loses_nothing_while_the_copies_are_there() {
    check(|seed| {
        let mut h = History::new(seed);
        let mut rotations = 0;
        for _ in 0..h.random.usize(5..60) {
            match h.random.u8(0..20) {
                0..9 => h.append(),
                9..14 => h.poll(),
                14 => h.wait(6_000),
                15 | 16 if rotations < 12 && !h.kept.is_empty() => {
                    rotations += 1;
                    h.rotate_by_copy();
                    h.poll_sometimes();
                }
                17 if !h.kept.is_empty() => h.reconnect(),
                _ => h.poll_sometimes(),
            }
        }
        h.settle();
        h.compare();
    });
}

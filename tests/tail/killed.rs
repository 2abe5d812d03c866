//! Followers that are killed at any moment: what their client kept is the file.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::stage::{Client, Tail, number, random};
use crate::support::folder::Folder;

/// How many rotated files are kept: the client is never away for so many.
const KEPT: usize = 12;

struct Writer {
    path: PathBuf,
    file: File,
    written: Vec<String>,
    random: fastrand::Rng,
    /// How many lines there were at each rotation.
    rotated_at: Vec<usize>,
}

impl Writer {
    fn new(path: &Path, random: fastrand::Rng) -> Self {
        Self {
            path: path.to_owned(),
            file: File::create(path).unwrap(),
            written: Vec::new(),
            random,
            rotated_at: Vec::new(),
        }
    }

    /// Whether another rotation leaves the file of a client that has so many lines in reach.
    fn may_rotate(&self, had: usize) -> bool {
        let newer = self.rotated_at.iter().rev().take_while(|at| **at >= had);
        newer.count() + 2 < KEPT
    }

    /// One line, in one write or in two.
    fn line(&mut self) {
        let filler = "x".repeat([0, 20, 300, 3_000][self.random.usize(0..4)]);
        let line = format!("{} {filler}", self.written.len());
        let whole = format!("{line}\n");
        let at = if self.random.u8(0..4) == 0 {
            self.random.usize(0..whole.len())
        } else {
            whole.len()
        };
        self.file.write_all(&whole.as_bytes()[..at]).unwrap();
        self.file.write_all(&whole.as_bytes()[at..]).unwrap();
        self.written.push(line);
    }

    fn chained(&self, number: usize) -> PathBuf {
        self.path.with_extension(format!("log.{number}"))
    }

    fn rotate(&mut self) {
        self.rotated_at.push(self.written.len());
        for number in (1..KEPT).rev() {
            let _ = fs::rename(self.chained(number), self.chained(number + 1));
        }
        fs::rename(&self.path, self.chained(1)).unwrap();
        // Daemons write on into the file that they have open.
        if self.random.bool() {
            self.line();
        }
        self.file = File::create(&self.path).unwrap();
    }
}

#[test]
fn a_client_whose_follower_is_killed_1000_times_has_the_file() {
    let times = number("SSE_TEST_KILLS", 1_000);
    let mut random = random();
    let folder = Folder::new();
    let path = folder.join("app.log");
    let mut writer = Writer::new(&path, random.fork());
    writer.line();
    let mut client = Client::new(Tail::of(&path).set("SSE_BACKLOG", "1000000"));
    client.until(&writer.written[0].clone());
    let is_over = AtomicBool::new(false);
    // On a machine that is busy elsewhere, few of the followers say anything before they die.
    let had = AtomicUsize::new(client.kept.len());
    let written = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                for _ in 0..writer.random.usize(1..8) {
                    writer.line();
                }
                let is_due = writer.random.u8(0..60) == 0;
                if is_due && writer.may_rotate(had.load(Ordering::Relaxed)) {
                    writer.rotate();
                    writer.line();
                }
                std::thread::sleep(Duration::from_micros(writer.random.u64(0..6_000)));
            }
            writer.file.write_all(b"last\n").unwrap();
            writer.written.push("last".into());
            writer.written
        });
        for _ in 0..times {
            client.come();
            // Some die before they have said anything, some in the middle of a burst.
            let most = [2_000, 8_000, 25_000][random.usize(0..3)];
            std::thread::sleep(Duration::from_micros(random.u64(0..most)));
            client.leave();
            had.store(client.kept.len(), Ordering::Relaxed);
        }
        is_over.store(true, Ordering::Relaxed);
        writing.join().unwrap()
    });
    client.until("last");
    client.has(&written);
}

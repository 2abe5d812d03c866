//! The real logrotate: every way in which it turns a log over, with followers that are
//! there, that come back later, and that come back too late.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::stage::{Client, Follower, Tail, random};
use crate::support::folder::Folder;

/// A log, the daemon that writes it, and a logrotate with settings of its own.
struct Log {
    folder: Folder,
    daemon: File,
    written: Vec<String>,
}

impl Log {
    /// `directives` are logrotate's, such as `create`.
    fn new(directives: &str) -> Self {
        let folder = Folder::new();
        let path = folder.join("app.log");
        let config = format!("{} {{\n  {directives}\n}}\n", path.display());
        fs::write(folder.join("config"), config).unwrap();
        let daemon = open(&path);
        Self {
            folder,
            daemon,
            written: Vec::new(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.join("app.log")
    }

    fn tail(&self) -> Tail {
        Tail::of(&self.path()).set("SSE_BACKLOG", "1000000")
    }

    fn lines(&mut self, count: usize) {
        let mut text = String::new();
        for _ in 0..count {
            let line = format!("{} of the log", self.written.len());
            text.push_str(&line);
            text.push('\n');
            self.written.push(line);
        }
        self.daemon.write_all(text.as_bytes()).unwrap();
    }

    fn logrotate(&self) {
        let output = Command::new("logrotate")
            .arg("--force")
            .arg("--state")
            .args([self.folder.join("state"), self.folder.join("config")])
            .output()
            .unwrap_or_else(|error| panic!("logrotate: {error}: apt-get install logrotate"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{said}");
    }

    fn reopen(&mut self) {
        self.daemon = open(&self.path());
    }

    /// Rotates, and the daemon writes on as it is told to.
    fn rotate(&mut self, daemon: Daemon) {
        self.logrotate();
        match daemon {
            Daemon::Reopens => self.reopen(),
            Daemon::IsSlow => {
                self.lines(2);
                self.reopen();
            }
            Daemon::Appends => {}
        }
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.starts_with("app.log")).collect();
        names.sort();
        names
    }

    /// The content of what is there.
    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap()
    }
}

/// What the daemon does about a rotation.
#[derive(Clone, Copy, PartialEq)]
enum Daemon {
    /// It opens its log anew at once.
    Reopens,
    /// It writes on into the rotated file, and then opens its log anew.
    IsSlow,
    /// It need not know of it (copytruncate).
    Appends,
}

fn open(path: &Path) -> File {
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .unwrap()
}

/// The ways of logrotate that lose nothing, while no more than 16 rotations are kept.
const LOSSLESS: [(&str, Daemon); 12] = [
    ("rotate 30\n create", Daemon::Reopens),
    ("rotate 30\n create", Daemon::IsSlow),
    ("rotate 30\n nocreate", Daemon::Reopens),
    ("rotate 30\n nocreate", Daemon::IsSlow),
    ("rotate 30\n start 0\n create", Daemon::Reopens),
    ("rotate 30\n start 7\n create", Daemon::IsSlow),
    ("rotate 30\n create\n ifempty", Daemon::IsSlow),
    ("rotate 30\n copytruncate", Daemon::Appends),
    (
        "rotate 200\n dateext\n dateformat -%Y%m%d-%s",
        Daemon::Reopens,
    ),
    (
        "rotate 200\n dateext\n dateformat .%Y-%m-%d_%H:%M:%S",
        Daemon::IsSlow,
    ),
    (
        "rotate 200\n dateext\n dateformat -%s\n nocreate",
        Daemon::IsSlow,
    ),
    (
        "rotate 200\n dateext\n dateformat -%s\n copytruncate",
        Daemon::Appends,
    ),
];

/// Names by the second need another one for each rotation.
fn next_second(directives: &str) {
    if !directives.contains("dateext") {
        return;
    }
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    // logrotate's clock may be a tick late.
    let next = Duration::from_secs(now().as_secs() + 1) + Duration::from_millis(20);
    crate::stage::wait_for("the next second", || (now() > next).then_some(()));
}

#[test]
fn a_follower_that_is_there_loses_nothing() {
    std::thread::scope(|scope| {
        for (directives, daemon) in LOSSLESS {
            scope.spawn(move || {
                let mut log = Log::new(directives);
                log.lines(3);
                let mut client = Client::new(log.tail());
                client.until(&log.written.last().unwrap().clone());
                for round in 0..4 {
                    log.lines(round % 3);
                    log.rotate(daemon);
                    log.lines(2);
                    client.until(&log.written.last().unwrap().clone());
                    next_second(directives);
                }
                client.has(&log.written);
            });
        }
    });
}

#[test]
fn a_client_that_was_away_for_1_or_3_rotations_loses_nothing() {
    std::thread::scope(|scope| {
        for (directives, daemon) in LOSSLESS {
            for away in [1, 3] {
                scope.spawn(move || {
                    let mut log = Log::new(directives);
                    log.lines(5);
                    let mut client = Client::new(log.tail());
                    client.until(&log.written.last().unwrap().clone());
                    client.leave();
                    log.lines(1);
                    for _ in 0..away {
                        log.rotate(daemon);
                        log.lines(3);
                        next_second(directives);
                    }
                    client.until(&log.written.last().unwrap().clone());
                    client.has(&log.written);
                    assert!(log.names().len() > away, "{:?}", log.names());
                });
            }
        }
    });
}

#[test]
fn a_follower_that_is_held_up_over_many_rotations_loses_nothing() {
    for (directives, daemon) in [LOSSLESS[0], LOSSLESS[1], LOSSLESS[7]] {
        let mut log = Log::new(directives);
        log.lines(3);
        let mut client = Client::new(log.tail());
        client.until(&log.written.last().unwrap().clone());
        client.come().pause();
        for _ in 0..14 {
            log.rotate(daemon);
            log.lines(2);
        }
        client.come().go_on();
        client.until(&log.written.last().unwrap().clone());
        client.has(&log.written);
    }
}

/// What a client has after `first`, its events split at the gap: `None` without one.
fn split_at_gap(kept: &[String]) -> Option<(Vec<String>, String, Vec<String>)> {
    let at = kept.iter().position(|kept| kept.starts_with("gap: "))?;
    let (before, rest) = kept.split_at(at);
    Some((before.to_vec(), rest[0].clone(), rest[1..].to_vec()))
}

#[test]
fn a_client_that_was_away_for_20_rotations_is_told() {
    let mut log = Log::new("rotate 30\n create");
    log.lines(3);
    let mut client = Client::new(log.tail());
    client.until(&log.written.last().unwrap().clone());
    client.leave();
    for _ in 0..20 {
        log.rotate(Daemon::Reopens);
        log.lines(2);
    }
    client.until(&log.written.last().unwrap().clone());
    let (before, gap, after) = split_at_gap(&client.kept).expect("a gap");
    assert_eq!(before, log.written[..3]);
    assert_eq!(gap, "gap: {\"reason\":\"unknown-id\"}");
    assert_eq!(after, log.written[log.written.len() - 2..]);
    // It is said once.
    client.leave();
    log.lines(1);
    client.until(&log.written.last().unwrap().clone());
    assert_eq!(
        client.kept.iter().filter(|k| k.starts_with("gap")).count(),
        1
    );
}

#[test]
fn a_follower_that_is_held_up_for_too_long_is_told_and_one_that_is_not_loses_nothing() {
    for (rotations, kept) in [(20, 30), (80, 100), (20, 5)] {
        let mut log = Log::new(&format!("rotate {kept}\n create"));
        log.lines(3);
        let mut client = Client::new(log.tail());
        client.until(&log.written.last().unwrap().clone());
        client.come().pause();
        for _ in 0..rotations {
            log.rotate(Daemon::Reopens);
            log.lines(2);
        }
        client.come().go_on();
        client.until(&log.written.last().unwrap().clone());
        nothing_is_missing_in_silence(&client, &log.written);
        let (_, gap, _) = match split_at_gap(&client.kept) {
            None => {
                assert_eq!((rotations, kept), (20, 30));
                continue;
            }
            Some(parts) => parts,
        };
        assert_eq!(gap, "gap: {\"reason\":\"rotated\"}");
    }
}

/// Either all of `written`, or a gap in the place of what is missing.
#[track_caller]
pub fn nothing_is_missing_in_silence(client: &Client, written: &[String]) {
    let mut expected = written.iter();
    let mut gap = false;
    for kept in &client.kept {
        if kept.starts_with("gap: ") {
            gap = true;
        } else if gap {
            gap = false;
            assert!(expected.any(|line| line == kept), "{kept} out of order");
        } else {
            assert_eq!(Some(kept), expected.next(), "of {:?}", client.kept);
        }
    }
    assert!(gap || expected.next().is_none(), "{:?}", client.kept);
}

const COMPRESSING: [(&str, Daemon); 6] = [
    ("rotate 9\n create\n compress", Daemon::Reopens),
    (
        "rotate 9\n create\n compress\n delaycompress",
        Daemon::Reopens,
    ),
    (
        "rotate 9\n create\n compress\n delaycompress",
        Daemon::IsSlow,
    ),
    ("rotate 9\n nocreate\n compress", Daemon::Reopens),
    ("rotate 9\n copytruncate\n compress", Daemon::Appends),
    (
        "rotate 9\n copytruncate\n compress\n delaycompress",
        Daemon::Appends,
    ),
];

#[test]
fn a_follower_that_is_there_loses_nothing_to_compression() {
    for (directives, daemon) in COMPRESSING {
        // Between the copy and the compression there is hardly time to see the copy.
        if directives.contains("copytruncate\n compress") && !directives.contains("delay") {
            continue;
        }
        let mut log = Log::new(directives);
        log.lines(3);
        let mut client = Client::new(log.tail());
        client.until(&log.written.last().unwrap().clone());
        for _ in 0..4 {
            log.rotate(daemon);
            log.lines(2);
            client.until(&log.written.last().unwrap().clone());
        }
        client.has(&log.written);
        assert!(log.names().iter().any(|name| name.ends_with(".gz")));
    }
}

#[test]
fn what_was_compressed_while_a_client_was_away_is_named() {
    for (directives, daemon) in COMPRESSING {
        let mut log = Log::new(directives);
        log.lines(3);
        let mut client = Client::new(log.tail());
        client.until(&log.written.last().unwrap().clone());
        client.leave();
        for _ in 0..3 {
            log.lines(1);
            log.rotate(daemon);
            log.lines(2);
        }
        client.until(&log.written.last().unwrap().clone());
        nothing_is_missing_in_silence(&client, &log.written);
        let (_, gap, _) = split_at_gap(&client.kept).expect("a gap");
        let delayed = directives.contains("delay");
        let name = if delayed {
            "app.log.2.gz"
        } else {
            "app.log.1.gz"
        };
        let expected = format!("gap: {{\"reason\":\"unknown-id\",\"file\":\"{name}\"}}");
        assert_eq!(gap, expected, "{directives}");
    }
}

#[test]
fn what_was_compressed_while_a_follower_was_held_up_is_said() {
    for (directives, daemon) in COMPRESSING {
        let mut log = Log::new(directives);
        log.lines(3);
        let mut client = Client::new(log.tail());
        client.until(&log.written.last().unwrap().clone());
        client.come().pause();
        for _ in 0..3 {
            log.lines(1);
            log.rotate(daemon);
            log.lines(2);
        }
        client.come().go_on();
        client.until(&log.written.last().unwrap().clone());
        nothing_is_missing_in_silence(&client, &log.written);
    }
}

#[test]
fn a_daemon_that_writes_on_for_long_is_heard_until_the_new_file_has_content() {
    let mut log = Log::new("rotate 9\n create");
    log.lines(1);
    let mut client = Client::new(log.tail());
    client.until("0 of the log");
    log.logrotate();
    for _ in 0..5 {
        log.lines(1);
        client.until(&log.written.last().unwrap().clone());
        client.leave();
    }
    log.reopen();
    log.lines(1);
    client.until(&log.written.last().unwrap().clone());
    client.has(&log.written);
    assert_eq!(log.text("app.log.1").lines().count(), 6);
}

#[test]
fn two_daemons_one_of_which_reopens_late_are_both_heard() {
    let mut log = Log::new("rotate 9\n create");
    let mut slow = open(&log.path());
    let mut follower: Follower = log.tail().start();
    log.lines(1);
    follower.says(&["0 of the log"]);
    log.rotate(Daemon::Reopens);
    log.lines(1);
    follower.says(&["1 of the log"]);
    slow.write_all(b"late\n").unwrap();
    follower.says(&["late"]);
    log.lines(1);
    follower.says(&["2 of the log"]);
}

/// Lines, rotations of any kind, connections that come, go and are held up.
#[test]
fn any_mixture_of_rotations_and_absences_loses_nothing() {
    let mut random = random();
    for (directives, daemon) in [LOSSLESS[1], LOSSLESS[3], LOSSLESS[6], LOSSLESS[7]] {
        let mut log = Log::new(directives);
        log.lines(1);
        let mut client = Client::new(log.tail());
        client.until("0 of the log");
        for _ in 0..12 {
            let lines = random.usize(0..4);
            log.lines(lines);
            match random.u8(0..6) {
                0 => client.leave(),
                1 | 2 => {
                    client.come();
                }
                3 => {
                    let last = log.written.last().unwrap().clone();
                    if client.kept.last() != Some(&last) {
                        client.until(&last);
                    }
                }
                _ => log.rotate(daemon),
            }
        }
        log.lines(1);
        client.until(&log.written.last().unwrap().clone());
        client.has(&log.written);
    }
}

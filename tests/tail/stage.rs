//! Stage: followers as processes, and clients that come back to new ones.
//!
//! Everything is waited for with a deadline, and everything is gone when it is dropped.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub use crate::support::event_stream::shown;
use crate::support::event_stream::{Event, Item, Parser};
use crate::support::pipe::pipe;
use crate::support::process;
pub use crate::support::random::{number, random};
pub use crate::support::wait::{DEADLINE, wait_for};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_nph-tail");

/// How much of an answer is kept as it came.
const RAW_BYTES: usize = 256 * 1024;

/// `nph-tail.cgi` under a gateway, about to be started.
#[derive(Clone)]
pub struct Tail {
    /// What starts it: a program, such as `setpriv`, that ends in an exec of it.
    before: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
}

impl Tail {
    fn new() -> Self {
        let tail = Self {
            before: Vec::new(),
            variables: Vec::new(),
        };
        tail.set("GATEWAY_INTERFACE", "CGI/1.1")
            .set("REQUEST_METHOD", "GET")
            .set("SERVER_PROTOCOL", "HTTP/1.1")
            .set("SCRIPT_FILENAME", "/usr/lib/cgi-bin/nph-tail.cgi")
    }

    /// Following one file.
    pub fn of(file: &Path) -> Self {
        Self::new().set("SSE_FILE", file)
    }

    /// Following what `path_info` names below `root`.
    pub fn below(root: &Path, path_info: impl AsRef<OsStr>) -> Self {
        Self::new()
            .set("SSE_ROOT", root)
            .set("PATH_INFO", path_info)
    }

    pub fn set(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.into(), value.as_ref().into()));
        self
    }

    pub fn last_id(self, id: impl AsRef<OsStr>) -> Self {
        self.set("HTTP_LAST_EVENT_ID", id)
    }

    pub fn by(mut self, command: &[&str]) -> Self {
        self.before = command.iter().map(OsString::from).collect();
        self
    }

    /// As user `nobody`, for whom permissions count.
    pub fn by_nobody(self) -> Self {
        let ids = ["--reuid=65534", "--regid=65534", "--clear-groups"];
        self.by(&[&["setpriv"], &ids[..]].concat())
    }

    pub fn start(&self) -> Follower {
        let mut words = self.before.clone();
        words.push(PROGRAM.into());
        let mut command = Command::new(&words[0]);
        let (reader, writer) = pipe();
        let (errors, errors_writer) = pipe();
        let child = command
            .args(&words[1..])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .envs(self.variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(errors_writer)
            .spawn()
            .unwrap_or_else(|error| panic!("{words:?}: {error}"));
        Follower {
            child,
            reader,
            errors: Some(errors),
            unread_head: Some(Vec::new()),
            raw: Vec::new(),
            parser: Parser::default(),
            items: VecDeque::new(),
            id: String::new(),
        }
    }

    /// What it answers before it waits, byte for byte but for the date and the jitter of
    /// `retry:`; and what it said on stderr.
    pub fn answer(&self) -> (String, String) {
        let mut follower = self.start();
        loop {
            match follower.next(DEADLINE) {
                // The opening and the first events leave in one write.
                Next::Item(Item::Event(_) | Item::Blank { .. }) | Next::End => break,
                Next::Item(_) => {}
                Next::Silence => panic!("no answer; {}", follower.stderr()),
            }
        }
        let stderr = follower.stderr();
        let text = String::from_utf8_lossy(&follower.raw);
        let varies = |line: &&str| !line.starts_with("Date: ") && !line.starts_with("retry: ");
        (text.split_inclusive('\n').filter(varies).collect(), stderr)
    }
}

/// What comes next in a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    Item(Item),
    /// The stream has ended.
    End,
    /// Nothing came for so long.
    Silence,
}

/// A running follower and its reader.
pub struct Follower {
    child: Child,
    reader: File,
    errors: Option<File>,
    /// What has come of the head, until all of it has.
    unread_head: Option<Vec<u8>>,
    /// The first bytes, as they came.
    raw: Vec<u8>,
    parser: Parser,
    items: VecDeque<Item>,
    /// The last id of what was taken.
    id: String,
}

impl Follower {
    /// Reads once; `None` when nothing came for so long, and nothing at the end.
    fn read(&mut self, patience: Duration) -> Option<usize> {
        let mut waits = [PollFd::new(self.reader.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(patience).unwrap();
        if poll(&mut waits, timeout).unwrap() == 0 {
            return None;
        }
        let mut bytes = vec![0; 65_536];
        let count = self.reader.read(&mut bytes).unwrap();
        self.take(&bytes[..count]);
        Some(count)
    }

    fn take(&mut self, bytes: &[u8]) {
        if self.raw.len() < RAW_BYTES {
            self.raw.extend_from_slice(bytes);
        }
        match &mut self.unread_head {
            None => self.parser.feed(bytes),
            Some(unread) => {
                unread.extend_from_slice(bytes);
                if let Some(end) = unread.windows(4).position(|four| four == b"\r\n\r\n") {
                    let body = unread.split_off(end + 4);
                    self.unread_head = None;
                    self.parser.feed(&body);
                }
            }
        }
        self.items.extend(std::iter::from_fn(|| self.parser.next()));
    }

    pub fn next(&mut self, patience: Duration) -> Next {
        let end = Instant::now() + patience;
        while self.items.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            match self.read(left) {
                None => return Next::Silence,
                Some(0) => return Next::End,
                Some(_) => {}
            }
        }
        let item = self.items.pop_front().expect("it is not empty");
        if let Item::Event(Event { id, .. }) | Item::Blank { id, .. } = &item {
            self.id.clone_from(id);
        }
        Next::Item(item)
    }

    /// The next event; other items are passed over, but there must be an event.
    #[track_caller]
    pub fn event(&mut self) -> Event {
        self.event_within(DEADLINE)
    }

    #[track_caller]
    pub fn event_within(&mut self, patience: Duration) -> Event {
        let end = Instant::now() + patience;
        loop {
            match self.next(end.saturating_duration_since(Instant::now())) {
                Next::Item(Item::Event(event)) => return event,
                Next::Item(Item::Ignored(line)) => panic!("no field: {line:?}"),
                Next::Item(_) => {}
                other => panic!("{other:?} instead of an event; {}", self.stderr()),
            }
        }
    }

    /// The next events, as `name: data`, or `data` without a name.
    #[track_caller]
    pub fn says(&mut self, expected: &[&str]) {
        for (number, expected) in expected.iter().enumerate() {
            assert_eq!(shown(&self.event()), *expected, "event {number}");
        }
    }

    /// As [`Follower::says`], with nothing but comments before it, each within `patience`.
    #[track_caller]
    pub fn says_within(&mut self, patience: Duration, expected: &str) {
        assert_eq!(shown(&self.event_within(patience)), expected);
    }

    /// Waits for the opening: `retry:` and the first comment.
    #[track_caller]
    pub fn opened(mut self) -> Self {
        loop {
            match self.next(DEADLINE) {
                Next::Item(Item::Comment(text)) if text == " sse-cgi" => return self,
                Next::Item(Item::Retry(_)) => {}
                other => panic!("{other:?} before the opening; {}", self.stderr()),
            }
        }
    }

    /// Waits for the opening and the id that tells that there is nothing to say; the
    /// follower is then waiting.
    #[track_caller]
    pub fn idle(self) -> Self {
        let mut follower = self.opened();
        match follower.next(DEADLINE) {
            Next::Item(Item::Blank { dropped: None, .. }) => follower,
            other => panic!("{other:?} instead of an id; {}", follower.stderr()),
        }
    }

    /// That no event comes until a heartbeat after `SSE_HEARTBEAT`. An id may move.
    #[track_caller]
    pub fn beats(&mut self) {
        loop {
            match self.next(DEADLINE) {
                Next::Item(Item::Comment(text)) if text.is_empty() => return,
                Next::Item(Item::Comment(_) | Item::Retry(_) | Item::Blank { .. }) => {}
                other => panic!("no heartbeat but {other:?}; {}", self.stderr()),
            }
        }
    }

    /// Waits for a heartbeat or an id that moves; no event may come.
    #[track_caller]
    pub fn beats_or_moves(&mut self) {
        match self.next(DEADLINE) {
            Next::Item(Item::Comment(_) | Item::Retry(_) | Item::Blank { .. }) => {}
            other => panic!("no heartbeat but {other:?}; {}", self.stderr()),
        }
    }

    /// The last id of what was taken out.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The reader goes away.
    pub fn leave(&mut self) {
        self.reader = pipe().0;
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid() as i32), signal).unwrap();
    }

    /// Stops it in its tracks; [`Follower::go_on`] ends that.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
        wait_for("a stopped follower", || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
            stat.contains(") T ").then_some(())
        });
    }

    pub fn go_on(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Kills it and gives what had left it: events in whole only.
    pub fn kill(mut self) -> (Vec<Event>, String) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let mut events = Vec::new();
        loop {
            match self.next(DEADLINE) {
                Next::Item(Item::Event(event)) => events.push(event),
                Next::Item(_) => {}
                Next::End => return (events, self.id.clone()),
                Next::Silence => panic!("a killed follower's pipe stays open"),
            }
        }
    }

    /// What it said on stderr, once it has ended: it is ended here if it has not.
    pub fn stderr(&mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let mut text = String::new();
        if let Some(mut errors) = self.errors.take() {
            let _ = errors.read_to_string(&mut text);
        }
        text
    }

    /// A field of /proc/PID/`file`, such as `VmHWM` of `status`, as a number.
    pub fn figure(&self, file: &str, field: &str) -> u64 {
        process::field(self.pid(), file, field)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- stderr of the program\n{}", self.stderr());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client that comes back: what it kept of all its connections, and its last id.
pub struct Client {
    tail: Tail,
    follower: Option<Follower>,
    pub kept: Vec<String>,
    pub last_id: String,
}

impl Client {
    pub fn new(tail: Tail) -> Self {
        Self {
            tail,
            follower: None,
            kept: Vec::new(),
            last_id: String::new(),
        }
    }

    /// Connects, if it is not connected.
    pub fn come(&mut self) -> &mut Follower {
        let (tail, id) = (&self.tail, &self.last_id);
        self.follower
            .get_or_insert_with(|| tail.clone().last_id(id).start())
    }

    /// Leaves; its follower is killed.
    pub fn leave(&mut self) {
        if let Some(follower) = self.follower.take() {
            let (events, id) = follower.kill();
            self.kept.extend(events.iter().map(shown));
            if !id.is_empty() {
                self.last_id = id;
            }
        }
    }

    /// Takes in events until `last` has come.
    #[track_caller]
    pub fn until(&mut self, last: &str) {
        self.come();
        let follower = self.follower.as_mut().expect("it has come");
        loop {
            let event = follower.event();
            self.kept.push(shown(&event));
            self.last_id.clone_from(&event.id);
            if self.kept.last().is_some_and(|kept| kept == last) {
                return;
            }
        }
    }

    /// That it has all of `written`, once and in order, and no gap.
    #[track_caller]
    pub fn has(&self, written: &[String]) {
        let pairs = self.kept.iter().zip(written);
        let same = pairs.take_while(|(a, b)| a == b).count();
        let rest = |of: &[String]| -> Vec<String> {
            of[same..]
                .iter()
                .take(5)
                .map(|l| format!("{l:.40}"))
                .collect()
        };
        assert!(
            self.kept == written,
            "after {same} of {}, had {:?} for {:?}",
            written.len(),
            rest(&self.kept),
            rest(written)
        );
    }
}

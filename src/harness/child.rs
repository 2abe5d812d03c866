//! Child: a process that the server has started, until it is reaped, and its stderr.

use std::io::{self, BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStderr, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::access::printable;

/// The time between SIGTERM and SIGKILL, as in Apache.
pub const GRACE: Duration = Duration::from_secs(3);

const LONGEST_STDERR_LINE_BYTES: usize = 8 * 1024;

/// The stack of a thread: there are several for each program.
const STACK_BYTES: usize = 256 * 1024;

/// Starts a thread.
///
/// # Errors
/// When the system has no room for another one.
pub fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let builder = thread::Builder::new().stack_size(STACK_BYTES);
    builder.spawn(work).map(|_| ())
}

/// What a supervisor of a process learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The process has ended, and is not reaped.
    Exited,
    /// It has closed its output.
    OutputEnded,
    /// Nobody reads its output.
    Abandoned,
    /// It is to read its configuration again.
    Reload,
    /// The server stops.
    Stop,
}

/// A process and the events that concern it.
pub struct Supervised {
    pub name: String,
    pub id: Pid,
    child: Child,
    events: Receiver<Event>,
    has_exited: bool,
}

impl Supervised {
    /// Supervises a process that was just started. Its stderr is forwarded if it is a pipe.
    ///
    /// # Errors
    /// When the system has no room for a thread; the process has been ended.
    pub fn new(name: String, mut child: Child) -> io::Result<(Self, Sender<Event>)> {
        let (sender, events) = channel();
        let id = Pid::from_raw(child.id() as i32);
        let stderr = child.stderr.take();
        let mut supervised = Self {
            name: name.clone(),
            id,
            child,
            events,
            has_exited: false,
        };
        let watched = supervised
            .watch(sender.clone())
            .and_then(|()| match stderr {
                Some(stderr) => spawn(move || log_stderr(stderr, name)),
                None => Ok(()),
            });
        if let Err(error) = watched {
            let _ = killpg(id, Signal::SIGKILL);
            let _ = supervised.child.wait();
            return Err(error);
        }
        Ok((supervised, sender))
    }

    /// Reports the end of the process. It stays a zombie until it is reaped here, so that its
    /// number cannot become another process's while a signal is sent to it.
    fn watch(&self, sender: Sender<Event>) -> io::Result<()> {
        let id = self.id;
        spawn(move || {
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
            while waitid(Id::Pid(id), flags) == Err(nix::errno::Errno::EINTR) {}
            let _ = sender.send(Event::Exited);
        })
    }

    /// The next event, [`Event::Exited`] at most once.
    pub fn next(&mut self) -> Event {
        // A waiter has a sender until the process has ended.
        let event = self.events.recv().unwrap_or(Event::Abandoned);
        self.has_exited |= event == Event::Exited;
        event
    }

    /// Whether an event that has not been processed yet says that the server stops.
    pub fn is_told_to_stop(&self) -> bool {
        self.events.try_iter().any(|event| event == Event::Stop)
    }

    /// Whether it has ended, within this time.
    pub fn ends_within(&mut self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        while !self.has_exited {
            let left = until.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(event) => self.has_exited |= event == Event::Exited,
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => return true,
            }
        }
        true
    }

    /// Reaps it; it must have ended, or be about to.
    pub fn reap(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }

    /// Sends SIGTERM, and then SIGKILL to it and its children if it does not end. Reaps it.
    pub fn terminate(&mut self) {
        let id = self.id;
        let _ = kill(id, Signal::SIGTERM);
        if !self.ends_within(GRACE) {
            let name = &self.name;
            super::note(format_args!(
                "{name} ({id}) outlived SIGTERM by 3 s: SIGKILL"
            ));
            let _ = killpg(id, Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

/// How a process ended, as text after its name.
pub fn exit_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_string(),
    }
}

/// Forwards what a process writes to its stderr, until it closes it.
fn log_stderr(stderr: ChildStderr, name: String) {
    let mut stderr = BufReader::new(stderr);
    let mut lines = Stderr::of(name);
    loop {
        match stderr.fill_buf() {
            Ok([]) => return,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
            Ok(bytes) => {
                lines.push(bytes);
                let count = bytes.len();
                stderr.consume(count);
            }
        }
    }
}

/// Forwards the stderr of a named program to our stderr in whole lines. The last line is
/// written when this is dropped.
#[derive(Debug)]
pub struct Stderr {
    name: String,
    unfinished: Vec<u8>,
}

impl Stderr {
    pub fn of(name: String) -> Stderr {
        Stderr {
            name,
            unfinished: Vec::new(),
        }
    }

    pub fn push(&mut self, mut bytes: &[u8]) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.unfinished.extend_from_slice(&bytes[..end]);
            self.say();
            bytes = &bytes[end + 1..];
        }
        self.unfinished.extend_from_slice(bytes);
        if self.unfinished.len() >= LONGEST_STDERR_LINE_BYTES {
            self.say();
        }
    }

    fn say(&mut self) {
        let text = printable(self.unfinished.trim_ascii_end());
        let line = format!("{}: {text}\n", self.name);
        self.unfinished.clear();
        let _ = io::Write::write_all(&mut io::stderr(), line.as_bytes());
    }
}

impl Drop for Stderr {
    fn drop(&mut self) {
        if !self.unfinished.is_empty() {
            self.say();
        }
    }
}

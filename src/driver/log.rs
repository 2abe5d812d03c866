//! Where a line for the administrator goes.
//!
//! Under CGI the server's log is our stderr, but only until we serve: with mini-httpd,
//! stderr is the client. A file named by `SSE_LOG` can be written to at any time.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::fstat;
use serde_json::json;

use super::clock;

/// How grave a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// The stream is served, but not quite as configured.
    Warning,
    /// The stream is not served.
    Error,
}

/// What is said of a stream that is over.
pub(super) struct StreamEnd<'a> {
    /// The number of its request in this process.
    pub(super) request: u64,
    pub(super) stream: &'static str,
    pub(super) reason: &'a str,
    pub(super) age: Duration,
    pub(super) events: u64,
    pub(super) bytes: u64,
}

/// The log of one program.
pub(super) struct Log {
    program: String,
    file: RefCell<Option<File>>,
    /// Whether stderr may be written to.
    stderr: Cell<bool>,
    style: Style,
    /// Where `SSE_LOG` is.
    path: RefCell<Option<PathBuf>>,
    /// What was said last of each kind that could come by the thousand, and how often it
    /// was not said since.
    seldom: RefCell<BTreeMap<String, (Instant, u64)>>,
    /// What is said while somebody listens.
    overheard: RefCell<Option<Vec<(Level, String)>>>,
}

/// How long one kind of trouble is said only once.
const SELDOM: Duration = Duration::from_secs(60);

/// More kinds are not told apart.
const KINDS_MAX: usize = 1000;

/// How a line on stderr looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// With the time: mod_cgid's error log gets our lines as they are.
    Server,
    /// Without.
    Terminal,
}

impl Log {
    pub(super) fn new(program: &str, style: Style) -> Self {
        let stderr = Cell::new(style == Style::Terminal || !stderr_is_the_client());
        Self {
            program: program.into(),
            file: RefCell::new(None),
            stderr,
            style,
            path: RefCell::new(None),
            seldom: RefCell::new(BTreeMap::new()),
            overheard: RefCell::new(None),
        }
    }

    /// Writes to `path` from now on.
    pub(super) fn open(&self, path: &Path) {
        *self.path.borrow_mut() = Some(path.to_owned());
        // Without O_NONBLOCK, opening a FIFO would wait for somebody to read it.
        let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let mut how = OpenOptions::new();
        let how = how.append(true).create(true).custom_flags(flags.bits());
        match how.open(path) {
            Ok(file) => *self.file.borrow_mut() = Some(file),
            Err(error) => self.line(
                Level::Warning,
                &format!(
                    "SSE_LOG={}: {error}; name a file that this user can append to",
                    path.display()
                ),
            ),
        }
    }

    /// Opens the file anew: the old one may have been rotated away.
    pub(super) fn reopen(&self) {
        let path = self.path.borrow().clone();
        if let Some(path) = path {
            self.open(&path);
        }
    }

    /// Writes what could come by the thousand: one of its `kind` a minute, with the number
    /// of those that were not said.
    pub(super) fn seldom(&self, level: Level, kind: &str, message: &str) {
        let mut seldom = self.seldom.borrow_mut();
        if !seldom.contains_key(kind) && seldom.len() >= KINDS_MAX {
            return;
        }
        let mut passed_over = 0;
        match seldom.get_mut(kind) {
            Some((said_at, unsaid)) if said_at.elapsed() < SELDOM => {
                *unsaid += 1;
                return;
            }
            Some((said_at, unsaid)) => {
                *said_at = Instant::now();
                passed_over = std::mem::take(unsaid);
            }
            None => {
                seldom.insert(kind.to_owned(), (Instant::now(), 0));
            }
        }
        drop(seldom);
        if passed_over > 0 {
            self.line(level, &format!("{message} (and {passed_over} more since)"));
        } else {
            self.line(level, message);
        }
    }

    /// Writes one line to our own file, if there is one.
    pub(super) fn to_file(&self, level: Level, message: &str) {
        if self.file.borrow().is_some() {
            self.line(level, message);
        }
    }

    /// Writes that a stream is over, to our own file.
    pub(super) fn stream_end(&self, ended: &StreamEnd<'_>) {
        if let Some(file) = &mut *self.file.borrow_mut() {
            let record = json!({
                "time": clock::log_time(),
                "level": "info",
                "program": self.program,
                "request": ended.request,
                "stream": ended.stream,
                "message": "stream ended",
                "reason": ended.reason,
                "seconds": (ended.age.as_secs_f64() * 1000.0).round() / 1000.0,
                "events": ended.events,
                "bytes": ended.bytes,
            });
            let _ = file.write_all(format!("{record}\n").as_bytes());
        }
    }

    /// From now on the client may be reading what is written to stderr.
    pub(super) fn serving(&self) {
        self.stderr.set(self.style == Style::Terminal);
    }

    /// What is said meanwhile, by level: whoever listens passes it on.
    pub(super) fn overhear<T>(&self, speech: impl FnOnce() -> T) -> (T, Vec<(Level, String)>) {
        *self.overheard.borrow_mut() = Some(Vec::new());
        let result = speech();
        let overheard = self.overheard.borrow_mut().take();
        (result, overheard.unwrap_or_default())
    }

    /// Writes what a program that we run has said on its stderr: to our own file, or to
    /// stderr also while we serve, unless that is the client. It is never waited for:
    /// what a server does not take is left out.
    pub(super) fn said(&self, program: &str, text: &str) {
        let message = format!("{program}: {text}");
        let is_closed = self.file.borrow().is_none() && !self.stderr.get();
        if is_closed && !stderr_is_the_client() && takes_a_line(std::io::stderr().as_fd()) {
            self.stderr.set(true);
            self.line(Level::Warning, &message);
            self.stderr.set(false);
        } else {
            self.line(Level::Warning, &message);
        }
    }

    /// Writes one line. A log that cannot be written to must not end a stream.
    pub(super) fn line(&self, level: Level, message: &str) {
        if let Some(overheard) = &mut *self.overheard.borrow_mut() {
            overheard.push((level, message.to_owned()));
            return;
        }
        let word = match level {
            Level::Warning => "warning",
            Level::Error => "error",
        };
        let message = message.replace(['\n', '\r'], " ");
        if let Some(file) = &mut *self.file.borrow_mut() {
            let text = |text: &str| serde_json::to_string(text).unwrap_or_default();
            let record = format!(
                "{{\"time\":\"{}\",\"level\":\"{word}\",\"program\":{},\"message\":{}}}",
                clock::log_time(),
                text(&self.program),
                text(&message),
            );
            let _ = file.write_all(format!("{record}\n").as_bytes());
            return;
        }
        if !self.stderr.get() {
            return;
        }
        let program = &self.program;
        let text = match self.style {
            Style::Terminal => format!("{program}: {word}: {message}\n"),
            Style::Server => format!("[{}] {program}: {word}: {message}\n", clock::log_time()),
        };
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

/// Whether a short line can be written without waiting. (Of a pipe, POLLOUT says that there
/// is room for 4096 bytes.)
fn takes_a_line(stderr: BorrowedFd<'_>) -> bool {
    let is_no_socket =
        fstat(stderr).is_ok_and(|stat| stat.st_mode & libc::S_IFMT != libc::S_IFSOCK);
    let mut waits = [PollFd::new(stderr, PollFlags::POLLOUT)];
    is_no_socket
        && poll(&mut waits, PollTimeout::ZERO).is_ok()
        && waits[0].revents() == Some(PollFlags::POLLOUT)
}

/// Whether stderr and stdout are the same socket or pipe, as under mini-httpd.
fn stderr_is_the_client() -> bool {
    match (fstat(std::io::stdout()), fstat(std::io::stderr())) {
        (Ok(out), Ok(err)) => (out.st_dev, out.st_ino) == (err.st_dev, err.st_ino),
        _ => false,
    }
}

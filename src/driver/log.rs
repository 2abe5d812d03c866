//! Where a line for the administrator goes.
//!
//! Under CGI the server's log is our stderr, but only until we serve: with mini-httpd,
//! stderr is the client. A file named by `SSE_LOG` can be written to at any time.

use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::stat::fstat;

use super::clock;

/// How grave a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// The stream is served, but not quite as configured.
    Warning,
    /// The stream is not served.
    Error,
}

/// The log of one program.
pub(super) struct Log {
    program: String,
    file: RefCell<Option<File>>,
    /// Whether stderr may be written to.
    stderr: Cell<bool>,
    style: Style,
}

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
        }
    }

    /// Writes to `path` from now on.
    pub(super) fn open(&self, path: &Path) {
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

    /// From now on the client may be reading what is written to stderr.
    pub(super) fn serving(&self) {
        self.stderr.set(self.style == Style::Terminal);
    }

    /// Writes one line. A log that cannot be written to must not end a stream.
    pub(super) fn line(&self, level: Level, message: &str) {
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

/// Whether stderr and stdout are the same socket or pipe, as under mini-httpd.
fn stderr_is_the_client() -> bool {
    match (fstat(std::io::stdout()), fstat(std::io::stderr())) {
        (Ok(out), Ok(err)) => (out.st_dev, out.st_ino) == (err.st_dev, err.st_ino),
        _ => false,
    }
}

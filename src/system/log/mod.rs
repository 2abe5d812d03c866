//! Log: lines for the administrator.
//!
//! ```text
//! line ──► repeats (table) ──► SSE_LOG, else stderr; for a responder's requests, also
//!                              the web server's log (FCGI_STDERR)
//! ```
//!
//! A line that belongs to a request names it. The same line for the same path is written once a
//! minute, with the number of those that were suppressed. Writing never blocks.
//!
//! Only in a CGI program can stderr be the client (mini-httpd); then nothing is written there.

pub(crate) mod lines;
mod repeats;
mod stderr;
mod table;

use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::fcntl::OFlag;
use nix::unistd::{getpgrp, getpid, getppid};
use serde_json::{Value, json};

use super::clock;
use crate::request::Label;
use repeats::{Admission, Key};
use table::Table;

/// The severity of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// No problem.
    Info,
    /// The stream is served, but not exactly as configured.
    Warning,
    /// The stream is not served.
    Error,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// A line of `SSE_LOG`: names and values, in order.
type LogFields = Vec<(&'static str, Value)>;

/// The fields of the line about a stream that has ended.
pub(crate) struct StreamEnd<'a> {
    /// The number of its request in this process.
    pub(crate) request: u64,
    pub(crate) stream: &'static str,
    pub(crate) reason: &'a str,
    pub(crate) age: Duration,
    pub(crate) events: u64,
    pub(crate) bytes: u64,
}

/// How a program was started, which determines the use of stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// In a terminal: lines have no time.
    Terminal,
    /// By a CGI gateway, for one request: stderr may be the client.
    Gateway,
    /// For many requests, or for none.
    Process,
}

/// The log of a program, or of one of its requests.
pub(crate) struct Log {
    shared: Rc<Shared>,
    /// The request that its lines belong to.
    request: Option<Label>,
    /// The lines that were written, for the web server's log as well.
    copies: RefCell<Option<Vec<String>>>,
}

/// The state that all logs of a program share.
struct Shared {
    program: String,
    style: Style,
    /// `SSE_LOG`.
    path: RefCell<Option<PathBuf>>,
    file: RefCell<Option<File>>,
    stderr_is_the_client: bool,
    /// See [`Log::keep_from_stderr`].
    is_kept_from_stderr: Cell<bool>,
    /// See [`Log::stderr_is_the_web_server_s`].
    stderr_is_the_web_server_s: Cell<bool>,
    /// Lines of requests: of this process, or of all processes of this user.
    requests: RefCell<Table>,
    /// Lines of the process.
    own: Table,
    /// The options of settings, for messages in a terminal: pairs of both names.
    options: RefCell<Vec<(&'static str, String)>>,
}

impl Log {
    pub(crate) fn new(program: &str, style: Style) -> Self {
        let shared = Shared {
            program: program.into(),
            style,
            path: RefCell::new(None),
            file: RefCell::new(None),
            stderr_is_the_client: style == Style::Gateway && stderr::is_the_client(),
            is_kept_from_stderr: Cell::new(false),
            stderr_is_the_web_server_s: Cell::new(false),
            requests: RefCell::new(Table::in_memory()),
            own: Table::in_memory(),
            options: RefCell::new(Vec::new()),
        };
        Self {
            shared: Rc::new(shared),
            request: None,
            copies: RefCell::new(None),
        }
    }

    /// The log of a request.
    pub(crate) fn for_request(&self, label: &Label) -> Self {
        // (RFC 3875 §4.1.8 requires a client's address.)
        if self.shared.style == Style::Gateway && label.client() != "-" {
            *self.shared.requests.borrow_mut() = Table::File;
        }
        Self {
            shared: Rc::clone(&self.shared),
            request: Some(label.clone()).filter(|label| !label.is_empty()),
            copies: RefCell::new(None),
        }
    }

    /// The log of a responder's request. The web server gets the lines that
    /// [`Log::take_copies`] returns.
    pub(crate) fn for_web_server(&self, label: &Label) -> Self {
        Self {
            copies: RefCell::new(Some(Vec::new())),
            ..self.for_request(label)
        }
    }

    /// The lines that were written since the last call.
    pub(crate) fn take_copies(&self) -> Vec<String> {
        let mut copies = self.copies.borrow_mut();
        copies.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The same for the last time: what a stream's source logs later goes only to the process's
    /// own log.
    pub(crate) fn take_last_copies(&self) -> Vec<String> {
        self.copies.take().unwrap_or_default()
    }

    /// The web server has started this process and logs its stderr. So lines that are sent by
    /// FCGI_STDERR must not be written to stderr, where they would appear a second time.
    pub(crate) fn stderr_is_the_web_server_s(&self) {
        self.shared.stderr_is_the_web_server_s.set(true);
    }

    /// The web server of a CGI program logs its stderr with the request beside it, and the
    /// request contains a secret: lines go to `SSE_LOG` only.
    pub(crate) fn keep_from_stderr(&self) {
        self.shared.is_kept_from_stderr.set(true);
    }

    /// From now on, lines name the options of a command line instead of settings: pairs of a
    /// setting and its option.
    pub(crate) fn call_settings(&self, options: Vec<(&'static str, String)>) {
        *self.shared.options.borrow_mut() = options;
    }

    /// Writes to `path` from now on.
    pub(crate) fn open(&self, path: &Path) {
        *self.shared.path.borrow_mut() = Some(path.to_owned());
        // Without O_NONBLOCK, opening a FIFO would block until it has a reader.
        let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let mut how = OpenOptions::new();
        let how = how.append(true).create(true).custom_flags(flags.bits());
        match how.open(path) {
            Ok(file) => *self.shared.file.borrow_mut() = Some(file),
            Err(error) => self.line(
                Level::Warning,
                &format!(
                    "SSE_LOG={}: {error}; name a file that this user can append to",
                    path.display()
                ),
            ),
        }
    }

    /// Opens the file again: the old one may have been rotated.
    pub(crate) fn reopen(&self) {
        let path = self.shared.path.borrow().clone();
        if let Some(path) = path {
            self.open(&path);
            // The new file does not contain the lines that are being suppressed.
            *self.shared.requests.borrow_mut() = Table::in_memory();
        }
    }

    /// Writes a line. A line of a request is written once a minute for each path.
    pub(crate) fn line(&self, level: Level, message: &str) {
        let Some(label) = &self.request else {
            return self.shared.write(level, None, message);
        };
        let parts = [message.as_bytes(), label.path().as_bytes()];
        let Some(message) = self.shared.unless_repeated(&parts, message) else {
            return;
        };
        let requests = self.shared.requests.borrow();
        let all = Key::all_of(&self.shared.sink());
        let admitted = admitted(&requests, all, repeats::LINES_MAX);
        if let Some(lost) = admitted.filter(|lost| *lost > 0) {
            let text = format!("{lost} lines of other requests were suppressed");
            self.shared.write(Level::Warning, None, &text);
        }
        if admitted.is_some() {
            self.write(level, &message);
        }
    }

    /// Writes a line that could occur by the thousand, for whatever path: one of its `kind` a
    /// minute, with the number of those that were suppressed.
    pub(crate) fn rate_limited(&self, level: Level, kind: &str, message: &str) {
        let key = Key::of(&[kind.as_bytes()]);
        let admission = self
            .shared
            .own
            .judge(key, |bucket| repeats::repeat(bucket, key, now_ms()));
        if let Some(message) = with_count(admission, message) {
            self.write(level, &message);
        }
    }

    /// Writes why the process cannot start. It goes to stderr in any case, because the user who
    /// starts the process looks there.
    pub(crate) fn startup_error(&self, message: &str) {
        self.line(Level::Error, message);
        if self.shared.file.borrow().is_some() && !self.shared.stderr_is_the_client {
            let line = self.shared.text_line(Level::Error, None, message);
            stderr::write(&line);
        }
    }

    /// Writes a line that a program of ours wrote to its stderr: 64 KiB a minute, and a line
    /// with the number of bytes that were omitted.
    pub(crate) fn child_stderr(&self, program: &str, text: &str) {
        let most = repeats::STDERR_MAX_BYTES;
        let key = Key::of(&[b"stderr", program.as_bytes()]);
        // The end of the line counts, so that empty lines are limited too.
        let bytes = text.len() as u64 + 1;
        let judge =
            |bucket: &mut repeats::Bucket| repeats::admit(bucket, key, bytes, most, now_ms());
        match self.shared.own.judge(key, judge) {
            Admission::Write { suppressed } => {
                if suppressed > 0 {
                    let text = format!("{program}: {suppressed} bytes of its stderr were left out");
                    self.write(Level::Warning, &text);
                }
                self.write(Level::Warning, &format!("{program}: {text}"));
            }
            Admission::Suppress => {
                let text = format!(
                    "{program}: it writes more than {most} bytes a minute to stderr; the rest \
                     of this minute is left out; let it write less, or to a file of its own"
                );
                self.rate_limited(Level::Warning, &format!("stderr of {program}"), &text);
            }
        }
    }

    /// Call this at the end of a program: if some of its stderr was left out, a line says how
    /// much, once a minute at most. All processes of the same program share the count.
    pub(crate) fn said_all(&self, program: &str) {
        let most = repeats::STDERR_MAX_BYTES;
        let key = Key::of(&[b"stderr", program.as_bytes()]);
        let judge = |bucket: &mut repeats::Bucket| {
            let last = Key::of(&[b"end of stderr", program.as_bytes()]);
            repeats::settle(bucket, key, last, most, now_ms())
        };
        if let Admission::Write { suppressed } = self.shared.own.judge(key, judge) {
            let text = format!("{program}: {suppressed} bytes of its stderr were left out");
            self.write(Level::Warning, &text);
        }
    }

    /// Writes to `SSE_LOG` only that a stream has ended.
    pub(crate) fn stream_end(&self, ended: &StreamEnd<'_>) {
        let mut record = self.shared.record(Level::Info, self.request.as_ref());
        let seconds = (ended.age.as_secs_f64() * 1000.0).round() / 1000.0;
        record.extend([
            ("request", json!(ended.request)),
            ("stream", json!(ended.stream)),
            ("message", json!("stream ended")),
            ("reason", json!(ended.reason)),
            ("seconds", json!(seconds)),
            ("events", json!(ended.events)),
            ("bytes", json!(ended.bytes)),
        ]);
        self.shared.to_file(&record);
    }

    fn write(&self, level: Level, message: &str) {
        let message = match &self.request {
            Some(label) => &*label.locate(message),
            None => message,
        };
        let is_copied = self.copies.borrow().is_some()
            && self.shared.stderr_is_the_web_server_s.get()
            && self.shared.file.borrow().is_none();
        if !is_copied {
            self.shared.write(level, self.request.as_ref(), message);
        }
        if let (Some(copies), Some(label)) = (&mut *self.copies.borrow_mut(), &self.request) {
            copies.push(format!("{label}: {}", one_line(message)));
        }
    }
}

impl Shared {
    /// The message with the number of suppressed lines; `None` if it is a repeat.
    fn unless_repeated(&self, parts: &[&[u8]], message: &str) -> Option<String> {
        let sink = self.sink();
        let parts = [parts, &[self.program.as_bytes(), &sink]].concat();
        let key = Key::of(&parts);
        let requests = self.requests.borrow();
        let admission = requests.judge(key, |bucket| repeats::repeat(bucket, key, now_ms()));
        with_count(admission, message)
    }

    /// Distinguishes this log from those of other servers, whose processes share the table.
    fn sink(&self) -> Vec<u8> {
        // All programs of a server are in its process group. A program with a group of its own
        // is identified by its parent.
        let group = match getpgrp() {
            own if own == getpid() => getppid(),
            servers => servers,
        };
        let mut sink = group.as_raw().to_le_bytes().to_vec();
        match &*self.path.borrow() {
            Some(path) => sink.extend_from_slice(path.as_os_str().as_encoded_bytes()),
            None => sink.extend(stderr::identity()),
        }
        sink
    }

    /// Writes a line. A log that cannot be written must not end a stream.
    fn write(&self, level: Level, label: Option<&Label>, message: &str) {
        let message = self.in_options(&one_line(message));
        if self.file.borrow().is_some() {
            let mut record = self.record(level, label);
            record.push(("message", json!(message)));
            self.to_file(&record);
        } else if !self.stderr_is_the_client && !self.is_kept_from_stderr.get() {
            stderr::write(&self.text_line(level, label, &message));
        }
    }

    fn text_line(&self, level: Level, label: Option<&Label>, message: &str) -> String {
        let (program, word) = (&self.program, level.word());
        let request = label.map_or(String::new(), |label| format!(" {label}"));
        match self.style {
            Style::Terminal => format!("{program}{request}: {word}: {message}\n"),
            // mod_cgid copies our lines unchanged into the error log.
            Style::Gateway | Style::Process => {
                let time = clock::log_time();
                format!("[{time}] {program}{request}: {word}: {message}\n")
            }
        }
    }

    /// The first fields of every line of `SSE_LOG`.
    fn record(&self, level: Level, label: Option<&Label>) -> LogFields {
        let mut record = vec![
            ("time", json!(clock::log_time())),
            ("level", json!(level.word())),
            ("program", json!(self.program)),
        ];
        if let Some(label) = label {
            record.push(("client", json!(label.client())));
            record.push(("method", json!(label.method())));
            record.push(("path", json!(label.path())));
        }
        record
    }

    fn to_file(&self, record: &LogFields) {
        if let Some(file) = &mut *self.file.borrow_mut() {
            let fields: Vec<String> = record
                .iter()
                .map(|(name, value)| format!("\"{name}\":{value}"))
                .collect();
            let _ = file.write_all(format!("{{{}}}\n", fields.join(",")).as_bytes());
        }
    }

    /// Replaces settings by the options that the user typed.
    fn in_options(&self, message: &str) -> String {
        let mut text = message.to_owned();
        for (setting, option) in &*self.options.borrow() {
            text = replace_word(&text, setting, option);
        }
        text
    }
}

/// Replaces a setting's name by its option, and a `=` after it by a space.
fn replace_word(text: &str, setting: &str, option: &str) -> String {
    let mut replaced = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(setting) {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (before, found) = rest.split_at(at);
        let after = &found[setting.len()..];
        replaced.push_str(before);
        if before.ends_with(is_part) || after.starts_with(is_part) {
            replaced.push_str(setting);
            rest = after;
        } else {
            replaced.push_str(option);
            rest = after;
            if let Some(value) = after.strip_prefix('=') {
                replaced.push(' ');
                rest = value;
            }
        }
    }
    replaced + rest
}

/// How many lines of this key were suppressed in the period before, if one more may be written
/// now, with at most `most` in a period.
fn admitted(table: &Table, key: Key, most: u64) -> Option<u64> {
    match table.judge(key, |bucket| repeats::admit(bucket, key, 1, most, now_ms())) {
        Admission::Write { suppressed } => Some(suppressed),
        Admission::Suppress => None,
    }
}

fn with_count(admission: Admission, message: &str) -> Option<String> {
    match admission {
        Admission::Suppress => None,
        Admission::Write { suppressed: 0 } => Some(message.to_owned()),
        Admission::Write { suppressed } => Some(format!("{message} (and {suppressed} more since)")),
    }
}

/// A message as one line without control characters, which a terminal would execute: paths and
/// messages contain text from clients and files.
fn one_line(message: &str) -> String {
    message
        .chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_called_by_its_option_and_no_other_is() {
        let text = "SSE_COMMAND=x: SSE_COMMAND_MAX and XSSE_COMMAND; set SSE_COMMAND";
        let expected = "--command x: SSE_COMMAND_MAX and XSSE_COMMAND; set --command";
        assert_eq!(replace_word(text, "SSE_COMMAND", "--command"), expected);
    }

    #[test]
    fn a_message_is_one_line_that_no_terminal_obeys() {
        assert_eq!(
            one_line("a\r\nb\tc\u{1b}[2J\u{9b}é"),
            "a  b c\u{fffd}[2J\u{fffd}é"
        );
    }
}

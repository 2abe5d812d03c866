//! A session's command: what is posted goes to its standard input, and what it says comes
//! down piece by piece.
//!
//! ```text
//! POST ─► record ─► 201
//!            └─► setsid -f ourselves --answer FILE ─► the command ─► records, `done`
//! ```
//!
//! A CGI program may be ended as soon as it has answered, and a responder serves others:
//! so a process of its own, which belongs to neither, runs the command and adds its lines
//! to the session's file. It learns nothing of the request but the message.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::append::{self, Target, Terms, Trouble};
use super::environment;
use super::exit;
use super::log::{Level, Log, Style};
use crate::publish::Record;
use crate::request::{Durability, Format, Lifetime, MetaVariables, Settings};

/// What starts a process that answers.
const OPTION: &str = "--answer";

/// How long a record waits for whoever holds the file's lock.
const PATIENCE: Duration = Duration::from_secs(10);

/// Has the settings' command answer the record that was posted to the session's file.
///
/// # Errors
/// What the system says.
pub(super) fn start(settings: &Settings, target: &Target, posted: &Record) -> io::Result<()> {
    let message = File::from(memfd_create(c"sse-message", MFdFlags::MFD_CLOEXEC)?);
    (&message).write_all(message_of(posted).as_bytes())?;
    (&message).rewind()?;
    let mut command = Command::new("setsid");
    command
        .arg("-f")
        .arg(std::env::current_exe()?)
        .arg(OPTION)
        .arg(target.path()?);
    command.env_clear();
    command.envs(environment::for_programs());
    command.envs(environment_of(settings));
    command
        .stdin(Stdio::from(OwnedFd::from(message)))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // It leaves the one that stays behind, and is gone at once.
    let status = command.status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("setsid: {status}")))
    }
}

/// The text of what was posted.
fn message_of(posted: &Record) -> String {
    let record: Value = serde_json::from_slice(posted.as_bytes()).unwrap_or_default();
    match &record["data"] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The settings that the process which answers needs, as it reads them.
fn environment_of(settings: &Settings) -> Vec<(&'static str, OsString)> {
    let words = settings.command.iter().map(String::as_str);
    let mut variables: Vec<(&'static str, OsString)> = vec![
        // (A word with a NUL cannot have come from the environment.)
        (
            "SSE_COMMAND",
            shlex::try_join(words).unwrap_or_default().into(),
        ),
        (
            "SSE_COMMAND_TIMEOUT",
            format!("{}ms", settings.command_timeout.as_millis()).into(),
        ),
        (
            "SSE_COMMAND_OUTPUT",
            settings.command_output_bytes.to_string().into(),
        ),
        ("SSE_COMMAND_MAX", settings.commands_max.to_string().into()),
        ("SSE_MAX_LINE", settings.max_line_bytes.to_string().into()),
    ];
    if settings.format == Some(Format::Jsonl) {
        variables.push(("SSE_FORMAT", "jsonl".into()));
    }
    if let Some(name) = &settings.event {
        variables.push(("SSE_EVENT", name.as_str().into()));
    }
    if let Some(path) = &settings.log {
        variables.push(("SSE_LOG", path.into()));
    }
    variables
}

/// Answers, where this process was started to do so.
pub(super) fn run_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    // Under a gateway the arguments are the client's.
    let is_asked = std::env::var_os("GATEWAY_INTERFACE").is_none()
        && arguments.next().is_some_and(|first| first == OPTION);
    let path = arguments.next().filter(|_| is_asked)?;
    let log = Log::new("answer", Style::Server);
    Some(match run(Path::new(&path), &log) {
        Ok(()) => exit::done(),
        Err(error) => {
            log.line(Level::Error, &error.to_string());
            exit::system()
        }
    })
}

fn run(path: &Path, log: &Log) -> io::Result<()> {
    // Whoever started us had them blocked, and the command is to be ended by them.
    SigSet::empty().thread_set_mask()?;
    let owned = |(name, value): (OsString, OsString)| {
        use std::os::unix::ffi::OsStringExt as _;
        (name.into_vec(), value.into_vec())
    };
    let meta = MetaVariables::new(std::env::vars_os().map(owned).collect());
    if let Some(path) = Settings::log(&meta) {
        log.open(&path);
    }
    let (settings, _) = Settings::parse(&meta, Lifetime::Unlimited).map_err(io::Error::other)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or_default();
    let session = Session {
        target: Target::within(append::open_folder(folder)?, &name.to_string_lossy()),
        terms: Terms::of(&settings, Durability::Process),
        format: settings.format.unwrap_or(Format::Lines),
        event: settings
            .event
            .as_ref()
            .map_or("answer".to_owned(), |name| name.as_str().to_owned()),
    };
    let Some(_slot) = take_slot(folder, settings.commands_max)? else {
        return session.end("busy".into());
    };
    match Answer::start(&settings) {
        Ok(mut answer) => {
            let end = answer.pass_on(&session)?;
            session.end(end)
        }
        Err(error) => {
            log.line(
                Level::Error,
                &format!("SSE_COMMAND: {error}; name a program that this user can run"),
            );
            session.end("failed".into())
        }
    }
}

/// One of so many places for those who answer at once, held as long as it lives.
fn take_slot(session: &Path, most: usize) -> io::Result<Option<Flock<File>>> {
    // The spool is above the session's folder, and the folder of its first digits.
    let spool: PathBuf = session.ancestors().nth(2).unwrap_or(session).to_owned();
    for number in 0..most {
        let mut how = File::options();
        how.write(true).create(true).truncate(false).mode(0o600);
        let file = how.open(spool.join(format!(".answer.{number}")))?;
        if let Ok(slot) = Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            return Ok(Some(slot));
        }
    }
    Ok(None)
}

/// Where the answer goes.
struct Session {
    target: Target,
    terms: Terms,
    format: Format,
    event: String,
}

impl Session {
    fn line(&self, line: &[u8]) -> io::Result<()> {
        let text = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
        match self.format {
            Format::Jsonl if text.trim_ascii().is_empty() => Ok(()),
            Format::Jsonl => self.add(text.into_owned()),
            Format::Lines | Format::State => {
                self.add(json!({"event": self.event, "data": text}).to_string())
            }
        }
    }

    fn end(&self, code: Value) -> io::Result<()> {
        self.add(json!({"event": "done", "data": code}).to_string())
    }

    fn add(&self, line: String) -> io::Result<()> {
        let Some(record) = Record::of_line(line) else {
            return Ok(());
        };
        let until = Instant::now() + PATIENCE;
        loop {
            match self.target.append(&record, &self.terms) {
                Ok(_) => return Ok(()),
                Err(Trouble::Busy) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(Trouble::Busy) => return Err(io::Error::other("the session's file is locked")),
                Err(Trouble::NotFound) => return Err(io::ErrorKind::NotFound.into()),
                Err(Trouble::System(error)) => return Err(error),
            }
        }
    }
}

/// A command that answers; it ends with this.
struct Answer {
    child: Child,
    ends_at: Instant,
    output_left_bytes: u64,
    max_line_bytes: usize,
}

impl Answer {
    fn start(settings: &Settings) -> io::Result<Self> {
        let (program, arguments) = settings
            .command
            .split_first()
            .ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().process_group(0);
        command.envs(environment::for_programs());
        // Standard input is ours: the message.
        let child = command.stdout(Stdio::piped()).spawn()?;
        Ok(Self {
            child,
            ends_at: Instant::now() + settings.command_timeout,
            output_left_bytes: settings.command_output_bytes,
            max_line_bytes: settings.max_line_bytes,
        })
    }

    /// Adds what it says, line by line; tells how it ended.
    fn pass_on(&mut self, session: &Session) -> io::Result<Value> {
        let Some(mut stdout) = self.child.stdout.take() else {
            return Ok("failed".into());
        };
        let mut line = Vec::new();
        let mut buffer = [0; 16 * 1024];
        loop {
            let left = self.ends_at.saturating_duration_since(Instant::now());
            let left_ms = left.as_micros().div_ceil(1_000).min(i32::MAX as u128) as i32;
            let timeout = PollTimeout::try_from(left_ms).unwrap_or(PollTimeout::ZERO);
            let mut readable = [PollFd::new(stdout.as_fd(), PollFlags::POLLIN)];
            match poll(&mut readable, timeout) {
                Ok(0) => return Ok("timeout".into()),
                Ok(_) => {}
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let count = stdout.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            let taken = (count as u64).min(self.output_left_bytes) as usize;
            self.output_left_bytes -= taken as u64;
            for byte in &buffer[..taken] {
                if *byte == b'\n' {
                    session.line(&line)?;
                    line.clear();
                } else if line.len() < self.max_line_bytes {
                    line.push(*byte);
                }
            }
            if taken < count {
                return Ok("too much output".into());
            }
        }
        if !line.is_empty() {
            session.line(&line)?;
        }
        Ok(shown_code(self.child.wait()?).into())
    }
}

/// As a shell says it: 128 and the signal's number, where a signal ended it.
fn shown_code(status: ExitStatus) -> i32 {
    let by_signal = status.signal().map(|signal| 128 + signal);
    status.code().or(by_signal).unwrap_or(-1)
}

impl Drop for Answer {
    fn drop(&mut self) {
        let group = Pid::from_raw(self.child.id().cast_signed());
        // Once its leader has been waited for, the group's number may be another's.
        if let Ok(None) = self.child.try_wait() {
            let _ = killpg(group, Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

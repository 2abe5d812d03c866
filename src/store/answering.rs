//! A session's command: a message that is posted to the session goes to its standard input, and
//! its output is published piece by piece.
//!
//! ```text
//! POST ─► record ─► 201
//!            └─► setsid -f ourselves --answer FILE ─► the command ─► records, `done`
//! ```
//!
//! A CGI program may be ended as soon as it has responded, and a responder serves others. So a
//! separate process runs the command and appends its lines to the session's file. Of the
//! request it gets only the message.
//!
//! This process is a subreaper: every process that the command has started, in whatever session
//! or process group, becomes its child when its parent ends. So all of them can be ended when
//! the command ends or its time is over.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::prctl;
use nix::sys::signal::SigSet;
use nix::unistd::{AccessFlags, access};
use serde_json::{Value, json};

use super::append::{self, AppendError, AppendOptions, Target};
use crate::publish::Record;
use crate::request::{Durability, Format, Lifetime, MetaVariables, Settings};
use crate::source::{JsonLine, text_of};
use crate::system::children;
use crate::system::environment;
use crate::system::exit;
use crate::system::log::{Level, Log, Style};

/// The option that starts a process for a command.
const OPTION: &str = "--answer";

/// How long a record waits for the file's lock.
const PATIENCE: Duration = Duration::from_secs(10);

/// A session's command, as it is started.
pub(crate) struct AnswerCommand {
    /// The first word of `SSE_COMMAND`.
    program: String,
    /// The settings of the process that runs it.
    variables: Vec<(&'static str, OsString)>,
}

impl AnswerCommand {
    /// The command of the settings, if there is one.
    pub(crate) fn of(settings: &Settings) -> Option<Self> {
        Some(Self {
            program: settings.command.first()?.clone(),
            variables: environment_of(settings),
        })
    }

    /// Runs it for the record that was posted to the session's file, and waits until the
    /// process has started. Returns a problem, for the log.
    pub(crate) fn answer(&self, target: &Target, posted: &Record) -> Option<String> {
        match self.start(target, posted) {
            Ok(()) => self.problem(),
            Err(error) => Some(format!(
                "SSE_COMMAND cannot answer: {error}; is util-linux installed?"
            )),
        }
    }

    fn start(&self, target: &Target, posted: &Record) -> io::Result<()> {
        let message = File::from(memfd_create(c"sse-message", MFdFlags::MFD_CLOEXEC)?);
        (&message).write_all(&message_of(posted)?)?;
        (&message).rewind()?;
        let mut command = Command::new("setsid");
        command
            .arg("-f")
            .arg(OUR_PROGRAM)
            .arg(OPTION)
            .arg(target.path()?);
        command.env_clear();
        command.envs(environment::for_programs());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        // Under a gateway, stderr may be the client, or a pipe whose end the server waits for.
        let stderr = match std::env::var_os("GATEWAY_INTERFACE") {
            Some(_) => Stdio::null(),
            None => Stdio::inherit(),
        };
        command
            .stdin(Stdio::from(OwnedFd::from(message)))
            .stdout(Stdio::from(our_program()?))
            .stderr(stderr);
        // `setsid -f` forks, and its first process ends at once.
        let status = children::status_of(&mut command)?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("setsid: {status}")))
        }
    }

    /// The problem with the command that can be found before it runs: the process that runs it
    /// may have no log.
    fn problem(&self) -> Option<String> {
        let program = &self.program;
        let runs = |path: &Path| access(path, AccessFlags::X_OK);
        let found = if program.contains('/') {
            runs(Path::new(program))
        } else {
            let path = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
            let mut found = Err(Errno::ENOENT);
            for folder in std::env::split_paths(&path) {
                match runs(&folder.join(program)) {
                    Ok(()) => return None,
                    // As in execvp: a program that may not be executed counts as found.
                    Err(Errno::EACCES) => found = Err(Errno::EACCES),
                    Err(_) => {}
                }
            }
            found
        };
        let error = io::Error::from(found.err()?);
        Some(format!(
            "SSE_COMMAND={program}: {error}; name a program that this user can run"
        ))
    }
}

/// The program that `setsid` executes: the file on its standard output, which is
/// [`our_program`].
const OUR_PROGRAM: &str = "/proc/self/fd/1";

/// The program of this process, to be executed again. Its path may name another program by now,
/// or nothing: it can be replaced while it runs.
fn our_program() -> io::Result<OwnedFd> {
    let mut how = File::options();
    how.read(true).custom_flags(OFlag::O_PATH.bits());
    Ok(how.open("/proc/self/exe")?.into())
}

/// The bytes of a message: for a string its text, for any other value its JSON. Half of a
/// surrogate pair becomes U+FFFD, as in the event.
fn message_of(posted: &Record) -> io::Result<Vec<u8>> {
    let line = std::str::from_utf8(posted.as_bytes()).map_err(io::Error::other)?;
    let line = JsonLine::parse(line.trim_end()).map_err(io::Error::other)?;
    let text = line.data.map(text_of).unwrap_or_default();
    Ok(String::from_utf8_lossy(&text).into_owned().into_bytes())
}

/// The settings for the process that runs the command, as it reads them.
fn environment_of(settings: &Settings) -> Vec<(&'static str, OsString)> {
    let words = settings.command.iter().map(String::as_str);
    let mut variables: Vec<(&'static str, OsString)> = vec![
        // (A word from the environment contains no NUL.)
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

/// Runs a session's command, if this process was started for that.
pub(crate) fn run_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    // Under a gateway the client determines the arguments.
    let is_asked = std::env::var_os("GATEWAY_INTERFACE").is_none()
        && arguments.next().is_some_and(|first| first == OPTION);
    let path = arguments.next().filter(|_| is_asked)?;
    let log = Log::new("answer", Style::Process);
    Some(match run(Path::new(&path), &log) {
        Ok(()) => exit::done(),
        Err(error) => {
            log.line(Level::Error, &error.to_string());
            exit::system()
        }
    })
}

fn run(path: &Path, log: &Log) -> io::Result<()> {
    // The parent had signals blocked; the command must be ended by them.
    SigSet::empty().thread_set_mask()?;
    // Otherwise the name would be that of the descriptor by which it was executed.
    let _ = prctl::set_name(c"sse-answer");
    prctl::set_child_subreaper(true)?;
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
        options: AppendOptions::of(&settings, Durability::Process),
        format: settings.format.unwrap_or(Format::Lines),
        event: settings
            .event
            .as_ref()
            .map_or("answer".to_owned(), |name| name.as_str().to_owned()),
    };
    let Some(slot) = take_slot(folder, settings.commands_max)? else {
        return session.end("busy".into());
    };
    let end = match Answer::start(&settings) {
        // Processes that the command has left running are ended here.
        Ok(mut answer) => answer.pass_on(&session)?,
        Err(error) => {
            let program = settings.command.first().map_or("", String::as_str);
            log.line(
                Level::Error,
                &format!("SSE_COMMAND={program}: {error}; name a program that this user can run"),
            );
            "failed".into()
        }
    };
    // A client that posts after `done` must find the slot free.
    drop(slot);
    session.end(end)
}

/// One of the slots for commands that run at once, held as long as the file is open.
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

/// The session that gets the output.
struct Session {
    target: Target,
    options: AppendOptions,
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
            match self.target.append(&record, &self.options) {
                Ok(_) => return Ok(()),
                Err(AppendError::Busy) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(AppendError::Busy) => {
                    return Err(io::Error::other("the session's file is locked"));
                }
                Err(AppendError::NotFound) => return Err(io::ErrorKind::NotFound.into()),
                Err(AppendError::System(error) | AppendError::Hidden(error)) => return Err(error),
            }
        }
    }
}

/// A running command. Dropping it ends the command and every process that it has started.
struct Answer {
    child: Child,
    stdout: Option<ChildStdout>,
    ends_at: Instant,
    output_left_bytes: u64,
    max_line_bytes: usize,
}

/// How soon the exit code of a command that has closed its output is checked again: most are
/// about to end. The interval doubles each time, up to the second value.
const LOOK: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));

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
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        Ok(Self {
            stdout: child.stdout.take(),
            child,
            ends_at: Instant::now() + settings.command_timeout,
            output_left_bytes: settings.command_output_bytes,
            max_line_bytes: settings.max_line_bytes,
        })
    }

    /// Appends its output line by line; returns how it ended.
    fn pass_on(&mut self, session: &Session) -> io::Result<Value> {
        let mut line = Vec::new();
        let mut buffer = [0; 16 * 1024];
        while let Some(mut stdout) = self.stdout.take() {
            let left = self.ends_at.saturating_duration_since(Instant::now());
            // The time limit also applies to a command whose output never pauses.
            if left.is_zero() {
                return Ok("timeout".into());
            }
            let left_ms = left.as_micros().div_ceil(1_000).min(i32::MAX as u128) as i32;
            let timeout = PollTimeout::try_from(left_ms).unwrap_or(PollTimeout::ZERO);
            let mut readable = [PollFd::new(stdout.as_fd(), PollFlags::POLLIN)];
            let count = match poll(&mut readable, timeout) {
                Ok(0) => return Ok("timeout".into()),
                Ok(_) => stdout.read(&mut buffer)?,
                Err(Errno::EINTR) => {
                    self.stdout = Some(stdout);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if count == 0 {
                break;
            }
            self.stdout = Some(stdout);
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
        Ok(self.wait().map_or("timeout".into(), Value::from))
    }

    /// Waits until the command itself ends, without reaping it: `None` when its time is over.
    /// It may have closed its output long before.
    fn wait(&self) -> Option<i32> {
        let mut pause = LOOK.0;
        loop {
            if let Some(code) = children::exit_code(&self.child) {
                return Some(code);
            }
            let left = self.ends_at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            std::thread::sleep(pause.min(left));
            pause = (pause * 2).min(LOOK.1);
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // Every child of this process is the command, or was started by it.
        children::end_all(&self.child);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::{Media, Message};

    #[track_caller]
    fn check(body: &str, expected: &str) {
        let record = Message::parse(Media::Json, body.as_bytes())
            .unwrap()
            .record();
        let message = message_of(&record).unwrap();
        assert_eq!(String::from_utf8(message).unwrap(), expected, "{body:.60}");
    }

    #[test]
    fn a_command_gets_the_bytes_of_any_message_that_is_accepted() {
        check(r#"{"data":"a\nb \u00e9"}"#, "a\nb \u{e9}");
        check(
            r#"{"data":{"x": [1e400, 12345678901234567890123]}}"#,
            r#"{"x": [1e400, 12345678901234567890123]}"#,
        );
        check(r#"{"data":null}"#, "null");
        check(r#"{"event":"a"}"#, "");
        // Half of a surrogate pair, as a string and inside an object.
        check(r#"{"data":"a\ud800b"}"#, "a\u{fffd}\u{fffd}\u{fffd}b");
        check(r#"{"data":["\udc00"]}"#, r#"["\udc00"]"#);
        let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
        check(&format!("{{\"data\":{deep}}}"), &deep);
    }
}

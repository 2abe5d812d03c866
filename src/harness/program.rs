//! Program: one running CGI process, from its start until it is reaped.
//!
//! Its stdin and stdout are the two directions of one Unix socket, as under `mod_cgid`: the
//! program sees the end of its input, and POLLRDHUP on its output, while the client is still
//! connected. It runs in its own folder and in a process group of its own, so that Ctrl-C in
//! the server's terminal reaches it only as the SIGTERM that the server sends.
//!
//! ```text
//! running ── output ends ──> a moment to leave ──┐
//!    └── client left, silence, server ends ──────┴─> SIGTERM ── 3 s ──> SIGKILL ──> reaped
//! ```

use std::ffi::OsString;
use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream as Socket;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::timeout;

use super::access::printable;
use super::environment::Variables;

/// The time between SIGTERM and SIGKILL, as in Apache.
pub const GRACE: Duration = Duration::from_secs(3);

/// A program closes its output shortly before it ends; SIGTERM is for programs that continue.
const LEAVING: Duration = Duration::from_millis(100);

const CHUNK_BYTES: usize = 16 * 1024;
const LONGEST_STDERR_LINE_BYTES: usize = 8 * 1024;

/// The program to run.
#[derive(Debug)]
pub struct LaunchSpec {
    pub name: OsString,
    pub folder: PathBuf,
    pub arguments: Vec<OsString>,
    pub variables: Variables,
    /// The whole input, followed by the end of file.
    pub input: Bytes,
}

/// Why a program did not start.
#[derive(Debug)]
pub enum StartError {
    /// The limit of running programs is reached.
    TooMany,
    System(io::Error),
}

/// Starts programs, and counts the running ones.
#[derive(Debug, Clone)]
pub struct Launcher {
    permits: Arc<Semaphore>,
    permit_count: u32,
    stop: watch::Receiver<()>,
}

impl Launcher {
    /// When `stop` changes or its sender is dropped, every program is ended.
    pub fn new(permit_count: u32, stop: watch::Receiver<()>) -> Launcher {
        Launcher {
            permits: Arc::new(Semaphore::new(permit_count as usize)),
            permit_count,
            stop,
        }
    }

    pub fn start(&self, job: LaunchSpec) -> Result<Program, StartError> {
        let permit = Arc::clone(&self.permits);
        let permit = permit
            .try_acquire_owned()
            .map_err(|_| StartError::TooMany)?;
        let name = printable(job.name.as_bytes());
        let (child, ours) = spawn(&job).map_err(StartError::System)?;
        let (output, input) = ours.into_split();
        if !job.input.is_empty() {
            tokio::spawn(feed(input, job.input));
        } // Else dropping it says the end of file.

        let (ending, ended) = oneshot::channel();
        let supervised = supervise(child, name.clone(), ended, self.stop.clone(), permit);
        tokio::spawn(supervised);
        Ok(Program {
            name,
            output,
            ending: Some(ending),
        })
    }

    /// Waits until the last program is reaped; no other is started.
    pub async fn drained(&self) {
        let _ = self.permits.acquire_many(self.permit_count).await;
    }
}

fn spawn(job: &LaunchSpec) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = Socket::pair()?;
    if job.input.is_empty() {
        // This precedes the program's start, so that it sees the end of file from the first
        // moment.
        ours.shutdown(Shutdown::Write)?;
    }
    ours.set_nonblocking(true)?;
    let ours = UnixStream::from_std(ours)?;
    let stdin: OwnedFd = theirs.try_clone()?.into();
    let stdout: OwnedFd = theirs.into();
    let child = Command::new(job.folder.join(&job.name))
        .arg0(&job.name)
        .args(&job.arguments)
        .env_clear()
        .envs(&job.variables)
        .current_dir(&job.folder)
        .process_group(0)
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::from(stdout))
        .stderr(Stdio::piped())
        .spawn()?;
    Ok((child, ours))
}

/// Writes the input. A program need not read it.
async fn feed(mut input: OwnedWriteHalf, bytes: Bytes) {
    let _ = input.write_all(&bytes).await;
    let _ = input.shutdown().await;
}

/// A running program. Dropping it means that the client disconnected.
#[derive(Debug)]
pub struct Program {
    /// For the log.
    pub name: String,
    output: OwnedReadHalf,
    ending: Option<oneshot::Sender<StopReason>>,
}

impl Program {
    /// The next bytes, as soon as there are any; `None` once the program has closed its output.
    /// If this future is dropped while it waits, nothing is lost.
    pub async fn read(&mut self) -> io::Result<Option<Bytes>> {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        match self.output.read_buf(&mut chunk).await {
            Ok(0) => {}
            // It did not read its whole input. Its output arrived first.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Ok(_) => return Ok(Some(chunk.into())),
            Err(error) => return Err(error),
        }
        if let Some(ending) = self.ending.take() {
            let _ = ending.send(StopReason::OutputEnded);
        }
        Ok(None)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StopReason {
    OutputEnded,
    Abandoned,
}

async fn supervise(
    mut child: Child,
    name: String,
    mut ended: oneshot::Receiver<StopReason>,
    mut stop: watch::Receiver<()>,
    permit: OwnedSemaphorePermit,
) {
    let id = child.id().expect("nobody has waited for the child yet");
    let id = Pid::from_raw(id.cast_signed());
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(log_stderr(stderr, name.clone()));
    }

    let mut exit: Option<ExitStatus> = None;
    let ending = loop {
        tokio::select! {
            // This comes first, so that the SIGPIPE of a disconnected client is not logged as a
            // failure.
            biased;
            ending = &mut ended => break ending.unwrap_or(StopReason::Abandoned),
            _ = stop.changed() => break StopReason::Abandoned,
            status = child.wait(), if exit.is_none() => exit = status.ok(),
        }
    };
    if exit.is_none() && ending == StopReason::OutputEnded {
        exit = wait(&mut child, LEAVING).await;
    }
    match exit {
        Some(status) => log_exit(&name, status),
        None => terminate(&mut child, id, &name).await,
    }
    if ending == StopReason::Abandoned {
        // Processes that the program started itself (a shell's pipeline) would wait for ever.
        let _ = killpg(id, Signal::SIGKILL);
    }
    drop(permit);
}

/// Sends SIGTERM, and then SIGKILL to it and its children if it does not end.
pub async fn terminate(child: &mut Child, id: Pid, name: &str) {
    let _ = kill(id, Signal::SIGTERM);
    if wait(child, GRACE).await.is_none() {
        super::note(format_args!(
            "{name} ({id}) outlived SIGTERM by 3 s: SIGKILL"
        ));
        let _ = killpg(id, Signal::SIGKILL);
        let _ = child.wait().await;
    }
}

async fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    timeout(limit, child.wait()).await.ok()?.ok()
}

fn log_exit(name: &str, status: ExitStatus) {
    if !status.success() {
        super::note(format_args!("{name} {}", exit_words(status)));
    }
}

/// How the program ended, as text after its name.
pub fn exit_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_string(),
    }
}

/// Forwards what a process writes to its stderr, until it closes it.
pub async fn log_stderr(stderr: ChildStderr, name: String) {
    let mut stderr = BufReader::new(stderr);
    let mut lines = Stderr::of(name);
    loop {
        match stderr.fill_buf().await {
            Ok([]) | Err(_) => return,
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

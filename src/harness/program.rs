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

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use nix::sys::signal::{Signal, killpg};

use super::access::printable;
use super::child::{self, Event, Supervised};
use super::environment::Variables;
use super::parsed::Read;
use super::ready::ready;

/// A program closes its output shortly before it ends; SIGTERM is for programs that continue.
const LEAVING: Duration = Duration::from_millis(100);

const CHUNK_BYTES: usize = 16 * 1024;

/// The program to run.
#[derive(Debug)]
pub struct LaunchSpec {
    pub name: OsString,
    pub folder: PathBuf,
    pub arguments: Vec<OsString>,
    pub variables: Variables,
    /// The whole input, followed by the end of file.
    pub input: Vec<u8>,
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
    most: u32,
    programs: Arc<Programs>,
}

/// The running programs.
#[derive(Debug, Default)]
struct Programs {
    running: Mutex<Running>,
    /// The last one has been reaped.
    gone: Condvar,
}

#[derive(Debug, Default)]
struct Running {
    /// `None`: it is being started.
    programs: BTreeMap<u64, Option<Sender<Event>>>,
    next: u64,
    is_stopping: bool,
}

impl Programs {
    fn lock(&self) -> std::sync::MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a program among the running ones, until it is dropped.
#[derive(Debug)]
struct Place {
    number: u64,
    programs: Arc<Programs>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.programs.lock().programs.remove(&self.number);
        self.programs.gone.notify_all();
    }
}

impl Launcher {
    /// At most so many programs run at the same time.
    pub fn new(most: u32) -> Launcher {
        Launcher {
            most,
            programs: Arc::default(),
        }
    }

    pub fn start(&self, job: LaunchSpec) -> Result<Program, StartError> {
        let place = self.place()?;
        let name = printable(job.name.as_bytes());
        let (child, ours) = spawn(&job).map_err(StartError::System)?;
        let started = Supervised::new(name.clone(), child).and_then(|(supervised, events)| {
            if !job.input.is_empty() {
                let input = ours.try_clone()?;
                child::spawn(move || feed(input, &job.input))?;
            }
            let mut running = self.programs.lock();
            let is_stopping = running.is_stopping;
            if is_stopping {
                let _ = events.send(Event::Stop);
            }
            let sender = running.programs.get_mut(&place.number);
            *sender.expect("its place is kept until it is dropped") = Some(events.clone());
            drop(running);
            child::spawn(move || {
                supervise(supervised);
                drop(place);
            })?;
            Ok(events)
        });
        Ok(Program {
            name,
            output: ours,
            events: Some(started.map_err(StartError::System)?),
        })
    }

    fn place(&self) -> Result<Place, StartError> {
        let mut running = self.programs.lock();
        if running.programs.len() >= self.most as usize {
            return Err(StartError::TooMany);
        }
        let number = running.next;
        running.next += 1;
        running.programs.insert(number, None);
        drop(running);
        Ok(Place {
            number,
            programs: Arc::clone(&self.programs),
        })
    }

    /// Ends every program.
    pub fn stop(&self) {
        let mut running = self.programs.lock();
        running.is_stopping = true;
        for events in running.programs.values().flatten() {
            let _ = events.send(Event::Stop);
        }
    }

    /// Waits until the last program is reaped.
    pub fn drained(&self) {
        let mut running = self.programs.lock();
        while !running.programs.is_empty() {
            let waited = self.programs.gone.wait(running);
            running = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn spawn(job: &LaunchSpec) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    if job.input.is_empty() {
        // This precedes the program's start, so that it sees the end of file from the first
        // moment.
        ours.shutdown(Shutdown::Write)?;
    }
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
fn feed(mut input: UnixStream, bytes: &[u8]) {
    let _ = input.write_all(bytes);
    let _ = input.shutdown(Shutdown::Write);
}

/// A running program. Dropping it means that the client disconnected.
#[derive(Debug)]
pub struct Program {
    /// For the log.
    pub name: String,
    output: UnixStream,
    events: Option<Sender<Event>>,
}

impl Program {
    /// The next bytes, as soon as there are any.
    ///
    /// # Errors
    /// Those of the system.
    pub fn read(&mut self, limit: Duration) -> io::Result<Read> {
        let until = Instant::now() + limit;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            if ready([(self.output.as_fd(), PollFlags::POLLIN)], Some(until))?.is_none() {
                return Ok(Read::Late);
            }
            match self.output.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => {
                    chunk.truncate(count);
                    return Ok(Read::Bytes(chunk));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // It did not read its whole input. Its output arrived first.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
                Err(error) => return Err(error),
            }
        }
        if let Some(events) = self.events.take() {
            let _ = events.send(Event::OutputEnded);
        }
        Ok(Read::End)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // This comes first, so that the SIGPIPE of a disconnected client is not logged as a
        // failure.
        if let Some(events) = self.events.take() {
            let _ = events.send(Event::Abandoned);
        }
        // Also in the copy by which its input is written.
        let _ = self.output.shutdown(Shutdown::Both);
    }
}

fn supervise(mut supervised: Supervised) {
    let mut has_exited = false;
    let is_abandoned = loop {
        match supervised.next() {
            Event::Exited => has_exited = true,
            Event::OutputEnded => break false,
            Event::Abandoned | Event::Stop => break true,
            Event::Reload => {}
        }
    };
    has_exited = has_exited || (!is_abandoned && supervised.ends_within(LEAVING));
    if has_exited {
        if let Ok(status) = supervised.reap() {
            log_exit(&supervised.name, status);
        }
    } else {
        supervised.terminate();
    }
    if is_abandoned {
        // Processes that the program started itself (a shell's pipeline) would wait for ever.
        let _ = killpg(supervised.id, Signal::SIGKILL);
    }
}

fn log_exit(name: &str, status: ExitStatus) {
    if !status.success() {
        super::note(format_args!("{name} {}", child::exit_words(status)));
    }
}

//! Responder: the FastCGI process, from the first request for it to the server's end.
//!
//! The server owns the listening socket, in a folder that no other user may enter, and the
//! process inherits it as descriptor 0 (FastCGI 1.0 §2.2). So a request can connect before the
//! process has started, and while a process that has ended is replaced: the request waits, and
//! is served.
//!
//! ```text
//! not wanted ── request ──> runs ── dies ──> runs again
//!     ▲                      │  └── dies within a second, three times in a row ──┐
//!     └──────────────────────┼───────────────────────────────────────────────────┘
//!                            └── server ends ──> SIGTERM ── 3 s ──> SIGKILL ──> reaped
//! ```
//!
//! If the server is killed by SIGKILL, the process stays.

use std::ffi::OsStr;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};

use super::super::child::{Event, Supervised, exit_words};
use super::super::environment::Variables;
use super::super::note;

/// A process that ends sooner may be unable to run at all.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// After this many short lives in a row it is not started again before the next request.
const MOST_SHORT_LIVES: u32 = 3;

/// How long its streams may take to end: shorter than the time before SIGKILL.
const DRAIN: &str = "--drain=2s";

/// These options give nobody more rights: programs run as the server's user too, with settings
/// from its command line.
const RIGHTS: [&str; 2] = ["--allow-root", "--allow-commands"];

/// The only responder of a server.
#[derive(Debug)]
pub struct Responder {
    job: ResponderProgram,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: Option<Running>,
    is_stopping: bool,
}

/// The program to run.
#[derive(Debug, Clone)]
struct ResponderProgram {
    program: PathBuf,
    config: Option<PathBuf>,
    variables: Variables,
}

#[derive(Debug)]
struct Running {
    socket: PathBuf,
    /// To the supervisor of the present process.
    events: Arc<Mutex<Sender<Event>>>,
    keeper: JoinHandle<()>,
}

impl Running {
    fn send(&self, event: Event) {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = events.send(event);
    }
}

impl Responder {
    /// `config` is its settings file, and `variables` its whole environment.
    pub fn new(program: PathBuf, config: Option<PathBuf>, variables: Variables) -> Responder {
        Responder {
            job: ResponderProgram {
                program,
                config,
                variables,
            },
            state: Mutex::default(),
        }
    }

    /// Whether it was given one.
    pub fn has_settings_file(&self) -> bool {
        self.job.config.is_some()
    }

    /// A connection to the process, which is started if necessary. It does not block.
    pub fn connect(&self) -> io::Result<UnixStream> {
        let socket = self.socket()?;
        let stream = UnixStream::connect(socket)?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    }

    /// Has the process read its settings file again, if it runs. (A new one reads it anyway.)
    pub fn reload(&self) {
        if let Some(running) = &self.lock().running {
            running.send(Event::Reload);
        }
    }

    /// Ends the process, and waits until it is reaped; no other is started.
    pub fn stop(&self) {
        let running = {
            let mut state = self.lock();
            state.is_stopping = true;
            state.running.take()
        };
        if let Some(running) = running {
            running.send(Event::Stop);
            let _ = running.keeper.join();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn socket(&self) -> io::Result<PathBuf> {
        let mut state = self.lock();
        if let Some(running) = &state.running {
            if !running.keeper.is_finished() {
                return Ok(running.socket.clone());
            }
        }
        if state.is_stopping {
            return Err(io::Error::other("the server ends"));
        }
        let folder = PrivateFolder::make()?;
        let socket = folder.0.join("responder.sock");
        let listener = UnixListener::bind(&socket)?;
        let (supervised, events) = self.job.start(&listener)?;
        let events = Arc::new(Mutex::new(events));
        let keeper = Keeper {
            job: self.job.clone(),
            listener,
            events: Arc::clone(&events),
            _folder: folder,
        };
        state.running = Some(Running {
            socket: socket.clone(),
            events,
            keeper: thread::Builder::new().spawn(move || keeper.keep(supervised))?,
        });
        Ok(socket)
    }
}

impl ResponderProgram {
    fn name(&self) -> String {
        let name = self.program.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    fn start(&self, listener: &UnixListener) -> io::Result<(Supervised, Sender<Event>)> {
        let started = Command::new(&self.program)
            .arg(DRAIN)
            .args(RIGHTS)
            .args(
                self.config
                    .iter()
                    .flat_map(|file| [OsStr::new("--config"), file.as_os_str()]),
            )
            .env_clear()
            .envs(&self.variables)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(listener.try_clone()?)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let child = started.map_err(|error| {
            let program = self.program.display();
            let text = format!("start {program}: {error}; --fcgi names another responder");
            io::Error::new(error.kind(), text)
        })?;
        note(format_args!("started {} ({})", self.name(), child.id()));
        Supervised::new(self.name(), child)
    }
}

/// What supervises the process, in a thread of its own.
struct Keeper {
    job: ResponderProgram,
    listener: UnixListener,
    events: Arc<Mutex<Sender<Event>>>,
    /// Removed with the keeper.
    _folder: PrivateFolder,
}

impl Keeper {
    fn keep(self, mut supervised: Supervised) {
        let mut short_lives = 0;
        loop {
            let started = Instant::now();
            let (name, id) = (supervised.name.clone(), supervised.id);
            loop {
                match supervised.next() {
                    Event::Exited => break,
                    Event::Reload => {
                        let _ = kill(id, Signal::SIGHUP);
                    }
                    Event::Stop => {
                        supervised.terminate();
                        // The processes that it has started would survive.
                        let _ = killpg(id, Signal::SIGKILL);
                        return;
                    }
                    Event::OutputEnded | Event::Abandoned => {}
                }
            }
            let exit = supervised.reap();
            let _ = killpg(id, Signal::SIGKILL);
            let words = exit.map_or_else(|error| error.to_string(), exit_words);
            short_lives = match started.elapsed() < SHORT_LIFE {
                true => short_lives + 1,
                false => 0,
            };
            if short_lives == MOST_SHORT_LIVES {
                let text = "again at once; the next request starts it";
                return note(format_args!("{name} ({id}) {words} {text}"));
            }
            note(format_args!("{name} ({id}) {words}; it is started again"));
            // A Stop that arrives meanwhile must not be lost.
            let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
            if supervised.is_told_to_stop() {
                return;
            }
            match self.job.start(&self.listener) {
                Ok((next, sender)) => (supervised, *events) = (next, sender),
                Err(error) => return note(format_args!("{error}")),
            }
        }
    }
}

/// A folder for the owner only, removed when this is dropped.
#[derive(Debug)]
struct PrivateFolder(PathBuf);

impl PrivateFolder {
    /// The name cannot be predicted, and an existing folder is never used.
    fn make() -> io::Result<PrivateFolder> {
        let parent = std::env::temp_dir();
        loop {
            let name = format!("sse-harness-{:016x}", fastrand::u64(..));
            let path = parent.join(name);
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(PrivateFolder(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(in_words(&parent, &error)),
            }
        }
    }
}

fn in_words(parent: &Path, error: &io::Error) -> io::Error {
    let text = format!("make a folder in {}: {error}", parent.display());
    io::Error::new(error.kind(), text)
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

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
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::super::environment::Variables;
use super::super::note;
use super::super::program::{exit_words, log_stderr, terminate};

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
    stop: watch::Receiver<()>,
    reload: watch::Sender<()>,
    running: Mutex<Option<Running>>,
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
    keeper: JoinHandle<()>,
}

impl Responder {
    /// `config` is its settings file, and `variables` its whole environment. When `stop` changes
    /// or its sender is dropped, the process is ended.
    pub fn new(
        program: PathBuf,
        config: Option<PathBuf>,
        variables: Variables,
        stop: watch::Receiver<()>,
    ) -> Responder {
        Responder {
            job: ResponderProgram {
                program,
                config,
                variables,
            },
            stop,
            reload: watch::Sender::new(()),
            running: Mutex::new(None),
        }
    }

    /// Whether it was given one.
    pub fn has_settings_file(&self) -> bool {
        self.job.config.is_some()
    }

    /// A connection to the process, which is started if necessary.
    pub async fn connect(&self) -> io::Result<UnixStream> {
        let socket = self.socket()?;
        UnixStream::connect(socket).await
    }

    /// Has the process read its settings file again, if it runs. (A new one reads it anyway.)
    pub fn reload(&self) {
        self.reload.send_replace(());
    }

    /// Waits until the process is reaped; no other is started.
    pub async fn ended(&self) {
        let running = self.lock().take();
        if let Some(running) = running {
            let _ = running.keeper.await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn socket(&self) -> io::Result<PathBuf> {
        let mut running = self.lock();
        if let Some(running) = &*running
            && !running.keeper.is_finished()
        {
            return Ok(running.socket.clone());
        }
        if !matches!(self.stop.has_changed(), Ok(false)) {
            return Err(io::Error::other("the server ends"));
        }
        let folder = PrivateFolder::make()?;
        let socket = folder.0.join("responder.sock");
        let listener = UnixListener::bind(&socket)?;
        let child = self.job.start(&listener)?;
        let keeper = Keeper {
            job: self.job.clone(),
            listener,
            _folder: folder,
        };
        *running = Some(Running {
            socket: socket.clone(),
            keeper: tokio::spawn(keeper.keep(child, self.stop.clone(), self.reload.subscribe())),
        });
        Ok(socket)
    }
}

impl ResponderProgram {
    fn name(&self) -> String {
        let name = self.program.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    fn start(&self, listener: &UnixListener) -> io::Result<Child> {
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
        let mut child = started.map_err(|error| {
            let program = self.program.display();
            let text = format!("start {program}: {error}; --fcgi names another responder");
            io::Error::new(error.kind(), text)
        })?;
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(log_stderr(stderr, self.name()));
        }
        let id = child.id().unwrap_or_default();
        note(format_args!("started {} ({id})", self.name()));
        Ok(child)
    }
}

/// The task that supervises the process.
struct Keeper {
    job: ResponderProgram,
    listener: UnixListener,
    /// Removed with the keeper.
    _folder: PrivateFolder,
}

impl Keeper {
    async fn keep(
        self,
        mut child: Child,
        mut stop: watch::Receiver<()>,
        mut reload: watch::Receiver<()>,
    ) {
        let name = self.job.name();
        let mut short_lives = 0;
        loop {
            let started = Instant::now();
            let id = child.id().expect("nobody has waited for the child yet");
            let id = Pid::from_raw(id.cast_signed());
            let exit = loop {
                tokio::select! {
                exit = child.wait() => break exit,
                Ok(()) = reload.changed() => {
                    let _ = kill(id, Signal::SIGHUP);
                }
                _ = stop.changed() => {
                    terminate(&mut child, id, &name).await;
                    // The processes that it has started would survive.
                    let _ = killpg(id, Signal::SIGKILL);
                    return;
                }
                }
            };
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
            child = match self.job.start(&self.listener) {
                Ok(child) => child,
                Err(error) => return note(format_args!("{error}")),
            };
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

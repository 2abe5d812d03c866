//! Server: the listening socket, from the start to the last program's end.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

use super::child;
use super::environment::Variables;
use super::fastcgi::Responder;
use super::options::Options;
use super::page::Folder;
use super::program::Launcher;
use super::ready::{is_readable, ready, stop};
use super::route::{Route, Routes};
use super::site::Site;
use super::{connection, note};

/// `PATH` of the programs if the server itself has none.
const SEARCH_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Limit for sending the last bytes of ended programs to their clients.
const FAREWELL: Duration = Duration::from_secs(1);

/// The pause of accepting connections after the system refused one (no descriptor left), and
/// while there are too many.
const BREATHER: Duration = Duration::from_millis(100);

/// The maximum number of connections, each with a thread; others wait.
const MOST_CONNECTIONS: usize = 1000;

/// Serves until SIGINT or SIGTERM.
pub fn run(options: Options) -> Result<(), Failure> {
    // Each program needs three descriptors, so the usual soft limit of 1024 is soon reached.
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    let listen = options.listen.clone();
    let site = Arc::new(site(options)?);
    let failure = |error| Failure::new("wait for signals", error);
    let end = on_signals(&[SIGINT, SIGTERM]).map_err(failure)?;
    let mut reload = on_signals(&[SIGHUP]).map_err(failure)?;
    let (stopper, stop) = stop().map_err(|error| Failure::new("make a pipe", error))?;
    let listener = bind(&listen)?;
    let address = listener
        .local_addr()
        .map_err(|error| Failure::new("ask for the address", error))?;
    announce(address)?;

    // Each connection has a copy.
    let alive = Arc::new(());
    loop {
        let is_full = Arc::strong_count(&alive) > MOST_CONNECTIONS;
        let connection = match is_full {
            true => PollFlags::empty(),
            false => PollFlags::POLLIN,
        };
        let descriptors = [
            (end.as_fd(), PollFlags::POLLIN),
            (reload.as_fd(), PollFlags::POLLIN),
            (listener.as_fd(), connection),
        ];
        let until = is_full.then(|| Instant::now() + BREATHER);
        let events = ready(descriptors, until);
        let events = events.map_err(|error| Failure::new("wait for connections", error))?;
        let [ended, reloaded, connected] = events.unwrap_or([PollFlags::empty(); 3]);
        if is_readable(ended) {
            break;
        }
        if is_readable(reloaded) {
            let _ = reload.read(&mut [0; 64]);
            site.responder.reload();
        }
        if !is_readable(connected) {
            continue;
        }
        let started = listener.accept().and_then(|(socket, _)| {
            socket.set_nonblocking(false)?;
            let (site, stop, alive) = (Arc::clone(&site), stop.clone(), Arc::clone(&alive));
            child::spawn(move || {
                connection::serve(&site, socket, &stop);
                drop(alive);
            })
        });
        match started {
            Ok(()) => {}
            // The client has disconnected already.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                note(format_args!("accept a connection: {error}"));
                thread::sleep(BREATHER);
            }
        }
    }

    drop(listener);
    drop(stopper);
    site.launcher.stop();
    site.responder.stop();
    site.launcher.drained();
    let until = Instant::now() + FAREWELL;
    while Arc::strong_count(&alive) > 1 && Instant::now() < until {
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// A descriptor that can be read once one of these signals has arrived. (They are not blocked,
/// since a program would inherit that.)
fn on_signals(signals: &[i32]) -> io::Result<UnixStream> {
    let (reader, writer) = UnixStream::pair()?;
    for signal in signals {
        pipe::register(*signal, writer.try_clone()?)?;
    }
    Ok(reader)
}

fn site(options: Options) -> Result<Site, Failure> {
    let refused = |option: &str, path: &Path, error| {
        let remedy = format!("name the folder with {option} DIR");
        Failure::new(format_args!("open {}", path.display()), error).with(remedy)
    };
    let pages = Folder::open(&options.web);
    let pages = pages.map_err(|error| refused("--web", &options.web, error))?;
    let programs = options.cgi_bin.canonicalize();
    let programs = programs.and_then(|path| path.read_dir().map(|_| path));
    let programs = programs.map_err(|error| refused("--cgi-bin", &options.cgi_bin, error))?;

    let responder = responder_program(options.fcgi)?;
    let config = options.config.map(|file| settings_file(&responder, &file));
    let config = config.transpose()?;

    let mut settings = options.settings;
    settings.inherit(std::env::vars_os());
    let search_path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from(SEARCH_PATH));
    let document_root = pages.path.clone();
    // The responder reads settings of the whole process (SSE_LOG) from its environment.
    let mut variables: Variables = settings.of_all().cloned().collect();
    variables.insert("PATH".into(), search_path.clone());
    let responder = Arc::new(Responder::new(responder, config, variables));
    Ok(Site {
        routes: Routes(vec![
            ("/cgi-bin/", Route::Programs(programs)),
            ("/events/", Route::Responder(Arc::clone(&responder))),
            ("/", Route::Pages(Arc::new(pages))),
        ]),
        settings,
        launcher: Launcher::new(options.limits.programs),
        responder,
        pages: document_root,
        search_path,
        limits: options.limits,
    })
}

/// A named responder must exist. If the default one is missing, only requests for it fail.
fn responder_program(named: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let Some(named) = named else {
        let own = std::env::current_exe();
        let own = own.map_err(|error| Failure::new("find the own program", error))?;
        return Ok(own.with_file_name("sse-fcgi"));
    };
    let found = named.canonicalize().and_then(|path| match path.is_file() {
        true => Ok(path),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "no file")),
    });
    found.map_err(|error| {
        let action = format!("open {}", named.display());
        Failure::new(action, error).with("name the responder with --fcgi PROGRAM")
    })
}

/// The absolute path of a settings file in which the responder finds nothing wrong.
fn settings_file(responder: &Path, file: &Path) -> Result<PathBuf, Failure> {
    let action = format!("--config {}", file.display());
    let failure = |error| Failure::new(&action, error);
    let path = std::path::absolute(file).map_err(failure)?;
    let mut check = Command::new(responder);
    let checked = check
        .arg("--check")
        .arg(&path)
        .stdout(Stdio::null())
        .status();
    match checked.map_err(failure)?.success() {
        true => Ok(path),
        false => {
            let error = io::Error::new(io::ErrorKind::InvalidData, "not usable");
            Err(failure(error).with("the lines above say why"))
        }
    }
}

fn bind(listen: &str) -> Result<TcpListener, Failure> {
    let action = format!("listen on {listen}");
    let address = listen.to_socket_addrs().and_then(|mut all| {
        let none = || io::Error::new(io::ErrorKind::NotFound, "no such address");
        all.next().ok_or_else(none)
    });
    let address = address.map_err(|error| {
        Failure::new(&action, error).with("want ADDR:PORT, such as 127.0.0.1:8080")
    })?;
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|error| {
        let in_use = error.kind() == io::ErrorKind::AddrInUse;
        let failure = Failure::new(&action, error);
        match in_use {
            true => failure.with(format!(
                "another program has this port; take a free one with --listen {}:0",
                address.ip(),
            )),
            false => failure,
        }
    })
}

fn announce(address: SocketAddr) -> Result<(), Failure> {
    let line = format!("sse-harness: listening on http://{address}/\n");
    let mut stdout = io::stdout();
    stdout
        .write_all(line.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::new("print the address", error))?;
    note(format_args!("for local use, not for the internet"));
    if !address.ip().is_loopback() {
        note(format_args!(
            "WARNING: {} can be reached from other machines. Whoever reaches it runs the programs \
             and reads the streams: there is no password and no TLS. The default is 127.0.0.1.",
            address.ip(),
        ));
    }
    Ok(())
}

/// Why the server did not start: the action, the system's error, and the remedy.
#[derive(Debug)]
pub struct Failure {
    action: String,
    error: io::Error,
    remedy: Option<String>,
}

impl Failure {
    fn new(action: impl Display, error: io::Error) -> Failure {
        Failure {
            action: action.to_string(),
            error,
            remedy: None,
        }
    }

    fn with(mut self, remedy: impl Into<String>) -> Failure {
        self.remedy = Some(remedy.into());
        self
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}: {}", self.action, self.error)?;
        match &self.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

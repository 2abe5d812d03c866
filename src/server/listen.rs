//! Listener: the socket that web servers connect to.

use std::collections::HashSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use listenfd::ListenFd;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrLike as _, SockaddrStorage, bind,
    getsockname, getsockopt, listen, setsockopt, socket, sockopt,
};

use super::options::{ListenAddress, UnixAddress};

/// A listening socket.
pub(super) struct Listener {
    socket: Socket,
    /// The socket's file, which is removed at the end.
    made: Option<Made>,
    /// `FCGI_WEB_SERVER_ADDRS` (FastCGI 1.0 §3.2): the addresses that may connect over TCP;
    /// `None`: all.
    allowed: Option<HashSet<IpAddr>>,
}

enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// The sockets of several workers. They stay open in the supervisor, so that what waits for a
/// worker that has ended waits for the next one.
pub(super) struct Sockets {
    /// All workers accept connections from these: a socket in the file system, or of systemd.
    shared: Vec<Listener>,
    /// Each worker has one of each of these: they listen at the same address.
    own: Vec<Vec<Listener>>,
}

impl Sockets {
    /// Opens those of the command line, for so many workers.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub(super) fn open(places: &[ListenAddress], workers: usize) -> Result<Self, ListenError> {
        let mut sockets = Self {
            shared: Vec::new(),
            own: Vec::new(),
        };
        for place in places {
            match place {
                ListenAddress::Tcp(address) if workers > 1 => {
                    let opened = tcp_of_workers(*address, workers)?.into_iter();
                    let opened = opened.map(|socket| Listener::of(Socket::Tcp(socket), None));
                    sockets.own.push(opened.collect::<Result<_, _>>()?);
                }
                _ => sockets.shared.extend(Listener::open(place)?),
            }
        }
        Ok(sockets)
    }

    /// How many addresses there are.
    pub(super) fn count(&self) -> usize {
        self.shared.len() + self.own.len()
    }

    /// Those of a process that is alone.
    pub(super) fn into_shared(self) -> Vec<Listener> {
        self.shared
    }

    /// Those of a worker.
    pub(super) fn of_worker(&self, index: usize) -> impl Iterator<Item = &Listener> {
        let own = self.own.iter().filter_map(move |group| group.get(index));
        own.chain(&self.shared)
    }

    /// Closes all of them.
    pub(super) fn close(&mut self) {
        self.shared.clear();
        self.own.clear();
    }
}

/// Identifies the file, because its name may belong to another process by now.
struct Made {
    path: PathBuf,
    identity: (u64, u64),
}

/// A new connection.
pub(super) enum Accepted {
    /// Its socket, and the address of its peer; over a socket in the file system there is none.
    Peer(OwnedFd, Option<SocketAddr>),
    /// Its address is not permitted.
    Stranger(IpAddr),
}

/// Why there is no listening socket: a line with the problem and the remedy.
pub(super) enum ListenError {
    /// The command line or the environment is wrong.
    Usage(String),
    /// An error of the system.
    System(String),
}

impl From<String> for ListenError {
    fn from(problem: String) -> Self {
        Self::System(problem)
    }
}

impl Listener {
    /// Opens the socket of the command line.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(super) fn open(place: &ListenAddress) -> Result<Vec<Self>, ListenError> {
        let (socket, made) = match place {
            ListenAddress::Inherited => {
                let sockets = inherited().map_err(ListenError::Usage)?;
                let listeners = sockets.into_iter().map(|socket| Self::of(socket, None));
                return listeners.collect();
            }
            ListenAddress::Tcp(address) => (Socket::Tcp(tcp(*address)?), None),
            ListenAddress::Unix(address) => {
                let (socket, made) = unix(address)?;
                (Socket::Unix(socket), Some(made))
            }
        };
        Ok(vec![Self::of(socket, made)?])
    }

    /// Takes a socket that was passed by the supervisor of several workers.
    ///
    /// # Errors
    /// When there is no such socket.
    pub(super) fn passed(passed: &mut ListenFd, index: usize) -> Result<Self, String> {
        let socket = take_passed(passed, index)?;
        Self::of(socket, None).map_err(|error| match error {
            ListenError::Usage(problem) | ListenError::System(problem) => problem,
        })
    }

    fn of(socket: Socket, made: Option<Made>) -> Result<Self, ListenError> {
        let allowed = allowed().map_err(ListenError::Usage)?;
        match &socket {
            Socket::Unix(listener) => listener.set_nonblocking(true),
            Socket::Tcp(listener) => listener.set_nonblocking(true),
        }
        .map_err(|error| format!("the socket: {error}"))?;
        Ok(Self {
            socket,
            made,
            allowed,
        })
    }

    /// Its address, for the log.
    pub(super) fn address(&self) -> String {
        let unknown = |_| "a socket".to_owned();
        match &self.socket {
            Socket::Tcp(listener) => listener
                .local_addr()
                .map_or_else(unknown, |address| address.to_string()),
            Socket::Unix(listener) => listener.local_addr().map_or_else(unknown, |address| {
                let path = address.as_pathname();
                path.map_or("an unnamed socket".into(), |path| {
                    path.display().to_string()
                })
            }),
        }
    }

    /// Where it listens, for clients of HTTP.
    pub(super) fn tcp_address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().ok(),
            Socket::Unix(_) => None,
        }
    }

    /// The next new connection.
    ///
    /// # Errors
    /// The errors of accept(2); `WouldBlock` if there is no connection.
    pub(super) fn accept(&self) -> io::Result<Accepted> {
        match &self.socket {
            Socket::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok(Accepted::Peer(stream.into(), None))
            }
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                let allowed = self.allowed.as_ref();
                if allowed.is_some_and(|allowed| !allowed.contains(&peer.ip().to_canonical())) {
                    return Ok(Accepted::Stranger(peer.ip()));
                }
                // An event is a small write that nothing follows for a while.
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                Ok(Accepted::Peer(stream.into(), Some(peer)))
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Unix(listener) => listener.as_fd(),
            Socket::Tcp(listener) => listener.as_fd(),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let Some(made) = &self.made else { return };
        let is_ours = fs::symlink_metadata(&made.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == made.identity);
        if is_ours {
            let _ = fs::remove_file(&made.path);
        }
    }
}

/// The sockets from systemd, or descriptor 0 (FastCGI 1.0 §2.2).
fn inherited() -> Result<Vec<Socket>, String> {
    let mut passed = ListenFd::from_env();
    if passed.len() > 0 {
        let count = passed.len();
        return (0..count)
            .map(|index| take_passed(&mut passed, index))
            .collect();
    }
    let missing = "descriptor 0 is no listening socket; use --socket PATH or --listen ADDRESS, \
                   or let spawn-fcgi, systemd or the web server open it";
    let family = zero_listens().ok_or(missing)?;
    let socket = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(|error| format!("descriptor 0: {error}"))?;
    Ok(vec![match family {
        AddressFamily::Unix => Socket::Unix(socket.into()),
        _ => Socket::Tcp(socket.into()),
    }])
}

fn take_passed(passed: &mut ListenFd, index: usize) -> Result<Socket, String> {
    if let Ok(Some(listener)) = passed.take_unix_listener(index) {
        return Ok(Socket::Unix(listener));
    }
    match passed.take_tcp_listener(index) {
        Ok(Some(listener)) => Ok(Socket::Tcp(listener)),
        _ => Err("LISTEN_FDS: no listening stream socket; use ListenStream=".into()),
    }
}

/// The family of descriptor 0, if it is a listening socket.
fn zero_listens() -> Option<AddressFamily> {
    let stdin = io::stdin();
    if !getsockopt(&stdin, sockopt::AcceptConn).ok()? {
        return None;
    }
    let address: SockaddrStorage = getsockname(0).ok()?;
    address.family()
}

/// Whether a listening socket has been inherited.
pub(crate) fn is_inherited() -> bool {
    let is_for_us = |pid: String| pid.parse() == Ok(std::process::id());
    std::env::var("LISTEN_PID").is_ok_and(is_for_us) || zero_listens().is_some()
}

fn tcp(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).map_err(|error| unbound(address, &error))
}

fn unbound(address: SocketAddr, error: &io::Error) -> String {
    format!("--listen {address}: {error}; is another one running, or the address not ours?")
}

/// A socket for each worker at one address (SO_REUSEPORT).
fn tcp_of_workers(address: SocketAddr, workers: usize) -> Result<Vec<TcpListener>, String> {
    let mut attempts = 0;
    loop {
        // With that option we would share the port with another server of this user.
        let probe = tcp(address)?;
        let bound = probe
            .local_addr()
            .map_err(|error| unbound(address, &error))?;
        drop(probe);
        let all: io::Result<Vec<_>> = (0..workers).map(|_| reuse_port(bound)).collect();
        attempts += 1;
        match all {
            // Another process has got the free port in between.
            Err(error)
                if error.kind() == ErrorKind::AddrInUse && address.port() == 0 && attempts < 10 => {
            }
            all => return all.map_err(|error| unbound(address, &error)),
        }
    }
}

fn reuse_port(address: SocketAddr) -> io::Result<TcpListener> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let own = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&own, sockopt::ReuseAddr, &true)?;
    setsockopt(&own, sockopt::ReusePort, &true)?;
    bind(own.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&own, Backlog::MAXALLOWABLE)?;
    Ok(own.into())
}

fn unix(place: &UnixAddress) -> Result<(UnixListener, Made), ListenError> {
    let path = &place.path;
    let shown = place.shown();
    make_room(place)?;
    make_folder(place)?;
    // Nobody else may connect before it has its mode. Only umask(2) ensures this from the
    // beginning, and no other thread is running yet.
    let before = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let bound = UnixListener::bind(path);
    nix::sys::stat::umask(before);
    let listener = bound.map_err(|error| {
        format!("{shown}: {error}; name a path in a folder that this user can write to")
    })?;
    let made = fs::symlink_metadata(path)
        .map(|metadata| Made {
            path: path.clone(),
            identity: (metadata.dev(), metadata.ino()),
        })
        .map_err(|error| format!("{shown}: {error}"))?;
    if place.owner.is_some() || place.group.is_some() {
        chown(path, place.owner, place.group).map_err(|error| {
            format!("{shown}: --owner, --group: {error}; only root gives files away")
        })?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(place.mode))
        .map_err(|error| format!("{shown}: --mode: {error}"))?;
    Ok((listener, made))
}

/// Creates the socket's folder for the user of `--user`, who can then remove the socket at the
/// end: /run is empty after a start of the machine.
fn make_folder(address: &UnixAddress) -> Result<(), String> {
    let (Some(folder), Some(owner)) = (address.path.parent(), address.folder_owner) else {
        return Ok(());
    };
    if folder.as_os_str().is_empty() || folder.exists() {
        return Ok(());
    }
    let made = fs::create_dir(folder)
        .and_then(|()| fs::set_permissions(folder, fs::Permissions::from_mode(0o755)))
        .and_then(|()| chown(folder, Some(owner), None));
    made.map_err(|error| {
        format!(
            "{}: make {}: {error}; name a path in a folder that exists",
            address.shown(),
            folder.display()
        )
    })
}

/// Removes a socket that nobody listens on any more. (A second one that does so at the same
/// moment could remove ours: then our clients go to it, and nothing is lost.)
fn make_room(place: &UnixAddress) -> Result<(), String> {
    let (path, shown) = (&place.path, place.shown());
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("{shown}: {error}")),
    };
    if !metadata.file_type().is_socket() {
        return Err(format!(
            "{shown}: there is something that is no socket; remove it, or name another path"
        ));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| format!("{shown}: a stale socket: {error}"))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        // Also if its queue is full, or this user may not connect: it is in use.
        _ => Err(format!(
            "{shown}: somebody is listening there; stop that one, or name another path"
        )),
    }
}

fn allowed() -> Result<Option<HashSet<IpAddr>>, String> {
    let Ok(text) = std::env::var("FCGI_WEB_SERVER_ADDRS") else {
        return Ok(None);
    };
    let words = text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty());
    let addresses: Result<HashSet<IpAddr>, String> = words
        .map(|word| {
            word.parse::<IpAddr>()
                .map(|address| address.to_canonical())
                .map_err(|_| {
                    format!("FCGI_WEB_SERVER_ADDRS: {word}: no IP address; write addresses separated by commas")
                })
        })
        .collect();
    Ok(Some(addresses?).filter(|addresses| !addresses.is_empty()))
}

//! Link: one connection to an engine, which never blocks.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, connect,
    getsockopt, setsockopt, socket, sockopt,
};

use crate::source::redis::{Address, Certificates, EnginePlace, Reader, Role, Scanner, command};

/// The size of one read.
pub(super) const READ_BYTES: usize = 64 * 1024;

/// The capacity that is kept between replies.
const IDLE_BYTES: usize = 64 * 1024;

/// A connection, its unsent commands and the replies that are not complete.
pub(super) struct Link {
    socket: Socket,
    is_connected: bool,
    output: Vec<u8>,
    input: Vec<u8>,
    scanner: Scanner,
    /// The first bytes of `input` that are complete replies, which nobody has taken yet.
    scanned_bytes: usize,
    scanned_replies: usize,
    /// The size of what was taken last.
    expected_bytes: usize,
    /// How many replies belong to the commands that opened it.
    opening_replies: usize,
    /// How many replies come before that of ROLE.
    replies_before_role: Option<usize>,
}

/// An encrypted connection.
pub(crate) trait Secured: Read + Write + AsFd {}

/// Begins an encrypted connection to a host.
pub(crate) type OpenTls = fn(TcpStream, &str, &Certificates) -> io::Result<Box<dyn Secured>>;

/// Opens connections whose events arrive at one epoll.
pub(super) struct Opener {
    pub(super) epoll: Epoll,
    /// `None`: the program does not contain TLS.
    pub(super) tls: Option<OpenTls>,
}

impl Opener {
    /// Begins to connect; the events of the connection have these data.
    ///
    /// # Errors
    /// See [`Link::open`].
    pub(super) fn open(&self, address: &Address, data: u64) -> io::Result<Link> {
        let link = Link::open(address, self.tls)?;
        let flags = EpollFlags::EPOLLIN
            | EpollFlags::EPOLLOUT
            | EpollFlags::EPOLLRDHUP
            | EpollFlags::EPOLLET;
        self.epoll.add(&link, EpollEvent::new(flags, data))?;
        Ok(link)
    }
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<dyn Secured>),
}

impl Link {
    /// Begins to connect. The first commands authenticate and select the database. `tls` begins an
    /// encrypted connection, if the program contains that.
    ///
    /// # Errors
    /// The system's error; for a host name, that it is unknown; for TLS, which setting is wrong.
    fn open(address: &Address, tls: Option<OpenTls>) -> io::Result<Self> {
        let mut link = match &address.place {
            EnginePlace::Unix(path) => {
                let own = new_socket(AddressFamily::Unix)?;
                let is_connected = begin(&own, &UnixAddr::new(path)?)?;
                Self::of(Socket::Unix(own.into()), is_connected)
            }
            EnginePlace::Tcp(host, port) => {
                let place = SocketAddr::new(look_up(host)?, *port);
                let own = new_socket(match place {
                    SocketAddr::V4(_) => AddressFamily::Inet,
                    SocketAddr::V6(_) => AddressFamily::Inet6,
                })?;
                setsockopt(&own, sockopt::TcpNoDelay, &true)?;
                setsockopt(&own, sockopt::KeepAlive, &true)?;
                let is_connected = begin(&own, &SockaddrStorage::from(place))?;
                let socket = match (&address.tls, tls) {
                    (None, _) => Socket::Tcp(own.into()),
                    (Some(files), Some(begin)) => Socket::Tls(begin(own.into(), host, files)?),
                    (Some(_), None) => return Err(io::ErrorKind::Unsupported.into()),
                };
                Self::of(socket, is_connected)
            }
            // A server of them is chosen first.
            EnginePlace::Sentinels(..) | EnginePlace::Cluster(_) => {
                return Err(io::ErrorKind::InvalidInput.into());
            }
        };
        if address.user.is_some() || address.password.is_some() {
            // A user without a password accepts any.
            let password = address.password.as_deref().unwrap_or_default();
            let user = address.user.as_deref().unwrap_or("default");
            link.opening(&[b"AUTH", user.as_bytes(), password.as_bytes()]);
        }
        if address.database > 0 {
            link.opening(&[b"SELECT", address.database.to_string().as_bytes()]);
        }
        if address.role == Role::Primary {
            link.replies_before_role = Some(link.opening_replies);
            link.opening(&[b"ROLE"]);
        }
        Ok(link)
    }

    fn of(socket: Socket, is_connected: bool) -> Self {
        Self {
            socket,
            is_connected,
            output: Vec::new(),
            input: Vec::new(),
            scanner: Scanner::default(),
            scanned_bytes: 0,
            scanned_replies: 0,
            expected_bytes: 0,
            opening_replies: 0,
            replies_before_role: None,
        }
    }

    fn opening(&mut self, words: &[&[u8]]) {
        command(words, &mut self.output);
        self.opening_replies += 1;
    }

    /// Whether the next reply belongs to the commands that opened it.
    pub(super) fn is_opening(&self) -> bool {
        self.opening_replies > 0
    }

    /// Whether the next reply belongs to the commands that opened it; takes it.
    pub(super) fn takes_opening_reply(&mut self) -> bool {
        let takes = self.opening_replies > 0;
        self.opening_replies -= usize::from(takes);
        takes
    }

    /// Queues commands; [`Self::flush`] sends them.
    pub(super) fn push(&mut self, commands: &[u8]) {
        self.output.extend_from_slice(commands);
    }

    /// How many bytes at the end of what was queued have not been sent: the engine has not
    /// received them, nor executed a command that one of them belongs to.
    pub(super) fn unsent_bytes(&self) -> usize {
        self.output.len()
    }

    /// Sends what can be sent now.
    ///
    /// # Errors
    /// When the connection is lost, or could not be made.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if !self.is_connected {
            match getsockopt(&self.socket.as_fd(), sockopt::SocketError)? {
                0 => {}
                error => return Err(Errno::from_raw(error).into()),
            }
        }
        let mut sent = 0;
        let result = loop {
            if sent == self.output.len() {
                break Ok(());
            }
            match self.socket.write(&self.output[sent..]) {
                Ok(count) => {
                    self.is_connected = true;
                    sent += count;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if waits(&error) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.output.drain(..sent);
        if self.output.is_empty() {
            self.output.shrink_to(IDLE_BYTES);
        }
        result?;
        // TLS keeps what it has encrypted.
        match self.socket.flush() {
            Err(error) if !waits(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Reads what has arrived; `scratch` is overwritten. Returns whether that was anything.
    ///
    /// # Errors
    /// When the connection is lost. What arrived before is kept; the next call reports the end.
    pub(super) fn receive(&mut self, scratch: &mut [u8]) -> io::Result<bool> {
        let mut has_received = false;
        loop {
            match self.socket.read(scratch) {
                Ok(0) if has_received => return Ok(true),
                Ok(0) => {
                    let error = "it closed the connection";
                    return Err(io::Error::new(ErrorKind::ConnectionAborted, error));
                }
                Ok(count) => {
                    has_received = true;
                    if self.input.capacity() == 0 {
                        // Probably as much as the last time.
                        self.input.reserve(self.expected_bytes);
                    }
                    self.input.extend_from_slice(&scratch[..count]);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if waits(&error) => break,
                // What came before is lost too: it is asked again.
                Err(error) => return Err(error),
            }
        }
        // What was read may have completed a TLS handshake.
        if !self.output.is_empty() {
            self.flush()?;
        }
        Ok(has_received)
    }

    /// Reads what has arrived, and returns each complete reply.
    ///
    /// # Errors
    /// When the connection is lost, or what arrives is not RESP.
    pub(super) fn read(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let mut replies = Vec::new();
        if self.receive(&mut [0; 4096])? {
            while let Some(reply) = self.take(1)? {
                replies.push(reply);
            }
        }
        Ok(replies)
    }

    /// The next replies, so many together, if they are complete.
    ///
    /// # Errors
    /// When what arrived is not RESP.
    pub(super) fn take(&mut self, replies: usize) -> io::Result<Option<Vec<u8>>> {
        while self.scanned_replies < replies {
            let Some(length) = self.scan(self.scanned_bytes)? else {
                return Ok(None);
            };
            self.scanned_bytes += length;
            self.scanned_replies += 1;
        }
        let rest = self.input.split_off(self.scanned_bytes);
        self.expected_bytes = self.scanned_bytes;
        (self.scanned_bytes, self.scanned_replies) = (0, 0);
        let taken = std::mem::replace(&mut self.input, rest);
        // Replies to the commands that opened it are taken one by one.
        Ok(Some(match &mut self.replies_before_role {
            None => taken,
            Some(0) => {
                self.replies_before_role = None;
                primary_or_error(taken)
            }
            Some(count) => {
                *count -= 1;
                taken
            }
        }))
    }

    fn scan(&mut self, from: usize) -> io::Result<Option<usize>> {
        if from == self.input.len() {
            return Ok(None);
        }
        let scanned = self.scanner.length(&self.input[from..]);
        scanned.map_err(|error| io::Error::new(ErrorKind::InvalidData, error.to_string()))
    }
}

/// The reply of ROLE, as an error unless it is that of a primary.
fn primary_or_error(reply: Vec<u8>) -> Vec<u8> {
    let mut reader = Reader::new(&reply);
    let role = reader.array().and_then(|_| reader.string());
    match role {
        Ok(b"master") => reply,
        Ok(_) => b"-NOTPRIMARY it is a replica now\r\n".to_vec(),
        // An error.
        Err(_) => reply,
    }
}

/// A connection that is being made is not connected yet for some calls.
fn waits(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::NotConnected
    )
}

fn new_socket(family: AddressFamily) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    Ok(socket(family, SockType::Stream, flags, None)?)
}

/// Begins to connect; returns whether it is connected at once.
fn begin(socket: &OwnedFd, place: &dyn SockaddrLike) -> io::Result<bool> {
    use std::os::fd::AsRawFd as _;
    match connect(socket.as_raw_fd(), place) {
        Ok(()) => Ok(true),
        Err(Errno::EINPROGRESS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The address of a host. The programs are linked statically, so they cannot use the system's
/// resolver.
fn look_up(host: &str) -> io::Result<IpAddr> {
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let found = hosts.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        let address = words.next()?.parse().ok()?;
        words
            .any(|name| name.eq_ignore_ascii_case(host))
            .then_some(address)
    });
    match found {
        Some(address) => Ok(address),
        None if host == "localhost" => Ok(Ipv4Addr::LOCALHOST.into()),
        None => Err(io::Error::new(
            ErrorKind::InvalidInput,
            format!(
                "{host} is not in /etc/hosts, the only place where names are looked up; add it, or write its address"
            ),
        )),
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(buffer),
            Self::Unix(socket) => socket.read(buffer),
            Self::Tls(socket) => socket.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write(bytes),
            Self::Unix(socket) => socket.write(bytes),
            Self::Tls(socket) => socket.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Ok(()),
            Self::Tls(socket) => socket.flush(),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
            Self::Tls(socket) => socket.as_fd(),
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

//! Accepts connections, and evicts connections to make room.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{SockaddrStorage, getsockname};

use super::connection::{Action, Connection};
use super::event_loop::Server;
use super::listen::{Accepted, Listener};
use super::options::Options;
use super::poller::Poller;
use super::token::{ConnectionId, Token};
use crate::gateway::{Protocol, fastcgi, http};
use crate::source::Now;
use crate::system::descriptors;
use crate::system::log::Level;

/// The maximum number of connections that are accepted in one turn of the loop.
const ACCEPTS_MAX: usize = 64;

/// The pause of accepting when no descriptor is left, and how long a request may take before it
/// can be evicted.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Descriptors that are not for connections: the listener, epoll, signals, watches, the log,
/// and files that are being read.
const OWN_DESCRIPTORS: u64 = 32;

/// The number of connections that are evicted when no descriptor is left.
const EVICTIONS: usize = 8;

/// When descriptors are short. A stream needs one to three, depending on its source, so
/// descriptors are counted and not subscribers.
///
/// ```text
///  0 ──── streams are opened ────┬─ refused, asked to come again ─┬─ evictions ─┐ limit
///                                └────────── reserve ─────────────┴─────────────┘
/// ```
///
/// The system assigns the lowest free number. So a number shows how many are in use at least,
/// and descriptors beyond a boundary are used only while all below it are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Descriptors {
    pub(super) limit: u64,
}

impl Descriptors {
    /// The descriptors that are not used for streams: an eighth, but no more than a burst of
    /// refusals needs.
    fn reserve(self) -> u64 {
        (self.limit / 8).clamp(16, 1024)
    }

    /// Whether a process whose lowest free descriptor is this one may open a stream.
    fn allows_stream(self, lowest_free: u64) -> bool {
        lowest_free < self.limit.saturating_sub(self.reserve())
    }

    /// Whether so few are left that requests that take long to arrive are evicted, and that
    /// subscribers that have fallen behind must wait before they open a file.
    fn is_nearly_exhausted(self, lowest_free: u64) -> bool {
        lowest_free >= self.limit.saturating_sub(self.reserve() / 2)
    }
}

/// What peers speak, with the limits of a request.
enum Language {
    FastCgi(Rc<fastcgi::Limits>),
    Http {
        limits: Rc<http::Limits>,
        /// The proxies that send a PROXY protocol header, if `--proxy-protocol` is given: nobody
        /// else is served.
        proxies: Option<Box<[http::Network]>>,
    },
}

/// The listening socket, and its limit of connections.
pub(super) struct Acceptor {
    /// None after shutdown has begun.
    listeners: Vec<Listener>,
    is_registered: bool,
    /// The limit of connections. The remaining descriptors are reserved for files.
    connections_max: usize,
    pub(super) descriptors: Descriptors,
    /// The limit of streams.
    pub(super) subscribers_max: usize,
    language: Language,
}

impl Acceptor {
    /// Raises the limit on descriptors as far as it goes; the other limits follow from it.
    pub(super) fn new(listeners: Vec<Listener>, subscribers_max: usize, options: &Options) -> Self {
        let limit = descriptors::raise_limit();
        let connections_max = (limit.saturating_sub(OWN_DESCRIPTORS) as usize).max(1);
        let mut acceptor = Self {
            listeners,
            is_registered: false,
            connections_max,
            descriptors: Descriptors { limit },
            subscribers_max,
            language: match &options.site {
                Some(site) => Language::Http {
                    limits: Rc::new(http::Limits::default()),
                    proxies: site.proxies().map(Into::into),
                },
                None => Language::FastCgi(Rc::new(fastcgi::Limits {
                    params_bytes: options.params_bytes,
                    pairs: options.pairs,
                    connections_max: u32::try_from(subscribers_max).unwrap_or(u32::MAX),
                })),
            },
        };
        acceptor.limit_subscribers(subscribers_max);
        acceptor
    }

    /// Serves at most so many streams from now on, if there are descriptors for them: some
    /// connections are left for refusing excess clients politely, and some descriptors for
    /// files.
    pub(super) fn limit_subscribers(&mut self, most: usize) {
        let places = self.connections_max * 7 / 8;
        self.subscribers_max = most.min(places.max(1));
    }

    /// The sockets.
    pub(super) fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// The address of the listening socket, for the log.
    pub(super) fn address(&self) -> String {
        let addresses: Vec<String> = self.listeners.iter().map(Listener::address).collect();
        addresses.join(", ")
    }

    /// Accepts connections from now on, unless shutdown has begun.
    ///
    /// # Errors
    /// The error of epoll.
    pub(super) fn resume(&mut self, poller: &Poller) -> io::Result<()> {
        if !self.is_registered {
            for listener in &self.listeners {
                // A connection to a socket that workers share wakes one of them.
                let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE;
                poller.add(listener, interest, Token::Listener)?;
            }
            self.is_registered = true;
        }
        Ok(())
    }

    /// Accepts no connections for now: they wait in the listen backlog.
    fn pause(&mut self, poller: &Poller) -> io::Result<()> {
        if self.is_registered {
            for listener in &self.listeners {
                poller.delete(listener)?;
            }
            self.is_registered = false;
        }
        Ok(())
    }

    /// Stops accepting connections.
    pub(super) fn close(&mut self, poller: &Poller) {
        let _ = self.pause(poller);
        self.listeners.clear();
    }

    /// The protocol of a connection that has been accepted from `client`.
    ///
    /// # Errors
    /// The address of a peer that is no trusted proxy, where only these are served.
    fn protocol(&self, socket: &OwnedFd, client: Option<SocketAddr>) -> Result<Protocol, IpAddr> {
        let (limits, proxies) = match &self.language {
            Language::FastCgi(limits) => {
                let connection = fastcgi::Connection::new(Rc::clone(limits));
                return Ok(Protocol::FastCgi(connection));
            }
            Language::Http { limits, proxies } => (Rc::clone(limits), proxies),
        };
        let server = own_address(socket);
        let peer = http::Peer { client, server };
        let Some(proxies) = proxies else {
            return Ok(Protocol::Http(http::Connection::new(limits, peer)));
        };
        let is_trusted = |address| proxies.iter().any(|network| network.contains(address));
        match client {
            Some(client) if !is_trusted(client.ip()) => Err(client.ip()),
            _ => Ok(Protocol::Http(http::Connection::behind_proxy(limits, peer))),
        }
    }
}

impl Server {
    /// Accepts connections again after a pause.
    pub(super) fn resume_accepting(&mut self) {
        let _ = self.acceptor.resume(&self.poller);
    }

    /// Accepts waiting connections, up to a limit. While descriptors are short, each replaces
    /// the oldest connection whose request has not arrived.
    pub(super) fn accept(&mut self, now: Now) {
        let listeners = self.acceptor.listeners.len();
        let in_excess = (0..listeners)
            .map(|index| self.accept_waiting(index, now))
            .sum();
        if in_excess > 0 {
            self.evict(in_excess, now);
        }
    }

    /// Returns how many of them have descriptors from the end of the reserve.
    fn accept_waiting(&mut self, index: usize, now: Now) -> usize {
        let mut in_excess = 0;
        for count in 0..ACCEPTS_MAX {
            let Some(listener) = self.acceptor.listeners.get(index) else {
                break;
            };
            if self.connections.len() >= self.acceptor.connections_max {
                // The next event shows whether another connection waits.
                if count == 0 {
                    self.make_room(&Errno::EMFILE.into(), now);
                }
                break;
            }
            match listener.accept() {
                Ok(Accepted::Peer(socket, client)) => {
                    let number = socket.as_raw_fd() as u64;
                    in_excess += usize::from(self.acceptor.descriptors.is_nearly_exhausted(number));
                    match self.acceptor.protocol(&socket, client) {
                        Ok(protocol) => self.open_connection(socket, protocol, now),
                        Err(address) => self.log.rate_limited(
                            Level::Warning,
                            "no proxy",
                            &format!(
                                "{address}: not one of --trusted-proxy, and with --proxy-protocol \
                                 nobody else is served; disconnected"
                            ),
                        ),
                    }
                }
                Ok(Accepted::Stranger(address)) => self.log.rate_limited(
                    Level::Warning,
                    "stranger",
                    &format!("{address}: not one of FCGI_WEB_SERVER_ADDRS; refused"),
                ),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => break,
                    // The peer disconnected while it waited.
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => {
                        self.make_room(&error, now);
                        break;
                    }
                },
            }
        }
        in_excess
    }

    /// Whether a descriptor is left for a stream on the connection `id`.
    pub(super) fn may_open_stream(&self, id: ConnectionId) -> bool {
        let descriptors = self.acceptor.descriptors;
        (self.connections.get(id))
            .is_none_or(|c| descriptors.allows_stream(descriptors::lowest_free(c)))
    }

    /// Whether a descriptor is left for a subscriber that has fallen behind.
    pub(super) fn may_reopen(&self, id: ConnectionId) -> bool {
        let descriptors = self.acceptor.descriptors;
        (self.connections.get(id))
            .is_none_or(|c| !descriptors.is_nearly_exhausted(descriptors::lowest_free(c)))
    }

    /// After an error for lack of descriptors or memory: evicts the oldest connections whose
    /// request has not arrived. Accepting pauses if there are none.
    fn make_room(&mut self, error: &io::Error, now: Now) {
        self.counters.accept_errors += 1;
        let text = format!("accept: {error}; raise LimitNOFILE, or ulimit -n");
        self.log.rate_limited(Level::Error, "accept", &text);
        if self.evict(EVICTIONS, now) == 0 && self.acceptor.pause(&self.poller).is_ok() {
            let at = now.monotonic + BACK_OFF;
            self.schedule.set(at, Token::Housekeeping);
        }
    }

    /// Closes at most `most` of the connections that have waited longest for a complete
    /// request; returns how many. Connections newer than [`BACK_OFF`] are kept.
    fn evict(&mut self, most: usize, now: Now) -> usize {
        let mut waiting: Vec<_> = (self.connections.iter())
            .filter_map(|(id, connection)| Some((connection.incomplete_since()?, id)))
            .filter(|(since, _)| *since + BACK_OFF < now.monotonic)
            .collect();
        if waiting.len() > most {
            // Kept connections first: their clients expect that, and come again.
            waiting.select_nth_unstable_by_key(most, |(since, id)| {
                let is_idle = |connection: &Connection| connection.is_kept_idle();
                let is_wanted = !self.connections.get(*id).is_some_and(is_idle);
                (is_wanted, *since)
            });
            waiting.truncate(most);
        }
        for (_, id) in &waiting {
            self.counters.dropped += 1;
            self.close(*id, "no descriptor left", now);
        }
        if !waiting.is_empty() {
            let text = "descriptors are short: the connections that have waited longest for a \
                        whole request are closed; raise LimitNOFILE, or ulimit -n";
            self.log.rate_limited(Level::Warning, "evicted", text);
        }
        waiting.len()
    }

    fn open_connection(&mut self, socket: OwnedFd, protocol: Protocol, now: Now) {
        let connection = Connection::new(socket, protocol, now);
        let id = self.connections.insert(connection);
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        let interest = connection.interest();
        if let Err(error) = self.poller.add(connection, interest, Token::Connection(id)) {
            self.connections.remove(id);
            self.counters.accept_errors += 1;
            let text = format!("epoll: {error}; raise fs.epoll.max_user_watches");
            return self.log.rate_limited(Level::Error, "epoll", &text);
        }
        self.wake_at(id, now.monotonic + self.options.request_timeout);
        // Its request has usually arrived with it.
        self.read(id, now);
    }

    /// A kept connection serves another request, with a new generation: entries of queues and
    /// deadlines for the previous request do not apply to it.
    pub(super) fn renew(&mut self, id: ConnectionId, now: Now) -> ConnectionId {
        let Some(renewed) = self.connections.renew(id) else {
            return id;
        };
        let Some(connection) = self.connections.get_mut(renewed) else {
            return renewed;
        };
        if self.poller.update(connection, renewed).is_err() {
            self.close(renewed, "no memory left", now);
            return renewed;
        }
        if connection.is_blocked() {
            self.perform(renewed, Action::Flush, now);
        }
        renewed
    }
}

/// The address that a peer has connected to; `None` for a socket in the file system.
fn own_address(socket: &OwnedFd) -> Option<SocketAddr> {
    let found: SockaddrStorage = getsockname(socket.as_raw_fd()).ok()?;
    let v4 = found
        .as_sockaddr_in()
        .map(|v4| SocketAddr::V4((*v4).into()));
    v4.or_else(|| {
        found
            .as_sockaddr_in6()
            .map(|v6| SocketAddr::V6((*v6).into()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_left_for_refusals_and_for_files_whatever_the_limit_is() {
        for (limit, streams, evictions) in [
            (64, 48, 56),
            (1000, 875, 938),
            (1024, 896, 960),
            (1 << 20, (1 << 20) - 1024, (1 << 20) - 512),
        ] {
            let descriptors = Descriptors { limit };
            assert!(descriptors.allows_stream(streams - 1), "{limit}");
            assert!(!descriptors.allows_stream(streams), "{limit}");
            assert!(!descriptors.is_nearly_exhausted(evictions - 1), "{limit}");
            assert!(descriptors.is_nearly_exhausted(evictions), "{limit}");
            assert!(!descriptors.allows_stream(u64::MAX), "{limit}");
        }
    }
}

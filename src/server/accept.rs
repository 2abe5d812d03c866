//! Accepting connections, and making room for them.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;

use super::connection::{Action, Connection, State};
use super::event_loop::Server;
use super::listen::{Accepted, Listener};
use super::options::Options;
use super::poller::Poller;
use super::token::{ConnectionId, Token};
use crate::gateway::{Protocol, fastcgi};
use crate::source::Now;
use crate::system::log::Level;

/// How many connections are accepted at once, at most: those that are served come first.
const ACCEPTS_MAX: usize = 64;

/// How long accepting pauses when no descriptor is left.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Descriptors that are not for connections: the listener, epoll, signals, watches, the
/// log, and files that are being read.
const OWN_DESCRIPTORS: u64 = 32;

/// The listening socket, and how many connections may come by it.
pub(super) struct Acceptor {
    /// `None` after shutdown has begun.
    listener: Option<Listener>,
    is_registered: bool,
    /// No more connections are accepted. The remaining descriptors are reserved for files.
    connections_max: usize,
    /// The limit on descriptors of this process.
    pub(super) descriptors: u64,
    /// No more streams are served.
    pub(super) subscribers_max: usize,
    /// The limits of a request.
    limits: Rc<fastcgi::Limits>,
}

impl Acceptor {
    /// Raises the limit on descriptors as far as it goes; the other limits follow from it.
    pub(super) fn new(listener: Listener, subscribers_max: usize, options: &Options) -> Self {
        let descriptors = descriptor_limit();
        let connections_max = (descriptors.saturating_sub(OWN_DESCRIPTORS) as usize).max(1);
        // Some connections are left for refusing excess clients politely, and some
        // descriptors for files.
        let places = connections_max * 7 / 8;
        let subscribers_max = subscribers_max.min(places.max(1));
        Self {
            listener: Some(listener),
            is_registered: false,
            connections_max,
            descriptors,
            subscribers_max,
            limits: Rc::new(fastcgi::Limits {
                params_bytes: options.params_bytes,
                pairs: options.pairs,
                connections_max: u32::try_from(subscribers_max).unwrap_or(u32::MAX),
            }),
        }
    }

    /// Where it listens, for the log.
    pub(super) fn address(&self) -> String {
        let address = self.listener.as_ref().map(Listener::address);
        address.unwrap_or_default()
    }

    /// Accepts connections from now on, unless shutdown has begun.
    ///
    /// # Errors
    /// What epoll says.
    pub(super) fn resume(&mut self, poller: &Poller) -> io::Result<()> {
        if let Some(listener) = &self.listener
            && !self.is_registered
        {
            poller.add(listener, EpollFlags::EPOLLIN, Token::Listener)?;
            self.is_registered = true;
        }
        Ok(())
    }

    /// Accepts no connections for now: they wait in the listen backlog.
    fn pause(&mut self, poller: &Poller) -> io::Result<()> {
        if let Some(listener) = &self.listener
            && self.is_registered
        {
            poller.delete(listener)?;
            self.is_registered = false;
        }
        Ok(())
    }

    /// Accepts no connections any more.
    pub(super) fn close(&mut self, poller: &Poller) {
        let _ = self.pause(poller);
        self.listener = None;
    }
}

impl Server {
    /// Accepts connections again after a pause.
    pub(super) fn resume_accepting(&mut self) {
        let _ = self.acceptor.resume(&self.poller);
    }

    /// Accepts the connections that wait, up to a limit.
    pub(super) fn accept(&mut self, now: Now) {
        for count in 0..ACCEPTS_MAX {
            let Some(listener) = &self.acceptor.listener else {
                return;
            };
            if self.connections.len() >= self.acceptor.connections_max {
                // Whether another connection waits, the next event tells.
                if count == 0 {
                    self.pause_accepting(&Errno::EMFILE.into(), now);
                }
                return;
            }
            match listener.accept() {
                Ok(Accepted::Peer(socket)) => self.open_connection(socket, now),
                Ok(Accepted::Stranger(address)) => self.log.rate_limited(
                    Level::Warning,
                    "stranger",
                    &format!("{address}: not one of FCGI_WEB_SERVER_ADDRS; refused"),
                ),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return,
                    // The peer left while it waited.
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => return self.pause_accepting(&error, now),
                },
            }
        }
    }

    /// There are no descriptors left, or no memory: accepting pauses, and the oldest
    /// connection without a request is evicted.
    fn pause_accepting(&mut self, error: &io::Error, now: Now) {
        self.counters.accept_errors += 1;
        let text = format!("accept: {error}; raise LimitNOFILE, or ulimit -n");
        self.log.rate_limited(Level::Error, "accept", &text);
        let idle = self
            .connections
            .iter()
            .filter_map(|(id, connection)| match connection.state {
                State::Reading { since } => Some((since, id)),
                _ => None,
            })
            .min_by_key(|(since, _)| *since)
            .filter(|(since, _)| *since + BACK_OFF < now.monotonic);
        if let Some((_, id)) = idle {
            self.close(id, "no descriptor left", now);
        }
        if self.acceptor.pause(&self.poller).is_ok() {
            let at = now.monotonic + BACK_OFF;
            self.schedule.set(at, Token::Housekeeping);
        }
    }

    fn open_connection(&mut self, socket: OwnedFd, now: Now) {
        let limits = Rc::clone(&self.acceptor.limits);
        let protocol = Protocol::FastCgi(fastcgi::Connection::new(limits));
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
        // Its request has mostly come with it.
        self.read(id, now);
    }

    /// A kept connection serves another request, with another generation: what queues and
    /// deadlines know of the request before is not of this one.
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
        if connection.blocked_since().is_some() {
            self.perform(renewed, Action::Flush, now);
        }
        renewed
    }
}

/// Raises the limit on descriptors as far as it goes, and returns it.
fn descriptor_limit() -> u64 {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 1024;
    };
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    }
}

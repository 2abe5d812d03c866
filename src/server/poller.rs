//! Poller: the server's epoll instance and its registrations.

use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::connection::Connection;
use super::token::{ConnectionId, Token};
use crate::store::host::SystemHost;
use crate::system::signals::Signals;

/// The maximum number of events of one wait.
const EVENTS_MAX: usize = 512;

/// epoll, and the registrations that are made once.
pub(super) struct Poller {
    epoll: Epoll,
    events: Vec<EpollEvent>,
    has_watcher: bool,
    has_programs: bool,
}

impl Poller {
    /// # Errors
    /// The system's error.
    pub(super) fn new(signals: &Signals) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let poller = Self {
            epoll,
            events: vec![EpollEvent::empty(); EVENTS_MAX],
            has_watcher: false,
            has_programs: false,
        };
        poller.add(signals, EpollFlags::EPOLLIN, Token::Signals)?;
        Ok(poller)
    }

    /// Waits; the events are then at [`Poller::event`], from 0 to the number that is returned.
    pub(super) fn wait(&mut self, timeout: EpollTimeout) -> io::Result<usize> {
        match self.epoll.wait(&mut self.events, timeout) {
            Err(Errno::EINTR) => Ok(0),
            result => Ok(result?),
        }
    }

    /// An event of the last wait.
    pub(super) fn event(&self, index: usize) -> (Token, EpollFlags) {
        let event = self.events[index];
        (Token::from_u64(event.data()), event.events())
    }

    pub(super) fn add(
        &self,
        descriptor: impl AsFd,
        interest: EpollFlags,
        token: Token,
    ) -> nix::Result<()> {
        let event = EpollEvent::new(interest, token.to_u64());
        self.epoll.add(descriptor, event)
    }

    pub(super) fn delete(&self, descriptor: impl AsFd) -> nix::Result<()> {
        self.epoll.delete(descriptor)
    }

    /// Updates the registration of a connection to its present interest.
    pub(super) fn update(&self, connection: &Connection, id: ConnectionId) -> nix::Result<()> {
        let token = Token::Connection(id).to_u64();
        let mut event = EpollEvent::new(connection.interest(), token);
        self.epoll.modify(connection, &mut event)
    }

    /// Registers the descriptor of a source for the owner that polls the source now. Closing it
    /// ends the registration.
    pub(super) fn route(&self, descriptor: impl AsFd, token: Token) -> nix::Result<()> {
        let mut event = EpollEvent::new(EpollFlags::EPOLLIN, token.to_u64());
        match self.epoll.add(&descriptor, event) {
            Err(Errno::EEXIST) => self.epoll.modify(&descriptor, &mut event),
            result => result,
        }
    }

    /// Registers the watcher of files and the pipes of programs, as soon as they exist.
    ///
    /// # Errors
    /// The error of epoll; the next call tries again.
    pub(super) fn add_host(&mut self, host: &SystemHost) -> io::Result<()> {
        let epoll = &self.epoll;
        let event = |token: Token| EpollEvent::new(EpollFlags::EPOLLIN, token.to_u64());
        if !self.has_programs {
            self.has_programs = host.programs.with_descriptor(|pipes| match pipes {
                Some(pipes) => epoll.add(pipes, event(Token::Programs)).map(|()| true),
                None => Ok(false),
            })?;
        }
        if !self.has_watcher {
            self.has_watcher = host.watcher.with_descriptor(|watcher| match watcher {
                Some(watcher) => epoll.add(watcher, event(Token::Watcher)).map(|()| true),
                None => Ok(false),
            })?;
        }
        Ok(())
    }
}

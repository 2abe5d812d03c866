//! The event loop: waits for events, deadlines and changes, and executes actions.
//!
//! A connection's state determines what it needs next ([`Action`]), a channel's last poll what
//! the channel needs. Every turn is limited: at most 512 events, every channel that was queued
//! when the turn began, 64 connections that read by themselves, and then 5 ms for sources whose
//! cost a client determines (a regular expression in the query), at least one of them.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use nix::sys::epoll::{EpollFlags, EpollTimeout};

use super::accept::Acceptor;
use super::configuration::Configuration;
use super::connection::{Action, Connection};
use super::connections::Connections;
use super::http::{AccessLog, Site};
use super::listen::Listener;
use super::notify::Notify;
use super::options::Options;
use super::poller::Poller;
use super::schedule::{Cost, Owner, Schedule};
use super::shutdown::Shutdown;
use super::token::{ConnectionId, Token};
use super::workers::{STREAMS_MAX, Worker};
use crate::request::ReadTokenKeys;
use crate::source::{Changes, Now, Stream};
use crate::store::host::{Capabilities, SystemHost};
use crate::store::key_file::KeyFiles;
use crate::store::publish_queue::PublishQueue;
use crate::stream::Channels;
use crate::system::clock::Clock;
use crate::system::log::{Level, Log};
use crate::system::signals::Signals;

/// How many connections that read by themselves get a turn before the loop polls again.
const TURNS_MAX: usize = 64;

/// How long costly sources are polled in one turn of the loop. One poll takes up to 2.5 ms,
/// or the time of one match: see `Batch::WORK_MAX`, `Filter::CLIENT_MATCH_MAX_WORK`.
const COSTLY_SLICE: Duration = Duration::from_millis(5);

/// The maximum number of bytes of one read.
const READ_BYTES: usize = 64 * 1024;

/// Counters since the start.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) requests: u64,
    pub(super) events: u64,
    pub(super) bytes: u64,
    pub(super) dropped: u64,
    pub(super) accept_errors: u64,
    /// Streams that have ended.
    pub(super) ended: u64,
}

/// Reads the keys of JSON Web Tokens.
#[cfg(feature = "jwt")]
const READ_TOKEN_KEYS: Option<ReadTokenKeys> = Some(crate::request::read_jwk_set);
#[cfg(not(feature = "jwt"))]
const READ_TOKEN_KEYS: Option<ReadTokenKeys> = None;

/// A server for many subscribers.
pub(super) struct Server {
    pub(super) streams: &'static [&'static Stream],
    pub(super) options: Options,
    /// What is served at which path, over HTTP.
    pub(super) site: Option<Rc<Site>>,
    /// The settings of the process's environment and file.
    pub(super) configuration: Configuration,
    pub(super) clock: Clock,
    pub(super) started: Now,
    pub(super) log: Rc<Log>,
    pub(super) host: Rc<SystemHost>,
    pub(super) signals: Signals,
    pub(super) poller: Poller,
    pub(super) schedule: Schedule,
    pub(super) acceptor: Acceptor,
    pub(super) shutdown: Shutdown,
    pub(super) connections: Connections,
    pub(super) channels: Channels,
    pub(super) publish_queue: PublishQueue,
    /// The keys of signed links.
    pub(super) key_files: KeyFiles,
    pub(super) subscribers: usize,
    /// The approximate memory of all incomplete requests.
    pub(super) held_bytes: usize,
    pub(super) counters: Counters,
    pub(super) access_log: Option<AccessLog>,
    /// Of a worker: what it shares with the others.
    pub(super) worker: Option<Worker>,
    /// How many streams of each kind are open, in the order of [`Server::streams`].
    pub(super) open: [u64; STREAMS_MAX],
    /// One costly source may be polled now, in its turn.
    may_poll_costly: bool,
    is_reaping: bool,
    buffer: Vec<u8>,
}

/// The parts of a server.
pub(super) struct Parts {
    pub(super) streams: &'static [&'static Stream],
    pub(super) options: Options,
    pub(super) configuration: Configuration,
    pub(super) listeners: Vec<Listener>,
    pub(super) log: Rc<Log>,
    /// Of a worker: what it has from the supervisor.
    pub(super) worker: Option<Worker>,
}

impl Server {
    /// # Errors
    /// When the system refuses a descriptor.
    pub(super) fn new(mut parts: Parts) -> io::Result<Self> {
        let signals = Signals::take()?;
        let poller = Poller::new(&signals)?;
        let host = Rc::new(SystemHost::new(Rc::clone(&parts.log), Capabilities::ALL));
        let clock = Clock::start();
        let access_log = parts.options.access_log.as_ref();
        let access_log = access_log.map(AccessLog::open).transpose()?;
        let mut server = Self {
            streams: parts.streams,
            acceptor: Acceptor::new(
                parts.listeners,
                parts.configuration.subscribers_max(),
                &parts.options,
            ),
            shutdown: Shutdown::new(Notify::from_environment(), parts.options.drain),
            site: parts.options.site.take().map(Rc::new),
            options: parts.options,
            configuration: parts.configuration,
            clock,
            started: clock.now(),
            log: parts.log,
            host,
            signals,
            poller,
            schedule: Schedule::default(),
            connections: Connections::new(),
            channels: Channels::new(),
            publish_queue: PublishQueue::new(),
            key_files: KeyFiles::with_tokens(READ_TOKEN_KEYS),
            subscribers: 0,
            held_bytes: 0,
            counters: Counters::default(),
            access_log,
            worker: parts.worker,
            open: [0; STREAMS_MAX],
            may_poll_costly: false,
            is_reaping: false,
            buffer: vec![0; READ_BYTES],
        };
        if let Some(worker) = &server.worker {
            // The one whose place this is may have had some.
            server.counters.continue_from(&worker.written);
            let control = EpollFlags::EPOLLIN;
            server
                .poller
                .add(&worker.control, control, Token::Supervisor)?;
        }
        server.host.engines.set_owner(Token::Engines.to_u64());
        server.acceptor.resume(&server.poller)?;
        server.log_start();
        Ok(server)
    }

    /// Serves until a signal ends it.
    ///
    /// # Errors
    /// When epoll fails.
    pub(super) fn run(mut self) -> io::Result<()> {
        self.shutdown.notify_ready();
        if let Some(worker) = &self.worker {
            worker.say_ready();
        }
        loop {
            let now = self.clock.now();
            if self.shutdown.is_complete(self.connections.is_empty(), now) {
                self.close_access_log(now);
                self.log_end_of_process(now);
                return Ok(());
            }
            let timeout = match self.host.watcher.has_collected() {
                true => EpollTimeout::ZERO,
                false => self.schedule.timeout(now),
            };
            let count = self.poller.wait(timeout)?;
            let now = self.clock.now();
            for index in 0..count {
                match self.poller.event(index) {
                    (Token::Listener, _) => self.accept(now),
                    (Token::Signals, _) => {
                        if self.handle_signals(now) {
                            self.close_access_log(now);
                            self.log_end_of_process(now);
                            return Ok(());
                        }
                    }
                    (Token::Supervisor, _) => {
                        if self.obey(now) {
                            self.close_access_log(now);
                            return Ok(());
                        }
                    }
                    (Token::Connection(id), events) => self.on_event(id, events, now),
                    (change @ (Token::Channel(_) | Token::Change(_)), _) => {
                        self.on_change(change);
                    }
                    (Token::Watcher, _) => self.take_hints(),
                    (Token::Programs, _) => {
                        let host = Rc::clone(&self.host);
                        host.programs.drain(|hints| self.on_hint(hints.owner()));
                    }
                    (Token::Added, _) => self.take_results(now),
                    (Token::Reap | Token::Upkeep | Token::Housekeeping | Token::Engines, _) => {}
                }
            }
            if self.host.watcher.has_collected() {
                self.take_hints();
            }
            self.meet_deadlines(now);
            self.take_turns();
            self.tend_host(now);
            self.publish_figures(now);
        }
    }

    /// Reads the hints of the watcher and reports them to their followers.
    fn take_hints(&mut self) {
        let host = Rc::clone(&self.host);
        host.watcher.drain(|hints| self.on_hint(hints.owner()));
    }

    /// Gives the connections and channels in the queues their turns.
    fn take_turns(&mut self) {
        let (connections, channels) = self.schedule.queued();
        for _ in 0..channels {
            let Some(channel) = self.schedule.next_channel() else {
                break;
            };
            self.poll_if_awaited(channel, self.clock.now());
        }
        for _ in 0..TURNS_MAX.min(connections.max(self.schedule.queued().0)) {
            let Some(id) = self.schedule.next_connection() else {
                break;
            };
            if let Some(connection) = self.connections.get_mut(id) {
                connection.scheduled.is_queued = false;
                self.perform(id, Action::Advance, self.clock.now());
            }
        }
        self.take_costly_turns();
    }

    fn take_costly_turns(&mut self) {
        let queued = self.schedule.queued_costly();
        let mut now = self.clock.now();
        let end = now.monotonic + COSTLY_SLICE;
        for _ in 0..queued {
            let Some(owner) = self.schedule.next_costly() else {
                break;
            };
            self.may_poll_costly = true;
            match owner {
                Owner::Channel(channel) => self.poll_if_awaited(channel, now),
                Owner::Connection(id) => {
                    if let Some(connection) = self.connections.get_mut(id) {
                        connection.scheduled.is_queued = false;
                        self.perform(id, Action::Advance, now);
                    }
                }
            }
            self.may_poll_costly = false;
            now = self.clock.now();
            if now.monotonic >= end {
                break;
            }
        }
    }

    /// Whether a source may be polled now. A costly one may, only once, in its own turn.
    pub(super) fn may_poll(&mut self, is_costly: bool) -> bool {
        !is_costly || std::mem::take(&mut self.may_poll_costly)
    }

    /// Executes an action of a connection and the actions that follow from it.
    pub(super) fn perform(&mut self, id: ConnectionId, action: Action, now: Now) {
        let mut next = action;
        loop {
            next = match next {
                Action::Wait => return,
                Action::Yield => return self.queue(id),
                Action::Flush => self.flush(id, now),
                Action::Receive => return self.receive_held(id, now),
                Action::Advance => self.advance(id, now),
                Action::Serve => self.serve(id, now),
                Action::Finish(reason) => self.finish(id, reason, now),
                Action::Close(reason) => return self.close(id, reason, now),
            };
        }
    }

    /// Gives a connection a turn soon.
    pub(super) fn queue(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id) {
            let is_costly = connection.subscriber().is_some_and(|s| s.is_costly());
            let cost = Cost::of(is_costly);
            self.schedule
                .queue_connection(id, cost, &mut connection.scheduled);
        }
    }

    /// Queues a channel for a poll.
    pub(super) fn queue_channel(&mut self, number: usize) {
        if let Some(channel) = self.channels.get_mut(number) {
            let cost = Cost::of(channel.is_costly());
            self.schedule
                .queue_channel(number, cost, &mut channel.scheduled);
        }
    }

    /// Wakes a connection at this time at the latest.
    pub(super) fn wake_at(&mut self, id: ConnectionId, at: Duration) {
        if let Some(connection) = self.connections.get_mut(id) {
            let token = Token::Connection(id);
            self.schedule.wake_at(token, &mut connection.scheduled, at);
        }
    }

    /// A file or a program of the owner has changed: it gets a turn.
    fn on_hint(&mut self, owner: u64) {
        self.on_change(Token::from_u64(owner));
    }

    fn on_change(&mut self, token: Token) {
        match token {
            Token::Channel(channel) => self.queue_channel(channel),
            Token::Change(id) => self.queue(id),
            Token::Engines => {
                let host = Rc::clone(&self.host);
                host.engines.pump(&mut |owner| self.on_hint(owner));
            }
            _ => {}
        }
    }

    fn on_event(&mut self, id: ConnectionId, events: EpollFlags, now: Now) {
        let gone = EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP;
        // Whose input has ended is not read any more, and would say so again and again.
        let has_ended = |connection: &Connection| connection.has_input_ended();
        if events.intersects(gone) && self.connections.get(id).is_some_and(has_ended) {
            return self.close(id, "left", now);
        }
        if events.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | gone) {
            self.read(id, now);
        }
        if events.contains(EpollFlags::EPOLLOUT) {
            self.perform(id, Action::Flush, now);
        }
    }

    fn meet_deadlines(&mut self, now: Now) {
        while let Some((at, token)) = self.schedule.due(now) {
            match token {
                // Programs that have ended are reaped after every turn of the loop.
                Token::Reap => self.is_reaping = false,
                Token::Upkeep => {
                    self.check_access_log(now);
                    if let Some(worker) = &mut self.worker {
                        worker.awaits_count = false;
                    }
                }
                // accept reports errors, and tries again.
                Token::Housekeeping => self.resume_accepting(),
                Token::Channel(number) => {
                    if let Some(channel) = self.channels.get_mut(number) {
                        if channel.scheduled.due == Some(at) {
                            channel.scheduled.due = None;
                            self.queue_channel(number);
                        }
                    }
                }
                Token::Connection(id) => {
                    if let Some(connection) = self.connections.get_mut(id) {
                        if connection.scheduled.due == Some(at) {
                            connection.scheduled.due = None;
                            let action = self.on_deadline(id, now);
                            self.perform(id, action, now);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// Reaps programs, and registers the watcher and the pipes of programs.
    fn tend_host(&mut self, now: Now) {
        if let Some(pause) = self.host.programs.reap() {
            if !self.is_reaping {
                self.is_reaping = true;
                self.schedule.set(now.monotonic + pause, Token::Reap);
            }
        }
        if let Err(error) = self.poller.add_host(&self.host) {
            let text = format!(
                "epoll: {error}; changes of files are noticed late; raise \
                 fs.epoll.max_user_watches"
            );
            self.log.rate_limited(Level::Error, "epoll host", &text);
        }
    }

    /// Reads the input of a peer, and serves it.
    pub(super) fn read(&mut self, id: ConnectionId, now: Now) {
        let mut buffer = std::mem::take(&mut self.buffer);
        self.read_into(id, &mut buffer, now);
        self.buffer = buffer;
    }

    /// From now on, changes of the source give its subscriber or channel a turn.
    pub(super) fn route_changes(&self, token: Token, changes: Option<&Rc<dyn Changes>>) {
        let Some(changes) = changes else { return };
        changes.set_owner(token.to_u64());
        if let Some(descriptor) = changes.descriptor() {
            if let Err(error) = self.poller.route(descriptor, token) {
                let text = format!("epoll: {error}; raise fs.epoll.max_user_watches");
                self.log.rate_limited(Level::Error, "epoll source", &text);
            }
        }
    }
}

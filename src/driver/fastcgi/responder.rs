//! The loop: one epoll for the listener, all peers, files, signals and moments.
//!
//! ```text
//!  accept ─► Reading ─► Serving ─► Ending ─► Lingering ─► closed
//!               ▲                    │
//!               └──── kept (nginx) ◄─┘
//! ```

use std::collections::{HashMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::Signal;
use slab::Slab;

use super::super::clock::Clock;
use super::super::log::{Level, Log, StreamEnd};
use super::super::signals::Signals;
use super::super::watch::Hints;
use super::super::world::Machine;
use super::listen::{Accepted, Listener};
use super::notify::Notify;
use super::options::Options;
use super::peer::{Peer, Phase, Read, RequestLog, Sent};
use super::timers::{Timers, Whom};
use crate::gateway::fastcgi::{self, After, Connection, Incoming, Limits};
use crate::request::MetaVariables;
use crate::source::{Now, Stream, World};
use crate::stream::Hub;

/// Who is meant by a number: a peer by its place and generation, or one of these.
const STREAM: Whom = 1 << 62;
const LISTENER: Whom = 2 << 62;
const SIGNALS: Whom = LISTENER | 1;
const WATCHER: Whom = LISTENER | 2;
const HOUSEKEEPING: Whom = LISTENER | 3;
const PROGRAMS: Whom = LISTENER | 4;
const FUNERAL: Whom = LISTENER | 5;

/// How many events one wait brings, at most.
const EVENTS_MAX: usize = 512;

/// How many connections are taken at once, at most: who is served already comes first.
const ACCEPTS_MAX: usize = 64;

/// How many that read by themselves get their turn before the loop looks around.
const TURNS_MAX: usize = 64;

/// How long nobody is accepted after there was no descriptor left.
const BACK_OFF: Duration = Duration::from_millis(100);

/// How long what a peer still sends is read after its answer.
const LINGER: Duration = Duration::from_secs(2);

/// What the answer to a request is taken for, where many are asked for and none is taken.
const ANSWER_BYTES: usize = 1024;

/// What a read brings, at most.
const READ_BYTES: usize = 64 * 1024;

/// Descriptors that are not for subscribers: the listener, epoll, signals, watches, the
/// log, and files that are being read.
const OWN_DESCRIPTORS: u64 = 32;

/// A shared stream, as the loop sees it.
#[derive(Default)]
pub(super) struct Shown {
    /// What is told of its file.
    pub(super) hints: Option<Rc<Hints>>,
    /// Who has everything and waits for more. Who has left is found out when there is.
    pub(super) waiting: Vec<Whom>,
    /// Something may have come while nobody waited.
    pub(super) is_stale: bool,
    pub(super) is_dirty: bool,
    pub(super) due: Option<Duration>,
    /// It has said something since memory was given back last.
    pub(super) is_restless: bool,
    /// When it was polled last.
    pub(super) looked_at: Duration,
}

/// Counters since the start.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) events: u64,
    pub(super) bytes: u64,
    pub(super) dropped: u64,
    pub(super) accept_errors: u64,
}

pub(super) struct Responder {
    pub(super) streams: &'static [&'static Stream],
    pub(super) options: Options,
    /// The settings of the process's environment.
    pub(super) defaults: MetaVariables,
    pub(super) subscribers_max: usize,
    /// Beyond it nobody is accepted: who is served needs descriptors for files.
    connections_max: usize,
    pub(super) clock: Clock,
    pub(super) started: Now,
    pub(super) log: Rc<Log>,
    pub(super) machine: Rc<Machine>,
    pub(super) world: Rc<dyn World>,
    pub(super) notify: Notify,
    listener: Option<Listener>,
    is_listening: bool,
    epoll: Epoll,
    signals: Signals,
    is_watching_files: bool,
    is_watching_programs: bool,
    is_burying: bool,
    pub(super) hub: Hub,
    pub(super) shown: HashMap<usize, Shown>,
    pub(super) peers: Slab<Peer>,
    pub(super) timers: Timers,
    pub(super) ready: VecDeque<Whom>,
    dirty: VecDeque<usize>,
    pub(super) counters: Counters,
    pub(super) subscribers: usize,
    pub(super) requests: u64,
    generation: u32,
    /// When the streams must have ended, once we were asked to.
    draining_until: Option<Duration>,
    buffer: Vec<u8>,
}

/// What a responder is made of.
pub(super) struct Parts {
    pub(super) streams: &'static [&'static Stream],
    pub(super) options: Options,
    pub(super) defaults: MetaVariables,
    pub(super) subscribers_max: usize,
    pub(super) listener: Listener,
    pub(super) log: Rc<Log>,
}

impl Responder {
    pub(super) fn new(parts: Parts) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let signals = Signals::take()?;
        epoll.add(&signals, EpollEvent::new(EpollFlags::EPOLLIN, SIGNALS))?;
        let machine = Rc::new(Machine::new(Rc::clone(&parts.log)));
        let clock = Clock::start();
        let descriptors = descriptor_limit();
        let connections_max = (descriptors.saturating_sub(OWN_DESCRIPTORS) as usize).max(1);
        // Some are left for files, and for telling who is too much so.
        let places = connections_max * 7 / 8;
        let mut responder = Self {
            streams: parts.streams,
            options: parts.options,
            defaults: parts.defaults,
            subscribers_max: parts.subscribers_max.min(places.max(1)),
            connections_max,
            clock,
            started: clock.now(),
            log: parts.log,
            world: Rc::clone(&machine) as Rc<dyn World>,
            machine,
            notify: Notify::from_environment(),
            listener: Some(parts.listener),
            is_listening: false,
            epoll,
            signals,
            is_watching_files: false,
            is_watching_programs: false,
            is_burying: false,
            hub: Hub::new(|events, out| fastcgi::stdout(super::peer::SHARED_ID, events, out)),
            shown: HashMap::new(),
            peers: Slab::new(),
            timers: Timers::default(),
            ready: VecDeque::new(),
            dirty: VecDeque::new(),
            counters: Counters::default(),
            subscribers: 0,
            requests: 0,
            generation: 0,
            draining_until: None,
            buffer: vec![0; READ_BYTES],
        };
        responder.listen(true)?;
        Ok(responder)
    }

    /// Serves until a signal asks for the end.
    ///
    /// # Errors
    /// When epoll fails.
    pub(super) fn run(mut self) -> io::Result<()> {
        self.notify.say("READY=1");
        let mut events = [EpollEvent::empty(); EVENTS_MAX];
        loop {
            let now = self.clock.now();
            if self.is_drained(now) {
                return Ok(());
            }
            let count = match self.epoll.wait(&mut events, self.timeout(now)) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(error) => return Err(error.into()),
            };
            let now = self.clock.now();
            for event in &events[..count] {
                match event.data() {
                    LISTENER => self.accept(now),
                    SIGNALS => {
                        if self.obey(now) {
                            return Ok(());
                        }
                    }
                    WATCHER => self.take_hints(),
                    PROGRAMS => self.take_output(),
                    whom => self.peer_event(whom, event.events(), now),
                }
            }
            self.pass_time(now);
            for _ in 0..self.dirty.len() {
                let Some(stream) = self.dirty.pop_front() else {
                    break;
                };
                self.poll_stream(stream, self.clock.now());
            }
            for _ in 0..TURNS_MAX.min(self.ready.len()) {
                let Some(whom) = self.ready.pop_front() else {
                    break;
                };
                if let Some(peer) = self.peer(whom) {
                    peer.is_ready = false;
                    self.go_on(whom, self.clock.now());
                }
            }
            self.watch_files(now)?;
        }
    }

    fn timeout(&self, now: Now) -> EpollTimeout {
        if !(self.ready.is_empty() && self.dirty.is_empty()) {
            return EpollTimeout::ZERO;
        }
        let Some(first) = self.timers.first() else {
            return EpollTimeout::NONE;
        };
        let wait = first.saturating_sub(now.monotonic);
        // Rounded down it would spin through the last millisecond.
        let milliseconds = wait.as_micros().div_ceil(1000).min(3_600_000);
        EpollTimeout::try_from(milliseconds as i32).unwrap_or(EpollTimeout::MAX)
    }

    /// The peer that is meant, unless it has gone.
    pub(super) fn peer(&mut self, whom: Whom) -> Option<&mut Peer> {
        peer(&mut self.peers, whom)
    }

    /// Gives it its turn soon.
    pub(super) fn make_ready(&mut self, whom: Whom) {
        if let Some(peer) = peer(&mut self.peers, whom)
            && !peer.is_ready
        {
            peer.is_ready = true;
            self.ready.push_back(whom);
        }
    }

    /// Has a shared stream polled soon.
    pub(super) fn make_dirty(&mut self, stream: usize) {
        if let Some(shown) = self.shown.get_mut(&stream)
            && !shown.is_dirty
        {
            shown.is_dirty = true;
            self.dirty.push_back(stream);
        }
    }

    /// Wakes the peer at this moment at the latest.
    pub(super) fn wake_at(&mut self, whom: Whom, at: Duration) {
        if let Some(peer) = peer(&mut self.peers, whom)
            && peer.due.is_none_or(|due| at < due)
        {
            peer.due = Some(at);
            self.timers.set(at, whom);
        }
    }

    /// Polls the shared stream at this moment at the latest.
    pub(super) fn wake_stream_at(&mut self, stream: usize, at: Duration) {
        if let Some(shown) = self.shown.get_mut(&stream)
            && shown.due.is_none_or(|due| at < due)
        {
            shown.due = Some(at);
            self.timers.set(at, STREAM | stream as u64);
        }
    }

    /// What belongs to a shared stream is told to it from now on.
    pub(super) fn lead(&mut self, stream: usize, hints: Option<Rc<Hints>>) {
        if let Some(hints) = &hints {
            hints.belong_to(STREAM | stream as u64);
        }
        let shown = Shown {
            hints,
            ..Shown::default()
        };
        self.shown.insert(stream, shown);
        // Its source may want to be asked again at some moment, and only it knows.
        self.make_dirty(stream);
    }

    fn pass_time(&mut self, now: Now) {
        while let Some((at, whom)) = self.timers.due(now.monotonic) {
            if whom == FUNERAL {
                // Programs that are ending are seen to after every turn of the loop.
                self.is_burying = false;
            } else if whom == HOUSEKEEPING {
                // Errors are said in accept, which tries again.
                let _ = self.listen(true);
            } else if whom & STREAM != 0 {
                let stream = (whom & !STREAM) as usize;
                if let Some(shown) = self.shown.get_mut(&stream)
                    && shown.due == Some(at)
                {
                    shown.due = None;
                    self.make_dirty(stream);
                }
            } else if let Some(peer) = self.peer(whom)
                && peer.due == Some(at)
            {
                peer.due = None;
                self.peer_time(whom, now);
            }
        }
    }

    fn take_hints(&mut self) {
        let machine = Rc::clone(&self.machine);
        machine.watcher.drain(|hints| self.wake_owner(hints));
    }

    /// Programs have said something.
    fn take_output(&mut self) {
        let machine = Rc::clone(&self.machine);
        machine.programs.drain(|hints| self.wake_owner(hints));
    }

    fn wake_owner(&mut self, hints: &Hints) {
        let owner = hints.owner();
        if owner & STREAM != 0 {
            self.make_dirty((owner & !STREAM) as usize);
        } else {
            self.make_ready(owner);
        }
    }

    /// Registers the watcher, and the programs' pipes, once there is something to wait for.
    fn watch_files(&mut self, now: Now) -> io::Result<()> {
        if let Some(pause) = self.machine.programs.bury()
            && !self.is_burying
        {
            self.is_burying = true;
            self.timers.set(now.monotonic + pause, FUNERAL);
        }
        let epoll = &self.epoll;
        if !self.is_watching_programs {
            let programs = &self.machine.programs;
            self.is_watching_programs = programs.with_descriptor(|pipes| match pipes {
                Some(pipes) => epoll
                    .add(pipes, EpollEvent::new(EpollFlags::EPOLLIN, PROGRAMS))
                    .map(|()| true),
                None => Ok(false),
            })?;
        }
        if self.is_watching_files {
            return Ok(());
        }
        self.is_watching_files =
            self.machine
                .watcher
                .with_descriptor(|descriptor| match descriptor {
                    Some(descriptor) => epoll
                        .add(descriptor, EpollEvent::new(EpollFlags::EPOLLIN, WATCHER))
                        .map(|()| true),
                    None => Ok(false),
                })?;
        Ok(())
    }

    /// Listens, or stops to.
    fn listen(&mut self, on: bool) -> io::Result<()> {
        let Some(listener) = &self.listener else {
            return Ok(());
        };
        if on != self.is_listening {
            if on {
                let event = EpollEvent::new(EpollFlags::EPOLLIN, LISTENER);
                self.epoll.add(listener, event)?;
            } else {
                self.epoll.delete(listener)?;
            }
            self.is_listening = on;
        }
        Ok(())
    }

    fn accept(&mut self, now: Now) {
        for count in 0..ACCEPTS_MAX {
            let Some(listener) = &self.listener else {
                return;
            };
            if self.peers.len() >= self.connections_max {
                // (Whether somebody else waits, the next event tells.)
                if count == 0 {
                    self.cannot_accept(&Errno::EMFILE.into(), now);
                }
                return;
            }
            match listener.accept() {
                Ok(Accepted::Peer(socket)) => self.welcome(socket, now),
                Ok(Accepted::Stranger(address)) => self.log.seldom(
                    Level::Warning,
                    "stranger",
                    &format!("{address}: not one of FCGI_WEB_SERVER_ADDRS; refused"),
                ),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return,
                    // It left while it waited.
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => return self.cannot_accept(&error, now),
                },
            }
        }
    }

    /// There are no descriptors left, or no memory. Who knocks waits at the door; places
    /// become free when somebody leaves.
    fn cannot_accept(&mut self, error: &io::Error, now: Now) {
        self.counters.accept_errors += 1;
        self.log.seldom(
            Level::Error,
            "accept",
            &format!("accept: {error}; raise LimitNOFILE, or ulimit -n"),
        );
        // Who has connected and says nothing makes room for who does.
        let idle = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.phase == Phase::Reading)
            .min_by_key(|(_, peer)| peer.since)
            .filter(|(_, peer)| peer.since + BACK_OFF < now.monotonic)
            .map(|(index, peer)| number(index, peer.generation));
        if let Some(whom) = idle {
            self.remove(whom, "no descriptor left");
        }
        if self.listen(false).is_ok() {
            self.timers.set(now.monotonic + BACK_OFF, HOUSEKEEPING);
        }
    }

    fn welcome(&mut self, socket: std::os::fd::OwnedFd, now: Now) {
        self.generation = (self.generation + 1) & 0x3fff_ffff;
        let limits = Limits {
            params_bytes: self.options.params_bytes,
            pairs: self.options.pairs,
            connections_max: u32::try_from(self.subscribers_max).unwrap_or(u32::MAX),
        };
        let peer = Peer::new(socket, Connection::new(limits), self.generation, now);
        let entry = self.peers.vacant_entry();
        let whom = number(entry.key(), self.generation);
        let event = EpollEvent::new(peer.awaited(), whom);
        if let Err(error) = self.epoll.add(&peer, event) {
            self.counters.accept_errors += 1;
            let text = format!("epoll: {error}; raise fs.epoll.max_user_watches");
            return self.log.seldom(Level::Error, "epoll", &text);
        }
        entry.insert(peer);
        self.wake_at(whom, now.monotonic + self.options.request_timeout);
        // What it wants has mostly come with it.
        self.read(whom, now);
    }

    /// A connection was kept and serves another request, as a peer of another number: what
    /// is still known of the one before, in lists and among the moments to wait for, is not
    /// this one's.
    fn renew(&mut self, whom: Whom, now: Now) -> Whom {
        self.generation = (self.generation + 1) & 0x3fff_ffff;
        let renewed = number((whom & 0xffff_ffff) as usize, self.generation);
        let Some(peer) = peer(&mut self.peers, whom) else {
            return renewed;
        };
        let mut event = EpollEvent::new(peer.awaited(), renewed);
        if self.epoll.modify(&*peer, &mut event).is_err() {
            self.remove(whom, "no memory left");
            return renewed;
        }
        peer.generation = self.generation;
        peer.is_waiting = false;
        peer.is_ready = false;
        peer.due = None;
        if peer.blocked_since.is_some() {
            self.blocked(renewed, now);
        }
        renewed
    }

    fn peer_event(&mut self, whom: Whom, events: EpollFlags, now: Now) {
        let gone = EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP;
        if events.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | gone) {
            self.read(whom, now);
        }
        if events.contains(EpollFlags::EPOLLOUT) {
            self.flush(whom, now);
        }
    }

    /// Takes in what a peer has sent.
    fn read(&mut self, whom: Whom, now: Now) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = match self.peer(whom) {
            Some(peer) => peer.read(&mut buffer),
            None => Read::Nothing,
        };
        match read {
            Read::Bytes(count) => self.feed(whom, &buffer[..count], now),
            Read::Nothing => {}
            Read::End => self.remove(whom, "left"),
        }
        self.buffer = buffer;
    }

    fn feed(&mut self, mut whom: Whom, mut input: &[u8], now: Now) {
        let mut owes_reply = false;
        loop {
            let Some(peer) = peer(&mut self.peers, whom) else {
                return;
            };
            if peer.phase == Phase::Lingering {
                return;
            }
            let was_incomplete = peer.connection.is_incomplete();
            let mut reply = Vec::new();
            let taken = peer.connection.take(&mut input, &mut reply);
            if !was_incomplete && peer.connection.is_incomplete() {
                peer.since = now.monotonic;
            }
            peer.push(&reply);
            owes_reply |= !reply.is_empty();
            let is_serving = peer.phase == Phase::Serving;
            let answer_bytes = match taken {
                Ok(Some(Incoming::Request(_))) => ANSWER_BYTES,
                _ => reply.len(),
            };
            if peer.asks_too_much(answer_bytes) {
                self.counters.dropped += 1;
                let text = "a peer asked on and on and took no answer; closed";
                self.log.seldom(Level::Warning, "untaken", text);
                return self.remove(whom, "takes nothing");
            }
            match taken {
                Ok(Some(Incoming::Request(params))) => {
                    peer.is_read = false;
                    if peer.request.number > 0 {
                        whom = self.renew(whom, now);
                    }
                    self.begin(whom, params, now);
                }
                // (Streams are asked for without a body.)
                Ok(Some(Incoming::Stdin(bytes))) => self.take_body(whom, Some(bytes), now),
                Ok(Some(Incoming::StdinEnd)) => {
                    peer.is_read = true;
                    self.take_body(whom, None, now);
                }
                Ok(Some(Incoming::Abort)) => {
                    if !matches!(peer.phase, Phase::Ending(_)) {
                        self.end(whom, "aborted", now);
                    }
                }
                Ok(Some(Incoming::Refused(after))) => {
                    if after == After::Close && !is_serving {
                        peer.phase = Phase::Ending(after);
                    }
                    self.flush(whom, now);
                }
                Ok(None) => {
                    let at = peer.since + self.options.request_timeout;
                    let is_incomplete = peer.connection.is_incomplete();
                    if owes_reply {
                        self.flush(whom, now);
                    }
                    if is_incomplete && !is_serving {
                        self.wake_at(whom, at);
                    }
                    return;
                }
                Err(error) => {
                    self.counters.dropped += 1;
                    let text = format!("a peer sent what is no FastCGI: {error}; closed");
                    self.log.seldom(Level::Warning, "malformed", &text);
                    return self.remove(whom, "malformed");
                }
            }
        }
    }

    /// Sends what is on a peer's way, and goes on with it when all has been taken.
    pub(super) fn flush(&mut self, whom: Whom, now: Now) {
        let Some(peer) = peer(&mut self.peers, whom) else {
            return;
        };
        match peer.flush(now) {
            Sent::All => {
                self.wait_for_room(whom, false);
                self.go_on(whom, now);
            }
            Sent::Blocked => self.blocked(whom, now),
            Sent::Gone => self.remove(whom, "left"),
        }
    }

    /// A peer has no room for what is on its way.
    pub(super) fn blocked(&mut self, whom: Whom, now: Now) {
        self.wait_for_room(whom, true);
        let Some(peer) = self.peer(whom) else { return };
        let since = *peer.blocked_since.get_or_insert(now.monotonic);
        let at = since + peer.send_timeout;
        self.wake_at(whom, at);
    }

    fn wait_for_room(&mut self, whom: Whom, on: bool) {
        let Some(peer) = peer(&mut self.peers, whom) else {
            return;
        };
        if peer.waits_for_room != on {
            peer.waits_for_room = on;
            let mut event = EpollEvent::new(peer.awaited(), whom);
            let _ = self.epoll.modify(peer, &mut event);
        }
    }

    /// All that was on a peer's way has been taken.
    fn go_on(&mut self, whom: Whom, now: Now) {
        let is_draining = self.is_draining();
        let Some(peer) = peer(&mut self.peers, whom) else {
            return;
        };
        if !peer.is_free() {
            return;
        }
        match peer.phase {
            Phase::Reading | Phase::Receiving | Phase::Lingering => {}
            Phase::Serving => self.serve(whom, now),
            // Who drains serves nobody any more: a kept connection would only keep the process.
            Phase::Ending(After::Keep) if !is_draining => {
                peer.phase = Phase::Reading;
                peer.since = now.monotonic;
                if peer.connection.is_incomplete() {
                    // It began the next request before this one had ended.
                    self.wake_at(whom, now.monotonic + self.options.request_timeout);
                }
            }
            Phase::Ending(_) if peer.is_read => self.remove(whom, "done"),
            Phase::Ending(_) => {
                peer.shut();
                peer.phase = Phase::Lingering;
                peer.since = now.monotonic;
                self.wake_at(whom, now.monotonic + LINGER);
            }
        }
    }

    /// A peer's moment has come.
    fn peer_time(&mut self, whom: Whom, now: Now) {
        let request_timeout = self.options.request_timeout;
        let Some(peer) = peer(&mut self.peers, whom) else {
            return;
        };
        if let Some(since) = peer.blocked_since {
            let at = since + peer.send_timeout;
            if now.monotonic < at {
                return self.wake_at(whom, at);
            }
            self.counters.dropped += 1;
            return self.remove(whom, "takes nothing");
        }
        match peer.phase {
            Phase::Serving => self.serve(whom, now),
            Phase::Receiving => self.go_on_with_post(whom, now),
            Phase::Lingering => {
                let at = peer.since + LINGER;
                if now.monotonic < at {
                    return self.wake_at(whom, at);
                }
                self.remove(whom, "done");
            }
            Phase::Reading => {
                let never_asked = peer.request.number == 0;
                if !(peer.connection.is_incomplete() || never_asked) {
                    return;
                }
                let at = peer.since + request_timeout;
                if now.monotonic < at {
                    return self.wake_at(whom, at);
                }
                self.counters.dropped += 1;
                let text = "a peer did not send a whole request in time; closed";
                self.log.seldom(Level::Warning, "slow request", text);
                self.remove(whom, "slow request");
            }
            Phase::Ending(_) => {}
        }
    }

    /// Closes a connection at once.
    pub(super) fn remove(&mut self, whom: Whom, reason: &str) {
        let now = self.clock.now();
        self.close_stream(whom, reason, now);
        if self.peer(whom).is_some() {
            // Closing a descriptor takes it out of the epoll: nobody else has it.
            drop(self.peers.remove((whom & 0xffff_ffff) as usize));
            if !self.is_listening && self.draining_until.is_none() {
                let _ = self.listen(true);
            }
        }
    }

    /// The stream of a peer is over: it leaves the others, and the log says why.
    pub(super) fn close_stream(&mut self, whom: Whom, reason: &str, now: Now) {
        let Some(peer) = peer(&mut self.peers, whom) else {
            return;
        };
        let Some(seat) = peer.seat.take() else { return };
        peer.hints = None;
        self.subscribers -= 1;
        let request = std::mem::take(&mut peer.request);
        peer.request.number = request.number;
        self.counters.events += request.events;
        self.counters.bytes += request.bytes;
        if let Some((stream, _)) = seat.among()
            && self.hub.leave(stream)
        {
            self.shown.remove(&stream);
        }
        let age = now.monotonic - seat.opened_at();
        self.say_end(&request, reason, age);
    }

    fn say_end(&self, request: &RequestLog, reason: &str, age: Duration) {
        self.log.stream_end(&StreamEnd {
            request: request.number,
            stream: request.stream,
            reason,
            age,
            events: request.events,
            bytes: request.bytes,
        });
    }

    /// Does what signals ask for; says whether to end at once.
    fn obey(&mut self, now: Now) -> bool {
        while let Some(signal) = self.signals.next() {
            if signal == Signal::SIGHUP {
                self.log.reopen();
            } else if self.draining_until.is_some() {
                return true;
            } else {
                self.drain(now);
            }
        }
        false
    }

    /// Takes nobody any more, and ends every stream at the end of the event it is in.
    fn drain(&mut self, now: Now) {
        self.notify.say("STOPPING=1");
        let until = now.monotonic + self.options.drain;
        self.draining_until = Some(until);
        let _ = self.listen(false);
        self.listener = None;
        self.timers.set(until, HOUSEKEEPING);
        let all: Vec<Whom> = self
            .peers
            .iter()
            .map(|(index, peer)| number(index, peer.generation))
            .collect();
        for whom in all {
            let Some(peer) = self.peer(whom) else {
                continue;
            };
            match peer.phase {
                Phase::Serving => self.say_farewell(whom, now),
                Phase::Reading if !peer.connection.is_incomplete() => self.remove(whom, "drained"),
                _ => {}
            }
        }
    }

    /// Ends a stream, and tells its client when to come again.
    pub(super) fn say_farewell(&mut self, whom: Whom, now: Now) {
        let Some(peer) = self.peer(whom) else { return };
        if let Some(seat) = &peer.seat {
            let retry = format!("retry: {}\n", seat.terms().retry_ms);
            peer.push_stdout(retry.as_bytes());
        }
        self.end(whom, "drained", now);
    }

    /// Ends the stream of a peer after what is on its way.
    pub(super) fn end(&mut self, whom: Whom, reason: &str, now: Now) {
        if let Some(peer) = self.peer(whom) {
            // (Of one that was aborted nothing is to be published.)
            peer.posting = None;
            peer.finish();
        }
        self.close_stream(whom, reason, now);
        self.flush(whom, now);
    }

    fn is_drained(&self, now: Now) -> bool {
        self.draining_until
            .is_some_and(|until| self.peers.is_empty() || now.monotonic >= until)
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining_until.is_some()
    }
}

/// The number of the peer in a place.
pub(super) fn number(index: usize, generation: u32) -> Whom {
    u64::from(generation) << 32 | index as u64
}

pub(super) fn peer(peers: &mut Slab<Peer>, whom: Whom) -> Option<&mut Peer> {
    let generation = (whom >> 32) as u32;
    peers
        .get_mut((whom & 0xffff_ffff) as usize)
        .filter(|peer| peer.generation == generation)
}

/// Raises the limit on descriptors as far as it goes, and tells it.
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

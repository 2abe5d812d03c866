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
use super::super::log::Log;
use super::super::signals::Signals;
use super::super::watch::Hints;
use super::super::world::{Abilities, Machine};
use super::listen::Listener;
use super::notify::Notify;
use super::options::Options;
use super::peer::Peer;
use super::timers::{Timers, Whom};
use crate::gateway::fastcgi;
use crate::request::{Commands, MetaVariables, Notice};
use crate::source::{Now, Stream, World};
use crate::stream::Hub;

/// Who is meant by a number: a peer by its place and generation, or one of these.
const STREAM: Whom = 1 << 62;
pub(super) const LISTENER: Whom = 2 << 62;
const SIGNALS: Whom = LISTENER | 1;
const WATCHER: Whom = LISTENER | 2;
pub(super) const HOUSEKEEPING: Whom = LISTENER | 3;
const PROGRAMS: Whom = LISTENER | 4;
const FUNERAL: Whom = LISTENER | 5;

/// How many events one wait brings, at most.
const EVENTS_MAX: usize = 512;

/// How many that read by themselves get their turn before the loop looks around.
const TURNS_MAX: usize = 64;

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
    /// Streams that have ended.
    pub(super) ended: u64,
}

pub(super) struct Responder {
    pub(super) streams: &'static [&'static Stream],
    pub(super) options: Options,
    /// The settings of the process's environment.
    pub(super) defaults: MetaVariables,
    /// The programs that requests may have run.
    pub(super) commands: Commands,
    /// What has been said of them.
    pub(super) notices: Vec<Notice>,
    pub(super) subscribers_max: usize,
    /// Beyond it nobody is accepted: who is served needs descriptors for files.
    pub(super) connections_max: usize,
    pub(super) clock: Clock,
    pub(super) started: Now,
    pub(super) log: Rc<Log>,
    pub(super) machine: Rc<Machine>,
    pub(super) world: Rc<dyn World>,
    pub(super) notify: Notify,
    pub(super) listener: Option<Listener>,
    pub(super) is_listening: bool,
    pub(super) epoll: Epoll,
    pub(super) signals: Signals,
    pub(super) is_watching_files: bool,
    pub(super) is_watching_programs: bool,
    pub(super) is_burying: bool,
    pub(super) hub: Hub,
    pub(super) shown: HashMap<usize, Shown>,
    pub(super) peers: Slab<Peer>,
    pub(super) timers: Timers,
    pub(super) ready: VecDeque<Whom>,
    pub(super) dirty: VecDeque<usize>,
    pub(super) counters: Counters,
    pub(super) subscribers: usize,
    pub(super) requests: u64,
    pub(super) generation: u32,
    /// When the streams must have ended, once we were asked to.
    pub(super) draining_until: Option<Duration>,
    /// The signal that asked us to, and how many streams it ended.
    pub(super) ended_by: Option<(Signal, usize)>,
    pub(super) buffer: Vec<u8>,
}

/// What a responder is made of.
pub(super) struct Parts {
    pub(super) streams: &'static [&'static Stream],
    pub(super) options: Options,
    pub(super) defaults: MetaVariables,
    pub(super) commands: Commands,
    pub(super) notices: Vec<Notice>,
    pub(super) subscribers_max: usize,
    pub(super) listener: Listener,
    pub(super) log: Rc<Log>,
}

impl Responder {
    pub(super) fn new(parts: Parts) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let signals = Signals::take()?;
        epoll.add(&signals, EpollEvent::new(EpollFlags::EPOLLIN, SIGNALS))?;
        let machine = Rc::new(Machine::new(Rc::clone(&parts.log), Abilities::ALL));
        let clock = Clock::start();
        let descriptors = descriptor_limit();
        let connections_max = (descriptors.saturating_sub(OWN_DESCRIPTORS) as usize).max(1);
        // Some are left for files, and for telling who is too much so.
        let places = connections_max * 7 / 8;
        let mut responder = Self {
            streams: parts.streams,
            options: parts.options,
            defaults: parts.defaults,
            commands: parts.commands,
            notices: parts.notices,
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
            ended_by: None,
            buffer: vec![0; READ_BYTES],
        };
        responder.listen(true)?;
        responder.log_start(descriptors);
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
                self.log_end(now);
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
                            self.log_end(now);
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

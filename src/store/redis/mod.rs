//! The engines that keep streams outside this machine: Redis.
//!
//! ```text
//! source ──► Reader (a Feed) ──► Engine ──► Link: questions, pipelined
//!   ▲                              │    └─► Waiting: XREAD BLOCK, 32 keys each
//!   └────────── owner told ◄───────┘
//!
//! publisher ──► Writer ──► Link: commands that are executed at most once, pipelined
//! ```
//!
//! All connections and a timer are behind one descriptor, which the event loop waits on. Nothing
//! here waits.

mod cluster;
mod engine;
mod link;
mod publish;
mod question;
mod reader;
mod route;
mod sentinels;
mod session_post;
#[cfg(feature = "tls")]
mod tls;
mod waiting;
mod writer;

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::engines::{EngineFigure, Pump};
use super::host::SystemHost;
use crate::source::Changes as _;
use crate::source::redis::{Address, Confirmation, Key, NotWritten, Writing};
use crate::system::log::Log;
use crate::system::watch::Hints;
use cluster::Cluster;
use engine::Engine;
pub(crate) use link::OpenTls;
use link::Opener;
pub(super) use reader::feed;
use route::{Arrival, Journey, Route};
use sentinels::Sentinels;
use writer::{Slot, Writer};

/// TLS for [`feed`].
#[cfg(feature = "tls")]
pub(super) const TLS: Option<OpenTls> = Some(tls::begin);
/// TLS for [`feed`]: this build has none.
#[cfg(not(feature = "tls"))]
pub(super) const TLS: Option<OpenTls> = None;

/// The data of epoll for the timer.
const TIMER: u64 = u64::MAX;

/// The data of epoll for the connection of a writer, with its number.
const WRITER: u64 = 1 << 63;

/// The data of epoll for the connection to sentinels, with their number.
const SENTINELS: u64 = 1 << 62;

/// The engines of a process.
pub(super) struct Engines {
    opener: Rc<Opener>,
    timer: TimerFd,
    /// When the timer fires; `None`: it is not set.
    fires_at: Cell<Option<Instant>>,
    engines: RefCell<Vec<Rc<RefCell<Engine>>>>,
    writers: RefCell<Vec<Rc<RefCell<Writer>>>>,
    sentinels: RefCell<Vec<Rc<RefCell<Sentinels>>>>,
    clusters: RefCell<Vec<Rc<RefCell<Cluster>>>>,
    next_generation: Cell<u64>,
    log: Rc<Log>,
    /// An event loop calls [`Pump::pump`]. Otherwise a reader does, when it is polled.
    is_pumped: bool,
}

impl Engines {
    /// `hints` is told when something has arrived.
    fn new(host: &SystemHost, hints: Rc<Hints>) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        let is_pumped = hints.owner() != 0;
        host.programs.add(epoll.0.as_fd(), hints)?;
        Ok(Self {
            opener: Rc::new(Opener {
                epoll,
                tls: host.tls(),
            }),
            timer,
            fires_at: Cell::new(None),
            engines: RefCell::default(),
            writers: RefCell::default(),
            sentinels: RefCell::default(),
            clusters: RefCell::default(),
            next_generation: Cell::new(0),
            log: host.process_log(),
            is_pumped,
        })
    }

    fn engine(&self, address: &Address) -> Rc<RefCell<Engine>> {
        let mut engines = self.engines.borrow_mut();
        let found = engines
            .iter()
            .find(|engine| engine.borrow().address == *address);
        if let Some(engine) = found {
            return Rc::clone(engine);
        }
        let number = engines.len() as u64;
        let engine = Engine::new(address.clone(), number, &self.opener, &self.log);
        let engine = Rc::new(RefCell::new(engine));
        engines.push(Rc::clone(&engine));
        engine
    }

    /// How the servers of an address are found.
    fn route(&self, address: &Address) -> Route {
        if let Some(cluster) = Cluster::new(address) {
            let mut clusters = self.clusters.borrow_mut();
            let found = clusters.iter().find(|own| own.borrow().address == *address);
            let cluster = found.cloned().unwrap_or_else(|| {
                let cluster = Rc::new(RefCell::new(cluster));
                clusters.push(Rc::clone(&cluster));
                cluster
            });
            return Route::Cluster(cluster);
        }
        let mut all = self.sentinels.borrow_mut();
        if let Some(found) = all.iter().find(|own| own.borrow().address == *address) {
            return Route::Sentinels(Rc::clone(found));
        }
        let number = SENTINELS | all.len() as u64;
        match Sentinels::new(address, number, &self.opener, &self.log) {
            Some(sentinels) => {
                let sentinels = Rc::new(RefCell::new(sentinels));
                all.push(Rc::clone(&sentinels));
                Route::Sentinels(sentinels)
            }
            None => Route::Single(address.clone()),
        }
    }

    fn next_generation(&self) -> u64 {
        let generation = self.next_generation.get() + 1;
        self.next_generation.set(generation);
        generation
    }

    /// A server is not the primary any more: its readers and writers move.
    fn leave(&self, address: &Address) {
        let engines = self.engines.borrow();
        for engine in engines
            .iter()
            .filter(|own| own.borrow().address == *address)
        {
            engine.borrow_mut().leave();
        }
        let writers = self.writers.borrow();
        for writer in writers
            .iter()
            .filter(|own| own.borrow().address == *address)
        {
            writer.borrow_mut().leave();
        }
    }

    fn writer(&self, address: &Address, confirmation: Confirmation) -> Rc<RefCell<Writer>> {
        let mut writers = self.writers.borrow_mut();
        let is_it = |writer: &&Rc<RefCell<Writer>>| {
            let writer = writer.borrow();
            writer.address == *address && writer.confirmation == confirmation
        };
        if let Some(writer) = writers.iter().find(is_it) {
            return Rc::clone(writer);
        }
        let number = WRITER | writers.len() as u64;
        let writer = Writer::new(
            address.clone(),
            confirmation,
            number,
            &self.opener,
            &self.log,
        );
        let writer = Rc::new(RefCell::new(writer));
        writers.push(Rc::clone(&writer));
        writer
    }

    /// Whether the program contains what is necessary for this address.
    fn check(&self, address: &Address) -> io::Result<()> {
        if address.tls.is_none() || self.opener.tls.is_some() {
            return Ok(());
        }
        let text = match TLS {
            Some(_) => {
                "this program does not contain TLS; use sse-fcgi or sse-httpd, or let a tunnel \
                 such as stunnel encrypt the connection"
            }
            None => "this program was built without TLS; build it with the feature tls",
        };
        Err(io::Error::new(io::ErrorKind::Unsupported, text))
    }

    /// Waits until something can be done, at most so long.
    fn wait(&self, time: Duration) {
        let mut readable = [PollFd::new(self.opener.epoll.0.as_fd(), PollFlags::POLLIN)];
        // Rounded up: a wait that ends before its time would be repeated.
        let milliseconds = time.as_micros().div_ceil(1_000).min(i32::MAX as u128) as i32;
        let timeout = PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::ZERO);
        let _ = poll(&mut readable, timeout);
    }

    /// Sets the timer for the next deadline of all engines.
    fn set_timer(&self) {
        let engines = self.engines.borrow();
        let writers = self.writers.borrow();
        let deadlines = engines
            .iter()
            .filter_map(|engine| engine.borrow().deadline());
        let of_writers = writers
            .iter()
            .filter_map(|writer| writer.borrow().deadline());
        let sentinels = self.sentinels.borrow();
        let of_sentinels = sentinels.iter().filter_map(|own| own.borrow().deadline());
        let Some(at) = deadlines.chain(of_writers).chain(of_sentinels).min() else {
            return;
        };
        // A timer that fires too early is set again then.
        if self.fires_at.get().is_some_and(|fires_at| fires_at <= at) {
            return;
        }
        let wait = at.saturating_duration_since(Instant::now());
        let wait = TimeSpec::from_duration(wait.max(Duration::from_nanos(1)));
        let set = self
            .timer
            .set(Expiration::OneShot(wait), TimerSetTimeFlags::empty());
        self.fires_at.set(set.is_ok().then_some(at));
    }
}

impl Pump for Engines {
    fn pump(&self, told: &mut dyn FnMut(u64)) {
        let mut events = [EpollEvent::empty(); 64];
        let count = self
            .opener
            .epoll
            .wait(&mut events, EpollTimeout::ZERO)
            .unwrap_or(0);
        for event in &events[..count] {
            if event.data() == TIMER {
                let _ = self.timer.wait();
                self.fires_at.set(None);
                for engine in &*self.engines.borrow() {
                    engine.borrow_mut().on_time();
                }
                for writer in &*self.writers.borrow() {
                    writer.borrow_mut().on_time();
                }
                for sentinels in &*self.sentinels.borrow() {
                    let has_users = Rc::strong_count(sentinels) > 1;
                    sentinels.borrow_mut().on_time(has_users);
                }
                continue;
            }
            if event.data() & WRITER != 0 {
                let number = event.data() & !WRITER;
                let writer = self.writers.borrow().get(number as usize).cloned();
                if let Some(writer) = writer {
                    writer.borrow_mut().on_ready();
                }
                continue;
            }
            if event.data() & SENTINELS != 0 {
                let number = event.data() & !SENTINELS;
                let sentinels = self.sentinels.borrow().get(number as usize).cloned();
                if let Some(sentinels) = sentinels {
                    sentinels.borrow_mut().on_ready();
                }
                continue;
            }
            let (number, connection) = (event.data() >> 32, event.data() & 0xffff_ffff);
            let engine = self.engines.borrow().get(number as usize).cloned();
            if let Some(engine) = engine {
                engine.borrow_mut().on_ready(connection);
            }
        }
        let sentinels = self.sentinels.borrow().clone();
        for sentinels in sentinels {
            let former = sentinels.borrow_mut().take_former();
            for address in former {
                self.leave(&address);
            }
            let owners = sentinels.borrow_mut().take_told();
            owners.into_iter().for_each(&mut *told);
        }
        let engines = self.engines.borrow().clone();
        for engine in engines {
            for owner in engine.borrow_mut().take_told() {
                told(owner);
            }
        }
        let writers = self.writers.borrow().clone();
        for writer in writers {
            for owner in writer.borrow_mut().take_told() {
                told(owner);
            }
        }
        self.set_timer();
    }

    fn figures(&self) -> Vec<EngineFigure> {
        let engines = self.engines.borrow();
        let used = engines.iter().map(|engine| engine.borrow());
        let used = used.filter(|engine| !engine.has_no_readers() || !engine.is_up());
        let figure = |engine: std::cell::Ref<'_, Engine>| EngineFigure {
            name: engine.address.to_string(),
            is_up: engine.is_up(),
        };
        let mut figures: Vec<EngineFigure> = used.map(figure).collect();
        for writer in &*self.writers.borrow() {
            let writer = writer.borrow();
            let name = writer.address.to_string();
            match figures.iter_mut().find(|figure| figure.name == name) {
                Some(figure) => figure.is_up &= writer.is_up(),
                None if writer.is_idle() => {}
                None => figures.push(EngineFigure {
                    name,
                    is_up: writer.is_up(),
                }),
            }
        }
        for sentinels in &*self.sentinels.borrow() {
            if Rc::strong_count(sentinels) > 1 {
                let sentinels = sentinels.borrow();
                figures.push(EngineFigure {
                    name: sentinels.address.to_string(),
                    is_up: sentinels.is_up(),
                });
            }
        }
        figures
    }
}

/// The engines of a host, which are created at their first use.
fn engines_of(host: &SystemHost) -> io::Result<Rc<Engines>> {
    if let Some(engines) = host.engines.get::<Engines>() {
        return Ok(engines);
    }
    let hints = Rc::new(Hints::new());
    hints.set_owner(host.engines.owner());
    let engines = Rc::new(Engines::new(host, hints)?);
    host.engines.set(Rc::clone(&engines));
    Ok(engines)
}

/// Sends commands to the engine of a key, which together have so many replies. They are executed
/// at most once: if that is not known, they are not sent again. `owner` is told of the answer, as
/// the owner of a source is; 0 is nobody. While the result is kept, somebody waits for the answer.
///
/// # Errors
/// When no descriptor is left, or the program does not contain TLS.
pub(super) fn write(
    host: &SystemHost,
    key: &Key,
    commands: Vec<u8>,
    replies: usize,
    owner: u64,
    confirmation: Confirmation,
) -> io::Result<Box<dyn Writing>> {
    let engines = engines_of(host)?;
    engines.check(&key.engine)?;
    let mut written = Written {
        journey: engines
            .route(&key.engine)
            .journey(&key.name, commands, replies),
        confirmation,
        slot: None,
        is_waiting: false,
        failure: None,
        owner: Rc::new(Cell::new(owner)),
        engines,
    };
    written.depart();
    Ok(Box::new(written))
}

/// The user's side of commands that were sent.
struct Written {
    journey: Journey,
    confirmation: Confirmation,
    slot: Option<Rc<Slot>>,
    /// They have not been sent: nobody knows where to.
    is_waiting: bool,
    failure: Option<NotWritten>,
    owner: Rc<Cell<u64>>,
    engines: Rc<Engines>,
}

impl Written {
    /// Sends the commands, if it is known where to.
    fn depart(&mut self) {
        let departure = self.journey.depart(&self.owner);
        self.is_waiting = departure.is_none();
        match departure {
            None => {}
            Some(Err(reason)) => self.failure = Some(NotWritten::Unavailable(reason)),
            Some(Ok(to)) => {
                let writer = self.engines.writer(&to.server, self.confirmation);
                let owner = self.owner.get();
                let slot = writer.borrow_mut().write(to.commands, to.replies, owner);
                self.slot = Some(slot);
            }
        }
        self.engines.set_timer();
    }
}

impl Writing for Written {
    fn receive(&mut self) -> Option<Result<Vec<u8>, NotWritten>> {
        if !self.engines.is_pumped {
            self.engines.pump(&mut |_| {});
        }
        if self.is_waiting {
            self.depart();
        }
        loop {
            if let Some(failure) = self.failure.take() {
                return Some(Err(failure));
            }
            match self.slot.as_ref()?.take()? {
                Ok(replies) => match self.journey.arrive(replies) {
                    Arrival::Answer(answer) => return Some(Ok(answer)),
                    // Nothing was executed.
                    Arrival::Again => self.depart(),
                },
                Err(error) => {
                    let has_other = self.journey.fail();
                    // Otherwise it may have been executed.
                    let is_unsent = matches!(error, NotWritten::Unavailable(_));
                    if !has_other || !is_unsent {
                        return Some(Err(error));
                    }
                    self.depart();
                    if self.is_waiting {
                        return None;
                    }
                }
            }
        }
    }
}

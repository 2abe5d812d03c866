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

mod engine;
mod link;
mod publish;
mod question;
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
use crate::source::Changes;
use crate::source::redis::{Address, Confirmation, Feed, Key, NotWritten, StreamId, Writing};
use crate::stream::Watching;
use crate::system::log::Log;
use crate::system::watch::Hints;
use engine::Engine;
pub(crate) use link::OpenTls;
use link::Opener;
use waiting::Ahead;
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

/// The engines of a process.
pub(super) struct Engines {
    opener: Rc<Opener>,
    timer: TimerFd,
    /// When the timer fires; `None`: it is not set.
    fires_at: Cell<Option<Instant>>,
    engines: RefCell<Vec<Rc<RefCell<Engine>>>>,
    writers: RefCell<Vec<Rc<RefCell<Writer>>>>,
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
            next_generation: Cell::new(0),
            log: host.process_log(),
            is_pumped,
        })
    }

    fn engine(&self, key: &Key) -> Rc<RefCell<Engine>> {
        let mut engines = self.engines.borrow_mut();
        let found = engines
            .iter()
            .find(|engine| engine.borrow().address == key.engine);
        if let Some(engine) = found {
            return Rc::clone(engine);
        }
        let number = engines.len() as u64;
        let engine = Engine::new(key.engine.clone(), number, &self.opener, &self.log);
        let engine = Rc::new(RefCell::new(engine));
        engines.push(Rc::clone(&engine));
        engine
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
        let Some(at) = deadlines.chain(of_writers).min() else {
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
            let (number, connection) = (event.data() >> 32, event.data() & 0xffff_ffff);
            let engine = self.engines.borrow().get(number as usize).cloned();
            if let Some(engine) = engine {
                engine.borrow_mut().on_ready(connection);
            }
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
        figures
    }
}

/// The engines of a host.
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
    let writer = engines.writer(&key.engine, confirmation);
    let slot = writer.borrow_mut().write(commands, replies, owner);
    engines.set_timer();
    Ok(Box::new(Written { slot, engines }))
}

/// The user's side of commands that were sent.
struct Written {
    slot: Rc<Slot>,
    engines: Rc<Engines>,
}

impl Writing for Written {
    fn receive(&mut self) -> Option<Result<Vec<u8>, NotWritten>> {
        if !self.engines.is_pumped {
            self.engines.pump(&mut |_| {});
        }
        self.slot.take()
    }
}

/// Opens the access to a key.
pub(super) fn feed(host: &SystemHost, key: &Key, watching: Watching) -> io::Result<Box<dyn Feed>> {
    let engines = engines_of(host)?;
    engines.check(&key.engine)?;
    let engine = engines.engine(key);
    let generation = engines.next_generation.get() + 1;
    engines.next_generation.set(generation);
    let slot = engine.borrow_mut().add(&key.name, generation);
    let access = Rc::new(Access { engine, slot });
    Ok(Box::new(Reader {
        access,
        engines,
        watching,
    }))
}

/// The place of a reader in its engine.
struct Access {
    engine: Rc<RefCell<Engine>>,
    slot: usize,
}

impl Changes for Access {
    fn set_owner(&self, owner: u64) {
        self.engine.borrow_mut().set_owner(self.slot, owner);
    }

    fn look_again_after(&self) -> Option<Duration> {
        None
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        self.engine.borrow_mut().remove(self.slot);
    }
}

struct Reader {
    access: Rc<Access>,
    engines: Rc<Engines>,
    watching: Watching,
}

impl Reader {
    fn pump(&self) {
        if !self.engines.is_pumped {
            self.engines.pump(&mut |_| {});
        }
    }
}

impl Feed for Reader {
    fn changes(&self) -> Rc<dyn Changes> {
        Rc::<Access>::clone(&self.access)
    }

    fn send(&mut self, commands: Vec<u8>, replies: usize) {
        let slot = self.access.slot;
        self.access
            .engine
            .borrow_mut()
            .send(slot, commands, replies);
        self.engines.set_timer();
    }

    fn share_answers(&mut self) {
        let slot = self.access.slot;
        self.access.engine.borrow_mut().share_answers(slot);
    }

    fn receive(&mut self) -> Option<io::Result<Vec<u8>>> {
        self.pump();
        self.access.engine.borrow_mut().receive(self.access.slot)
    }

    fn reachable_for(&self) -> Option<Duration> {
        self.access.engine.borrow().reachable_for()
    }

    fn is_watching(&self) -> bool {
        self.watching == Watching::Own
    }

    fn watch(&mut self, after: StreamId, commands: Vec<u8>, replies: usize) {
        let ahead = Ahead { commands, replies };
        self.access
            .engine
            .borrow_mut()
            .watch(self.access.slot, after, ahead);
        self.engines.set_timer();
    }

    fn take_ahead(&mut self) -> Option<Vec<u8>> {
        self.access.engine.borrow_mut().take_ahead(self.access.slot)
    }

    fn take_signal(&mut self) -> bool {
        if self.watching == Watching::ByChannel {
            return true;
        }
        self.pump();
        self.access
            .engine
            .borrow_mut()
            .take_signal(self.access.slot)
    }
}

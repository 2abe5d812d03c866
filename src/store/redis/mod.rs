//! The engines that keep streams outside this machine: Redis.
//!
//! ```text
//! source ──► Reader (a Feed) ──► Engine ──► Link: questions, pipelined
//!   ▲                              │    └─► Waiting: XREAD BLOCK, 32 keys each
//!   └────────── owner told ◄───────┘
//! ```
//!
//! All connections and a timer are behind one descriptor, which the event loop waits on. Nothing
//! here waits.

mod engine;
mod link;
mod waiting;

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Instant;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::engines::{EngineFigure, Pump};
use super::host::SystemHost;
use crate::source::Changes;
use crate::source::redis::{Feed, Key, StreamId};
use crate::stream::Watching;
use crate::system::log::Log;
use crate::system::watch::Hints;
use engine::Engine;

/// The data of epoll for the timer.
const TIMER: u64 = u64::MAX;

/// The engines of a process.
pub(super) struct Engines {
    epoll: Rc<Epoll>,
    timer: TimerFd,
    /// When the timer fires; `None`: it is not set.
    fires_at: Cell<Option<Instant>>,
    engines: RefCell<Vec<Rc<RefCell<Engine>>>>,
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
            epoll: Rc::new(epoll),
            timer,
            fires_at: Cell::new(None),
            engines: RefCell::default(),
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
        let engine = Engine::new(key.engine.clone(), number, &self.epoll, &self.log);
        let engine = Rc::new(RefCell::new(engine));
        engines.push(Rc::clone(&engine));
        engine
    }

    /// Sets the timer for the next deadline of all engines.
    fn set_timer(&self) {
        let engines = self.engines.borrow();
        let deadlines = engines
            .iter()
            .filter_map(|engine| engine.borrow().deadline());
        let Some(at) = deadlines.min() else { return };
        // A timer that fires too early is set again then.
        if self.fires_at.get().is_some_and(|fires_at| fires_at <= at) {
            return;
        }
        let wait = at.saturating_duration_since(Instant::now());
        let wait = TimeSpec::from_duration(wait.max(std::time::Duration::from_nanos(1)));
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
        used.map(figure).collect()
    }
}

/// Opens the access to a key.
pub(super) fn feed(host: &SystemHost, key: &Key, watching: Watching) -> io::Result<Box<dyn Feed>> {
    let engines = match host.engines.get::<Engines>() {
        Some(engines) => engines,
        None => {
            let hints = Rc::new(Hints::new());
            hints.set_owner(host.engines.owner());
            let engines = Rc::new(Engines::new(host, hints)?);
            host.engines.set(Rc::clone(&engines));
            engines
        }
    };
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

    fn look_again_after(&self) -> Option<std::time::Duration> {
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

    fn receive(&mut self) -> Option<io::Result<Vec<u8>>> {
        self.pump();
        self.access.engine.borrow_mut().receive(self.access.slot)
    }

    fn is_watching(&self) -> bool {
        self.watching == Watching::Own
    }

    fn watch(&mut self, after: StreamId) {
        if self.watching == Watching::Own {
            self.access
                .engine
                .borrow_mut()
                .watch(self.access.slot, after);
            self.engines.set_timer();
        }
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

//! Reader: the access of one source to its key, wherever the key is.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::engine::Engine;
use super::route::{Arrival, Journey, Route};
use super::waiting::Ahead;
use super::{Engines, engines_of};
use crate::source::Changes;
use crate::source::redis::{Feed, Key, StreamId, elsewhere};
use crate::store::engines::Pump as _;
use crate::store::host::SystemHost;
use crate::stream::Watching;

/// Opens the access to a key.
///
/// # Errors
/// When no descriptor is left, or the program does not contain TLS.
pub(in crate::store) fn feed(
    host: &SystemHost,
    key: &Key,
    watching: Watching,
) -> io::Result<Box<dyn Feed>> {
    let engines = engines_of(host)?;
    engines.check(&key.engine)?;
    let route = engines.route(&key.engine);
    let access = Access {
        engines: Rc::clone(&engines),
        key: key.name.clone(),
        owner: Rc::default(),
        place: RefCell::default(),
        shares_answers: Cell::new(false),
        moved_at: Cell::new(None),
    };
    if let Route::Single(address) = &route {
        access.enter(&engines.engine(address));
    }
    Ok(Box::new(Reader {
        access: Rc::new(access),
        route,
        engines,
        watching,
        journey: None,
        is_waiting: false,
        failure: None,
    }))
}

/// The place of a reader in the engine that has its key.
struct Access {
    engines: Rc<Engines>,
    key: Vec<u8>,
    owner: Rc<Cell<u64>>,
    /// `None`: it is not known yet.
    place: RefCell<Option<(Rc<RefCell<Engine>>, usize)>>,
    shares_answers: Cell<bool>,
    /// When it has moved to another engine.
    moved_at: Cell<Option<Instant>>,
}

impl Access {
    /// Makes this engine the one of the reader.
    fn enter(&self, engine: &Rc<RefCell<Engine>>) {
        let mut place = self.place.borrow_mut();
        if let Some((own, slot)) = &*place {
            if Rc::ptr_eq(own, engine) {
                return;
            }
            own.borrow_mut().remove(*slot);
            self.moved_at.set(Some(Instant::now()));
        }
        let generation = self.engines.next_generation();
        let mut entered = engine.borrow_mut();
        let slot = entered.add(&self.key, generation);
        entered.set_owner(slot, self.owner.get());
        if self.shares_answers.get() {
            entered.share_answers(slot);
        }
        drop(entered);
        *place = Some((Rc::clone(engine), slot));
    }

    /// Uses the place, if there is one.
    fn with<T>(&self, own: impl FnOnce(&mut Engine, usize) -> T) -> Option<T> {
        let place = self.place.borrow();
        let (engine, slot) = place.as_ref()?;
        let result = own(&mut engine.borrow_mut(), *slot);
        Some(result)
    }
}

impl Changes for Access {
    fn set_owner(&self, owner: u64) {
        self.owner.set(owner);
        self.with(|engine, slot| engine.set_owner(slot, owner));
    }

    fn look_again_after(&self) -> Option<Duration> {
        None
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        self.with(Engine::remove);
    }
}

struct Reader {
    access: Rc<Access>,
    route: Route,
    engines: Rc<Engines>,
    watching: Watching,
    /// What was asked and not answered, if it may be sent to another server.
    journey: Option<Journey>,
    /// It has not been sent: nobody knows where to.
    is_waiting: bool,
    /// It cannot be sent.
    failure: Option<io::Error>,
}

impl Reader {
    fn pump(&self) {
        if !self.engines.is_pumped {
            self.engines.pump(&mut |_| {});
        }
    }

    /// Sends what is asked, if it is known where to.
    fn depart(&mut self) {
        self.failure = None;
        let Some(journey) = &mut self.journey else {
            return;
        };
        let departure = journey.depart(&self.access.owner);
        self.is_waiting = departure.is_none();
        match departure {
            None => {}
            // It has been logged.
            Some(Err(_)) => self.failure = Some(io::ErrorKind::NotConnected.into()),
            Some(Ok(to)) => {
                self.access.enter(&self.engines.engine(&to.server));
                self.access
                    .with(|engine, slot| engine.send(slot, to.commands, to.replies));
            }
        }
        self.engines.set_timer();
    }
}

impl Feed for Reader {
    fn changes(&self) -> Rc<dyn Changes> {
        Rc::<Access>::clone(&self.access)
    }

    fn send(&mut self, commands: Vec<u8>, replies: usize) {
        if self.route.is_single() {
            self.access
                .with(|engine, slot| engine.send(slot, commands, replies));
            self.engines.set_timer();
        } else {
            let journey = self.route.journey(&self.access.key, commands, replies);
            self.journey = Some(journey);
            self.depart();
        }
    }

    fn share_answers(&mut self) {
        self.access.shares_answers.set(true);
        self.access.with(Engine::share_answers);
    }

    fn receive(&mut self) -> Option<io::Result<Vec<u8>>> {
        self.pump();
        loop {
            if self.is_waiting {
                self.depart();
            }
            if let Some(error) = self.failure.take() {
                self.journey = None;
                return Some(Err(error));
            }
            if self.is_waiting {
                return None;
            }
            let received = self.access.with(Engine::receive)??;
            let Some(journey) = &mut self.journey else {
                return Some(received);
            };
            let is_sent_again = match received {
                Ok(replies) => match journey.arrive(replies) {
                    Arrival::Answer(answer) => {
                        self.journey = None;
                        return Some(Ok(answer));
                    }
                    Arrival::Again => true,
                },
                Err(_) => journey.fail(),
            };
            if !is_sent_again {
                self.journey = None;
                return Some(Err(io::ErrorKind::NotConnected.into()));
            }
            self.depart();
        }
    }

    fn reachable_for(&self) -> Option<Duration> {
        let of_engine = self.access.with(|engine, _| engine.reachable_for());
        let since_move = self.access.moved_at.get().map(|at| at.elapsed());
        match (of_engine.flatten(), since_move) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    fn is_watching(&self) -> bool {
        self.watching == Watching::Own
    }

    fn watch(&mut self, after: StreamId, commands: Vec<u8>, replies: usize) {
        let ahead = Ahead { commands, replies };
        self.access
            .with(|engine, slot| engine.watch(slot, after, ahead));
        self.engines.set_timer();
    }

    fn take_ahead(&mut self) -> Option<Vec<u8>> {
        let answer = self.access.with(Engine::take_ahead)??;
        // If the key is elsewhere, it is asked for there.
        let is_answer = self.route.is_single() || elsewhere(&answer).is_none();
        is_answer.then_some(answer)
    }

    fn take_signal(&mut self) -> bool {
        if self.watching == Watching::ByChannel {
            return true;
        }
        self.pump();
        self.access.with(Engine::take_signal).unwrap_or(true)
    }
}

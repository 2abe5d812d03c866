//! All shared streams, and who gets which.
//!
//! ```text
//!           ┌────────────── fell out of the ring ◄──────────────┐
//!           ▼                                                   │
//!  open ─► own source ── its place is in the ring ──► among others: a cursor
//!           │                                                   ▲
//!           └── nobody shares it yet: its source leads ─────────┘
//! ```
//!
//! A subscriber reads by itself until it is where a shared stream is, and then gives its
//! source up: both are places in the same file, and equal places have the same future.
//! So there is no seam, and memory does not grow with what a subscriber is behind.

use std::collections::HashMap;
use std::rc::Rc;

use slab::Slab;

use super::seat::{Place, Seat};
use super::shared::{Frame, Shared};
use crate::event::EventId;
use crate::source::Now;

/// The shared streams.
pub struct Hub {
    streams: Slab<Shared>,
    by_key: HashMap<Rc<[u8]>, usize>,
    frame: Frame,
}

/// What came of an attempt to join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// It is among the others of this stream.
    Follows(usize),
    /// This stream is new, and goes on with its source.
    Leads(usize),
    /// It is not where this stream is. Poll both, and try again.
    Elsewhere(usize),
    /// Nobody can share what it reads, or not from here.
    Alone,
}

impl Hub {
    /// No stream yet. `frame` is put around whatever is shared.
    #[must_use]
    pub fn new(frame: Frame) -> Self {
        Self {
            streams: Slab::new(),
            by_key: HashMap::new(),
            frame,
        }
    }

    /// Whether somebody shares the stream of this key.
    #[must_use]
    pub fn has(&self, key: &[u8]) -> bool {
        self.by_key.contains_key(key)
    }

    /// Where the stream of this key is, if somebody shares it.
    #[must_use]
    pub fn place(&self, key: &[u8]) -> Option<Rc<EventId<'static>>> {
        let stream = self.by_key.get(key)?;
        Some(Rc::clone(self.streams[*stream].place()))
    }

    /// A shared stream.
    #[must_use]
    pub fn get(&self, stream: usize) -> Option<&Shared> {
        self.streams.get(stream)
    }

    /// A shared stream, to be polled.
    pub fn get_mut(&mut self, stream: usize) -> Option<&mut Shared> {
        self.streams.get_mut(stream)
    }

    /// All shared streams.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Shared)> {
        self.streams.iter()
    }

    /// Puts a subscriber that has nothing more to read by itself among others, if it is
    /// where they are. What it has brought last must be on its way.
    pub fn join(&mut self, seat: &mut Seat, now: Now) -> Joined {
        let Place::Own(own) = &seat.place else {
            return Joined::Alone;
        };
        let Some((key, spot)) = own.share.clone() else {
            return Joined::Alone;
        };
        let Some(place) = own.subscription.position() else {
            return Joined::Alone;
        };
        let heartbeat = seat.terms.heartbeat;
        let Some(&stream) = self.by_key.get(&key) else {
            let at = Rc::new(place.clone());
            let Some(source) = seat.join(self.streams.vacant_key(), 0, at, Rc::clone(&key)) else {
                return Joined::Alone;
            };
            let of = (Rc::clone(&key), spot);
            let mut shared = Shared::new(source, place, of, heartbeat, self.frame, now);
            shared.enter(heartbeat);
            let stream = self.streams.insert(shared);
            self.by_key.insert(key, stream);
            return Joined::Leads(stream);
        };
        let shared = &mut self.streams[stream];
        // Thousands wait at the same place: its text is kept once, and so is the key.
        let found = match shared.named(&place) {
            Some(at) => Some((shared.ring().next(), at)),
            None if !own.subscription.can_go_back() => {
                Some((shared.ring().next(), Rc::clone(shared.place())))
            }
            None => shared.ring().after(&place),
        };
        let Some((next, at)) = found else {
            return Joined::Elsewhere(stream);
        };
        shared.enter(heartbeat);
        seat.join(stream, next, at, Rc::clone(shared.key()));
        Joined::Follows(stream)
    }

    /// Puts a subscriber among others if it passes their place with what it has just
    /// brought; what it brought beyond that is forgotten. Call [`Seat::join_passed`] once
    /// the rest is on its way.
    ///
    /// While a file grows fast, two that read it are never at the same place at the same
    /// time; but who reads on passes every place.
    pub fn join_in_passing(&mut self, seat: &mut Seat) -> Option<usize> {
        let Place::Own(own) = &mut seat.place else {
            return None;
        };
        let (key, _) = own.share.as_mut()?;
        let stream = *self.by_key.get(key)?;
        let shared = &mut self.streams[stream];
        let place = Rc::clone(shared.place());
        if own.batch.ends_at(&place) || !own.batch.cut_after(&place) {
            // (At the end: that is for `join`.)
            return None;
        }
        *key = Rc::clone(shared.key());
        shared.enter(seat.terms.heartbeat);
        own.passed = Some((stream, shared.ring().next(), place));
        Some(stream)
    }

    /// A stream has ended. Its subscribers still get the rest of it; who comes now opens
    /// another one.
    pub fn retire(&mut self, stream: usize) {
        if let Some(shared) = self.streams.get(stream)
            && self.by_key.get(shared.key()) == Some(&stream)
        {
            self.by_key.remove(shared.key());
        }
    }

    /// A subscriber leaves the others of a stream. `true` when it was the last, and the
    /// stream is gone.
    pub fn leave(&mut self, stream: usize) -> bool {
        let Some(shared) = self.streams.get_mut(stream) else {
            return false;
        };
        shared.leave();
        if shared.members() > 0 {
            return false;
        }
        self.retire(stream);
        self.streams.remove(stream);
        true
    }
}

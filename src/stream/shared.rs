//! A stream that is read and encoded once for everybody who follows it.

use std::rc::Rc;
use std::time::Duration;

use super::ring::{Chunk, Ring};
use super::seat::Spot;
use crate::event::{Batch, EventId, Unavailable};
use crate::source::{Next, Now, Source};

/// Puts a gateway's frame around encoded events, appending to the second argument.
pub type Frame = fn(&[u8], &mut Vec<u8>);

/// A source at the live end of its stream, and what it said last.
///
/// It is polled when somebody waits for what comes next, and not before: then the
/// fastest subscriber sets the pace, and the slowest costs nothing.
pub struct Shared {
    source: Box<dyn Source>,
    key: Rc<[u8]>,
    spot: Rc<Spot>,
    ring: Ring,
    batch: Batch,
    frame: Frame,
    /// The place at the ring's end.
    place: Rc<EventId<'static>>,
    /// Another name of a place at which somebody joined.
    alias: Option<Rc<EventId<'static>>>,
    /// When its subscribers knew the place last.
    placed_at: Duration,
    /// The shortest silence that one of its subscribers was promised.
    heartbeat: Duration,
    next: Next,
    members: usize,
}

impl Shared {
    pub(super) fn new(
        source: Box<dyn Source>,
        place: EventId<'static>,
        (key, spot): (Rc<[u8]>, Rc<Spot>),
        heartbeat: Duration,
        frame: Frame,
        now: Now,
    ) -> Self {
        Self {
            source,
            key,
            spot,
            ring: Ring::default(),
            batch: Batch::after(&place),
            frame,
            place: Rc::new(place),
            alias: None,
            placed_at: now.monotonic,
            heartbeat,
            next: Next::Change,
            members: 0,
        }
    }

    /// Reads on. What was brought is one more chunk; says whether there is one.
    pub fn poll(&mut self, now: Now) -> bool {
        let events_before = self.batch.events();
        self.next = self.source.poll(now, &mut self.batch);
        if self.batch.is_empty() {
            self.note_place();
            return false;
        }
        if self.batch.events() > events_before {
            self.placed_at = now.monotonic;
        } else if now.monotonic >= self.placed_at + self.heartbeat {
            // Comments break the silence, but tell no place.
            self.note_place();
            self.tell_place(now);
        }
        self.note_place();
        self.push(events_before);
        true
    }

    /// Tells the place, if records that were passed over have moved it since it was told
    /// last; says whether that made a chunk.
    pub fn beat(&mut self, now: Now) -> bool {
        let events_before = self.batch.events();
        let untold = !self.is_told();
        if untold {
            self.tell_place(now);
            self.push(events_before);
        }
        untold
    }

    /// It has been quiet for a while, and everybody has everything.
    pub fn rest(&mut self) {
        self.source.rest();
        self.batch.rest();
        self.ring.clear();
    }

    /// Whether who has fallen out of the ring can read by itself.
    #[must_use]
    pub fn can_go_back(&self) -> bool {
        self.source.can_go_back()
    }

    /// Why there is nothing to read; see [`Source::unavailable`].
    #[must_use]
    pub fn unavailable(&self) -> Option<Unavailable> {
        self.source.unavailable()
    }

    /// When it wants to be polled again.
    #[must_use]
    pub fn next(&self) -> Next {
        self.next
    }

    /// The chunks.
    #[must_use]
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// The place at the end of the ring.
    #[must_use]
    pub fn place(&self) -> &Rc<EventId<'static>> {
        &self.place
    }

    /// The place at the end of the ring by the name `place`, if that is one of its names.
    pub(super) fn named(&mut self, place: &EventId<'static>) -> Option<Rc<EventId<'static>>> {
        if *place == *self.place {
            return Some(Rc::clone(&self.place));
        }
        if !self.source.is_at(place) {
            return None;
        }
        if self.alias.as_deref() != Some(place) {
            self.alias = Some(Rc::new(place.clone()));
        }
        self.alias.clone()
    }

    /// Whether who has all chunks knows the place.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.batch.ends_at(&self.place)
    }

    pub(super) fn key(&self) -> &Rc<[u8]> {
        &self.key
    }

    /// What it was opened with.
    #[must_use]
    pub fn spot(&self) -> &Rc<Spot> {
        &self.spot
    }

    /// How many subscribers follow it.
    #[must_use]
    pub fn members(&self) -> usize {
        self.members
    }

    pub(super) fn enter(&mut self, heartbeat: Duration) {
        self.members += 1;
        self.heartbeat = self.heartbeat.min(heartbeat);
    }

    pub(super) fn leave(&mut self) {
        self.members -= 1;
    }

    fn note_place(&mut self) {
        if let Some(place) = self.source.position()
            && place != *self.place
        {
            self.place = Rc::new(place);
        }
    }

    fn tell_place(&mut self, now: Now) {
        if !self.is_told() {
            self.batch.id_only(&self.place);
        }
        self.placed_at = now.monotonic;
    }

    fn push(&mut self, events_before: u64) {
        let mut bytes = Vec::with_capacity(self.batch.as_bytes().len() + 8);
        (self.frame)(self.batch.as_bytes(), &mut bytes);
        self.ring.push(Chunk {
            bytes: bytes.into(),
            end: Rc::clone(&self.place),
            events: self.batch.events() - events_before,
        });
        self.batch.clear();
    }
}

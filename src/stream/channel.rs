//! Channel: the shared part of one stream, which is read and encoded once for all subscribers.

use std::rc::Rc;
use std::time::Duration;

use super::reopen::ReopenParams;
use super::ring::{Chunk, Ring};
use crate::event::{Batch, EventId, Unavailable};
use crate::source::{Changes, Next, Now, Source};

/// How long a channel must have been quiet before it releases the memory of a burst.
const QUIET: Duration = Duration::from_millis(100);

/// When the event loop polls a channel; the loop maintains these fields.
#[derive(Debug, Default)]
pub struct Scheduled {
    /// The deadline at which it is polled, if there is one. A deadline in the loop's timers
    /// that differs from this one is stale and is ignored.
    pub due: Option<Duration>,
    /// It is in the loop's queue already.
    pub is_queued: bool,
}

/// The result of a poll of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Polled {
    /// There is a new chunk, or the channel has ended: serve its waiting subscribers.
    pub has_news: bool,
    /// It has ended: the next subscriber opens a new channel.
    pub has_ended: bool,
    /// There is more: poll it again soon.
    pub has_more: bool,
    /// Poll it at this moment at the latest.
    pub at: Option<Duration>,
}

/// A source at the live end of its stream, its most recent chunks, and the subscribers that
/// wait for more.
///
/// It is polled only while a subscriber waits for the next chunk. So the fastest subscriber
/// sets the pace, and a slow subscriber costs nothing.
pub struct Channel {
    source: Box<dyn Source>,
    /// Reports changes of its file or its program.
    changes: Option<Rc<dyn Changes>>,
    key: Rc<[u8]>,
    reopen: Rc<ReopenParams>,
    ring: Ring,
    batch: Batch,
    /// The position at the ring's end.
    position: Rc<EventId<'static>>,
    /// Another id of a position at which a subscriber attached.
    alias: Option<Rc<EventId<'static>>>,
    /// When its position was sent to its subscribers last.
    position_sent_at: Duration,
    /// The shortest heartbeat of its subscribers.
    heartbeat: Duration,
    next: Next,
    members: usize,
    /// The numbers of the subscribers that have received everything. Those that have left are
    /// removed at the next fan-out.
    waiting: Vec<u64>,
    /// How many of these have left.
    waiting_gone: usize,
    /// Its file may have changed while no subscriber waited.
    is_stale: bool,
    /// It has sent a chunk since it released memory last.
    is_restless: bool,
    polled_at: Duration,
    /// The fields of the event loop.
    pub scheduled: Scheduled,
}

impl Channel {
    pub(super) fn new(
        source: Box<dyn Source>,
        position: EventId<'static>,
        (key, reopen): (Rc<[u8]>, Rc<ReopenParams>),
        heartbeat: Duration,
        now: Now,
    ) -> Self {
        Self {
            changes: source.changes(),
            source,
            key,
            reopen,
            ring: Ring::default(),
            batch: Batch::after(&position),
            position: Rc::new(position),
            alias: None,
            position_sent_at: now.monotonic,
            heartbeat,
            next: Next::Change,
            members: 0,
            waiting: Vec::new(),
            waiting_gone: 0,
            is_stale: false,
            is_restless: false,
            polled_at: now.monotonic,
            scheduled: Scheduled::default(),
        }
    }

    /// Reads the source. What it appends becomes one chunk.
    pub fn poll(&mut self, now: Now) -> Polled {
        self.is_stale = false;
        self.polled_at = now.monotonic;
        let has_chunk = self.read(now);
        if has_chunk {
            self.is_restless = true;
        } else if self.is_restless && self.waiting.len() - self.waiting_gone >= self.members {
            self.is_restless = false;
            self.release_memory();
        }
        let look = self.changes.as_ref().and_then(|c| c.look_again_after());
        let look_at = look.map(|after| now.monotonic + after);
        let asked_at = match self.next {
            Next::At(at) => Some(at),
            _ => None,
        };
        let quiet_at = self.is_restless.then_some(now.monotonic + QUIET);
        Polled {
            has_news: has_chunk || self.has_ended(),
            has_ended: self.has_ended(),
            has_more: self.next == Next::More,
            at: [look_at, asked_at, quiet_at].into_iter().flatten().min(),
        }
    }

    fn read(&mut self, now: Now) -> bool {
        let events_before = self.batch.events();
        self.next = self.source.poll(now, &mut self.batch);
        if self.batch.is_empty() {
            self.note_position();
            return false;
        }
        if self.batch.events() > events_before {
            self.position_sent_at = now.monotonic;
        } else if now.monotonic >= self.position_sent_at + self.heartbeat {
            // A comment ends a silence, but does not contain the position.
            self.note_position();
            self.send_position(now);
        }
        self.note_position();
        self.push(events_before);
        true
    }

    /// Sends the position to all subscribers, if filtered records have moved it since it was
    /// sent last. Returns whether that made a chunk.
    pub fn announce_position(&mut self, now: Now) -> bool {
        let events_before = self.batch.events();
        let is_unsent = !self.batch.ends_at(&self.position);
        if is_unsent {
            self.send_position(now);
            self.push(events_before);
        }
        is_unsent
    }

    fn release_memory(&mut self) {
        self.source.rest();
        self.batch.rest();
        self.ring.clear();
    }

    /// Its file, or its program, may have something new. Returns whether to poll it now. If no
    /// subscriber waits, it is polled when one does.
    pub fn note_change(&mut self) -> bool {
        self.is_stale = self.waiting.is_empty();
        !self.is_stale
    }

    /// Whether it changed while no subscriber waited.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// A subscriber has received everything and waits for the next chunk.
    pub fn wait(&mut self, subscriber: u64) {
        self.waiting.push(subscriber);
    }

    /// Whether the list of waiting subscribers contains so many that have left that it must be
    /// pruned.
    #[must_use]
    pub fn needs_pruning(&self) -> bool {
        self.waiting.len() > 2 * self.members + 64
    }

    /// Takes the list of waiting subscribers, to serve them or to prune it; the caller then
    /// calls [`Channel::put_back`] with those that have not left.
    pub fn take_waiting(&mut self) -> Vec<u64> {
        self.waiting_gone = 0;
        std::mem::take(&mut self.waiting)
    }

    /// Adds these waiting subscribers to those that began to wait in the meantime.
    pub fn put_back(&mut self, mut waiting: Vec<u64>) {
        waiting.append(&mut self.waiting);
        self.waiting = waiting;
    }

    /// Whether to poll the source before a heartbeat is sent to a subscriber with this
    /// interval, even if no change was reported.
    #[must_use]
    pub fn needs_look(&self, heartbeat: Duration, now: Now) -> bool {
        self.polled_at + heartbeat / 2 <= now.monotonic
    }

    /// Whether a subscriber that needs chunks that are no longer kept can read them by itself.
    #[must_use]
    pub fn can_go_back(&self) -> bool {
        self.source.can_go_back()
    }

    /// Why there is nothing to read; see [`Source::unavailable`].
    #[must_use]
    pub fn unavailable(&self) -> Option<Unavailable> {
        self.source.unavailable()
    }

    /// Appends the events that report it; see [`Source::report_unavailable`].
    pub fn report_unavailable(&self, out: &mut Batch) {
        self.source.report_unavailable(out);
    }

    /// Whether a subscriber that joins must be told something; see [`Source::has_told`].
    #[must_use]
    pub fn has_told(&self) -> bool {
        self.source.has_told()
    }

    /// Whether that is in this batch.
    #[must_use]
    pub fn has_told_in(&self, batch: &Batch) -> bool {
        let mut told = Batch::new();
        self.report_told(&mut told);
        memchr::memmem::find(batch.as_bytes(), told.as_bytes()).is_some()
    }

    /// Appends that; see [`Source::report_told`].
    pub fn report_told(&self, out: &mut Batch) {
        self.source.report_told(out);
    }

    /// Whether a client decides how much a poll costs; see [`Source::is_costly`].
    #[must_use]
    pub fn is_costly(&self) -> bool {
        self.source.is_costly()
    }

    /// Whether no more chunks will come.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.next == Next::End
    }

    /// The chunks.
    #[must_use]
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// The position at the end of the ring.
    #[must_use]
    pub fn position(&self) -> &Rc<EventId<'static>> {
        &self.position
    }

    /// The position at the end of the ring, if `position` is one of its ids.
    pub(super) fn position_called(
        &mut self,
        position: &EventId<'static>,
    ) -> Option<Rc<EventId<'static>>> {
        if *position == *self.position {
            return Some(Rc::clone(&self.position));
        }
        if !self.source.is_at(position) {
            return None;
        }
        if self.alias.as_deref() != Some(position) {
            self.alias = Some(Rc::new(position.clone()));
        }
        self.alias.clone()
    }

    pub(super) fn key(&self) -> &Rc<[u8]> {
        &self.key
    }

    /// The parameters with which its source can be reopened.
    #[must_use]
    pub fn reopen_params(&self) -> &Rc<ReopenParams> {
        &self.reopen
    }

    /// Reports changes of its source.
    #[must_use]
    pub fn changes(&self) -> Option<&Rc<dyn Changes>> {
        self.changes.as_ref()
    }

    /// The number of its live subscribers.
    #[must_use]
    pub fn members(&self) -> usize {
        self.members
    }

    pub(super) fn add_member(&mut self, heartbeat: Duration) {
        self.members += 1;
        self.heartbeat = self.heartbeat.min(heartbeat);
    }

    pub(super) fn remove_member(&mut self, is_waiting: bool) {
        self.members -= 1;
        self.waiting_gone += usize::from(is_waiting);
    }

    fn note_position(&mut self) {
        if let Some(position) = self.source.position() {
            if position != *self.position {
                self.position = Rc::new(position);
            }
        }
    }

    fn send_position(&mut self, now: Now) {
        if !self.batch.ends_at(&self.position) {
            self.batch.place(&self.position);
        }
        self.position_sent_at = now.monotonic;
    }

    fn push(&mut self, events_before: u64) {
        let events = self.batch.events() - events_before;
        let bytes = self.batch.as_bytes().into();
        self.ring
            .push(Chunk::new(bytes, Rc::clone(&self.position), events));
        self.batch.clear();
    }
}

//! Member: one stream of several, with its source and what it has not relayed yet.

use std::rc::Rc;
use std::time::Duration;

use super::LOOK_AFTER;
use super::open::{Failure, open_member};
use super::places::Packing;
use super::relay::Relay;
use crate::event::{Batch, EventId, Position, Unavailable};
use crate::request::{LastId, NamedStream, Request};
use crate::source::{Changes, Host, Next, Now, Opened, Source, Stream};

/// When a stream that has failed is opened again: at first, and at most.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What a member does.
pub(super) enum State {
    Open(Box<dyn Source>),
    /// It is opened again at this time.
    Failed(Duration),
    /// It has ended with its `close`.
    Closed,
    /// It is sent no further.
    Stopped,
}

/// One stream of several.
pub(super) struct Member {
    pub(super) named: Rc<NamedStream>,
    pub(super) stream: &'static Stream,
    pub(super) packing: Packing,
    pub(super) relay: Relay,
    pub(super) state: State,
    changes: Option<Rc<dyn Changes>>,
    /// The number of changes that had been reported before the last poll.
    seen_changes: Option<u64>,
    polled_at: Option<Duration>,
    next: Next,
    /// What its source has appended, and how much of that has been relayed.
    batch: Batch,
    relayed_bytes: usize,
    /// Its source has had nothing in this poll of all.
    pub(super) is_quiet: bool,
    /// Its `close` has been relayed.
    pub(super) has_closed: bool,
    /// What its clients have been told: the data of `unavailable`, since it has nothing to serve.
    pub(super) told: Option<Vec<u8>>,
    /// Why it could not be opened, until the client is told.
    pub(super) untold: Option<Unavailable>,
    again_after: Duration,
}

impl Member {
    /// A member that is not open yet.
    pub(super) fn new(
        named: Rc<NamedStream>,
        stream: &'static Stream,
        packing: Packing,
        relay: Relay,
    ) -> Self {
        Self {
            named,
            stream,
            packing,
            relay,
            state: State::Failed(Duration::ZERO),
            changes: None,
            seen_changes: None,
            polled_at: None,
            next: Next::More,
            batch: Batch::new(),
            relayed_bytes: 0,
            is_quiet: false,
            has_closed: false,
            told: None,
            untold: None,
            again_after: AGAIN.0,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.named.name
    }

    /// Its source, its gap if it begins with one, or why there is none.
    pub(super) fn begin(&mut self, opened: Result<Opened, &Failure>, now: Now) {
        self.batch = Batch::new();
        self.relayed_bytes = 0;
        self.polled_at = None;
        self.next = Next::More;
        match opened {
            Ok(Opened::Stream(source, gap)) => {
                if let Some(gap) = gap {
                    self.batch.gap(&gap, source.position());
                }
                self.changes = source.changes();
                self.state = State::Open(source);
            }
            Ok(Opened::Finished) => self.state = State::Closed,
            Err(failure) => {
                if self.told.is_none() {
                    self.untold = Some(failure.reason);
                }
                self.fail(now);
            }
        }
    }

    fn fail(&mut self, now: Now) {
        self.changes = None;
        self.state = State::Failed(now.monotonic + self.again_after);
        self.again_after = (self.again_after * 2).min(AGAIN.1);
    }

    /// Opens it again at the position that its clients have.
    pub(super) fn reopen(
        &mut self,
        position: Option<Position>,
        request: &Request,
        now: Now,
        host: &Rc<dyn Host>,
    ) {
        let id = position.and_then(|position| self.packing.unpack(position));
        let last_id = id.map_or(LastId::None, LastId::Given);
        match open_member(self.stream, &self.named, last_id, true, request, now, host) {
            Ok(opened) => self.begin(Ok(opened), now),
            Err(failure) => self.begin(Err(&failure), now),
        }
    }

    /// Its client is told why, and nothing more of it.
    pub(super) fn stop(&mut self, reason: Unavailable, out: &mut Batch) {
        self.state = State::Stopped;
        self.changes = None;
        self.drop_pending();
        self.tell(reason, out);
    }

    /// Tells its clients that it has nothing to serve.
    pub(super) fn tell(&mut self, reason: Unavailable, out: &mut Batch) {
        self.relay.unavailable(reason, out);
        self.told = Some(reason.to_string().into_bytes());
    }

    /// What its clients were told, if that is still so.
    pub(super) fn still_told(&self) -> Option<&[u8]> {
        let is_so = match &self.state {
            State::Open(source) => source.unavailable().is_some(),
            State::Failed(_) | State::Stopped => true,
            State::Closed => false,
        };
        self.told.as_deref().filter(|_| is_so)
    }

    /// Whether it has ended with its `close`.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Whether everything that its source has appended has been relayed.
    pub(super) fn is_drained(&self) -> bool {
        self.pending().is_empty()
    }

    /// What has not been relayed.
    pub(super) fn pending(&self) -> &[u8] {
        &self.batch.as_bytes()[self.relayed_bytes..]
    }

    /// This many bytes have been relayed.
    pub(super) fn take(&mut self, bytes: usize) {
        self.relayed_bytes += bytes;
        if self.is_drained() {
            self.drop_pending();
        }
    }

    pub(super) fn drop_pending(&mut self) {
        self.relayed_bytes = 0;
        self.batch.clear();
    }

    /// Whether its source may have something.
    pub(super) fn is_due(&self, now: Now) -> bool {
        let State::Open(_) = self.state else {
            return false;
        };
        let Some(polled_at) = self.polled_at else {
            return true;
        };
        let is_time = match self.next {
            Next::More => true,
            Next::At(at) => now.monotonic >= at,
            Next::Change | Next::End => false,
        };
        let reported = self.changes.as_ref().map(|changes| changes.reported());
        let has_changed = reported.is_some_and(|reported| {
            // If not every change is reported, there may be one.
            reported.is_none() || reported != self.seen_changes
        });
        is_time || has_changed || now.monotonic >= polled_at + LOOK_AFTER
    }

    /// Lets its source append a slice.
    pub(super) fn poll(&mut self, now: Now, slice_bytes: usize) {
        let State::Open(source) = &mut self.state else {
            return;
        };
        self.seen_changes = self.changes.as_ref().and_then(|changes| changes.reported());
        self.polled_at = Some(now.monotonic);
        self.batch.limit(slice_bytes as u64);
        self.next = source.poll(now, &mut self.batch);
    }

    /// Whether matching records has cost as much as one turn may.
    pub(super) fn has_spent_turn(&self) -> bool {
        self.batch.has_spent_turn()
    }

    /// The position of its source.
    pub(super) fn position(&self) -> Option<EventId<'static>> {
        match &self.state {
            State::Open(source) => source.position(),
            _ => None,
        }
    }

    /// Whether its position is not known yet.
    pub(super) fn is_searching(&self) -> bool {
        match &self.state {
            State::Open(source) => self.is_drained() && source.position().is_none(),
            _ => false,
        }
    }

    /// Whether this is its position, under any of its ids.
    pub(super) fn is_at(&self, position: Position) -> bool {
        let State::Open(source) = &self.state else {
            return false;
        };
        let id = self.packing.unpack(position);
        self.is_drained() && id.is_some_and(|id| source.is_at(&id))
    }

    /// Everything has been relayed: closes it if its source has ended. Returns whether it has.
    pub(super) fn end_if_ended(&mut self, now: Now) -> bool {
        if self.next != Next::End || !matches!(self.state, State::Open(_)) {
            if self.position().is_some() {
                self.again_after = AGAIN.0;
            }
            return false;
        }
        match self.has_closed {
            true => self.state = State::Closed,
            false => self.fail(now),
        }
        true
    }

    /// When it must be polled next.
    pub(super) fn next(&self, now: Now) -> Next {
        match self.state {
            State::Open(_) if !self.is_drained() => Next::More,
            // (It has been closed or has failed when its end was relayed.)
            State::Open(_) => match self.next {
                Next::At(at) => Next::At(at.max(now.monotonic)),
                next => next,
            },
            State::Failed(at) => Next::At(at),
            State::Closed | State::Stopped => Next::Change,
        }
    }

    /// Why there is nothing to read, if its clients have not been told.
    pub(super) fn unavailable(&self) -> Option<Unavailable> {
        match &self.state {
            State::Open(source) if self.told.is_none() => source.unavailable(),
            _ => None,
        }
    }

    pub(super) fn changes(&self) -> Option<Rc<dyn Changes>> {
        self.changes.clone()
    }

    pub(super) fn is_costly(&self) -> bool {
        match &self.state {
            State::Open(source) => source.is_costly(),
            _ => false,
        }
    }

    pub(super) fn rest(&mut self) {
        if let State::Open(source) = &mut self.state {
            source.rest();
        }
        self.batch.rest();
    }
}

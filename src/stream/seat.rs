//! One subscriber of many: alone with a source of its own until it has caught up, then
//! among others.

use std::rc::Rc;
use std::time::Duration;

use super::{Subscription, Terms, Turn};
use crate::event::{Batch, EventId, Gap, Reason, Unavailable};
use crate::request::{Absent, Heartbeat, LastId, Request, Settings};
use crate::source::{Now, OpenError, Opened, Opening, Source, Stream, World};

/// What a stream is opened with when a subscriber has to read it by itself again.
pub struct Spot {
    stream: &'static Stream,
    settings: Settings,
    request: Request,
}

impl Spot {
    /// Who is connected has not been away: no limit holds for how far behind it is, and
    /// a file that is gone will come again.
    #[must_use]
    pub fn new(stream: &'static Stream, settings: &Settings, request: &Request) -> Self {
        let settings = Settings {
            replay_bytes: u64::MAX,
            absent: Absent::Awaited,
            ..settings.clone()
        };
        Self {
            stream,
            settings,
            request: request.clone(),
        }
    }

    /// The stream's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.stream.name
    }

    fn open_at(
        &self,
        place: &EventId<'_>,
        live: Option<&EventId<'static>>,
        now: Now,
        world: &Rc<dyn World>,
    ) -> Result<Opened, OpenError> {
        let last_id = EventId::from_bytes(place.as_bytes()).map_or(LastId::None, LastId::Given);
        let request = Request {
            last_id,
            ..self.request.clone()
        };
        (self.stream.open)(&Opening {
            settings: &self.settings,
            request: &request,
            now,
            world,
            live,
        })
    }
}

/// A subscriber.
pub struct Seat {
    pub(super) place: Place,
    pub(super) terms: Terms,
    opened_at: Duration,
    last_sent_at: Duration,
    /// Of one among others: when it was sent an event last.
    last_event_at: Duration,
    /// Of one among others: when to tell it that there is nothing to read, if that is
    /// still so.
    notice_at: Option<Duration>,
    /// Records that were passed over have moved its place since it was told it.
    is_untold: bool,
}

pub(super) enum Place {
    /// It reads by itself.
    Own(Box<Own>),
    /// It gets what a shared stream says.
    Among(Among),
}

/// A subscriber that reads by itself.
pub(super) struct Own {
    pub(super) subscription: Subscription,
    pub(super) batch: Batch,
    /// The key of the stream that it can join, and what that is opened with; `None` for
    /// one that nobody shares.
    pub(super) share: Option<(Rc<[u8]>, Rc<Spot>)>,
    /// The place of the others, which it has just passed: the stream, the chunk that comes
    /// next, and its id.
    pub(super) passed: Option<(usize, u64, Rc<EventId<'static>>)>,
}

/// A subscriber of a shared stream: a cursor in it.
pub(super) struct Among {
    pub(super) stream: usize,
    /// The number of the chunk that it gets next.
    pub(super) next: u64,
    /// The place before that chunk.
    pub(super) at: Rc<EventId<'static>>,
    key: Rc<[u8]>,
}

impl Seat {
    /// A stream that opens with `head`, the bytes of the response head.
    #[must_use]
    pub fn new(
        share: Option<(Rc<[u8]>, Rc<Spot>)>,
        subscription: Subscription,
        head: &[u8],
        now: Now,
    ) -> Self {
        let mut batch = Batch::new();
        batch.head(head);
        let terms = subscription.terms();
        // A client with a limit of its own gets batches of its own, where there can be some.
        let has_others_batches = terms.size_limit_bytes.is_none() || !subscription.can_go_back();
        let share = share.filter(|_| has_others_batches);
        Self {
            place: Place::Own(Box::new(Own {
                subscription,
                batch,
                share,
                passed: None,
            })),
            terms,
            opened_at: now.monotonic,
            last_sent_at: now.monotonic,
            last_event_at: now.monotonic,
            notice_at: None,
            is_untold: false,
        }
    }

    /// What it has been promised.
    #[must_use]
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// When it opened ([`Now::monotonic`]).
    #[must_use]
    pub fn opened_at(&self) -> Duration {
        self.opened_at
    }

    /// The moment at which silence has lasted long enough.
    #[must_use]
    pub fn silent_at(&self) -> Duration {
        let since = match self.terms.heartbeat_form {
            Heartbeat::Comment => self.last_sent_at,
            Heartbeat::Event => self.last_event_at,
        };
        since + self.terms.heartbeat
    }

    /// Of one among others: the moment at which to call [`Seat::notice`].
    #[must_use]
    pub fn notice_at(&self) -> Option<Duration> {
        self.notice_at
    }

    /// Of one among others: tells it once that there is nothing to read, if that has
    /// lasted. `reason` is the shared stream's.
    pub fn notice(&mut self, reason: Option<Unavailable>, now: Now, out: &mut Batch) {
        let is_due = self.notice_at.is_some_and(|at| now.monotonic >= at);
        if reason.is_some() && !is_due {
            return;
        }
        self.notice_at = None;
        if let Some(reason) = reason {
            out.unavailable(reason);
            self.last_sent_at = now.monotonic;
            self.last_event_at = now.monotonic;
        }
    }

    /// The moment at which it has lasted long enough itself.
    #[must_use]
    pub fn aged_at(&self) -> Option<Duration> {
        self.terms.max_age.map(|age| self.opened_at + age)
    }

    /// Whether it reads by itself.
    #[must_use]
    pub fn is_own(&self) -> bool {
        matches!(self.place, Place::Own(_))
    }

    /// The shared stream that it gets, and the chunk that it gets next.
    #[must_use]
    pub fn among(&self) -> Option<(usize, u64)> {
        match &self.place {
            Place::Among(among) => Some((among.stream, among.next)),
            Place::Own(_) => None,
        }
    }

    /// Whether it reads by itself what others share: it is catching up.
    #[must_use]
    pub fn is_catching_up(&self) -> bool {
        self.key().is_some() && self.is_own()
    }

    /// The key of the stream that it shares or can share.
    #[must_use]
    pub fn key(&self) -> Option<&Rc<[u8]>> {
        match &self.place {
            Place::Own(own) => own.share.as_ref().map(|(key, _)| key),
            Place::Among(among) => Some(&among.key),
        }
    }

    /// Of one that reads by itself: what is due. [`Seat::own_bytes`] are to be sent, and
    /// then [`Seat::own_sent`] called, before the next poll.
    pub fn poll_own(&mut self, now: Now) -> Option<Turn> {
        match &mut self.place {
            Place::Own(own) => Some(own.subscription.poll(now, &mut own.batch)),
            Place::Among(_) => None,
        }
    }

    /// What the last poll has brought.
    #[must_use]
    pub fn own_bytes(&self) -> &[u8] {
        match &self.place {
            Place::Own(own) => own.batch.as_bytes(),
            Place::Among(_) => b"",
        }
    }

    /// Takes its place among the others that it has passed; see
    /// [`super::Hub::join_in_passing`].
    pub fn join_passed(&mut self) {
        if let Place::Own(own) = &mut self.place
            && let Some((stream, next, at)) = own.passed.take()
            && let Some((key, _)) = own.share.clone()
        {
            self.join(stream, next, at, key);
        }
    }

    /// How many events one that reads by itself has brought so far.
    #[must_use]
    pub fn own_events(&self) -> u64 {
        match &self.place {
            Place::Own(own) => own.batch.events(),
            Place::Among(_) => 0,
        }
    }

    /// What [`Seat::poll_own`] brought is on its way.
    pub fn own_sent(&mut self, now: Now) {
        self.last_sent_at = now.monotonic;
        if let Place::Own(own) = &mut self.place {
            own.subscription.sent(now, own.batch.as_bytes().len());
            own.batch.clear();
            own.batch.rest();
        }
    }

    /// Of one among others: so many chunks, the last one ending at `end`, are on their
    /// way, with so many events in them.
    pub fn passed(&mut self, chunks: u64, events: u64, end: &Rc<EventId<'static>>, now: Now) {
        self.last_sent_at = now.monotonic;
        if events > 0 {
            self.last_event_at = now.monotonic;
        }
        self.is_untold = false;
        if let Place::Among(among) = &mut self.place {
            among.next += chunks;
            among.at = Rc::clone(end);
        }
    }

    /// Of one among others that has fallen out of the ring of a stream that cannot go
    /// back: it goes on where the stream is. Appends the gap.
    pub fn skip(&mut self, shared: &super::Shared, now: Now, out: &mut Batch) {
        if let Place::Among(among) = &mut self.place {
            among.next = shared.ring().next();
            among.at = Rc::clone(shared.place());
            out.gap(&Gap::new(Reason::Expired), Some((*among.at).clone()));
            self.is_untold = false;
            self.last_sent_at = now.monotonic;
            self.last_event_at = now.monotonic;
        }
    }

    /// Of one among others: it has been silent for long enough. Appends its place, if it
    /// has to be told that, and a sign of life.
    pub fn beat(&mut self, now: Now, out: &mut Batch) {
        if let Some(place) = self.untold() {
            out.id_only(place);
        }
        match self.terms.heartbeat_form {
            Heartbeat::Comment if !out.is_empty() => {}
            Heartbeat::Comment => out.comment(b""),
            Heartbeat::Event => {
                out.heartbeat(self.terms.heartbeat);
                self.last_event_at = now.monotonic;
            }
        }
        self.last_sent_at = now.monotonic;
        self.is_untold = false;
    }

    /// The place that it has to be told, since what it was sent has none.
    #[must_use]
    pub fn untold(&self) -> Option<&EventId<'static>> {
        match &self.place {
            Place::Among(among) if self.is_untold => Some(&among.at),
            _ => None,
        }
    }

    /// Reads by itself from where it is: it has fallen out of the ring, or its source has
    /// to be another one. Call [`super::Hub::leave`] before, if it was among others.
    ///
    /// # Errors
    /// As opening a stream does. Then it is as before.
    pub fn read_by_itself(
        &mut self,
        spot: &Rc<Spot>,
        live: Option<&EventId<'static>>,
        now: Now,
        world: &Rc<dyn World>,
    ) -> Result<(), OpenError> {
        let place = match &self.place {
            Place::Own(own) => own.subscription.position(),
            Place::Among(among) => Some((*among.at).clone()),
        };
        let Some(place) = place else {
            return Ok(());
        };
        let (source, gap) = match spot.open_at(&place, live, now, world)? {
            Opened::Stream(source, gap) => (source, gap),
            // A stream that has a place has no end.
            Opened::Finished => return Err(OpenError::NotFound),
        };
        let subscription = Subscription::resumed(source, gap, self.terms, self.opened_at, now)
            .with_last_event_at(match &self.place {
                Place::Own(own) => own.subscription.last_event_at(),
                Place::Among(_) => self.last_event_at,
            });
        let share = self.key().map(|key| (Rc::clone(key), Rc::clone(spot)));
        self.place = Place::Own(Box::new(Own {
            subscription,
            batch: if self.is_untold {
                Batch::new()
            } else {
                Batch::after(&place)
            },
            share,
            passed: None,
        }));
        Ok(())
    }

    /// What it was opened with, while it reads by itself.
    #[must_use]
    pub fn spot(&self) -> Option<&Rc<Spot>> {
        match &self.place {
            Place::Own(own) => own.share.as_ref().map(|(_, spot)| spot),
            Place::Among(_) => None,
        }
    }

    /// Takes its place among others, and gives its source away.
    pub(super) fn join(
        &mut self,
        stream: usize,
        next: u64,
        at: Rc<EventId<'static>>,
        key: Rc<[u8]>,
    ) -> Option<Box<dyn Source>> {
        let among = Place::Among(Among {
            stream,
            next,
            at: Rc::clone(&at),
            key,
        });
        match std::mem::replace(&mut self.place, among) {
            Place::Own(own) => {
                self.is_untold = !own.batch.ends_at(&at);
                self.last_event_at = own.subscription.last_event_at();
                self.notice_at = own.subscription.notice_at();
                Some(own.subscription.into_source())
            }
            Place::Among(_) => None,
        }
    }
}

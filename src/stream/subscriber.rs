//! Subscriber: one client of a stream, which first catches up with a source of its own and then
//! is live.

use std::rc::Rc;
use std::time::Duration;

use super::channel::Channel;
use super::reopen::ReopenParams;
use super::{Ended, StreamParams, Subscription};
use crate::event::{Batch, EventId, Gap, Reason};
use crate::request::Heartbeat;
use crate::source::{Changes, Host, Now, OpenError, Opened, Source};

/// A subscriber.
pub struct Subscriber {
    pub(super) state: State,
    pub(super) params: StreamParams,
    opened_at: Duration,
    last_sent_at: Duration,
    /// While it is live: when it was sent an event last, including heartbeats.
    last_event_at: Duration,
    /// While it is live: when to tell its client that there is nothing to read, if that is
    /// still the case.
    notice_at: Option<Duration>,
    /// It joined a channel whose subscribers know something that its client must be told.
    is_owed_notice: bool,
    /// Filtered records have moved its position; the client has not been sent the new id.
    has_unsent_id: bool,
}

pub(super) enum State {
    CatchingUp(Box<CatchingUp>),
    Live(Live),
}

/// It reads by itself. A subscriber that cannot share a channel does so until its end.
pub(super) struct CatchingUp {
    pub(super) subscription: Subscription,
    pub(super) batch: Batch,
    /// The key of the channel that it can attach to, and the parameters with which that is
    /// opened.
    pub(super) share: Option<(Rc<[u8]>, Rc<ReopenParams>)>,
    /// Whether changes of its source wake it.
    pub(super) watching: Watching,
    /// The number of failed attempts in a row to attach.
    pub(super) attempts: u32,
}

/// A position in a channel.
pub(super) struct Attachment {
    pub(super) channel: usize,
    /// The number of the chunk that comes next.
    pub(super) next: u64,
    /// The position before that chunk.
    pub(super) at: Rc<EventId<'static>>,
    pub(super) key: Rc<[u8]>,
}

/// Its cursor in the channel.
pub(super) type Live = Attachment;

/// Whether changes of what a subscriber reads by itself wake it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watching {
    /// They wake it.
    Own,
    /// They do not: the channel of the same key watches the file, and the subscriber attaches
    /// to it before it has to wait.
    ByChannel,
}

impl Subscriber {
    /// A subscriber whose stream begins with `head`, the bytes of the response head. `share` is
    /// the key of the channel that it may attach to, and how its source is opened again.
    #[must_use]
    pub fn new(
        share: Option<(Rc<[u8]>, Rc<ReopenParams>)>,
        subscription: Subscription,
        watching: Watching,
        head: &[u8],
        now: Now,
    ) -> Self {
        let mut batch = Batch::new();
        batch.head(head);
        let params = subscription.params();
        // A client with a size limit gets batches of its own, if the source can be read again.
        let can_share = params.size_limit_bytes.is_none() || !subscription.can_go_back();
        Self {
            state: State::CatchingUp(Box::new(CatchingUp {
                subscription,
                batch,
                share: share.filter(|_| can_share),
                watching,
                attempts: 0,
            })),
            params,
            opened_at: now.monotonic,
            last_sent_at: now.monotonic,
            last_event_at: now.monotonic,
            notice_at: None,
            is_owed_notice: false,
            has_unsent_id: false,
        }
    }

    /// Its stream's parameters.
    #[must_use]
    pub fn params(&self) -> &StreamParams {
        &self.params
    }

    /// When it opened ([`Now::monotonic`]).
    #[must_use]
    pub fn opened_at(&self) -> Duration {
        self.opened_at
    }

    /// When the next heartbeat is due.
    #[must_use]
    pub fn heartbeat_at(&self) -> Duration {
        let since = match self.params.heartbeat_form {
            Heartbeat::Comment => self.last_sent_at,
            // Its page sees only events, not comments.
            Heartbeat::Event => self.last_event_at,
        };
        since + self.params.heartbeat
    }

    /// While it is live: when to call [`Self::notice`].
    #[must_use]
    pub fn notice_at(&self) -> Option<Duration> {
        match self.is_owed_notice {
            true => Some(self.opened_at),
            false => self.notice_at,
        }
    }

    /// While it is live: tells its client once that there is nothing to read, if that has
    /// lasted. `channel` is the one that it is live in.
    pub fn notice(&mut self, channel: &Channel, out: &mut Batch, now: Now) {
        if std::mem::take(&mut self.is_owed_notice) {
            channel.report_told(out);
            self.last_sent_at = now.monotonic;
            self.last_event_at = now.monotonic;
        }
        let Some(at) = self.notice_at else { return };
        let reason = channel.unavailable();
        if reason.is_some() && now.monotonic < at {
            return;
        }
        self.notice_at = None;
        if reason.is_some() {
            channel.report_unavailable(out);
            self.last_sent_at = now.monotonic;
            self.last_event_at = now.monotonic;
        }
    }

    /// While it is live: tells its client once, in time, that its access ends.
    pub fn tell_expiry(&mut self, out: &mut Batch, now: Now) {
        if self.params.tell_expiry(now, out) {
            self.last_sent_at = now.monotonic;
            self.last_event_at = now.monotonic;
        }
    }

    /// Why its stream ends now, if it does.
    #[must_use]
    pub fn ends(&self, now: Now) -> Option<Ended> {
        if self.params.has_expired(now) {
            return Some(Ended::Expired);
        }
        let is_aged = self.aged_at().is_some_and(|at| now.monotonic >= at);
        is_aged.then_some(Ended::Aged)
    }

    /// While it is live: the time of the next thing that its clock alone brings, besides
    /// heartbeats.
    #[must_use]
    pub fn due_at(&self) -> Option<Duration> {
        let expiry_at = self.params.expiry.map(|expiry| expiry.next_at());
        [self.aged_at(), self.notice_at, expiry_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// When it reaches its maximum age.
    #[must_use]
    pub fn aged_at(&self) -> Option<Duration> {
        self.params.max_age.map(|age| self.opened_at + age)
    }

    /// The channel that it is live in, and the number of the next chunk that it receives.
    #[must_use]
    pub fn live(&self) -> Option<(usize, u64)> {
        match &self.state {
            State::Live(live) => Some((live.channel, live.next)),
            State::CatchingUp(_) => None,
        }
    }

    /// Whether it reads by itself what others share.
    #[must_use]
    pub fn is_catching_up(&self) -> bool {
        match &self.state {
            State::CatchingUp(own) => own.share.is_some(),
            State::Live(_) => false,
        }
    }

    /// Whether it reads by itself and its client determines how much that costs.
    #[must_use]
    pub fn is_costly(&self) -> bool {
        match &self.state {
            State::CatchingUp(own) => own.subscription.is_costly(),
            State::Live(_) => false,
        }
    }

    /// The key of the channel that it shares or could share.
    #[must_use]
    pub fn key(&self) -> Option<&Rc<[u8]>> {
        match &self.state {
            State::CatchingUp(own) => own.share.as_ref().map(|(key, _)| key),
            State::Live(live) => Some(&live.key),
        }
    }

    /// Reports changes of the source that it reads by itself.
    #[must_use]
    pub fn changes(&self) -> Option<Rc<dyn Changes>> {
        match &self.state {
            State::CatchingUp(own) => own.subscription.changes(),
            State::Live(_) => None,
        }
    }

    /// While it catches up: its batch has been handed to the connection.
    pub(super) fn batch_sent(&mut self, now: Now) {
        self.last_sent_at = now.monotonic;
        if let State::CatchingUp(own) = &mut self.state {
            own.subscription.sent(now, own.batch.as_bytes().len());
            own.batch.clear();
            own.batch.rest();
        }
    }

    /// While it is live: this many chunks with this many events have been given to the
    /// connection; the last one ends at `end`.
    pub fn chunks_sent(&mut self, chunks: u64, events: u64, end: &Rc<EventId<'static>>, now: Now) {
        self.last_sent_at = now.monotonic;
        if events > 0 {
            self.last_event_at = now.monotonic;
        }
        self.has_unsent_id = false;
        if let State::Live(live) = &mut self.state {
            live.next += chunks;
            live.at = Rc::clone(end);
        }
    }

    /// Skips what its channel no longer keeps, if that cannot be read again, and continues at
    /// the channel's position. Appends the gap.
    pub fn skip(&mut self, channel: &Channel, out: &mut Batch, now: Now) {
        if let State::Live(live) = &mut self.state {
            live.next = channel.ring().next();
            live.at = Rc::clone(channel.position());
            out.gap(&Gap::new(Reason::Expired), Some((*live.at).clone()));
            self.last_sent_at = now.monotonic;
            self.last_event_at = now.monotonic;
            self.has_unsent_id = false;
        }
    }

    /// While it is live and silent: appends the id that the client has not been sent yet,
    /// if there is one, and a heartbeat.
    pub fn heartbeat(&mut self, out: &mut Batch, now: Now) {
        if let Some(id) = self.unsent_id() {
            out.place(id);
        }
        match self.params.heartbeat_form {
            Heartbeat::Comment if !out.is_empty() => {}
            Heartbeat::Comment => out.comment(b""),
            Heartbeat::Event => {
                out.heartbeat(self.params.heartbeat);
                self.last_event_at = now.monotonic;
            }
        }
        self.last_sent_at = now.monotonic;
        self.has_unsent_id = false;
    }

    /// Its position, if the client has not been sent it.
    #[must_use]
    pub fn unsent_id(&self) -> Option<&EventId<'static>> {
        match &self.state {
            State::Live(live) if self.has_unsent_id => Some(&live.at),
            _ => None,
        }
    }

    /// Reads by itself from its position, because its channel no longer keeps what it needs, or
    /// because changes must wake it from now on.
    ///
    /// # Errors
    /// The errors of opening a stream. On an error it is unchanged.
    pub(super) fn reopen(
        &mut self,
        params: &Rc<ReopenParams>,
        live: Option<&EventId<'static>>,
        watching: Watching,
        now: Now,
        host: &Rc<dyn Host>,
    ) -> Result<(), OpenError> {
        let position = match &self.state {
            State::CatchingUp(own) => own.subscription.position(),
            State::Live(live) => Some((*live.at).clone()),
        };
        let Some(position) = position else {
            return Ok(());
        };
        let (source, gap) = match params.open_at(&position, live, now, host)? {
            Opened::Stream(source, gap) => (source, gap),
            // A stream that has a position has not finished.
            Opened::Finished => return Err(OpenError::NotFound),
        };
        let subscription = Subscription::resumed(source, gap, self.params, self.opened_at, now)
            .with_last_event_at(match &self.state {
                State::CatchingUp(own) => own.subscription.last_event_at(),
                State::Live(_) => self.last_event_at,
            });
        let share = self.key().map(|key| (Rc::clone(key), Rc::clone(params)));
        self.state = State::CatchingUp(Box::new(CatchingUp {
            subscription,
            batch: if self.has_unsent_id {
                Batch::new()
            } else {
                Batch::after(&position)
            },
            share,
            watching,
            attempts: 0,
        }));
        Ok(())
    }

    /// Becomes live in a channel that others have. Its client is told what they know, unless it
    /// `knows`.
    pub(super) fn join(&mut self, at: Attachment, channel: &Channel, knows: bool) {
        self.go_live(at);
        self.is_owed_notice = channel.has_told() && !knows;
    }

    /// Becomes live, and returns its source.
    pub(super) fn go_live(&mut self, at: Attachment) -> Option<Box<dyn Source>> {
        let position = Rc::clone(&at.at);
        match std::mem::replace(&mut self.state, State::Live(at)) {
            State::CatchingUp(own) => {
                self.has_unsent_id = !own.batch.ends_at(&position);
                self.params = own.subscription.params();
                self.last_event_at = own.subscription.last_event_at();
                self.notice_at = own.subscription.notice_at();
                Some(own.subscription.into_source())
            }
            State::Live(_) => None,
        }
    }
}

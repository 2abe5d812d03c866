//! All channels, and how subscribers attach to them.
//!
//! ```text
//!             ┌────── the ring no longer keeps what it needs ◄──────┐
//!             ▼                                                     │
//!  open ─► catching up ── its position is in the ring ──► live: a cursor
//!             │                                                     ▲
//!             └── no channel has its key: its source leads one ─────┘
//! ```
//!
//! A subscriber reads by itself until its position equals that of the channel with its key.
//! Then it drops its source: both positions are in the same file, and the same records follow
//! equal positions. So nothing is lost or repeated, and memory does not grow with how far a
//! subscriber is behind.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use slab::Slab;

use super::channel::Channel;
use super::subscriber::{Attachment, State, Subscriber, Watching};
use super::{Ended, Turn};
use crate::event::EventId;
use crate::source::{Host, Now, OpenError};

/// Attach attempts in a row before a subscriber waits for the next change.
const ATTEMPTS_MAX: u32 = 8;

/// The channels, by their keys and by numbers.
#[derive(Default)]
pub struct Channels {
    channels: Slab<Channel>,
    by_key: HashMap<Rc<[u8]>, usize>,
}

/// The result of a turn of a subscriber that catches up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaughtUp {
    /// The number of events that it was sent.
    pub events: u64,
    /// What it needs next.
    pub next: CatchUp,
}

/// What a subscriber that catches up needs after its batch has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// Another turn.
    Again,
    /// Another turn at this time, or when there is a change.
    At(Duration),
    /// It is live in this channel.
    Live(usize),
    /// It is live in this new channel, which has taken over its source. Poll the channel: only
    /// its source knows when it must be polled next.
    Leads(usize),
    /// The channel of its key is at another position. Poll the channel, and give the subscriber
    /// another turn soon, at this time at the latest.
    Elsewhere {
        /// The channel of its key.
        channel: usize,
        /// When it needs a turn at the latest.
        at: Duration,
    },
    /// The subscriber must watch its file by itself, because no channel of its key is left that
    /// would, or because it does not reach the position of that channel: reopen it
    /// ([`Channels::reopen`]).
    Unwatched(Duration),
    /// Its stream has ended.
    End(Ended),
}

/// The result of an attempt to attach.
enum Attached {
    Live(usize),
    Leads(usize),
    Elsewhere(usize),
    /// It cannot share its source, or not from its position.
    Alone,
}

impl Channels {
    /// No channel yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a channel of this key exists that new subscribers attach to.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.by_key.contains_key(key)
    }

    /// The position of the channel of this key.
    #[must_use]
    pub fn position(&self, key: &[u8]) -> Option<Rc<EventId<'static>>> {
        let channel = self.by_key.get(key)?;
        Some(Rc::clone(self.channels[*channel].position()))
    }

    /// The channel of this number.
    #[must_use]
    pub fn get(&self, channel: usize) -> Option<&Channel> {
        self.channels.get(channel)
    }

    /// The channel of this number, mutable.
    pub fn get_mut(&mut self, channel: usize) -> Option<&mut Channel> {
        self.channels.get_mut(channel)
    }

    /// All channels, including those that have ended.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Channel)> {
        self.channels.iter()
    }

    /// Gives a subscriber that catches up its turn: calls `send` with the bytes that are due,
    /// if there are any, and then attaches the subscriber to its channel if possible. `None`
    /// when the subscriber is live.
    pub fn catch_up(
        &mut self,
        subscriber: &mut Subscriber,
        now: Now,
        send: impl FnOnce(&[u8]),
    ) -> Option<CaughtUp> {
        let State::CatchingUp(own) = &mut subscriber.state else {
            return None;
        };
        let key = own.share.as_ref().map(|(key, _)| key);
        if let Some(channel) = key.and_then(|key| self.by_key.get(key)) {
            own.subscription.aim(self.channels[*channel].position());
        }
        let events_before = own.batch.events();
        let knew = own.subscription.has_told();
        let turn = own.subscription.poll(now, &mut own.batch);
        let has_ended = matches!(turn, Turn::End(_));
        let attachment = (!has_ended).then(|| self.attach_mid_batch(subscriber));
        let State::CatchingUp(own) = &mut subscriber.state else {
            return None;
        };
        let events = own.batch.events() - events_before;
        let knows = knew
            || matches!(&attachment, Some(Some(at)) if self.channels[at.channel].has_told_in(&own.batch));
        if !own.batch.is_empty() {
            send(own.batch.as_bytes());
            own.attempts = 0;
            subscriber.batch_sent(now);
        }
        let next = match (attachment.flatten(), turn) {
            (_, Turn::End(ended)) => CatchUp::End(ended),
            (Some(attachment), _) => {
                let channel = attachment.channel;
                subscriber.join(attachment, &self.channels[channel], knows);
                CatchUp::Live(channel)
            }
            (None, Turn::More) => CatchUp::Again,
            (None, Turn::Until(at)) => self.after_last_batch(subscriber, at, now),
        };
        Some(CaughtUp { events, next })
    }

    /// The subscriber has nothing more to read now.
    fn after_last_batch(&mut self, subscriber: &mut Subscriber, at: Duration, now: Now) -> CatchUp {
        let State::CatchingUp(own) = &subscriber.state else {
            return CatchUp::Again;
        };
        let look = own.subscription.changes();
        let look = look.and_then(|changes| changes.look_again_after());
        let at = look.map_or(at, |after| at.min(now.monotonic + after));
        let Some((key, _)) = &own.share else {
            return CatchUp::At(at);
        };
        if own.subscription.position().is_none() {
            // It cannot be opened elsewhere, nor attach. Its source wakes it when it knows.
            return CatchUp::At(at);
        }
        if own.watching == Watching::ByChannel && !self.contains(key) {
            return CatchUp::Unwatched(at);
        }
        match self.attach(subscriber, now) {
            Attached::Live(channel) => CatchUp::Live(channel),
            Attached::Leads(channel) => CatchUp::Leads(channel),
            Attached::Elsewhere(channel) => match &mut subscriber.state {
                State::CatchingUp(own) if own.attempts < ATTEMPTS_MAX => {
                    own.attempts += 1;
                    CatchUp::Elsewhere { channel, at }
                }
                // No change wakes it here, so from now on it watches its file itself.
                State::CatchingUp(own) if own.watching == Watching::ByChannel => {
                    CatchUp::Unwatched(at)
                }
                _ => CatchUp::At(at),
            },
            Attached::Alone => CatchUp::At(at),
        }
    }

    /// Attaches a subscriber that has read everything available, if its position is that of its
    /// channel.
    fn attach(&mut self, subscriber: &mut Subscriber, now: Now) -> Attached {
        let State::CatchingUp(own) = &subscriber.state else {
            return Attached::Alone;
        };
        let Some((key, params)) = own.share.clone() else {
            return Attached::Alone;
        };
        let Some(position) = own.subscription.position() else {
            return Attached::Alone;
        };
        let knows = own.subscription.has_told();
        let heartbeat = subscriber.params.heartbeat;
        let Some(&channel) = self.by_key.get(&key) else {
            let attachment = Attachment {
                channel: self.channels.vacant_key(),
                next: 0,
                at: Rc::new(position.clone()),
                key: Rc::clone(&key),
            };
            let Some(source) = subscriber.go_live(attachment) else {
                return Attached::Alone;
            };
            let of = (Rc::clone(&key), params);
            let mut channel = Channel::new(source, position, of, heartbeat, now);
            channel.add_member(heartbeat);
            let number = self.channels.insert(channel);
            self.by_key.insert(key, number);
            return Attached::Leads(number);
        };
        let shared = &mut self.channels[channel];
        // Thousands may wait at the same position: they share one copy of its text and of the
        // key.
        let found = match shared.position_called(&position) {
            Some(at) => Some((shared.ring().next(), at)),
            None if !own.subscription.can_go_back() => {
                Some((shared.ring().next(), Rc::clone(shared.position())))
            }
            None => shared.ring().after(&position),
        };
        let Some((next, at)) = found else {
            return Attached::Elsewhere(channel);
        };
        shared.add_member(heartbeat);
        let key = Rc::clone(shared.key());
        let attachment = Attachment {
            channel,
            next,
            at,
            key,
        };
        subscriber.join(attachment, shared, knows);
        Attached::Live(channel)
    }

    /// Attaches a subscriber whose last batch contains its channel's position. The part of the
    /// batch after that position is dropped, since the channel's chunks contain it too.
    ///
    /// While a file grows fast, two readers are never at the same position at the same time;
    /// but each reader passes every position.
    fn attach_mid_batch(&mut self, subscriber: &mut Subscriber) -> Option<Attachment> {
        let State::CatchingUp(own) = &mut subscriber.state else {
            return None;
        };
        let (key, _) = own.share.as_ref()?;
        let channel = *self.by_key.get(key)?;
        let shared = &mut self.channels[channel];
        let at = Rc::clone(shared.position());
        // [`Self::attach`] handles a batch that ends at the position.
        if own.batch.ends_at(&at) || !own.batch.cut_after(&at) {
            return None;
        }
        shared.add_member(subscriber.params.heartbeat);
        Some(Attachment {
            channel,
            next: shared.ring().next(),
            at,
            key: Rc::clone(shared.key()),
        })
    }

    /// Lets a subscriber read by itself from its position, because its channel no longer keeps
    /// what it needs or no channel watches its file. `host` opens the files of its source,
    /// watched or not.
    ///
    /// # Errors
    /// The errors of opening a stream. On an error the subscriber is unchanged.
    pub fn reopen(
        &mut self,
        subscriber: &mut Subscriber,
        now: Now,
        host: impl FnOnce(Watching) -> Rc<dyn Host>,
    ) -> Result<(), OpenError> {
        let number = subscriber.live().map(|(channel, _)| channel);
        let channel = number.and_then(|number| self.channels.get(number));
        let params = match (&subscriber.state, channel) {
            (State::CatchingUp(own), _) => own.share.as_ref().map(|(_, params)| Rc::clone(params)),
            (State::Live(_), channel) => channel.map(|c| Rc::clone(c.reopen_params())),
        };
        let Some(params) = params else {
            return Ok(());
        };
        // The channel watches the file only if another subscriber keeps it alive.
        let kept = channel.filter(|channel| channel.members() > 1);
        let watching = match kept {
            Some(_) => Watching::ByChannel,
            None => Watching::Own,
        };
        let live = kept.map(|channel| Rc::clone(channel.position()));
        let host = host(watching);
        subscriber.reopen(&params, live.as_deref(), watching, now, &host)?;
        if let Some(number) = number {
            self.release(number, false);
        }
        Ok(())
    }

    /// A channel has ended. Its subscribers still receive the rest of its chunks; a new
    /// subscriber opens another channel.
    pub fn retire(&mut self, channel: usize) {
        if let Some(shared) = self.channels.get(channel) {
            if self.by_key.get(shared.key()) == Some(&channel) {
                self.by_key.remove(shared.key());
            }
        }
    }

    /// A live subscriber leaves its channel, which is dropped with its last subscriber.
    /// `is_waiting` is whether the subscriber is on the channel's list of waiting subscribers.
    pub fn release(&mut self, channel: usize, is_waiting: bool) {
        let Some(shared) = self.channels.get_mut(channel) else {
            return;
        };
        shared.remove_member(is_waiting);
        if shared.members() == 0 {
            self.retire(channel);
            self.channels.remove(channel);
        }
    }
}

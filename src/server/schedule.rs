//! Schedule: which connections and channels get a turn of the event loop, and when.

use std::collections::VecDeque;
use std::time::Duration;

use nix::sys::epoll::EpollTimeout;

use super::timers::Timers;
use super::token::{ConnectionId, Token};
use crate::source::Now;
use crate::stream::Scheduled;

/// Deadlines, and the queues of connections and channels that get a turn soon.
///
/// The owner's [`Scheduled`] contains whether it is in a queue, and which deadline is valid.
#[derive(Default)]
pub(super) struct Schedule {
    timers: Timers,
    connections: VecDeque<ConnectionId>,
    channels: VecDeque<usize>,
    /// Owners whose cost a client determines. They share a small part of each turn of the loop,
    /// so that all of them together delay the others no more than one of them.
    costly: VecDeque<Owner>,
}

/// An entry of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Connection(ConnectionId),
    Channel(usize),
}

/// How much a turn may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cost {
    Ordinary,
    /// A client determines it.
    Costly,
}

impl Cost {
    pub(super) fn of(is_costly: bool) -> Self {
        match is_costly {
            true => Self::Costly,
            false => Self::Ordinary,
        }
    }
}

impl Schedule {
    /// Queues a connection for a turn.
    pub(super) fn queue_connection(
        &mut self,
        id: ConnectionId,
        cost: Cost,
        scheduled: &mut Scheduled,
    ) {
        if std::mem::replace(&mut scheduled.is_queued, true) {
            return;
        }
        match cost {
            Cost::Ordinary => self.connections.push_back(id),
            Cost::Costly => self.costly.push_back(Owner::Connection(id)),
        }
    }

    /// Queues a channel for a poll.
    pub(super) fn queue_channel(&mut self, channel: usize, cost: Cost, scheduled: &mut Scheduled) {
        if std::mem::replace(&mut scheduled.is_queued, true) {
            return;
        }
        match cost {
            Cost::Ordinary => self.channels.push_back(channel),
            Cost::Costly => self.costly.push_back(Owner::Channel(channel)),
        }
    }

    /// The next entry of the queue of costly owners. The owner clears `is_queued`.
    pub(super) fn next_costly(&mut self) -> Option<Owner> {
        self.costly.pop_front()
    }

    /// The number of costly owners in the queue.
    pub(super) fn queued_costly(&self) -> usize {
        self.costly.len()
    }

    /// The next connection in the queue. Its owner clears `is_queued`.
    pub(super) fn next_connection(&mut self) -> Option<ConnectionId> {
        self.connections.pop_front()
    }

    /// The next channel in the queue. Its owner clears `is_queued`.
    pub(super) fn next_channel(&mut self) -> Option<usize> {
        self.channels.pop_front()
    }

    /// The numbers of connections and channels in the queues.
    pub(super) fn queued(&self) -> (usize, usize) {
        (self.connections.len(), self.channels.len())
    }

    /// Wakes an owner at this time at the latest.
    pub(super) fn wake_at(&mut self, token: Token, scheduled: &mut Scheduled, at: Duration) {
        if scheduled.due.is_none_or(|due| at < due) {
            scheduled.due = Some(at);
            self.timers.set(at, token);
        }
    }

    /// Wakes one of the loop's own tokens.
    pub(super) fn set(&mut self, at: Duration, token: Token) {
        self.timers.set(at, token);
    }

    /// The next deadline that has been reached.
    pub(super) fn due(&mut self, now: Now) -> Option<(Duration, Token)> {
        self.timers.due(now.monotonic)
    }

    /// How long the loop may wait for events.
    pub(super) fn timeout(&self, now: Now) -> EpollTimeout {
        let is_idle =
            self.connections.is_empty() && self.channels.is_empty() && self.costly.is_empty();
        if !is_idle {
            return EpollTimeout::ZERO;
        }
        let Some(first) = self.timers.first() else {
            return EpollTimeout::NONE;
        };
        let wait = first.saturating_sub(now.monotonic);
        // Rounded down, the loop would spin through the last millisecond.
        let milliseconds = wait.as_micros().div_ceil(1000).min(3_600_000);
        EpollTimeout::try_from(milliseconds as i32).unwrap_or(EpollTimeout::MAX)
    }
}

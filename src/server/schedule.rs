//! Who gets a turn of the event loop, and when.

use std::collections::VecDeque;
use std::time::Duration;

use nix::sys::epoll::EpollTimeout;

use super::timers::Timers;
use super::token::{ConnectionId, Token};
use crate::source::Now;
use crate::stream::Scheduled;

/// Deadlines, and the queues of those that get a turn soon.
///
/// Who is in a queue, and which deadline is valid, its owner's [`Scheduled`] says.
#[derive(Default)]
pub(super) struct Schedule {
    timers: Timers,
    connections: VecDeque<ConnectionId>,
    channels: VecDeque<usize>,
}

impl Schedule {
    /// Gives a connection a turn soon.
    pub(super) fn queue_connection(&mut self, id: ConnectionId, scheduled: &mut Scheduled) {
        if !std::mem::replace(&mut scheduled.is_queued, true) {
            self.connections.push_back(id);
        }
    }

    /// Has a channel polled soon.
    pub(super) fn queue_channel(&mut self, channel: usize, scheduled: &mut Scheduled) {
        if !std::mem::replace(&mut scheduled.is_queued, true) {
            self.channels.push_back(channel);
        }
    }

    /// The next connection in the queue. Its owner clears `is_queued`.
    pub(super) fn next_connection(&mut self) -> Option<ConnectionId> {
        self.connections.pop_front()
    }

    /// The next channel in the queue. Its owner clears `is_queued`.
    pub(super) fn next_channel(&mut self) -> Option<usize> {
        self.channels.pop_front()
    }

    /// How many connections and channels are in the queues.
    pub(super) fn queued(&self) -> (usize, usize) {
        (self.connections.len(), self.channels.len())
    }

    /// Wakes an owner at this moment at the latest.
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
        if !(self.connections.is_empty() && self.channels.is_empty()) {
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

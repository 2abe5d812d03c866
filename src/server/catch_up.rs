//! Serves a subscriber that reads by itself.

use std::rc::Rc;
use std::time::Duration;

use super::connection::{Action, Sent};
use super::event_loop::Server;
use super::token::{ConnectionId, Token};
use crate::source::{Now, OpenError};
use crate::stream::{CatchUp, Ended};
use crate::system::log::Level;

/// How soon a file that cannot be opened is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

impl Server {
    /// Sends a subscriber what is due.
    pub(super) fn serve(&mut self, id: ConnectionId, now: Now) -> Action {
        let Some(connection) = self.connections.get(id) else {
            return Action::Wait;
        };
        let Some(subscriber) = connection.subscriber() else {
            return Action::Wait;
        };
        if !connection.is_idle() {
            return connection.action_before_more();
        }
        if self.shutdown.has_begun() {
            self.end_for_restart(id)
        } else if subscriber.live().is_some() {
            self.serve_live(id, now)
        } else {
            self.serve_catching_up(id, now)
        }
    }

    fn serve_catching_up(&mut self, id: ConnectionId, now: Now) -> Action {
        let Some(connection) = self.connections.get(id) else {
            return Action::Wait;
        };
        let is_costly = connection.subscriber().is_some_and(|s| s.is_costly());
        if !self.may_poll(is_costly) {
            return Action::Yield;
        }
        let Some(connection) = self.connections.get_mut(id) else {
            return Action::Wait;
        };
        let Some(caught_up) = connection.catch_up(&mut self.channels, now) else {
            return Action::Wait;
        };
        self.counters.events += caught_up.events;
        match caught_up.next {
            CatchUp::End(ended) => return Action::Finish(reason(ended)),
            CatchUp::Leads(channel) => self.lead(channel),
            CatchUp::Elsewhere { channel, .. } => {
                self.poll_channel(channel, now);
                self.queue(id);
            }
            CatchUp::Unwatched(_) => match self.reopen(id, now) {
                Action::Yield => self.queue(id),
                Action::Wait => {}
                other => return other,
            },
            CatchUp::Again | CatchUp::At(_) | CatchUp::Live(_) => {}
        }
        match self.flush_now(id, now) {
            Sent::Gone => return Action::Close("left"),
            Sent::Blocked => {
                self.block(id, now);
                return Action::Wait;
            }
            Sent::All => {}
        }
        match caught_up.next {
            CatchUp::Live(_) | CatchUp::Leads(_) => Action::Serve,
            CatchUp::Again => Action::Yield,
            // A deadline that has passed would be met again and again in one turn of the loop.
            CatchUp::At(at) | CatchUp::Unwatched(at) | CatchUp::Elsewhere { at, .. }
                if at <= now.monotonic =>
            {
                Action::Yield
            }
            CatchUp::At(at) | CatchUp::Unwatched(at) | CatchUp::Elsewhere { at, .. } => {
                self.wake_at(id, at);
                Action::Wait
            }
            CatchUp::End(_) => Action::Wait,
        }
    }

    /// Sends the queued output, and counts it.
    pub(super) fn flush_now(&mut self, id: ConnectionId, now: Now) -> Sent {
        let Some(connection) = self.connections.get_mut(id) else {
            return Sent::Gone;
        };
        let bytes_before = connection.request.bytes;
        let sent = connection.flush(now);
        self.counters.bytes += connection.request.bytes - bytes_before;
        sent
    }

    /// A channel is new: it gets the changes of its source from now on.
    fn lead(&mut self, number: usize) {
        let changes = self.channels.get(number).and_then(|c| c.changes());
        self.route_changes(Token::Channel(number), changes);
        // Its source may need to be polled at some time, which only the source knows.
        self.queue_channel(number);
    }

    /// Lets a subscriber read by itself from its position.
    pub(super) fn reopen(&mut self, id: ConnectionId, now: Now) -> Action {
        if !self.may_reopen(id) {
            self.wake_at(id, now.monotonic + TRY_AGAIN);
            return Action::Wait;
        }
        let log = Rc::new(self.log.for_request(&self.label(id)));
        let Some(connection) = self.connections.get_mut(id) else {
            return Action::Wait;
        };
        let Some(subscriber) = connection.subscriber_mut() else {
            return Action::Wait;
        };
        let system = &self.host;
        let host = |watching| system.for_request(&log, watching);
        match self.channels.reopen(subscriber, now, host) {
            Ok(()) => {
                let changes = subscriber.changes();
                self.route_changes(Token::Change(id), changes.as_ref());
                Action::Yield
            }
            Err(OpenError::Temporary(trouble)) => {
                self.say(id, Level::Warning, &trouble);
                self.wake_at(id, now.monotonic + TRY_AGAIN);
                Action::Wait
            }
            Err(error) => {
                self.say(id, Level::Error, &error.to_string());
                Action::Finish("gone")
            }
        }
    }
}

pub(super) fn reason(ended: Ended) -> &'static str {
    match ended {
        Ended::Finished => "finished",
        Ended::Aged => "aged",
        Ended::Expired => "expired",
        Ended::Full => "full",
        Ended::HeldBack => "held back",
    }
}

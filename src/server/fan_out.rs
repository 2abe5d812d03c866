//! Serves live subscribers: polls channels, and sends their chunks.

use std::time::Duration;

use super::catch_up::reason;
use super::connection::{Action, Delivered, Sent};
use super::event_loop::Server;
use super::shared_pages::NewestPages;
use super::token::{ConnectionId, Token};
use crate::event::Batch;
use crate::source::Now;
use crate::stream::Ended;

impl Server {
    /// Sends a live subscriber the chunks that it needs, or a heartbeat.
    pub(super) fn serve_live(&mut self, id: ConnectionId, now: Now) -> Action {
        let Some(connection) = self.connections.get_mut(id) else {
            return Action::Wait;
        };
        let Some(subscriber) = connection.subscriber() else {
            return Action::Wait;
        };
        let (heartbeat_at, ends) = (subscriber.heartbeat_at(), subscriber.ends(now));
        let Some((number, _)) = subscriber.live() else {
            return Action::Wait;
        };
        let Some(channel) = self.channels.get(number) else {
            return Action::Wait;
        };
        let mut notice = Batch::new();
        if let Some(subscriber) = connection.subscriber_mut() {
            subscriber.tell_expiry(&mut notice, now);
            match ends {
                Some(_) => {
                    if let Some(unsent) = subscriber.unsent_id() {
                        notice.place(unsent);
                    }
                }
                None if subscriber.notice_at().is_some() => {
                    subscriber.notice(channel, &mut notice, now);
                }
                None => {}
            }
        }
        if !notice.is_empty() {
            connection.push_body(notice.as_bytes());
        }
        if let Some(ended) = ends {
            return Action::Finish(reason(ended));
        }
        if !notice.is_empty() {
            return Action::Flush;
        }
        let (bytes, events) = (connection.request.bytes, connection.request.events);
        let delivered = connection.deliver(channel.ring(), None, now);
        self.counters.bytes += connection.request.bytes - bytes;
        self.counters.events += connection.request.events - events;
        match delivered {
            Delivered::FellBehind if !channel.can_go_back() => {
                let mut batch = Batch::new();
                if let Some(subscriber) = connection.subscriber_mut() {
                    subscriber.skip(channel, &mut batch, now);
                }
                connection.push_body(batch.as_bytes());
                return Action::Flush;
            }
            Delivered::FellBehind => return self.reopen(id, now),
            Delivered::Sent(Sent::Gone) => return Action::Close("left"),
            Delivered::Sent(Sent::Blocked) => {
                self.block(id, now);
                return Action::Wait;
            }
            Delivered::Sent(Sent::All) => {}
        }
        if channel.has_ended() {
            if channel.unavailable().is_some() {
                if let Some(subscriber) = connection.subscriber() {
                    // Its clients must not all return at the same moment.
                    let retry = format!("retry: {}\n", subscriber.params().retry_ms);
                    connection.push_body(retry.as_bytes());
                }
            }
            return Action::Finish(reason(Ended::Finished));
        }
        self.await_chunks(id, number);
        if now.monotonic >= heartbeat_at {
            match self.heartbeat(id, number, now) {
                Action::Wait => {}
                other => return other,
            }
        }
        self.await_heartbeat(id);
        Action::Wait
    }

    /// A subscriber has received everything, and waits for the next chunk of its channel.
    fn await_chunks(&mut self, id: ConnectionId, number: usize) {
        let (Some(connection), Some(channel)) =
            (self.connections.get_mut(id), self.channels.get_mut(number))
        else {
            return;
        };
        if !connection.set_waiting(true) {
            channel.wait(id.to_u64());
            if channel.needs_pruning() {
                let mut waiting = channel.take_waiting();
                waiting.retain(|id| self.connections.get(ConnectionId::from_u64(*id)).is_some());
                channel.put_back(waiting);
            }
        }
        if channel.is_stale() {
            self.queue_channel(number);
        }
    }

    fn await_heartbeat(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        let Some(subscriber) = connection.subscriber() else {
            return;
        };
        // Subscribers that fall silent together are woken together.
        let step = subscriber.params().heartbeat / 64;
        let heartbeat_at = rounded_up(subscriber.heartbeat_at(), step);
        let at = (subscriber.due_at().into_iter()).fold(heartbeat_at, Duration::min);
        self.wake_at(id, at);
    }

    /// A live subscriber has been silent for long enough.
    fn heartbeat(&mut self, id: ConnectionId, number: usize, now: Now) -> Action {
        let heartbeat = match self.connections.get(id).and_then(|c| c.subscriber()) {
            Some(subscriber) => subscriber.params().heartbeat,
            None => return Action::Wait,
        };
        // Even if no change is reported, the file is checked once in that time.
        let needs_look = |channel: &crate::stream::Channel| channel.needs_look(heartbeat, now);
        if self.channels.get(number).is_some_and(needs_look) {
            self.poll_channel(number, now);
        }
        // Filtered records have moved the position: it is sent to all subscribers at once.
        let channel = self.channels.get_mut(number);
        if channel.is_some_and(|channel| channel.announce_position(now)) {
            self.fan_out(number, now);
        }
        let Some(connection) = self.connections.get_mut(id) else {
            return Action::Wait;
        };
        if !connection.has_no_output() {
            return Action::Wait;
        }
        let Some(subscriber) = connection.subscriber_mut() else {
            return Action::Wait;
        };
        if now.monotonic < subscriber.heartbeat_at() {
            return Action::Wait;
        }
        let mut batch = Batch::new();
        subscriber.heartbeat(&mut batch, now);
        connection.push_body(batch.as_bytes());
        match self.flush_now(id, now) {
            Sent::All => Action::Wait,
            Sent::Blocked => {
                self.block(id, now);
                Action::Wait
            }
            Sent::Gone => Action::Close("left"),
        }
    }

    /// Polls a channel that was queued, if a subscriber waits for more.
    pub(super) fn poll_if_awaited(&mut self, number: usize, now: Now) {
        let Some(channel) = self.channels.get_mut(number) else {
            return;
        };
        channel.scheduled.is_queued = false;
        if channel.note_change() {
            self.poll_channel(number, now);
        }
    }

    /// Polls a channel, and sends its new chunk; a costly one gets a turn for it.
    pub(super) fn poll_channel(&mut self, number: usize, now: Now) {
        let is_costly = self.channels.get(number).is_some_and(|c| c.is_costly());
        if !self.may_poll(is_costly) {
            return self.queue_channel(number);
        }
        let Some(channel) = self.channels.get_mut(number) else {
            return;
        };
        let polled = channel.poll(now);
        if let Some(at) = polled.at {
            let token = Token::Channel(number);
            self.schedule.wake_at(token, &mut channel.scheduled, at);
        }
        if polled.has_ended {
            self.channels.retire(number);
        }
        if polled.has_news {
            self.fan_out(number, now);
        }
        if polled.has_more {
            self.queue_channel(number);
        }
    }

    /// Sends a channel's newest chunks to all subscribers that wait for them.
    fn fan_out(&mut self, number: usize, now: Now) {
        let Some(channel) = self.channels.get_mut(number) else {
            return;
        };
        let mut waiting = channel.take_waiting();
        let mut others = Vec::new();
        let pages = NewestPages::new(channel.ring(), waiting.len());
        let (connections, counters) = (&mut self.connections, &mut self.counters);
        waiting.retain(|subscriber| {
            let id = ConnectionId::from_u64(*subscriber);
            let Some(connection) = connections.get_mut(id) else {
                return false;
            };
            let live = connection.subscriber().and_then(|s| s.live());
            if live.is_none_or(|(own, _)| own != number) {
                connection.set_waiting(false);
                return false;
            }
            let delivered = if connection.has_no_output() {
                let (bytes, events) = (connection.request.bytes, connection.request.events);
                let frame = connection.shared_frame();
                let pages = frame.and_then(|frame| pages.in_frame(frame));
                let delivered = connection.deliver(channel.ring(), pages, now);
                counters.bytes += connection.request.bytes - bytes;
                counters.events += connection.request.events - events;
                delivered
            } else {
                Delivered::Sent(Sent::Blocked)
            };
            if delivered == Delivered::Sent(Sent::All) && !channel.has_ended() {
                return true;
            }
            connection.set_waiting(false);
            others.push((id, delivered));
            false
        });
        channel.put_back(waiting);
        for (id, delivered) in others {
            match delivered {
                Delivered::Sent(Sent::Blocked) => self.block(id, now),
                Delivered::Sent(Sent::Gone) => self.close(id, "left", now),
                Delivered::Sent(Sent::All) | Delivered::FellBehind => self.queue(id),
            }
        }
    }
}

/// The next multiple of `step` after `at`.
fn rounded_up(at: Duration, step: Duration) -> Duration {
    let step_ns = step.as_nanos().max(1);
    let rounded = at.as_nanos().div_ceil(step_ns) * step_ns;
    Duration::from_nanos(u64::try_from(rounded).unwrap_or(u64::MAX))
}

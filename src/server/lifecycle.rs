//! Output, deadlines and the end of a connection.

use std::time::Duration;

use super::connection::{Action, Connection, Report, RequestLog, Sent, State};
use super::event_loop::Server;
use super::token::ConnectionId;
use crate::gateway::After;
use crate::source::Now;
use crate::system::log::{Level, Log, StreamEnd};

/// After a response, further input of a peer is read until there has been none for so long: it
/// may not read the response before it has sent everything.
const LINGER: Duration = Duration::from_secs(2);

/// The maximum of that.
const LINGER_MAX: Duration = Duration::from_secs(30);

impl Server {
    /// Sends the queued output of a connection.
    pub(super) fn flush(&mut self, id: ConnectionId, now: Now) -> Action {
        let Some(connection) = self.connections.get_mut(id) else {
            return Action::Wait;
        };
        let bytes_before = connection.request.bytes;
        let sent = connection.flush(now);
        self.counters.bytes += connection.request.bytes - bytes_before;
        match sent {
            Sent::All => {
                self.await_room(id, false);
                Action::Advance
            }
            Sent::Blocked => {
                self.block(id, now);
                Action::Wait
            }
            Sent::Gone => Action::Close("left"),
        }
    }

    /// The kernel has no room for the queued output.
    pub(super) fn block(&mut self, id: ConnectionId, now: Now) {
        self.await_room(id, true);
        if let Some(connection) = self.connections.get_mut(id) {
            let until = connection.blocked_until(now);
            self.wake_at(id, until);
        }
    }

    fn await_room(&mut self, id: ConnectionId, on: bool) {
        if let Some(connection) = self.connections.get_mut(id) {
            if connection.set_awaits_room(on) {
                self.update_interest(id);
            }
        }
    }

    /// What epoll is to report of a connection has changed.
    pub(super) fn update_interest(&self, id: ConnectionId) {
        if let Some(connection) = self.connections.get(id) {
            let _ = self.poller.update(connection, id);
        }
    }

    /// Everything that was queued has been sent.
    pub(super) fn advance(&mut self, id: ConnectionId, now: Now) -> Action {
        let is_draining = self.shutdown.has_begun();
        let Some(connection) = self.connections.get_mut(id) else {
            return Action::Wait;
        };
        if !connection.is_idle() {
            return connection.action_before_more();
        }
        let State::Finishing { after, report } = &mut connection.state else {
            return match connection.state {
                State::Streaming { .. } => Action::Serve,
                // An engine may have answered.
                State::Receiving(_) => self.proceed_with_post(id, now),
                _ => Action::Wait,
            };
        };
        let (after, report) = (*after, report.take());
        log_end(&self.log, &connection.request, report.as_deref());
        self.log_response(id, report.as_deref(), now);
        let Some(connection) = self.connections.get_mut(id) else {
            return Action::Wait;
        };
        match after {
            // A server that shuts down serves no further request.
            After::Keep if !is_draining && !connection.has_input_ended() => {
                connection.state = State::Reading {
                    since: now.monotonic,
                };
                if connection.has_held_input() {
                    return Action::Receive;
                }
                if connection.is_incomplete() {
                    // The peer began the next request before this one had ended.
                    self.wake_at(id, now.monotonic + self.options.request_timeout);
                } else if connection.is_closed_when_idle() {
                    self.wake_at(id, now.monotonic + self.options.idle_timeout);
                }
                Action::Wait
            }
            _ if connection.is_request_read() => Action::Close("done"),
            _ => {
                connection.shut_output();
                connection.state = State::Lingering {
                    since: now.monotonic,
                    heard: now.monotonic,
                };
                self.wake_at(id, now.monotonic + LINGER);
                Action::Wait
            }
        }
    }

    /// A deadline of a connection has been reached.
    pub(super) fn on_deadline(&mut self, id: ConnectionId, now: Now) -> Action {
        let request_timeout = self.options.request_timeout;
        let Some(connection) = self.connections.get_mut(id) else {
            return Action::Wait;
        };
        if connection.is_blocked() {
            let until = connection.blocked_until(now);
            if now.monotonic < until {
                self.wake_at(id, until);
                return Action::Wait;
            }
            return self.try_for_the_last_time(id, now);
        }
        let (at, reason) = match &connection.state {
            State::Streaming { .. } => return Action::Serve,
            State::Receiving(_) => return self.proceed_with_post(id, now),
            State::Finishing { .. } => return Action::Wait,
            State::Lingering { since, heard } => {
                ((*heard + LINGER).min(*since + LINGER_MAX), "done")
            }
            State::Reading { since } => {
                let has_never_asked = connection.request.number == 0;
                let is_incomplete = connection.is_incomplete();
                let first_request_until = self
                    .shutdown
                    .first_request_until()
                    .filter(|_| has_never_asked && !is_incomplete);
                if let Some(until) = first_request_until {
                    (until, "drained")
                } else if is_incomplete || has_never_asked {
                    (*since + request_timeout, "slow request")
                } else if connection.is_closed_when_idle() {
                    (*since + self.options.idle_timeout, "idle")
                } else {
                    return Action::Wait;
                }
            }
        };
        if now.monotonic < at {
            self.wake_at(id, at);
            return Action::Wait;
        }
        if reason == "slow request" {
            self.counters.dropped += 1;
            let text = "a peer did not send a whole request in time; disconnected";
            self.log.rate_limited(Level::Warning, "slow request", text);
        }
        Action::Close(reason)
    }

    /// A peer has taken nothing for as long as it may. The kernel reports room only when a third
    /// of a socket's buffer is free, so a peer that reads slowly is noticed only by trying.
    fn try_for_the_last_time(&mut self, id: ConnectionId, now: Now) -> Action {
        let Some(connection) = self.connections.get_mut(id) else {
            return Action::Wait;
        };
        let bytes_before = connection.request.bytes;
        connection.unblock();
        let has_no_output = connection.has_no_output();
        let action = match connection.state {
            State::Streaming { .. } if has_no_output => self.serve(id, now),
            _ => self.flush(id, now),
        };
        let has_taken_nothing = |connection: &Connection| {
            connection.is_blocked() && connection.request.bytes == bytes_before
        };
        if self.connections.get(id).is_some_and(has_taken_nothing) {
            self.counters.dropped += 1;
            return Action::Close("takes nothing");
        }
        action
    }

    /// Ends the response of a connection after the queued output.
    pub(super) fn finish(&mut self, id: ConnectionId, reason: &'static str, now: Now) -> Action {
        let age = self.release_subscriber(id, now);
        let Some(connection) = self.connections.get_mut(id) else {
            return Action::Wait;
        };
        let report = age.map(|age| Box::new(Report { reason, age }));
        // (A record is not published if its POST was aborted.)
        connection.finish(report);
        self.note_held(id, 0, now);
        Action::Flush
    }

    /// Closes a connection at once.
    pub(super) fn close(&mut self, id: ConnectionId, reason: &'static str, now: Now) {
        let age = self.release_subscriber(id, now);
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let report = match &mut connection.state {
            State::Finishing { report, .. } => report.take(),
            _ => age.map(|age| Box::new(Report { reason, age })),
        };
        log_end(&self.log, &connection.request, report.as_deref());
        self.log_response(id, report.as_deref(), now);
        // Closing the descriptor removes it from epoll, since no other process has it.
        let Some(connection) = self.connections.remove(id) else {
            return;
        };
        self.held_bytes -= connection.held_bytes();
        if !self.shutdown.has_begun() {
            self.resume_accepting();
        }
    }

    /// The stream of a connection has ended: its subscriber leaves its channel. Returns its
    /// age, if there was one.
    fn release_subscriber(&mut self, id: ConnectionId, now: Now) -> Option<Duration> {
        let connection = self.connections.get_mut(id)?;
        let subscriber = connection.subscriber()?;
        let age = now.monotonic.saturating_sub(subscriber.opened_at());
        let live = subscriber.live();
        let was_waiting = connection.set_waiting(false);
        connection.state = State::Reading {
            since: now.monotonic,
        };
        let name = connection.request.stream;
        self.subscribers -= 1;
        self.count_stream(name, -1);
        self.counters.ended += 1;
        if let Some((channel, _)) = live {
            self.channels.release(channel, was_waiting);
        }
        Some(age)
    }
}

/// Logs the end of a stream in the process's own log.
fn log_end(log: &Log, request: &RequestLog, report: Option<&Report>) {
    let Some(report) = report else { return };
    log.for_request(&request.label).stream_end(&StreamEnd {
        request: request.number,
        stream: request.stream,
        reason: report.reason,
        age: report.age,
        events: request.events,
        bytes: request.bytes,
    });
}

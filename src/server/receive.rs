//! Reads and processes the input of peers.

use super::connection::{Action, Offence, Read, RequestLog, State};
use super::event_loop::Server;
use super::token::ConnectionId;
use crate::gateway::http::Rejection;
use crate::gateway::{After, Incoming};
use crate::source::Now;
use crate::system::log::Level;

/// The maximum memory of all incomplete requests together, as [`Connection::held_bytes`]
/// estimates it. One body is 16 MiB at most.
///
/// [`Connection::held_bytes`]: super::connection::Connection::held_bytes
const HELD_MAX_BYTES: usize = 32 << 20;

impl Server {
    /// Reads once from a connection, and processes the input.
    pub(super) fn read_into(&mut self, id: ConnectionId, buffer: &mut [u8], now: Now) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        match connection.read(buffer) {
            Read::Bytes(count) => {
                let id = self.receive(id, &buffer[..count], now);
                self.note_held(id, count, now);
            }
            Read::Nothing => {}
            Read::End => {
                let connection = self.connections.get_mut(id);
                if connection.is_some_and(|connection| connection.end_input()) {
                    self.update_interest(id);
                } else {
                    self.close(id, "left", now);
                }
            }
        }
    }

    /// Updates the memory of a request that has not been received completely, or not been
    /// appended to its file. The sum is limited: beyond it, the largest requests are closed.
    pub(super) fn note_held(&mut self, id: ConnectionId, received_bytes: usize, now: Now) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        self.held_bytes -= connection.held_bytes();
        connection.note_held(received_bytes);
        self.held_bytes += connection.held_bytes();
        if self.held_bytes > HELD_MAX_BYTES {
            self.close_largest(now);
        }
    }

    fn close_largest(&mut self, now: Now) {
        let mut holding: Vec<_> = (self.connections.iter())
            .map(|(id, connection)| (connection.held_bytes(), id))
            .filter(|(bytes, _)| *bytes > 0)
            .collect();
        holding.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        for (_, id) in holding {
            // It closes more than necessary, so that the list is not made again for each read.
            if self.held_bytes <= HELD_MAX_BYTES / 8 * 7 {
                break;
            }
            self.counters.dropped += 1;
            self.close(id, "too many bytes", now);
        }
        let text = "unfinished requests take more than 32 MiB; the largest are closed; limit \
                    bodies with SSE_PUBLISH_MAX, and connections in the web server";
        self.log.rate_limited(Level::Warning, "held", text);
    }

    /// Processes input. Returns the connection's id, which changes with another request on it.
    fn receive(&mut self, mut id: ConnectionId, mut input: &[u8], now: Now) -> ConnectionId {
        let mut owes_reply = false;
        loop {
            let Some(connection) = self.connections.get_mut(id) else {
                return id;
            };
            if let State::Lingering { heard, .. } = &mut connection.state {
                *heard = now.monotonic;
                return id;
            }
            if !input.is_empty() && connection.holds_input() {
                connection.hold_input(input);
                self.update_interest(id);
                return id;
            }
            let received = connection.receive(&mut input, now);
            let has_had_request = connection.request.number > 0;
            let (incoming, has_reply) = match received {
                Ok(received) => received,
                Err(offence) => {
                    self.disconnect(id, offence, now);
                    return id;
                }
            };
            owes_reply |= has_reply;
            let action = match incoming {
                Some(Incoming::Request(params)) => {
                    if has_had_request {
                        id = self.renew(id, now);
                    }
                    self.begin(id, params, now)
                }
                Some(Incoming::Body(bytes)) => self.take_body(id, Some(bytes), now),
                Some(Incoming::BodyEnd) => self.take_body(id, None, now),
                Some(Incoming::Abort) => self.abort(id),
                Some(Incoming::Refused(after)) => self.refused(id, after),
                Some(Incoming::Rejected(rejection)) => self.reject(id, rejection, now),
                None => {
                    let action = self.await_more(id, now);
                    self.perform(id, action, now);
                    if owes_reply {
                        self.perform(id, Action::Flush, now);
                    }
                    return id;
                }
            };
            self.perform(id, action, now);
        }
    }

    /// Takes what came of the next request while the one before was served.
    pub(super) fn receive_held(&mut self, id: ConnectionId, now: Now) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if let Some(input) = connection.take_held_input() {
            self.update_interest(id);
            let id = self.receive(id, &input, now);
            self.note_held(id, 0, now);
        }
    }

    /// A request is not served: its client is told why, and the connection is closed.
    fn reject(&mut self, id: ConnectionId, rejection: Rejection, now: Now) -> Action {
        self.counters.dropped += 1;
        let text = format!("a client sent a malformed request: {rejection}; disconnected");
        self.log.rate_limited(Level::Warning, "rejected", &text);
        let Some(connection) = self.connections.get_mut(id) else {
            return Action::Wait;
        };
        match connection.state {
            // Nothing is known of this one.
            State::Reading { .. } => connection.request = RequestLog::default(),
            State::Receiving(_) => {}
            _ => return Action::Close("malformed"),
        }
        self.note_rejected(id, now);
        let (head, body) = rejection.response();
        self.respond(id, &head, body.as_bytes())
    }

    /// The web server aborts a request.
    fn abort(&self, id: ConnectionId) -> Action {
        match self.connections.get(id).map(|c| &c.state) {
            None | Some(State::Finishing { .. } | State::Lingering { .. }) => Action::Wait,
            Some(_) => Action::Finish("aborted"),
        }
    }

    /// The protocol has refused a request; its response is queued.
    fn refused(&mut self, id: ConnectionId, after: After) -> Action {
        if let Some(connection) = self.connections.get_mut(id) {
            if after == After::Close && matches!(connection.state, State::Reading { .. }) {
                connection.state = State::Finishing {
                    after,
                    report: None,
                };
            }
        }
        Action::Flush
    }

    /// All input has been consumed. A peer whose request is incomplete gets a deadline.
    fn await_more(&mut self, id: ConnectionId, now: Now) -> Action {
        let timeout = self.options.request_timeout;
        if let Some(connection) = self.connections.get(id) {
            if let State::Reading { since } = connection.state {
                if connection.is_incomplete() {
                    self.wake_at(id, (since + timeout).max(now.monotonic));
                }
            }
        }
        Action::Wait
    }

    fn disconnect(&mut self, id: ConnectionId, offence: Offence, now: Now) {
        self.counters.dropped += 1;
        let (kind, text, reason) = match offence {
            Offence::Malformed(error) => (
                "malformed",
                format!("a peer sent a malformed request: {error}; disconnected"),
                "malformed",
            ),
            Offence::ReadsNothing => (
                "untaken",
                "a peer sent requests and read no response; disconnected".into(),
                "takes nothing",
            ),
        };
        self.log.rate_limited(Level::Warning, kind, &text);
        self.close(id, reason, now);
    }
}

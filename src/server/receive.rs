//! What peers send.

use super::connection::{Action, Offence, Read, State};
use super::event_loop::Server;
use super::token::ConnectionId;
use crate::gateway::{After, Incoming};
use crate::source::Now;
use crate::system::log::Level;

impl Server {
    /// Reads once from a connection, and acts on what has come.
    pub(super) fn read_into(&mut self, id: ConnectionId, buffer: &mut [u8], now: Now) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        match connection.read(buffer) {
            Read::Bytes(count) => self.receive(id, &buffer[..count], now),
            Read::Nothing => {}
            Read::End => self.close(id, "left", now),
        }
    }

    fn receive(&mut self, mut id: ConnectionId, mut input: &[u8], now: Now) {
        let mut owes_reply = false;
        loop {
            let Some(connection) = self.connections.get_mut(id) else {
                return;
            };
            if matches!(connection.state, State::Lingering { .. }) {
                return;
            }
            let received = connection.receive(&mut input, now);
            let has_had_request = connection.request.number > 0;
            let (incoming, has_reply) = match received {
                Ok(received) => received,
                Err(offence) => return self.disconnect(id, offence, now),
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
                None => {
                    let action = self.await_more(id, now);
                    self.perform(id, action, now);
                    if owes_reply {
                        self.perform(id, Action::Flush, now);
                    }
                    return;
                }
            };
            self.perform(id, action, now);
        }
    }

    /// The web server wants a request ended.
    fn abort(&self, id: ConnectionId) -> Action {
        match self.connections.get(id).map(|c| &c.state) {
            None | Some(State::Finishing { .. } | State::Lingering { .. }) => Action::Wait,
            Some(_) => Action::Finish("aborted"),
        }
    }

    /// The protocol has refused a request; its answer is queued.
    fn refused(&mut self, id: ConnectionId, after: After) -> Action {
        if let Some(connection) = self.connections.get_mut(id)
            && after == After::Close
            && matches!(connection.state, State::Reading { .. })
        {
            connection.state = State::Finishing {
                after,
                report: None,
            };
        }
        Action::Flush
    }

    /// All input has been used. A peer that owes the rest of a request has a deadline.
    fn await_more(&mut self, id: ConnectionId, now: Now) -> Action {
        let timeout = self.options.request_timeout;
        if let Some(connection) = self.connections.get(id)
            && let State::Reading { since } = connection.state
            && connection.is_incomplete()
        {
            self.wake_at(id, (since + timeout).max(now.monotonic));
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

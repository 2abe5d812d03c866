//! What comes from peers, and what is on its way to them.

use std::time::Duration;

use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::super::log::Level;
use super::peer::{Phase, Read, Sent};
use super::responder::{Responder, peer};
use super::timers::Whom;
use crate::gateway::fastcgi::{After, Incoming};
use crate::source::Now;

/// How long what a peer still sends is read after its answer.
const LINGER: Duration = Duration::from_secs(2);

/// What the answer to a request is taken for, where many are asked for and none is taken.
const ANSWER_BYTES: usize = 1024;

impl Responder {
    pub(super) fn peer_event(&mut self, whom: Whom, events: EpollFlags, now: Now) {
        let gone = EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP;
        if events.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | gone) {
            self.read(whom, now);
        }
        if events.contains(EpollFlags::EPOLLOUT) {
            self.flush(whom, now);
        }
    }

    /// Takes in what a peer has sent.
    pub(super) fn read(&mut self, whom: Whom, now: Now) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = match self.peer(whom) {
            Some(peer) => peer.read(&mut buffer),
            None => Read::Nothing,
        };
        match read {
            Read::Bytes(count) => self.feed(whom, &buffer[..count], now),
            Read::Nothing => {}
            Read::End => self.remove(whom, "left"),
        }
        self.buffer = buffer;
    }

    pub(super) fn feed(&mut self, mut whom: Whom, mut input: &[u8], now: Now) {
        let mut owes_reply = false;
        loop {
            let Some(peer) = peer(&mut self.peers, whom) else {
                return;
            };
            if peer.phase == Phase::Lingering {
                return;
            }
            let was_incomplete = peer.connection.is_incomplete();
            let mut reply = Vec::new();
            let taken = peer.connection.take(&mut input, &mut reply);
            if !was_incomplete && peer.connection.is_incomplete() {
                peer.since = now.monotonic;
            }
            peer.push(&reply);
            owes_reply |= !reply.is_empty();
            let is_serving = peer.phase == Phase::Serving;
            let answer_bytes = match taken {
                Ok(Some(Incoming::Request(_))) => ANSWER_BYTES,
                _ => reply.len(),
            };
            if peer.asks_too_much(answer_bytes) {
                self.counters.dropped += 1;
                let text = "a peer asked on and on and took no answer; closed";
                self.log.rate_limited(Level::Warning, "untaken", text);
                return self.remove(whom, "takes nothing");
            }
            match taken {
                Ok(Some(Incoming::Request(params))) => {
                    peer.is_read = false;
                    if peer.request.number > 0 {
                        whom = self.renew(whom, now);
                    }
                    self.begin(whom, params, now);
                }
                // (Streams are asked for without a body.)
                Ok(Some(Incoming::Stdin(bytes))) => self.take_body(whom, Some(bytes), now),
                Ok(Some(Incoming::StdinEnd)) => {
                    peer.is_read = true;
                    self.take_body(whom, None, now);
                }
                Ok(Some(Incoming::Abort)) => {
                    if !matches!(peer.phase, Phase::Ending(_)) {
                        self.end(whom, "aborted", now);
                    }
                }
                Ok(Some(Incoming::Refused(after))) => {
                    if after == After::Close && !is_serving {
                        peer.phase = Phase::Ending(after);
                    }
                    self.flush(whom, now);
                }
                Ok(None) => {
                    let at = peer.since + self.options.request_timeout;
                    let is_incomplete = peer.connection.is_incomplete();
                    if owes_reply {
                        self.flush(whom, now);
                    }
                    if is_incomplete && !is_serving {
                        self.wake_at(whom, at);
                    }
                    return;
                }
                Err(error) => {
                    self.counters.dropped += 1;
                    let text = format!("a peer sent what is no FastCGI: {error}; closed");
                    self.log.rate_limited(Level::Warning, "malformed", &text);
                    return self.remove(whom, "malformed");
                }
            }
        }
    }

    /// Sends what is on a peer's way, and goes on with it when all has been taken.
    pub(super) fn flush(&mut self, whom: Whom, now: Now) {
        let Some(peer) = peer(&mut self.peers, whom) else {
            return;
        };
        match peer.flush(now) {
            Sent::All => {
                self.wait_for_room(whom, false);
                self.go_on(whom, now);
            }
            Sent::Blocked => self.blocked(whom, now),
            Sent::Gone => self.remove(whom, "left"),
        }
    }

    /// A peer has no room for what is on its way.
    pub(super) fn blocked(&mut self, whom: Whom, now: Now) {
        self.wait_for_room(whom, true);
        let Some(peer) = self.peer(whom) else { return };
        let since = *peer.blocked_since.get_or_insert(now.monotonic);
        let at = since + peer.send_timeout;
        self.wake_at(whom, at);
    }

    pub(super) fn wait_for_room(&mut self, whom: Whom, on: bool) {
        let Some(peer) = peer(&mut self.peers, whom) else {
            return;
        };
        if peer.waits_for_room != on {
            peer.waits_for_room = on;
            let mut event = EpollEvent::new(peer.awaited(), whom);
            let _ = self.epoll.modify(peer, &mut event);
        }
    }

    /// All that was on a peer's way has been taken.
    pub(super) fn go_on(&mut self, whom: Whom, now: Now) {
        let is_draining = self.is_draining();
        let Some(peer) = peer(&mut self.peers, whom) else {
            return;
        };
        if !peer.is_free() {
            return;
        }
        match peer.phase {
            Phase::Reading | Phase::Receiving | Phase::Lingering => {}
            Phase::Serving => self.serve(whom, now),
            // Who drains serves nobody any more: a kept connection would only keep the process.
            Phase::Ending(After::Keep) if !is_draining => {
                peer.phase = Phase::Reading;
                peer.since = now.monotonic;
                if peer.connection.is_incomplete() {
                    // It began the next request before this one had ended.
                    self.wake_at(whom, now.monotonic + self.options.request_timeout);
                }
            }
            Phase::Ending(_) if peer.is_read => self.remove(whom, "done"),
            Phase::Ending(_) => {
                peer.shut();
                peer.phase = Phase::Lingering;
                peer.since = now.monotonic;
                self.wake_at(whom, now.monotonic + LINGER);
            }
        }
    }

    /// A peer's moment has come.
    pub(super) fn peer_time(&mut self, whom: Whom, now: Now) {
        let request_timeout = self.options.request_timeout;
        let Some(peer) = peer(&mut self.peers, whom) else {
            return;
        };
        if let Some(since) = peer.blocked_since {
            let at = since + peer.send_timeout;
            if now.monotonic < at {
                return self.wake_at(whom, at);
            }
            self.counters.dropped += 1;
            return self.remove(whom, "takes nothing");
        }
        match peer.phase {
            Phase::Serving => self.serve(whom, now),
            Phase::Receiving => self.go_on_with_post(whom, now),
            Phase::Lingering => {
                let at = peer.since + LINGER;
                if now.monotonic < at {
                    return self.wake_at(whom, at);
                }
                self.remove(whom, "done");
            }
            Phase::Reading => {
                let never_asked = peer.request.number == 0;
                if !(peer.connection.is_incomplete() || never_asked) {
                    return;
                }
                let at = peer.since + request_timeout;
                if now.monotonic < at {
                    return self.wake_at(whom, at);
                }
                self.counters.dropped += 1;
                let text = "a peer did not send a whole request in time; closed";
                self.log.rate_limited(Level::Warning, "slow request", text);
                self.remove(whom, "slow request");
            }
            Phase::Ending(_) => {}
        }
    }
}

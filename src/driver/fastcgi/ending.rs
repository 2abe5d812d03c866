//! The ends of streams, of connections, and of the responder.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::super::log::{Level, StreamEnd};
use super::listen::Listener;
use super::peer::{Phase, RequestLog};
use super::responder::{HOUSEKEEPING, Responder, number, peer};
use super::timers::Whom;
use crate::source::Now;

impl Responder {
    /// Closes a connection at once.
    pub(super) fn remove(&mut self, whom: Whom, reason: &str) {
        let now = self.clock.now();
        self.close_stream(whom, reason, now);
        if self.peer(whom).is_some() {
            // Closing a descriptor takes it out of the epoll: nobody else has it.
            drop(self.peers.remove((whom & 0xffff_ffff) as usize));
            if !self.is_listening && self.draining_until.is_none() {
                let _ = self.listen(true);
            }
        }
    }

    /// The stream of a peer is over: it leaves the others, and the log says why.
    pub(super) fn close_stream(&mut self, whom: Whom, reason: &str, now: Now) {
        let Some(peer) = peer(&mut self.peers, whom) else {
            return;
        };
        let Some(seat) = peer.seat.take() else { return };
        peer.hints = None;
        self.subscribers -= 1;
        self.counters.ended += 1;
        let request = std::mem::take(&mut peer.request);
        peer.request.number = request.number;
        self.counters.events += request.events;
        self.counters.bytes += request.bytes;
        if let Some((stream, _)) = seat.among()
            && self.hub.leave(stream)
        {
            self.shown.remove(&stream);
        }
        let age = now.monotonic - seat.opened_at();
        self.say_end(&request, reason, age);
    }

    pub(super) fn say_end(&self, request: &RequestLog, reason: &str, age: Duration) {
        self.log.for_request(&request.label).stream_end(&StreamEnd {
            request: request.number,
            stream: request.stream,
            reason,
            age,
            events: request.events,
            bytes: request.bytes,
        });
    }

    /// The first line of a process.
    pub(super) fn log_start(&self, descriptors: u64) {
        let address = self.listener.as_ref().map(Listener::address);
        let text = format!(
            "sse-cgi {} listens on {}; it serves at most {} subscribers, with {descriptors} \
             descriptors",
            env!("CARGO_PKG_VERSION"),
            address.unwrap_or_default(),
            self.subscribers_max,
        );
        self.log.line(Level::Info, &text);
    }

    /// The last line of a process.
    pub(super) fn log_end(&self, now: Now) {
        let Some((signal, streams)) = self.ended_by else {
            return;
        };
        let uptime = now.monotonic - self.started.monotonic;
        // Those that did not end in time end with the process.
        let ended = self.counters.ended + self.subscribers as u64;
        let seconds = uptime.as_secs_f64();
        let text = format!(
            "ended by {signal} after {seconds:.1} s; {ended} streams ended, {streams} of them now"
        );
        self.log.line(Level::Info, &text);
    }

    /// Does what signals ask for; says whether to end at once.
    pub(super) fn obey(&mut self, now: Now) -> bool {
        while let Some(signal) = self.signals.next() {
            if signal == Signal::SIGHUP {
                self.log.reopen();
            } else if self.draining_until.is_some() {
                return true;
            } else {
                self.ended_by = Some((signal, self.subscribers));
                self.drain(now);
            }
        }
        false
    }

    /// Takes nobody any more, and ends every stream at the end of the event it is in.
    pub(super) fn drain(&mut self, now: Now) {
        self.notify.say("STOPPING=1");
        let until = now.monotonic + self.options.drain;
        self.draining_until = Some(until);
        let _ = self.listen(false);
        self.listener = None;
        self.timers.set(until, HOUSEKEEPING);
        let all: Vec<Whom> = self
            .peers
            .iter()
            .map(|(index, peer)| number(index, peer.generation))
            .collect();
        for whom in all {
            let Some(peer) = self.peer(whom) else {
                continue;
            };
            match peer.phase {
                Phase::Serving => self.say_farewell(whom, now),
                Phase::Reading if !peer.connection.is_incomplete() => self.remove(whom, "drained"),
                _ => {}
            }
        }
    }

    /// Ends a stream, and tells its client when to come again.
    pub(super) fn say_farewell(&mut self, whom: Whom, now: Now) {
        let Some(peer) = self.peer(whom) else { return };
        if let Some(seat) = &peer.seat {
            let retry = format!("retry: {}\n", seat.terms().retry_ms);
            peer.push_stdout(retry.as_bytes());
        }
        self.end(whom, "drained", now);
    }

    /// Ends the stream of a peer after what is on its way.
    pub(super) fn end(&mut self, whom: Whom, reason: &str, now: Now) {
        if let Some(peer) = self.peer(whom) {
            // (Of one that was aborted nothing is to be published.)
            peer.posting = None;
            peer.finish();
        }
        self.close_stream(whom, reason, now);
        self.flush(whom, now);
    }

    pub(super) fn is_drained(&self, now: Now) -> bool {
        self.draining_until
            .is_some_and(|until| self.peers.is_empty() || now.monotonic >= until)
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining_until.is_some()
    }
}

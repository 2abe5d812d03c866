//! Connection: the state of its protocol, its queued output, and the response that is served.
//!
//! ```text
//!  accept ─► Reading ─► Receiving ─► Finishing ─► Lingering ─► closed
//!               ▲  └──► Streaming ──────┘ │
//!               └──── kept (keep_conn) ◄──┘
//! ```

mod access;
mod output;
mod sending;

use std::num::NonZeroU64;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{MsgFlags, Shutdown, recv, shutdown};

use crate::gateway::{After, Incoming, Malformed, Protocol, SharedFrame};
use crate::request::{Head, Label};
use crate::source::Now;
use crate::store::post::PostHandler;
use crate::stream::{Channels, Scheduled, Subscriber};
use access::Access;
use output::Output;

/// A connection.
pub(super) struct Connection {
    socket: OwnedFd,
    protocol: Protocol,
    pub(super) state: State,
    output: Output,
    /// It is registered for EPOLLOUT.
    awaits_room: bool,
    /// The kernel had no room for output when it was tried last.
    is_blocked: bool,
    /// When the kernel had no room for the first time after the last byte that it took.
    /// ([`Now::monotonic`], in milliseconds and one more. Every subscriber contains it.)
    stalled_since_ms: Option<NonZeroU64>,
    pub(super) scheduled: Scheduled,
    pub(super) request: RequestLog,
    /// Its request in the access log, until the line is written.
    access: Option<Box<Access>>,
    /// The whole request has been received.
    is_request_read: bool,
    /// When its last request began, in tenths of a second.
    began_ds: u32,
    /// The approximate memory of its incomplete request; see [`Self::note_held`].
    held_bytes: u32,
    /// See [`Connection::receive`].
    unread_reply_bytes: u32,
    /// A peer that accepts nothing for so long is disconnected.
    send_timeout_ms: u32,
    generation: u32,
    /// What came of the next request before the end of this one's response.
    /// (A small pointer, as every subscriber contains it.)
    held_input: Option<Box<Box<[u8]>>>,
    /// The peer sends nothing more.
    has_input_ended: bool,
}

/// The state of its request.
pub(super) enum State {
    /// A request is awaited or being received, since this time.
    Reading { since: Duration },
    /// The body of a POST is being received, or its record is being appended to a file.
    Receiving(Box<PostHandler>),
    /// A stream is served.
    Streaming {
        subscriber: Box<Subscriber>,
        /// It is on its channel's list of waiting subscribers.
        is_waiting: bool,
    },
    /// The last bytes of the response are being sent.
    Finishing {
        after: After,
        /// The line for the log after they have been sent.
        report: Option<Box<Report>>,
    },
    /// They have been sent. Further input of the peer is read for a while, since closing with
    /// unread input would discard the response.
    Lingering {
        since: Duration,
        /// When there was input last.
        heard: Duration,
    },
}

/// The figures of a request.
#[derive(Clone, Default)]
pub(super) struct RequestLog {
    /// Its number in this process; 0 before the first one.
    pub(super) number: u64,
    /// Its label in log lines.
    pub(super) label: Label,
    /// Its query contains a link, so nginx, which logs the whole request, is sent no lines.
    pub(super) has_secret: bool,
    pub(super) stream: &'static str,
    pub(super) events: u64,
    /// The bytes that the kernel has accepted, including the protocol's frames.
    pub(super) bytes: u64,
}

/// The end of a stream.
pub(super) struct Report {
    pub(super) reason: &'static str,
    pub(super) age: Duration,
}

/// The next action of the event loop for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing: an event, a deadline or a change leads to the next action.
    Wait,
    /// Give it another turn after the other connections.
    Yield,
    /// Send its output, then advance.
    Flush,
    /// Take what came of its next request.
    Receive,
    /// All of its output has been sent: continue according to its state.
    Advance,
    /// Send its subscriber what is due.
    Serve,
    /// End its response; the log gets the reason.
    Finish(&'static str),
    /// Close it; the log gets the reason.
    Close(&'static str),
}

/// The result of sending output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    All,
    /// The kernel has no room for the rest.
    Blocked,
    /// The peer has closed the connection.
    Gone,
}

/// The result of sending chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivered {
    Sent(Sent),
    /// The ring no longer contains some that it needs.
    FellBehind,
}

/// The result of a read.
pub(super) enum Read {
    Bytes(usize),
    Nothing,
    End,
}

/// Why a peer is disconnected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offence {
    Malformed(Malformed),
    /// It sends requests and does not read the responses.
    ReadsNothing,
}

/// How many bytes of responses a peer may leave unread before it sends another request. Streams
/// are not counted: they wait for room.
const UNREAD_MAX_BYTES: u32 = 256 * 1024;

/// The estimated size of a response before it is known.
const RESPONSE_BYTES: usize = 1024;

impl Connection {
    /// A connection that has been accepted at `now`.
    pub(super) fn new(socket: OwnedFd, protocol: Protocol, now: Now) -> Self {
        Self {
            socket,
            protocol,
            state: State::Reading {
                since: now.monotonic,
            },
            output: Output::Nothing,
            awaits_room: false,
            is_blocked: false,
            stalled_since_ms: None,
            send_timeout_ms: 30_000,
            scheduled: Scheduled::default(),
            request: RequestLog::default(),
            access: None,
            is_request_read: false,
            began_ds: 0,
            held_bytes: 0,
            unread_reply_bytes: 0,
            generation: 0,
            held_input: None,
            has_input_ended: false,
        }
    }

    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    /// Another request is served on it: entries of queues and deadlines for the previous one do
    /// not apply to it.
    pub(super) fn set_generation(&mut self, generation: u32) {
        self.generation = generation;
        self.scheduled = Scheduled::default();
    }

    /// The events that epoll must report for it.
    pub(super) fn interest(&self) -> EpollFlags {
        let mut interest = EpollFlags::empty();
        if self.held_input.is_none() && !self.has_input_ended {
            interest |= EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
        }
        if self.awaits_room {
            interest |= EpollFlags::EPOLLOUT;
        }
        interest
    }

    /// Registers or unregisters it for room; returns whether that changes [`Self::interest`].
    pub(super) fn set_awaits_room(&mut self, on: bool) -> bool {
        std::mem::replace(&mut self.awaits_room, on) != on
    }

    /// Reads from the socket without blocking.
    pub(super) fn read(&self, buffer: &mut [u8]) -> Read {
        match recv(self.socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => Read::End,
            Ok(count) => Read::Bytes(count),
            Err(Errno::EAGAIN | Errno::EINTR) => Read::Nothing,
            Err(_) => Read::End,
        }
    }

    /// Takes the next item that requires an action from the beginning of `input`; `None` when
    /// all of the input has been consumed. Responses of the protocol itself are queued; the
    /// second value is `true` if there are some.
    pub(super) fn receive<'i>(
        &mut self,
        input: &mut &'i [u8],
        now: Now,
    ) -> Result<(Option<Incoming<'i>>, bool), Offence> {
        let was_incomplete = self.protocol.is_incomplete();
        let mut reply = Vec::new();
        let taken = self.protocol.take(input, &mut reply);
        if !was_incomplete && self.protocol.is_incomplete() {
            if let State::Reading { since } = &mut self.state {
                *since = now.monotonic;
            }
        }
        self.output.push(&reply);
        if let Some(access) = &mut self.access {
            access.head_bytes += reply.len() as u64;
        }
        let response_bytes = match &taken {
            Ok(Some(Incoming::Request(_))) => RESPONSE_BYTES,
            _ => reply.len(),
        };
        let response_bytes = u32::try_from(response_bytes).unwrap_or(u32::MAX);
        self.unread_reply_bytes = self.unread_reply_bytes.saturating_add(response_bytes);
        if self.unread_reply_bytes > UNREAD_MAX_BYTES {
            return Err(Offence::ReadsNothing);
        }
        let taken = taken.map_err(Offence::Malformed)?;
        match &taken {
            Some(Incoming::Request(_)) => {
                self.is_request_read = false;
                let began_ds = now.monotonic.as_millis() / 100;
                self.began_ds = u32::try_from(began_ds).unwrap_or(u32::MAX);
            }
            Some(Incoming::BodyEnd) => self.is_request_read = true,
            Some(Incoming::Rejected(_)) => self.is_request_read = false,
            _ => {}
        }
        Ok((taken, !reply.is_empty()))
    }

    /// Whether its peer sends requests before it has the responses, and these have to wait:
    /// for [`Connection::hold_input`].
    pub(super) fn holds_input(&self) -> bool {
        match self.state {
            State::Streaming { .. } => false,
            State::Finishing { after, .. } => after == After::Keep && self.protocol.is_serial(),
            _ => self.protocol.is_served_in_order(),
        }
    }

    /// Keeps input until its state is [`State::Reading`]; nothing more is read meanwhile.
    pub(super) fn hold_input(&mut self, input: &[u8]) {
        self.held_input = Some(Box::new(input.into()));
    }

    /// What was kept.
    pub(super) fn take_held_input(&mut self) -> Option<Box<[u8]>> {
        self.held_input.take().map(|input| *input)
    }

    /// Whether input was kept.
    pub(super) fn has_held_input(&self) -> bool {
        self.held_input.is_some()
    }

    /// Its peer sends nothing more. Says whether it may wait for a response all the same:
    /// over HTTP a client may close its side once it has sent a request, but a client of a
    /// stream that does so has left.
    pub(super) fn end_input(&mut self) -> bool {
        let awaits_response = match &self.state {
            State::Receiving(_) => self.is_request_read,
            State::Finishing { report, .. } => report.is_none(),
            _ => false,
        };
        self.has_input_ended = awaits_response && self.protocol.is_serial();
        self.has_input_ended
    }

    /// See [`Connection::end_input`].
    pub(super) fn has_input_ended(&self) -> bool {
        self.has_input_ended
    }

    /// Whether its client has had a response, and has not begun to send another request.
    pub(super) fn is_kept_idle(&self) -> bool {
        let is_reading = matches!(self.state, State::Reading { .. });
        is_reading && self.is_closed_when_idle() && self.request.number > 0 && !self.is_incomplete()
    }

    /// Whether it is closed when no request comes for a while; otherwise its peer decides how
    /// long it is kept.
    pub(super) fn is_closed_when_idle(&self) -> bool {
        self.protocol.is_serial()
    }

    /// Whether a request is incomplete.
    pub(super) fn is_incomplete(&self) -> bool {
        self.protocol.is_incomplete()
    }

    /// Since when a request, or the rest of one that has been responded to, is awaited; `None`
    /// while one is served.
    pub(super) fn incomplete_since(&self) -> Option<Duration> {
        match &self.state {
            State::Reading { since } | State::Lingering { since, .. } => Some(*since),
            State::Receiving(_) if !self.is_request_read => {
                Some(Duration::from_millis(u64::from(self.began_ds) * 100))
            }
            _ => None,
        }
    }

    /// The approximate memory of its incomplete request when it was noted last.
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes as usize
    }

    /// Updates the approximate memory of its request after so many more bytes were received.
    pub(super) fn note_held(&mut self, received_bytes: usize) {
        let held = match &self.state {
            State::Receiving(_) => self.held_bytes as usize + received_bytes,
            _ => {
                let held_input = self.held_input.as_ref().map_or(0, |input| input.len());
                self.protocol.held_bytes() + held_input
            }
        };
        self.held_bytes = u32::try_from(held).unwrap_or(u32::MAX);
    }

    /// Whether all of the request has been received.
    pub(super) fn is_request_read(&self) -> bool {
        self.is_request_read
    }

    /// Whether the kernel had no room for output when it was tried last.
    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// Output may be tried again. If the kernel takes nothing of it, the peer has been blocked
    /// all the time.
    pub(super) fn unblock(&mut self) {
        self.is_blocked = false;
    }

    /// The socket has no room at `now`: returns the time at which the peer is disconnected.
    pub(super) fn blocked_until(&mut self, now: Now) -> Duration {
        let since_ms = self.note_blocked(now);
        Duration::from_millis(since_ms.get().saturating_add(self.send_timeout_ms.into()))
    }

    /// Returns since when.
    fn note_blocked(&mut self, now: Now) -> NonZeroU64 {
        self.is_blocked = true;
        let now_ms = NonZeroU64::MIN.saturating_add(now.monotonic.as_millis() as u64);
        *self.stalled_since_ms.get_or_insert(now_ms)
    }

    /// Sets how long a peer may accept nothing before it is disconnected: at most an hour.
    pub(super) fn set_send_timeout(&mut self, timeout: Duration) {
        self.send_timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    }

    /// Whether all of its output has been sent.
    pub(super) fn is_idle(&self) -> bool {
        self.has_no_output() && !self.is_blocked
    }

    /// The action that must precede further output, unless it is idle: output that was not
    /// given to the kernel yet (a line for the web server's log) is sent; for room, an event of
    /// the socket is awaited.
    pub(super) fn action_before_more(&self) -> Action {
        match self.is_blocked {
            true => Action::Wait,
            false => Action::Flush,
        }
    }

    pub(super) fn has_no_output(&self) -> bool {
        matches!(self.output, Output::Nothing)
    }

    /// Queues a whole response.
    pub(super) fn push_response(&mut self, head: &Head, date: &str, body: &[u8]) {
        let bytes = self.protocol.response(head, date, body);
        self.note_head(head, &bytes);
        self.push_body(&bytes);
    }

    /// The bytes of a stream's head.
    pub(super) fn stream_head(&mut self, head: &Head, date: &str) -> Vec<u8> {
        let bytes = self.protocol.stream_head(head, date);
        self.note_head(head, &bytes);
        bytes
    }

    /// The connection is closed after the response that comes now.
    pub(super) fn keep_no_longer(&mut self) {
        self.protocol.keep_no_longer();
    }

    /// Queues a piece of the response.
    pub(super) fn push_body(&mut self, content: &[u8]) {
        self.output.push_body(&self.protocol, content);
    }

    /// Whether the web server can be sent lines for its error log.
    pub(super) fn takes_log_lines(&self) -> bool {
        self.protocol.takes_log_lines() && !self.request.has_secret
    }

    /// Queues a line for the web server's error log.
    pub(super) fn push_log_line(&mut self, line: &str) {
        let mut bytes = Vec::new();
        self.protocol.log_line(line, &mut bytes);
        self.output.push(&bytes);
    }

    /// Ends the response; queued output is sent first.
    pub(super) fn finish(&mut self, report: Option<Box<Report>>) {
        let mut bytes = Vec::new();
        let after = self.protocol.finish(&mut bytes);
        self.output.push(&bytes);
        self.state = State::Finishing { after, report };
    }

    /// Sends nothing more.
    pub(super) fn shut_output(&self) {
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Write);
    }

    /// Its subscriber, while a stream is served.
    pub(super) fn subscriber(&self) -> Option<&Subscriber> {
        match &self.state {
            State::Streaming { subscriber, .. } => Some(subscriber),
            _ => None,
        }
    }

    /// Its subscriber, while a stream is served.
    pub(super) fn subscriber_mut(&mut self) -> Option<&mut Subscriber> {
        match &mut self.state {
            State::Streaming { subscriber, .. } => Some(subscriber),
            _ => None,
        }
    }

    /// Sets whether it is on its channel's list of waiting subscribers; returns whether it was.
    pub(super) fn set_waiting(&mut self, on: bool) -> bool {
        match &mut self.state {
            State::Streaming { is_waiting, .. } => std::mem::replace(is_waiting, on),
            _ => false,
        }
    }

    /// Gives its subscriber a turn of catching up; the bytes are queued.
    pub(super) fn catch_up(
        &mut self,
        channels: &mut Channels,
        now: Now,
    ) -> Option<crate::stream::CaughtUp> {
        let State::Streaming { subscriber, .. } = &mut self.state else {
            return None;
        };
        let (output, protocol) = (&mut self.output, &self.protocol);
        let caught_up = channels.catch_up(subscriber, now, |bytes| {
            output.push_body(protocol, bytes);
        })?;
        self.request.events += caught_up.events;
        Some(caught_up)
    }

    /// The frame of the chunks that are sent on it.
    pub(super) fn shared_frame(&self) -> Option<SharedFrame> {
        self.protocol.shared_frame()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_subscriber_takes_less_than_600_bytes() {
        // In addition: an entry of the timers (16), of the waiting list (8), of the slab (8).
        let bytes = size_of::<Connection>() + size_of::<Subscriber>();
        assert!(bytes <= 480, "{bytes}");
    }
}

//! One connection from a web server: what is on its way, and who it is for.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{MsgFlags, Shutdown, recv, send, sendmsg, shutdown};

use super::super::posting::Posting;
use super::super::watch::Hints;
use super::spread::Spread;
use crate::gateway::fastcgi::{self, After, Connection};
use crate::request::Label;
use crate::source::Now;
use crate::stream::{Chunk, Ring, Seat};

/// A connection.
pub(super) struct Peer {
    socket: OwnedFd,
    pub(super) connection: Connection,
    pub(super) phase: Phase,
    pub(super) seat: Option<Box<Seat>>,
    pub(super) posting: Option<Box<Posting>>,
    pub(super) outgoing: Outgoing,
    /// It is registered for room.
    pub(super) waits_for_room: bool,
    /// It is on the list of who waits for what a shared stream says next.
    pub(super) is_waiting: bool,
    /// Since when it has taken nothing of what is on its way.
    pub(super) blocked_since: Option<Duration>,
    /// A peer that takes nothing for so long is closed.
    pub(super) send_timeout: Duration,
    /// The moment at which it is woken, if it is to be.
    pub(super) due: Option<Duration>,
    /// When it connected, or began its request.
    pub(super) since: Duration,
    /// What is told of the file that it reads by itself.
    pub(super) hints: Option<Rc<Hints>>,
    /// Whether changes of that file are told at all.
    pub(super) is_watched: bool,
    /// Whether it waits for its turn already.
    pub(super) is_ready: bool,
    /// How often it has tried in vain to join the others.
    pub(super) tries: u32,
    /// All of the request has come.
    pub(super) is_read: bool,
    pub(super) request: RequestLog,
    /// How much it has been answered since it took all that was on its way: see
    /// [`Peer::asks_too_much`].
    pub(super) untaken_bytes: u32,
    /// Told apart from who had this place before.
    pub(super) generation: u32,
}

/// What the log says of a request when it ends.
#[derive(Clone, Default)]
pub(super) struct RequestLog {
    pub(super) number: u64,
    pub(super) label: Label,
    pub(super) stream: &'static str,
    pub(super) events: u64,
    pub(super) bytes: u64,
}

/// How far its request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// A request is awaited, or being read.
    Reading,
    /// The body of a POST is received, or is on its way into a file.
    Receiving,
    /// A stream is served.
    Serving,
    /// The last bytes are on their way.
    Ending(After),
    /// They have been taken; what still comes is read, since closing with something unread
    /// would take back what was sent.
    Lingering,
}

pub(super) enum Outgoing {
    Nothing,
    Bytes { bytes: Vec<u8>, from: usize },
    Chunk { chunk: Rc<Chunk>, from: usize },
}

impl Outgoing {
    fn push(&mut self, records: &[u8]) {
        match self {
            Self::Bytes { bytes, .. } => bytes.extend_from_slice(records),
            Self::Nothing if records.is_empty() => {}
            Self::Nothing => {
                *self = Self::Bytes {
                    bytes: records.to_vec(),
                    from: 0,
                };
            }
            Self::Chunk { chunk, from } => {
                let mut bytes = chunk.bytes[*from..].to_vec();
                bytes.extend_from_slice(records);
                *self = Self::Bytes { bytes, from: 0 };
            }
        }
    }

    pub(super) fn push_stdout(&mut self, id: u16, content: &[u8]) {
        let mut records = Vec::with_capacity(content.len() + 2 * fastcgi::HEADER_BYTES);
        fastcgi::stdout(id, content, &mut records);
        match self {
            Self::Nothing => {
                *self = Self::Bytes {
                    bytes: records,
                    from: 0,
                };
            }
            _ => self.push(&records),
        }
    }
}

/// What became of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    All,
    /// There is no room for the rest.
    Blocked,
    /// Nobody takes them any more.
    Gone,
}

/// What became of chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivered {
    Sent(Sent),
    /// Some that it needs have been forgotten.
    FellOut,
}

/// What a read brought.
pub(super) enum Read {
    Bytes(usize),
    Nothing,
    End,
}

/// How many chunks leave in one system call, at most.
const CHUNKS_MAX: usize = 64;

/// What a peer may have been answered without taking it, at most. A stream is not counted: it
/// waits for room.
const UNTAKEN_MAX_BYTES: u32 = 256 * 1024;

/// Chunks are framed for this request id, which every server uses.
pub(super) const SHARED_ID: u16 = 1;

impl Peer {
    pub(super) fn new(socket: OwnedFd, connection: Connection, generation: u32, now: Now) -> Self {
        Self {
            socket,
            connection,
            phase: Phase::Reading,
            seat: None,
            posting: None,
            outgoing: Outgoing::Nothing,
            waits_for_room: false,
            is_waiting: false,
            blocked_since: None,
            send_timeout: Duration::from_secs(30),
            due: None,
            since: now.monotonic,
            hints: None,
            is_watched: false,
            is_ready: false,
            tries: 0,
            is_read: false,
            request: RequestLog::default(),
            untaken_bytes: 0,
            generation,
        }
    }

    /// Whether all that was to be sent has been taken.
    pub(super) fn is_free(&self) -> bool {
        matches!(self.outgoing, Outgoing::Nothing) && self.blocked_since.is_none()
    }

    /// What the epoll is to tell of it.
    pub(super) fn awaited(&self) -> EpollFlags {
        let always = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
        if self.waits_for_room {
            always | EpollFlags::EPOLLOUT
        } else {
            always
        }
    }

    pub(super) fn outgoing_is_empty(&self) -> bool {
        matches!(self.outgoing, Outgoing::Nothing)
    }

    pub(super) fn read(&self, buffer: &mut [u8]) -> Read {
        match recv(self.socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => Read::End,
            Ok(count) => Read::Bytes(count),
            Err(Errno::EAGAIN | Errno::EINTR) => Read::Nothing,
            Err(_) => Read::End,
        }
    }

    /// No more will be sent.
    pub(super) fn shut(&self) {
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Write);
    }

    /// Adds records to what is on its way.
    pub(super) fn push(&mut self, records: &[u8]) {
        self.outgoing.push(records);
    }

    /// Sends output of the request: it is framed here.
    pub(super) fn push_stdout(&mut self, content: &[u8]) {
        self.outgoing.push_stdout(self.id(), content);
    }

    /// Ends the request; what is on its way goes first.
    pub(super) fn finish(&mut self) {
        let mut records = Vec::new();
        let after = self.connection.finish(0, &mut records);
        self.push(&records);
        self.phase = Phase::Ending(after);
    }

    /// Notes an answer of so many bytes; says whether it has asked for more than it takes.
    pub(super) fn asks_too_much(&mut self, answer_bytes: usize) -> bool {
        let bytes = u32::try_from(answer_bytes).unwrap_or(u32::MAX);
        self.untaken_bytes = self.untaken_bytes.saturating_add(bytes);
        self.untaken_bytes > UNTAKEN_MAX_BYTES
    }

    fn id(&self) -> u16 {
        self.connection.request_id().unwrap_or(SHARED_ID)
    }

    /// Sends what is on its way.
    pub(super) fn flush(&mut self, now: Now) -> Sent {
        loop {
            let (rest, from) = match &mut self.outgoing {
                Outgoing::Nothing => {
                    self.blocked_since = None;
                    self.untaken_bytes = 0;
                    return Sent::All;
                }
                Outgoing::Bytes { bytes, from } => (&bytes[*from..], from),
                Outgoing::Chunk { chunk, from } => (&chunk.bytes[*from..], from),
            };
            match write(&self.socket, rest) {
                Ok(count) => {
                    let is_all = count == rest.len();
                    *from += count;
                    self.request.bytes += count as u64;
                    // A peer that takes a little takes something.
                    self.blocked_since = None;
                    if is_all {
                        self.outgoing = Outgoing::Nothing;
                    }
                }
                Err(Errno::EAGAIN) => {
                    self.blocked_since.get_or_insert(now.monotonic);
                    return Sent::Blocked;
                }
                Err(Errno::EINTR) => {}
                Err(_) => return Sent::Gone,
            }
        }
    }

    /// Sends what there is of a shared stream. Nothing else may be on its way. `spread` is
    /// one of its chunks, ready for many.
    pub(super) fn deliver(&mut self, ring: &Ring, spread: Option<&Spread>, now: Now) -> Delivered {
        let Some(seat) = &mut self.seat else {
            return Delivered::Sent(Sent::All);
        };
        let is_shared_id = self
            .connection
            .request_id()
            .is_none_or(|id| id == SHARED_ID);
        loop {
            let Some((_, next)) = seat.among() else {
                return Delivered::Sent(Sent::All);
            };
            let Some(chunks) = ring.from(next) else {
                return Delivered::FellOut;
            };
            if !is_shared_id {
                return self.deliver_readdressed(ring, now);
            }
            let mut pieces = [IoSlice::new(&[]); CHUNKS_MAX];
            let mut count = 0;
            let mut bytes = 0;
            for (piece, chunk) in pieces.iter_mut().zip(chunks) {
                *piece = IoSlice::new(&chunk.bytes);
                bytes += chunk.bytes.len();
                count += 1;
            }
            let taken = match count {
                0 => return Delivered::Sent(Sent::All),
                1 => match spread.filter(|spread| spread.number() == next) {
                    Some(spread) => spread.send(&self.socket),
                    None => write(&self.socket, &pieces[0]),
                },
                _ => write_all_of(&self.socket, &pieces[..count]),
            };
            let taken = match taken {
                Ok(taken) => taken,
                Err(Errno::EAGAIN) => {
                    self.blocked_since.get_or_insert(now.monotonic);
                    return Delivered::Sent(Sent::Blocked);
                }
                Err(Errno::EINTR) => continue,
                // Not for such a socket, or not in this sandbox; or nobody is there.
                Err(_) if spread.is_some() => return self.deliver(ring, None, now),
                Err(_) => return Delivered::Sent(Sent::Gone),
            };
            self.blocked_since = None;
            self.request.bytes += taken as u64;
            let mut left = taken;
            let (mut passed, mut events) = (0, 0);
            let mut last = None;
            for chunk in ring.from(next).into_iter().flatten() {
                if left == 0 {
                    break;
                }
                passed += 1;
                last = Some(chunk);
                events += chunk.events;
                if left < chunk.bytes.len() {
                    self.outgoing = Outgoing::Chunk {
                        chunk: Rc::clone(chunk),
                        from: left,
                    };
                    break;
                }
                left -= chunk.bytes.len();
            }
            self.request.events += events;
            if let Some(chunk) = last {
                seat.passed(passed, events, &chunk.end, now);
            }
            if taken < bytes {
                self.blocked_since = Some(now.monotonic);
                return Delivered::Sent(Sent::Blocked);
            }
        }
    }

    /// The same for another request id than the chunks are framed for.
    fn deliver_readdressed(&mut self, ring: &Ring, now: Now) -> Delivered {
        let id = self.id();
        let Some(seat) = &mut self.seat else {
            return Delivered::Sent(Sent::All);
        };
        loop {
            let Some((_, next)) = seat.among() else {
                return Delivered::Sent(Sent::All);
            };
            let Some(chunk) = ring.from(next).and_then(|mut chunks| chunks.next()) else {
                return Delivered::Sent(Sent::All);
            };
            let mut bytes = Vec::with_capacity(chunk.bytes.len());
            fastcgi::readdressed(&chunk.bytes, id, &mut bytes);
            seat.passed(1, chunk.events, &chunk.end, now);
            self.request.events += chunk.events;
            self.outgoing = Outgoing::Bytes { bytes, from: 0 };
            // (Borrowed anew: flushing is the peer's.)
            match flush(&self.socket, &mut self.outgoing) {
                Ok(count) => self.request.bytes += count as u64,
                Err(_) => return Delivered::Sent(Sent::Gone),
            }
            if !matches!(self.outgoing, Outgoing::Nothing) {
                self.blocked_since = Some(now.monotonic);
                return Delivered::Sent(Sent::Blocked);
            }
        }
    }
}

impl AsFd for Peer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn write(socket: &OwnedFd, bytes: &[u8]) -> nix::Result<usize> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    send(socket.as_raw_fd(), bytes, flags)
}

fn write_all_of(socket: &OwnedFd, pieces: &[IoSlice<'_>]) -> nix::Result<usize> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(socket.as_raw_fd(), pieces, &[], flags, None)
}

/// Writes what is taken of `outgoing`, and says how much that is.
fn flush(socket: &OwnedFd, outgoing: &mut Outgoing) -> nix::Result<usize> {
    let Outgoing::Bytes { bytes, from } = outgoing else {
        return Ok(0);
    };
    let before = *from;
    while *from < bytes.len() {
        match write(socket, &bytes[*from..]) {
            Ok(count) => *from += count,
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(*from - before),
            Err(error) => return Err(error),
        }
    }
    let written = bytes.len() - before;
    *outgoing = Outgoing::Nothing;
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_subscriber_takes_less_than_600_bytes() {
        // Besides these: an entry of the timers (24), of who waits (8), of the slab (8).
        let bytes = size_of::<Peer>() + size_of::<Seat>();
        assert!(bytes <= 540, "{bytes}");
    }
}

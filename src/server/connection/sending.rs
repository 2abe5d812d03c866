//! Sending: queued output, and the chunks of a channel.

use std::io::IoSlice;
use std::rc::Rc;

use nix::errno::Errno;

use super::output::{Output, framed, write, write_all_of};
use super::{Connection, Delivered, Sent};
use crate::gateway::SharedFrame;
use crate::server::shared_pages::SharedPages;
use crate::source::Now;
use crate::stream::{Chunk, Ring, Subscriber};

/// The maximum number of chunks in one system call.
const CHUNKS_MAX: usize = 64;

impl Connection {
    /// Sends the output without blocking.
    pub(in crate::server) fn flush(&mut self, now: Now) -> Sent {
        loop {
            let (rest, from) = match &mut self.output {
                Output::Nothing => {
                    self.is_blocked = false;
                    self.unread_reply_bytes = 0;
                    return Sent::All;
                }
                Output::Bytes { bytes, from } => (&bytes[*from..], from),
                Output::Chunk { chunk, frame, from } => (&framed(chunk, *frame)[*from..], from),
            };
            match write(&self.socket, rest) {
                Ok(count) => {
                    let is_all = count == rest.len();
                    *from += count;
                    self.request.bytes += count as u64;
                    // A peer that accepts a little is not blocked.
                    self.is_blocked = false;
                    self.stalled_since_ms = None;
                    if is_all {
                        self.output = Output::Nothing;
                    }
                }
                Err(Errno::EAGAIN) => {
                    self.note_blocked(now);
                    return Sent::Blocked;
                }
                Err(Errno::EINTR) => {}
                Err(_) => return Sent::Gone,
            }
        }
    }

    /// Sends the chunks of its channel that its subscriber needs. No output may be queued.
    /// `pages` is the newest chunk, prepared for many subscribers.
    pub(in crate::server) fn deliver(
        &mut self,
        ring: &Ring,
        pages: Option<&SharedPages>,
        now: Now,
    ) -> Delivered {
        loop {
            let Some((_, next)) = self.subscriber().and_then(Subscriber::live) else {
                return Delivered::Sent(Sent::All);
            };
            let Some(chunks) = ring.from(next) else {
                return Delivered::FellBehind;
            };
            let sent = match self.protocol.shared_frame() {
                Some(frame) => self.send_chunks(chunks, next, frame, pages, now),
                None => self.send_chunk_framed_alone(chunks, now),
            };
            if let Some(sent) = sent {
                return Delivered::Sent(sent);
            }
        }
    }

    /// Sends chunks in one system call; `None` when there may be more to send.
    fn send_chunks<'r>(
        &mut self,
        chunks: impl Iterator<Item = &'r Rc<Chunk>> + Clone,
        next: u64,
        frame: SharedFrame,
        pages: Option<&SharedPages>,
        now: Now,
    ) -> Option<Sent> {
        let mut others = chunks.clone();
        let first = match others.next() {
            Some(chunk) => framed(chunk, frame),
            None => return Some(Sent::All),
        };
        // Almost always there is one, and each subscriber gets it: that costs nothing for more.
        let (taken, bytes, has_more, pages) = match others.next() {
            None => {
                let pages = pages.filter(|pages| pages.is_of(next, frame));
                let taken = match pages {
                    Some(pages) => pages.send(&self.socket),
                    None => write(&self.socket, first),
                };
                (taken, first.len(), false, pages)
            }
            Some(_) => {
                let (taken, bytes, count) = self.write_chunks(chunks.clone(), frame);
                (taken, bytes, count == CHUNKS_MAX, None)
            }
        };
        let taken = match taken {
            Ok(taken) => taken,
            Err(Errno::EAGAIN) => {
                self.note_blocked(now);
                return Some(Sent::Blocked);
            }
            Err(Errno::EINTR) => return None,
            // sendfile does not support this socket or sandbox, or the peer has disconnected.
            Err(_) if pages.is_some() => match write(&self.socket, first) {
                Ok(taken) => taken,
                Err(Errno::EAGAIN) => {
                    self.note_blocked(now);
                    return Some(Sent::Blocked);
                }
                Err(Errno::EINTR) => return None,
                Err(_) => return Some(Sent::Gone),
            },
            Err(_) => return Some(Sent::Gone),
        };
        self.is_blocked = false;
        self.stalled_since_ms = None;
        self.request.bytes += taken as u64;
        self.note_chunks(chunks, taken, frame, now);
        if taken < bytes {
            self.note_blocked(now);
            return Some(Sent::Blocked);
        }
        (!has_more).then_some(Sent::All)
    }

    /// Writes several chunks in one system call; returns the result, the number of their bytes
    /// and of the chunks.
    fn write_chunks<'r>(
        &self,
        chunks: impl Iterator<Item = &'r Rc<Chunk>>,
        frame: SharedFrame,
    ) -> (nix::Result<usize>, usize, usize) {
        let mut pieces = [IoSlice::new(&[]); CHUNKS_MAX];
        let (mut count, mut bytes) = (0, 0);
        for (piece, chunk) in pieces.iter_mut().zip(chunks) {
            let framed = framed(chunk, frame);
            *piece = IoSlice::new(framed);
            bytes += framed.len();
            count += 1;
        }
        let taken = write_all_of(&self.socket, &pieces[..count]);
        (taken, bytes, count)
    }

    /// The kernel has accepted so many bytes of these chunks.
    fn note_chunks<'r>(
        &mut self,
        chunks: impl Iterator<Item = &'r Rc<Chunk>>,
        taken: usize,
        frame: SharedFrame,
        now: Now,
    ) {
        let (mut left, mut count, mut events, mut last) = (taken, 0, 0, None);
        for chunk in chunks {
            if left == 0 {
                break;
            }
            count += 1;
            last = Some(chunk);
            events += chunk.events;
            let length = framed(chunk, frame).len();
            if left < length {
                self.output = Output::Chunk {
                    chunk: Rc::clone(chunk),
                    frame,
                    from: left,
                };
                break;
            }
            left -= length;
        }
        self.request.events += events;
        if let (Some(chunk), Some(subscriber)) = (last, self.subscriber_mut()) {
            subscriber.chunks_sent(count, events, &chunk.end, now);
        }
    }

    /// Sends one chunk in a frame of this connection only; `None` when there may be more to
    /// send.
    fn send_chunk_framed_alone<'r>(
        &mut self,
        mut chunks: impl Iterator<Item = &'r Rc<Chunk>>,
        now: Now,
    ) -> Option<Sent> {
        let Some(chunk) = chunks.next() else {
            return Some(Sent::All);
        };
        self.push_body(&chunk.bytes);
        self.request.events += chunk.events;
        if let Some(subscriber) = self.subscriber_mut() {
            subscriber.chunks_sent(1, chunk.events, &chunk.end, now);
        }
        match self.flush(now) {
            Sent::All => None,
            sent => Some(sent),
        }
    }
}

//! Ring: the most recent chunks of a channel, encoded once for all of its subscribers.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::event::EventId;

/// How many framings of one chunk are cached: one for each protocol that frames the bytes of a
/// body and can use the same frame for many connections.
pub const FRAMINGS_MAX: usize = 2;

/// Some events, encoded once for all who receive them.
#[derive(Debug)]
pub struct Chunk {
    /// The encoded events, without any gateway's frame.
    pub bytes: Box<[u8]>,
    /// The position after it: a client that has received the chunk resumes here.
    pub end: Rc<EventId<'static>>,
    /// The number of its events.
    pub events: u64,
    framed: [OnceCell<Box<[u8]>>; FRAMINGS_MAX],
}

impl Chunk {
    /// A chunk without cached framings.
    #[must_use]
    pub fn new(bytes: Box<[u8]>, end: Rc<EventId<'static>>, events: u64) -> Self {
        Self {
            bytes,
            end,
            events,
            framed: Default::default(),
        }
    }

    /// Its bytes in the framing number `slot`, below [`FRAMINGS_MAX`]. `frame` appends the
    /// framed bytes to its second argument. It is called once for each slot, and must always be
    /// the same for a slot.
    pub fn framed(&self, slot: usize, frame: fn(&[u8], &mut Vec<u8>)) -> &[u8] {
        self.framed[slot].get_or_init(|| {
            let mut framed = Vec::with_capacity(self.bytes.len() + 8);
            frame(&self.bytes, &mut framed);
            framed.into()
        })
    }
}

/// The last chunks of a channel, each with a number that counts from 0.
///
/// A subscriber that is slower than the fastest one takes its chunks from here. A subscriber
/// that needs a chunk that is no longer kept reads the file by itself.
#[derive(Debug, Default)]
pub struct Ring {
    chunks: VecDeque<Rc<Chunk>>,
    /// The number of the next chunk.
    next: u64,
    bytes: usize,
}

impl Ring {
    /// The maximum number of bytes of events that are kept, besides the newest chunk. The
    /// buffers between a server and a client contain more (4 MB behind nginx), so a subscriber
    /// that is further behind than this has not read for a while.
    pub const BYTES_MAX: usize = 2 * 1024 * 1024;

    /// Adds a chunk, and drops the oldest ones beyond the limit.
    pub fn push(&mut self, chunk: Chunk) {
        self.bytes += chunk.bytes.len();
        self.chunks.push_back(Rc::new(chunk));
        self.next += 1;
        while self.bytes > Self::BYTES_MAX && self.chunks.len() > 1 {
            if let Some(oldest) = self.chunks.pop_front() {
                self.bytes -= oldest.bytes.len();
            }
        }
    }

    /// The number of the next chunk.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The number of the oldest chunk that is kept, or of the next one if none is kept.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.next - self.chunks.len() as u64
    }

    /// The chunks from `number` on; `None` if some of them are no longer kept.
    #[must_use]
    pub fn from(&self, number: u64) -> Option<impl Iterator<Item = &Rc<Chunk>> + Clone> {
        let skipped = number.checked_sub(self.first())?;
        Some(self.chunks.range(usize::try_from(skipped).ok()?..))
    }

    /// The number of the chunk that follows the position `end`, and that position as it is
    /// stored here, if it is in the ring. The search begins at the newest chunk, because a
    /// subscriber that catches up is near it.
    #[must_use]
    pub fn after(&self, end: &EventId<'_>) -> Option<(u64, Rc<EventId<'static>>)> {
        let back = self.chunks.iter().rev().position(|c| *c.end == *end)?;
        let chunk = &self.chunks[self.chunks.len() - 1 - back];
        Some((self.next - back as u64, Rc::clone(&chunk.end)))
    }

    /// Drops all chunks, but keeps counting from the last number.
    pub fn clear(&mut self) {
        self.chunks = VecDeque::new();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(bytes: usize, end: &str) -> Chunk {
        let end = Rc::new(EventId::new(end.to_owned()).unwrap());
        Chunk::new(vec![0; bytes].into(), end, 1)
    }

    #[test]
    fn the_oldest_chunks_are_dropped_beyond_the_limit_and_reported_as_missing() {
        let mut ring = Ring::default();
        for number in 0..5 {
            ring.push(chunk(Ring::BYTES_MAX / 2, &number.to_string()));
        }
        assert_eq!((ring.first(), ring.next()), (3, 5));
        assert!(ring.from(2).is_none());
        assert_eq!(ring.from(3).unwrap().count(), 2);
        assert_eq!(ring.from(5).unwrap().count(), 0);
        ring.push(chunk(10 * Ring::BYTES_MAX, "huge"));
        assert_eq!((ring.first(), ring.next()), (5, 6));
    }

    #[test]
    fn a_position_is_found_by_its_id() {
        let mut ring = Ring::default();
        for end in ["a", "b", "c"] {
            ring.push(chunk(1, end));
        }
        let after = |end: &str| {
            let found = ring.after(&EventId::new(end.to_owned()).unwrap());
            found.map(|(number, _)| number)
        };
        assert_eq!(
            (after("a"), after("c"), after("x")),
            (Some(1), Some(3), None)
        );
        ring.clear();
        assert_eq!((ring.first(), ring.next()), (3, 3));
        assert!(ring.from(2).is_none());
    }

    #[test]
    fn a_chunk_is_framed_once_for_each_framing() {
        let chunk = chunk(3, "a");
        let framed = chunk.framed(0, |bytes, out| {
            out.push(b'[');
            out.extend_from_slice(bytes);
        });
        assert_eq!(framed, b"[\0\0\0");
        assert_eq!(
            chunk.framed(0, |_, _| unreachable!("it is kept")),
            b"[\0\0\0"
        );
        assert_eq!(
            chunk.framed(1, |bytes, out| out.extend_from_slice(bytes)),
            b"\0\0\0"
        );
    }
}

//! What a shared stream said last, ready to be sent.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::event::EventId;

/// A few events, encoded and framed once for all who get them.
#[derive(Debug)]
pub struct Chunk {
    /// What is written, as it is: the gateway's frame included.
    pub bytes: Box<[u8]>,
    /// The place after it: a client that has got it goes on from here.
    pub end: Rc<EventId<'static>>,
    /// How many events it holds.
    pub events: u64,
}

/// The last chunks of a shared stream, each with a number that counts from 0.
///
/// It bridges the time between the fastest subscriber and the others. Who falls out of
/// it reads the file.
#[derive(Debug, Default)]
pub struct Ring {
    chunks: VecDeque<Rc<Chunk>>,
    /// The number of the next chunk.
    next: u64,
    bytes: usize,
}

impl Ring {
    /// How many bytes are kept, at most, besides the newest chunk. The buffers between a
    /// responder and a client hold more (4 MB behind nginx), so who is further behind than
    /// this has not been reading for a while.
    pub const BYTES_MAX: usize = 2 * 1024 * 1024;

    /// Adds a chunk, and forgets the oldest beyond the limit.
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

    /// The number of the oldest chunk that is kept; that of the next if there is none.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.next - self.chunks.len() as u64
    }

    /// The chunks from `number` on; `None` when some of them have been forgotten.
    #[must_use]
    pub fn from(&self, number: u64) -> Option<impl Iterator<Item = &Rc<Chunk>>> {
        let skipped = number.checked_sub(self.first())?;
        Some(self.chunks.range(usize::try_from(skipped).ok()?..))
    }

    /// The number of the chunk that follows the place `end`, and the place as it is kept
    /// here, if it is in the ring. The newest is looked at first: who catches up is near
    /// it.
    #[must_use]
    pub fn after(&self, end: &EventId<'_>) -> Option<(u64, Rc<EventId<'static>>)> {
        let back = self.chunks.iter().rev().position(|c| *c.end == *end)?;
        let chunk = &self.chunks[self.chunks.len() - 1 - back];
        Some((self.next - back as u64, Rc::clone(&chunk.end)))
    }

    /// Forgets all chunks, but not how many there were.
    pub fn clear(&mut self) {
        self.chunks = VecDeque::new();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(bytes: usize, end: &str) -> Chunk {
        Chunk {
            bytes: vec![0; bytes].into(),
            end: Rc::new(EventId::new(end.to_owned()).unwrap()),
            events: 1,
        }
    }

    #[test]
    fn the_oldest_are_forgotten_beyond_the_limit_and_said_to_be() {
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
    fn a_place_is_found_by_its_id() {
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
}

//! The bytes that a cursor holds of its file.

use std::ops::Deref;

/// Bytes of a file, seen as a slice, and room behind them to read into. The room stays
/// from one read to the next: clearing it each time would cost more than a short read.
#[derive(Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    /// How many of `bytes` are the file's; what follows is room.
    held: usize,
}

impl Buffer {
    /// The last `overlap_bytes` that are held and room for `more_bytes` behind them.
    /// Whatever is written there is nothing until [`Buffer::hold`].
    pub(super) fn room(&mut self, overlap_bytes: usize, more_bytes: usize) -> &mut [u8] {
        let end = self.held + more_bytes;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        &mut self.bytes[self.held - overlap_bytes..end]
    }

    /// The first `length` bytes, room included, are the file's.
    pub(super) fn hold(&mut self, length: usize) {
        self.held = length.min(self.bytes.len());
    }

    /// Forgets the first `count` bytes.
    pub(super) fn forget(&mut self, count: usize) {
        self.bytes.copy_within(count..self.held, 0);
        self.held -= count;
    }

    /// Puts `bytes` before those that are held.
    pub(super) fn put_before(&mut self, bytes: &[u8]) {
        self.bytes.splice(..0, bytes.iter().copied());
        self.held += bytes.len();
    }

    /// Gives back room, down to `room_bytes`.
    pub(super) fn shrink(&mut self, room_bytes: usize) {
        self.bytes.truncate(self.held + room_bytes);
        self.bytes.shrink_to_fit();
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        let held = bytes.len();
        Self { bytes, held }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.held]
    }
}

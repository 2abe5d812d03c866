//! Body: the body of a request while it is received.
//!
//! ```text
//!          bytes             the length, or the end of the input
//! more ───────────► more ─────────────────────────────────────► whole
//!   ├─ more than the limit ─► too large
//!   ├─ the end before the length ─► cut off
//!   └─ the deadline ─► late
//! ```

use std::time::Duration;

use super::fields::Length;

/// A body that is being received.
#[derive(Debug)]
pub struct Body {
    bytes: Vec<u8>,
    length: Length,
    limit_bytes: usize,
    until: Duration,
    /// The input has ended.
    ended: bool,
}

/// The state of receiving it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Bytes are missing.
    More,
    /// It has been received whole.
    Whole,
    /// It exceeds the limit. No more than the limit was kept.
    TooLarge,
    /// It did not arrive in time.
    Late,
    /// It ended before its length: the client has disconnected.
    CutOff,
}

impl Body {
    /// A body of at most `limit_bytes` bytes, which must arrive before `until`.
    #[must_use]
    pub fn new(length: Length, limit_bytes: usize, until: Duration) -> Self {
        Self {
            bytes: Vec::new(),
            length,
            limit_bytes,
            until,
            ended: false,
        }
    }

    /// How many bytes to read: one byte beyond the limit shows that it is exceeded.
    #[must_use]
    pub fn wanted_bytes(&self) -> usize {
        let most = match self.length {
            Length::Known(length) => length.min(self.limit_bytes as u64) as usize,
            _ => self.limit_bytes + 1,
        };
        most.saturating_sub(self.bytes.len())
    }

    /// Adds bytes. Bytes after the end of the body are ignored.
    pub fn take(&mut self, bytes: &[u8]) {
        let taken = bytes.len().min(self.wanted_bytes());
        self.bytes.extend_from_slice(&bytes[..taken]);
    }

    /// The input has ended.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// The state at `now`.
    #[must_use]
    pub fn at(&self, now: Duration) -> Progress {
        match self.length {
            Length::Known(length) if length > self.limit_bytes as u64 => Progress::TooLarge,
            Length::Known(length) if self.bytes.len() as u64 >= length => Progress::Whole,
            _ if self.bytes.len() > self.limit_bytes => Progress::TooLarge,
            Length::ToTheEnd if self.ended => Progress::Whole,
            _ if self.ended => Progress::CutOff,
            _ if now >= self.until => Progress::Late,
            _ => Progress::More,
        }
    }

    /// The time before which it must arrive.
    #[must_use]
    pub fn until(&self) -> Duration {
        self.until
    }

    /// The bytes that have arrived.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn body(length: Length) -> Body {
        Body::new(length, 5, SECOND)
    }

    fn taken(length: Length, bytes: &[u8]) -> Body {
        let mut body = body(length);
        body.take(bytes);
        body
    }

    const START: Duration = Duration::ZERO;

    #[test]
    fn a_body_is_whole_at_its_length_or_at_the_end_of_the_input() {
        let mut known = taken(Length::Known(3), b"ab");
        assert_eq!(known.at(START), Progress::More);
        known.take(b"cde");
        assert_eq!(known.at(SECOND * 9), Progress::Whole);
        assert_eq!(known.bytes(), b"abc");
        assert_eq!(body(Length::Known(0)).at(START), Progress::Whole);
        let mut open = taken(Length::ToTheEnd, b"abcde");
        assert_eq!(open.at(START), Progress::More);
        open.end();
        assert_eq!(open.at(SECOND * 9), Progress::Whole);
        assert_eq!(open.bytes(), b"abcde");
    }

    #[test]
    fn a_body_that_is_too_large_is_known_at_once_or_one_byte_beyond() {
        assert_eq!(body(Length::Known(6)).at(START), Progress::TooLarge);
        assert_eq!(body(Length::Known(6)).wanted_bytes(), 5);
        let mut open = taken(Length::ToTheEnd, &[b'x'; 1000]);
        assert_eq!(open.at(START), Progress::TooLarge);
        assert_eq!((open.bytes().len(), open.wanted_bytes()), (6, 0));
        open.end();
        assert_eq!(open.at(START), Progress::TooLarge);
    }

    #[test]
    fn a_body_that_stops_is_late_or_cut_off() {
        let mut slow = taken(Length::Known(3), b"ab");
        assert_eq!(slow.at(SECOND - Duration::from_nanos(1)), Progress::More);
        assert_eq!(slow.at(SECOND), Progress::Late);
        slow.end();
        assert_eq!(slow.at(START), Progress::CutOff);
        assert_eq!(body(Length::ToTheEnd).at(SECOND), Progress::Late);
    }

    proptest! {
        #[test]
        fn the_pieces_do_not_matter(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4), 0..6),
            length in prop_oneof![Just(Length::ToTheEnd), (0_u64..8).prop_map(Length::Known)],
        ) {
            let whole = pieces.concat();
            let mut at_once = body(length);
            at_once.take(&whole);
            let mut by_pieces = body(length);
            for piece in &pieces {
                by_pieces.take(piece);
            }
            prop_assert_eq!(at_once.bytes(), by_pieces.bytes());
            prop_assert_eq!(at_once.at(START), by_pieces.at(START));
            at_once.end();
            by_pieces.end();
            prop_assert_eq!(at_once.at(SECOND), by_pieces.at(SECOND));
            prop_assert!(at_once.bytes().len() <= 6);
        }
    }
}

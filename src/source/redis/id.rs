//! StreamId: the id of an entry of a Redis Stream.

use std::fmt;

use crate::event::EventId;
use crate::source::tail::TailId;

/// The id of an entry: milliseconds since 1970 and a number among the entries of one millisecond,
/// unless the publisher has chosen both. Later entries have greater ids.
///
/// It is also a position, that of the entry with this id, whether or not there is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId {
    /// Milliseconds.
    pub ms: u64,
    /// The number.
    pub seq: u64,
}

impl StreamId {
    /// Before all entries: no entry has this id.
    pub const START: Self = Self { ms: 0, seq: 0 };

    /// Reads `ms-seq`, both in decimal.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::from_bytes(text.as_bytes())
    }

    /// The same for bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let hyphen = bytes.iter().position(|byte| *byte == b'-')?;
        Some(Self {
            ms: number(&bytes[..hyphen])?,
            seq: number(&bytes[hyphen + 1..])?,
        })
    }

    /// Reads a Last-Event-ID: an id of the stream, or one of the file from which the stream was
    /// imported. The import gives the entry of a record the record's offset and anchor, as two
    /// numbers ([`Self::of_record`]). So a client of the file goes on in the stream, and an id of
    /// another file finds no entry.
    ///
    /// An anchor of 16 decimal digits (one in 2000) is taken for a number of the stream; its
    /// client gets a gap.
    #[must_use]
    pub fn of_last_id(text: &str) -> Option<Self> {
        Self::parse(text).or_else(|| TailId::parse(text).map(Self::of_record))
    }

    /// The id that an import gives to the entry of a record; [`Self::START`] for the start of a
    /// file.
    #[must_use]
    pub fn of_record(id: TailId) -> Self {
        match id.offset_bytes {
            0 => Self::START,
            ms => Self { ms, seq: id.anchor },
        }
    }

    /// The next greater id.
    #[must_use]
    pub fn next(self) -> Self {
        let (seq, overflows) = self.seq.overflowing_add(1);
        Self {
            ms: self.ms.saturating_add(u64::from(overflows)),
            seq,
        }
    }

    /// The next smaller id, and [`Self::START`] before itself.
    #[must_use]
    pub fn previous(self) -> Self {
        if self == Self::START {
            return self;
        }
        let (seq, underflows) = self.seq.overflowing_sub(1);
        Self {
            ms: self.ms - u64::from(underflows),
            seq,
        }
    }

    /// As an event's id.
    #[must_use]
    pub fn event_id(self) -> EventId<'static> {
        // Digits and a hyphen.
        EventId::new(self.to_string()).expect("digits and a hyphen are an id")
    }
}

/// The most digits of a number, with leading zeros.
const DIGITS_MAX: usize = 40;

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > DIGITS_MAX {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_two_decimal_numbers() {
        let id = StreamId::parse("1700000000000-7").unwrap();
        assert_eq!((id.ms, id.seq), (1_700_000_000_000, 7));
        assert_eq!(id.to_string(), "1700000000000-7");
        let last = "18446744073709551615-18446744073709551615";
        assert_eq!(StreamId::parse(last).unwrap().to_string(), last);
        for bad in [
            "",
            "-",
            "1",
            "1-",
            "-1",
            "1-2-3",
            "+1-2",
            "1-2 ",
            "1-*",
            "0x1-2",
            "1-18446744073709551616",
        ] {
            assert_eq!(StreamId::parse(bad), None, "{bad}");
        }
        assert_eq!(StreamId::from_bytes(b"1-\xFF"), None);
    }

    #[test]
    fn an_id_of_a_file_is_that_of_the_imported_record() {
        let id = StreamId::of_last_id("37-00000000000000ff").unwrap();
        assert_eq!(id, StreamId { ms: 37, seq: 255 });
        let start = StreamId::of_last_id("0-00000000000000ff");
        assert_eq!(start, Some(StreamId::START));
        let own = StreamId::of_last_id("37-1234567890123456").unwrap();
        assert_eq!(own.seq, 1_234_567_890_123_456);
        for bad in ["37-00000000000000FF", "37-ff", "x-00000000000000ff"] {
            assert_eq!(StreamId::of_last_id(bad), None, "{bad}");
        }
    }

    #[test]
    fn neighbours_cross_milliseconds() {
        let id = |text| StreamId::parse(text).unwrap();
        for (before, after) in [
            ("0-0", "0-1"),
            ("5-7", "5-8"),
            ("5-18446744073709551615", "6-0"),
        ] {
            assert_eq!(id(before).next(), id(after));
            assert_eq!(id(after).previous(), id(before));
            assert!(id(before) < id(after));
        }
        assert_eq!(StreamId::START.previous(), StreamId::START);
    }
}

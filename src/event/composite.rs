//! CompositeId: one id for a client that reads several streams over one connection.
//!
//! ```text
//! * ff FFFFFFFFFFFFFFFFF rr RRRRRRRRRRR …
//! │ └─ kind and tag of a stream, then its position; one entry after another
//! └─ marks a composite id
//! ```
//!
//! Each entry is a number in base 90, whose digits are the visible ASCII characters that a
//! cookie's value may contain (RFC 6265 §4.1.1). The position of a file takes 19 characters and
//! that of a Redis Stream 13, so that [`CompositeId::FILES_MAX`] files or
//! [`CompositeId::REDIS_MAX`] Redis Streams fit into [`CompositeId::MAX_CHARS`].
//!
//! An entry begins with its kind, so a reader passes over streams that it does not know. It
//! does not depend on the other entries: a stream that is added or removed changes none of them.
//! So a sender writes only the entry that an event changes ([`Entry`]).

use super::EventId;

/// The mark of a composite id. No other id of this crate begins with it.
const MARK: u8 = b'*';

/// The number of digits.
const BASE: u128 = 90;

/// What nine digits can express, so that a number is divided in 64 bits: 90^9 is less than 2^59.
const NINE_DIGITS: u128 = BASE.pow(9);

/// Kinds divide the first digit.
const TAGS_HIGH: u16 = 45;

/// What is left of a file's number beside offset and anchor: 90^18 / 2^112 is 28.
const TAGS_LOW: u16 = 28;

/// The position of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// In a file.
    File {
        /// The offset in bytes, below 2^48 (256 TiB).
        offset_bytes: u64,
        /// The hash that proves which file it is.
        anchor: u64,
    },
    /// In a Redis Stream: its id `<ms>-<sequence>`.
    Redis {
        /// Milliseconds since 1970, below 2^44 (the year 2527).
        unix_ms: u64,
        /// The number within the millisecond, below 2^29.
        sequence: u64,
    },
}

/// What identifies a stream in a composite id: a hash of its name. Two names can have the same;
/// a configuration with both is refused ([`Tag::first_pair`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag(u16);

/// The positions of several streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompositeId(Vec<(Tag, Position)>);

/// Why there is no composite id of these positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpackable {
    /// A position exceeds the bounds of its kind.
    Position,
    /// There are more than fit.
    Many,
    /// A stream occurs twice.
    Doubled,
}

impl Tag {
    /// The number of different tags.
    pub const COUNT: u16 = TAGS_HIGH * TAGS_LOW;

    /// The tag of the stream of this name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        // FNV-1a, which a page computes too, so that it finds a stream's entry (web/sse-streams.js).
        let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        // The remainder is less than COUNT.
        Self((hash % u32::from(Self::COUNT)) as u16)
    }

    /// The first two of these names that have the same tag.
    #[must_use]
    pub fn first_pair<'n>(names: &[&'n str]) -> Option<(&'n str, &'n str)> {
        names.iter().enumerate().find_map(|(number, name)| {
            let same = |other: &&&str| Self::of(other) == Self::of(name);
            let other = names[..number].iter().find(same)?;
            Some((*other, *name))
        })
    }
}

/// The kind of an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Redis,
}

impl Kind {
    /// The number of characters of its entries.
    fn chars(self) -> usize {
        match self {
            Self::File => Entry::FILE_CHARS,
            Self::Redis => Entry::REDIS_CHARS,
        }
    }
}

impl Position {
    const OFFSET_BITS: u32 = 48;
    const MS_BITS: u32 = 44;
    const SEQUENCE_BITS: u32 = 29;

    fn kind(self) -> Kind {
        match self {
            Self::File { .. } => Kind::File,
            Self::Redis { .. } => Kind::Redis,
        }
    }

    /// The number of the position; `None` if it is out of bounds.
    fn number(self) -> Option<u128> {
        let fits = |value: u64, bits: u32| value >> bits == 0;
        match self {
            Self::File {
                offset_bytes,
                anchor,
            } => fits(offset_bytes, Self::OFFSET_BITS)
                .then(|| u128::from(offset_bytes) << 64 | u128::from(anchor)),
            Self::Redis { unix_ms, sequence } => {
                let is_within = fits(unix_ms, Self::MS_BITS) && fits(sequence, Self::SEQUENCE_BITS);
                is_within.then(|| u128::from(unix_ms) << Self::SEQUENCE_BITS | u128::from(sequence))
            }
        }
    }

    /// How many numbers there are for a kind.
    fn count(kind: Kind) -> u128 {
        match kind {
            Kind::File => 1 << (Self::OFFSET_BITS + 64),
            Kind::Redis => 1 << (Self::MS_BITS + Self::SEQUENCE_BITS),
        }
    }

    fn of_number(kind: Kind, number: u128) -> Self {
        let low = |value: u128, bits: u32| (value & ((1 << bits) - 1)) as u64;
        match kind {
            Kind::File => Self::File {
                offset_bytes: low(number >> 64, Self::OFFSET_BITS),
                anchor: low(number, 64),
            },
            Kind::Redis => Self::Redis {
                unix_ms: low(number >> Self::SEQUENCE_BITS, Self::MS_BITS),
                sequence: low(number, Self::SEQUENCE_BITS),
            },
        }
    }
}

impl CompositeId {
    /// The longest text, in characters.
    pub const MAX_CHARS: usize = 255;
    /// How many files fit.
    pub const FILES_MAX: usize = 13;
    /// How many Redis Streams fit.
    pub const REDIS_MAX: usize = 19;

    /// The id of these positions.
    ///
    /// # Errors
    /// When a position is out of bounds, when there are too many, or when two have one tag.
    pub fn new(entries: &[(Tag, Position)]) -> Result<Self, Unpackable> {
        for (number, (tag, position)) in entries.iter().enumerate() {
            if position.number().is_none() {
                return Err(Unpackable::Position);
            }
            if entries[..number].iter().any(|(other, _)| other == tag) {
                return Err(Unpackable::Doubled);
            }
        }
        let chars = entries.iter().map(|(_, position)| position.kind().chars());
        match chars.sum::<usize>() < Self::MAX_CHARS {
            true => Ok(Self(entries.to_vec())),
            false => Err(Unpackable::Many),
        }
    }

    /// The position of a stream; `None` if the id does not contain it.
    #[must_use]
    pub fn get(&self, tag: Tag) -> Option<Position> {
        let found = self.0.iter().find(|(own, _)| *own == tag);
        found.map(|(_, position)| *position)
    }

    /// All positions, in the order of the text.
    pub fn iter(&self) -> impl Iterator<Item = (Tag, Position)> {
        self.0.iter().copied()
    }

    /// Reads an id that a client has sent; `None` if it is not a composite id, or malformed.
    #[must_use]
    pub fn parse(id: &EventId<'_>) -> Option<Self> {
        let text = id.as_bytes();
        if text.len() > Self::MAX_CHARS {
            return None;
        }
        let mut rest = text.strip_prefix(&[MARK])?;
        let mut entries: Vec<(Tag, Position)> = Vec::new();
        while let Some(first) = rest.first() {
            let first = digit(*first)? as u16;
            let kind = match first / TAGS_HIGH {
                0 => Kind::File,
                _ => Kind::Redis,
            };
            let (entry, after) = rest.split_at_checked(kind.chars())?;
            let mut number = 0;
            for byte in &entry[1..] {
                // 18 digits are less than 2^117.
                number = number * BASE + digit(*byte)?;
            }
            let low = number / Position::count(kind);
            if low >= u128::from(TAGS_LOW) {
                return None;
            }
            let tag = Tag(first % TAGS_HIGH * TAGS_LOW + low as u16);
            let position = Position::of_number(kind, number % Position::count(kind));
            if entries.iter().any(|(other, _)| *other == tag) {
                return None;
            }
            entries.push((tag, position));
            rest = after;
        }
        Some(Self(entries))
    }

    /// Its text.
    #[must_use]
    pub fn event_id(&self) -> EventId<'static> {
        let mut text = vec![MARK];
        for (tag, position) in &self.0 {
            // `new` and `parse` admit no position without a number.
            if let Some(entry) = Entry::new(*tag, *position) {
                text.extend_from_slice(entry.as_bytes());
            }
        }
        EventId::from_bytes(&text).expect("at most 255 visible characters")
    }
}

/// The text of one stream in a composite id. Those of a kind have one length, so that an entry
/// can be replaced by the next one of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    digits: [u8; Self::FILE_CHARS],
    chars: u8,
}

impl Entry {
    /// What an id begins with; its entries follow.
    pub const MARK: u8 = MARK;

    /// The number of characters for a file.
    pub const FILE_CHARS: usize = 19;

    /// The number of characters for a Redis Stream.
    pub const REDIS_CHARS: usize = 13;

    /// The entry of a stream; `None` if its position is out of bounds.
    #[must_use]
    pub fn new(tag: Tag, position: Position) -> Option<Self> {
        let kind = position.kind();
        let offset = match kind {
            Kind::File => 0,
            Kind::Redis => TAGS_HIGH,
        };
        let own = position.number()?;
        let number = u128::from(tag.0 % TAGS_LOW) * Position::count(kind) + own;
        let mut digits = [character(0); Self::FILE_CHARS];
        digits[0] = character(u64::from(offset + tag.0 / TAGS_LOW));
        let mut halves = [(number / NINE_DIGITS) as u64, (number % NINE_DIGITS) as u64];
        let end = kind.chars();
        let parts = [1..end - 9, end - 9..end];
        for (half, part) in halves.iter_mut().zip(parts) {
            for digit in digits[part].iter_mut().rev() {
                *digit = character(*half % BASE as u64);
                *half /= BASE as u64;
            }
        }
        Some(Self {
            digits,
            // At most 19.
            chars: end as u8,
        })
    }

    /// Its text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.digits[..usize::from(self.chars)]
    }
}

/// The characters that a cookie's value cannot contain, of those that are visible.
const OMITTED: [u8; 4] = *b"\",;\\";

/// The characters of the digits: the visible ones in order, without those that are omitted.
const CHARACTERS: [u8; BASE as usize] = {
    let mut characters = [0; BASE as usize];
    let (mut next, mut count) = (b'!', 0);
    while count < characters.len() {
        let is_omitted = matches!(next, b'"' | b',' | b';' | b'\\');
        if !is_omitted {
            characters[count] = next;
            count += 1;
        }
        next += 1;
    }
    characters
};

/// The character of a digit, which is less than 90.
fn character(digit: u64) -> u8 {
    CHARACTERS[digit as usize]
}

/// The digit of a character.
fn digit(character: u8) -> Option<u128> {
    if !character.is_ascii_graphic() || OMITTED.contains(&character) {
        return None;
    }
    let before = OMITTED.iter().filter(|omitted| **omitted < character);
    Some(u128::from(character - b'!') - before.count() as u128)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn file() -> impl Strategy<Value = Position> {
        (0..1u64 << 48, any::<u64>()).prop_map(|(offset_bytes, anchor)| Position::File {
            offset_bytes,
            anchor,
        })
    }

    fn redis() -> impl Strategy<Value = Position> {
        (0..1u64 << 44, 0..1u64 << 29)
            .prop_map(|(unix_ms, sequence)| Position::Redis { unix_ms, sequence })
    }

    fn entries(
        position: impl Strategy<Value = Position>,
        most: usize,
    ) -> impl Strategy<Value = Vec<(Tag, Position)>> {
        vec((0..Tag::COUNT, position), 0..=most).prop_map(|entries| {
            let mut seen = std::collections::BTreeSet::new();
            let entries = entries
                .into_iter()
                .map(|(tag, position)| (Tag(tag), position));
            entries.filter(|(tag, _)| seen.insert(*tag)).collect()
        })
    }

    #[test]
    fn each_digit_is_one_character_of_a_cookie() {
        let characters: Vec<u8> = (0..90).map(character).collect();
        assert_eq!((characters[0], characters[89]), (b'!', b'~'));
        for (number, byte) in characters.iter().enumerate() {
            assert_eq!(digit(*byte), Some(number as u128));
            assert!(!b"\",;\\ ".contains(byte));
        }
        for byte in *b"\",;\\ \n\0\x7f\xff" {
            assert_eq!(digit(byte), None);
        }
    }

    #[test]
    fn thirteen_files_or_nineteen_redis_streams_fit_at_their_bounds() {
        let file = Position::File {
            offset_bytes: (1 << 48) - 1,
            anchor: u64::MAX,
        };
        let redis = Position::Redis {
            unix_ms: (1 << 44) - 1,
            sequence: (1 << 29) - 1,
        };
        for (position, most) in [
            (file, CompositeId::FILES_MAX),
            (redis, CompositeId::REDIS_MAX),
        ] {
            let of = |count: usize| -> Vec<(Tag, Position)> {
                let last = Tag::COUNT - count as u16;
                (0..count)
                    .map(|n| (Tag(last + n as u16), position))
                    .collect()
            };
            let id = CompositeId::new(&of(most)).unwrap();
            let text = id.event_id();
            assert!(text.as_bytes().len() <= CompositeId::MAX_CHARS);
            assert_eq!(CompositeId::parse(&text), Some(id));
            assert_eq!(CompositeId::new(&of(most + 1)), Err(Unpackable::Many));
        }
    }

    #[test]
    fn a_position_out_of_bounds_and_a_stream_that_comes_twice_are_refused() {
        let at = |offset_bytes| Position::File {
            offset_bytes,
            anchor: 0,
        };
        let redis = |unix_ms, sequence| Position::Redis { unix_ms, sequence };
        for position in [at(1 << 48), redis(1 << 44, 0), redis(0, 1 << 29)] {
            let id = CompositeId::new(&[(Tag(0), position)]);
            assert_eq!(id, Err(Unpackable::Position));
        }
        let twice = [(Tag(7), at(1)), (Tag(7), at(2))];
        assert_eq!(CompositeId::new(&twice), Err(Unpackable::Doubled));
    }

    #[test]
    fn names_with_the_same_tag_are_found() {
        assert_eq!(Tag::first_pair(&["log", "builds", "flights"]), None);
        let names: Vec<String> = (0..=Tag::COUNT).map(|n| format!("s{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (one, other) = Tag::first_pair(&names).expect("there are more names than tags");
        assert_eq!(Tag::of(one), Tag::of(other));
        assert_ne!(one, other);
        // It is part of clients' ids, so it must never change.
        assert_eq!(Tag::of("log"), Tag(LOG_TAG));
    }

    /// The tag of `log`.
    const LOG_TAG: u16 = 441;

    proptest! {
        #[test]
        fn what_is_packed_is_read_back(
            entries in prop_oneof![entries(file(), 13), entries(redis(), 19)]
        ) {
            let id = CompositeId::new(&entries).unwrap();
            let text = id.event_id();
            prop_assert!(text.as_bytes().len() <= CompositeId::MAX_CHARS);
            prop_assert_eq!(CompositeId::parse(&text), Some(id.clone()));
            for (tag, position) in entries {
                prop_assert_eq!(id.get(tag), Some(position));
            }
        }

        #[test]
        fn a_stream_that_is_removed_leaves_the_others_as_they_are(
            entries in entries(prop_oneof![file(), redis()], 12),
            removed in any::<prop::sample::Index>(),
        ) {
            prop_assume!(!entries.is_empty());
            let whole = CompositeId::new(&entries).unwrap().event_id();
            let mut fewer = entries.clone();
            let (tag, position) = fewer.remove(removed.index(entries.len()));
            let id = CompositeId::new(&fewer).unwrap();
            prop_assert_eq!(id.get(tag), None);
            let alone = CompositeId::new(&[(tag, position)]).unwrap().event_id();
            // The text of the rest is the whole text without that of the one.
            let without = whole.as_str().replacen(&alone.as_str()[1..], "", 1);
            let rest = id.event_id();
            prop_assert_eq!(rest.as_str(), without);
        }

        #[test]
        fn hostile_bytes_are_no_id_or_one_that_is_written_the_same(
            bytes in vec(0x21u8..0x7f, 1..=256)
        ) {
            let marked = [&[MARK][..], &bytes[..bytes.len().min(255)]].concat();
            for text in [&bytes[..], &marked] {
                let id = EventId::from_bytes(text).unwrap();
                if let Some(composite) = CompositeId::parse(&id) {
                    let written = composite.event_id();
                    prop_assert_eq!(written.as_bytes(), text);
                }
            }
        }

        #[test]
        fn a_changed_character_is_refused_or_changes_one_entry_only(
            entries in entries(file(), 13),
            place in any::<prop::sample::Index>(),
            byte in 0x21u8..0x7f,
        ) {
            prop_assume!(!entries.is_empty());
            let id = CompositeId::new(&entries).unwrap();
            let mut text = id.event_id().as_bytes().to_vec();
            let place = 1 + place.index(text.len() - 1);
            text[place] = byte;
            let changed = EventId::from_bytes(&text).unwrap();
            // (A first character that becomes that of another kind moves what follows.)
            prop_assume!((place - 1) % 19 != 0);
            if let Some(other) = CompositeId::parse(&changed) {
                let same = id.iter().filter(|(tag, position)| other.get(*tag) == Some(*position));
                prop_assert!(same.count() >= entries.len() - 1);
            }
        }
    }
}

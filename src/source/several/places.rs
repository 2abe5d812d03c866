//! Places: the positions of several streams, and the composite id that is made of them.

use crate::event::{CompositeId, Entry, EventId, Position, Tag};
use crate::source::redis::StreamId;
use crate::source::tail::TailId;

/// The offset that stands for a file in the format `state` which was removed; with 0, the anchor is
/// the hash of its content.
const STATE_REMOVED: u64 = 1;

/// The id of a file in the format `state` that was removed.
const REMOVED: &str = "removed";

/// How the ids of a stream are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    /// `<offset>-<anchor>`.
    File,
    /// The hash of a content, or `removed`.
    State,
    /// `<ms>-<sequence>`.
    Redis,
}

/// The largest number of an entry of a millisecond that fits into an id. It stands for 2^64 - 1,
/// for the position before the first entry of a millisecond is after the last possible one of the
/// millisecond before.
const END_OF_MS: u64 = (1 << 29) - 1;

impl Packing {
    /// The number of characters of an entry.
    pub(super) fn chars(self) -> usize {
        match self {
            Self::File | Self::State => Entry::FILE_CHARS,
            Self::Redis => Entry::REDIS_CHARS,
        }
    }

    /// The position of an id; `None` if it is not one of the kind's.
    pub(super) fn pack(self, id: &[u8]) -> Option<Position> {
        let text = std::str::from_utf8(id).ok()?;
        match self {
            Self::File => TailId::parse(text).map(|id| Position::File {
                offset_bytes: id.offset_bytes,
                anchor: id.anchor,
            }),
            Self::State if text == REMOVED => Some(Position::File {
                offset_bytes: STATE_REMOVED,
                anchor: 0,
            }),
            Self::State => Some(Position::File {
                offset_bytes: 0,
                anchor: u64::from_str_radix(text, 16).ok()?,
            }),
            Self::Redis => StreamId::parse(text).map(|id| Position::Redis {
                unix_ms: id.ms,
                sequence: match id.seq {
                    u64::MAX => END_OF_MS,
                    END_OF_MS => u64::MAX,
                    seq => seq,
                },
            }),
        }
    }

    /// The id of a position; `None` if it is of another kind.
    pub(super) fn unpack(self, position: Position) -> Option<EventId<'static>> {
        match (self, position) {
            (
                Self::File,
                Position::File {
                    offset_bytes,
                    anchor,
                },
            ) => Some(
                TailId {
                    offset_bytes,
                    anchor,
                }
                .event_id(),
            ),
            (
                Self::State,
                Position::File {
                    offset_bytes: 0,
                    anchor,
                },
            ) => EventId::new(format!("{anchor:016x}")).ok(),
            (
                Self::State,
                Position::File {
                    offset_bytes: STATE_REMOVED,
                    anchor: 0,
                },
            ) => EventId::new(REMOVED).ok(),
            (Self::Redis, Position::Redis { unix_ms, sequence }) => Some(
                StreamId {
                    ms: unix_ms,
                    seq: match sequence {
                        END_OF_MS => u64::MAX,
                        seq => seq,
                    },
                }
                .event_id(),
            ),
            _ => None,
        }
    }
}

/// The position does not fit into a composite id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beyond;

/// The positions of some streams, and the text of their composite id. A stream without a position
/// is not in it: whoever returns with the id gets what a first-time client gets of that stream.
#[derive(Clone, Debug)]
pub(super) struct Places {
    places: Vec<Place>,
    text: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Place {
    tag: Tag,
    position: Option<Position>,
    /// Where its entry is in the text.
    at: usize,
}

impl Places {
    /// No position of these streams yet. Their entries fit into an id.
    pub(super) fn new(tags: impl Iterator<Item = Tag>) -> Self {
        let place = |tag| Place {
            tag,
            position: None,
            at: 0,
        };
        Self {
            places: tags.map(place).collect(),
            text: vec![Entry::MARK],
        }
    }

    /// The position of a stream.
    pub(super) fn get(&self, number: usize) -> Option<Position> {
        self.places[number].position
    }

    /// Moves a stream.
    ///
    /// # Errors
    /// When its position does not fit. Then it is as before.
    pub(super) fn set(&mut self, number: usize, position: Position) -> Result<(), Beyond> {
        let place = &mut self.places[number];
        if place.position == Some(position) {
            return Ok(());
        }
        let entry = Entry::new(place.tag, position).ok_or(Beyond)?;
        match place.position.replace(position) {
            // Entries of one kind have one length, and a stream is of one kind.
            Some(_) => {
                let entry = entry.as_bytes();
                self.text[place.at..place.at + entry.len()].copy_from_slice(entry);
            }
            None => self.write(),
        }
        Ok(())
    }

    fn write(&mut self) {
        self.text.truncate(1);
        for place in &mut self.places {
            place.at = self.text.len();
            let entry = place.position.map(|own| Entry::new(place.tag, own));
            if let Some(entry) = entry.flatten() {
                self.text.extend_from_slice(entry.as_bytes());
            }
        }
    }

    /// The id of all positions; `None` if there is none.
    pub(super) fn id(&self) -> Option<EventId<'_>> {
        (self.text.len() > 1).then(|| EventId::from_valid(&self.text))
    }

    /// The positions of these streams in an id; `None` if it is not composite.
    pub(super) fn read(&self, id: &EventId<'_>) -> Option<Vec<Option<Position>>> {
        let id = CompositeId::parse(id)?;
        let tags = self.places.iter().map(|place| place.tag);
        Some(tags.map(|tag| id.get(tag)).collect())
    }

    /// Whether an id contains the positions of exactly those streams that have one.
    pub(super) fn are_those_of(&self, id: &EventId<'_>) -> bool {
        id.as_bytes().len() == self.text.len()
    }
}

//! The id of an event, which a browser sends back as `Last-Event-ID`.

use std::borrow::Cow;
use std::fmt;

/// An event's id: 1 to 256 bytes of visible ASCII (0x21 to 0x7E).
///
/// WHATWG §9.2.6 allows any text without NUL, CR and LF. These ids are restricted further
/// because an id comes back as a header field: spaces at its ends do not survive HTTP, and
/// servers refuse long header lines. A gateway joins two fields with a comma and a space, so a
/// doubled field is never a valid id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventId<'a>(Cow<'a, [u8]>);

/// Why a text is not a valid [`EventId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidId {
    /// It is empty.
    Empty,
    /// It has more than [`EventId::MAX_BYTES`] bytes.
    TooLong,
    /// It contains a byte outside visible ASCII.
    NotVisibleAscii,
}

impl<'a> EventId<'a> {
    /// The longest id, in bytes. Every cursor fits, and it is far below the smallest limit that
    /// any server has for a header (about 8 kB).
    pub const MAX_BYTES: usize = 256;

    /// Checks `text` and makes it an id.
    ///
    /// # Errors
    /// [`InvalidId`] names the rule that it breaks.
    pub fn new(text: impl Into<Cow<'a, str>>) -> Result<Self, InvalidId> {
        let bytes = match text.into() {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        Self::check(&bytes)?;
        Ok(Self(bytes))
    }

    /// The same for bytes of a header or a query.
    ///
    /// # Errors
    /// As [`EventId::new`].
    pub fn from_bytes(bytes: &[u8]) -> Result<EventId<'static>, InvalidId> {
        Self::check(bytes)?;
        Ok(EventId(Cow::Owned(bytes.to_vec())))
    }

    fn check(bytes: &[u8]) -> Result<(), InvalidId> {
        match bytes.len() {
            0 => return Err(InvalidId::Empty),
            n if n > Self::MAX_BYTES => return Err(InvalidId::TooLong),
            _ => {}
        }
        if bytes.iter().all(u8::is_ascii_graphic) {
            Ok(())
        } else {
            Err(InvalidId::NotVisibleAscii)
        }
    }

    /// For bytes that were constructed as a valid id.
    pub(crate) fn from_valid(bytes: &'a [u8]) -> Self {
        debug_assert!(Self::check(bytes).is_ok());
        Self(Cow::Borrowed(bytes))
    }

    /// The id's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("an id is visible ASCII, and so UTF-8")
    }

    /// The same as bytes. They need no escaping when they are written.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// `prefix` followed by this id; this id alone if the result is not a valid id.
    #[must_use]
    pub fn prefixed(&self, prefix: &str) -> EventId<'static> {
        let joined = [prefix.as_bytes(), &self.0].concat();
        EventId::from_bytes(&joined).unwrap_or_else(|_| self.clone().into_owned())
    }

    /// The same id, owning its text.
    #[must_use]
    pub fn into_owned(self) -> EventId<'static> {
        EventId(Cow::Owned(self.0.into_owned()))
    }
}

impl fmt::Display for EventId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "event id: empty",
            Self::TooLong => "event id: longer than 256 bytes",
            Self::NotVisibleAscii => "event id: a byte that is not visible ASCII",
        })
    }
}

impl std::error::Error for InvalidId {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visible_ascii_up_to_256_bytes_is_an_id() {
        for good in ["1", "120-0123456789abcdef", "!~", &"x".repeat(256)] {
            assert_eq!(EventId::new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn what_cannot_come_back_in_a_header_is_no_id() {
        for (bad, why) in [
            (&b""[..], InvalidId::Empty),
            (b"5, 6", InvalidId::NotVisibleAscii),
            (b"a\0", InvalidId::NotVisibleAscii),
            (b"a\n", InvalidId::NotVisibleAscii),
            ("é".as_bytes(), InvalidId::NotVisibleAscii),
            (&[b'x'; 257], InvalidId::TooLong),
        ] {
            assert_eq!(EventId::from_bytes(bad), Err(why));
        }
    }
}

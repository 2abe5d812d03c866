//! EventName: the event type, the first argument of `addEventListener`.

use std::borrow::Cow;
use std::fmt;

/// An event's name (WHATWG's "event type"): text without CR, LF and NUL, not empty.
///
/// An event without a name is dispatched as `message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventName<'a>(Cow<'a, str>);

/// Why a text is not a valid [`EventName`]: it is empty, or contains CR, LF or NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidName;

impl<'a> EventName<'a> {
    /// The end of a finite stream.
    pub const CLOSE: EventName<'static> = EventName(Cow::Borrowed("close"));
    /// A part of the stream could not be delivered; see [`crate::event::Gap`].
    pub const GAP: EventName<'static> = EventName(Cow::Borrowed("gap"));
    /// A heartbeat that a page can see, if it asked for it in the query.
    pub const HEARTBEAT: EventName<'static> = EventName(Cow::Borrowed("heartbeat"));
    /// There is nothing to serve now; see [`crate::event::Unavailable`].
    pub const UNAVAILABLE: EventName<'static> = EventName(Cow::Borrowed("unavailable"));
    /// The client's access ends soon; see [`crate::event::Batch::expired`].
    pub const EXPIRED: EventName<'static> = EventName(Cow::Borrowed("expired"));
    /// The id of the position, if no other event has brought it; a page may ignore it.
    pub const PLACE: EventName<'static> = EventName(Cow::Borrowed("place"));
    /// A line of a `jsonl` file that is not a JSON object.
    pub const INVALID: EventName<'static> = EventName(Cow::Borrowed("invalid"));

    /// Checks `text` and makes it a name.
    ///
    /// # Errors
    /// [`InvalidName`] when it is empty or contains CR, LF or NUL.
    pub fn new(text: impl Into<Cow<'a, str>>) -> Result<Self, InvalidName> {
        let text = text.into();
        if text.is_empty() || text.contains(Self::FORBIDDEN) {
            return Err(InvalidName);
        }
        Ok(Self(text))
    }

    /// Makes a name of any text by removing CR, LF and NUL; `None` if nothing is left. It is
    /// for names from a file: an event with an invalid name is still delivered.
    #[must_use]
    pub fn cleaned(text: Cow<'a, str>) -> Option<Self> {
        if !text.contains(Self::FORBIDDEN) {
            return (!text.is_empty()).then_some(Self(text));
        }
        let clean: String = text.replace(Self::FORBIDDEN, "");
        (!clean.is_empty()).then_some(Self(Cow::Owned(clean)))
    }

    /// The names that neither a publisher nor a file may give to an event: those that the
    /// stream itself uses and a page reacts to, and `open` and `error`, which EventSource
    /// dispatches to the same listeners.
    pub const RESERVED: [EventName<'static>; 8] = [
        Self::CLOSE,
        Self::GAP,
        Self::UNAVAILABLE,
        Self::HEARTBEAT,
        Self::PLACE,
        Self::EXPIRED,
        EventName(Cow::Borrowed("open")),
        EventName(Cow::Borrowed("error")),
    ];

    /// Whether the name is one of [`EventName::RESERVED`]. Names are case-sensitive, as
    /// event types are: `Close` is not reserved.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        EventName::RESERVED.iter().any(|name| name.0 == self.0)
    }

    const FORBIDDEN: [char; 3] = ['\r', '\n', '\0'];

    /// The name's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same name, owning its text.
    #[must_use]
    pub fn into_owned(self) -> EventName<'static> {
        EventName(Cow::Owned(self.0.into_owned()))
    }
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("event name: empty, or contains CR, LF or NUL")
    }
}

impl std::error::Error for InvalidName {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_that_a_page_acts_on_are_reserved() {
        for name in [
            "close",
            "gap",
            "unavailable",
            "place",
            "expired",
            "open",
            "error",
        ] {
            assert!(EventName::new(name).unwrap().is_reserved(), "{name}");
        }
        for name in ["message", "Close", "closed", "invalid", "errors"] {
            assert!(!EventName::new(name).unwrap().is_reserved(), "{name}");
        }
    }

    #[test]
    fn a_name_cannot_break_out_of_its_line() {
        for bad in ["", "a\nb", "a\rb", "a\0b"] {
            assert_eq!(EventName::new(bad), Err(InvalidName));
        }
        assert_eq!(
            EventName::cleaned("a\r\ndata: x\0".into())
                .unwrap()
                .as_str(),
            "adata: x"
        );
        assert_eq!(EventName::cleaned("\n".into()), None);
    }
}

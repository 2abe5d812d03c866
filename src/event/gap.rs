//! What could not be delivered, said to the page.

use std::fmt;

/// The truth about something a client did not get.
///
/// A page cannot see headers or logs, so this travels as an event of its own, named
/// `gap`, whose data is JSON: `{"reason":"expired","bytes":1048576}`. Its id is the
/// place where the stream goes on, so that the next reconnect does not repeat it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Why.
    pub reason: Reason,
    /// How many bytes of the file were passed over, where that is known.
    pub skipped_bytes: Option<u64>,
    /// A file that seems to hold what is missing but cannot be read as it is,
    /// such as a compressed rotation: its base name.
    pub file: Option<String>,
}

/// Why there is a [`Gap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The client's last id is malformed, or there were two of them.
    BadId,
    /// The id is well formed, but nothing here answers to it.
    UnknownId,
    /// What the client missed is older than the stream keeps or may replay.
    Expired,
    /// The file was truncated or rewritten.
    Truncated,
    /// A rotation took something away that could not be read in time.
    Rotated,
    /// The record before was longer than `SSE_MAX_LINE`; its rest is left out.
    Cut,
}

impl Reason {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadId => "bad-id",
            Self::UnknownId => "unknown-id",
            Self::Expired => "expired",
            Self::Truncated => "truncated",
            Self::Rotated => "rotated",
            Self::Cut => "cut",
        }
    }
}

impl Gap {
    /// A gap of unknown size.
    #[must_use]
    pub fn new(reason: Reason) -> Self {
        Self {
            reason,
            skipped_bytes: None,
            file: None,
        }
    }

    /// A gap of `skipped_bytes` bytes.
    #[must_use]
    pub fn of(reason: Reason, skipped_bytes: u64) -> Self {
        Self {
            reason,
            skipped_bytes: Some(skipped_bytes),
            file: None,
        }
    }
}

impl fmt::Display for Gap {
    /// The JSON of the event's data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{\"reason\":\"{}\"", self.reason.as_str())?;
        if let Some(bytes) = self.skipped_bytes {
            write!(f, ",\"bytes\":{bytes}")?;
        }
        if let Some(file) = &self.file {
            // A string always has a JSON form.
            let file = serde_json::to_string(file).unwrap_or_default();
            write!(f, ",\"file\":{file}")?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_json() {
        assert_eq!(
            Gap::new(Reason::BadId).to_string(),
            r#"{"reason":"bad-id"}"#
        );
        assert_eq!(
            Gap::of(Reason::Cut, 7).to_string(),
            r#"{"reason":"cut","bytes":7}"#
        );
        let named = Gap {
            file: Some("a\"b.gz".into()),
            ..Gap::new(Reason::UnknownId)
        };
        assert_eq!(
            named.to_string(),
            r#"{"reason":"unknown-id","file":"a\"b.gz"}"#
        );
    }
}

//! Gap: reports to the page which part of the stream could not be delivered.

use std::fmt;

/// What a client did not receive.
///
/// A page can see neither headers nor logs, so this is an event of its own, named `gap`, whose
/// data is JSON: `{"reason":"expired","bytes":1048576}`. Its id is the position at which the
/// stream continues, so that the next reconnection does not repeat it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The reason.
    pub reason: Reason,
    /// How many bytes of the file were skipped, if that is known.
    pub skipped_bytes: Option<u64>,
    /// The base name of a file that seems to contain the missing part but cannot be read
    /// directly, such as a compressed rotation.
    pub file: Option<String>,
}

/// Why there is a [`Gap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The client's last id is malformed, or it sent two.
    BadId,
    /// The id is well formed, but matches no position of this stream.
    UnknownId,
    /// The part that the client missed is older than the stream keeps or may replay.
    Expired,
    /// The file was truncated or rewritten.
    Truncated,
    /// A rotation removed a part before it could be read.
    Rotated,
    /// The record before it was longer than `SSE_MAX_LINE`; the rest of the record is omitted.
    Cut,
}

impl Reason {
    /// The text on the wire.
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
            // Serializing a string as JSON cannot fail.
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

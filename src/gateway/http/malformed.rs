//! What ends a connection without a response, since one has been sent already.

use std::fmt;

/// Why the rest of a body that nobody wanted ends its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It is no chunked body.
    Unwanted,
    /// It is longer than [`super::Limits::unwanted_bytes`].
    UnwantedTooLong,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unwanted => "a malformed chunk in a body that was answered",
            Self::UnwantedTooLong => "a long body that was answered before its end",
        })
    }
}

impl std::error::Error for Malformed {}

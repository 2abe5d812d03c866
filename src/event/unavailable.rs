//! Unavailable: reports to the page why there is nothing to read now.

use std::fmt;

/// Why there is nothing to serve now, though there may be later.
///
/// Every status but 200 ends an `EventSource` permanently, and a page cannot see comments. So
/// this is an event of its own, named `unavailable`, whose data is JSON, like that of a `gap`:
/// `{"reason":"the file cannot be read now"}`. It has no id, so the client keeps its position.
/// After it the stream ends and the client reconnects. If a file does not exist yet, the stream
/// continues and waits.
///
/// The reason contains no path and no error of the system: those are in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// The file does not exist (or must not be known to exist); the stream waits for it.
    Missing,
    /// The file cannot be read.
    Unreadable,
    /// The program cannot be started.
    NotStarted,
    /// The session or room cannot be opened.
    NoSession,
    /// Of several streams, there is none of this name, or the client may not read it.
    NoStream,
    /// Of several streams, the position of this one does not fit into the connection's ids.
    BeyondIds,
    /// The responder has reached its limit of subscribers.
    Full,
    /// The responder is shutting down; another one will replace it.
    Restarting,
    /// Anything else.
    Other,
}

impl Unavailable {
    /// The text on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "the file does not exist yet",
            Self::Unreadable => "the file cannot be read now",
            Self::NotStarted => "the program cannot be started now",
            Self::NoSession => "the session cannot be opened now",
            Self::NoStream => "no such stream, or no access",
            Self::BeyondIds => "it needs a connection of its own",
            Self::Full => "too many subscribers",
            Self::Restarting => "the server is restarting",
            Self::Other => "not available now",
        }
    }

    /// The reason for a temporary error of the stream with this name.
    #[must_use]
    pub fn of_stream(name: &str) -> Self {
        match name {
            "tail" | "script" => Self::Unreadable,
            "command" => Self::NotStarted,
            "session" | "room" => Self::NoSession,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for Unavailable {
    /// The JSON of the event's data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{\"reason\":\"{}\"}}", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_json_of_a_few_words_and_reveals_no_path() {
        for reason in [
            Unavailable::Missing,
            Unavailable::Unreadable,
            Unavailable::NotStarted,
            Unavailable::NoSession,
            Unavailable::NoStream,
            Unavailable::BeyondIds,
            Unavailable::Full,
            Unavailable::Restarting,
            Unavailable::Other,
        ] {
            let data: serde_json::Value = serde_json::from_str(&reason.to_string()).unwrap();
            assert_eq!(data["reason"], reason.as_str());
            assert!(reason.as_str().split(' ').count() <= 7);
            assert!(!reason.as_str().contains('/'));
        }
    }
}

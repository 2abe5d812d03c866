//! Why a stream has nothing to read now, said to the page.

use std::fmt;

/// Why nothing can be served now, though it may be later.
///
/// Any status but 200 ends an `EventSource` for good, and a page cannot see comments. So
/// this travels as an event of its own, named `unavailable`, whose data is JSON, as that of
/// a `gap` is: `{"reason":"the file cannot be read now"}`. It has no id: the client's place
/// stays where it is. After it the stream ends and is asked for again, or goes on and
/// waits, where a file does not exist yet.
///
/// The words reveal no path and no error of the system: those are in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// There is no file of this name (or none that may be known of); the stream waits.
    Missing,
    /// The file cannot be read.
    Unreadable,
    /// The program cannot be started.
    NotStarted,
    /// The session or room cannot be opened.
    NoSession,
    /// The responder has as many subscribers as it takes.
    Full,
    /// The responder is about to end; another one will take its place.
    Restarting,
    /// Anything else.
    Other,
}

impl Unavailable {
    /// The words on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "the file does not exist yet",
            Self::Unreadable => "the file cannot be read now",
            Self::NotStarted => "the program cannot be started now",
            Self::NoSession => "the session cannot be opened now",
            Self::Full => "too many subscribers",
            Self::Restarting => "the server is restarting",
            Self::Other => "not available now",
        }
    }

    /// What temporary trouble means for the stream of this name.
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

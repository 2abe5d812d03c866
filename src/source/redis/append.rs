//! What is written to an engine: commands that are executed at most once, and XADD.
//!
//! ```text
//! Append ──► commands ──► Writing (store::redis) ──► replies ──► appended: the id
//!                            │
//!                            └──► NotWritten: not executed, or nobody knows
//! ```

use std::fmt;

use super::id::StreamId;
use super::resp::{Item, Malformed, Reader, command};

/// An entry to be appended to a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The key of the stream; it is created if it is missing.
    pub key: Vec<u8>,
    /// About how many entries are kept: the oldest ones are removed in blocks, of 100 by default.
    pub keep: u64,
    /// Names and values, in their order.
    pub fields: Vec<(&'static str, Vec<u8>)>,
}

/// Commands that are sent once. `store` implements it with a connection that many users share. It
/// never waits.
pub trait Writing {
    /// All replies to the commands, one after the other; `None` until they have arrived. The owner
    /// that was named with the commands is told then.
    ///
    /// # Errors
    /// Why there are none.
    fn receive(&mut self) -> Option<Result<Vec<u8>, NotWritten>>;
}

/// Why commands were not executed. The text is for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotWritten {
    /// The engine cannot be reached, or refuses for a time. Nothing was executed.
    Unavailable(String),
    /// The commands were sent, and there is no answer: they may have been executed. They are never
    /// sent again, since they would be executed twice then.
    Unknown(String),
    /// The engine refuses until an administrator acts. Nothing was executed.
    Refused(String),
}

impl fmt::Display for NotWritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Unavailable(text) | Self::Unknown(text) | Self::Refused(text)) = self;
        f.write_str(text)
    }
}

impl From<Malformed> for NotWritten {
    fn from(error: Malformed) -> Self {
        Self::Unknown(error.to_string())
    }
}

impl NotWritten {
    /// The meaning of an engine's error, with what an administrator can do about it.
    #[must_use]
    pub fn of(error: &[u8]) -> Self {
        let error = String::from_utf8_lossy(error);
        let remedy = match error.split(' ').next().unwrap_or_default() {
            "WRONGTYPE" => "the key is not a stream; name another, or remove it",
            "NOAUTH" | "WRONGPASS" => "set SSE_REDIS_USER and SSE_REDIS_PASSWORD_FILE",
            "NOPERM" => {
                "let the user run the commands that docs/many-machines.md lists for \
                         publishers, on this key"
            }
            "OOM" => return Self::passing(&error, "raise maxmemory, or lower SSE_KEEP"),
            "READONLY" => return Self::passing(&error, "let SSE_REDIS name the primary"),
            "MISCONF" => return Self::passing(&error, "the engine cannot write to its disk"),
            "NOREPLICAS" => return Self::passing(&error, "too few replicas are connected"),
            "LOADING" | "CLUSTERDOWN" | "MASTERDOWN" | "TRYAGAIN" | "BUSY" | "MOVED" | "ASK" => {
                return Self::passing(&error, "clients are asked to come again");
            }
            "ERR" if error.contains("max number of clients") => {
                return Self::passing(&error, "raise maxclients");
            }
            _ => "see the log of the engine",
        };
        Self::Refused(format!("{error}; {remedy}"))
    }

    fn passing(error: &str, remedy: &str) -> Self {
        Self::Unavailable(format!("{error}; {remedy}"))
    }
}

impl Append {
    /// Appends the command to `out`. It has one reply, which [`appended`] reads.
    pub fn command(&self, out: &mut Vec<u8>) {
        let keep = self.keep.to_string();
        let mut words: Vec<&[u8]> = vec![b"XADD", &self.key, b"MAXLEN", b"~"];
        words.extend([keep.as_bytes(), b"*"]);
        for (name, value) in &self.fields {
            words.extend([name.as_bytes(), value]);
        }
        command(&words, out);
    }
}

/// Reads the reply to [`Append::command`], the first one of `replies`: the id of the entry, which
/// is also that of its event.
///
/// # Errors
/// Why there is no entry.
pub fn appended(replies: &[u8]) -> Result<StreamId, NotWritten> {
    match Reader::new(replies).item()? {
        Item::Error(text) => Err(NotWritten::of(text)),
        Item::Bulk(id) => {
            StreamId::from_bytes(id).ok_or(NotWritten::Unknown("an id is not two numbers".into()))
        }
        _ => Err(NotWritten::Unknown("XADD has another reply".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_command() {
        let entry = Append {
            key: b"live:a".to_vec(),
            keep: 1000,
            fields: vec![("event", b"up".to_vec()), ("data", b"a\r\n\xFF".to_vec())],
        };
        let mut out = Vec::new();
        entry.command(&mut out);
        let expected =
            b"*10\r\n$4\r\nXADD\r\n$6\r\nlive:a\r\n$6\r\nMAXLEN\r\n$1\r\n~\r\n$4\r\n1000\r\n\
              $1\r\n*\r\n$5\r\nevent\r\n$2\r\nup\r\n$4\r\ndata\r\n$4\r\na\r\n\xFF\r\n";
        assert_eq!(out, expected);
    }

    #[test]
    fn a_reply_is_an_id_or_says_who_must_act() {
        let id = StreamId { ms: 5, seq: 7 };
        assert_eq!(appended(b"$3\r\n5-7\r\n:1\r\n"), Ok(id));
        for (error, is_passing) in [
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                true,
            ),
            (
                "READONLY You can't write against a read only replica.",
                true,
            ),
            ("LOADING Redis is loading the dataset in memory", true),
            ("MISCONF Redis is configured to save RDB snapshots", true),
            ("CLUSTERDOWN The cluster is down", true),
            ("NOREPLICAS Not enough good replicas to write.", true),
            ("ERR max number of clients reached", true),
            ("WRONGTYPE Operation against a key", false),
            ("NOAUTH Authentication required.", false),
            ("NOPERM this user has no permissions", false),
            ("ERR unknown command 'XADD'", false),
        ] {
            let refused = appended(format!("-{error}\r\n").as_bytes()).unwrap_err();
            assert!(refused.to_string().starts_with(error), "{refused}");
            let is_unavailable = matches!(refused, NotWritten::Unavailable(_));
            let is_refused = matches!(refused, NotWritten::Refused(_));
            assert_eq!((is_unavailable, is_refused), (is_passing, !is_passing));
        }
        for odd in ["$3\r\na-b\r\n", ":1\r\n", "*0\r\n", "$-1\r\n", "?"] {
            let unknown = appended(odd.as_bytes());
            assert!(matches!(unknown, Err(NotWritten::Unknown(_))), "{odd:?}");
        }
    }
}

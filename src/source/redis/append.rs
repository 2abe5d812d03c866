//! What is written to an engine: commands that are executed at most once, and XADD.
//!
//! ```text
//! Append ──► commands ──► Writing (store::redis) ──► replies ──► appended: the id
//!                            │
//!                            └──► NotWritten: not executed, or nobody knows
//! ```

use std::fmt;
use std::time::Duration;

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

/// What must confirm commands before their replies are returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// Nothing: the engine has executed them.
    None,
    /// The disk of the engine (Redis 7.2), and so many replicas.
    Sync {
        /// The number of replicas.
        replicas: u32,
    },
}

/// How long confirmation may take.
const CONFIRM: Duration = Duration::from_secs(3);

/// A command that waits until what was written before it on the same connection is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confirm {
    /// WAITAOF, from Redis 7.2 on: by the append-only files of the engine and of the replicas.
    Disk,
    /// WAIT: by the memory of the replicas.
    Replicas,
}

impl Confirm {
    /// How long it may take.
    pub(crate) const LONGEST: Duration = CONFIRM;

    /// Appends the command to `out`.
    pub(crate) fn command(self, replicas: u32, out: &mut Vec<u8>) {
        let (replicas, time) = (replicas.to_string(), CONFIRM.as_millis().to_string());
        let (replicas, time) = (replicas.as_bytes(), time.as_bytes());
        match self {
            Self::Disk => command(&[b"WAITAOF", b"1", replicas, time], out),
            Self::Replicas => command(&[b"WAIT", replicas, time], out),
        }
    }

    /// Reads its reply: `None` if the engine does not know the command.
    ///
    /// # Errors
    /// What is not confirmed. The commands have been executed.
    pub(crate) fn confirmed(self, replicas: u32, reply: &[u8]) -> Option<Result<(), NotWritten>> {
        let mut reader = Reader::new(reply);
        let disks = match reader.item() {
            Ok(Item::Error(text)) if self == Self::Disk && text.starts_with(b"ERR unknown") => {
                return None;
            }
            Ok(Item::Error(text)) => return Some(Err(NotWritten::of(text).but_written())),
            Ok(Item::Array(2)) if self == Self::Disk => reader.item(),
            Ok(Item::Integer(_)) if self == Self::Replicas => Ok(Item::Integer(1)),
            _ => Ok(Item::Nil),
        };
        let count = match self {
            Self::Disk => reader.item(),
            Self::Replicas => Reader::new(reply).item(),
        };
        let (Ok(Item::Integer(disks)), Ok(Item::Integer(count))) = (disks, count) else {
            let odd = NotWritten::Unknown("WAIT has another reply".into());
            return Some(Err(odd.but_written()));
        };
        if disks >= 1 && count >= i64::from(replicas) {
            return Some(Ok(()));
        }
        let seconds = CONFIRM.as_secs();
        let missing = match disks {
            0 => format!("the engine's disk did not confirm it within {seconds} s"),
            _ => format!("{count} of {replicas} replicas confirmed it within {seconds} s"),
        };
        Some(Err(NotWritten::Unknown(missing).but_written()))
    }
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
    /// The engine refuses until an administrator acts. Nothing was executed, unless the text says
    /// that it is unconfirmed.
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
            "ERR" if error.contains("appendonly is disabled") => {
                "set appendonly yes in the engine, or SSE_PUBLISH_SYNC=no"
            }
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

    /// The same for an entry that is in the stream.
    fn but_written(self) -> Self {
        let text = format!("{self}; the entry is in the stream, unconfirmed");
        match self {
            Self::Refused(_) => Self::Refused(text),
            _ => Self::Unknown(text),
        }
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
    fn a_confirmation_says_what_is_missing() {
        let disk = |reply: &[u8]| Confirm::Disk.confirmed(1, reply);
        assert_eq!(disk(b"*2\r\n:1\r\n:1\r\n"), Some(Ok(())));
        assert_eq!(disk(b"-ERR unknown command 'WAITAOF'\r\n"), None);
        let said = |confirmed: Option<Result<(), NotWritten>>| match confirmed {
            Some(Err(error)) => error.to_string(),
            other => panic!("{other:?}"),
        };
        assert!(said(disk(b"*2\r\n:0\r\n:1\r\n")).contains("disk did not confirm"));
        assert!(said(disk(b"*2\r\n:1\r\n:0\r\n")).contains("0 of 1 replicas"));
        assert!(
            said(disk(
                b"-ERR WAITAOF cannot be used, appendonly is disabled.\r\n"
            ))
            .contains("set appendonly yes")
        );
        let wait = |replicas, reply: &[u8]| Confirm::Replicas.confirmed(replicas, reply);
        assert_eq!(wait(0, b":0\r\n"), Some(Ok(())));
        assert_eq!(wait(2, b":2\r\n"), Some(Ok(())));
        assert!(said(wait(2, b":1\r\n")).contains("1 of 2 replicas"));
        assert!(said(wait(0, b"-NOPERM no\r\n")).contains("in the stream, unconfirmed"));
        for odd in [&b"+OK\r\n"[..], b"*2\r\n", b""] {
            assert!(said(disk(odd)).contains("another reply"));
            assert!(said(wait(0, odd)).contains("another reply"));
        }
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

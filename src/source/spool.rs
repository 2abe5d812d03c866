//! Sessions, as a source sees them.
//!
//! A session is a folder in a spool: nothing of it lives in a process, so any process
//! goes on with it. How long its stream has been away is told by the folder's time, which
//! the stream sets now and then.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::Now;

/// A session's name: 128 bits that only its client and we know. Whoever knows it may
/// speak for the client.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SessionId([u8; 16]);

impl SessionId {
    /// How many digits its text has.
    pub const DIGITS: usize = 32;

    /// That of random bytes.
    #[must_use]
    pub fn of(random: [u8; 16]) -> Self {
        Self(random)
    }

    /// Reads 32 lower-case hexadecimal digits; `None` for anything else, so no text of a
    /// client's but these ever becomes part of a path.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let is_digit = |b: &u8| b.is_ascii_digit() || (b'a'..=b'f').contains(b);
        if text.len() != Self::DIGITS || !text.iter().all(is_digit) {
            return None;
        }
        let number = u128::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()?;
        Some(Self(number.to_be_bytes()))
    }

    /// The first 8 of the 128 bits.
    #[must_use]
    pub fn first_byte(self) -> u8 {
        self.0[0]
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for SessionId {
    /// It is a secret: a log gets no more than tells two apart.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}…", self.0[0])
    }
}

/// What sessions are for. Sessions of different kinds do not know each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKind {
    /// Streams of their own.
    Private,
    /// Members of a room, which this number stands for.
    Member {
        /// A hash of the place of its history.
        room: u64,
    },
}

impl SessionKind {
    /// What a session's one file is called.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Private => "events.jsonl",
            Self::Member { .. } => "member.json",
        }
    }
}

/// The sessions of one kind.
pub trait Spool {
    /// Makes a session, whose file holds `content`, or begins with it.
    ///
    /// # Errors
    /// What the system says.
    fn make(&self, id: SessionId, content: &[u8]) -> io::Result<()>;

    /// Tells that the session's stream is there now.
    ///
    /// # Errors
    /// `NotFound` when there is no such session, or none any more; `WouldBlock` while
    /// somebody looks whether it has ended: ask again.
    fn touch(&self, id: SessionId) -> io::Result<()>;

    /// The path of a session's file.
    fn file(&self, id: SessionId) -> PathBuf;

    /// What a session's file holds.
    ///
    /// # Errors
    /// `NotFound` when there is no such session; else what the system says.
    fn read(&self, id: SessionId) -> io::Result<Vec<u8>>;

    /// What every session's file holds, in any order.
    ///
    /// # Errors
    /// What the system says of the folder.
    fn all(&self) -> io::Result<Vec<Vec<u8>>>;

    /// Removes sessions whose streams have been away for longer than their grace, and than
    /// that of this spool, a bounded number of them. Of each, `ended` is told first what its
    /// file holds; where it fails, that session and all others stay; where it fails with
    /// `Unsupported`, that session alone.
    ///
    /// Two may do this at the same time: each session is told of once, unless one of the
    /// two is killed while it does.
    fn sweep(&self, now: Now, ended: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_written_as_an_id_is_one() {
        let text = b"0123456789abcdef0000000000000001";
        let id = SessionId::parse(text).unwrap();
        assert_eq!(id.to_string().as_bytes(), text);
        for bad in [
            &b""[..],
            &text[1..],
            b"0123456789ABCDEF0000000000000001",
            b"+123456789abcdef0000000000000001",
            b"../3456789abcdef0000000000000001",
            b"0123456789abcdef0000000000000001\n",
        ] {
            assert_eq!(SessionId::parse(bad), None, "{bad:?}");
        }
    }
}

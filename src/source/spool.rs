//! The interface between sources and sessions.
//!
//! A session is a folder in a spool. No state of it is in a process, so any process can
//! continue it. The folder's modification time, which the stream updates regularly, shows how
//! long the stream has been away.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::Now;
use super::room::Author;

/// The id of a session: 128 secret bits. A client that knows it may act as the session's
/// client.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId([u8; 16]);

impl SessionId {
    /// The number of digits in its text.
    pub const DIGITS: usize = 32;

    /// An id of random bytes.
    #[must_use]
    pub fn of(random: [u8; 16]) -> Self {
        Self(random)
    }

    /// Reads 32 lower-case hexadecimal digits; `None` for anything else, so no other text from
    /// a client becomes part of a path.
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
    /// It is a secret: a log contains only enough of it to distinguish two ids.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}…", self.0[0])
    }
}

/// The purpose of sessions. Sessions of different kinds are separate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKind {
    /// A private stream.
    Private,
    /// Members of the room with this number.
    Member {
        /// A hash of the location of its history.
        room: u64,
    },
}

impl SessionKind {
    /// The name of a session's only file.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Private => "events.jsonl",
            Self::Member { .. } => "member.json",
        }
    }
}

/// The members of a room, as its welcome reports them.
#[derive(Clone, Debug, Default)]
pub struct Members {
    /// How many there are.
    pub count: usize,
    /// Who they are, or some of them, in any order.
    pub named: Vec<Author>,
}

/// The sessions of one kind.
pub trait Spool {
    /// Creates a session whose file contains `content` or begins with it.
    ///
    /// # Errors
    /// The system's error.
    fn make(&self, id: SessionId, content: &[u8]) -> io::Result<()>;

    /// Updates the session's time while its stream is open.
    ///
    /// # Errors
    /// `NotFound` when there is no such session, or it has ended; `WouldBlock` while another
    /// process checks whether it has ended: try again.
    fn touch(&self, id: SessionId) -> io::Result<()>;

    /// The path of a session's file.
    fn file(&self, id: SessionId) -> PathBuf;

    /// The content of a session's file.
    ///
    /// # Errors
    /// `NotFound` when there is no such session; otherwise the system's error.
    fn read(&self, id: SessionId) -> io::Result<Vec<u8>>;

    /// The number of members of a room, and `most` of them. If there are more, the number may be
    /// that of a moment ago.
    ///
    /// # Errors
    /// The system's error for the folder.
    fn members(&self, most: usize) -> io::Result<Members>;

    /// Removes a limited number of sessions whose streams have been away for longer than their
    /// own grace and that of this spool. Before each is removed, `ended` is called with the
    /// content of its file. If `ended` fails, this session and all others stay; if it fails
    /// with `Unsupported`, only this session stays.
    ///
    /// Two processes may sweep at the same time: `ended` is called once for each session,
    /// unless one of the two is killed meanwhile.
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

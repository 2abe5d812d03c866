//! RESP2, the protocol of Redis, without a socket.
//!
//! ```text
//! bytes ──► Scanner: where a reply ends ──► Reader: its items, borrowed
//! ```
//!
//! A reply that arrives in parts is scanned once, and its items are neither copied nor collected
//! in a tree. Both bound the cost of a page of entries, which is nearly all that is received.

use std::fmt;

/// The longest reply. An entry can have 512 MB; one that is longer than this cannot be read.
pub const REPLY_MAX_BYTES: usize = 64 << 20;

/// The longest line: a number, or an error.
const LINE_MAX_BYTES: usize = 64 * 1024;

/// Bytes that are not RESP2, or exceed a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(&'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read a reply: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// An item of a reply. An array's items follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// `+OK`
    Simple(&'a [u8]),
    /// `-ERR …`, without the hyphen.
    Error(&'a [u8]),
    /// A number.
    Integer(i64),
    /// A string of bytes.
    Bulk(&'a [u8]),
    /// No string, or no array.
    Nil,
    /// An array of so many items.
    Array(usize),
}

/// Finds the end of a reply whose bytes arrive in parts.
#[derive(Debug)]
pub struct Scanner {
    /// The bytes that have been scanned.
    at: usize,
    /// How many items are missing.
    missing: usize,
}

impl Default for Scanner {
    fn default() -> Self {
        Self { at: 0, missing: 1 }
    }
}

impl Scanner {
    /// The length of the reply with which `bytes` begins; `None` if it is not complete. The bytes
    /// of an earlier call must be at the beginning again. After a length, the scanner is ready for
    /// the next reply.
    ///
    /// # Errors
    /// When the bytes are not a reply, or the reply is too long.
    pub fn length(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        while self.missing > 0 {
            let mut reader = Reader { bytes, at: self.at };
            let Some(item) = reader.next()? else {
                // A bulk string announces its length long before its end.
                if bytes.len() > REPLY_MAX_BYTES {
                    return Err(Malformed("longer than 64 MiB"));
                }
                return Ok(None);
            };
            self.at = reader.at;
            self.missing -= 1;
            if let Item::Array(length) = item {
                self.missing += length;
            }
            // Every item has at least four bytes.
            if self.at > REPLY_MAX_BYTES || self.missing > REPLY_MAX_BYTES / 4 {
                return Err(Malformed("longer than 64 MiB"));
            }
        }
        let length = self.at;
        *self = Self::default();
        Ok(Some(length))
    }
}

/// Reads the items of a reply.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads from the beginning of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Reads from `at`, which [`Self::place`] returned for the same bytes.
    #[must_use]
    pub fn at(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// The number of bytes that have been read.
    #[must_use]
    pub fn place(&self) -> usize {
        self.at
    }

    /// The next item; `None` if it is not complete.
    ///
    /// # Errors
    /// When the bytes are not RESP2.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator's items have no errors"
    )]
    pub fn next(&mut self) -> Result<Option<Item<'a>>, Malformed> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some((&kind, after)) = rest.split_first() else {
            return Ok(None);
        };
        if let b'+' | b'-' = kind {
            return self.line(kind, after);
        }
        if !matches!(kind, b':' | b'*' | b'$') {
            return Err(Malformed("not RESP2"));
        }
        let Some((number, used)) = number(after)? else {
            return Ok(None);
        };
        let used = 1 + used;
        let item = match (kind, number) {
            (b':', number) => Item::Integer(number),
            (_, -1) => Item::Nil,
            (b'*', length) => Item::Array(size(length)?),
            (_, length) => {
                let length = size(length)?;
                let Some(bulk) = rest.get(used..used + length + 2) else {
                    return Ok(None);
                };
                let (bulk, end) = bulk.split_at(length);
                if end != b"\r\n" {
                    return Err(Malformed("a string does not end in CR LF"));
                }
                self.at += used + length + 2;
                return Ok(Some(Item::Bulk(bulk)));
            }
        };
        self.at += used;
        Ok(Some(item))
    }

    /// A line of text, which begins after its `kind`.
    fn line(&mut self, kind: u8, after: &'a [u8]) -> Result<Option<Item<'a>>, Malformed> {
        let searched = &after[..after.len().min(LINE_MAX_BYTES)];
        let Some(end) = memchr::memchr(b'\r', searched) else {
            return match after.len() > LINE_MAX_BYTES {
                true => Err(Malformed("a line of more than 64 KiB")),
                false => Ok(None),
            };
        };
        match after.get(end + 1) {
            None => return Ok(None),
            Some(b'\n') => {}
            Some(_) => return Err(Malformed("a line does not end in CR LF")),
        }
        self.at += 1 + end + 2;
        let line = &after[..end];
        Ok(Some(match kind {
            b'+' => Item::Simple(line),
            _ => Item::Error(line),
        }))
    }

    /// The next item of a complete reply.
    ///
    /// # Errors
    /// When there is none.
    pub fn item(&mut self) -> Result<Item<'a>, Malformed> {
        self.next()?.ok_or(Malformed("an item is missing"))
    }

    /// The next item, which is an array; returns its length, and 0 for nil.
    ///
    /// # Errors
    /// When it is none.
    pub fn array(&mut self) -> Result<usize, Malformed> {
        match self.item()? {
            Item::Array(length) => Ok(length),
            Item::Nil => Ok(0),
            _ => Err(Malformed("not an array")),
        }
    }

    /// The next item, which is a string.
    ///
    /// # Errors
    /// When it is none.
    pub fn string(&mut self) -> Result<&'a [u8], Malformed> {
        match self.item()? {
            Item::Bulk(bytes) | Item::Simple(bytes) => Ok(bytes),
            _ => Err(Malformed("not a string")),
        }
    }

    /// Skips the next item, and all items of an array.
    ///
    /// # Errors
    /// When it is not complete.
    pub fn skip(&mut self) -> Result<(), Malformed> {
        let mut missing = 1;
        while missing > 0 {
            missing -= 1;
            if let Item::Array(length) = self.item()? {
                missing += length;
            }
        }
        Ok(())
    }
}

/// The number at the beginning, and how long it is with its line end; `None` if that is not there.
fn number(text: &[u8]) -> Result<Option<(i64, usize)>, Malformed> {
    const NO: Malformed = Malformed("not a number");
    let is_negative = text.first() == Some(&b'-');
    let from = usize::from(is_negative);
    let mut number = 0_i64;
    for (index, byte) in text.iter().enumerate().skip(from) {
        match byte {
            b'0'..=b'9' => {
                let tens = number.checked_mul(10).ok_or(NO)?;
                number = tens.checked_add(i64::from(byte - b'0')).ok_or(NO)?;
                // (Leading zeros.)
                if index > 20 {
                    return Err(NO);
                }
            }
            b'\r' if index > from => {
                let number = if is_negative { -number } else { number };
                return match text.get(index + 1) {
                    None => Ok(None),
                    Some(b'\n') => Ok(Some((number, index + 2))),
                    Some(_) => Err(Malformed("a line does not end in CR LF")),
                };
            }
            _ => return Err(NO),
        }
    }
    Ok(None)
}

fn size(length: i64) -> Result<usize, Malformed> {
    match usize::try_from(length) {
        Ok(length) if length <= REPLY_MAX_BYTES => Ok(length),
        _ => Err(Malformed("longer than 64 MiB")),
    }
}

/// Appends a command, which is an array of strings.
pub fn command(words: &[&[u8]], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scans the replies whole, byte by byte, and with others behind them.
    fn check(wire: &[u8], items: &[Item<'_>]) {
        assert_eq!(Scanner::default().length(wire), Ok(Some(wire.len())));
        let twice = [wire, wire].concat();
        assert_eq!(Scanner::default().length(&twice), Ok(Some(wire.len())));
        let mut scanner = Scanner::default();
        for end in 0..wire.len() {
            assert_eq!(scanner.length(&wire[..end]), Ok(None), "{end}");
        }
        assert_eq!(scanner.length(wire), Ok(Some(wire.len())));
        let mut reader = Reader::new(wire);
        for item in items {
            assert_eq!(reader.item(), Ok(*item));
        }
        assert_eq!(reader.place(), wire.len());
        let mut reader = Reader::new(wire);
        reader.skip().unwrap();
        assert_eq!(reader.place(), wire.len());
        assert_eq!(reader.next(), Ok(None));
    }

    #[test]
    fn every_kind_of_reply_is_read() {
        check(b"+OK\r\n", &[Item::Simple(b"OK")]);
        check(b"-ERR no\r\n", &[Item::Error(b"ERR no")]);
        check(b":-12\r\n", &[Item::Integer(-12)]);
        check(b"$3\r\na\r\n\r\n", &[Item::Bulk(b"a\r\n")]);
        check(b"$0\r\n\r\n", &[Item::Bulk(b"")]);
        check(b"$-1\r\n", &[Item::Nil]);
        check(b"*-1\r\n", &[Item::Nil]);
        check(b"*0\r\n", &[Item::Array(0)]);
        check(
            b"*2\r\n*1\r\n:1\r\n$1\r\nx\r\n",
            &[
                Item::Array(2),
                Item::Array(1),
                Item::Integer(1),
                Item::Bulk(b"x"),
            ],
        );
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        for bad in [
            &b"?\r\n"[..],
            b"+OK\rx",
            b":x\r\n",
            b"$x\r\n",
            b"$-2\r\n",
            b"$1\r\nabc",
            b"*-2\r\n",
            b"*99999999999\r\n",
            b"$99999999999\r\n",
            b"*20000000\r\n",
        ] {
            assert!(Scanner::default().length(bad).is_err(), "{bad:?}");
        }
        let long = [b"+".as_slice(), &vec![b'x'; LINE_MAX_BYTES + 1]].concat();
        assert!(Scanner::default().length(&long).is_err());
    }

    #[test]
    fn an_array_in_an_array_in_an_array_needs_no_stack() {
        let deep = b"*1\r\n".repeat(100_000);
        assert_eq!(Scanner::default().length(&deep), Ok(None));
        let mut whole = deep;
        whole.extend_from_slice(b":1\r\n");
        assert_eq!(Scanner::default().length(&whole), Ok(Some(whole.len())));
        Reader::new(&whole).skip().unwrap();
    }

    #[test]
    fn a_command_is_an_array_of_strings() {
        let mut out = Vec::new();
        command(&[b"XADD", b"", b"a\r\n"], &mut out);
        assert_eq!(out, b"*3\r\n$4\r\nXADD\r\n$0\r\n\r\n$3\r\na\r\n\r\n");
    }
}

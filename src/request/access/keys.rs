//! SigningKeys: the keys that signed links are checked with.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The keys of the file that `SSE_KEYS` names: one on each line.
#[derive(Clone, Default)]
pub struct SigningKeys(Vec<Vec<u8>>);

/// What is wrong with a file of keys. It says nothing of the keys' bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidKeys {
    /// There is no key in it.
    None,
    /// The key on this line is too short.
    Short {
        /// Counted from 1.
        line: usize,
        /// Its length, in bytes.
        bytes: usize,
    },
    /// There are more than [`SigningKeys::MAX`] keys.
    Many,
}

impl SigningKeys {
    /// The largest file, in bytes.
    pub const FILE_MAX_BYTES: u64 = 64 << 10;

    /// The shortest key, in bytes: 32 hexadecimal digits have 128 bits, which nobody guesses.
    pub const KEY_MIN_BYTES: usize = 32;

    /// The largest number of keys. Two are enough for a rotation; each one costs a client that
    /// sends a wrong link one computation more.
    pub const MAX: usize = 8;

    /// Reads a file of keys. A key is the text of its line, as it is: white space around it,
    /// empty lines, and lines that begin with `#` are ignored.
    ///
    /// # Errors
    /// When a key is too short, when there are too many, and when there is none.
    pub fn parse(file: &[u8]) -> Result<Self, InvalidKeys> {
        let file = file.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(file);
        let lines = file.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let mut keys = Vec::new();
        for (number, line) in lines.enumerate() {
            if line.is_empty() || line[0] == b'#' {
                continue;
            }
            if line.len() < Self::KEY_MIN_BYTES {
                return Err(InvalidKeys::Short {
                    line: number + 1,
                    bytes: line.len(),
                });
            }
            keys.push(line.to_vec());
        }
        match keys.len() {
            0 => Err(InvalidKeys::None),
            1..=Self::MAX => Ok(Self(keys)),
            _ => Err(InvalidKeys::Many),
        }
    }

    /// Whether `tag` is the HMAC-SHA256 of `text` by one of the keys. Its time does not depend
    /// on which key it is nor on how much of the tag is right.
    pub(super) fn verify(&self, text: &[u8], tag: &[u8; 32]) -> bool {
        // All keys are tried, so that the time does not tell which one is in use.
        self.0.iter().fold(false, |found, key| {
            // HMAC takes a key of any length.
            let is_right = Hmac::<Sha256>::new_from_slice(key)
                .is_ok_and(|mac| mac.chain_update(text).verify_slice(tag).is_ok());
            found | is_right
        })
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKeys({})", self.0.len())
    }
}

impl fmt::Display for InvalidKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let least = SigningKeys::KEY_MIN_BYTES;
        match self {
            Self::None => f.write_str(
                "no key is in this file; write one on a line, such as the output of \
                 openssl rand -hex 32",
            ),
            Self::Short { line, bytes } => write!(
                f,
                "the key on line {line} has {bytes} bytes; it needs {least} at least, such as the \
                 output of openssl rand -hex 32"
            ),
            Self::Many => write!(
                f,
                "more than {} keys are in this file; remove old ones",
                SigningKeys::MAX
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    #[test]
    fn a_key_is_a_line() {
        let read = |text: &str| SigningKeys::parse(text.as_bytes()).map(|keys| keys.0.len());
        assert_eq!(read(A), Ok(1));
        assert_eq!(read(&format!("\u{FEFF}# old\r\n  {A}\r\n\n{A}b\n")), Ok(2));
        assert_eq!(read(""), Err(InvalidKeys::None));
        assert_eq!(read("# none\n\n"), Err(InvalidKeys::None));
        let short = InvalidKeys::Short { line: 2, bytes: 31 };
        assert_eq!(read(&format!("{A}\n{}", &A[1..])), Err(short));
        assert_eq!(read(&format!("{A}\n").repeat(8)), Ok(8));
        assert_eq!(read(&format!("{A}\n").repeat(9)), Err(InvalidKeys::Many));
    }

    #[test]
    fn no_message_and_no_debugging_shows_a_key() {
        let keys = SigningKeys::parse(A.as_bytes()).unwrap();
        assert_eq!(format!("{keys:?}"), "SigningKeys(1)");
        let error = SigningKeys::parse(b"secret").unwrap_err().to_string();
        assert_eq!(
            error,
            "the key on line 1 has 6 bytes; it needs 32 at least, such as the output of openssl \
             rand -hex 32"
        );
    }
}

//! Lines that contain their number, so that a client can detect a missing, repeated or damaged
//! line.

/// Digits of a number.
const DIGITS: usize = 9;

/// The filling of lines: each begins at a different offset, so that two lines differ.
const FILLING: usize = 64;

/// Lines of one length.
#[derive(Clone, Debug)]
pub struct Numbered {
    length_bytes: usize,
    filling: Vec<u8>,
}

impl Numbered {
    /// Lines of `length_bytes` with their line ends, which is at least 16.
    pub fn of(length_bytes: usize) -> Self {
        assert!(length_bytes >= 16, "no room for a number");
        let filling = (0..length_bytes + FILLING)
            .map(|at| b'a' + (at * 7 % 26) as u8)
            .collect();
        Self {
            length_bytes,
            filling,
        }
    }

    /// The lines `from` up to `to`.
    pub fn lines(&self, from: u64, to: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity((to - from) as usize * self.length_bytes);
        for number in from..to {
            bytes.extend_from_slice(format!("{number:0DIGITS$} ").as_bytes());
            bytes.extend_from_slice(self.filling_of(number));
            bytes.push(b'\n');
        }
        bytes
    }

    /// The number of a line without its line end; `None` if it is not one of these lines.
    pub fn number(&self, line: &[u8]) -> Option<u64> {
        let (digits, rest) = line.split_at_checked(DIGITS)?;
        let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let is_ours = rest.first() == Some(&b' ') && rest[1..] == *self.filling_of(number);
        is_ours.then_some(number)
    }

    fn filling_of(&self, number: u64) -> &[u8] {
        let from = (number % FILLING as u64) as usize;
        &self.filling[from..][..self.length_bytes - DIGITS - 2]
    }
}

//! Pairs: name-value pairs (FastCGI 1.0 §3.4), parsed in pieces.

use super::{Limits, Malformed};

/// A name and its value.
pub(super) type Pair = (Vec<u8>, Vec<u8>);

/// A stream of pairs that has been received in part.
///
/// A length of up to 2 GiB takes four bytes on the wire. So a length is accepted only within
/// the rest of the limit, and memory is allocated for bytes that were received, not for bytes
/// that were announced.
#[derive(Debug)]
pub(super) struct Pairs {
    whole: Vec<Pair>,
    /// The rest of the limit for the lengths and the content of pairs.
    left_bytes: usize,
    limits: Limits,
    part: Part,
    length: Length,
    name: Vec<u8>,
    value: Vec<u8>,
    /// The missing bytes of the name and of the value of the current pair.
    name_left_bytes: usize,
    value_left_bytes: usize,
}

/// The next part of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    NameLength,
    ValueLength,
    Content,
}

/// A length of one or four bytes that has been received in part.
#[derive(Debug, Default)]
struct Length {
    value: u32,
    /// The missing bytes; 0 between lengths.
    left_bytes: u8,
}

impl Length {
    /// The length, once `byte` completes it.
    fn push(&mut self, byte: u8) -> Option<usize> {
        match self.left_bytes {
            0 if byte < 0x80 => return Some(usize::from(byte)),
            0 => (self.value, self.left_bytes) = (u32::from(byte & 0x7F), 3),
            _ => {
                self.value = self.value << 8 | u32::from(byte);
                self.left_bytes -= 1;
            }
        }
        // A length that does not fit exceeds every limit.
        (self.left_bytes == 0).then(|| usize::try_from(self.value).unwrap_or(usize::MAX))
    }
}

impl Pairs {
    pub fn new(limits: Limits) -> Self {
        Self {
            whole: Vec::new(),
            left_bytes: limits.params_bytes,
            limits,
            part: Part::NameLength,
            length: Length::default(),
            name: Vec::new(),
            value: Vec::new(),
            name_left_bytes: 0,
            value_left_bytes: 0,
        }
    }

    /// Its approximate memory: its bytes, and for each pair two vectors, each of which takes at
    /// least the smallest allocation.
    pub fn held_bytes(&self) -> usize {
        const PAIR_BYTES: usize = size_of::<Pair>() + 2 * 32;
        self.limits.params_bytes - self.left_bytes + self.whole.len() * PAIR_BYTES
    }

    /// Parses the next bytes of the stream.
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<(), Malformed> {
        while let Some((&first, rest)) = bytes.split_first() {
            match self.part {
                Part::NameLength | Part::ValueLength => {
                    bytes = rest;
                    self.length_byte(first)?;
                }
                Part::Content if self.name_left_bytes > 0 => {
                    append(&mut self.name, &mut self.name_left_bytes, &mut bytes);
                }
                Part::Content => {
                    append(&mut self.value, &mut self.value_left_bytes, &mut bytes);
                }
            }
            let is_whole = self.name_left_bytes == 0 && self.value_left_bytes == 0;
            if self.part == Part::Content && is_whole {
                let pair = (
                    std::mem::take(&mut self.name),
                    std::mem::take(&mut self.value),
                );
                self.whole.push(pair);
                self.part = Part::NameLength;
            }
        }
        Ok(())
    }

    fn length_byte(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.whole.len() == self.limits.pairs {
            return Err(Malformed::too_many(&self.limits));
        }
        self.spend(1)?;
        let Some(length) = self.length.push(byte) else {
            return Ok(());
        };
        self.spend(length)?;
        if self.part == Part::NameLength {
            self.name_left_bytes = length;
            self.part = Part::ValueLength;
        } else {
            self.value_left_bytes = length;
            self.part = Part::Content;
        }
        Ok(())
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Malformed> {
        let left = self.left_bytes.checked_sub(bytes);
        self.left_bytes = left.ok_or_else(|| Malformed::too_long(&self.limits))?;
        Ok(())
    }

    /// The pairs, at the end of their stream.
    pub fn end(self) -> Result<Vec<Pair>, Malformed> {
        if self.part == Part::NameLength && self.length.left_bytes == 0 {
            Ok(self.whole)
        } else {
            Err(Malformed::PairCut)
        }
    }
}

/// Moves up to `left_bytes` from the front of `bytes`.
fn append(to: &mut Vec<u8>, left_bytes: &mut usize, bytes: &mut &[u8]) {
    let (piece, rest) = bytes.split_at(bytes.len().min(*left_bytes));
    to.extend_from_slice(piece);
    *left_bytes -= piece.len();
    *bytes = rest;
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Limits = Limits {
        params_bytes: 200,
        pairs: 3,
        connections_max: 1,
    };

    type Expected<'a> = Result<&'a [(&'a [u8], &'a [u8])], Malformed>;

    /// Parses `bytes` whole and byte by byte.
    fn check(bytes: &[u8], expected: Expected) {
        for size in [bytes.len().max(1), 1, 3] {
            let mut pairs = Pairs::new(SMALL);
            let found = bytes
                .chunks(size)
                .try_for_each(|piece| pairs.take(piece))
                .and_then(|()| pairs.end());
            let expected = expected.map(|pairs| {
                let owned = pairs.iter().map(|(n, v)| (n.to_vec(), v.to_vec()));
                owned.collect::<Vec<_>>()
            });
            assert_eq!(found, expected, "{bytes:x?} by {size}");
        }
    }

    #[test]
    fn pairs_are_read_however_their_lengths_are_written() {
        check(b"", Ok(&[]));
        check(b"\x01\x02abb", Ok(&[(b"a", b"bb")]));
        check(b"\x80\x00\x00\x01\x02abb", Ok(&[(b"a", b"bb")]));
        check(b"\x01\x80\x00\x00\x02abb", Ok(&[(b"a", b"bb")]));
        let long = [b'x'; 130];
        check(
            &[&b"\x80\x00\x00\x82\x00"[..], &long, b"\x00\x00"].concat(),
            Ok(&[(&long, b""), (b"", b"")]),
        );
    }

    #[test]
    fn empty_names_and_values_and_bytes_that_are_no_text_are_kept() {
        check(b"\x00\x00", Ok(&[(b"", b"")]));
        check(b"\x00\x01v\x01\x00n", Ok(&[(b"", b"v"), (b"n", b"")]));
        check(b"\x02\x01\xFF\x00\xC3", Ok(&[(b"\xFF\x00", b"\xC3")]));
        check(b"\x01\x01A1\x01\x01A1", Ok(&[(b"A", b"1"), (b"A", b"1")]));
    }

    #[test]
    fn a_stream_that_ends_within_a_pair_is_malformed() {
        for bytes in [
            &b"\x01"[..],
            b"\x80",
            b"\x00\x80\x00\x00",
            b"\x01\x01a",
            b"\x00\x01",
            b"\x01\x01ab\x00",
        ] {
            check(bytes, Err(Malformed::PairCut));
        }
    }

    #[test]
    fn a_length_past_the_limit_is_refused_where_it_stands() {
        let too_long = Err(Malformed::ParamsTooLong(200));
        check(b"\xFF\xFF\xFF\xFF", too_long);
        check(b"\x00\xFF\xFF\xFF\xFF", too_long);
        check(b"\x80\x00\x00\xC5", too_long);
        check(b"\x64\x63", too_long);
        check(
            &[&b"\x64\x62"[..], &[b'x'; 198]].concat(),
            Ok(&[(&[b'x'; 100], &[b'x'; 98])]),
        );
    }

    #[test]
    fn a_pair_past_the_limit_is_refused_at_its_first_byte() {
        check(&[0; 6], Ok(&[(&b""[..], &b""[..]); 3]));
        check(&[0; 7], Err(Malformed::TooManyPairs(3)));
    }
}

//! The chunked coding of a body (RFC 9112 §7.1), taken apart as it comes.

use super::Rejection;

/// The longest line of a chunk, with its extensions: nobody sends any, and without a limit
/// a client could have us read for ever for one byte of body.
const LINE_BYTES_MAX: u16 = 256;

/// The longest trailer section. What it says is ignored.
const TRAILER_BYTES_MAX: u16 = 4096;

/// A chunked body that has come in part.
#[derive(Debug)]
pub(super) struct Chunked {
    part: Part,
    /// Bytes of the line or of the trailer section in hand.
    line_bytes: u16,
    /// What is left of the chunk in hand; before its end of line, its size.
    left_bytes: u64,
}

/// Where in the coding we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Before the first digit of a size.
    Start,
    Size,
    /// White space between the size and `;`.
    Space,
    Extension,
    /// LF must follow.
    LineEnd,
    Data,
    DataCr,
    DataLf,
    /// At the start of a line of the trailer section.
    TrailerStart,
    Trailer,
    TrailerLf,
    /// LF must follow, and it is the last byte.
    Last,
}

/// What was taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken<'i> {
    /// A piece of the body, not empty.
    Bytes(&'i [u8]),
    /// More input is needed.
    More,
    /// The body has ended.
    End,
}

impl Chunked {
    pub(super) fn new() -> Self {
        Self {
            part: Part::Start,
            line_bytes: 0,
            left_bytes: 0,
        }
    }

    /// Consumes from the front of `input`, up to the next piece or the end.
    pub(super) fn take<'i>(&mut self, input: &mut &'i [u8]) -> Result<Taken<'i>, Rejection> {
        loop {
            if self.part == Part::Data {
                let most = usize::try_from(self.left_bytes).unwrap_or(usize::MAX);
                let (piece, rest) = input.split_at(input.len().min(most));
                if piece.is_empty() {
                    return Ok(Taken::More);
                }
                *input = rest;
                self.left_bytes -= piece.len() as u64;
                if self.left_bytes == 0 {
                    self.part = Part::DataCr;
                }
                return Ok(Taken::Bytes(piece));
            }
            let Some((&byte, rest)) = input.split_first() else {
                return Ok(Taken::More);
            };
            *input = rest;
            if self.part == Part::Last {
                return match byte {
                    b'\n' => Ok(Taken::End),
                    _ => Err(Rejection::Trailer),
                };
            }
            self.part = self.after(byte)?;
        }
    }

    /// The part after a byte that is not of the body.
    fn after(&mut self, byte: u8) -> Result<Part, Rejection> {
        self.line_bytes += 1;
        let (most, rejection) = match self.part {
            Part::TrailerStart | Part::Trailer | Part::TrailerLf => {
                (TRAILER_BYTES_MAX, Rejection::Trailer)
            }
            _ => (LINE_BYTES_MAX, Rejection::Chunk),
        };
        if self.line_bytes > most {
            return Err(rejection);
        }
        let part = match (self.part, byte) {
            (Part::Start | Part::Size, digit) if digit.is_ascii_hexdigit() => {
                let value = (digit as char).to_digit(16).unwrap_or_default();
                // What does not fit in 60 bits is nobody's body.
                if self.left_bytes >> 56 != 0 {
                    return Err(Rejection::Chunk);
                }
                self.left_bytes = self.left_bytes << 4 | u64::from(value);
                Part::Size
            }
            (Part::Size, b' ' | b'\t') | (Part::Space, b' ' | b'\t') => Part::Space,
            (Part::Size | Part::Space, b';') => Part::Extension,
            (Part::Size | Part::Extension, b'\r') => Part::LineEnd,
            (Part::Extension, b'\t' | b' '..=b'~' | 0x80..) => Part::Extension,
            (Part::LineEnd, b'\n') => {
                self.line_bytes = 0;
                match self.left_bytes {
                    0 => Part::TrailerStart,
                    _ => Part::Data,
                }
            }
            (Part::DataCr, b'\r') => Part::DataLf,
            (Part::DataLf, b'\n') => {
                self.line_bytes = 0;
                Part::Start
            }
            (Part::TrailerStart, b'\r') => Part::Last,
            (Part::TrailerStart, b' ' | b'\t' | b':') => return Err(rejection),
            (Part::TrailerStart | Part::Trailer, b'\t' | b' '..=b'~' | 0x80..) => Part::Trailer,
            (Part::Trailer, b'\r') => Part::TrailerLf,
            (Part::TrailerLf, b'\n') => Part::TrailerStart,
            _ => return Err(rejection),
        };
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body, whether it has ended, and what is left of the input.
    type Outcome<'a> = Result<(&'a [u8], bool, &'a [u8]), Rejection>;

    #[track_caller]
    fn check(bytes: &[u8], expected: Outcome) {
        for size in [bytes.len().max(1), 1, 3] {
            let mut chunked = Chunked::new();
            let (mut body, mut rest, mut has_ended) = (Vec::new(), Vec::new(), false);
            let mut result = Ok(());
            'pieces: for piece in bytes.chunks(size) {
                let mut input = piece;
                while !has_ended {
                    match chunked.take(&mut input) {
                        Ok(Taken::Bytes(piece)) => body.extend(piece),
                        Ok(Taken::More) => break,
                        Ok(Taken::End) => has_ended = true,
                        Err(rejection) => {
                            result = Err(rejection);
                            break 'pieces;
                        }
                    }
                }
                rest.extend(input);
            }
            let found = result.map(|()| (&body[..], has_ended, &rest[..]));
            assert_eq!(found, expected, "{} by {size}", bytes.escape_ascii());
        }
    }

    #[test]
    fn chunks_are_joined_whatever_their_sizes_look_like() {
        check(b"0\r\n\r\n", Ok((b"", true, b"")));
        check(b"5\r\nhello\r\n0\r\n\r\nGET", Ok((b"hello", true, b"GET")));
        check(
            b"00A\r\n0123456789\r\n1\r\nx\r\n000\r\n\r\n",
            Ok((b"0123456789x", true, b"")),
        );
        check(b"1;a=b\r\nx\r\n0 ;c\r\n\r\n", Ok((b"x", true, b"")));
        check(
            b"1\r\n\n\r\n0\r\nA: b\r\nC:\r\n\r\nZ",
            Ok((b"\n", true, b"Z")),
        );
        check(b"5\r\nhel", Ok((b"hel", false, b"")));
        check(b"0\r\n\r", Ok((b"", false, b"")));
    }

    #[test]
    fn what_is_no_chunk_is_rejected() {
        for bytes in [
            &b"\r\n"[..],
            b"x\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x5\r\n",
            b" 5\r\n",
            b"5\n",
            b"5\r\r\n",
            b"5 5\r\n",
            b"5 \r\n",
            b"5;\n",
            b"5;a\rb",
            b"5;a\0",
            b"1000000000000000\r\n",
            b"FFFFFFFFFFFFFFFFF",
            b"3\r\nabcd\r\n",
            b"3\r\nab\r\n0",
            b"3\r\nabc\n",
            b"3\r\nabc0\r\n",
        ] {
            let mut chunked = Chunked::new();
            let mut input = bytes;
            let found = loop {
                match chunked.take(&mut input) {
                    Ok(Taken::Bytes(_)) => {}
                    Ok(other) => panic!("{}: {other:?}", bytes.escape_ascii()),
                    Err(rejection) => break rejection,
                }
            };
            assert_eq!(found, Rejection::Chunk, "{}", bytes.escape_ascii());
        }
        for bytes in [
            &b"0\r\n\n"[..],
            b"0\r\n\rx",
            b"0\r\n A: b\r\n",
            b"0\r\nA: b\n",
            b"0\r\nA: \0\r\n",
            b"0\r\n: b\r\n",
            b"0\r\nA\rb",
        ] {
            check(bytes, Err(Rejection::Trailer));
        }
    }

    #[test]
    fn lines_without_an_end_are_not_read_for_ever() {
        let zeros = b"0".repeat(257);
        check(&zeros, Err(Rejection::Chunk));
        let extension = [&b"1;"[..], &b"x".repeat(255)].concat();
        check(&extension, Err(Rejection::Chunk));
        let trailer = [&b"0\r\n"[..], &b"A: b\r\n".repeat(700)].concat();
        check(&trailer, Err(Rejection::Trailer));
    }
}

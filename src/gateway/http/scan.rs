//! Where a head ends, and whether its lines do as they must.

use super::Rejection;

/// Whether `byte` may follow in a head that ends in `before`, of which the last bytes count.
/// `Ok(true)`: it is the head's last one.
///
/// What it rejects is rejected where it stands: the client need not send the rest first.
pub(super) fn next(before: &[u8], byte: u8) -> Result<bool, Rejection> {
    match (before, byte) {
        ([.., b'\r', b'\n', b'\r'], b'\n') => Ok(true),
        ([.., b'\r'], b'\n') => Ok(false),
        (_, b'\n') => Err(Rejection::BareLineFeed),
        ([.., b'\r'], _) => Err(Rejection::BareCarriageReturn),
        (_, b'\r') => Ok(false),
        ([.., b'\n'] | [], b' ' | b'\t') => Err(Rejection::Folded),
        (_, b'\t' | b' '..=b'~' | 0x80..) => Ok(false),
        _ => Err(Rejection::ControlCharacter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The length of the head that `bytes` begin with; `None` when it has not ended.
    fn head(bytes: &[u8]) -> Result<Option<usize>, Rejection> {
        for (at, byte) in bytes.iter().enumerate() {
            if next(&bytes[..at], *byte)? {
                return Ok(Some(at + 1));
            }
        }
        Ok(None)
    }

    #[test]
    fn a_head_ends_with_an_empty_line_and_its_lines_with_crlf() {
        let check = |bytes: &[u8], expected| {
            assert_eq!(head(bytes), expected, "{}", bytes.escape_ascii());
        };
        check(b"", Ok(None));
        check(b"GET / HTTP/1.1\r\n", Ok(None));
        check(b"GET / HTTP/1.1\r\nA: b\r\n\r", Ok(None));
        check(b"GET / HTTP/1.1\r\n\r\nrest", Ok(Some(18)));
        check(b"GET / HTTP/1.1\r\nA: \tb\xE9\r\n\r\n", Ok(Some(26)));
        for (bytes, rejection) in [
            (&b"GET / HTTP/1.1\n"[..], Rejection::BareLineFeed),
            (b"G\r\nA: b\n", Rejection::BareLineFeed),
            (b"G\r\n\n", Rejection::BareLineFeed),
            (b"G\r\nA: b\rc", Rejection::BareCarriageReturn),
            (b"G\r\n\r\r\n", Rejection::BareCarriageReturn),
            (b"G\r\nA: b\r\n c", Rejection::Folded),
            (b"G\r\n\tA: b", Rejection::Folded),
            (b" GET", Rejection::Folded),
            (b"G\0", Rejection::ControlCharacter),
            (b"G\r\nA\x0B: b", Rejection::ControlCharacter),
            (b"G\r\nA: \x7F", Rejection::ControlCharacter),
            (b"\x16\x03\x01", Rejection::ControlCharacter),
        ] {
            check(bytes, Err(rejection));
        }
    }
}

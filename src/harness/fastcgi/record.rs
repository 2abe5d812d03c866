//! Record: the records that a web server sends to a responder and receives from it (FastCGI 1.0
//! §3.3), without I/O. There is one request on a connection, so its id is always 1.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

const HEADER_BYTES: usize = 8;
const CONTENT_BYTES_MAX: usize = u16::MAX as usize;
const VERSION: u8 = 1;
const REQUEST_ID: u16 = 1;
const RESPONDER_ROLE: u8 = 1;

const BEGIN_REQUEST: u8 = 1;
const END_REQUEST: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const STDERR: u8 = 7;

/// A whole request: BEGIN_REQUEST without FCGI_KEEP_CONN, the pairs, and the input.
pub fn request<'a>(
    params: impl IntoIterator<Item = (&'a OsStr, &'a OsStr)>,
    input: &[u8],
) -> Vec<u8> {
    let mut out = Vec::with_capacity(4096 + input.len());
    push(
        BEGIN_REQUEST,
        &[0, RESPONDER_ROLE, 0, 0, 0, 0, 0, 0],
        &mut out,
    );
    let mut pairs = Vec::with_capacity(4096);
    for (name, value) in params {
        push_length(name.len(), &mut pairs);
        push_length(value.len(), &mut pairs);
        pairs.extend_from_slice(name.as_bytes());
        pairs.extend_from_slice(value.as_bytes());
    }
    push_stream(PARAMS, &pairs, &mut out);
    push_stream(STDIN, input, &mut out);
    out
}

/// One byte below 128, otherwise four with the highest bit set (§3.4).
fn push_length(length: usize, out: &mut Vec<u8>) {
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let long = u32::try_from(length).expect("a head and settings of far less than 2 GiB");
            out.extend_from_slice(&(long | 0x8000_0000).to_be_bytes());
        }
    }
}

/// The content as records, followed by the empty one that ends a stream.
fn push_stream(kind: u8, content: &[u8], out: &mut Vec<u8>) {
    for piece in content.chunks(CONTENT_BYTES_MAX).chain([&[][..]]) {
        push(kind, piece, out);
    }
}

fn push(kind: u8, content: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(content.len()).expect("content that was cut");
    let ([id1, id0], [length1, length0]) = (REQUEST_ID.to_be_bytes(), length.to_be_bytes());
    out.extend_from_slice(&[VERSION, kind, id1, id0, length1, length0, 0, 0]);
    out.extend_from_slice(content);
}

/// A record from a responder.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    Stdout(&'a [u8]),
    Stderr(&'a [u8]),
    /// The request has ended.
    End,
    /// A record that belongs to no request; it is ignored.
    Other,
}

/// Parses the first record, and returns it with its length in bytes. `Ok(None)`: more bytes are
/// needed.
pub fn parse(bytes: &[u8]) -> Result<Option<(Received<'_>, usize)>, ProtocolError> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let [version, kind, id1, id0, length1, length0, padding, _] = *header;
    if version != VERSION {
        return Err(ProtocolError::Version(version));
    }
    let length = usize::from(u16::from_be_bytes([length1, length0]));
    let whole = length + usize::from(padding);
    let (Some(content), true) = (rest.get(..length), rest.len() >= whole) else {
        return Ok(None);
    };
    let is_ours = u16::from_be_bytes([id1, id0]) == REQUEST_ID;
    let received = match kind {
        STDOUT if is_ours => Received::Stdout(content),
        STDERR if is_ours => Received::Stderr(content),
        END_REQUEST if is_ours => match content {
            [_, _, _, _, 0, ..] => Received::End,
            [_, _, _, _, status, ..] => return Err(ProtocolError::Refused(*status)),
            _ => return Err(ProtocolError::ShortEnd),
        },
        _ => Received::Other,
    };
    Ok(Some((received, HEADER_BYTES + whole)))
}

/// Why no further record is expected.
#[derive(Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// An unknown version of the protocol; there is only 1.
    Version(u8),
    /// A `protocolStatus` other than REQUEST_COMPLETE (§5.5), for example overloaded.
    Refused(u8),
    ShortEnd,
}

impl std::fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            ProtocolError::Version(version) => write!(f, "a record of FastCGI version {version}"),
            ProtocolError::Refused(status) => write!(f, "refused with protocol status {status}"),
            ProtocolError::ShortEnd => f.write_str("an END_REQUEST that is cut short"),
        }
    }
}

impl std::error::Error for ProtocolError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_is_these_bytes() {
        let params = [("A", "b"), ("EMPTY", "")].map(|(n, v)| (OsStr::new(n), OsStr::new(v)));
        let expected = b"\x01\x01\x00\x01\x00\x08\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\
            \x01\x04\x00\x01\x00\x0b\x00\x00\x01\x01Ab\x05\x00EMPTY\
            \x01\x04\x00\x01\x00\x00\x00\x00\
            \x01\x05\x00\x01\x00\x02\x00\x00in\
            \x01\x05\x00\x01\x00\x00\x00\x00";
        assert_eq!(request(params, b"in"), expected);
    }

    #[test]
    fn a_length_of_128_or_more_takes_four_bytes() {
        for (length, expected) in [
            (0, &b"\0"[..]),
            (127, b"\x7f"),
            (128, b"\x80\0\0\x80"),
            (70_000, b"\x80\x01\x11\x70"),
        ] {
            let mut out = Vec::new();
            push_length(length, &mut out);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn a_long_stream_is_cut_into_records() {
        let mut out = Vec::new();
        push_stream(STDIN, &vec![b'x'; CONTENT_BYTES_MAX + 1], &mut out);
        assert_eq!(out.len(), CONTENT_BYTES_MAX + 1 + 3 * HEADER_BYTES);
    }

    fn check(bytes: &[u8], expected: Received) {
        let whole = bytes.len();
        assert_eq!(parse(bytes), Ok(Some((expected, whole))));
        for end in 0..whole {
            assert_eq!(parse(&bytes[..end]), Ok(None), "{end}");
        }
    }

    #[test]
    fn what_a_responder_says_is_read_once_it_is_whole() {
        check(b"\x01\x06\0\x01\0\x02\0\0hi", Received::Stdout(b"hi"));
        check(b"\x01\x06\0\x01\0\x02\x03\0hi...", Received::Stdout(b"hi"));
        check(b"\x01\x07\0\x01\0\x02\0\0no", Received::Stderr(b"no"));
        check(b"\x01\x03\0\x01\0\x08\0\0\0\0\0\x07\0...", Received::End);
        check(b"\x01\x0a\0\0\0\x01\0\0v", Received::Other);
        check(b"\x01\x06\0\x02\0\x01\0\0x", Received::Other);
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        assert_eq!(parse(b"HTTP/1.1"), Err(ProtocolError::Version(b'H')));
        let overloaded = b"\x01\x03\0\x01\0\x08\0\0\0\0\0\0\x02...";
        assert_eq!(parse(overloaded), Err(ProtocolError::Refused(2)));
        let short = b"\x01\x03\0\x01\0\x01\0\0x";
        assert_eq!(parse(short), Err(ProtocolError::ShortEnd));
    }

    proptest! {
        #[test]
        fn a_responders_bytes_never_panic(mut bytes: Vec<u8>) {
            let _ = parse(&bytes);
            if let Some(version) = bytes.first_mut() {
                *version = VERSION;
                let _ = parse(&bytes);
            }
        }
    }
}

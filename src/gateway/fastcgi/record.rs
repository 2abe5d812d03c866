//! Records: their header (FastCGI 1.0 §3.3), and the records that a responder writes.

/// Bytes of a record's header.
pub const HEADER_BYTES: usize = 8;
/// Maximum length of one record's content.
pub const CONTENT_BYTES_MAX: usize = u16::MAX as usize;
/// `FCGI_VERSION_1`.
pub(super) const VERSION: u8 = 1;
/// `FCGI_NULL_REQUEST_ID`: a record about the connection, not about a request.
pub(super) const MANAGEMENT: u16 = 0;

/// The types of records, as the specification numbers them (§8).
pub(super) mod kind {
    pub const BEGIN_REQUEST: u8 = 1;
    pub const ABORT_REQUEST: u8 = 2;
    pub const END_REQUEST: u8 = 3;
    pub const PARAMS: u8 = 4;
    pub const STDIN: u8 = 5;
    pub const STDOUT: u8 = 6;
    pub const STDERR: u8 = 7;
    pub const GET_VALUES: u8 = 9;
    pub const GET_VALUES_RESULT: u8 = 10;
    pub const UNKNOWN_TYPE: u8 = 11;
}

/// `protocolStatus` of END_REQUEST (§5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProtocolStatus {
    RequestComplete = 0,
    CantMpxConn = 1,
    UnknownRole = 3,
}

/// A record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub version: u8,
    pub kind: u8,
    pub request_id: u16,
    pub content_bytes: u16,
    pub padding_bytes: u8,
}

impl Header {
    pub fn parse(bytes: [u8; HEADER_BYTES]) -> Self {
        let [
            version,
            kind,
            id1,
            id0,
            content1,
            content0,
            padding_bytes,
            _,
        ] = bytes;
        Self {
            version,
            kind,
            request_id: u16::from_be_bytes([id1, id0]),
            content_bytes: u16::from_be_bytes([content1, content0]),
            padding_bytes,
        }
    }
}

/// The bytes of a header without padding. Padding is for the sender's convenience (§3.3), and a
/// record that is sent in one write does not need it.
fn header(kind: u8, request_id: u16, content_bytes: u16) -> [u8; HEADER_BYTES] {
    let [id1, id0] = request_id.to_be_bytes();
    let [content1, content0] = content_bytes.to_be_bytes();
    [VERSION, kind, id1, id0, content1, content0, 0, 0]
}

/// Appends one record. Callers pass at most 65 535 bytes of `content`.
pub(super) fn record(kind: u8, request_id: u16, content: &[u8], out: &mut Vec<u8>) {
    let content_bytes = u16::try_from(content.len()).expect("content that was cut or bounded");
    out.extend_from_slice(&header(kind, request_id, content_bytes));
    out.extend_from_slice(content);
}

/// Appends END_REQUEST (§5.5).
pub(super) fn end_request(
    request_id: u16,
    app_status: u32,
    protocol_status: ProtocolStatus,
    out: &mut Vec<u8>,
) {
    let [a, b, c, d] = app_status.to_be_bytes();
    let body = [a, b, c, d, protocol_status as u8, 0, 0, 0];
    record(kind::END_REQUEST, request_id, &body, out);
}

/// Appends `content` as records of a stream. None of them is empty, because an empty record is
/// the stream's end (§3.3).
fn stream(kind: u8, request_id: u16, content: &[u8], out: &mut Vec<u8>) {
    let records = content.len().div_ceil(CONTENT_BYTES_MAX);
    out.reserve(content.len() + records * HEADER_BYTES);
    for piece in content.chunks(CONTENT_BYTES_MAX) {
        record(kind, request_id, piece, out);
    }
}

/// Appends `content` as STDOUT records of at most 65 535 bytes of content each, without
/// padding. Empty content appends nothing: [`Connection::finish`](super::Connection::finish)
/// appends the end of STDOUT.
pub fn stdout(request_id: u16, content: &[u8], out: &mut Vec<u8>) {
    stream(kind::STDOUT, request_id, content, out);
}

/// Appends `content` as STDERR records, which the web server writes to its error log. It is
/// otherwise like [`stdout`]; STDERR needs no end (§5.3).
pub fn stderr(request_id: u16, content: &[u8], out: &mut Vec<u8>) {
    stream(kind::STDERR, request_id, content, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(write: impl Fn(&mut Vec<u8>), expected: &[u8]) {
        let mut out = b"before".to_vec();
        write(&mut out);
        assert_eq!(out, [b"before", expected].concat());
    }

    #[test]
    fn what_is_written_is_whole_records() {
        check(
            |out| stdout(1, b"data: x\n\n", out),
            b"\x01\x06\x00\x01\x00\x09\x00\x00data: x\n\n",
        );
        check(
            |out| stderr(0x1234, b"no", out),
            b"\x01\x07\x12\x34\x00\x02\x00\x00no",
        );
        check(
            |out| end_request(2, 0xAABB_CCDD, ProtocolStatus::CantMpxConn, out),
            b"\x01\x03\x00\x02\x00\x08\x00\x00\xAA\xBB\xCC\xDD\x01\x00\x00\x00",
        );
    }

    #[test]
    fn no_content_is_no_record_since_an_empty_one_would_end_the_stream() {
        check(|out| stdout(1, b"", out), b"");
        check(|out| stderr(1, b"", out), b"");
    }

    #[test]
    fn content_is_cut_where_a_record_is_full() {
        for (bytes, records) in [(65_535, 1), (65_536, 2), (131_070, 2), (131_071, 3)] {
            let content: Vec<u8> = (0..bytes).map(|n: u32| n as u8).collect();
            let mut out = Vec::new();
            stdout(9, &content, &mut out);
            assert_eq!(out.len(), content.len() + records * HEADER_BYTES);
            let mut rest = &out[..];
            let mut joined = Vec::new();
            while let Some((header, after)) = rest.split_first_chunk() {
                let header = Header::parse(*header);
                assert_eq!((header.kind, header.request_id), (kind::STDOUT, 9));
                let (piece, after) = after.split_at(usize::from(header.content_bytes));
                assert!(!piece.is_empty());
                joined.extend_from_slice(piece);
                rest = after;
            }
            assert_eq!(joined, content);
        }
    }
}

//! As much of HTTP/2 (RFC 9113) as it takes to see when the data of one response arrives.
//!
//! Header blocks of the response are not decoded: the same URL was requested over HTTP/1.1
//! before, and only the arrival of data differs.

use std::time::{Duration, Instant};

use ureq::http::Uri;

use super::super::cat::redirect::is_same_origin;
use super::super::endpoint::Endpoint;
use super::connection::{Connection, Received};
use super::observation::Http2Seen;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The largest frame that a server may send to a client that asks for nothing else.
const FRAME_MAX_BYTES: usize = 16_384;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .unwrap_or(u32::MAX)
        .to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A field, literally and without an index (RFC 7541 §6.2.2).
fn literal(name: &str, value: &[u8], block: &mut Vec<u8>) {
    block.push(0);
    for text in [name.as_bytes(), value] {
        integer(text.len(), 7, block);
        block.extend(text);
    }
}

/// An integer with a prefix of so many bits (RFC 7541 §5.1).
fn integer(mut value: usize, bits: u32, block: &mut Vec<u8>) {
    let most = (1 << bits) - 1;
    if value < most {
        block.push(u8::try_from(value).unwrap_or_default());
        return;
    }
    block.push(u8::try_from(most).unwrap_or_default());
    value -= most;
    while value >= 128 {
        block.push(u8::try_from(value % 128 + 128).unwrap_or_default());
        value /= 128;
    }
    block.push(u8::try_from(value).unwrap_or_default());
}

fn request(url: &Uri, endpoint: &Endpoint) -> Vec<u8> {
    let mut block = Vec::new();
    let is_own = is_same_origin(url, &endpoint.url);
    let signed = match is_own {
        true => endpoint.signed(url, "GET"),
        false => url.clone(),
    };
    let target = signed
        .path_and_query()
        .map_or("/", |target| target.as_str());
    let authority = url.authority().map_or("", |authority| authority.as_str());
    literal(":method", b"GET", &mut block);
    literal(
        ":scheme",
        url.scheme_str().unwrap_or("https").as_bytes(),
        &mut block,
    );
    literal(":authority", authority.as_bytes(), &mut block);
    literal(":path", target.as_bytes(), &mut block);
    literal("accept", b"text/event-stream", &mut block);
    literal(
        "user-agent",
        concat!("sse-doctor/", env!("CARGO_PKG_VERSION")).as_bytes(),
        &mut block,
    );
    if is_own {
        for (name, value) in endpoint.fields() {
            literal(name, value, &mut block);
        }
    }
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, b""));
    // (A longer block would need CONTINUATION; no credentials are that long.)
    block.truncate(FRAME_MAX_BYTES);
    bytes.extend(frame(HEADERS, END_STREAM | END_HEADERS, 1, &block));
    bytes
}

/// The client's state.
#[derive(Debug, Default)]
struct Client {
    raw: Vec<u8>,
    /// To be sent.
    replies: Vec<u8>,
    /// Bytes of data that arrived since this was taken.
    data_bytes: usize,
    has_ended: bool,
}

impl Client {
    fn feed(&mut self, bytes: &[u8]) {
        self.raw.extend_from_slice(bytes);
        while let Some(head) = self.raw.first_chunk::<9>() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let (kind, flags) = (head[3], head[4]);
            let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
            if length > FRAME_MAX_BYTES {
                self.has_ended = true;
                return;
            }
            if self.raw.len() < 9 + length {
                return;
            }
            let payload: Vec<u8> = self.raw.drain(..9 + length).skip(9).collect();
            match kind {
                DATA if stream == 1 => {
                    self.data_bytes += length;
                    self.has_ended |= flags & END_STREAM != 0;
                    if length > 0 {
                        let more = u32::try_from(length).unwrap_or(1).to_be_bytes();
                        for stream in [0, 1] {
                            self.replies.extend(frame(WINDOW_UPDATE, 0, stream, &more));
                        }
                    }
                }
                HEADERS if stream == 1 => self.has_ended |= flags & END_STREAM != 0,
                SETTINGS if flags & ACK == 0 => self.replies.extend(frame(SETTINGS, ACK, 0, b"")),
                PING if flags & ACK == 0 => self.replies.extend(frame(PING, ACK, 0, &payload)),
                RST_STREAM | GOAWAY => self.has_ended = true,
                _ => {}
            }
        }
    }
}

/// Requests the URL and notes when data arrives, until `until` or `enough`.
pub(super) fn read(
    mut connection: Connection,
    url: &Uri,
    endpoint: &Endpoint,
    until: Instant,
    enough: impl Fn(Duration) -> bool,
    seen: &mut Http2Seen,
) {
    let began = Instant::now();
    connection.send(&request(url, endpoint));
    let mut client = Client::default();
    let mut buffer = vec![0; 64 * 1024];
    while Instant::now() < until && !client.has_ended && !enough(began.elapsed()) {
        let slice = until.min(Instant::now() + Duration::from_millis(100));
        match connection.receive(&mut buffer, slice) {
            Received::Bytes(count) => client.feed(&buffer[..count]),
            Received::Late => continue,
            Received::Closed | Received::Reset => client.has_ended = true,
        }
        if std::mem::take(&mut client.data_bytes) > 0 {
            seen.data.push(began.elapsed());
        }
        let replies = std::mem::take(&mut client.replies);
        if !replies.is_empty() {
            connection.send(&replies);
        }
    }
    seen.has_ended = client.has_ended;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_in_pieces_of_any_size() {
        let wire = [
            frame(SETTINGS, 0, 0, b""),
            frame(HEADERS, END_HEADERS, 1, b"\x88"),
            frame(DATA, 0, 1, b"data: x\n\n"),
            frame(PING, 0, 0, b"12345678"),
            frame(DATA, END_STREAM, 1, b""),
        ]
        .concat();
        for size in [1, 5, wire.len()] {
            let mut client = Client::default();
            wire.chunks(size).for_each(|piece| client.feed(piece));
            assert_eq!((client.data_bytes, client.has_ended), (9, true));
            let expected = [
                frame(SETTINGS, ACK, 0, b""),
                frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 9]),
                frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 9]),
                frame(PING, ACK, 0, b"12345678"),
            ];
            assert_eq!(client.replies, expected.concat());
        }
    }

    #[test]
    fn a_frame_that_is_too_large_ends_it() {
        let mut client = Client::default();
        client.feed(&[0xff; 9]);
        assert!(client.has_ended);
    }

    #[test]
    fn integers_are_as_in_rfc_7541() {
        let encoded = |value, bits| {
            let mut block = Vec::new();
            integer(value, bits, &mut block);
            block
        };
        assert_eq!(encoded(10, 5), [10]);
        assert_eq!(encoded(1337, 5), [31, 154, 10]);
        assert_eq!(encoded(127, 7), [127, 0]);
    }
}

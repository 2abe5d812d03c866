//! A parser of an HTTP/1.1 response and its event stream, fed with bytes as they arrive (RFC
//! 9112 §7.1, WHATWG HTML §9.2.6).
//!
//! Thousands of streams are parsed in programs that are not optimized. So the standard library,
//! which is optimized, finds the lines, and complete ones are not copied.

use std::io::BufRead as _;

/// The bytes up to and including the next line feed; all of them if there is none.
fn line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut rest = bytes;
    let length = rest.skip_until(b'\n').expect("memory can be read");
    bytes.split_at(length)
}

/// The state of a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Head,
    /// A body that ends with the connection.
    Plain,
    ChunkSize,
    Chunk(usize),
    /// The line end after a chunk.
    ChunkEnd,
    End,
}

/// A response.
#[derive(Debug, Default)]
pub struct Response {
    part: Part,
    /// The head, or the received part of a chunk's line.
    text: Vec<u8>,
    /// 0 until the head is complete.
    pub status: u16,
}

impl Response {
    /// Passes the next bytes of the body to `body`.
    pub fn feed(&mut self, mut bytes: &[u8], mut body: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            match self.part {
                Part::End => return,
                Part::Plain => {
                    body(bytes);
                    return;
                }
                Part::Chunk(left) => {
                    let (piece, rest) = bytes.split_at(left.min(bytes.len()));
                    body(piece);
                    bytes = rest;
                    self.part = match left - piece.len() {
                        0 => Part::ChunkEnd,
                        left => Part::Chunk(left),
                    };
                }
                Part::Head | Part::ChunkSize | Part::ChunkEnd => {
                    let (piece, rest) = line(bytes);
                    self.text.extend_from_slice(piece);
                    bytes = rest;
                    if self.text.ends_with(b"\n") {
                        self.end_line();
                    }
                }
            }
        }
    }

    /// Whether the body has ended, with its end mark.
    pub fn has_ended(&self) -> bool {
        self.part == Part::End
    }

    fn end_line(&mut self) {
        let text = String::from_utf8_lossy(&self.text);
        self.part = match self.part {
            Part::Head if !text.ends_with("\r\n\r\n") => return,
            Part::Head => {
                let text = text.to_ascii_lowercase();
                self.status = text
                    .get(9..12)
                    .and_then(|status| status.parse().ok())
                    .unwrap_or_else(|| panic!("no response: {text:?}"));
                if text.contains("\r\ntransfer-encoding: chunked\r\n") {
                    Part::ChunkSize
                } else {
                    Part::Plain
                }
            }
            Part::ChunkSize => match usize::from_str_radix(text.trim(), 16) {
                Ok(0) => Part::End,
                Ok(size) => Part::Chunk(size),
                Err(_) => panic!("no size of a chunk: {text:?}"),
            },
            Part::ChunkEnd => Part::ChunkSize,
            Part::Plain | Part::Chunk(_) | Part::End => unreachable!("these have no lines"),
        };
        self.text.clear();
    }
}

/// A dispatched event with one `data:` line, as these tests send it.
#[derive(Debug)]
pub struct Event<'a> {
    /// Empty if the event has no name.
    pub name: &'a [u8],
    pub data: &'a [u8],
}

/// A stream.
#[derive(Debug, Default)]
pub struct Events {
    /// The received part of a line.
    partial: Vec<u8>,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    id: Vec<u8>,
    /// The id with which a client reconnects: that of the last complete block.
    pub last_id: Vec<u8>,
}

impl Events {
    /// Passes every event that ends in `bytes` to `event`.
    pub fn feed(&mut self, mut bytes: &[u8], mut event: impl FnMut(&Event<'_>)) {
        while !bytes.is_empty() {
            let (piece, rest) = line(bytes);
            bytes = rest;
            let Some(whole) = piece.strip_suffix(b"\n") else {
                self.partial.extend_from_slice(piece);
                return;
            };
            if self.partial.is_empty() {
                self.take(whole, &mut event);
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend_from_slice(&piece[..piece.len() - 1]);
                self.take(&whole, &mut event);
                whole.clear();
                self.partial = whole;
            }
        }
    }

    /// A new connection: an incomplete block is discarded.
    pub fn begin_again(&mut self) {
        self.partial.clear();
        self.name.clear();
        self.data.clear();
        self.has_data = false;
        self.id.clone_from(&self.last_id);
    }

    fn take(&mut self, line: &[u8], event: &mut impl FnMut(&Event<'_>)) {
        if line.is_empty() {
            self.last_id.clone_from(&self.id);
            if self.has_data {
                event(&Event {
                    name: &self.name,
                    data: &self.data,
                });
            }
            self.name.clear();
            self.has_data = false;
        } else if let Some(data) = line.strip_prefix(b"data: ") {
            assert!(!self.has_data, "an event of two lines");
            self.data.clear();
            self.data.extend_from_slice(data);
            self.has_data = true;
        } else if let Some(id) = line.strip_prefix(b"id: ") {
            self.id.clear();
            self.id.extend_from_slice(id);
        } else if let Some(name) = line.strip_prefix(b"event: ") {
            self.name.extend_from_slice(name);
        }
    }
}

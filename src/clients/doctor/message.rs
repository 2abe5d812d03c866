//! An HTTP/1.x response, as bytes arrive: its head, and the body without its framing.
//!
//! The clients' HTTP library hides what a diagnosis is about: when each byte arrived, how the body
//! was framed, and how the connection ended.

/// A longer head is not read.
const HEAD_MAX_BYTES: usize = 64 * 1024;

/// A chunk size has at most 16 digits; the rest is for extensions.
const CHUNK_LINE_MAX_BYTES: usize = 4096;

/// A status line and fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// The minor version of HTTP/1.
    pub(super) minor: u8,
    pub(super) status: u16,
    pub(super) fields: Vec<(String, String)>,
}

/// What was received is not HTTP. The text says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) String);

impl Head {
    /// Parses a head, and returns its length in bytes; `None`: it is incomplete.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let mut fields = [httparse::EMPTY_HEADER; 128];
        let mut response = httparse::Response::new(&mut fields);
        match response.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
                let fields = response.headers.iter();
                let head = Self {
                    minor: response.version.unwrap_or(1),
                    status: response.code.unwrap_or(0),
                    fields: fields.map(|f| (f.name.to_owned(), text(f.value))).collect(),
                };
                Ok(Some((head, length)))
            }
            Ok(httparse::Status::Partial) if bytes.len() > HEAD_MAX_BYTES => Err(Malformed(
                format!("a head of more than {HEAD_MAX_BYTES} bytes"),
            )),
            Ok(httparse::Status::Partial) => Ok(None),
            Err(error) => {
                let start = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]);
                let start = start.lines().next().unwrap_or_default();
                Err(Malformed(format!("{error}; it begins with {start:?}")))
            }
        }
    }

    /// The first value of a field, whatever the case of its name.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let own = |(known, _): &&(String, String)| known.eq_ignore_ascii_case(name);
        self.fields
            .iter()
            .find(own)
            .map(|(_, value)| value.as_str())
    }

    /// Every value of a field.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let own = |(known, _): &&(String, String)| known.eq_ignore_ascii_case(name);
        self.fields
            .iter()
            .filter(own)
            .map(|(_, value)| value.as_str())
    }

    /// The media type, in lower case and without parameters.
    pub(super) fn media_type(&self) -> Option<String> {
        let value = self.field("content-type")?;
        Some(value.split(';').next()?.trim().to_ascii_lowercase())
    }

    /// Whether an EventSource accepts it (WHATWG HTML §9.2.3).
    pub(super) fn is_stream(&self) -> bool {
        self.status == 200 && self.media_type().as_deref() == Some("text/event-stream")
    }

    /// Whether the server keeps the connection after this response (RFC 9112 §9.3).
    pub(super) fn keeps_connection(&self) -> bool {
        let has = |word: &str| {
            let mut words = self.all("connection").flat_map(|value| value.split(','));
            words.any(|own| own.trim().eq_ignore_ascii_case(word))
        };
        !has("close") && (self.minor >= 1 || has("keep-alive"))
    }
}

/// How the end of a body is known (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Close,
    Length { left: u64 },
    Chunked(Chunked),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunked {
    /// The line with the size is next.
    Size,
    /// So many bytes of this chunk are missing.
    Data { left: u64 },
    /// The line end after a chunk's data is next.
    AfterData,
    /// Lines after the last chunk.
    Trailers,
}

/// Whether the response to the request has a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    Body,
    HeadOnly,
}

/// Removes the framing of one body.
#[derive(Debug)]
pub(super) struct Body {
    framing: Framing,
    raw: Vec<u8>,
    is_complete: bool,
}

impl Body {
    /// The body that follows `head`.
    pub(super) fn after(head: &Head, expect: Expect) -> Self {
        let has_none = expect == Expect::HeadOnly || matches!(head.status, 204 | 304);
        let chunked = head.field("transfer-encoding");
        let is_chunked = chunked.is_some_and(|v| v.to_ascii_lowercase().ends_with("chunked"));
        let length = head.field("content-length").and_then(|v| v.parse().ok());
        let framing = match length {
            _ if has_none => Framing::Length { left: 0 },
            _ if is_chunked => Framing::Chunked(Chunked::Size),
            Some(left) => Framing::Length { left },
            None => Framing::Close,
        };
        Self {
            framing,
            raw: Vec::new(),
            is_complete: framing == Framing::Length { left: 0 },
        }
    }

    /// Whether its framing says that it is complete.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Whether only the end of the connection ends it.
    pub(super) fn ends_with_connection(&self) -> bool {
        self.framing == Framing::Close
    }

    /// Takes what was received and appends what it is without framing.
    pub(super) fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        self.raw.extend_from_slice(bytes);
        while !self.is_complete {
            match &mut self.framing {
                Framing::Close => {
                    out.append(&mut self.raw);
                    return Ok(());
                }
                Framing::Length { left } | Framing::Chunked(Chunked::Data { left }) => {
                    if self.raw.is_empty() {
                        return Ok(());
                    }
                    let count = self
                        .raw
                        .len()
                        .min(usize::try_from(*left).unwrap_or(usize::MAX));
                    out.extend(self.raw.drain(..count));
                    *left -= count as u64;
                    if *left == 0 {
                        match &mut self.framing {
                            Framing::Chunked(chunked) => *chunked = Chunked::AfterData,
                            _ => self.is_complete = true,
                        }
                    }
                }
                Framing::Chunked(chunked) => {
                    let Some(end) = memchr::memchr(b'\n', &self.raw) else {
                        if self.raw.len() > CHUNK_LINE_MAX_BYTES {
                            return Err(Malformed("a chunk without a size".into()));
                        }
                        return Ok(());
                    };
                    let line: Vec<u8> = self.raw.drain(..=end).collect();
                    let line = String::from_utf8_lossy(&line).trim().to_owned();
                    *chunked = match chunked {
                        Chunked::Size => {
                            let digits = line.split(';').next().unwrap_or_default().trim();
                            match u64::from_str_radix(digits, 16) {
                                Ok(0) => Chunked::Trailers,
                                Ok(left) => Chunked::Data { left },
                                Err(_) => {
                                    return Err(Malformed(format!("a chunk of size {line:?}")));
                                }
                            }
                        }
                        Chunked::Trailers if line.is_empty() => {
                            self.is_complete = true;
                            Chunked::Trailers
                        }
                        Chunked::Trailers => Chunked::Trailers,
                        Chunked::AfterData | Chunked::Data { .. } => Chunked::Size,
                    };
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Head {
        Head::parse(text.as_bytes()).unwrap().unwrap().0
    }

    #[test]
    fn a_head_is_read_whatever_the_case_of_its_names() {
        let head =
            head("HTTP/1.1 200 OK\r\ncontent-TYPE: Text/Event-Stream; charset=utf-8\r\n\r\n");
        assert!(head.is_stream() && head.keeps_connection());
        assert_eq!(Head::parse(b"HTTP/1.1 200 OK\r\nA: b\r\n"), Ok(None));
        assert!(Head::parse(b"SSH-2.0-OpenSSH\r\n\r\n").is_err());
        let long = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(70_000));
        assert!(Head::parse(long.as_bytes()).is_err());
    }

    #[test]
    fn http_1_0_keeps_a_connection_only_when_it_says_so() {
        for (text, expected) in [
            ("HTTP/1.0 200 OK\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nConnection: close, x\r\n\r\n", false),
        ] {
            assert_eq!(head(text).keeps_connection(), expected, "{text}");
        }
    }

    #[track_caller]
    fn check(fields: &str, wire: &[u8], body: &[u8], complete: bool) {
        let head = head(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"));
        for size in [1, 2, wire.len().max(1)] {
            let (mut framing, mut out) = (Body::after(&head, Expect::Body), Vec::new());
            for piece in wire.chunks(size) {
                framing.feed(piece, &mut out).unwrap();
            }
            assert_eq!(
                (&out[..], framing.is_complete()),
                (body, complete),
                "{size}"
            );
        }
    }

    #[test]
    fn the_framing_is_removed_in_pieces_of_any_size() {
        check("", b"abc", b"abc", false);
        check("Content-Length: 3\r\n", b"abcd", b"abc", true);
        check("Content-Length: 0\r\n", b"", b"", true);
        let chunked = "Transfer-Encoding: chunked\r\n";
        check(chunked, b"2;x=y\r\nab\r\n1\r\nc\r\n", b"abc", false);
        check(chunked, b"2\r\nab\r\n0\r\nTrailer: x\r\n\r\n", b"ab", true);
    }

    #[test]
    fn a_chunk_without_a_size_is_malformed() {
        let head = head("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for wire in [&b"zz\r\n"[..], &[b'1'; 5000]] {
            let mut body = Body::after(&head, Expect::Body);
            assert!(body.feed(wire, &mut Vec::new()).is_err());
        }
    }
}

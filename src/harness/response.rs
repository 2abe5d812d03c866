//! Response: what the server itself frames, and how it is written to a client.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::system::clock;

use super::SOFTWARE;
use super::note;
use super::parsed::{Output, Read};

const CHUNK_BYTES: usize = 64 * 1024;

/// A response before its framing.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// The words after the status; `None`: the usual ones.
    pub reason: Option<String>,
    /// Without those that belong to the connection.
    pub fields: Vec<(String, Vec<u8>)>,
    pub body: Body,
}

/// The body of a response.
#[derive(Debug)]
pub enum Body {
    Bytes(Vec<u8>),
    /// The first bytes of a file.
    File(File, u64),
    /// What a program or a responder has written behind its head, and what it still writes.
    Stream(Vec<u8>, Output),
}

/// What a response depends on besides itself.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    pub is_http_1_0: bool,
    /// The request was HEAD.
    pub is_head: bool,
    /// The client wants the connection kept.
    pub keeps: bool,
    /// The longest silence of either side.
    pub silence: Duration,
}

/// How a response ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The next request can follow.
    Kept,
    /// The connection is to be closed: the client expects that, or the response was cut.
    Close,
    /// The client does not take anything any more.
    Gone,
}

/// How a client finds the end of the body (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    NoBody,
    Length(u64),
    Chunked,
    UntilClose,
}

impl Response {
    pub fn new(status: u16, body: Body) -> Response {
        Response {
            status,
            reason: None,
            fields: Vec::new(),
            body,
        }
    }

    /// A short text with the status only: reasons go to the log.
    pub fn refusal(status: u16) -> Response {
        let text = format!("{status} {}\n", reason(status));
        Response::new(status, Body::Bytes(text.into_bytes()))
            .with("Content-Type", "text/plain; charset=utf-8")
    }

    pub fn with(mut self, name: &str, value: impl Into<Vec<u8>>) -> Response {
        self.fields.push((name.to_owned(), value.into()));
        self
    }

    /// Writes it. The second value is the number of the body's bytes.
    pub fn send(mut self, client: &mut TcpStream, terms: Terms) -> (End, u64) {
        let framing = self.framing(terms);
        let keeps = terms.keeps && framing != Framing::UntilClose;
        let head = self.head(framing, keeps, terms.is_http_1_0);
        let mut sent_bytes = 0;
        let is_whole = match (framing, self.body) {
            (Framing::NoBody, _) => client.write_all(&head).map(|()| true),
            (_, Body::Bytes(bytes)) => {
                sent_bytes = bytes.len() as u64;
                client.write_all(&[head, bytes].concat()).map(|()| true)
            }
            (_, Body::File(file, length_bytes)) => client
                .write_all(&head)
                .and_then(|()| send_file(client, file, length_bytes, &mut sent_bytes)),
            (_, Body::Stream(first, output)) => {
                let pump = Pump {
                    client,
                    output,
                    framing,
                    silence: terms.silence,
                    sent_bytes: &mut sent_bytes,
                };
                pump.run(head, first)
            }
        };
        let end = match is_whole {
            Ok(true) if keeps => End::Kept,
            Ok(_) => End::Close,
            Err(_) => End::Gone,
        };
        (end, sent_bytes)
    }

    fn framing(&mut self, terms: Terms) -> Framing {
        let is_length = |name: &str| name.eq_ignore_ascii_case("Content-Length");
        let own: Vec<Option<u64>> = (self.fields.iter())
            .filter(|(name, _)| is_length(name))
            .map(|(_, value)| std::str::from_utf8(value).ok()?.parse().ok())
            .collect();
        let own = match own[..] {
            [Some(length)] if self.status != 204 => Some(length),
            _ => {
                // None, or none that could be kept.
                self.fields.retain(|(name, _)| !is_length(name));
                None
            }
        };
        let known = match &self.body {
            Body::Bytes(bytes) => Some(bytes.len() as u64),
            Body::File(_, length) => Some(*length),
            Body::Stream(..) => None,
        };
        if let (None, Some(length)) = (own, known) {
            if self.status != 204 {
                let length = length.to_string().into_bytes();
                self.fields.push(("Content-Length".into(), length));
            }
        }
        if terms.is_head || is_bodiless(self.status) {
            return Framing::NoBody;
        }
        match known.or(own) {
            Some(length) => Framing::Length(length),
            None if terms.is_http_1_0 => Framing::UntilClose,
            None => Framing::Chunked,
        }
    }

    fn head(&self, framing: Framing, keeps: bool, is_http_1_0: bool) -> Vec<u8> {
        let version = if is_http_1_0 { "1.0" } else { "1.1" };
        let words = self.reason.as_deref().unwrap_or(reason(self.status));
        let mut head = format!("HTTP/{version} {} {words}\r\n", self.status).into_bytes();
        let mut push = |name: &str, value: &[u8]| {
            head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        };
        let mut has_date = false;
        for (name, value) in &self.fields {
            has_date |= name.eq_ignore_ascii_case("Date");
            if !name.eq_ignore_ascii_case("Server") {
                push(name, value);
            }
        }
        push("Server", SOFTWARE.as_bytes());
        if !has_date {
            push("Date", clock::http_date().as_bytes());
        }
        if framing == Framing::Chunked {
            push("Transfer-Encoding", b"chunked");
        }
        match (keeps, is_http_1_0) {
            (false, _) => push("Connection", b"close"),
            (true, true) => push("Connection", b"keep-alive"),
            (true, false) => {}
        }
        head.extend(b"\r\n");
        head
    }
}

/// Whether a response with this status never has a body.
pub fn is_bodiless(status: u16) -> bool {
    [204, 304].contains(&status)
}

/// Never sends more than the announced length, even if the file grows meanwhile. Returns whether
/// it was that long.
fn send_file(
    client: &mut TcpStream,
    file: File,
    length_bytes: u64,
    sent_bytes: &mut u64,
) -> io::Result<bool> {
    let mut file = file.take(length_bytes);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(*sent_bytes == length_bytes),
            Ok(count) => {
                client.write_all(&chunk[..count])?;
                *sent_bytes += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Ok(false),
        }
    }
}

/// Forwards the body of a program or a responder, each piece when it is written.
struct Pump<'c> {
    client: &'c mut TcpStream,
    output: Output,
    framing: Framing,
    silence: Duration,
    sent_bytes: &'c mut u64,
}

impl Pump<'_> {
    /// Forwards until the source ends, the client disconnects, or one of them is silent for too
    /// long. Returns whether the response is whole; a response that is cut has no last chunk, so
    /// that its client can tell. Dropping the source ends it.
    fn run(mut self, head: Vec<u8>, first: Vec<u8>) -> io::Result<bool> {
        let mut bytes = head;
        self.frame(&first, &mut bytes);
        loop {
            if !bytes.is_empty() {
                self.write(&bytes)?;
                bytes.clear();
            }
            let name = self.output.name();
            match self.output.read(Some(self.client), self.silence) {
                Ok(Read::Bytes(piece)) => self.frame(&piece, &mut bytes),
                Ok(Read::End) => break,
                Ok(Read::Departed) => return Err(io::ErrorKind::BrokenPipe.into()),
                Ok(Read::Late) => {
                    let silence = self.silence;
                    note(format_args!("{name}: silent for {silence:?} (--timeout)"));
                    return Ok(false);
                }
                Err(error) => {
                    note(format_args!("{name}: {error}"));
                    return Ok(false);
                }
            }
        }
        match self.framing {
            Framing::Chunked => self.write(b"0\r\n\r\n").map(|()| true),
            Framing::Length(length) => Ok(*self.sent_bytes == length),
            Framing::NoBody | Framing::UntilClose => Ok(true),
        }
    }

    /// Appends a piece of the body to `out`. Nothing beyond an announced length is sent.
    fn frame(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let piece = match self.framing {
            Framing::Length(length) => {
                let room = usize::try_from(length - *self.sent_bytes).unwrap_or(usize::MAX);
                &piece[..piece.len().min(room)]
            }
            _ => piece,
        };
        if piece.is_empty() {
            return;
        }
        *self.sent_bytes += piece.len() as u64;
        if self.framing == Framing::Chunked {
            out.extend(format!("{:x}\r\n", piece.len()).bytes());
            out.extend([piece, b"\r\n"].concat());
        } else {
            out.extend(piece);
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.client.write_all(bytes).inspect_err(|error| {
            if is_late(error) {
                let (name, silence) = (self.output.name(), self.silence);
                note(format_args!(
                    "{name}: its client took nothing for {silence:?}"
                ));
            }
        })
    }
}

/// Whether a write failed because the client took nothing for as long as is permitted.
fn is_late(error: &io::Error) -> bool {
    [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&error.kind())
}

/// The usual words (RFC 9110 §15).
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Payload Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "Unknown",
    }
}

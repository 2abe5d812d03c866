//! A response: its head exactly as sent, its body as bytes or as events, with the time each
//! arrived. Every read has a deadline.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::events::{Event, Parser};
use crate::support::wait::PATIENCE;

/// The source of a response's bytes. Dropping it must end the connection.
pub trait Peer: Read + Send {
    /// Limits the next read; never called with zero.
    fn limit_read(&mut self, limit: Duration);
    /// Text to add to a failure's message.
    fn about(&mut self) -> String {
        String::new()
    }
    /// Ends the sending side only.
    fn shut_sending(&mut self) {}
}

impl Peer for TcpStream {
    fn limit_read(&mut self, limit: Duration) {
        self.set_read_timeout(Some(limit))
            .expect("a time limit that is not zero is accepted");
    }
    fn shut_sending(&mut self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

/// Whether the response to the request has a body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    Body,
    HeadOnly,
}

/// Status line and fields.
#[derive(Debug)]
pub struct Head {
    /// Exactly what was received, with the empty line.
    pub raw: String,
    pub status: u16,
    pub fields: Vec<(String, String)>,
}

impl Head {
    fn parse(raw: String) -> Head {
        let mut lines = raw.trim_end_matches("\r\n").split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1)?.parse().ok())
            .unwrap_or_else(|| panic!("no status in {raw:?}"));
        let fields = lines
            .map(|line| {
                let (name, value) = line
                    .split_once(':')
                    .unwrap_or_else(|| panic!("no field: {line:?}"));
                (name.to_owned(), value.trim().to_owned())
            })
            .collect();
        Head {
            raw,
            status,
            fields,
        }
    }

    /// The field's value, whatever the case of its name.
    ///
    /// # Panics
    /// When it occurs twice.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self
            .fields
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str());
        let first = values.next();
        assert!(
            values.next().is_none(),
            "{name} is there twice: {:?}",
            self.raw
        );
        first
    }
}

/// How the end of the body is known (RFC 9112 §6.3).
#[derive(Debug)]
enum Framing {
    Close,
    Length {
        left: usize,
    },
    /// `left` bytes of the present chunk; 0: its head is next.
    Chunked {
        left: usize,
        first: bool,
    },
}

/// The result of waiting for an event.
#[derive(Debug)]
pub enum Next {
    Event(Event),
    /// The body ended, or was cut.
    Ended,
    /// Nothing until the deadline.
    Late,
}

/// An answer whose head was read.
pub struct Answer {
    pub head: Head,
    pub parser: Parser,
    /// The connection was closed before the end of the body's framing.
    pub cut: bool,
    peer: Box<dyn Peer>,
    framing: Framing,
    /// Received, with the framing not removed yet.
    raw: Vec<u8>,
    /// The whole body so far.
    pub body: Vec<u8>,
    ready: VecDeque<Event>,
    ended: bool,
    closed: bool,
}

impl Answer {
    /// Reads the head.
    #[track_caller]
    pub fn read(mut peer: Box<dyn Peer>, expect: Expect) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        let mut raw = Vec::new();
        let end = loop {
            if let Some(at) = raw.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            match read_some(peer.as_mut(), &mut raw, deadline) {
                Some(0) => panic!("end within the head: {} {}", show(&raw), peer.about()),
                Some(_) => {}
                None => panic!(
                    "no head within {PATIENCE:?}: {} {}",
                    show(&raw),
                    peer.about()
                ),
            }
        };
        let rest = raw.split_off(end);
        let head = Head::parse(String::from_utf8(raw).expect("the head is text"));
        let chunked = head
            .field("Transfer-Encoding")
            .is_some_and(|value| value == "chunked");
        let length = head
            .field("Content-Length")
            .map(|value| value.parse().expect("a number"));
        let bodyless = expect == Expect::HeadOnly || head.status == 204 || head.status == 304;
        let framing = match length {
            _ if bodyless => Framing::Length { left: 0 },
            _ if chunked => Framing::Chunked {
                left: 0,
                first: true,
            },
            Some(left) => Framing::Length { left },
            None => Framing::Close,
        };
        let mut answer = Answer {
            head,
            parser: Parser::default(),
            cut: false,
            peer,
            framing,
            raw: rest,
            body: Vec::new(),
            ready: VecDeque::new(),
            ended: false,
            closed: false,
        };
        answer.take_in();
        answer
    }

    /// The next event, or the end, or neither until `deadline`.
    #[track_caller]
    pub fn wait(&mut self, deadline: Instant) -> Next {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Next::Event(event);
            }
            if self.ended {
                return Next::Ended;
            }
            if !self.more(deadline) {
                return Next::Late;
            }
        }
    }

    /// The next event.
    ///
    /// # Panics
    /// When the stream ends or [`PATIENCE`] does.
    #[track_caller]
    pub fn event(&mut self) -> Event {
        self.event_within(PATIENCE)
    }

    #[track_caller]
    pub fn event_within(&mut self, limit: Duration) -> Event {
        match self.wait(Instant::now() + limit) {
            Next::Event(event) => event,
            Next::Ended => panic!("the stream ended: {}", self.so_far()),
            Next::Late => panic!("no event within {limit:?}: {}", self.so_far()),
        }
    }

    /// The data of the next `count` events.
    #[track_caller]
    pub fn data_of(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.event().data).collect()
    }

    /// All events up to the end of the stream.
    #[track_caller]
    pub fn events_to_end(&mut self, limit: Duration) -> Vec<Event> {
        let deadline = Instant::now() + limit;
        let mut events = Vec::new();
        loop {
            match self.wait(deadline) {
                Next::Event(event) => events.push(event),
                Next::Ended => return events,
                Next::Late => panic!("no end within {limit:?}: {}", self.so_far()),
            }
        }
    }

    /// Reads until `count` comments have arrived.
    #[track_caller]
    pub fn wait_for_comments(&mut self, count: u32, limit: Duration) {
        let deadline = Instant::now() + limit;
        while self.parser.comments < count {
            assert!(!self.ended, "the stream ended: {}", self.so_far());
            assert!(
                self.more(deadline),
                "not {count} comments: {}",
                self.so_far()
            );
        }
    }

    /// The body, up to its end.
    #[track_caller]
    pub fn text(mut self) -> String {
        self.events_to_end(PATIENCE);
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Every byte after the head, until the server closes the connection.
    #[track_caller]
    pub fn bytes_until_close(mut self) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match read_some(self.peer.as_mut(), &mut self.raw, deadline) {
                Some(0) => return show(&self.raw),
                Some(_) => {}
                None => panic!("not closed within {PATIENCE:?}: {}", show(&self.raw)),
            }
        }
    }

    /// Ends the sending side, and continues reading.
    pub fn shut_sending(&mut self) {
        self.peer.shut_sending();
    }

    fn so_far(&mut self) -> String {
        format!(
            "{}{} {}",
            self.head.raw,
            show(&self.body),
            self.peer.about()
        )
    }

    /// Reads what is available or arrives before `deadline`; false: nothing arrived.
    #[track_caller]
    fn more(&mut self, deadline: Instant) -> bool {
        match read_some(self.peer.as_mut(), &mut self.raw, deadline) {
            Some(0) => self.closed = true,
            Some(_) => {}
            None => return false,
        }
        self.take_in();
        true
    }

    #[track_caller]
    fn take_in(&mut self) {
        let body = self.unframe();
        let events = self.parser.feed(&body, Instant::now());
        self.ready.extend(events);
        self.body.extend(body);
    }

    /// Removes the framing from what was received.
    #[track_caller]
    fn unframe(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            match &mut self.framing {
                Framing::Close => {
                    body.append(&mut self.raw);
                    self.ended = self.closed;
                    return body;
                }
                Framing::Length { left: 0 } => {
                    self.ended = true;
                    return body;
                }
                Framing::Length { left } | Framing::Chunked { left, .. } if *left > 0 => {
                    let count = (*left).min(self.raw.len());
                    *left -= count;
                    body.extend(self.raw.drain(..count));
                    if self.raw.is_empty() && *left > 0 {
                        self.note_cut();
                        return body;
                    }
                }
                Framing::Length { .. } => unreachable!("zero and more are above"),
                Framing::Chunked { left, first } => {
                    // Before every chunk but the first is the end of the last.
                    let skip = if *first { 0 } else { 2 };
                    let line = self.raw.get(skip..).and_then(|rest| {
                        let end = rest.windows(2).position(|two| two == b"\r\n")?;
                        Some((String::from_utf8_lossy(&rest[..end]).into_owned(), end))
                    });
                    let Some((size, end)) = line else {
                        self.note_cut();
                        return body;
                    };
                    let size = usize::from_str_radix(size.trim(), 16)
                        .unwrap_or_else(|_| panic!("no chunk size: {size:?}"));
                    self.raw.drain(..skip + end + 2);
                    (*left, *first) = (size, false);
                    if size == 0 {
                        self.framing = Framing::Length { left: 0 };
                    }
                }
            }
        }
    }

    /// A connection that was closed before the framing's end ends the body, as for a browser's
    /// EventSource.
    fn note_cut(&mut self) {
        if self.closed {
            self.cut = true;
            self.ended = true;
        }
    }
}

/// Reads once: the number of bytes, 0 at the end, or nothing until `deadline`.
fn read_some(peer: &mut dyn Peer, into: &mut Vec<u8>, deadline: Instant) -> Option<usize> {
    let mut buffer = [0; 16 * 1024];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        peer.limit_read(left);
        match peer.read(&mut buffer) {
            Ok(count) => {
                into.extend_from_slice(&buffer[..count]);
                return Some(count);
            }
            Err(error) => match error.kind() {
                ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut => {}
                ErrorKind::ConnectionReset => return Some(0),
                _ => panic!("read: {error}"),
            },
        }
    }
}

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

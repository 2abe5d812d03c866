//! A connection to the program under test, and the response that its client gets.
//!
//! It also checks what holds over every protocol: nothing follows the end of a response, and a
//! stream ends between two events.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use fastrand::Rng;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::request::Request;
use super::wire::{self, Record};
use super::{FastCgi, Protocol};
use crate::support::event_stream::{Event, Item, Parser, shown};
use crate::support::wait::DEADLINE;

/// The content of END_REQUEST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    pub app_status: u32,
    pub protocol_status: u8,
}

pub const COMPLETE: End = End {
    app_status: 0,
    protocol_status: 0,
};

/// What a protocol brings.
#[derive(Debug)]
pub enum Piece {
    /// Bytes of the response: its head, then its body.
    Response(Vec<u8>),
    /// Bytes for the web server's log.
    Log(Vec<u8>),
    /// The end of the response.
    End(End),
    /// A record that does not belong to the request.
    Other(Record),
}

/// A connection to the program under test.
pub struct Client<P: Protocol> {
    socket: OwnedFd,
    dice: Rng,
    peer: P,
    unread: Vec<u8>,
    unread_head: Option<Vec<u8>>,
    head: String,
    /// The body, if it is not a stream.
    pub body: Vec<u8>,
    parser: Parser,
    items: VecDeque<Item>,
    /// What the protocol brought for the web server's log.
    pub stderr: String,
    pub end: Option<End>,
    /// The program has closed.
    pub is_closed: bool,
    /// Records of other requests, and of none.
    pub others: VecDeque<Record>,
    /// It may be killed, or close in the middle of a record.
    may_break: bool,
    counter: Option<Counter>,
}

/// For many bytes: events are lines that begin with a number, counted up from 0. The parser
/// would be slow, and is not under test here.
#[derive(Default)]
struct Counter {
    line: Vec<u8>,
    count: usize,
}

impl Counter {
    fn feed(&mut self, mut bytes: &[u8]) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            if self.line.is_empty() {
                Self::line(line, &mut self.count);
            } else {
                self.line.extend_from_slice(line);
                Self::line(&self.line, &mut self.count);
                self.line.clear();
            }
            bytes = rest;
        }
        self.line.extend_from_slice(bytes);
    }

    fn line(line: &[u8], count: &mut usize) {
        assert!(
            !line.starts_with(b"event:"),
            "{:?}",
            line.escape_ascii().to_string()
        );
        if let Some(data) = line.strip_prefix(b"data: ") {
            let number = data.split(|byte| *byte == b' ').next().expect("a number");
            assert_eq!(number, count.to_string().as_bytes());
            *count += 1;
        }
    }
}

impl<P: Protocol> Client<P> {
    pub fn unix(path: &Path, peer: P, seed: u64) -> io::Result<Self> {
        Ok(Self::on(UnixStream::connect(path)?.into(), peer, seed))
    }

    pub fn tcp(address: SocketAddr, peer: P, seed: u64) -> io::Result<Self> {
        Ok(Self::on(TcpStream::connect(address)?.into(), peer, seed))
    }

    fn on(socket: OwnedFd, peer: P, seed: u64) -> Self {
        let flags = nix::fcntl::OFlag::O_NONBLOCK;
        nix::fcntl::fcntl(&socket, nix::fcntl::FcntlArg::F_SETFL(flags)).expect("a socket");
        Self {
            socket,
            dice: Rng::with_seed(seed),
            peer,
            unread: Vec::new(),
            unread_head: None,
            head: String::new(),
            body: Vec::new(),
            parser: Parser::default(),
            items: VecDeque::new(),
            stderr: String::new(),
            end: None,
            is_closed: false,
            others: VecDeque::new(),
            may_break: false,
            counter: None,
        }
    }

    /// Sends the request in one write.
    pub fn ask(&mut self, request: &Request) {
        self.expect(request);
        let bytes = self.bytes_of(request);
        self.send(&bytes);
    }

    /// Sends the request to a responder that may have closed the connection.
    pub fn try_ask(&mut self, request: &Request) -> nix::Result<()> {
        self.expect(request);
        let bytes = self.bytes_of(request);
        self.send_some(&bytes).map(drop)
    }

    /// Sends the request in writes of a few bytes.
    pub fn ask_in_pieces(&mut self, request: &Request) {
        self.expect(request);
        let bytes = self.bytes_of(request);
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let most = self.dice.usize(1..=40).min(rest.len());
            self.send(&rest[..most]);
            rest = &rest[most..];
        }
    }

    /// The bytes of the request.
    pub fn bytes_of(&mut self, request: &Request) -> Vec<u8> {
        let mut bytes = self.peer.head(request, &mut self.dice);
        bytes.extend(self.peer.body(request, &mut self.dice));
        bytes
    }

    /// All of the request but its body.
    pub fn head_of(&mut self, request: &Request) -> Vec<u8> {
        self.peer.head(request, &mut self.dice)
    }

    /// Sends all of the request but its body.
    pub fn begin(&mut self, request: &Request) {
        self.expect(request);
        let bytes = self.head_of(request);
        self.send(&bytes);
    }

    /// Bytes of a body that is not whole.
    pub fn piece_of_body(&mut self, content: &[u8]) -> Vec<u8> {
        self.peer.piece_of_body(content, &mut self.dice)
    }

    /// Ends a body that was sent in pieces.
    pub fn end_body(&mut self) {
        let bytes = self.peer.end_of_body(&mut self.dice);
        self.send(&bytes);
    }

    /// The client of the request leaves.
    pub fn leave(&mut self) {
        match P::abort(&mut self.dice) {
            Some(bytes) => self.send(&bytes),
            None => {
                use std::os::fd::AsRawFd as _;
                let how = nix::sys::socket::Shutdown::Write;
                nix::sys::socket::shutdown(self.socket.as_raw_fd(), how).expect("a socket");
                self.may_break();
                self.is_closed_soon();
                self.end = Some(COMPLETE);
            }
        }
    }

    /// The next input is the response to a new request.
    fn expect(&mut self, request: &Request) {
        self.peer.expect(request);
        self.unread_head = Some(Vec::new());
        self.head.clear();
        self.body.clear();
        self.parser = Parser::default();
        self.items.clear();
        self.stderr.clear();
        self.end = None;
    }

    /// The responder may be killed, or close in the middle of a record.
    pub fn may_break(&mut self) {
        self.may_break = true;
    }

    /// From now on events are only counted; see [`Counter`].
    pub fn only_count(&mut self) {
        self.counter = Some(Counter::default());
    }

    pub fn counted(&self) -> usize {
        self.counter.as_ref().map_or(0, |counter| counter.count)
    }

    /// Sends these bytes as they are.
    pub fn send(&mut self, mut bytes: &[u8]) {
        let end = Instant::now() + DEADLINE;
        while !bytes.is_empty() {
            match self.send_some(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::EAGAIN) => self.wait(PollFlags::POLLOUT, end),
                Err(error) => panic!("send: {error}"),
            }
        }
    }

    /// Sends these bytes as far as possible without blocking; returns the number.
    pub fn send_some(&mut self, bytes: &[u8]) -> nix::Result<usize> {
        use std::os::fd::AsRawFd as _;
        let flags = nix::sys::socket::MsgFlags::MSG_NOSIGNAL;
        nix::sys::socket::send(self.socket.as_raw_fd(), bytes, flags)
    }

    pub fn dice(&mut self) -> &mut Rng {
        &mut self.dice
    }

    fn wait(&self, flags: PollFlags, end: Instant) {
        let left = end.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).expect("a deadline");
        let ready = poll(&mut [PollFd::new(self.socket.as_fd(), flags)], left).expect("poll");
        assert!(
            ready > 0,
            "waited in vain; last id {:?}, head {:?}, stderr {:?}",
            self.parser.last_id,
            self.head,
            self.stderr
        );
    }

    /// Reads at most so many available bytes; `false` if there are none.
    pub fn read_some(&mut self, most: usize) -> bool {
        if self.is_closed {
            return false;
        }
        let mut bytes = vec![0; most];
        match nix::unistd::read(&self.socket, &mut bytes) {
            Ok(0) | Err(Errno::ECONNRESET) => {
                self.is_closed = true;
                let is_whole = self.unread.is_empty() || self.may_break;
                assert!(is_whole, "an end in the middle: {:?}", self.unread);
                if let Some(end) = self.peer.end_of_input().filter(|_| !self.may_break) {
                    self.take(Piece::End(end));
                }
            }
            Ok(count) => {
                self.unread.extend_from_slice(&bytes[..count]);
                while let Some(piece) = self.peer.take(&mut self.unread) {
                    self.take(piece);
                }
            }
            Err(Errno::EAGAIN | Errno::EINTR) => return false,
            Err(error) => panic!("read: {error}"),
        }
        true
    }

    fn take(&mut self, piece: Piece) {
        if let Piece::Other(record) = piece {
            return self.others.push_back(record);
        }
        assert_eq!(self.end, None, "{piece:?} after the end");
        match piece {
            Piece::Response(bytes) => self.take_stdout(&bytes),
            Piece::Log(bytes) => {
                let text = std::str::from_utf8(&bytes).expect("text");
                self.stderr.push_str(text);
            }
            Piece::End(end) => self.end = Some(end),
            Piece::Other(_) => {}
        }
    }

    fn take_stdout(&mut self, content: &[u8]) {
        let body = match &mut self.unread_head {
            None => content.to_vec(),
            Some(unread) => {
                unread.extend_from_slice(content);
                let Some(end) = unread.windows(4).position(|four| four == b"\r\n\r\n") else {
                    return;
                };
                let body = unread.split_off(end + 4);
                self.head = String::from_utf8(std::mem::take(unread)).expect("text");
                self.unread_head = None;
                body
            }
        };
        if let Some(counter) = &mut self.counter {
            counter.feed(&body);
        } else if self.head.contains("text/event-stream") {
            self.parser.feed(&body);
            self.items.extend(std::iter::from_fn(|| self.parser.next()));
        } else {
            self.body.extend_from_slice(&body);
        }
    }

    /// Waits for input.
    pub fn read_on(&mut self) {
        assert!(
            !self.is_closed,
            "the end; head {:?}, stderr {:?}",
            self.head, self.stderr
        );
        let end = Instant::now() + DEADLINE;
        while !self.read_some(65_536) {
            self.wait(PollFlags::POLLIN, end);
        }
    }

    pub fn head(&mut self) -> String {
        let end = Instant::now() + DEADLINE;
        while self.unread_head.is_some() {
            assert!(Instant::now() < end, "no head");
            assert_eq!(
                self.end, None,
                "an end without a head; stderr {:?}",
                self.stderr
            );
            self.read_on();
        }
        self.head.clone()
    }

    /// The status code.
    pub fn status(&mut self) -> u16 {
        P::status(&self.head())
    }

    /// Reads to the END_REQUEST, and to the end of the connection if it is to be closed.
    pub fn whole(&mut self) -> End {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(ended) = self.end {
                assert!(!self.parser.is_in_the_middle(), "an end in mid-event");
                return ended;
            }
            assert!(Instant::now() < end, "no end");
            self.read_on();
        }
    }

    pub fn is_closed_soon(&mut self) {
        let end = Instant::now() + DEADLINE;
        while !self.is_closed {
            assert!(Instant::now() < end, "it stays open");
            self.read_on();
        }
    }

    /// A record of another request, or of none.
    pub fn other(&mut self) -> Record {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(record) = self.others.pop_front() {
                return record;
            }
            assert!(Instant::now() < end, "no other record");
            self.read_on();
        }
    }

    /// The next item; `None` at the end of the request.
    pub fn next(&mut self) -> Option<Item> {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(item) = self.items.pop_front() {
                return Some(item);
            }
            if self.end.is_some() {
                assert!(!self.parser.is_in_the_middle(), "an end in mid-event");
                return None;
            }
            assert!(Instant::now() < end, "nothing comes");
            self.read_on();
        }
    }

    /// The items that have been received.
    pub fn ready(&mut self) -> Option<Item> {
        self.items.pop_front()
    }

    /// The next event; other items are skipped.
    #[track_caller]
    pub fn event(&mut self) -> Event {
        let end = Instant::now() + DEADLINE;
        loop {
            assert!(Instant::now() < end, "nothing but heartbeats");
            match self.next() {
                Some(Item::Event(event)) => return event,
                Some(Item::Ignored(line)) => panic!("no field: {line:?}"),
                Some(_) => {}
                None => panic!("the end instead of an event; {}", self.stderr),
            }
        }
    }

    /// Names and data of the next events, as `name: data`, or `data` without a name.
    #[track_caller]
    pub fn says(&mut self, expected: &[&str]) {
        for expected in expected {
            assert_eq!(shown(&self.event()), *expected);
        }
    }

    /// All events to the end of the request.
    pub fn rest(&mut self) -> Vec<Event> {
        let end = Instant::now() + DEADLINE;
        let mut events = Vec::new();
        while let Some(item) = self.next() {
            assert!(Instant::now() < end, "no end");
            if let Item::Event(event) = item {
                events.push(event);
            }
        }
        events
    }

    /// All items to the end of the request.
    pub fn items(&mut self) -> Vec<Item> {
        let end = Instant::now() + DEADLINE;
        let mut items = Vec::new();
        while let Some(item) = self.next() {
            assert!(Instant::now() < end, "no end");
            items.push(item);
        }
        items
    }

    /// Reads until the stream has opened.
    #[track_caller]
    pub fn opened(mut self) -> Self {
        loop {
            match self.next() {
                Some(Item::Comment(text)) if text == " sse-cgi" => return self,
                Some(_) => {}
                None => panic!("no opening: {} {}", self.head, self.stderr),
            }
        }
    }

    pub fn last_id(&self) -> &str {
        &self.parser.last_id
    }

    /// Checks that nothing arrives for so long.
    pub fn is_silent_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            assert!(self.items.is_empty(), "{:?}", self.items);
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let left = PollTimeout::try_from(left).expect("a short time");
            let mut waits = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            if poll(&mut waits, left).expect("poll") > 0 {
                self.read_some(65_536);
                assert!(!self.is_closed, "closed");
            }
        }
    }
}

impl<P: Protocol> AsFd for Client<P> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What only FastCGI has.
impl Client<FastCgi> {
    pub fn send_record(&mut self, kind: u8, id: u16, content: &[u8]) {
        let bytes = wire::record(kind, id, content, &mut self.dice);
        self.send(&bytes);
    }

    /// Sends another request while one is served.
    pub fn ask_besides(&mut self, request: &Request) {
        let bytes = self.bytes_of(request);
        self.send(&bytes);
    }
}

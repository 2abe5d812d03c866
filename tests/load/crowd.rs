//! Thousands of clients in one thread.
//!
//! Each behaves like a browser's EventSource in what matters here: it reads a chunked response,
//! and when that ends it returns with the last id. Each line must follow the previous one.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{setsockopt, sockopt};

use super::numbered::Numbered;
use super::wire::{Events, Response};

/// How many connect at a time: more than a listener's backlog would be refused, and return a
/// second later.
const AT_A_TIME: usize = 200;

/// How long a client waits before it returns: much shorter than `retry:`, since these tests are
/// about reconnecting.
const RETURN_AFTER_MS: Range<u64> = 20..200;

/// The maximum of one read.
const READ_BYTES: usize = 256 * 1024;

/// A client.
#[derive(Debug, Default)]
pub struct Client {
    socket: Option<TcpStream>,
    response: Response,
    events: Events,
    is_paused: bool,
    /// The first line that it got.
    pub first: Option<u64>,
    /// The number of the line that it gets next.
    pub next: u64,
    /// Events other than lines, such as `gap`, with their data.
    pub others: Vec<String>,
    /// How often it reconnected.
    pub returns: u32,
    /// How often it was asked to reconnect later, by a status or by an empty stream.
    pub refusals: u32,
    had_events: bool,
}

impl Client {
    /// The id with which it would reconnect.
    pub fn last_id(&self) -> String {
        String::from_utf8(self.events.last_id.clone()).expect("ids are visible ASCII")
    }
}

/// When lines were written, and their delays at the readers.
#[derive(Debug, Default)]
pub struct Delays {
    /// One for each line from the `first` on.
    pub written: Vec<Instant>,
    pub first: u64,
    /// The clients whose delays are measured.
    pub of: Range<usize>,
    /// Of every last line of a read, in microseconds.
    pub taken_us: Vec<u32>,
}

/// Whether clients reconnect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtTheEnd {
    /// The end of a stream is an error.
    Fail,
    Return,
}

/// All clients.
pub struct Crowd {
    epoll: Epoll,
    address: SocketAddr,
    target: String,
    lines: Numbered,
    pub at_the_end: AtTheEnd,
    pub clients: Vec<Client>,
    /// The clients that will reconnect, and when.
    returning: Vec<(Instant, usize)>,
    /// Clients of `awaited` that have not received all lines below `goal`.
    lacking: usize,
    awaited: Range<usize>,
    goal: u64,
    pub delays: Option<Delays>,
    /// Bytes that were read.
    pub bytes: u64,
    buffer: Vec<u8>,
    random: u64,
}

impl Crowd {
    /// No clients yet. They will request `target` at `port` of this machine.
    pub fn new(port: u16, target: &str, lines: Numbered, at_the_end: AtTheEnd) -> Self {
        Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("an epoll"),
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            target: target.to_owned(),
            lines,
            at_the_end,
            clients: Vec::new(),
            returning: Vec::new(),
            lacking: 0,
            awaited: 0..0,
            goal: 0,
            delays: None,
            bytes: 0,
            buffer: vec![0; READ_BYTES],
            random: 0x9e37_79b9_7f4a_7c15,
        }
    }

    /// Connects `count` more clients, and waits until each has its first line. They get what a
    /// first-time client gets, or what follows `last_id`.
    #[track_caller]
    pub fn open(&mut self, count: usize, last_id: Option<&str>, limit: Duration) {
        self.open_with(count, last_id, None, limit);
    }

    /// The same; `receive_bytes` limits the system's buffer for a client that does not read.
    #[track_caller]
    pub fn open_with(
        &mut self,
        count: usize,
        last_id: Option<&str>,
        receive_bytes: Option<usize>,
        limit: Duration,
    ) {
        let deadline = Instant::now() + limit;
        let end = self.clients.len() + count;
        while self.clients.len() < end {
            let from = self.clients.len();
            for index in from..end.min(from + AT_A_TIME) {
                let mut client = Client::default();
                if let Some(id) = last_id {
                    client.events.last_id = id.into();
                }
                self.clients.push(client);
                self.connect(index, receive_bytes);
            }
            let opened = from..self.clients.len();
            loop {
                let waiting = self.clients[opened.clone()]
                    .iter()
                    .filter(|client| client.first.is_none())
                    .count();
                if waiting == 0 {
                    break;
                }
                assert!(
                    Instant::now() < deadline,
                    "of {} clients {waiting} have got nothing",
                    opened.end
                );
                self.turn(Duration::from_millis(100));
            }
        }
    }

    fn connect(&mut self, index: usize, receive_bytes: Option<usize>) {
        let client = &mut self.clients[index];
        let mut stream = dial(self.address, receive_bytes)
            .unwrap_or_else(|error| panic!("client {index}: {}: {error}", self.address));
        let last_id = match client.last_id() {
            id if id.is_empty() => id,
            id => format!("Last-Event-ID: {id}\r\n"),
        };
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{last_id}\r\n",
            self.target
        );
        stream
            .write_all(request.as_bytes())
            .expect("room for a request");
        stream.set_nonblocking(true).expect("a socket can be that");
        self.epoll
            .add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))
            .expect("room in the epoll");
        client.response = Response::default();
        client.events.begin_again();
        client.had_events = false;
        client.socket = Some(stream);
    }

    /// Makes these clients stop reading.
    pub fn pause(&mut self, range: Range<usize>) {
        for client in &mut self.clients[range] {
            client.is_paused = true;
            if let Some(socket) = &client.socket {
                self.epoll.delete(socket).expect("it was there");
            }
        }
    }

    /// Makes these clients continue reading.
    pub fn resume(&mut self, range: Range<usize>) {
        for index in range {
            let client = &mut self.clients[index];
            client.is_paused = false;
            if let Some(socket) = &client.socket {
                let event = EpollEvent::new(EpollFlags::EPOLLIN, index as u64);
                self.epoll.add(socket, event).expect("room in the epoll");
            }
        }
    }

    /// Reads until these have got every line below `goal`.
    #[track_caller]
    pub fn read_until(&mut self, range: Range<usize>, goal: u64, limit: Duration) {
        let deadline = Instant::now() + limit;
        self.aim(range, goal);
        while self.lacking > 0 {
            if Instant::now() >= deadline {
                let slowest = self.clients[self.awaited.clone()]
                    .iter()
                    .min_by_key(|client| client.next);
                panic!(
                    "{} of {} clients lack lines below {goal} after {limit:?}; the last of \
                     them: {slowest:?}",
                    self.lacking,
                    self.awaited.len(),
                );
            }
            self.turn(Duration::from_millis(100));
        }
    }

    /// Sets the clients that are awaited until they have all lines below `goal`.
    fn aim(&mut self, range: Range<usize>, goal: u64) {
        let lacks = |client: &&Client| client.next < goal;
        self.lacking = self.clients[range.clone()].iter().filter(lacks).count();
        (self.awaited, self.goal) = (range, goal);
    }

    /// Reads for so long.
    pub fn read_for(&mut self, span: Duration) {
        let until = Instant::now() + span;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            self.turn(left);
        }
    }

    /// Waits for input, and reads it.
    pub fn turn(&mut self, wait: Duration) {
        let now = Instant::now();
        let mut wait = wait;
        let due = |(at, index): &(Instant, usize)| (*at <= now).then_some(*index);
        let returning: Vec<usize> = self.returning.iter().filter_map(due).collect();
        self.returning.retain(|(at, _)| *at > now);
        for index in returning {
            self.connect(index, None);
        }
        if let Some(at) = self.returning.iter().map(|(at, _)| *at).min() {
            wait = wait.min(at.saturating_duration_since(now));
        }
        let mut events = [EpollEvent::empty(); 256];
        let milliseconds = wait.as_micros().div_ceil(1000).min(10_000) as u16;
        let count = match self
            .epoll
            .wait(&mut events, EpollTimeout::from(milliseconds))
        {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => panic!("epoll: {error}"),
        };
        for event in &events[..count] {
            self.read(event.data() as usize);
        }
    }

    fn read(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let Some(socket) = &mut client.socket else {
            return;
        };
        match socket.read(&mut self.buffer) {
            Ok(0) => self.ended(index),
            Ok(count) => self.take(index, count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.ended(index),
        }
    }

    fn take(&mut self, index: usize, count: usize) {
        self.bytes += count as u64;
        let client = &mut self.clients[index];
        let Client {
            response,
            events,
            first,
            next,
            others,
            had_events,
            ..
        } = client;
        let next_before = *next;
        let lines = &self.lines;
        response.feed(&self.buffer[..count], |body| {
            events.feed(body, |event| {
                *had_events = true;
                // Of several streams in one connection, `NAME/message` has no name of its own.
                let is_line = event.name.is_empty() || event.name.ends_with(b"/message");
                let number = is_line.then(|| lines.number(event.data)).flatten();
                let Some(number) = number else {
                    let name = String::from_utf8_lossy(event.name);
                    let data = String::from_utf8_lossy(event.data);
                    return others.push(format!("{name}: {data}"));
                };
                if first.is_none() {
                    *first = Some(number);
                    *next = number;
                }
                assert_eq!(
                    number, *next,
                    "client {index} got another line than the next"
                );
                *next += 1;
            });
        });
        let next = *next;
        let has_ended = response.has_ended() || response.status > 200;
        if next_before < self.goal && next >= self.goal && self.awaited.contains(&index) {
            self.lacking -= 1;
        }
        if let Some(delays) = &mut self.delays {
            if next > next_before && delays.of.contains(&index) {
                if let Some(at) = (next - 1).checked_sub(delays.first) {
                    if let Some(written) = delays.written.get(at as usize) {
                        delays.taken_us.push(written.elapsed().as_micros() as u32);
                    }
                }
            }
        }
        if has_ended {
            self.ended(index);
        }
    }

    fn ended(&mut self, index: usize) {
        let client = &mut self.clients[index];
        assert!(
            self.at_the_end == AtTheEnd::Return,
            "the stream of client {index} ended: {client:?}"
        );
        client.socket = None;
        client.returns += 1;
        client.refusals += u32::from(!client.had_events);
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let span = RETURN_AFTER_MS.end - RETURN_AFTER_MS.start;
        let after = RETURN_AFTER_MS.start + self.random % span;
        let at = Instant::now() + Duration::from_millis(after);
        self.returning.push((at, index));
    }
}

/// A connected socket. When it is closed it is gone, and its port can be used again:
/// there are 28 000 of them, and each would rest for a minute.
fn dial(address: SocketAddr, receive_bytes: Option<usize>) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(address)?;
    let at_once = nix::libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&socket, sockopt::Linger, &at_once)?;
    if let Some(bytes) = receive_bytes {
        setsockopt(&socket, sockopt::RcvBuf, &bytes)?;
    }
    Ok(socket)
}

/// Raises the limit on descriptors to its maximum, and returns that.
pub fn descriptors() -> usize {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("up to the hard limit");
    most as usize
}

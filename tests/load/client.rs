//! The client of scripts/bench: many readers, and the writer.
//!
//!     client PORT TARGET LINE_BYTES file PATH [PATH]...
//!     client PORT TARGET LINE_BYTES post TARGET
//!     client PORT TARGET LINE_BYTES redis SOCKET KEY
//!
//! Of several files, each gets the next line in turn: in lockstep, a reader of all of them gets the
//! lines in their order.
//!
//! It performs each line of its standard input, and prints for each how many seconds that took.
//!
//!     open COUNT             so many more connect; line 0 has been written before
//!     lockstep COUNT         so many lines, each when everybody has the one before
//!     burst COUNT            so many lines at once
//!     pace RATE WRITES SECONDS
//!                            RATE lines a second, in so many writes; answers with the median
//!                            of the delays, and with the slowest hundredth
//!     steady SECONDS STALLED 600 kB a second, of which the first STALLED clients read
//!                            nothing; answers with the median of the others' delays and
//!                            that of the slowest hundredth, and then waits for everybody

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

#[allow(dead_code)]
mod crowd;
mod numbered;
mod steady;
mod wire;

use crowd::{AtTheEnd, Crowd, descriptors};
use numbered::Numbered;
use steady::Pace;

const PATIENCE: Duration = Duration::from_secs(120);

/// As in the tests.
const BYTES_PER_SECOND: u64 = 600_000;
const WRITES_PER_SECOND: u64 = 20;

/// The writer.
enum Publisher {
    File(File),
    /// Each line goes to the next file.
    Files {
        files: Vec<File>,
        next: usize,
    },
    /// One request for each line.
    Post {
        port: u16,
        target: String,
        socket: TcpStream,
    },
    /// One XADD for each line. A thread reads the replies.
    Redis {
        key: String,
        socket: UnixStream,
    },
}

impl Publisher {
    fn write(&mut self, text: &[u8]) {
        match self {
            Self::File(file) => file.write_all(text).expect("room on the disk"),
            Self::Files { files, next } => {
                for line in text.split_inclusive(|byte| *byte == b'\n') {
                    files[*next].write_all(line).expect("room on the disk");
                    *next = (*next + 1) % files.len();
                }
            }
            Self::Redis { key, socket } => {
                let head = format!(
                    "*5\r\n$4\r\nXADD\r\n${}\r\n{key}\r\n$1\r\n*\r\n$4\r\ndata\r\n",
                    key.len()
                );
                let mut commands = Vec::new();
                for line in text.split_inclusive(|byte| *byte == b'\n') {
                    let data = &line[..line.len() - 1];
                    commands.extend_from_slice(head.as_bytes());
                    commands.extend_from_slice(format!("${}\r\n", data.len()).as_bytes());
                    commands.extend_from_slice(data);
                    commands.extend_from_slice(b"\r\n");
                }
                socket.write_all(&commands).expect("redis-server reads");
            }
            Self::Post {
                port,
                target,
                socket,
            } => {
                let mut requests = Vec::new();
                let mut count = 0;
                for line in text.split_inclusive(|byte| *byte == b'\n') {
                    let body = &line[..line.len() - 1];
                    let head = format!(
                        "POST {target} HTTP/1.1\r\nHost: localhost:{port}\r\n\
                         Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
                        body.len()
                    );
                    requests.extend_from_slice(head.as_bytes());
                    requests.extend_from_slice(body);
                    count += 1;
                }
                // The readers must read meanwhile.
                let mut socket = socket.try_clone().expect("a descriptor");
                std::thread::spawn(move || {
                    let mut reader = socket.try_clone().expect("a descriptor");
                    let writer = std::thread::spawn(move || socket.write_all(&requests));
                    await_answers(&mut reader, count);
                    let written = writer.join().expect("it does not panic");
                    written.expect("nginx takes requests");
                });
            }
        }
    }
}

/// A connection to a redis-server, whose replies are discarded.
fn connect_redis(path: &str) -> UnixStream {
    let socket = UnixStream::connect(path).expect("redis-server listens");
    let mut replies = socket.try_clone().expect("a descriptor");
    std::thread::spawn(move || {
        let mut buffer = [0; 65_536];
        loop {
            let length = replies.read(&mut buffer).expect("redis-server replies");
            assert!(length > 0, "redis-server has closed the connection");
            // (What is lost is noticed by the readers.)
            assert!(buffer[0] != b'-', "{}", buffer[..length].escape_ascii());
        }
    });
    socket
}

/// Reads so many answers; each has one head, and says `201` or `202`.
fn await_answers(socket: &mut TcpStream, count: usize) {
    let mut seen = 0;
    let mut text = Vec::new();
    let mut buffer = [0; 65_536];
    while seen < count {
        let length = socket.read(&mut buffer).expect("nginx answers");
        assert!(length > 0, "nginx hung up after {seen} of {count} requests");
        text.extend_from_slice(&buffer[..length]);
        let mark = b"HTTP/1.1 20";
        let mut from = 0;
        while let Some(at) = text[from..].windows(mark.len()).position(|w| w == mark) {
            seen += 1;
            from += at + mark.len();
        }
        text.drain(..from.max(text.len().saturating_sub(mark.len() - 1)));
    }
}

struct Client {
    crowd: Crowd,
    publisher: Publisher,
    lines: Numbered,
    line_bytes: u64,
    written: u64,
}

impl Client {
    fn write(&mut self, count: u64) -> u64 {
        let text = self.lines.lines(self.written, self.written + count);
        self.publisher.write(&text);
        self.written += count;
        self.written
    }

    fn everybody(&self) -> std::ops::Range<usize> {
        0..self.crowd.clients.len()
    }

    fn obey(&mut self, words: &[&str]) -> String {
        let number = |at: usize| -> u64 {
            let word = words
                .get(at)
                .unwrap_or_else(|| panic!("{words:?}: a number"));
            word.parse().unwrap_or_else(|_| panic!("{word}: no number"))
        };
        let started = Instant::now();
        match words[0] {
            "open" => self.crowd.open(number(1) as usize, None, PATIENCE),
            "lockstep" => {
                for _ in 0..number(1) {
                    let goal = self.write(1);
                    self.crowd.read_until(self.everybody(), goal, PATIENCE);
                }
            }
            "burst" => {
                let goal = self.write(number(1));
                self.crowd.read_until(self.everybody(), goal, PATIENCE);
            }
            "pace" => return self.pace(number(1), number(2), Duration::from_secs(number(3))),
            "steady" => return self.steady(Duration::from_secs(number(1)), number(2) as usize),
            other => panic!("{other}: no such command"),
        }
        format!("{:.9}", started.elapsed().as_secs_f64())
    }

    fn pace(&mut self, rate: u64, writes: u64, span: Duration) -> String {
        let everybody = self.everybody();
        let pace = Pace::of(rate, 1, writes);
        let (publisher, lines, written) = (&mut self.publisher, &self.lines, &mut self.written);
        let write = |count| {
            publisher.write(&lines.lines(*written, *written + count));
            *written += count;
            *written
        };
        let taken = pace.keep(&mut self.crowd, everybody.clone(), span, write, |_| {});
        self.crowd.read_until(everybody, self.written, PATIENCE);
        let [median, slow] = [50, 99].map(|of| taken.percentile(of).as_secs_f64());
        format!("{median:.9} {slow:.9}")
    }

    fn steady(&mut self, span: Duration, stalled: usize) -> String {
        let everybody = self.everybody();
        let others = stalled..everybody.end;
        // A client that reads nothing for long is disconnected, and returns.
        self.crowd.at_the_end = AtTheEnd::Return;
        let pace = Pace::of(BYTES_PER_SECOND, self.line_bytes, WRITES_PER_SECOND);
        self.crowd.pause(0..stalled);
        let (publisher, lines, written) = (&mut self.publisher, &self.lines, &mut self.written);
        let write = |count| {
            publisher.write(&lines.lines(*written, *written + count));
            *written += count;
            *written
        };
        let taken = pace.keep(&mut self.crowd, others.clone(), span, write, |_| {});
        self.crowd.read_until(others, self.written, PATIENCE);
        self.crowd.resume(0..stalled);
        self.crowd.read_until(everybody, self.written, PATIENCE);
        let [median, slow] = [50, 99].map(|of| taken.percentile(of).as_secs_f64());
        let returns: u32 = self.crowd.clients.iter().map(|client| client.returns).sum();
        format!("{median:.9} {slow:.9} {returns}")
    }
}

fn appended(place: &str) -> File {
    let opened = OpenOptions::new().create(true).append(true).open(place);
    opened.unwrap_or_else(|error| panic!("{place}: {error}"))
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, target, line_bytes, way, place, key @ ..] = &arguments[..] else {
        eprintln!("usage: client PORT TARGET LINE_BYTES file|post|redis PLACE [KEY|PATH...]");
        std::process::exit(100);
    };
    descriptors();
    let port: u16 = port.parse().expect("a port");
    let line_bytes: u64 = line_bytes.parse().expect("a number of bytes");
    let lines = Numbered::of(line_bytes as usize);
    let publisher = match way.as_str() {
        "file" if key.is_empty() => Publisher::File(appended(place)),
        "file" => {
            let places = std::iter::once(place).chain(key);
            Publisher::Files {
                files: places.map(|place| appended(place)).collect(),
                next: 0,
            }
        }
        "redis" => Publisher::Redis {
            key: key.first().expect("a key").clone(),
            socket: connect_redis(place),
        },
        _ => Publisher::Post {
            port,
            target: place.clone(),
            socket: TcpStream::connect(("127.0.0.1", port)).expect("nginx listens"),
        },
    };
    let mut client = Client {
        crowd: Crowd::new(port, target, lines.clone(), AtTheEnd::Fail),
        publisher,
        lines,
        line_bytes,
        written: 0,
    };
    client.write(1);
    for line in io::stdin().lines() {
        let line = line.expect("commands are text");
        let words: Vec<&str> = line.split_whitespace().collect();
        if !words.is_empty() {
            println!("{}", client.obey(&words));
        }
    }
}

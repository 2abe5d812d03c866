//! The client of section `publish`: sends POSTs and receives their events on one open stream.
//!
//! ```text
//! publish_client PORT EVENTS PUBLISH lockstep POSTS     "p50 p90" of the delay, in µs
//! publish_client PORT EVENTS PUBLISH parallel POSTS N   posts answered a second
//! ```
//!
//! Connections are kept. Every POST must be answered by 201, and every record must arrive
//! exactly once, each poster's in its order: any violation ends the program.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// POSTs that are not counted, because they pay for the initialization of a new stream.
const WARM_UP: u64 = 20;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [port, events, publish, what, posts, rest @ ..] = &args[..] else {
        panic!("PORT EVENTS PUBLISH lockstep|parallel POSTS [N]");
    };
    let port = port.parse().unwrap();
    let posts: u64 = posts.parse().unwrap();
    let mut stream = Stream::open(port, events);
    match what.as_str() {
        "lockstep" => lockstep(&mut Poster::new(port, publish, 0), &mut stream, posts),
        "parallel" => parallel(port, publish, stream, posts, rest[0].parse().unwrap()),
        _ => panic!("{what}: lockstep or parallel"),
    }
}

/// One POST at a time: the time from its first byte to its event.
fn lockstep(poster: &mut Poster, stream: &mut Stream, posts: u64) {
    let mut delays_ns = Vec::new();
    for number in 0..WARM_UP + posts {
        let begun = Instant::now();
        poster.send(number);
        assert_eq!(stream.next(), (0, number));
        let delay = begun.elapsed();
        poster.answer();
        if number >= WARM_UP {
            delays_ns.push(delay.as_nanos() as u64);
        }
    }
    delays_ns.sort_unstable();
    let at = |tenths: usize| delays_ns[(delays_ns.len() - 1) * tenths / 10] as f64 / 1000.0;
    println!("{} {}", at(5), at(9));
}

/// Each poster sends its share, one at a time, while the stream is read.
fn parallel(port: u16, publish: &str, mut stream: Stream, posts: u64, posters: u64) {
    let share = posts / posters;
    let mut warm = Poster::new(port, publish, posters);
    for number in 0..WARM_UP {
        warm.send(number);
        assert_eq!(stream.next(), (posters, number));
        warm.answer();
    }
    let reader = thread::spawn(move || {
        let mut expected = vec![0; posters as usize];
        for _ in 0..share * posters {
            let (poster, number) = stream.next();
            assert_eq!(number, expected[poster as usize]);
            expected[poster as usize] += 1;
        }
    });
    let posters: Vec<Poster> = (0..posters)
        .map(|n| Poster::new(port, publish, n))
        .collect();
    let count = posters.len() as f64;
    let begun = Instant::now();
    let busy: Vec<_> = posters
        .into_iter()
        .map(|mut poster| {
            thread::spawn(move || {
                for number in 0..share {
                    poster.send(number);
                    poster.answer();
                }
            })
        })
        .collect();
    for poster in busy {
        poster.join().unwrap();
    }
    let took = begun.elapsed();
    reader.join().unwrap();
    println!("{}", share as f64 * count / took.as_secs_f64());
}

/// A kept connection that sends POSTs.
struct Poster {
    connection: BufReader<TcpStream>,
    path: String,
    name: u64,
    line: String,
}

impl Poster {
    fn new(port: u16, path: &str, name: u64) -> Self {
        Self {
            connection: BufReader::new(connect(port)),
            path: path.to_owned(),
            name,
            line: String::new(),
        }
    }

    fn send(&mut self, number: u64) {
        let (path, name) = (&self.path, self.name);
        let text = "the flight has landed, and its passengers are on their way";
        let body = format!(
            r#"{{"event":"update","data":{{"from":{name},"n":{number},"text":"{text}"}}}}"#
        );
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        self.connection
            .get_mut()
            .write_all(request.as_bytes())
            .unwrap();
    }

    fn answer(&mut self) {
        let mut length = None;
        let mut is_chunked = false;
        let mut is_first = true;
        loop {
            let line = self.line();
            if is_first {
                assert!(line.starts_with("HTTP/1.1 201 "), "answered {line}");
                is_first = false;
            }
            if line.is_empty() {
                break;
            }
            let line = line.to_ascii_lowercase();
            if let Some(bytes) = line.strip_prefix("content-length:") {
                length = Some(bytes.trim().parse().unwrap());
            }
            is_chunked |= line == "transfer-encoding: chunked";
        }
        if is_chunked {
            while let length @ 1.. = usize::from_str_radix(self.line(), 16).unwrap() {
                self.skip(length + 2);
            }
            self.skip(2);
        } else {
            self.skip(length.expect("an answer says how long it is"));
        }
    }

    fn line(&mut self) -> &str {
        self.line.clear();
        self.connection.read_line(&mut self.line).unwrap();
        assert!(self.line.ends_with("\r\n"), "the connection was closed");
        self.line.trim_end()
    }

    fn skip(&mut self, length: usize) {
        let mut bytes = [0; 4096];
        self.connection.read_exact(&mut bytes[..length]).unwrap();
    }
}

/// The connection of the stream.
struct Stream {
    connection: BufReader<TcpStream>,
    line: String,
}

impl Stream {
    /// HTTP/1.0, so that the body has no chunk framing.
    fn open(port: u16, path: &str) -> Self {
        let mut connection = connect(port);
        let request =
            format!("GET {path} HTTP/1.0\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n");
        connection.write_all(request.as_bytes()).unwrap();
        let mut stream = Self {
            connection: BufReader::new(connection),
            line: String::new(),
        };
        assert!(stream.line().contains(" 200 "), "no stream");
        while !stream.line().is_empty() {}
        stream
    }

    /// The poster of the next event, and its number.
    fn next(&mut self) -> (u64, u64) {
        loop {
            if let Some(data) = self.line().strip_prefix("data:") {
                return (value(data, r#""from":"#), value(data, r#""n":"#));
            }
        }
    }

    fn line(&mut self) -> &str {
        self.line.clear();
        self.connection.read_line(&mut self.line).unwrap();
        assert!(self.line.ends_with('\n'), "the stream ended");
        self.line.trim_end()
    }
}

fn value(data: &str, name: &str) -> u64 {
    let (_, after) = data.split_once(name).expect("one of our records");
    let end = after.find([',', '}']).expect("JSON");
    after[..end].parse().unwrap()
}

fn connect(port: u16) -> TcpStream {
    let connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    connection.set_nodelay(true).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    connection.set_write_timeout(Some(PATIENCE)).unwrap();
    connection
}

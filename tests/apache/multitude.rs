//! 2000 followers of one file under one Apache, within the limits of threads and the system's
//! defaults: nothing is missing, and nothing is left behind.
//!
//! The clients are one thread that polls plain sockets, since only their number matters here.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::servers::apache::{Apache, Mpm};
use crate::servers::events::Parser;
use crate::support::folder::append;

const FOLLOWERS: usize = 2_000;

/// The time that this machine needs to start so many programs, or to wake all of them.
const PATIENCE: Duration = Duration::from_secs(40);

/// One client, and the lines that it has got.
struct Client {
    socket: TcpStream,
    head: Vec<u8>,
    parser: Parser,
    lines: Vec<String>,
}

impl Client {
    fn of(apache: &Apache) -> Self {
        let mut socket = TcpStream::connect(("127.0.0.1", apache.port())).expect("Apache listens");
        let request = "GET /cgi-bin/nph-tail.cgi HTTP/1.1\r\nHost: localhost\r\n\r\n";
        socket
            .write_all(request.as_bytes())
            .expect("room for a request");
        socket.set_nonblocking(true).expect("a socket can be that");
        Self {
            socket,
            head: Vec::new(),
            parser: Parser::default(),
            lines: Vec::new(),
        }
    }

    /// Reads the available bytes.
    fn read(&mut self) {
        let mut bytes = [0; 16_384];
        match self.socket.read(&mut bytes) {
            Ok(0) => panic!("closed; had {:?}", String::from_utf8_lossy(&self.head)),
            Ok(count) => self.take(&bytes[..count]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let mut body = bytes;
        let rest;
        if !self.head.ends_with(b"\r\n\r\n") {
            self.head.extend_from_slice(bytes);
            let Some(end) = self.head.windows(4).position(|four| four == b"\r\n\r\n") else {
                return;
            };
            rest = self.head.split_off(end + 4);
            body = &rest;
            assert!(self.head.starts_with(b"HTTP/1.1 200 OK\r\n"));
        }
        let events = self.parser.feed(body, Instant::now());
        self.lines
            .extend(events.into_iter().map(|event| event.data));
    }
}

/// Reads until every client has as many lines as `expected`, and compares them.
#[track_caller]
fn wait_for_lines(clients: &mut [Client], expected: &[String]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let lacking = |client: &&mut Client| client.lines.len() < expected.len();
        let mut waiting: Vec<&mut Client> = clients.iter_mut().filter(lacking).collect();
        if waiting.is_empty() {
            break;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(
            !left.is_zero(),
            "{} of {FOLLOWERS} lack lines",
            waiting.len()
        );
        let sockets = waiting.iter().map(|client| client.socket.as_fd());
        let mut polled: Vec<_> = sockets
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        let timeout = PollTimeout::try_from(left).expect("well below the limit");
        poll(&mut polled, timeout).expect("so many can be polled");
        let ready: Vec<bool> = polled.iter().map(|fd| fd.any().unwrap_or(true)).collect();
        drop(polled);
        for (client, _) in waiting.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
            client.read();
        }
    }
    for (number, client) in clients.iter().enumerate() {
        assert!(
            client.lines == expected,
            "follower {number}: {:?}",
            client.lines
        );
    }
}

#[test]
fn each_of_2000_followers_gets_every_line_and_none_stays_behind() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    assert!(
        most > 2 * FOLLOWERS as u64,
        "at most {most} descriptors: raise the hard limit"
    );
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("up to the hard limit");
    let apache = Apache::with(Mpm::EventWithCgid)
        .workers(FOLLOWERS as u32 + 50)
        .set("SSE_HEARTBEAT", "2s")
        .start();
    let mut written = vec!["from before".to_owned()];
    append(&apache.tail_file(), "from before\n");
    let mut clients: Vec<Client> = (0..FOLLOWERS).map(|_| Client::of(&apache)).collect();
    wait_for_lines(&mut clients, &written);
    assert_eq!(apache.programs().len(), FOLLOWERS);
    for round in 0..4 {
        // One line alone, and many at once.
        let count = if round < 2 { 1 } else { 50 };
        let lines: Vec<String> = (0..count)
            .map(|number| format!("{round}.{number}"))
            .collect();
        append(&apache.tail_file(), &(lines.join("\n") + "\n"));
        written.extend(lines);
        wait_for_lines(&mut clients, &written);
    }
    // A rotation with so many followers.
    let rotated = apache.tail_file().with_extension("txt.1");
    std::fs::rename(apache.tail_file(), rotated).expect("it is there");
    append(&apache.tail_file(), "rotated\n");
    written.push("rotated".into());
    wait_for_lines(&mut clients, &written);
    drop(clients);
    apache.wait_until_no_program_runs(PATIENCE);
}

//! Many clients, while the file rotates and responders are replaced: over all its connections,
//! each client reads exactly what was written.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::servers::answer::{Answer, Next};
use crate::servers::gateway::{Gateway, Site};
use crate::servers::request::Request;
use crate::support::folder::append;
use crate::support::wait::PATIENCE;

const CLIENTS: usize = 40;
const LINES: usize = 4000;
/// Responders that end while the clients listen, in turn by SIGKILL and by SIGTERM.
const ENDS: usize = 10;
const ROTATIONS: usize = 4;
const LIMIT: Duration = Duration::from_secs(60);

/// Reads over as many connections as necessary.
struct Client {
    request: Request,
    stream: Answer,
    received: Vec<String>,
    connections: usize,
}

impl Client {
    fn read_to_the_last_line(mut self, deadline: Instant) -> Client {
        let last = (LINES - 1).to_string();
        while self.received.last() != Some(&last) {
            match self.stream.wait(deadline) {
                // nginx's answer while no responder runs.
                Next::Event(event) if event.name == "unavailable" => {}
                Next::Event(event) => {
                    assert_eq!(event.name, "message", "{event:?}");
                    self.received.push(event.data);
                }
                Next::Ended => self.connect_again(deadline),
                Next::Late => panic!(
                    "{} lines in {} connections, the last {:?}",
                    self.received.len(),
                    self.connections,
                    self.received.last()
                ),
            }
        }
        self
    }

    fn connect_again(&mut self, deadline: Instant) {
        assert!(
            Instant::now() < deadline,
            "{} connections",
            self.connections
        );
        // A browser would wait for seconds.
        std::thread::sleep(Duration::from_millis(20));
        let last_id = std::mem::take(&mut self.stream.parser.last_id);
        self.stream = self.request.clone().field("Last-Event-ID", &last_id).send();
        // An answer for the time without a responder has no id.
        self.stream.parser.last_id = last_id;
        self.connections += 1;
    }
}

#[test]
fn every_client_reads_every_line_once_however_responders_end() {
    let mut site = Site::with(Gateway::Nginx).start();
    let file = site.tail_file();
    append(&file, "");
    let clients: Vec<Client> = (0..CLIENTS)
        .map(|_| {
            let request = site.get("/events/tail");
            let mut stream = request.send();
            let deadline = Instant::now() + PATIENCE;
            while stream.parser.last_id.is_empty() {
                assert!(Instant::now() < deadline, "no id");
                let soon = Instant::now() + Duration::from_millis(20);
                let next = stream.wait(soon);
                assert!(matches!(next, Next::Late), "{next:?}");
            }
            Client {
                request,
                stream,
                received: Vec::new(),
                connections: 1,
            }
        })
        .collect();

    let deadline = Instant::now() + LIMIT;
    let readers: Vec<_> = clients
        .into_iter()
        .map(|client| std::thread::spawn(move || client.read_to_the_last_line(deadline)))
        .collect();
    let writer = {
        let file = file.clone();
        std::thread::spawn(move || {
            for number in 0..LINES {
                if number > 0 && number % (LINES / (ROTATIONS + 1)) == 0 {
                    rotate(&file);
                }
                append(&file, &format!("{{\"data\":{number}}}\n"));
                // This does not wait for a condition: it is a file that grows while it is read.
                std::thread::sleep(Duration::from_micros(700));
            }
        })
    };
    for end in 0..ENDS {
        std::thread::sleep(Duration::from_millis(300));
        site.signal_responder([Signal::SIGKILL, Signal::SIGTERM][end % 2]);
        site.wait_until_responder_ended(PATIENCE);
        site.start_responder();
    }
    writer.join().expect("the writer does not fail");

    let expected: Vec<String> = (0..LINES).map(|number| number.to_string()).collect();
    let mut connections = 0;
    for reader in readers {
        let client = reader.join().expect("no client fails");
        connections += client.connections;
        let wrong = client.received.iter().zip(&expected).find(|(a, b)| a != b);
        assert_eq!(wrong, None);
        assert_eq!(client.received.len(), LINES);
    }
    assert!(
        connections > CLIENTS * ENDS / 2,
        "{connections} connections"
    );
}

/// As logrotate does, with so many old files kept.
#[track_caller]
fn rotate(file: &std::path::Path) {
    for number in (1..ROTATIONS).rev() {
        let (old, new) = (numbered(file, number), numbered(file, number + 1));
        let _ = fs::rename(old, new);
    }
    fs::rename(file, numbered(file, 1)).expect("the file is there");
}

fn numbered(file: &std::path::Path, number: usize) -> std::path::PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

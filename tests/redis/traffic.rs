//! Clients, publishers and nodes behind nginx, which the tests disturb, and what a client that
//! changes nodes may receive.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Responder;
use super::peer::Request;
use super::support::event_stream::{Item, Parser};
use super::support::folder::Folder;
use super::support::redis::Redis;
use super::support::wait::wait_for;

pub const KEY: &str = "live:a";

/// How long a client or a publisher waits before it tries again.
const AGAIN: Duration = Duration::from_millis(50);

/// How long it may take until every client has everything, once nothing happens any more.
pub const COMPLETE_WITHIN: Duration = Duration::from_secs(30);

/// An id of an entry.
pub type Id = (u64, u64);

pub fn id(text: &str) -> Id {
    let (ms, seq) = text.split_once('-').expect("an id");
    (ms.parse().expect("an id"), seq.parse().expect("an id"))
}

/// What a client received.
#[derive(Debug, PartialEq)]
pub enum Received {
    Event(Id, String),
    Gap(String),
}

/// nginx, with the nodes as its upstream, at a socket.
pub struct Nginx {
    child: Child,
    pub socket: PathBuf,
}

impl Nginx {
    pub fn start(folder: &Folder, nodes: &[PathBuf], settings: &[(String, String)]) -> Self {
        let program = "/usr/sbin/nginx";
        assert!(
            Path::new(program).exists(),
            "nginx is missing; install nginx-light"
        );
        let socket = folder.path("nginx.sock");
        let root = folder.path("");
        let root = root.display();
        let project = env!("CARGO_MANIFEST_DIR");
        std::fs::copy("/etc/nginx/fastcgi_params", folder.path("fastcgi_params"))
            .expect("/etc/nginx/fastcgi_params");
        let mut temporary = String::new();
        for name in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            let _ = write!(temporary, "{name}_temp_path {root}/{name};");
        }
        let mut upstream = String::new();
        for node in nodes {
            // A node that was killed is tried again a second later.
            let _ = write!(upstream, "server unix:{} fail_timeout=1s;", node.display());
        }
        let location = |stream: &str, user: &str| {
            let mut all = format!("include {project}/nginx/snippets/sse-cgi.conf;");
            let _ = write!(all, "fastcgi_param SSE_STREAM {stream};");
            let _ = write!(all, "fastcgi_param SSE_REDIS_USER {user};");
            for (name, value) in settings {
                let _ = write!(all, "fastcgi_param {name} \"{value}\";");
            }
            all
        };
        let publish = location("publish", "publisher");
        let user = match nix::unistd::geteuid().is_root() {
            true => "user root;",
            false => "",
        };
        let configuration = format!(
            "{user} daemon off; worker_processes 1; pid {root}/nginx.pid;
             error_log {root}/nginx.log crit;
             events {{ worker_connections 2000; }}
             http {{
                 {temporary} access_log off;
                 upstream sse_fcgi {{ {upstream} }}
                 server {{
                     listen unix:{};
                     location = /events {{ {} }}
                     location = /publish {{ {publish} }}
                     location = /replicated {{
                         {publish}
                         fastcgi_param SSE_PUBLISH_SYNC yes;
                         fastcgi_param SSE_PUBLISH_REPLICAS 1;
                     }}
                     location @sse_later {{ return 503; }}
                 }}
             }}",
            socket.display(),
            location("redis", "reader"),
        );
        let configuration = folder.write("nginx.conf", configuration);
        let child = Command::new(program)
            .arg("-p")
            .arg(folder.path(""))
            .arg("-c")
            .arg(configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path("nginx.log")).expect("a file"))
            .spawn()
            .expect("nginx");
        wait_for("nginx", || UnixStream::connect(&socket).ok());
        Self { child, socket }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master process ends its worker.
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// A client.
pub struct Reader {
    pub stream: Option<UnixStream>,
    /// The response up to the end of its head.
    head: Option<Vec<u8>>,
    parser: Parser,
    last_id: String,
    received: Vec<Received>,
    returns_at: Instant,
}

impl Reader {
    pub fn new(last_id: &str) -> Self {
        Self {
            stream: None,
            head: None,
            parser: Parser::default(),
            last_id: last_id.to_owned(),
            received: vec![Received::Event(id(last_id), "first".into())],
            returns_at: Instant::now(),
        }
    }

    /// Leaves; it returns later with its last id.
    pub fn leave(&mut self, wait: Duration) {
        self.stream = None;
        self.returns_at = Instant::now() + wait;
    }

    fn connect(&mut self, server: &Path) {
        let Ok(mut stream) = UnixStream::connect(server) else {
            return self.leave(AGAIN);
        };
        // Without chunks.
        let request = format!(
            "GET /events HTTP/1.0\r\nHost: localhost\r\nLast-Event-ID: {}\r\n\r\n",
            self.last_id
        );
        if stream.write_all(request.as_bytes()).is_err() {
            return self.leave(AGAIN);
        }
        stream.set_nonblocking(true).expect("a socket");
        self.stream = Some(stream);
        self.head = Some(Vec::new());
        self.parser = Parser::default();
        self.parser.last_id.clone_from(&self.last_id);
    }

    /// Reads what has arrived; connects if it is not connected.
    pub fn go_on(&mut self, server: &Path) {
        let mut buffer = [0; 16_384];
        loop {
            let Some(stream) = &mut self.stream else {
                if Instant::now() >= self.returns_at {
                    self.connect(server);
                }
                return;
            };
            match stream.read(&mut buffer) {
                Ok(0) => return self.leave(AGAIN),
                Ok(count) => self.take(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.leave(AGAIN),
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        match &mut self.head {
            None => self.parser.feed(bytes),
            Some(head) => {
                head.extend_from_slice(bytes);
                let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") else {
                    return;
                };
                if !head.starts_with(b"HTTP/1.1 200 ") {
                    return self.leave(AGAIN);
                }
                self.parser.feed(&head[end + 4..]);
                self.head = None;
            }
        }
        while let Some(item) = self.parser.next() {
            let Item::Event(event) = item else { continue };
            match event.name.as_str() {
                "gap" => self.received.push(Received::Gap(event.data)),
                "unavailable" => {}
                "message" => {
                    let received = Received::Event(id(&event.id), event.data);
                    self.received.push(received);
                }
                other => panic!("an event {other}"),
            }
        }
        // (The id of an event without an id is that of the one before.)
        if !self.parser.last_id.is_empty() {
            self.last_id.clone_from(&self.parser.last_id);
        }
    }

    pub fn has_last(&self, last: Id) -> bool {
        let newest = self.received.iter().rev().find_map(|one| match one {
            Received::Event(id, _) => Some(*id),
            Received::Gap(_) => None,
        });
        newest == Some(last)
    }

    /// Compares what it received with the stream. Returns the number of gaps.
    ///
    /// Where it received an entry that the stream has lost, a gap follows before the next entry
    /// of the stream. Where it lacks an entry of the stream, there is a gap between its neighbours.
    /// Nothing comes twice without a gap between: only a client that changes to a node that still
    /// reads from a replaced primary, and back, gets something again.
    pub fn check(&self, stream: &BTreeMap<Id, String>, context: &str) -> usize {
        let mut gaps = 0;
        // The last event since a gap; the last one that is in the stream.
        let (mut before, mut known): (Option<Id>, Option<Id>) = (None, None);
        // The last event that is not in the stream, until a gap; a gap since `known`.
        let (mut lost, mut has_gap) = (None, false);
        for one in &self.received {
            let (id, data) = match one {
                Received::Gap(_) => {
                    gaps += 1;
                    (lost, has_gap) = (None, true);
                    // Lost entries may have higher ids than the present ones: during a failover,
                    // two servers are primaries for a time.
                    before = None;
                    continue;
                }
                Received::Event(id, data) => (*id, data),
            };
            assert!(
                before < Some(id),
                "{id:?} after {before:?} (a gap between: {has_gap}); {context}"
            );
            before = Some(id);
            let Some(own) = stream.get(&id) else {
                lost = Some(id);
                continue;
            };
            assert!(
                lost.is_none(),
                "no gap between {lost:?}, which is lost, and {id:?}; {context}"
            );
            assert_eq!(own, data, "{id:?} is another event; {context}");
            if let Some(known) = known
                && !has_gap
            {
                let missing = stream.range(known..id).skip(1);
                let missing: Vec<_> = missing.collect();
                assert!(
                    missing.is_empty(),
                    "no gap after {known:?}, and {missing:?} before {id:?} is missing; {context}"
                );
            }
            (known, has_gap) = (Some(id), false);
        }
        gaps
    }
}

/// A thread that publishes.
pub struct Publisher {
    pub thread: JoinHandle<Vec<(Id, String)>>,
}

impl Publisher {
    /// Publishes some 40 times a second, and tries the next number if that fails.
    pub fn start(name: usize, way: Way, ends: &Arc<AtomicBool>) -> Self {
        let ends = Arc::clone(ends);
        let thread = std::thread::spawn(move || {
            let mut acknowledged = Vec::new();
            let mut number = 0;
            while !ends.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(25));
                number += 1;
                let data = format!("{name}.{number}");
                if let Some(id) = way.publish(&data) {
                    acknowledged.push((id, data));
                }
            }
            acknowledged
        });
        Self { thread }
    }
}

/// How a publisher reaches the stream, and the socket.
pub enum Way {
    /// A POST to one of the nodes, whichever is next.
    Nodes(PathBuf),
    /// The same, with `SSE_PUBLISH_SYNC` and one replica.
    Replicated(PathBuf),
    /// XADD.
    Engine(PathBuf),
}

impl Way {
    /// Publishes a record; `None` if it is not known whether it is in the stream.
    fn publish(&self, data: &str) -> Option<Id> {
        let (Self::Nodes(socket) | Self::Replicated(socket) | Self::Engine(socket)) = self;
        let mut stream = UnixStream::connect(socket).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(8))).ok()?;
        match self {
            Self::Nodes(_) | Self::Replicated(_) => {
                let path = match self {
                    Self::Replicated(_) => "/replicated",
                    _ => "/publish",
                };
                let request = format!(
                    "POST {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: text/plain\r\n\
                     Content-Length: {}\r\n\r\n{data}",
                    data.len()
                );
                stream.write_all(request.as_bytes()).ok()?;
                let mut response = String::new();
                stream.read_to_string(&mut response).ok()?;
                let body = response
                    .starts_with("HTTP/1.1 201 ")
                    .then(|| response.rsplit_once("{\"id\":\""))??
                    .1;
                Some(id(body.split_once('"')?.0))
            }
            Self::Engine(_) => {
                let words = ["XADD", KEY, "*", "data", data];
                let mut command = format!("*{}\r\n", words.len());
                for word in words {
                    let _ = write!(command, "${}\r\n{word}\r\n", word.len());
                }
                stream.write_all(command.as_bytes()).ok()?;
                let mut reply = String::new();
                while reply.lines().count() < 2 || !reply.ends_with("\r\n") {
                    let mut buffer = [0; 256];
                    let count = stream.read(&mut buffer).ok()?;
                    if count == 0 || buffer[0] == b'-' {
                        return None;
                    }
                    reply.push_str(std::str::from_utf8(&buffer[..count]).ok()?);
                }
                Some(id(reply.lines().nth(1)?))
            }
        }
    }
}

/// The stream as it is: the ids, and the data.
pub fn whole_stream(redis: &mut Redis) -> BTreeMap<Id, String> {
    let text = redis.run(&["XRANGE", KEY, "-", "+"]);
    let mut stream = BTreeMap::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let own = id(line);
        let mut data = String::new();
        // (Only ids contain a hyphen.)
        while let Some(name) = lines.next_if(|line| !line.contains('-')) {
            let value = lines.next().expect("a value");
            if name == "data" {
                value.clone_into(&mut data);
            }
        }
        stream.insert(own, data);
    }
    stream
}

/// Two responders that are killed and started again.
pub struct Nodes {
    places: [Folder; 2],
    running: [Option<Responder>; 2],
    starts_at: Instant,
}

impl Nodes {
    pub fn start() -> Self {
        let places = [Folder::in_memory(), Folder::in_memory()];
        let running = [0, 1].map(|node| Some(Responder::start(&places[node])));
        Self {
            places,
            running,
            starts_at: Instant::now(),
        }
    }

    pub fn sockets(&self) -> [PathBuf; 2] {
        [0, 1].map(|node| self.places[node].path("socket"))
    }

    /// Kills one, unless one is down.
    pub fn kill(&mut self, node: usize, down: Duration) -> bool {
        let is_whole = self.running.iter().all(Option::is_some);
        if is_whole {
            self.running[node].as_mut().expect("it runs").kill();
            self.running[node] = None;
            self.starts_at = Instant::now() + down;
        }
        is_whole
    }

    /// Starts what is due.
    pub fn go_on(&mut self, is_over: bool) {
        for node in 0..2 {
            if self.running[node].is_none() && (is_over || Instant::now() >= self.starts_at) {
                self.running[node] = Some(Responder::start(&self.places[node]));
            }
        }
    }
}

/// The settings of a request, without its stream and its user.
pub fn settings(request: &Request) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("a setting");
    let pairs = request.params.iter();
    let pairs = pairs.map(|(name, value)| (text(name), text(value)));
    pairs
        .filter(|(name, _)| {
            name.starts_with("SSE_") && name != "SSE_STREAM" && name != "SSE_REDIS_USER"
        })
        .collect()
}

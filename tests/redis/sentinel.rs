//! Sentinels: the programs find the primary, follow a failover, and report what it lost.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::follow::follow;
use super::peer::Request;
use super::support::event_stream::Item;
use super::support::folder::Folder;
use super::support::redis::{Redis, free_port};
use super::support::wait::wait_for;
use super::{Responder, request};

/// A primary, a replica and three sentinels.
pub struct Service {
    pub first: Redis,
    pub second: Redis,
    first_port: u16,
    second_port: u16,
    sentinels: Vec<Child>,
    sentinel_ports: Vec<u16>,
    pub folder: Folder,
    // Their folders.
    _others: Vec<Folder>,
}

fn server(folder: &Folder, port: u16, more: &[&str]) -> Redis {
    let port = port.to_string();
    let mut options = vec!["--port", &port, "--bind", "127.0.0.1"];
    // Otherwise the primary waits 5 s for more replicas.
    options.extend(["--repl-diskless-sync-delay", "0"]);
    options.extend(more);
    Redis::start(folder, &options)
}

impl Service {
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Both servers have more options such as `--appendonly yes`.
    pub fn with(options: &[&str]) -> Self {
        let folder = Folder::in_memory();
        let (first_port, second_port) = (free_port(), free_port());
        let first = server(&folder, first_port, options);
        let other = Folder::in_memory();
        let mut second = server(&other, second_port, options);
        second.run(&["REPLICAOF", "127.0.0.1", &first_port.to_string()]);
        wait_for("the replica", || {
            let role = second.run(&["ROLE"]);
            role.contains("\nconnected\n").then_some(())
        });
        let sentinel_ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
        let mut service = Self {
            first,
            second,
            first_port,
            second_port,
            sentinels: Vec::new(),
            sentinel_ports,
            folder,
            _others: vec![other],
        };
        for number in 0..3 {
            service.start_sentinel(number, second_port);
        }
        for port in &service.sentinel_ports {
            wait_for("a sentinel", || {
                TcpStream::connect(("127.0.0.1", *port)).ok()
            });
        }
        service
    }

    /// The sentinels know each other and the replica from the beginning: it takes them seconds to
    /// find out.
    fn start_sentinel(&mut self, number: usize, replica: u16) {
        let folder = Folder::in_memory();
        let id = |number: usize| format!("{number}").repeat(40);
        let mut text = format!(
            "port {}\nbind 127.0.0.1\ndir {}\nsentinel myid {}\n\
             sentinel monitor live 127.0.0.1 {} 2\n\
             sentinel down-after-milliseconds live 500\n\
             sentinel failover-timeout live 3000\n\
             sentinel known-replica live 127.0.0.1 {replica}\n",
            self.sentinel_ports[number],
            folder.path("").display(),
            id(number),
            self.first_port,
        );
        for other in (0..3).filter(|other| *other != number) {
            let port = self.sentinel_ports[other];
            let _ = writeln!(
                text,
                "sentinel known-sentinel live 127.0.0.1 {port} {}",
                id(other)
            );
        }
        let file = folder.write("sentinel.conf", text);
        let child = Command::new("/usr/bin/redis-server")
            .arg(file)
            .arg("--sentinel")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is missing; install redis-server");
        self.sentinels.push(child);
        self._others.push(folder);
    }

    pub fn request(&self) -> Request {
        let servers = self.sentinel_ports.iter();
        let servers: Vec<String> = servers.map(|port| format!("127.0.0.1:{port}")).collect();
        // The first one does not exist.
        let address = format!(
            "redis+sentinel://127.0.0.1:{},{}/live",
            free_port(),
            servers.join(",")
        );
        request(&self.first, &self.folder, "live:a").set("SSE_REDIS", address)
    }

    /// The number of a server: 0 is the first.
    pub fn server(&mut self, number: usize) -> &mut Redis {
        [&mut self.first, &mut self.second][number]
    }

    /// Makes a server a replica of the other one.
    pub fn follow_other(&mut self, number: usize) {
        let other = [self.second_port, self.first_port][number].to_string();
        self.server(number).connect_again();
        // (A Sentinel may do the same, and closes the connection.)
        let _ = self
            .server(number)
            .try_run(&["REPLICAOF", "127.0.0.1", &other]);
    }

    /// Asks a Sentinel for a failover; false if it refuses one now.
    pub fn fail_over(&self) -> bool {
        self.ask(0, "SENTINEL FAILOVER live", 1) == "+OK\r\n"
    }

    /// Whether all Sentinels name this server as the primary.
    pub fn is_named(&self, number: usize) -> bool {
        let port = [self.first_port, self.second_port][number].to_string();
        (0..3).all(|sentinel| {
            let question = "SENTINEL GET-MASTER-ADDR-BY-NAME live";
            let reply = self.ask(sentinel, question, 5);
            reply.lines().nth(4) == Some(port.as_str())
        })
    }

    /// The lines of a Sentinel's reply; the first one, if it is an error.
    fn ask(&self, sentinel: usize, question: &str, lines: usize) -> String {
        let port = self.sentinel_ports[sentinel];
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a sentinel");
        write!(stream, "{question}\r\n").expect("a sentinel");
        let mut reply = String::new();
        let mut reader = BufReader::new(stream);
        for _ in 0..lines {
            reader.read_line(&mut reply).expect("a reply");
            if reply.starts_with('-') {
                break;
            }
        }
        reply
    }

    /// Waits until the replica is the primary.
    pub fn await_failover(&mut self) {
        wait_for("the failover", || {
            // Sentinels close the connections of a server whose role they change.
            self.second.connect_again();
            let role = self.second.try_run(&["ROLE"])?;
            role.starts_with("master").then_some(())
        });
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        for sentinel in &mut self.sentinels {
            let _ = sentinel.kill();
            let _ = sentinel.wait();
        }
    }
}

#[test]
fn a_failover_to_a_replica_that_lacks_an_entry_is_a_gap() {
    let mut service = Service::start();
    let responder = Responder::start(&service.folder);
    service.first.add("live:a", "one");
    wait_for("the copy", || {
        (service.second.run(&["XLEN", "live:a"]) == "1").then_some(())
    });
    let request = service.request();
    let mut last_id = String::new();
    let got = follow(&responder, &request, &mut last_id, "one");
    assert_eq!(got, ["one"]);
    // The replica can neither stay connected nor connect again.
    service
        .second
        .run(&["CONFIG", "SET", "masteruser", "nobody", "masterauth", "x"]);
    let replica = ["CLIENT", "KILL", "TYPE", "replica"];
    service.first.run(&replica);
    service.first.add("live:a", "lost");
    let got = follow(&responder, &request, &mut last_id, "lost");
    assert_eq!(got, ["lost"]);
    service.first.kill();
    service.await_failover();
    service.second.add("live:a", "two");
    let got = follow(&responder, &request, &mut last_id, "two");
    assert_eq!(got, ["gap: {\"reason\":\"unknown-id\"}", "two"]);
    // Nothing is reported twice.
    service.second.add("live:a", "three");
    let got = follow(&responder, &request, &mut last_id, "three");
    assert_eq!(got, ["three"]);
    assert!(!responder.stderr().contains(Redis::PASSWORD));
}

#[test]
fn a_failover_is_followed_while_the_old_primary_stays_connected() {
    let mut service = Service::start();
    let responder = Responder::start(&service.folder);
    service.first.add("live:a", "one");
    let request = service.request();
    let mut last_id = String::new();
    let got = follow(&responder, &request, &mut last_id, "one");
    assert_eq!(got, ["one"]);
    let mut client = responder.ask(&request.clone().last_id(&last_id));
    client.head();
    wait_for("the copy", || {
        (service.second.run(&["XLEN", "live:a"]) == "1").then_some(())
    });
    // It accepts what is sent, and answers nothing.
    let first = Pid::from_raw(service.first.id() as i32);
    kill(first, Signal::SIGSTOP).unwrap();
    service.await_failover();
    service.second.add("live:a", "two");
    let got = follow(&responder, &request, &mut last_id, "two");
    assert_eq!(got, ["two"]);
    // What is published goes there too.
    let post = super::publish::post(&request, "text/plain", b"three");
    let mut published = responder.ask(&post);
    assert_eq!(published.status(), 201);
    let got = follow(&responder, &request, &mut last_id, "three");
    assert_eq!(got, ["three"]);
}

#[test]
fn a_room_goes_on_after_a_failover() {
    let mut service = Service::start();
    let (here, there) = (Folder::in_memory(), Folder::in_memory());
    let (here, there) = (Responder::start(&here), Responder::start(&there));
    let room = service
        .request()
        .set("SSE_STREAM", "room")
        .set("SSE_STREAM_KEY", "live:room")
        .set("SSE_PUBLISH_ALLOW", "anyone")
        .set("SSE_SESSION_GRACE", "60s");
    let mut ann = here.ask(&room.clone().query("nick=Ann"));
    let (session, _) = super::rooms::welcome(&ann.event());
    let as_bob = room.clone().query("nick=Bob");
    let mut bob = there.ask(&as_bob);
    let mut last_id = bob.event().id;
    let say = |text: &str| {
        let post = super::publish::post(&room, "text/plain", text.as_bytes());
        let post = post.set("SSE_STREAM", "room").set("SSE_REDIS_USER", "sse");
        let post = post.set("HTTP_X_SESSION_ID", session.as_str());
        wait_for(text, || (here.ask(&post).status() == 201).then_some(()));
    };
    say("one");
    let mut seen: Vec<String> = Vec::new();
    let mut read_until = |bob: &mut super::Client, text: &str| {
        while let Some(item) = bob.next() {
            let Item::Event(event) = item else { continue };
            if event.name == "unavailable" {
                continue;
            }
            last_id.clone_from(&event.id);
            seen.push(event.name.clone());
            if event.data.contains(&format!("\"{text}\"")) {
                return (true, last_id.clone());
            }
        }
        (false, last_id.clone())
    };
    assert!(read_until(&mut bob, "one").0);
    let whole = service.first.run(&["XLEN", "live:room"]);
    wait_for("the copy", || {
        (service.second.run(&["XLEN", "live:room"]) == whole).then_some(())
    });
    service.first.run(&["WAIT", "1", "0"]);
    service.first.kill();
    service.await_failover();
    say("two");
    let (mut is_there, mut id) = read_until(&mut bob, "two");
    wait_for("two", || {
        if !is_there {
            let mut bob = there.ask(&as_bob.clone().last_id(&id));
            (is_there, id) = read_until(&mut bob, "two");
        }
        is_there.then_some(())
    });
    // They are the members that they were: Bob saw only his own join, and no gap.
    let others = seen.iter().filter(|name| *name != "message");
    assert_eq!(others.collect::<Vec<_>>(), ["join"]);
}

#[test]
fn a_name_that_no_sentinel_knows_is_named_in_the_log() {
    let service = Service::start();
    let responder = Responder::start(&service.folder);
    let address = format!(
        "redis+sentinel://x:secret@127.0.0.1:{}/other",
        service.sentinel_ports[0]
    );
    let request = service.request().set("SSE_REDIS", address);
    let mut client = responder.ask(&request);
    client.says(&["unavailable: {\"reason\":\"not available now\"}"]);
    let said = "it watches no service of the name other; correct the name in SSE_REDIS";
    wait_for(said, || responder.stderr().contains(said).then_some(()));
    assert!(!responder.stderr().contains("secret"));
}

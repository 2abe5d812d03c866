//! Sentinels: the programs find the primary, follow a failover, and report what it lost.

use std::fmt::Write as _;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::follow::follow;
use super::peer::Request;
use super::support::folder::Folder;
use super::support::redis::{Redis, free_port};
use super::support::wait::wait_for;
use super::{Responder, request};

/// A primary, a replica and three sentinels.
struct Service {
    first: Redis,
    second: Redis,
    first_port: u16,
    sentinels: Vec<Child>,
    sentinel_ports: Vec<u16>,
    folder: Folder,
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
    fn start() -> Self {
        let folder = Folder::in_memory();
        let (first_port, second_port) = (free_port(), free_port());
        let first = server(&folder, first_port, &[]);
        let other = Folder::in_memory();
        let of = format!("127.0.0.1 {first_port}");
        let mut second = server(&other, second_port, &["--replicaof", &of]);
        wait_for("the replica", || {
            let role = second.run(&["ROLE"]);
            role.contains("\nconnected\n").then_some(())
        });
        let sentinel_ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
        let mut service = Self {
            first,
            second,
            first_port,
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
                std::net::TcpStream::connect(("127.0.0.1", *port)).ok()
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

    fn request(&self) -> Request {
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

    /// Waits until the replica is the primary.
    fn await_failover(&mut self) {
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

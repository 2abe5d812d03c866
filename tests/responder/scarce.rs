//! When a resource is exhausted, the response must not be that something is missing.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::peer::{Client, Folder, Request, Responder, Start};
use crate::support::root::can;

/// A 404 or a 500 ends an `EventSource` permanently; a client that is asked to reconnect does.
#[test]
fn who_comes_when_no_descriptor_is_left_for_its_file_is_asked_to_come_again() {
    let folder = Folder::in_memory();
    let root = folder.path("");
    let start = Start::at_socket(&folder).descriptors(64);
    let responder = start.set("SSE_HEARTBEAT", "25s").start();
    let mut clients = Vec::new();
    for number in 0..31 {
        let name = format!("{number}.log");
        folder.write(&name, "1\n");
        let request = Request::of("tail")
            .set("SSE_ROOT", root.to_str().unwrap())
            .set("PATH_INFO", format!("/{name}"));
        let mut client = responder.ask(&request);
        assert_eq!(client.status(), 200, "{number}: {}", client.stderr);
        clients.push(client);
    }
    // Some got that response; after the others have disconnected there is room.
    let asked_again = clients.iter().filter(|client| client.end.is_some()).count();
    assert!(asked_again < clients.len(), "{asked_again}");
    drop(clients);
    let request = Request::of("tail")
        .set("SSE_ROOT", root.to_str().unwrap())
        .set("PATH_INFO", "/30.log");
    let mut client = super::peer::wait_for("room", || {
        let mut client = responder.ask(&request);
        assert_eq!(client.status(), 200);
        let is_stream = client.next().is_some() && client.end.is_none();
        is_stream.then_some(client)
    });
    client.says(&["1"]);
    responder.signal(Signal::SIGTERM);
}

/// Sends a request, and returns what a new client gets within 3 s.
fn answered_soon(responder: &Responder, request: &Request) -> Client {
    let since = Instant::now();
    let mut client = responder.ask(request);
    assert_eq!(client.status(), 200, "{}", client.stderr);
    assert!(
        since.elapsed() < Duration::from_secs(3),
        "{:?}",
        since.elapsed()
    );
    client
}

#[test]
fn subscribers_that_read_by_themselves_leave_descriptors_for_refusing_others() {
    let folder = Folder::in_memory();
    let responder = Start::at_socket(&folder).descriptors(200).start();
    let mut clients = Vec::new();
    for number in 0..150 {
        let file = folder.write(&format!("{number}.log"), "1\n");
        clients.push(answered_soon(&responder, &Request::tail(&file)));
    }
    let mut refused = 0;
    for client in &mut clients {
        let first = client.next();
        refused += usize::from(client.end.is_some());
        assert!(first.is_some());
    }
    assert!((30..120).contains(&refused), "{refused}");
    assert!(
        responder.stderr().contains("LimitNOFILE"),
        "{}",
        responder.stderr()
    );
}

#[test]
fn bodies_that_do_not_come_do_not_hold_all_descriptors() {
    let folder = Folder::in_memory();
    let file = folder.write("a.jsonl", "");
    let responder = Start::at_socket(&folder).descriptors(100).start();
    let post = Request::of("publish")
        .method("POST")
        .set("SSE_FILE", file.to_str().unwrap())
        .set("SSE_PUBLISH_ALLOW", "anyone")
        .set("CONTENT_TYPE", "text/plain")
        .set("CONTENT_LENGTH", "10");
    responder.know(&post);
    responder.know(&Request::of("clock"));
    let slow: Vec<_> = (0..150)
        .map(|_| {
            let mut client = responder.connect();
            client.begin(&post);
            client
        })
        .collect();
    for _ in 0..3 {
        answered_soon(&responder, &Request::of("clock"));
    }
    drop(slow);
}

#[test]
fn a_session_for_which_no_descriptor_is_left_is_no_500() {
    let folder = Folder::in_memory();
    let spool = folder.path("spool");
    let responder = Start::at_socket(&folder).descriptors(64).start();
    let request = Request::of("session").set("SSE_SPOOL", spool.to_str().unwrap());
    let clients: Vec<_> = (0..50)
        .map(|_| answered_soon(&responder, &request))
        .collect();
    drop(clients);
}

#[test]
fn an_epoll_ctl_that_fails_ends_no_responder() {
    if !can("strace", &["strace", "-o", "/dev/null", "true"]) {
        return;
    }
    // The first two are from the start: signals and the listener.
    for when in ["3", "4", "5", "3+2"] {
        let folder = Folder::in_memory();
        let file = folder.write("a.log", "1\n");
        let inject = format!("inject=epoll_ctl:error=ENOMEM:when={when}");
        let strace = ["strace", "-D", "-qq", "-o", "/dev/null", "-e", &inject];
        let responder = Start::at_socket(&folder).by(&strace).start();
        for line in ["1", "2", "3"] {
            super::peer::wait_for("a stream", || {
                let mut client = responder.try_connect().ok()?;
                client.may_break();
                let request = Request::tail(&file).set("SSE_BACKLOG", "1");
                client.try_ask(&request).ok()?;
                super::peer::wait_for("an event or the end", || {
                    client.read_some(4096);
                    let item = client.ready();
                    (client.is_closed || item.is_some()).then_some(item)
                })
            });
            folder.append("a.log", format!("{line}\n"));
        }
        responder.signal(Signal::SIGTERM);
    }
}

//! Connections: hostile, kept, slow and many.

use std::fs;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::hostile::cases;
use crate::stage::{Folder, Httpd, Start, get};

#[test]
fn each_hostile_request_is_answered_once_and_its_connection_closed() {
    let folder = Folder::new();
    fs::write(folder.path("a.log"), "one\n").unwrap();
    let httpd = Httpd::of(&folder, &["a.log"]);
    for (name, bytes, status) in cases() {
        // (The name is one that is not answered on this address; the head is judged first.)
        let mut client = httpd.ask(&bytes);
        let reply = String::from_utf8_lossy(&client.rest()).into_owned();
        let lines = reply.matches("\r\nDate: ").count();
        assert_eq!(lines, 1, "{name}: {reply}");
        let is_answered_before_its_body =
            reply.starts_with("HTTP/1.1 421 ") || reply.starts_with("HTTP/1.1 404 ");
        assert!(
            reply.starts_with(&format!("HTTP/1.1 {status} ")) || is_answered_before_its_body,
            "{name}: {reply}"
        );
    }
    httpd.ask(get("/events/a.log")).until("data: one\n\n");
}

#[test]
fn a_kept_connection_serves_one_request_after_the_other() {
    let folder = Folder::new();
    fs::write(folder.path("a.log"), "one\n").unwrap();
    let httpd = Httpd::of(&folder, &["a.log"]);
    let mut client = httpd.connect();
    for _ in 0..3 {
        client.send(get("/site.js"));
        assert_eq!(client.response().status(), 200);
        client.send(get("/nothing"));
        assert_eq!(client.response().status(), 404);
        // A POST to a stream that takes none; its body is let pass.
        client.send(
            "POST /events/a.log HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
        );
        assert_eq!(client.response().status(), 405);
        client.send("OPTIONS /events/a.log HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(client.response().status(), 204);
    }
    client.send(get("/events/a.log"));
    client.until("data: one\n\n");
}

#[test]
fn requests_that_have_come_before_the_end_are_answered_and_those_of_new_connections() {
    let folder = Folder::new();
    fs::write(folder.path("a.log"), "one\n").unwrap();
    let mut httpd = Httpd::of(&folder, &["a.log"]);
    let mut stream = httpd.ask(get("/events/a.log"));
    stream.until("data: one\n\n");
    let mut kept = httpd.ask(get("/site.js"));
    assert_eq!(kept.response().status(), 200);
    let mut fresh = httpd.connect();
    // It has been accepted when a later one has been answered.
    assert_eq!(httpd.get("/site.js").status(), 200);
    let mut asking: Vec<_> = (0..50).map(|_| httpd.ask(get("/site.js"))).collect();
    httpd.signal(Signal::SIGTERM);
    for client in &mut asking {
        assert_eq!(client.response().status(), 200);
    }
    drop(asking);
    let end = String::from_utf8(stream.rest()).unwrap();
    assert!(end.ends_with('\n') && end.contains("retry: "), "{end:?}");
    assert!(kept.rest().is_empty());
    fresh.send(get("/site.js"));
    assert_eq!(fresh.response().status(), 200);
    assert!(fresh.rest().is_empty());
    assert_eq!(httpd.code(), 0);
}

#[test]
fn pipelined_requests_are_answered_in_order_and_a_stream_is_the_last() {
    let folder = Folder::new();
    fs::write(folder.path("a.log"), "one\n").unwrap();
    let httpd = Httpd::of(&folder, &["a.log"]);
    let paths = ["/site.js", "/nothing", "/config.js", "/style.css"];
    let requests: String = paths.iter().map(|path| get(path)).collect();
    // Ten times over: more than the socket's buffers hold of responses.
    let mut client = httpd.ask(requests.repeat(300) + &get("/events/a.log") + &get("/site.js"));
    for _ in 0..300 {
        for status in [200, 404, 200, 200] {
            assert_eq!(client.response().status(), status);
        }
    }
    client.until("data: one\n\n");
    client.socket.shutdown(Shutdown::Write).unwrap();
    let rest = String::from_utf8(client.rest()).unwrap();
    assert!(!rest.contains("HTTP/1.1"), "{rest}");
}

#[test]
fn a_client_of_a_stream_that_closes_its_side_has_left() {
    let folder = Folder::new();
    fs::write(folder.path("a.log"), "one\n").unwrap();
    let httpd = Httpd::of(&folder, &["a.log"]);
    let mut client = httpd.ask(get("/events/a.log"));
    client.until("data: one\n\n");
    client.socket.shutdown(Shutdown::Write).unwrap();
    client.rest();
}

#[test]
fn a_client_that_closes_its_side_after_a_request_gets_the_response() {
    let folder = Folder::new();
    fs::write(folder.path("a.log"), "").unwrap();
    let httpd = Httpd::of(&folder, &["a.log"]);
    let mut client = httpd.ask(get("/style.css").repeat(200));
    client.socket.shutdown(Shutdown::Write).unwrap();
    for _ in 0..200 {
        assert_eq!(client.response().status(), 200);
    }
    assert_eq!(client.rest(), b"");
}

#[test]
fn who_sends_a_head_too_slowly_or_nothing_is_disconnected_and_others_are_served() {
    let folder = Folder::new();
    fs::write(folder.path("a.log"), "one\n").unwrap();
    let httpd = Start::new(&folder)
        .argument(folder.path("a.log"))
        .argument("--request-timeout")
        .argument("300ms")
        .argument("--idle-timeout")
        .argument("500ms")
        .start();
    let mut silent = httpd.connect();
    let mut slow = httpd.ask("GET / HTTP/1.1\r\nHost: loc");
    let mut unfinished =
        httpd.ask("POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhe");
    let mut idle = httpd.ask(get("/site.js"));
    let began = Instant::now();
    assert_eq!(idle.response().status(), 200);
    assert_eq!(unfinished.response().status(), 404);
    assert_eq!(slow.rest(), b"");
    assert_eq!(silent.rest(), b"");
    assert_eq!(unfinished.rest(), b"");
    assert_eq!(idle.rest(), b"");
    assert!(began.elapsed() >= Duration::from_millis(300));
    httpd.ask(get("/events/a.log")).until("data: one\n\n");
}

#[test]
fn a_server_without_descriptors_left_serves_whoever_asks() {
    let folder = Folder::new();
    fs::write(folder.path("a.log"), "one\n").unwrap();
    let httpd = Start::new(&folder)
        .descriptors(64)
        .argument(folder.path("a.log"))
        .start();
    // Kept connections, and silent ones, more than there are descriptors.
    let mut others = Vec::new();
    for number in 0..100 {
        let mut client = httpd.connect();
        if number % 2 == 0 {
            client.send(get("/site.js"));
        }
        others.push(client);
    }
    let end = Instant::now() + crate::stage::DEADLINE;
    loop {
        // One may be evicted itself while it is new.
        let mut client = httpd.ask(get("/site.js"));
        let reply = client.socket.set_read_timeout(Some(Duration::from_secs(1)));
        reply.unwrap();
        let mut first = [0; 12];
        if std::io::Read::read_exact(&mut client.socket, &mut first).is_ok() {
            assert_eq!(&first, b"HTTP/1.1 200");
            break;
        }
        assert!(Instant::now() < end, "nobody is served");
    }
}

//! Clients that use HTTP in unusual ways, and ones that want what they are not given.

use std::fs;
use std::io::Write as _;
use std::net::Shutdown;
use std::time::Duration;

use crate::hostile::cases;
use crate::stage::{Client, Folder, Start, get};

const FILE: &str = "\
[/log]
SSE_STREAM = tail
SSE_FILE = {folder}/log.jsonl
[/publish]
SSE_STREAM = publish
SSE_FILE = {folder}/log.jsonl
SSE_PUBLISH_ALLOW = anyone
[/logs]
SSE_STREAM = tail
SSE_ROOT = {folder}/logs
";

fn start(folder: &Folder) -> Start {
    folder.make("logs/sub");
    folder.write("logs/a b.log", "inside\n");
    folder.write("logs/.hidden", "hidden\n");
    folder.write("logs/sub/c.log", "below\n");
    folder.write("outside.log", "outside\n");
    folder.write("log.jsonl", "{\"data\":\"one\"}\n");
    let text = FILE.replace("{folder}", &folder.path("").display().to_string());
    fs::write(folder.path("streams.conf"), text).unwrap();
    let start = Start::new(folder).argument("--config");
    start.argument(folder.path("streams.conf"))
}

fn post(fields: &str, body: &str) -> String {
    format!(
        "POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n{fields}\r\n{body}"
    )
}

/// How many responses these are. (The body of none contains such a line.)
fn responses(bytes: &[u8]) -> usize {
    String::from_utf8_lossy(bytes).matches("\r\nDate: ").count()
}

#[test]
fn each_hostile_request_that_is_cut_anywhere_gets_one_response_or_none() {
    let folder = Folder::in_memory();
    let httpd = start(&folder).start();
    for (name, bytes, _) in cases() {
        // Each byte is tried by the tests of the machine.
        for cut in (1..bytes.len().min(200)).step_by(7) {
            let mut client = httpd.ask(&bytes[..cut]);
            client.socket.shutdown(Shutdown::Write).unwrap();
            let reply = client.rest();
            assert!(
                responses(&reply) <= 1,
                "{name} to {cut}: {}",
                reply.escape_ascii()
            );
        }
    }
    httpd.ask(get("/log")).until("data: one\n\n");
}

#[test]
fn a_head_at_the_limits_is_served_and_one_beyond_is_not() {
    let folder = Folder::in_memory();
    let httpd = start(&folder).start();
    let fields = |count: usize| "A: b\r\n".repeat(count);
    let of = |fields: &str| format!("GET /nothing HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    assert_eq!(httpd.ask(of(&fields(63))).response().status(), 404);
    assert_eq!(httpd.ask(of(&fields(64))).response().status(), 431);
    let of_bytes = |bytes: usize| {
        let rest = bytes - of("A: \r\n").len();
        of(&format!("A: {}\r\n", "b".repeat(rest)))
    };
    assert_eq!(of_bytes(16 * 1024).len(), 16 * 1024);
    assert_eq!(httpd.ask(of_bytes(16 * 1024)).response().status(), 404);
    assert_eq!(httpd.ask(of_bytes(16 * 1024 + 1)).response().status(), 431);
}

/// A client that is still writing would lose the response to a reset.
#[test]
fn a_client_that_uploads_far_too_much_gets_its_413() {
    let folder = Folder::in_memory();
    let httpd = start(&folder).start();
    for fields in [
        "Content-Length: 30000000\r\n",
        "Transfer-Encoding: chunked\r\n",
    ] {
        let mut client = httpd.ask(post(fields, ""));
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        let piece = if fields.contains("chunked") {
            chunk.clone()
        } else {
            "x".repeat(chunk.len())
        };
        for _ in 0..400 {
            if client.socket.write_all(piece.as_bytes()).is_err() {
                break;
            }
        }
        assert_eq!(client.response().status(), 413, "{fields}");
    }
}

/// It sends for longer than the server waits for a client that is silent.
#[test]
fn a_client_that_uploads_too_much_slowly_gets_its_413() {
    let folder = Folder::in_memory();
    let httpd = start(&folder).start();
    let mut client = httpd.ask(post("Content-Length: 300000\r\n", ""));
    for _ in 0..30 {
        client
            .socket
            .write_all(&[b'x'; 10_000])
            .expect("it is still read");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(client.response().status(), 413);
}

#[test]
fn a_client_that_closes_its_side_after_its_post_gets_the_response() {
    let folder = Folder::in_memory();
    let httpd = start(&folder).start();
    for sync in ["", "Expect: 100-continue\r\n"] {
        let mut client = httpd.ask(post(&format!("{sync}Content-Length: 3\r\n"), "two"));
        client.socket.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.response().status(), 201);
        assert_eq!(client.rest(), b"");
    }
    // One whose body is not whole has nothing to get, and nothing is published.
    let mut client = httpd.ask(post("Content-Length: 9\r\n", "half"));
    client.socket.shutdown(Shutdown::Write).unwrap();
    let reply = client.rest();
    assert!(
        !reply.starts_with(b"HTTP/1.1 201"),
        "{}",
        reply.escape_ascii()
    );
    assert!(!folder.read("log.jsonl").contains("half"));
}

#[test]
fn a_client_that_waits_to_be_told_to_go_on_is_refused_without_that() {
    let folder = Folder::in_memory();
    let httpd = start(&folder).start();
    let expects = "Expect: 100-continue\r\n";
    let stream = post(&format!("{expects}Content-Length: 3\r\n"), "").replace("/publish", "/log");
    let html = post(&format!("{expects}Content-Length: 3\r\n"), "").replace("plain", "html");
    for (request, status) in [
        (
            post(&format!("{expects}Content-Length: 99999999\r\n"), ""),
            413,
        ),
        (stream, 405),
        (html, 415),
    ] {
        let mut client = httpd.ask(&request);
        let response = client.response();
        assert_eq!(response.status(), status, "{request}");
        assert_eq!(response.field("Connection"), Some("close"), "{request}");
        assert_eq!(client.rest(), b"", "{request}");
    }
}

#[test]
fn a_stream_is_only_the_last_of_requests_that_are_sent_together() {
    let folder = Folder::in_memory();
    let httpd = start(&folder).start();
    let head = get("/log").replace("GET", "HEAD");
    let options = get("/log").replace("GET", "OPTIONS");
    let one = post("Content-Length: 3\r\n", "two");
    let mut client = httpd.ask([&*head, &options, &one, &head, &get("/log"), &one].concat());
    let found = client.until("\r\n\r\n");
    assert!(found.contains("text/event-stream"), "{found}");
    assert!(!found.contains("Connection: close"), "{found}");
    assert_eq!(client.response().status(), 204);
    assert_eq!(client.response().status(), 201);
    client.until("\r\n\r\n");
    client.until("data: one\n\n");
    client.until("data: two\n\n");
    // What came after the request for the stream was not served.
    assert_eq!(folder.read("log.jsonl").lines().count(), 2);
}

#[test]
fn an_old_client_keeps_its_connection_if_it_asks_for_that_and_gets_no_stream_in_it() {
    let folder = Folder::in_memory();
    let httpd = start(&folder).start();
    let of = |path: &str| format!("GET {path} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let mut client = httpd.connect();
    for _ in 0..3 {
        client.send(of("/nothing"));
        let response = client.response();
        assert_eq!(response.status(), 404);
        assert_eq!(response.field("Connection"), Some("keep-alive"));
    }
    client.send(of("/log"));
    let head = client.until("\r\n\r\n");
    assert!(head.contains("Connection: close\r\n"), "{head}");
    client.until("data: one\n\n");
}

#[test]
fn another_protocol_is_not_switched_to() {
    let folder = Folder::in_memory();
    let httpd = start(&folder).start();
    for fields in [
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
        "TE: trailers\r\nConnection: TE\r\n",
    ] {
        let request = format!("GET /log HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
        let mut client = httpd.ask(request);
        let head = client.until("\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        client.until("data: one\n\n");
    }
}

#[test]
fn no_path_leads_out_of_a_folder() {
    let folder = Folder::in_memory();
    let httpd = start(&folder).start();
    for path in ["/logs/a%20b.log", "/logs/%61%20b.log", "/%6cogs/a%20b.log"] {
        httpd.ask(get(path)).until("data: inside\n\n");
    }
    httpd.ask(get("/logs/sub/c.log")).until("data: below\n\n");
    httpd.ask(get("/logs/sub%2Fc.log")).until("data: below\n\n");
    for path in [
        "/logs",
        "/logs/",
        "/logs//a%20b.log/",
        "/logs/a%20b.log/",
        "/logs/sub/",
        "/logs/sub",
        "/logs/.hidden",
        "/logs/%2ehidden",
        "/logs/../outside.log",
        "/logs/%2e%2e/outside.log",
        "/logs/..%2foutside.log",
        "/logs/sub/../../outside.log",
        "/logs/%252e%252e/outside.log",
        "/logs/a%20b.log%0a",
        "/logs/a%20b.log%0d%0aX:%20y",
        "/logs/\\..\\outside.log",
        "/log/",
        "/log/x",
        "//log",
        "/LOG",
        "/",
    ] {
        let response = httpd.get(path);
        assert_eq!(response.status(), 404, "{path}: {}", response.head);
        assert!(!response.text().contains("outside"), "{path}");
    }
    assert_eq!(httpd.get("/logs/a%00b.log").status(), 400);
}

/// Whether the server has closed it; what comes is discarded.
fn is_closed(client: &mut Client) -> bool {
    client.socket.set_nonblocking(true).unwrap();
    loop {
        match std::io::Read::read(&mut client.socket, &mut [0; 4096]) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

#[test]
fn idle_connections_are_the_first_to_go_and_slow_heads_the_next() {
    let folder = Folder::in_memory();
    let httpd = start(&folder)
        .descriptors(128)
        .argument("--request-timeout=1h")
        .argument("--idle-timeout=1h")
        .start();
    let mut stream = httpd.ask(get("/log"));
    stream.until("data: one\n\n");
    let mut slow: Vec<Client> = (0..40)
        .map(|_| httpd.ask("GET /nothing HTTP/1.1\r\nHost: localhost\r\nA"))
        .collect();
    let mut idle: Vec<Client> = (0..40)
        .map(|_| {
            let mut client = httpd.ask(get("/nothing"));
            assert_eq!(client.response().status(), 404);
            client
        })
        .collect();
    // Newer ones than a tenth of a second are not evicted at all.
    std::thread::sleep(Duration::from_millis(150));
    let gone = |clients: &mut Vec<Client>| {
        clients.retain_mut(|client| !is_closed(client));
        40 - clients.len()
    };
    // Each of these takes a descriptor: first those of the idle connections.
    let mut others = Vec::new();
    while gone(&mut idle) < 20 {
        assert!(others.len() < 120, "{} are gone", gone(&mut idle));
        let mut client = httpd.ask("GET /nothing HTTP/1.1\r\nHost: localhost\r\nB");
        client.send(": c");
        others.push(client);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(gone(&mut slow), 0);
    while gone(&mut slow) < 10 {
        assert!(others.len() < 300, "{} are gone", gone(&mut slow));
        others.push(httpd.ask("GET /nothing HTTP/1.1\r\nHost: localhost\r\nB"));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(gone(&mut idle), 40);
    folder.append("log.jsonl", "{\"data\":\"two\"}\n");
    stream.until("data: two\n\n");
    assert_eq!(httpd.get("/nothing").status(), 404);
}

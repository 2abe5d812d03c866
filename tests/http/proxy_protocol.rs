//! `--proxy-protocol`: who may send a header, and what follows from it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::stage::{Client, Folder, Httpd, Start, get, wait_for};

/// One that follows a.log, behind the trusted proxies of this machine and 10.0.0.0/8.
fn behind_proxies(folder: &Folder) -> Httpd {
    start(folder, &["127.0.0.0/8", "10.0.0.0/8"]).start()
}

fn start(folder: &Folder, proxies: &[&str]) -> Start {
    fs::write(folder.path("a.log"), "one\n").unwrap();
    let start = Start::new(folder).argument(folder.path("a.log"));
    let start = start.set("SSE_LOG", folder.path("log"));
    let start = start.argument("--proxy-protocol");
    (proxies.iter()).fold(start, |start, network| {
        start.argument("--trusted-proxy").argument(network)
    })
}

const V1: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n";

fn v2(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let prefix = [command, family, length[0], length[1]];
    [b"\r\n\r\n\0\r\nQUIT\n", &prefix[..], content].concat()
}

/// The stream of a client that has sent this before its request, which has these fields.
#[track_caller]
fn stream(httpd: &Httpd, header: &[u8], fields: &str) -> Client {
    let head = format!("GET /events/a.log HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    let mut client = httpd.ask([header, head.as_bytes()].concat());
    client.until("data: one\n\n");
    client
}

fn log(folder: &Folder) -> String {
    fs::read_to_string(folder.path("log")).unwrap()
}

/// The clients of the streams that have ended, according to the log.
fn logged_clients(folder: &Folder) -> Vec<String> {
    let text = log(folder);
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let ended = lines.filter(|line: &Value| line["message"] == "stream ended");
    ended
        .map(|line| line["client"].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// Which client the log names for a stream once that has ended.
#[track_caller]
fn logged_client(folder: &Folder, httpd: &Httpd, header: &[u8], fields: &str) -> String {
    let count = logged_clients(folder).len();
    drop(stream(httpd, header, fields));
    wait_for("the line of the stream", || {
        logged_clients(folder).get(count).cloned()
    })
}

#[test]
fn the_client_is_who_the_header_names() {
    let folder = Folder::new();
    let httpd = behind_proxies(&folder);
    let v4 = [192, 0, 2, 1, 198, 51, 100, 2, 0xDC, 4, 1, 187];
    assert_eq!(logged_client(&folder, &httpd, V1, ""), "192.0.2.1");
    assert_eq!(
        logged_client(&folder, &httpd, &v2(0x21, 0x11, &v4), ""),
        "192.0.2.1"
    );
    let with_fields = [&v4[..], &[0xE0; 3000]].concat();
    let header = v2(0x21, 0x11, &with_fields);
    assert_eq!(logged_client(&folder, &httpd, &header, ""), "192.0.2.1");
    let v6 = b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n";
    assert_eq!(logged_client(&folder, &httpd, v6, ""), "2001:db8::1");
    for own in [&b"PROXY UNKNOWN\r\n"[..], &v2(0x20, 0, &[])] {
        assert_eq!(logged_client(&folder, &httpd, own, ""), "127.0.0.1");
    }
}

#[test]
fn a_header_that_comes_byte_by_byte_is_read() {
    let folder = Folder::new();
    let httpd = behind_proxies(&folder);
    let mut client = httpd.connect();
    for byte in [V1, get("/events/a.log").as_bytes()].concat() {
        client.send([byte]);
    }
    client.until("data: one\n\n");
}

#[test]
fn forwarded_fields_are_those_of_the_proxied_peer() {
    let folder = Folder::new();
    let httpd = behind_proxies(&folder);
    let both = "Forwarded: for=198.51.100.7\r\nX-Forwarded-For: 198.51.100.8\r\n";
    // It is no trusted proxy itself.
    assert_eq!(logged_client(&folder, &httpd, V1, both), "192.0.2.1");
    let inner = b"PROXY TCP4 10.0.0.1 198.51.100.2 56324 443\r\n";
    assert_eq!(logged_client(&folder, &httpd, inner, both), "198.51.100.7");
    let one = "X-Forwarded-For: 198.51.100.8\r\n";
    assert_eq!(logged_client(&folder, &httpd, inner, one), "198.51.100.8");
}

#[test]
fn whoever_is_no_trusted_proxy_is_disconnected_with_and_without_a_header() {
    let folder = Folder::new();
    let httpd = start(&folder, &["10.0.0.0/8"]).start();
    for header in [V1, b""] {
        let request = [header, get("/events/a.log").as_bytes()].concat();
        assert_eq!(httpd.ask(request).rest(), b"");
    }
    let expected = "127.0.0.1: not one of --trusted-proxy";
    wait_for("the warning", || {
        log(&folder).contains(expected).then_some(())
    });
}

#[test]
fn what_is_no_header_is_disconnected_without_a_response() {
    let folder = Folder::new();
    let httpd = behind_proxies(&folder);
    let request = get("/events/a.log");
    for header in [
        &b""[..],
        b"PROXY TCP4 192.0.2.1\r\n",
        b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"\r\n\r\n",
        &v2(0x31, 0x11, &[0; 12]),
        &v2(0x21, 0x11, &[0; 11]),
        &v2(0x21, 0x11, &[0; 5000]),
        &b"PROXY UNKNOWN ".repeat(10),
    ] {
        let wire = [header, request.as_bytes()].concat();
        assert_eq!(httpd.ask(wire).rest(), b"", "{}", header.escape_ascii());
    }
    assert!(log(&folder).contains("no PROXY protocol header"));
    // One header a connection; a second one is no request.
    let twice = [V1, V1, request.as_bytes()].concat();
    assert_eq!(httpd.ask(twice).response().status(), 400);
    stream(&httpd, V1, "");
}

#[test]
fn a_header_or_the_head_after_it_that_takes_too_long_is_disconnected() {
    let folder = Folder::new();
    let start = start(&folder, &["127.0.0.1"]);
    let httpd = start
        .argument("--request-timeout")
        .argument("300ms")
        .start();
    let began = Instant::now();
    let mut slow: Vec<_> = [&b""[..], b"PRO", &V1[..20], V1, b"\r\n\r\n\0\r\nQ"]
        .map(|start| httpd.ask(start))
        .into();
    let mut with_head = httpd.ask([V1, b"GET /"].concat());
    for client in slow.iter_mut().chain([&mut with_head]) {
        assert_eq!(client.rest(), b"");
    }
    let most = Duration::from_secs(5);
    assert!(began.elapsed() >= Duration::from_millis(300) && began.elapsed() < most);
}

#[test]
fn the_address_that_the_client_connected_to_decides_about_its_host() {
    let folder = Folder::new();
    let httpd = behind_proxies(&folder);
    let status = |header: &[u8]| {
        let head = b"GET / HTTP/1.1\r\nHost: logs.example\r\n\r\n";
        httpd.ask([header, head].concat()).response().status()
    };
    assert_eq!(status(V1), 200);
    assert_eq!(status(b"PROXY TCP4 127.0.0.1 127.0.0.1 1 80\r\n"), 421);
    assert_eq!(status(b"PROXY UNKNOWN\r\n"), 421);
}

#[test]
fn the_peers_of_a_socket_in_the_file_system_are_trusted() {
    let folder = Folder::new();
    fs::write(folder.path("a.log"), "one\n").unwrap();
    let socket = folder.path("socket");
    let mut httpd = Start::bare(&folder)
        .set("SSE_LOG", folder.path("log"))
        .argument("--listen")
        .argument(format!("unix:{}", socket.display()))
        .argument("--proxy-protocol")
        .argument(folder.path("a.log"))
        .spawn();
    httpd.line();
    let mut client = UnixStream::connect(&socket).unwrap();
    let request = [V1, get("/events/a.log").as_bytes()].concat();
    client.write_all(&request).unwrap();
    let mut first = [0; 15];
    client.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    drop(client);
    wait_for("the line of the stream", || {
        (logged_clients(&folder) == ["192.0.2.1"]).then_some(())
    });
}

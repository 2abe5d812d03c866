//! The doctor's own conduct.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::servers::gateway::{Gateway, Site};
use crate::stage::diagnose;
use crate::support::folder::append;

/// A server that answers each connection by `answer`, and keeps it open. It notes requests.
struct Server {
    port: u16,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
}

fn server(answer: &'static str) -> Server {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let server = Server {
        port: listener.local_addr().expect("it listens").port(),
        connections: Arc::default(),
        requests: Arc::default(),
    };
    let (connections, requests) = (
        Arc::clone(&server.connections),
        Arc::clone(&server.requests),
    );
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            connections.fetch_add(1, Ordering::SeqCst);
            let requests = Arc::clone(&requests);
            std::thread::spawn(move || {
                let mut buffer = [0; 8192];
                while let Ok(count) = stream.read(&mut buffer) {
                    if count == 0 {
                        return;
                    }
                    let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
                    requests.lock().expect("no panic").push(text);
                    let _ = stream.write_all(answer.as_bytes());
                }
            });
        }
    });
    server
}

#[test]
fn it_opens_four_connections_at_most_and_posts_nothing() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\nb\r\ndata: one\n\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: /a\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
        "",
        "SSH-2.0-x\r\n",
    ] {
        let server = server(answer);
        diagnose(server.port, "/", "2s", &[]);
        let count = server.connections.load(Ordering::SeqCst);
        assert!((1..=4).contains(&count), "{count}: {answer}");
        for request in server.requests.lock().expect("no panic").iter() {
            assert!(
                request.starts_with("GET ") || request.starts_with("HEAD "),
                "{request}"
            );
        }
    }
}

#[test]
fn nothing_listens() {
    let port = {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        listener.local_addr().expect("it listens").port()
    };
    let report = diagnose(port, "/", "2s", &[]);
    assert_eq!(report.code, 111);
    assert!(
        report.check("connect")["text"]
            .as_str()
            .is_some_and(|text| text.contains("refused"))
    );
}

#[test]
fn the_state_is_a_line() {
    let server = server("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: one\n\n");
    let output = Command::new(env!("CARGO_BIN_EXE_sse-doctor"))
        .args([
            "--watch",
            "--for",
            "1s",
            &format!("http://127.0.0.1:{}/", server.port),
        ])
        .output()
        .expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.lines()
            .last()
            .is_some_and(|line| line.contains("1 events")),
        "{text}"
    );
    assert_eq!(output.status.code(), Some(0));
    // Its connections end with it.
    std::thread::sleep(Duration::from_millis(1));
}

/// A dozen connections, one after the other, of which some wait for a second stream's first bytes.
#[test]
fn the_probe_of_our_own_server_finds_nothing() {
    let site = Site::with(Gateway::Nginx).start();
    append(&site.tail_file(), "{\"data\":1}\n{\"data\":2}\n");
    let url = format!("http://localhost:{}/events/tail", site.port());
    let output = Command::new(env!("CARGO_BIN_EXE_sse-doctor"))
        .args(["probe", "--for", "1s", &url])
        .output()
        .expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.starts_with("TAP version 13\n1..26\n"), "{text}");
    assert!(!text.contains("not ok"), "{text}");
    assert!(
        text.contains("\nok 15 - it gets the events after that id\n"),
        "{text}"
    );
}

#[test]
fn the_probe_tells_what_is_no_stream() {
    let server = server("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n");
    let output = Command::new(env!("CARGO_BIN_EXE_sse-doctor"))
        .args([
            "probe",
            "--for",
            "1s",
            &format!("http://127.0.0.1:{}/", server.port),
        ])
        .output()
        .expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("not ok 2 - the type is text/event-stream"),
        "{text}"
    );
}

#[test]
fn the_limits_of_debians_configurations_are_judged() {
    for (folder, culprit) in [
        ("/etc/nginx", "worker_connections"),
        ("/etc/apache2", "MaxRequestWorkers"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_sse-doctor"))
            .args(["--local", folder, "--subscribers", "100000"])
            .output()
            .expect("it starts");
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(&format!("FAULT   {culprit}: ")), "{text}");
        assert!(text.contains(&format!("by {folder}/")), "{text}");
    }
}

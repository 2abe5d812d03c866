//! The requests of `sse-publish`, and how it handles the response.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::server::{Reply, Server, answer};
use crate::stage::{Folder, publish};

fn created(id: &str) -> Reply {
    let body = format!("{{\"id\":\"{id}\"}}\n");
    answer("201 Created", "Content-Type: application/json\r\n", &body)
}

fn error(status: &str, fields: &str) -> Reply {
    answer(status, fields, "{\"error\":\"not \\u001b[2Jallowed\"}\n")
}

/// Publishes once, and gives the body that was sent.
#[track_caller]
fn sent(arguments: &[&str], stdin: impl AsRef<[u8]>) -> String {
    let server = Server::start([created("12-ab")]);
    let url = server.url();
    let arguments = [&*url].into_iter().chain(arguments.iter().copied());
    assert_eq!(publish(arguments).told(stdin).end().with(0), "12-ab\n");
    let request = server.requests().remove(0);
    assert!(request.head.starts_with("POST /stream HTTP/1.1\r\n"));
    assert_eq!(request.field("Content-Type"), Some("application/json"));
    request.body
}

#[test]
fn text_is_sent_as_json() {
    assert_eq!(sent(&["héllo\n"], ""), r#"{"data":"héllo\n"}"#);
    assert_eq!(sent(&[""], ""), r#"{"data":""}"#);
    assert_eq!(sent(&[], "a\r\nb\n\n"), r#"{"data":"a\r\nb\n"}"#);
    assert_eq!(sent(&[], b"\xff\0"), "{\"data\":\"\u{FFFD}\\u0000\"}");
    let body = sent(&["--event", "x\"\ny", "--", "--json"], "");
    assert_eq!(body, r#"{"event":"x\"\ny","data":"--json"}"#);
    let body = sent(&["--json", "--event=x"], " {\"a\":\n1} \n");
    assert_eq!(body, "{\"event\":\"x\",\"data\":{\"a\":\n1}}");
}

#[test]
fn each_line_is_published_when_it_comes() {
    let server = Server::start([created("1"), created("2"), created("3")]);
    let mut publisher = publish(["--lines", &server.url()]);
    publisher.say("a\n");
    publisher.wait_for_output("1\n");
    publisher.say("\nla");
    publisher.wait_for_output("2\n");
    assert_eq!(publisher.told("st").end().with(0), "1\n2\n3\n");
    let bodies: Vec<_> = server.requests().into_iter().map(|r| r.body).collect();
    let expected = [r#"{"data":"a"}"#, r#"{"data":""}"#, r#"{"data":"last"}"#];
    assert_eq!(bodies, expected);
}

#[test]
fn lines_share_a_connection_and_survive_its_end() {
    let kept = |id: &str| {
        let body = format!("{{\"id\":\"{id}\"}}\n");
        let length = body.len();
        format!("HTTP/1.1 201 Created\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
    };
    // The server has disconnected before the third line without announcing it.
    let server = Server::start([Reply::Several(vec![kept("1"), kept("2")]), created("3")]);
    let mut publisher = publish(["--lines", &server.url()]);
    publisher.say("a\nb\n");
    publisher.wait_for_output("1\n2\n");
    server.wait_for_end_of_connection(1);
    publisher.say("c\n");
    assert_eq!(publisher.end().with(0), "1\n2\n3\n");
}

#[test]
fn the_first_line_that_fails_is_the_last() {
    let server = Server::start([created("1")]);
    let ended = publish(["--lines", "--json", &server.url()])
        .told("1\n\n{\n2\n")
        .end();
    let said = "sse-publish: line 3: not JSON: ";
    assert!(ended.errors.starts_with(said), "{}", ended.errors);
    assert_eq!(ended.with(100), "1\n");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_refusal_is_told_in_the_servers_words_and_not_repeated() {
    for (status, code) in [
        ("400 Bad Request", 22),
        ("401 Unauthorized", 22),
        ("403 Forbidden", 22),
        ("413 Content Too Large", 22),
        ("301 Moved Permanently", 22),
        ("408 Request Timeout", 111),
        ("429 Too Many Requests", 111),
        ("500 Internal Server Error", 111),
        ("503 Service Unavailable", 111),
    ] {
        let server = Server::start([error(status, "Location: /x\r\n"), created("1")]);
        let url = server.url();
        let said = publish([&url, "x"]).end().failed(code);
        assert!(
            said.starts_with(&format!("sse-publish: {url}: HTTP {}", &status[..4])),
            "{said}"
        );
        assert!(said.ends_with(": not \\u{1b}[2Jallowed\n"), "{said}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn with_retry_it_waits_as_long_as_it_is_told() {
    let busy = error("429 Too Many Requests", "Retry-After: 1\r\n");
    let full = error("503 Service Unavailable", "");
    let server = Server::start([busy.clone(), full, created("1")]);
    let started = Instant::now();
    let ended = publish(["--retry", "20s", &server.url(), "x"]).end();
    assert_eq!(ended.with(0), "1\n");
    assert!(started.elapsed() >= Duration::from_secs(1));

    // It would be after the deadline, so it does not wait.
    let later = error("429 Too Many Requests", "Retry-After: 60\r\n");
    let server = Server::start([later]);
    publish(["--retry", "20s", &server.url(), "x"])
        .end()
        .failed(111);
    assert!(started.elapsed() < Duration::from_secs(20));

    let server = Server::start([error("403 Forbidden", ""), created("1")]);
    publish(["--retry", "20s", &server.url(), "x"])
        .end()
        .failed(22);
}

#[test]
fn what_may_have_been_published_is_not_sent_again() {
    let server = Server::start([Reply::All(Vec::new()), created("1")]);
    let said = publish(["--retry", "20s", &server.url(), "x"])
        .end()
        .failed(111);
    assert!(said.ends_with("; it may have been published\n"), "{said}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_server_that_is_not_there_yet_is_waited_for_with_retry_only() {
    // A port that was free a moment ago refuses connections until a process listens there.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = format!("http://{address}/");
    let said = publish([&*url, "x"]).end().failed(111);
    assert!(said.contains("connection refused"), "{said}");
    let publisher = publish(["--retry", "25s", &*url, "x"]);
    let listener = TcpListener::bind(address).unwrap();
    let _server = Server::on(listener, [created("1")]);
    assert_eq!(publisher.end().with(0), "1\n");
}

#[test]
fn the_token_is_sent() {
    let folder = Folder::new();
    let token = folder.write("token", "s3cret\n");
    let server = Server::start([created("1")]);
    publish(["--token-file", &token, &server.url(), "x"])
        .end()
        .with(0);
    let request = server.requests().remove(0);
    assert_eq!(request.field("Authorization"), Some("Bearer s3cret"));

    let long = folder.write("long", &"x".repeat(10_000));
    let two = folder.write("two", "a b\n");
    for file in [long, two] {
        publish(["--token-file", &file, &server.url(), "x"])
            .end()
            .failed(100);
    }
}

#[test]
fn a_host_that_cannot_be_reached_was_sent_nothing() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let refused = format!("http://127.0.0.1:{port}/x");
    for (url, words) in [
        ("http://nosuch.invalid/x", "no such host"),
        (&*refused, "connection refused"),
    ] {
        let said = publish([url, "text"]).told("").end().failed(111);
        assert!(
            said.contains(words) && said.contains("nothing was sent"),
            "{said}"
        );
        assert!(!said.contains("may have been published"), "{said}");
    }
}

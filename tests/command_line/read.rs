//! The output of `sse-cat`, and the conditions that end it.

use std::time::{Duration, Instant};

use crate::server::{Reply, Server, answer, lasting, stream};
use crate::stage::{Folder, cat};

const CLOSE: &str = "event: close\ndata\n\n";

#[test]
fn data_is_printed_line_by_line_until_close() {
    let text = format!(
        ": hello\nretry: 1000\n\ndata: a\n\nid: 1\nevent: x\ndata: b\ndata: c\n\n\
         id: 2\n\ndata:\n\n{CLOSE}data: never\n\n"
    );
    let server = Server::start([stream(&text)]);
    assert_eq!(cat([server.url()]).end().with(0), "a\nb\nc\n\n");
    let request = &server.requests()[0];
    assert!(request.head.starts_with("GET /stream HTTP/1.1\r\n"));
    assert_eq!(request.field("Accept"), Some("text/event-stream"));
    assert_eq!(request.field("Last-Event-ID"), None);
}

#[test]
fn json_has_every_event_whole() {
    let text = format!("id: 1\ndata: a\ndata: \"b\"\n\nevent: gap\ndata: {{}}\n\nid: 2\n{CLOSE}");
    let server = Server::start([stream(&text)]);
    let expected = concat!(
        r#"{"id":"1","event":"message","data":"a\n\"b\""}"#,
        "\n",
        r#"{"id":"1","event":"gap","data":"{}"}"#,
        "\n",
        r#"{"id":"2","event":"close","data":""}"#,
        "\n",
    );
    assert_eq!(cat(["--json", &server.url()]).end().with(0), expected);
}

#[test]
fn an_event_is_printed_when_it_comes() {
    let server = Server::start([lasting("data: a\n\ndata: b\n")]);
    let reader = cat([server.url()]);
    reader.wait_for_output("a\n");
    assert_eq!(reader.output(), "a\n");
    server.say("\n");
    reader.wait_for_output("b\n");
    server.say(CLOSE);
    assert_eq!(reader.end().with(0), "a\nb\n");
}

#[test]
fn a_chunked_answer_is_read_however_it_is_split() {
    let text = format!("data: žluť\r\rdata: b\r\n\r\n{CLOSE}");
    let mut wire = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream;charset=utf-8\r\n\
        Transfer-Encoding: chunked\r\n\r\n"
        .to_vec();
    for byte in text.bytes() {
        wire.extend_from_slice(b"1\r\n");
        wire.push(byte);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    let server = Server::start([Reply::All(wire)]);
    assert_eq!(cat([server.url()]).end().with(0), "žluť\nb\n");
}

#[test]
fn a_gap_is_told_without_commands_to_the_terminal() {
    let text = format!(
        "event: gap\ndata: {{\"reason\":\"cut\",\"bytes\":7}}\n\n\
         event: gap\ndata: \u{1b}[2J\n\n{CLOSE}"
    );
    let server = Server::start([stream(&text)]);
    let ended = cat([server.url()]).end();
    assert_eq!(
        ended.errors,
        "sse-cat: gap: cut, 7 bytes\nsse-cat: gap: \\u{1b}[2J\n"
    );
    assert_eq!(ended.with(0), "");
}

#[test]
fn only_the_events_asked_for_are_printed() {
    let text = format!("data: a\n\nevent: x\ndata: b\n\nevent: y\ndata: c\n\n{CLOSE}");
    for (arguments, expected) in [
        (&["--event", "x"][..], "b\n"),
        (&["--event", "message", "--event=y"], "a\nc\n"),
        (&["--event", "close"], "\n"),
    ] {
        let server = Server::start([stream(&text)]);
        let url = server.url();
        let arguments = arguments.iter().copied().chain([&*url]);
        assert_eq!(cat(arguments).end().with(0), expected);
    }
}

#[test]
fn count_ends_it_in_mid_stream() {
    let server = Server::start([lasting("data: a\n\nevent: x\ndata: b\n\ndata: c\n\n")]);
    let arguments = ["--event", "message", "--count", "2", &server.url()];
    assert_eq!(cat(arguments).end().with(0), "a\nc\n");
}

#[test]
fn the_time_is_up() {
    let server = Server::start([lasting("data: a\n\n")]);
    let arguments = ["--timeout", "1500ms", &server.url()];
    assert_eq!(cat(arguments).end().with(0), "a\n");

    let server = Server::start([lasting("data: a\n\n")]);
    let ended = cat(["--timeout=1500ms", "--count=2", &server.url()]).end();
    let said = "sse-cat: the time was up after 1 of 2 events\n";
    assert_eq!(ended.errors, said);
    assert_eq!(ended.with(124), "a\n");

    let server = Server::start([Reply::Begin(Vec::new())]);
    let said = cat(["--timeout", "300ms", &server.url()]).end().failed(111);
    assert_eq!(
        said,
        "sse-cat: the time was up before the server answered\n"
    );
}

#[test]
fn what_is_no_stream_is_refused_with_its_status() {
    for (reply, expected) in [
        (
            answer("404 Not Found", "", "data: a\n\n"),
            "HTTP 404 Not Found",
        ),
        (answer("401 Unauthorized", "", ""), "HTTP 401 Unauthorized"),
        (
            answer("200 OK", "Content-Type: text/html\r\n", "data: a\n\n"),
            "no event stream, but text/html: probably a login page; \
             see --token-file and --header",
        ),
        (
            answer("200 OK", "", ""),
            "no event stream, but nothing that says what it is",
        ),
    ] {
        let server = Server::start([reply]);
        let url = server.url();
        let said = cat([&url]).end().failed(22);
        assert_eq!(said, format!("sse-cat: {url}: {expected}\n"));
    }
}

#[test]
fn a_finished_stream_is_done() {
    let server = Server::start([answer("204 No Content", "", "")]);
    assert_eq!(cat([server.url()]).end().with(0), "");
}

#[test]
fn fields_are_sent_and_secrets_stay_with_their_host() {
    let folder = Folder::new();
    let token = folder.write("token", "  s3cret\n");
    let fields = folder.write("fields", "X-A: 1\n\nX-B: two words\n");
    let fields = format!("@{fields}");
    let other = Server::start([stream(CLOSE)]);
    let elsewhere = other.url().replace("127.0.0.1", "localhost");
    let server = Server::start([
        answer("302 Found", "Location: /moved\r\n", ""),
        answer(
            "307 Temporary Redirect",
            &format!("Location: {elsewhere}\r\n"),
            "",
        ),
    ]);
    let arguments = [
        "--token-file",
        &token,
        "--header",
        &fields,
        "--header=X-C:3",
        &server.url(),
    ];
    cat(arguments).end().with(0);
    let requests = server.requests();
    assert!(requests[1].head.starts_with("GET /moved "));
    for request in &requests {
        assert_eq!(request.field("Authorization"), Some("Bearer s3cret"));
        for (name, value) in [("X-A", "1"), ("X-B", "two words"), ("X-C", "3")] {
            assert_eq!(request.field(name), Some(value));
        }
    }
    assert_eq!(other.requests()[0].field("Authorization"), None);
}

#[test]
fn too_large_an_event_is_refused() {
    let server = Server::start([stream(&format!("data: {}", "x".repeat((64 << 20) + 1)))]);
    let said = cat([server.url()]).end().failed(22);
    assert_eq!(said, "sse-cat: an event of more than 67108864 bytes\n");
}

#[test]
fn a_large_backlog_is_read_fast_and_whole() {
    let mut text = String::new();
    for number in 0..200_000 {
        text.push_str(&format!("id: {number}\ndata: line {number}\n\n"));
    }
    text.push_str(CLOSE);
    let server = Server::start([stream(&text)]);
    let started = Instant::now();
    let output = cat([server.url()]).end().with(0);
    assert_eq!(output.lines().count(), 200_000);
    assert!(output.ends_with("line 199999\n"));
    assert!(started.elapsed() < Duration::from_secs(20));
}

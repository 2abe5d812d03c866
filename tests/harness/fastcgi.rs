//! The streams of `/events/`, from the real responder, and the output of an unusual one, from a
//! stand-in.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::stage::{Client, Harness, Stage, is_alive, refused, wait_for, wait_until_gone};

/// A responder in Perl: to each request it sends the parameters and the input, byte by byte in
/// padded records. The path selects other behaviour.
const STAND_IN: &str = r#"#!/usr/bin/perl
use strict; use warnings;
open(my $listener, '+<&=', 0) or die;
sub take {
    my ($peer, $count) = @_;
    my $taken = '';
    while (length $taken < $count) {
        sysread($peer, $taken, $count - length $taken, length $taken) or die 'the end';
    }
    return $taken;
}
sub lengths {
    my ($bytes) = @_;
    my $first = ord substr $$bytes, 0, 1;
    my $length = $first < 128 ? $first : unpack('N', $$bytes) & 0x7fffffff;
    substr $$bytes, 0, $first < 128 ? 1 : 4, '';
    return $length;
}
while (accept(my $peer, $listener)) {
    my ($pairs, $input, $is_whole) = ('', '', 0);
    until ($is_whole) {
        my (undef, $kind, $id, $length, $padding) = unpack 'CCnnC', take($peer, 8);
        my $content = take($peer, $length + $padding);
        $pairs .= $content if $kind == 4;
        $input .= $content if $kind == 5;
        $is_whole = $kind == 5 && !$length;
    }
    my $text = '';
    my $path = '';
    while (length $pairs) {
        my ($name, $value) = (lengths(\$pairs), lengths(\$pairs));
        $name = substr $pairs, 0, $name, '';
        $value = substr $pairs, 0, $value, '';
        $path = $value if $name eq 'PATH_INFO';
        $text .= "$name=$value\n";
    }
    my $record = sub { syswrite $peer, pack('CCnnCC', 1, $_[0], 1, length $_[1], 3, 0) . "$_[1]..." };
    if ($path eq '/dies') { kill 'KILL', $$ }
    if ($path eq '/silent') { sleep 1000 }
    if ($path eq '/stranger') { syswrite $peer, 'HTTP/1.1 200 OK'; next }
    if ($path eq '/overloaded') { $record->(3, pack 'NC4', 0, 2, 0, 0, 0); next }
    if ($path eq '/redirects') { $record->(6, "Location: /events/x/there\n\n"); }
    elsif ($path eq '/cut') { $record->(6, "A: b\n\nhalf"); next }
    else {
        $record->(7, "for the terminal: $_\n") for 1 .. 2;
        $record->(6, $_) for split //, "Content-Type: text/plain\n\n";
        $record->(6, $_) for unpack '(a5000)*', "$text\n$input";
    }
    $record->(3, pack 'N2', 0, 0);
}
"#;

fn with_stand_in() -> Stage {
    let stage = Stage::new().program("stand-in", STAND_IN);
    let path = stage.folder.join("cgi-bin/stand-in");
    stage.options(&["--fcgi", path.to_str().unwrap()])
}

/// A log that `/events/tail` follows.
fn with_log() -> Stage {
    let stage = Stage::new();
    let file = stage.folder.join("app.log");
    std::fs::write(&file, "").unwrap();
    stage.options(&["--set", &format!("tail.cgi:SSE_FILE={}", file.display())])
}

fn append(harness: &Harness, line: &str) {
    let path = harness.folder().join("app.log");
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    writeln!(file, "{line}").unwrap();
}

/// A stream of the log, after it is subscribed.
fn follow(harness: &Harness, last_event_id: Option<&str>) -> Client {
    let id = last_event_id.map_or_else(String::new, |id| format!("Last-Event-ID: {id}\r\n"));
    let mut client = harness.send(format!(
        "GET /events/tail HTTP/1.0\r\nAccept: text/event-stream\r\n{id}\r\n"
    ));
    let head = client.until("\r\n\r\n");
    assert!(head.starts_with("HTTP/1.0 200 OK\r\n"), "{head}");
    assert!(
        head.contains("\r\nContent-Type: text/event-stream; charset=utf-8\r\n"),
        "{head}"
    );
    client.until("retry: ");
    client
}

fn id_in(event: &str) -> &str {
    let (_, rest) = event.rsplit_once("id: ").expect("an id");
    rest.lines().next().unwrap()
}

/// The process's number, of the last one that was started.
fn responder(harness: &Harness) -> i32 {
    let log = harness.log();
    let (_, after) = log.rsplit_once("started ").expect("a responder");
    let (_, number) = after.split_once('(').unwrap();
    number.split_once(')').unwrap().0.parse().unwrap()
}

fn subscribers(harness: &Harness) -> u64 {
    let (head, body) = harness.send("GET /events/status HTTP/1.0\r\n\r\n").answer();
    assert!(
        head.contains("\r\nContent-Type: application/json"),
        "{head}"
    );
    let figures: serde_json::Value = serde_json::from_str(&body).unwrap();
    figures["subscribers"].as_u64().unwrap()
}

#[test]
fn each_event_of_a_responder_arrives_when_its_line_is_written() {
    let harness = with_log().start();
    let mut clients = [follow(&harness, None), follow(&harness, None)];
    for line in ["one", "two", "three"] {
        append(&harness, line);
        for client in &mut clients {
            client.until(&format!("data: {line}\n\n"));
        }
    }
    // Both are served by one process.
    assert_eq!(harness.log().matches("started sse-fcgi").count(), 1);
    assert_eq!(subscribers(&harness), 2);
}

#[test]
fn a_client_of_a_responder_resumes_by_its_last_id() {
    let harness = with_log().start();
    let mut client = follow(&harness, None);
    append(&harness, "one");
    let id = id_in(&client.until("data: one\n\n")).to_string();
    drop(client);
    append(&harness, "two");
    let mut client = follow(&harness, Some(&id));
    let missed = client.until("data: two\n\n");
    assert!(!missed.contains("one"), "{missed}");
}

#[test]
fn a_stream_of_a_responder_is_chunked_and_the_connection_kept() {
    let harness = Stage::new()
        .options(&["--set", "countdown.cgi:SSE_COUNT=1"])
        .options(&["--set", "countdown.cgi:SSE_INTERVAL=10ms"])
        .start();
    let request = "GET /events/countdown HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut client = harness.send(request);
    assert!(
        client
            .until("\r\n\r\n")
            .contains("Transfer-Encoding: chunked")
    );
    client.until("event: close\n");
    client.until("\r\n0\r\n\r\n");
    client.send(request);
    client.until("event: close\n");
}

#[test]
fn another_name_serves_the_stream_that_its_settings_say() {
    let stage = Stage::new();
    let script = stage.folder.join("script.jsonl");
    std::fs::write(&script, "{\"after\":\"0s\",\"data\":\"first\"}\n").unwrap();
    let harness = stage
        .options(&["--set", "flights.cgi:SSE_STREAM=script"])
        .options(&[
            "--set",
            &format!("flights.cgi:SSE_FILE={}", script.display()),
        ])
        .start();
    harness.get("/events/flights").until("data: first\n\n");
    harness.get("/events/flights.cgi").until("data: first\n\n");
}

#[test]
fn a_settings_file_says_what_each_path_serves_and_is_read_again_after_sighup() {
    let stage = Stage::new();
    let config = stage.folder.join("streams.conf");
    std::fs::write(stage.folder.join("a.log"), "from the file\n").unwrap();
    let first = "[/events/log]\nSSE_STREAM = tail\nSSE_FILE = a.log\n";
    std::fs::write(&config, first).unwrap();
    let harness = stage
        .options(&["--config", config.to_str().unwrap()])
        .variable("SSE_FILE", "/nonexistent/log")
        .start();
    harness
        .get("/events/log?n=1")
        .until("data: from the file\n\n");
    assert_eq!(harness.status("/events/other"), 404);

    let second = "[/events/other]\nSSE_STREAM = tail\nSSE_FILE = a.log\n";
    std::fs::write(&config, second).unwrap();
    harness.signal(Signal::SIGHUP);
    wait_for("the second file", || {
        (harness.status("/events/other") == 200).then_some(())
    });
    assert_eq!(harness.status("/events/log"), 404);
}

#[test]
fn a_settings_file_with_a_mistake_is_reported_and_nothing_is_served() {
    let stage = Stage::new();
    let config = stage.folder.join("streams.conf");
    std::fs::write(&config, "[/events/log]\nSSE_FIEL = a.log\n").unwrap();
    let arguments = ["--web", "/", "--cgi-bin", "/", "--config"].map(OsStr::new);
    let (code, said) = refused(&[&arguments[..], &[config.as_os_str()]].concat());
    assert_eq!(code, Some(111));
    let line = "streams.conf:2: SSE_FIEL=a.log: no such setting; did you mean SSE_FILE?";
    assert!(said.contains(line), "{said}");
}

#[test]
fn path_info_names_the_file_below_the_root() {
    let stage = Stage::new();
    std::fs::create_dir(stage.folder.join("logs")).unwrap();
    std::fs::write(stage.folder.join("logs/a b.log"), "there\n").unwrap();
    let root = format!("tail.cgi:SSE_ROOT={}/logs", stage.folder.display());
    let harness = stage.options(&["--set", &root]).start();
    harness
        .get("/events/tail/a%20b.log")
        .until("data: there\n\n");
    assert_eq!(harness.status("/events/tail/other.log"), 404);
}

#[test]
fn what_a_responder_refuses_is_refused_and_the_reason_is_in_the_log() {
    let harness = Stage::new().start();
    for (target, status) in [
        ("/events/nothing", 404),
        ("/events/", 404),
        ("/events/.hidden", 404),
        ("/events", 404),
        ("/events/tail", 500),
        ("/events/clock", 200),
    ] {
        assert_eq!(harness.status(target), status, "{target}");
    }
    harness.wait_for_log("/events/nothing: SSE_STREAM: not set");
    harness.wait_for_log("/events/tail: SSE_FILE");
    let post = "POST /events/clock HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi";
    let (head, body) = harness.send(post).answer();
    assert!(head.starts_with("HTTP/1.0 405 "), "{head}");
    assert!(head.contains("\r\nAllow: GET, HEAD, OPTIONS"), "{head}");
    assert_eq!(body, "");
    let head = harness
        .send("HEAD /events/clock HTTP/1.0\r\n\r\n")
        .answer()
        .0;
    assert!(
        head.contains("\r\nContent-Type: text/event-stream"),
        "{head}"
    );
    assert!(head.starts_with("HTTP/1.0 200 "), "{head}");
}

#[test]
fn parameters_are_as_under_nginx_and_settings_as_for_the_program() {
    let harness = with_stand_in()
        .variable("SSE_INHERITED", "1")
        .options(&[
            "--set",
            "SSE_A=all",
            "--set",
            "x.cgi:SSE_A=x",
            "--set",
            "y.cgi:SSE_A=y",
        ])
        .options(&["--set", "x:SSE_B="])
        .start();
    let long = "a=".to_string() + &"b".repeat(200);
    let client = harness.send(format!(
        "GET /events/x/p%20q?{long} HTTP/1.0\r\nHost: LocalHost:99\r\nLast-Event-ID: 5\r\n\
         Proxy: p\r\nLast_Event_ID: 7\r\n\r\n"
    ));
    let (head, body) = client.answer();
    assert!(head.contains("Content-Type: text/plain"), "{head}");
    let folder = harness.folder().display();
    for pair in [
        "SCRIPT_NAME=/events/x",
        "PATH_INFO=/p q",
        &format!("SCRIPT_FILENAME={folder}/web/events/x"),
        &format!("DOCUMENT_ROOT={folder}/web"),
        &format!("QUERY_STRING={long}"),
        &format!("REQUEST_URI=/events/x/p%20q?{long}"),
        "REQUEST_METHOD=GET",
        "GATEWAY_INTERFACE=CGI/1.1",
        "SERVER_PROTOCOL=HTTP/1.0",
        "HTTP_LAST_EVENT_ID=5",
        "SSE_INHERITED=1",
        "SSE_A=x",
        "SSE_B=",
    ] {
        assert!(body.lines().any(|line| line == pair), "{pair} in {body}");
    }
    assert!(!body.contains("HTTP_PROXY"), "{body}");
    assert!(!body.contains("CONTENT_LENGTH"), "{body}");
    for line in ["for the terminal: 1\n", "for the terminal: 2\n"] {
        harness.wait_for_log(&format!("/events/x: {line}"));
    }
}

#[test]
fn a_body_reaches_the_responder_whole_however_it_comes() {
    let harness = with_stand_in().start();
    let input = "0123456789".repeat(20_000);
    let long = format!(
        "POST /events/x HTTP/1.0\r\nContent-Type: a/b\r\nContent-Length: {}\r\n\r\n{input}",
        input.len()
    );
    let chunked = "POST /events/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
        Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n";
    let body = harness.send(long).answer().1;
    let (variables, echoed) = body.split_once("\n\n").unwrap();
    assert!(echoed == input, "{} bytes", echoed.len());
    assert!(variables.contains("CONTENT_LENGTH=200000\n"), "{variables}");
    assert!(variables.contains("CONTENT_TYPE=a/b\n"), "{variables}");
    let mut client = harness.send(chunked);
    client.until("CONTENT_LENGTH=5\n");
    client.until("\n\nabcde");
}

#[test]
fn what_is_published_arrives_where_the_file_is_followed() {
    let stage = Stage::new();
    let file = stage.folder.join("posts.jsonl").display().to_string();
    let harness = stage
        .options(&["--set", &format!("SSE_FILE={file}")])
        .options(&["--set", "publish.cgi:SSE_PUBLISH_ALLOW=anyone"])
        .start();
    std::fs::write(&file, "").unwrap();
    let mut client = follow(&harness, None);
    let post = "POST /events/publish HTTP/1.0\r\nContent-Type: application/json\r\n\
        Content-Length: 16\r\n\r\n{\"data\":\"hello\"}";
    let (head, _) = harness.send(post).answer();
    assert!(head.starts_with("HTTP/1.0 201 "), "{head}");
    client.until("data: hello\n\n");
}

#[test]
fn a_redirect_of_a_responder_is_followed_here() {
    let harness = with_stand_in().start();
    let post = "POST /events/x/redirects HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi";
    let body = harness.send(post).answer().1;
    for pair in [
        "PATH_INFO=/there",
        "REQUEST_METHOD=GET",
        "REDIRECT_REQUEST_METHOD=POST",
    ] {
        assert!(body.lines().any(|line| line == pair), "{pair} in {body}");
    }
    assert!(body.ends_with("\n\n"), "the body is left behind: {body}");
}

#[test]
fn what_is_no_answer_is_502_and_the_reason_is_in_the_log() {
    let harness = with_stand_in().start();
    for (path, reason) in [
        ("stranger", "a record of FastCGI version 72: 502"),
        ("overloaded", "refused with protocol status 2: 502"),
        ("dies", "the connection ended before the answer did: 502"),
    ] {
        assert_eq!(harness.status(&format!("/events/x/{path}")), 502, "{path}");
        harness.wait_for_log(reason);
    }
    let mut client = harness.get("/events/x/cut");
    client.until("half");
    let rest = client.rest();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "a cut answer must look cut");
}

#[test]
fn a_responder_that_says_nothing_is_504_after_the_timeout() {
    let harness = with_stand_in().options(&["--timeout", "300ms"]).start();
    assert_eq!(harness.status("/events/x/silent"), 504);
    harness.wait_for_log("/events/x: no head within 300ms: 504");
}

#[test]
fn the_responder_hears_at_once_that_a_client_has_left() {
    // No heartbeat is due before the test's deadline, and no line is written, so nothing else
    // shows it.
    let harness = with_log().options(&["--set", "SSE_HEARTBEAT=25s"]).start();
    let clients = [follow(&harness, None), follow(&harness, None)];
    assert_eq!(subscribers(&harness), 2);
    drop(clients);
    wait_for("nobody", || (subscribers(&harness) == 0).then_some(()));
    harness.wait_for_log("\"GET /events/tail HTTP/1.0\" 200 ");
}

#[test]
fn a_client_that_leaves_before_the_answer_ends_its_request() {
    let harness = with_stand_in().start();
    drop(harness.send("GET /events/x/silent HTTP/1.0\r\n\r\n"));
    harness.wait_for_log("\"GET /events/x/silent HTTP/1.0\" 499 ");
}

#[test]
fn a_responder_that_died_is_started_again_and_its_streams_look_cut() {
    let harness = with_log().start();
    let mut client = harness.get("/events/tail");
    client.until("retry: ");
    let first = responder(&harness);
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    // Even immediately: a client of the socket waits for the next process.
    follow(&harness, None);
    assert!(
        !client.rest().ends_with(b"0\r\n\r\n"),
        "a cut answer must look cut"
    );
    let died = format!("sse-fcgi ({first}) was ended by signal 9; it is started again");
    harness.wait_for_log(&died);
    let second = responder(&harness);
    assert_ne!(first, second);
    assert!(is_alive(second));
    wait_until_gone(first);
}

/// The folders of sockets below a stage's folder.
fn private_folders(harness: &Harness) -> Vec<PathBuf> {
    std::fs::read_dir(harness.folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("sse-harness-")
        })
        .collect()
}

#[test]
fn the_responder_ends_with_the_server_and_leaves_nothing() {
    let stage = with_log();
    let folder = stage.folder.to_str().unwrap().to_string();
    let mut harness = stage.variable("TMPDIR", &folder).start();
    assert_eq!(private_folders(&harness), <[PathBuf; 0]>::default());
    let mut client = follow(&harness, None);
    let process = responder(&harness);
    let [private] = &private_folders(&harness)[..] else {
        panic!("one folder for the socket")
    };
    assert_eq!(
        private.metadata().unwrap().permissions().mode() & 0o777,
        0o700
    );
    assert_eq!(harness.end(Signal::SIGTERM).code(), Some(0));
    // The responder ends the stream and sends the reconnection time.
    client.until("retry: ");
    wait_until_gone(process);
    assert_eq!(private_folders(&harness), <[PathBuf; 0]>::default());
    assert!(!harness.log().contains("SIGKILL"), "{}", harness.log());
}

#[test]
fn a_responder_that_cannot_be_started_is_said() {
    let (code, said) =
        refused(&["--web", "/", "--cgi-bin", "/", "--fcgi", "/no/such"].map(AsRef::as_ref));
    assert_eq!(code, Some(111));
    assert!(said.contains("open /no/such: "), "{said}");
    assert!(said.contains("--fcgi PROGRAM"), "{said}");

    let stage = Stage::new().page("plain", "no program");
    let plain = stage.folder.join("web/plain");
    let harness = stage.options(&["--fcgi", plain.to_str().unwrap()]).start();
    assert_eq!(harness.status("/events/clock"), 502);
    harness.wait_for_log("--fcgi names another responder: 502");

    let harness = Stage::new().options(&["--fcgi", "/bin/false"]).start();
    for _ in 0..2 {
        assert_eq!(harness.status("/events/clock"), 502);
    }
    harness.wait_for_log("ended with exit code 1 again at once; the next request starts it");
    // Everything else continues.
    assert_eq!(harness.status("/"), 404);
}

//! `sse-httpd --config FILE`: what only a settings file can serve.

use std::fs;

use crate::stage::{Client, Folder, Httpd, Start, get};
use crate::support::redis::Redis;

/// One that serves what this settings file says; `{folder}` stands for its folder.
fn configured(folder: &Folder, text: &str) -> Httpd {
    let text = text.replace("{folder}", &folder.path("").display().to_string());
    fs::write(folder.path("streams.conf"), text).unwrap();
    let start = Start::new(folder).argument("--config");
    start.argument(folder.path("streams.conf")).start()
}

const FILE: &str = "\
[/events/flights]
SSE_STREAM = tail
SSE_FILE = {folder}/flights.jsonl
[/events/flights/publish]
SSE_STREAM = publish
SSE_FILE = {folder}/flights.jsonl
SSE_PUBLISH_ALLOW = anyone
SSE_PUBLISH_MAX = 100000
[/events/status]
SSE_STREAM = status
";

fn post(client: &mut Client, fields: &str, body: &str) -> u16 {
    client.send(format!(
        "POST /events/flights/publish HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: text/plain\r\n{fields}\r\n{body}"
    ));
    let response = client.response();
    response.status()
}

#[test]
fn streams_publishing_and_figures_are_at_the_paths_of_the_file_and_nothing_elsewhere() {
    let folder = Folder::new();
    fs::write(folder.path("flights.jsonl"), "").unwrap();
    let httpd = configured(&folder, FILE);
    let mut reader = httpd.ask(get("/events/flights"));
    reader.until("\r\n\r\n");
    let mut client = httpd.connect();
    // One connection for all of them, whose bodies are of every kind.
    assert_eq!(post(&mut client, "Content-Length: 3\r\n", "one"), 201);
    let chunked = "Transfer-Encoding: chunked\r\n";
    assert_eq!(
        post(&mut client, chunked, "2\r\ntw\r\n1\r\no\r\n0\r\n\r\n"),
        201
    );
    client.send(
        "POST /events/flights/publish HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: text/plain\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(client.until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("three");
    assert_eq!(client.response().status(), 201);
    let long = "x".repeat(90_000);
    let fields = format!("Content-Length: {}\r\n", long.len());
    assert_eq!(post(&mut client, &fields, &long), 201);
    for data in ["one", "two", "three", &long] {
        reader.until(&format!("data: {data}\n"));
    }
    // A body that is too long is not read.
    assert_eq!(post(&mut client, "Content-Length: 100001\r\n", ""), 413);
    assert_eq!(client.rest(), b"");
    let status = httpd.get("/events/status");
    assert!(
        status.text().contains("\"subscribers\""),
        "{}",
        status.text()
    );
    for path in ["/", "/events", "/log.js", "/events/other", "/style.css"] {
        assert_eq!(httpd.get(path).status(), 404, "{path}");
    }
}

#[test]
fn a_section_serves_the_redis_streams_of_a_prefix() {
    let folder = Folder::new();
    let mut redis = Redis::start(&folder, &[]);
    let text = "\
[/events/live]
SSE_STREAM = redis
SSE_REDIS = {redis}
SSE_REDIS_USER = sse
SSE_REDIS_PASSWORD_FILE = {folder}/password
SSE_STREAM_KEY_PREFIX = live:
";
    let httpd = configured(&folder, &text.replace("{redis}", &redis.address()));
    let id = redis.add("live:flights", "one");
    let mut reader = httpd.ask(get("/events/live/flights"));
    reader.until(&format!("id: {id}\ndata: one\n"));
    let id = redis.add("live:flights", "two");
    reader.until(&format!("id: {id}\ndata: two\n"));
}

#[test]
fn only_a_trusted_proxy_says_who_its_client_is() {
    let status = |arguments: &[&str]| {
        let folder = Folder::new();
        fs::write(folder.path("flights.jsonl"), "").unwrap();
        let text = FILE.replace("= anyone", "= same-origin");
        let text = text.replace("{folder}", &folder.path("").display().to_string());
        fs::write(folder.path("streams.conf"), text).unwrap();
        let start = Start::new(&folder).argument("--config");
        let start = start.argument(folder.path("streams.conf"));
        let httpd = (arguments.iter())
            .fold(start, |start, word| start.argument(word))
            .start();
        // The page's host is the proxy's word.
        let fields = "Origin: https://site.example\r\nX-Forwarded-Proto: https\r\n\
                      X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Host: site.example\r\n\
                      Content-Length: 3\r\n";
        post(&mut httpd.connect(), fields, "one")
    };
    assert_eq!(status(&[]), 403);
    assert_eq!(status(&["--trusted-proxy", "10.0.0.0/8"]), 403);
    assert_eq!(status(&["--trusted-proxy", "127.0.0.0/8"]), 201);
}

#[test]
fn posts_that_are_sent_together_are_answered_in_order() {
    let folder = Folder::new();
    fs::write(folder.path("flights.jsonl"), "").unwrap();
    let httpd = configured(&folder, &(FILE.to_owned() + "SSE_PUBLISH_SYNC = yes\n"));
    let request = |number: usize| {
        let body = format!("number {number}");
        format!(
            "POST /events/flights/publish HTTP/1.1\r\nHost: localhost\r\n\
             Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let requests: String = (0..100).map(request).collect();
    let mut client = httpd.ask(requests + &get("/events/flights"));
    for _ in 0..100 {
        assert_eq!(client.response().status(), 201);
    }
    // The last ten are a new page's backlog.
    client.until("data: number 99\n");
    let text = fs::read_to_string(folder.path("flights.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 100);
    for (number, line) in text.lines().enumerate() {
        assert!(line.contains(&format!("number {number}\"")), "{line}");
    }
}

#[test]
fn a_stream_is_at_one_path_unless_it_takes_the_name_of_a_file() {
    let folder = Folder::new();
    fs::write(folder.path("flights.jsonl"), "").unwrap();
    fs::create_dir(folder.path("logs")).unwrap();
    fs::write(folder.path("logs/a.log"), "below\n").unwrap();
    let file = FILE.to_owned()
        + "[/clock]\nSSE_STREAM = clock\n\
           [/clock/logs]\nSSE_STREAM = tail\nSSE_ROOT = {folder}/logs\n\
           [/a%20b/]\nSSE_STREAM = clock\n";
    let httpd = configured(&folder, &file);
    httpd.ask(get("/clock")).until("event-stream");
    httpd.ask(get("/clock?x")).until("event-stream");
    httpd.ask(get("/clock/logs/a.log")).until("data: below\n\n");
    httpd
        .ask(get("/clock/%6Cogs/a%2Elog"))
        .until("data: below\n\n");
    for path in [
        "/clock/",
        "/clock/extra",
        "/clock/extra/more",
        "/clockx",
        "/clock/logs",
        "/clock/logs/",
        "/clock/logsx",
        "/events/status/extra",
        "/events/flights/publish/extra",
        "/events/flights/x",
        "/a%20b",
    ] {
        assert_eq!(httpd.get(path).status(), 404, "{path}");
    }
    let only_root = configured(&Folder::new(), "[/]\nSSE_STREAM = clock\n");
    only_root.ask(get("/")).until("event-stream");
    assert_eq!(only_root.get("/extra").status(), 404);
}

#[test]
fn a_path_that_comes_twice_is_a_mistake() {
    let folder = Folder::new();
    let wrong = |start: Start, expected: &str| {
        let mut httpd = start.spawn();
        assert_eq!(httpd.code(), 100, "{}", httpd.stderr());
        assert!(httpd.stderr().contains(expected), "{}", httpd.stderr());
    };
    for twice in [
        "[/a /a]",
        "[/a]\nSSE_STREAM = clock\n[/a/]",
        "[/a]\n[/b /a]",
    ] {
        let text = format!("{twice}\nSSE_STREAM = clock\n");
        let path = folder.write("streams.conf", text);
        let start = Start::new(&folder).argument("--config").argument(path);
        wrong(start, "has it already; put both together");
    }
    for twice in [
        &["/x/a.log", "/y/a.log"][..],
        &["/x/a.log", "/x/a.log"],
        &["-", "-"],
        &["-c", "true", "-c", "false"],
        &["/x/stdin", "-"],
    ] {
        let start = Start::new(&folder);
        let start = twice.iter().fold(start, |start, word| start.argument(word));
        wrong(start, "two streams at /events/");
    }
}

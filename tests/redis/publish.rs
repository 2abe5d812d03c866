//! Publishing to a stream: what a POST answers, and what readers get.

use super::peer::Request;
use super::support::folder::Folder;
use super::support::redis::Redis;
use super::support::wait::wait_for;
use super::{Client, Responder, request};

/// A redis-server, a responder, and a POST to the key `live:a`.
struct Stage {
    redis: Redis,
    responder: Responder,
    read: Request,
    folder: Folder,
}

/// The response to a POST.
#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn of(mut client: Client) -> Self {
        client.whole();
        Self {
            status: client.status(),
            head: client.head(),
            body: String::from_utf8(client.body.clone()).unwrap(),
        }
    }

    /// The id of the response 201.
    #[track_caller]
    fn id(&self) -> String {
        assert_eq!(self.status, 201, "{self:?}");
        let id = self.body.strip_prefix("{\"id\":\"").unwrap();
        id.strip_suffix("\"}\n").unwrap().to_owned()
    }

    #[track_caller]
    fn is_unavailable(&self) {
        assert_eq!(self.status, 503, "{self:?}");
        assert!(self.head.contains("Retry-After: "), "{self:?}");
        assert_eq!(self.body, "{\"error\":\"cannot write now\"}\n");
    }
}

/// The request for a key, as a POST of this body.
fn post(read: &Request, media: &str, body: &[u8]) -> Request {
    read.clone()
        .set("SSE_STREAM", "publish")
        .method("POST")
        .set("SSE_PUBLISH_ALLOW", "anyone")
        .set("CONTENT_TYPE", media)
        .set("CONTENT_LENGTH", body.len().to_string())
        .body(body)
}

impl Stage {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(options: &[&str]) -> Self {
        let folder = Folder::in_memory();
        let redis = Redis::start(&folder, options);
        let responder = Responder::start(&folder);
        let read = request(&redis, &folder, "live:a");
        Self {
            redis,
            responder,
            read,
            folder,
        }
    }

    fn text(&self, text: &str) -> Request {
        post(&self.read, "text/plain", text.as_bytes())
    }

    fn send(&self, request: &Request) -> Answer {
        Answer::of(self.responder.ask(request))
    }

    fn says(&self, said: &str) {
        wait_for(said, || {
            self.responder.stderr().contains(said).then_some(())
        });
    }
}

#[test]
fn the_id_of_the_response_is_that_of_the_event() {
    let mut stage = Stage::new();
    let mut client = stage.responder.ask(&stage.read).opened();
    for text in ["one", "two\nlines", "three"] {
        let id = stage.send(&stage.text(text)).id();
        client.says(&[text]);
        assert_eq!(client.last_id(), id);
    }
    let entries = stage.redis.run(&["XLEN", "live:a"]);
    assert_eq!(entries, "3");
}

/// Every kind of body, as an event of a file and of a stream.
#[test]
fn what_is_published_is_the_event_that_a_file_would_make_of_it() {
    let stage = Stage::new();
    let file = stage.folder.path("a.jsonl").display().to_string();
    let form = "application/x-www-form-urlencoded";
    let json = "application/json";
    let bodies: [(&str, &[u8]); 22] = [
        ("text/plain", b"a text"),
        ("text/plain", b""),
        ("text/plain", b"two\nlines\r\nand\rmore\n"),
        (
            "text/plain; charset=utf-8",
            "\u{FEFF}caf\u{e9} \u{1F600}".as_bytes(),
        ),
        ("text/plain", b"nul \0 and \x1b"),
        (json, b"{\"data\":\"x\"}"),
        (json, b"{\"data\":\"\"}"),
        (json, b"{\"data\":null}"),
        (json, b"{\"data\":[1, 2],\"event\":\"a\"}"),
        (json, b"{\"data\":{\"a\" :\n {\"b\\n\": \"c \\\" d\"}}}"),
        (json, b"{\"data\":12.50}"),
        (json, b"{\"data\":true,\"event\":null}"),
        (json, b"{\"event\":\"up\"}"),
        (json, b"{\"event\":\" sp ace\\n \",\"data\":1}"),
        (json, b"{\"data\":\"half \\ud800 pair\"}"),
        (
            json,
            b"{\"data\":\"\\ud83d\\ude00\",\"other\":7,\"id\":\"9\",\"retry\":5}",
        ),
        (
            json,
            b"{\"event\":\"x\",\"data\":\"first\",\"data\":\"last\"}",
        ),
        (
            json,
            b"{\"event\":\"\",\"data\":\"\\\"quoted\\\" \\u0000\"}",
        ),
        (form, b"data=x+y&event=b"),
        (form, b"data=%FF%0A%0D%00&event=%FFa"),
        (form, b"event=only"),
        (form, b"data="),
    ];
    let to_file = |media: &str, body: &[u8]| {
        post(&stage.read, media, body)
            .set("SSE_STREAM_KEY", "")
            .set("SSE_FILE", &file)
    };
    for (media, body) in bodies {
        let request = post(&stage.read, media, body);
        stage.send(&request).id();
        stage.send(&to_file(media, body)).id();
    }
    let all = |request: &Request| {
        let request = request.clone().set("SSE_BACKLOG", "1000");
        let mut client = stage.responder.ask(&request);
        let event = |_| {
            let event = client.event();
            (event.name, event.data)
        };
        (0..bodies.len()).map(event).collect::<Vec<_>>()
    };
    let of_file = all(&Request::of("tail").set("SSE_FILE", &file));
    assert_eq!(all(&stage.read), of_file);
}

#[test]
fn the_policy_of_publishing_is_that_of_files() {
    let stage = Stage::new();
    let text = stage.text("x");
    let refused = |request: Request, status: u16| {
        let answer = stage.send(&request);
        assert_eq!(answer.status, status, "{answer:?}");
    };
    refused(text.clone().set("SSE_PUBLISH_ALLOW", ""), 403);
    refused(text.clone().set("CONTENT_TYPE", "text/html"), 415);
    refused(text.clone().set("SSE_PUBLISH_MAX", "1").body(b"xy"), 201);
    refused(
        post(&stage.read, "text/plain", b"xy").set("SSE_PUBLISH_MAX", "1"),
        413,
    );
    refused(text.clone().method("GET"), 405);
    let line = "x".repeat(100);
    refused(stage.text(&line).set("SSE_MAX_LINE", "100"), 413);
    refused(
        post(&stage.read, "application/json", b"{\"event\":\"close\"}"),
        400,
    );
    let tokens = stage.folder.write("tokens", "a-long-secret\n");
    let by_token = text
        .clone()
        .set("SSE_PUBLISH_ALLOW", "token")
        .set("SSE_PUBLISH_TOKEN_FILE", tokens.display().to_string());
    refused(by_token.clone(), 401);
    refused(
        by_token.set("HTTP_AUTHORIZATION", "Bearer a-long-secret"),
        201,
    );
    let other_page = text.clone().set("HTTP_ORIGIN", "https://evil.example");
    refused(other_page.clone(), 403);
    let answer = stage.send(&other_page.set("SSE_ALLOW_ORIGIN", "https://evil.example"));
    answer.id();
    assert!(
        answer
            .head
            .contains("Access-Control-Allow-Origin: https://evil.example")
    );
    // A file and a key are two destinations.
    refused(text.set("SSE_FILE", "/tmp/a.jsonl"), 500);
    stage.says("SSE_STREAM_KEY");
}

#[test]
fn the_name_in_the_path_is_the_key_after_the_prefix() {
    let mut stage = Stage::new();
    let below = |path: &str| {
        stage
            .text("x")
            .set("SSE_STREAM_KEY", "")
            .set("SSE_STREAM_KEY_PREFIX", "live:")
            .set("PATH_INFO", path)
    };
    let id = stage.send(&below("/rooms/1")).id();
    for path in ["/", "/../a", "/.a", "/a//b"] {
        assert_eq!(stage.send(&below(path)).status, 404, "{path}");
    }
    let entry = stage.redis.run(&["XRANGE", "live:rooms/1", "-", "+"]);
    assert_eq!(entry, format!("{id}\ndata\nx"));
}

#[test]
fn the_oldest_entries_are_removed() {
    let mut stage = Stage::new();
    let request = stage.text("x").set("SSE_KEEP", "100");
    for _ in 0..250 {
        stage.send(&request).id();
    }
    let length: u64 = stage.redis.run(&["XLEN", "live:a"]).parse().unwrap();
    assert!((100..=200).contains(&length), "{length}");
}

#[test]
fn an_engine_that_cannot_write_now_is_a_503_that_says_when_to_come_again() {
    let mut stage = Stage::new();
    let text = stage.text("x");
    stage.send(&text).id();
    stage.redis.run(&["CONFIG", "SET", "maxmemory", "1"]);
    stage.send(&text).is_unavailable();
    stage.says("OOM");
    stage.redis.run(&["CONFIG", "SET", "maxmemory", "0"]);
    stage.send(&text).id();
    stage.redis.run(&["REPLICAOF", "127.0.0.1", "1"]);
    stage.send(&text).is_unavailable();
    stage.says("READONLY");
    stage.redis.run(&["REPLICAOF", "NO", "ONE"]);
    stage.send(&text).id();
    stage
        .redis
        .run(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    stage.send(&text).is_unavailable();
    stage.says("NOREPLICAS");
    stage
        .redis
        .run(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    stage.redis.kill();
    stage.send(&text).is_unavailable();
    stage.send(&text).is_unavailable();
    stage.redis.start_again();
    wait_for("the engine", || {
        (stage.send(&text).status == 201).then_some(())
    });
    assert_eq!(
        stage.responder.figures()["engines"][stage.redis.address()],
        "up"
    );
}

#[test]
fn what_an_administrator_must_mend_is_a_503_without_a_time() {
    let mut stage = Stage::new();
    stage.redis.run(&["SET", "live:text", "x"]);
    let refused = |request: &Request, said: &str| {
        let answer = stage.send(request);
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(!answer.head.contains("Retry-After"), "{answer:?}");
        assert_eq!(answer.body, "{\"error\":\"cannot write\"}\n");
        stage.says(said);
    };
    let text = stage.text("x");
    refused(
        &text.clone().set("SSE_STREAM_KEY", "live:text"),
        "WRONGTYPE",
    );
    refused(&text.clone().set("SSE_STREAM_KEY", "other"), "NOPERM");
    let wrong = stage.folder.write("wrong", "no").display().to_string();
    refused(
        &text.clone().set("SSE_REDIS_PASSWORD_FILE", wrong),
        "WRONGPASS",
    );
    // Nothing was written as the user `default`, which may write anything.
    assert_eq!(stage.redis.run(&["EXISTS", "live:a", "other"]), "0");
}

#[test]
fn a_connection_that_is_lost_before_the_answer_is_a_503_and_nothing_is_sent_again() {
    let mut stage = Stage::new();
    let text = stage.text("x");
    stage.send(&text).id();
    // It receives the command, and executes it only when the pause is over.
    stage.redis.run(&["CLIENT", "PAUSE", "60000", "WRITE"]);
    let client = stage.responder.ask(&text);
    wait_for("a blocked publisher", || {
        let list = stage.redis.run(&["CLIENT", "LIST"]);
        let is_blocked = |line: &str| line.contains("user=sse") && line.contains("flags=b");
        list.lines().any(is_blocked).then_some(())
    });
    stage.redis.run(&["CLIENT", "KILL", "USER", "sse"]);
    Answer::of(client).is_unavailable();
    stage.says("it was sent, and is in the stream or not");
    stage.redis.run(&["CLIENT", "UNPAUSE"]);
    stage.send(&text).id();
    let length: u64 = stage.redis.run(&["XLEN", "live:a"]).parse().unwrap();
    assert!((2..=3).contains(&length), "{length}");
}

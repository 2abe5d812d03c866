//! Publishing to a stream: what a POST answers, and what readers get.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::peer::Request;
use super::support::folder::Folder;
use super::support::random;
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
pub fn post(read: &Request, media: &str, body: &[u8]) -> Request {
    read.clone()
        .set("SSE_STREAM", "publish")
        .set("SSE_REDIS_USER", "publisher")
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
fn a_client_s_rate_counts_on_all_nodes_together() {
    let mut stage = Stage::new();
    let other = Folder::in_memory();
    let other = Responder::start(&other);
    let text = stage.text("x").set("SSE_PUBLISH_RATE", "3/h");
    let of = |client: &str| text.clone().set("REMOTE_ADDR", client);
    let adam = of("10.0.0.1");
    stage.send(&adam).id();
    Answer::of(other.ask(&adam)).id();
    stage.send(&adam).id();
    for node in [&stage.responder, &other] {
        let answer = Answer::of(node.ask(&adam));
        assert_eq!(answer.status, 429, "{answer:?}");
        assert!(answer.head.contains("Retry-After: 1"), "{answer:?}");
    }
    stage.send(&of("10.0.0.2")).id();
    assert_eq!(stage.redis.run(&["XLEN", "live:a"]), "4");
    // No stream that a client can name.
    let keys = stage.redis.run(&["KEYS", "live:a/.rate/*"]);
    assert_eq!(keys.lines().count(), 2, "{keys}");
}

#[test]
fn with_sync_a_response_waits_for_the_replicas() {
    let mut stage = Stage::new();
    let sync = |replicas: &str| {
        stage
            .text("x")
            .set("SSE_PUBLISH_SYNC", "yes")
            .set("SSE_PUBLISH_REPLICAS", replicas)
    };
    let (none, one) = (sync("0"), sync("1"));
    stage.send(&none).id();
    stage
        .redis
        .run(&["CONFIG", "SET", "repl-diskless-sync-delay", "0"]);
    let port = free_port();
    stage.redis.run(&["CONFIG", "SET", "port", &port]);
    let folder = Folder::in_memory();
    let mut replica = Redis::start(&folder, &["--replicaof", "127.0.0.1", &port]);
    wait_for("a replica", || {
        let info = stage.redis.run(&["INFO", "replication"]);
        info.contains("state=online").then_some(())
    });
    // Those that come while a batch waits are the next one.
    let clients: Vec<_> = (0..20).map(|_| stage.responder.ask(&one)).collect();
    for client in clients {
        Answer::of(client).id();
    }
    stage.send(&none).id();
    replica.kill();
    let length = stage.redis.run(&["XLEN", "live:a"]);
    assert_eq!(length, "22");
    stage.send(&one).is_unavailable();
    stage.says("0 of 1 replicas confirmed it within 3 s; the entry is in the stream, unconfirmed");
    assert_eq!(stage.redis.run(&["XLEN", "live:a"]), "23");
    // What is refused needs no confirmation.
    stage.redis.run(&["CONFIG", "SET", "maxmemory", "1"]);
    stage.send(&none).is_unavailable();
    stage.says("OOM");
}

/// A port that nobody uses now.
fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port().to_string()
}

/// A publisher: what it was answered.
struct Publisher {
    name: usize,
    sent: usize,
    /// The id and the data of each 201.
    created: Vec<(String, String)>,
    waiting: Option<Client>,
}

impl Publisher {
    /// Sends the next POST, or reads what has arrived of the response to the last one.
    fn go_on(&mut self, node: &Responder, read: &Request) {
        let Some(client) = &mut self.waiting else {
            self.sent += 1;
            let text = format!("{} {}", self.name, self.sent);
            let request = post(read, "text/plain", text.as_bytes());
            self.waiting = Some(node.ask(&request));
            return;
        };
        while !client.is_closed && client.read_some(65_536) {}
        if !client.is_closed {
            return;
        }
        let Some(client) = self.waiting.take() else {
            return;
        };
        let answer = Answer::of(client);
        match answer.status {
            201 => {
                let text = format!("{} {}", self.name, self.sent);
                self.created.push((answer.id(), text));
            }
            _ => answer.is_unavailable(),
        }
    }
}

/// Publishers on two nodes, while connections are killed and Redis is killed and started again.
#[test]
fn what_was_answered_by_201_is_in_the_stream_once_and_in_order() {
    let mut stage = Stage::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let other = Folder::in_memory();
    let other = Responder::start(&other);
    let seconds = random::number("SSE_REDIS_SECONDS", 3);
    let mut dice = random::random();
    let mut publishers: Vec<Publisher> = (0..8)
        .map(|name| Publisher {
            name,
            sent: 0,
            created: Vec::new(),
            waiting: None,
        })
        .collect();
    let end = Instant::now() + Duration::from_secs(seconds);
    // On a busy machine a kill can meet every early POST of a publisher.
    let latest = end + Duration::from_secs(60);
    let has_published = |publisher: &Publisher| !publisher.created.is_empty();
    while Instant::now() < end || !publishers.iter().all(has_published) {
        assert!(Instant::now() < latest, "a publisher has no 201");
        match dice.u32(0..200) {
            0..10 => {
                stage.redis.run(&["CLIENT", "KILL", "USER", "publisher"]);
            }
            10 => {
                stage.redis.kill();
                stage.redis.start_again();
            }
            _ => {}
        }
        for publisher in &mut publishers {
            let node = [&stage.responder, &other][dice.usize(0..2)];
            publisher.go_on(node, &stage.read);
        }
    }
    for publisher in &mut publishers {
        wait_for("the last response", || {
            if publisher.waiting.is_some() {
                publisher.go_on(&stage.responder, &stage.read);
            }
            publisher.waiting.is_none().then_some(())
        });
    }
    let all = stage.redis.run(&["XRANGE", "live:a", "-", "+"]);
    let lines: Vec<&str> = all.lines().collect();
    let mut entries = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for entry in lines.chunks(3) {
        let [id, "data", data] = *entry else {
            panic!("{entry:?}");
        };
        assert!(seen.insert(data), "{data} is there twice");
        entries.insert(id, data);
    }
    let place = |id: &str| StreamPlace::of(id);
    for publisher in &publishers {
        for (id, data) in &publisher.created {
            assert_eq!(entries.get(id.as_str()), Some(&data.as_str()), "{id}");
        }
        let places = publisher.created.iter().map(|(id, _)| place(id));
        assert!(places.is_sorted_by(|a, b| a < b), "{:?}", publisher.created);
    }
}

/// The two numbers of an id.
#[derive(Debug, PartialEq, PartialOrd)]
struct StreamPlace(u64, u64);

impl StreamPlace {
    fn of(id: &str) -> Self {
        let (ms, seq) = id.split_once('-').unwrap();
        Self(ms.parse().unwrap(), seq.parse().unwrap())
    }
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
        let is_blocked = |line: &str| line.contains("user=publisher") && line.contains("flags=b");
        list.lines().any(is_blocked).then_some(())
    });
    stage.redis.run(&["CLIENT", "KILL", "USER", "publisher"]);
    Answer::of(client).is_unavailable();
    stage.says("it was sent, and is in the stream or not");
    stage.redis.run(&["CLIENT", "UNPAUSE"]);
    stage.send(&text).id();
    let length: u64 = stage.redis.run(&["XLEN", "live:a"]).parse().unwrap();
    assert!((2..=3).contains(&length), "{length}");
}

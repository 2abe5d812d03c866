//! A Redis Stream and a file in one connection.

use super::peer::{FastCgi, Request, Start};
use super::support::event_stream::shown;
use super::support::folder::Folder;
use super::support::redis::Redis;
use super::{Client, Responder};

const AGAIN: &str = "live/unavailable: {\"stream\":\"live\",\"reason\":\"not available now\"}";

/// A responder that brings the file `app.log` as `log`, and the key `live:a` as `live`.
struct Stage {
    redis: Redis,
    responder: Responder,
    folder: Folder,
}

impl Stage {
    fn new() -> Self {
        let folder = Folder::in_memory();
        let options = ["--appendonly", "yes", "--appendfsync", "always"];
        let redis = Redis::start(&folder, &options);
        folder.write("app.log", "");
        folder.write(
            "streams.conf",
            format!(
                "SSE_HEARTBEAT = 25s\n[/dashboard]\nSSE_STREAMS = log live\n\
                 [stream log]\nSSE_FILE = app.log\n\
                 [stream live]\nSSE_REDIS = {}\nSSE_REDIS_USER = sse\n\
                 SSE_REDIS_PASSWORD_FILE = password\nSSE_STREAM_KEY = live:a\n",
                redis.address()
            ),
        );
        Self {
            responder: start(&folder),
            redis,
            folder,
        }
    }

    fn log(&self, line: &str) {
        self.folder.append("app.log", format!("{line}\n"));
    }

    fn add(&mut self, data: &str) {
        self.redis.add("live:a", data);
    }

    fn ask(&self, last_id: &str) -> Client {
        let request = Request::of("").set("SCRIPT_NAME", "/dashboard");
        let request = request.set("REQUEST_URI", "/dashboard");
        self.responder.ask(&match last_id {
            "" => request,
            id => request.last_id(id),
        })
    }
}

fn start(folder: &Folder) -> Responder {
    let start: Start<FastCgi> = Start::at_socket(folder).argument("--config");
    start.argument(folder.path("streams.conf")).start()
}

/// The next events, in any order between the streams.
#[track_caller]
fn gets(client: &mut Client, expected: &[&str]) {
    let mut found: Vec<String> = expected.iter().map(|_| shown(&client.event())).collect();
    found.sort();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn a_client_resumes_both_at_another_responder() {
    let mut stage = Stage::new();
    stage.log("a");
    stage.add("1");
    let mut client = stage.ask("");
    gets(&mut client, &["live/message: 1", "log/message: a"]);
    stage.add("2");
    client.says(&["live/message: 2"]);
    stage.log("b");
    client.says(&["log/message: b"]);
    let id = client.last_id().to_owned();
    assert!(id.len() <= 255, "{id}");
    client.leave();
    stage.add("3");
    stage.log("c");
    let more = ["live/message: 3", "log/message: c"];
    gets(&mut stage.ask(&id), &more);
    stage.responder.kill();
    stage.responder = start(&stage.folder);
    let mut client = stage.ask(&id);
    gets(&mut client, &more);
    // What was lost is said of the stream that has lost it.
    let id = client.last_id().to_owned();
    client.leave();
    stage.add("4");
    stage.add("5");
    stage.log("d");
    stage.redis.run(&["XTRIM", "live:a", "MAXLEN", "1"]);
    gets(
        &mut stage.ask(&id),
        &[
            "live/gap: {\"stream\":\"live\",\"reason\":\"expired\"}",
            "live/message: 5",
            "log/message: d",
        ],
    );
    // Live, too.
    let mut client = stage.ask("");
    gets(
        &mut client,
        &[
            "log/message: a",
            "log/message: b",
            "log/message: c",
            "log/message: d",
            "live/message: 5",
        ],
    );
    stage.redis.run(&["DEL", "live:a"]);
    stage.add("6");
    client.says(&[
        "live/gap: {\"stream\":\"live\",\"reason\":\"unknown-id\"}",
        "live/message: 6",
    ]);
    stage.log("e");
    client.says(&["log/message: e"]);
    assert_eq!(stage.responder.warnings(), Vec::<String>::new());
}

#[test]
fn the_file_goes_on_while_redis_is_down_and_each_arrives_exactly_once() {
    let mut stage = Stage::new();
    stage.log("a");
    stage.add("1");
    let mut client = stage.ask("");
    gets(&mut client, &["live/message: 1", "log/message: a"]);
    let id = client.last_id().to_owned();
    stage.redis.kill();
    client.says(&[AGAIN]);
    for line in ["b", "c"] {
        stage.log(line);
        client.says(&[&format!("log/message: {line}")]);
    }
    let mut returned = stage.ask(&id);
    gets(&mut returned, &[AGAIN, "log/message: b", "log/message: c"]);
    let mut new = stage.ask("");
    let all = ["log/message: a", "log/message: b", "log/message: c"];
    gets(&mut new, &[&[AGAIN], &all[..]].concat());
    // Its position is kept by the events of the other stream.
    let id = client.last_id().to_owned();
    stage.redis.start_again();
    stage.add("2");
    client.says(&["live/message: 2"]);
    returned.says(&["live/message: 2"]);
    // Its own reader may be back before the one that all share, of which it is told then.
    for expected in ["live/message: 1", "live/message: 2"] {
        let mut event = shown(&new.event());
        while event == AGAIN {
            event = shown(&new.event());
        }
        assert_eq!(event, expected);
    }
    let mut returned_again = stage.ask(&id);
    returned_again.says(&["live/message: 2"]);
    for number in 3..10 {
        stage.add(&number.to_string());
        stage.log(&number.to_string());
    }
    for client in [&mut client, &mut returned, &mut new, &mut returned_again] {
        let mut next = [3, 3];
        while next != [10, 10] {
            let event = shown(&client.event());
            let own = usize::from(event.starts_with("log/"));
            let (_, number) = event.split_once("/message: ").unwrap();
            assert_eq!(number, next[own].to_string(), "{event}");
            next[own] += 1;
        }
    }
}

//! Several streams in one connection: what a client of `?s=…` receives.

use std::collections::BTreeSet;

use super::configured::{configure, get, rewrite, status};
use super::peer::{Client, Folder, Request, Responder, shown, wait_for};

/// Two streams of lines, and one of a JSON Lines file.
const CONFIGURATION: &str = "\
SSE_HEARTBEAT = 25s
[/dashboard]
SSE_STREAMS = log builds notes
[stream log]
SSE_FILE = app.log
[stream builds]
SSE_FILE = builds.jsonl
[stream notes]
SSE_FILE = notes.log
SSE_EVENT = note
";

fn dashboard(folder: &Folder) -> Responder {
    folder.write("app.log", "a\nb\n");
    folder.write("builds.jsonl", "{\"event\":\"build\",\"data\":{\"n\":1}}\n");
    folder.write("notes.log", "x\n");
    configure(folder, CONFIGURATION).start()
}

fn asked(query: &str) -> Request {
    get("/dashboard").query(query)
}

/// The next events, in any order between the streams.
#[track_caller]
fn gets(client: &mut Client, expected: &[&str]) {
    let found: BTreeSet<String> = expected.iter().map(|_| shown(&client.event())).collect();
    let expected: BTreeSet<String> = expected.iter().map(|text| (*text).to_owned()).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_connection_brings_the_events_of_each_stream_and_resumes_each() {
    let folder = Folder::in_memory();
    let responder = dashboard(&folder);
    let mut client = responder.ask(&asked("s=builds&s=log"));
    gets(
        &mut client,
        &[
            "log/message: a",
            "log/message: b",
            "builds/build: {\"n\":1}",
        ],
    );
    folder.append("app.log", "c\n");
    client.says(&["log/message: c"]);
    folder.append("notes.log", "y\n");
    folder.append("builds.jsonl", "{\"data\":2}\n");
    client.says(&["builds/message: 2"]);
    let id = client.last_id().to_owned();
    assert!(id.len() <= 255);
    client.leave();
    folder.append("app.log", "d\n");
    folder.append("builds.jsonl", "{\"data\":3}\n");
    let mut client = responder.ask(&asked("s=log&s=builds").last_id(&id));
    gets(&mut client, &["log/message: d", "builds/message: 3"]);
    // Another set: what stays is resumed, what is new is as for a first-time client.
    let id = client.last_id().to_owned();
    client.leave();
    folder.append("app.log", "e\n");
    let mut client = responder.ask(&asked("s=log&s=notes").last_id(&id));
    gets(
        &mut client,
        &["log/message: e", "notes/note: x", "notes/note: y"],
    );
    assert_eq!(responder.warnings(), Vec::<String>::new());
}

#[test]
fn a_page_may_have_the_stream_in_a_field() {
    let folder = Folder::in_memory();
    let responder = dashboard(&folder);
    let mut client = responder.ask(&asked("s=builds&as=field"));
    client.says(&["build: {\"stream\":\"builds\",\"data\":\"{\\\"n\\\":1}\"}"]);
    let mut client = responder.ask(&asked("s=log&as=field"));
    client.says(&[
        "{\"stream\":\"log\",\"data\":\"a\"}",
        "{\"stream\":\"log\",\"data\":\"b\"}",
    ]);
    // The stream's own events are named by it.
    folder.write("app.log", "");
    client.says(&["log/gap: {\"stream\":\"log\",\"reason\":\"truncated\"}"]);
}

#[test]
fn what_a_client_does_not_get_is_said_and_the_rest_is_served() {
    let folder = Folder::in_memory();
    let responder = dashboard(&folder);
    let mut client = responder.ask(&asked("s=log&s=nope"));
    client.says(&[
        "nope/unavailable: {\"stream\":\"nope\",\"reason\":\"no such stream, or no access\"}",
        "log/message: a",
        "log/message: b",
    ]);
    for (query, expected) in [
        ("s=nope", 404),
        ("s=log&s=a/b", 400),
        ("s=log&s=", 400),
        ("s=log&as=other", 400),
    ] {
        assert_eq!(status(&responder, &asked(query)).0, expected, "{query}");
    }
    let mut client = responder.ask(&asked("s=log").last_id("12-nonsense"));
    client.says(&["gap: {\"reason\":\"bad-id\"}", "log/message: a"]);
}

#[test]
fn a_stream_whose_file_is_missing_does_not_delay_the_others() {
    let folder = Folder::in_memory();
    let responder = dashboard(&folder);
    std::fs::remove_file(folder.path("notes.log")).unwrap();
    let mut client = responder.ask(&asked("s=log&s=notes"));
    client.says(&["log/message: a", "log/message: b"]);
    let missing = "notes/unavailable: {\"stream\":\"notes\",\"reason\":\"the file does not exist \
                   yet\"}";
    client.says(&[missing]);
    folder.append("notes.log", "new\n");
    client.says(&["notes/note: new"]);
}

#[test]
fn subscribers_of_a_set_share_its_reading_whatever_the_order() {
    let folder = Folder::in_memory();
    let responder = dashboard(&folder);
    let queries = ["s=log&s=builds", "s=builds&s=log", "s=builds&s=log&s=log"];
    let mut clients = queries.map(|query| responder.ask(&asked(query)));
    for client in &mut clients {
        gets(
            client,
            &[
                "log/message: a",
                "log/message: b",
                "builds/build: {\"n\":1}",
            ],
        );
    }
    for number in 0..30 {
        folder.append("app.log", format!("{number}\n"));
        folder.append("builds.jsonl", format!("{{\"data\":{number}}}\n"));
    }
    for client in &mut clients {
        let mut next = [0, 0];
        while next != [30, 30] {
            let event = shown(&client.event());
            let (stream, number) = event.split_once("/message: ").unwrap();
            let own = usize::from(stream == "builds");
            assert_eq!(number, next[own].to_string(), "{event}");
            next[own] += 1;
        }
    }
    // Each of two files is watched once, whatever the number of subscribers.
    wait_for("one reader", || {
        let open = responder.descriptors();
        let count = |name: &str| open.iter().filter(|path| path.ends_with(name)).count();
        ((count("app.log"), count("builds.jsonl")) == (1, 1)).then_some(())
    });
}

#[test]
fn a_mistake_in_the_streams_ends_the_start() {
    let folder = Folder::new();
    let check = |text: &str, expected: &str| {
        let (code, said) = configure(&folder, text).run();
        assert_eq!(code, 100, "{said}");
        assert!(said.contains(expected), "{said}");
    };
    let of = |streams: &str, rest: &str| format!("[/d]\nSSE_STREAMS = {streams}\n{rest}");
    check(
        &of("log", ""),
        ":2: SSE_STREAMS=log: the settings file has no section for it; add [stream log]",
    );
    check(
        &of("log a/b", ""),
        ":2: SSE_STREAMS=a/b: not the name of a stream; write 1 to 64 letters",
    );
    check(
        &of("log log", ""),
        ":2: SSE_STREAMS=log: it occurs twice; keep one of them",
    );
    // They have one tag: see `event::Tag`.
    let pair = equal_tags();
    check(
        &of(&pair.join(" "), ""),
        "the ids of clients could not distinguish",
    );
    check(
        &of("c", "[stream c]\nSSE_STREAM = clock\n"),
        "[stream c]: SSE_STREAM=clock: ",
    );
    check(
        &of("c", "[stream c]\nSSE_FILE = f\nSSE_INTERVAL = 1s\n"),
        ":5: SSE_INTERVAL=1s: not a setting of one stream of several",
    );
    check(
        &of("c", "[stream c]\nSSE_FILE = f\nSSE_REDIS = unix:/r\n"),
        ":5: SSE_REDIS=unix:/r: the stream tail does not read it; remove the line",
    );
    check(
        &of("c", "[stream c]\nSSE_FILE = f\nSSE_FILTER = /(/\n"),
        "[stream c]: SSE_FILTER=/(/: ",
    );
    check(
        "[/d]\nSSE_STREAM = tail\nSSE_STREAMS = c\n[stream c]\nSSE_FILE = f\n",
        ":2: SSE_STREAM=tail: SSE_STREAMS is set as well",
    );
    let many: Vec<String> = (0..14).map(|n| format!("s{n}")).collect();
    let sections = many.iter().map(|n| format!("[stream {n}]\nSSE_FILE = f\n"));
    check(
        &of(&many.join(" "), &sections.collect::<String>()),
        "too many streams for one connection; write 13 files or 19 Redis Streams at most",
    );
    rewrite(&folder, "");
}

/// Two names that an id could not distinguish.
fn equal_tags() -> [String; 2] {
    let names: Vec<String> = (0..2000).map(|n| format!("n{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (one, other) = sse_cgi::event::Tag::first_pair(&names).unwrap();
    [one.into(), other.into()]
}

//! `nph-tail` in the format `jsonl`.

use crate::stage::{Folder, Program};
use crate::support::event_stream::Item;

#[test]
fn a_line_is_the_event_it_describes_and_what_is_no_object_is_invalid() {
    let folder = Folder::new();
    let deep = format!(
        "{{\"data\":{}{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let bracket = "[".repeat(200_000);
    let mut text = Vec::new();
    for line in [
        "\u{FEFF}{\"event\":\"bom\",\"data\":\"first\"}",
        "{\"data\":\"two\\nlines\"}",
        "{\"event\":\"a\",\"data\":{\"b\": 1.0}}\r",
        "",
        "   \t",
        "{\"data\":\"\\u0000nul\\ud800\"}",
        "{}",
        "not json",
        "[1]",
        "{\"data\":1} {}",
        "{\"event\":\"\\r\\n\\u0000\",\"data\":2}",
        "{\"event\":\"ev\\nid: 9\",\"data\":3}",
        &deep,
        &bracket,
        "{\"id\":\"mine\",\"data\":4}",
        "{\"retry\":5000,\"comment\":\"a\\nb\",\"data\":5}",
    ] {
        text.extend_from_slice(line.as_bytes());
        text.push(b'\n');
    }
    text.extend_from_slice(b"{\"data\":\"\xFF\0\"}\n\xFF\xFE\n{\"data\":\"end\"}\n");
    let file = folder.write("log.jsonl", &text);
    let mut stream = Program::tail(&file).set("SSE_BACKLOG", "100").start();
    let deep_data = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    stream.says(&[
        "bom: first",
        "two\nlines",
        "a: {\"b\": 1.0}",
        "nul\u{FFFD}\u{FFFD}\u{FFFD}",
        "",
        "invalid: not json",
        "invalid: [1]",
        "invalid: {\"data\":1} {}",
        "2",
        "evid: 9: 3",
        &deep_data,
        &format!("invalid: {bracket}"),
        "4",
    ]);
    assert_eq!(stream.next(), Some(Item::Comment(" a".into())));
    assert_eq!(stream.next(), Some(Item::Comment(" b".into())));
    assert_eq!(stream.next(), Some(Item::Retry(5000)));
    stream.says(&[
        "5",
        "invalid: {\"data\":\"\u{FFFD}\"}",
        "invalid: \u{FFFD}\u{FFFD}",
        "end",
    ]);
}

#[test]
fn a_stream_that_opens_with_nothing_but_comments_tells_its_place() {
    let folder = Folder::new();
    let file = folder.write("log.jsonl", "{\"comment\":\"a\"}\n{\"retry\":2000}\n");
    let start = std::time::Instant::now();
    let mut stream = Program::tail(&file).start();
    loop {
        match stream.next() {
            Some(Item::Blank { id, dropped: None }) => {
                break assert!(id.starts_with("31-"), "{id}");
            }
            Some(Item::Comment(_) | Item::Retry(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    // Earlier than the first heartbeat.
    assert!(start.elapsed().as_secs() < 5);
    // A client that disconnects now gets everything after this, and nothing twice.
    let id = stream.last_id().to_owned();
    drop(stream);
    folder.append("log.jsonl", "{\"data\":1}\n".repeat(20));
    let mut again = Program::tail(&file).last_id(&id).start();
    assert_eq!(again.events(20).len(), 20);
    assert_eq!(again.last_id().split('-').next(), Some("251"));
}

#[test]
fn comments_move_the_id_by_the_next_heartbeat_also_when_they_never_pause() {
    let folder = Folder::new();
    let file = folder.write("log.jsonl", "{\"data\":1}\n");
    let mut stream = Program::tail(&file).set("SSE_HEARTBEAT", "1s").start();
    stream.says(&["1"]);
    let start = std::time::Instant::now();
    let moved = loop {
        folder.append("log.jsonl", "{\"comment\":\"busy\"}\n");
        match stream.next() {
            Some(Item::Blank { id, .. }) => break id,
            Some(Item::Comment(_)) => {}
            other => panic!("{other:?}"),
        }
        assert!(
            start.elapsed().as_millis() < 2_500,
            "the id stays where it was"
        );
        std::thread::sleep(std::time::Duration::from_millis(100));
    };
    let offset: u64 = moved.split('-').next().unwrap().parse().unwrap();
    assert!(offset > 11, "{moved}");
    // Also when they are followed by silence.
    let file = folder.write("quiet.jsonl", "{\"data\":1}\n");
    let mut quiet = Program::tail(&file).set("SSE_HEARTBEAT", "1s").start();
    quiet.says(&["1"]);
    folder.append("quiet.jsonl", "{\"comment\":\"x\"}\n");
    assert_eq!(quiet.next(), Some(Item::Comment(" x".into())));
    assert!(matches!(quiet.next(), Some(Item::Blank { id, .. }) if id.starts_with("27-")));
}

#[test]
fn a_backlog_counts_lines_that_are_not_empty() {
    let folder = Folder::new();
    let file = folder.write(
        "a.ndjson",
        "{\"data\":1}\n\n{\"data\":2}\n \n\n{\"data\":3}\n\n",
    );
    let mut stream = Program::tail(&file).set("SSE_BACKLOG", "2").start();
    stream.says(&["2", "3"]);
}

#[test]
fn a_line_of_somebody_else_s_json_is_a_message_and_sets_no_retry() {
    let folder = Folder::new();
    let lines = [
        r#"{"msg":"hi"}"#,
        r#"{"msg":"x","retry":3}"#,
        r#"{"event":"close","logger":"db"}"#,
        r#"  {"level":"info", "id":5, "comment":"c"}"#,
        r#"{"retry":"soon"}"#,
        r#"{"event":7}"#,
        r#"{"after":"1s"}"#,
    ];
    let text = format!(
        "{}\n{{\"data\":\"end\",\"msg\":\"x\"}}\n",
        lines.join("\r\n")
    );
    let file = folder.write("log.ndjson", text);
    let mut stream = Program::tail(&file).start().opened();
    let mut said = Vec::new();
    while said.last().is_none_or(|last| last != "end") {
        match stream.next() {
            Some(Item::Event(event)) => said.push(crate::stage::shown(&event)),
            Some(Item::Blank { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(said[..lines.len()], lines);
    // When a record's own id is passed on, all data has the same form.
    let mut stream = Program::tail(&file).set("SSE_SOURCE_ID", "yes").start();
    let own = r#"{"source_id":5,"data":{"level":"info", "id":5, "comment":"c"}}"#;
    assert_eq!(stream.events(4)[3].data, own);
}

#[test]
fn a_line_of_our_own_fields_is_what_it_was() {
    let folder = Folder::new();
    let text = "{\"event\":\"x\"}\n{}\n{\"retry\":2000}\n{\"comment\":\"c\"}\n\
                {\"event\":\"x\",\"retry\":3000,\"id\":1}\n{\"id\":1}\n";
    let file = folder.write("log.jsonl", text);
    let mut stream = Program::tail(&file).start();
    stream.says(&["x: ", ""]);
    assert_eq!(stream.next(), Some(Item::Retry(2000)));
    assert_eq!(stream.next(), Some(Item::Comment(" c".into())));
    assert_eq!(stream.next(), Some(Item::Retry(3000)));
    stream.says(&["x: ", ""]);
}

#[test]
fn a_file_cannot_close_the_page_or_speak_for_the_stream_or_eventsource() {
    let folder = Folder::new();
    let names = ["close", "gap", "unavailable", "error", "open"];
    let with_data = |name: &&str| format!("{{\"event\":\"{name}\",\"data\":\"of {name}\"}}\n");
    let mut text: String = names.iter().map(with_data).collect();
    text.push_str("{\"event\":\"close\"}\n{\"event\":\"Close\",\"data\":1}\n");
    let file = folder.write("log.jsonl", text);
    let log = folder.path("errors.log");
    let mut stream = Program::tail(&file).set("SSE_LOG", &log).start();
    stream.says(&[
        "of close",
        "of gap",
        "of unavailable",
        "of error",
        "of open",
        "{\"event\":\"close\"}",
        "Close: 1",
    ]);
    let said = std::fs::read_to_string(log).unwrap();
    for name in names {
        let line = format!("log.jsonl: an event is named {name}, which only the stream itself");
        assert!(said.contains(&line), "{said}");
    }
}

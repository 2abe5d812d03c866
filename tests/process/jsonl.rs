//! `nph-tail` in the format `jsonl`.

use crate::parser::Item;
use crate::stage::{Folder, Program};

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
    // Not only with the first heartbeat.
    assert!(start.elapsed().as_secs() < 5);
    // Cut off now, the client gets everything that comes after, and nothing twice.
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
    // And when there is silence after them.
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

//! Scripts.

use std::time::{Duration, Instant};

use crate::stage::{Folder, Program};
use crate::support::event_stream::Item;

const BOARD: &str = r#"{"after":"0s","event":"initial","data":[1,2]}
{"after":"100ms","event":"update","data":{"a": 1}}
{"after":"100ms","data":"same time"}

{"after":"300ms","event":"removal","data":"x"}
"#;

fn script(folder: &Folder, text: &str) -> Program {
    Program::nph("script").set("SSE_FILE", folder.write("script.jsonl", text))
}

#[test]
fn events_come_when_they_are_due_in_the_order_of_their_lines_and_then_it_closes() {
    let folder = Folder::new();
    let mut stream = script(&folder, BOARD).start();
    let start = Instant::now();
    stream.says(&["initial: [1,2]"]);
    stream.says(&["update: {\"a\": 1}", "same time"]);
    let due = start.elapsed();
    stream.says(&["removal: x", "close: "]);
    assert!(due > Duration::from_millis(60), "{due:?}");
    assert!(start.elapsed() > Duration::from_millis(260));
    assert_eq!((stream.next(), stream.code()), (None, 0));
    let (code, head, _) = script(&folder, BOARD).last_id(stream.last_id()).run();
    assert_eq!((code, &head[..23]), (0, "HTTP/1.1 204 No Content"));
}

#[test]
fn a_new_process_that_knows_only_the_id_gives_what_was_missed_and_then_waits() {
    let folder = Folder::new();
    let text = r#"{"after":"0s","data":"a"}
{"after":"200ms","data":"b"}
{"after":"400ms","data":"c"}
{"after":"900ms","data":"d"}
{"after":"1h","data":"never"}"#;
    let mut stream = script(&folder, text).start();
    let start = Instant::now();
    stream.says(&["a"]);
    let id = stream.last_id().to_owned();
    drop(stream);
    // Away while b and c were due: nothing but time makes them so.
    std::thread::sleep(Duration::from_millis(500).saturating_sub(start.elapsed()));
    let mut again = script(&folder, text).last_id(&id).start();
    again.says(&["b", "c"]);
    assert!(
        start.elapsed() < Duration::from_millis(850),
        "{:?}",
        start.elapsed()
    );
    again.says(&["d"]);
    assert!(
        start.elapsed() > Duration::from_millis(850),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_client_that_reconnects_after_every_event_gets_each_once() {
    let folder = Folder::new();
    let text = r#"{"every":"30ms","data":"tick"}
{"every":"50ms","event":"tock"}
{"after":"400ms","event":"close"}"#;
    let (mut said, mut id) = (Vec::new(), String::new());
    loop {
        let mut stream = script(&folder, text).last_id(&id).start();
        if stream.head().contains(" 204 ") {
            break;
        }
        let event = stream.event();
        said.push(crate::stage::shown(&event));
        id = event.id;
    }
    let count = |what: &str| said.iter().filter(|s| *s == what).count();
    // Due together with the close at 400 ms, tock comes before it: its line does.
    assert_eq!(
        (count("tick"), count("tock: "), count("close: ")),
        (13, 8, 1),
        "{said:?}"
    );
}

#[test]
fn every_repeats_and_has_no_end() {
    let folder = Folder::new();
    let mut stream = script(&folder, r#"{"every":"20ms","data":"x"}"#).start();
    let events = stream.events(5);
    let ids: std::collections::HashSet<&str> = events.iter().map(|e| e.id.as_str()).collect();
    assert_eq!(ids.len(), 5);
}

#[test]
fn more_beats_than_are_made_up_for_are_a_gap() {
    let folder = Folder::new();
    let text = r#"{"every":"1s","data":"x"}"#;
    let long_ago = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() - 3_600_000;
    let id = format!("{long_ago}-1000-1");
    let mut stream = script(&folder, text).last_id(&id).start();
    stream.says(&["gap: {\"reason\":\"expired\"}"]);
    assert_eq!(stream.events(1_000).last().unwrap().data, "x");
}

#[test]
fn a_place_in_the_future_is_unknown_and_does_not_silence_the_stream() {
    let folder = Folder::new();
    let text = "{\"after\":\"0s\",\"data\":\"a\"}\n{\"every\":\"20ms\",\"data\":\"b\"}\n";
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    for id in [
        format!("{now}-999999999999-1"),
        format!("{now}-18446744073709551615-2"),
        format!("{}-0-0", now + 3_600_000),
        format!("{now}-0-3"),
    ] {
        let mut stream = script(&folder, text).last_id(&id).start();
        stream.says(&["gap: {\"reason\":\"unknown-id\"}", "a", "b", "b"]);
    }
}

#[test]
fn a_bad_line_is_refused_and_named() {
    let folder = Folder::new();
    for (text, line, words) in [
        (
            "{\"after\":\"1s\"}\n\nnonsense\n",
            "line 3: ",
            "write one JSON object",
        ),
        ("{\"after\":\"1 s\"}\n", "line 1: after: ", "not a duration"),
        ("{\"after\":5}\n", "line 1: ", "neither after nor every"),
        ("{\"data\":5}\n", "line 1: ", "neither after nor every"),
        (
            "{\"after\":\"1s\"}\n{\"every\":\"x\"}",
            "line 2: every: ",
            "not a duration",
        ),
        ("[1]\n", "line 1: ", "write one JSON object"),
    ] {
        let mut stream = script(&folder, text).start();
        assert!(stream.head().starts_with("HTTP/1.1 500 "));
        assert_eq!((stream.next(), stream.code()), (None, 100));
        let said = stream.stderr();
        assert_eq!(said.lines().count(), 1, "{said}");
        for part in ["SSE_FILE=", line, words] {
            assert!(said.contains(part), "{part} in {said}");
        }
    }
}

#[test]
fn comments_and_retry_of_a_script_are_passed_on() {
    let folder = Folder::new();
    let text = "\u{FEFF}{\"after\":\"0s\",\"comment\":\"hello\",\"retry\":2000}\r\n\
                {\"after\":\"0s\",\"comment\":\"c\",\"data\":\"x\"}\r\n";
    let mut stream = script(&folder, text).start().opened();
    assert_eq!(stream.next(), Some(Item::Comment(" hello".into())));
    assert_eq!(stream.next(), Some(Item::Retry(2000)));
    assert_eq!(stream.next(), Some(Item::Comment(" c".into())));
    stream.says(&["x", "close: "]);
}

#[test]
fn a_script_without_lines_closes_at_once() {
    let folder = Folder::new();
    for text in ["", "\n\n", "\u{FEFF}", "\u{FEFF}\r\n"] {
        let mut stream = script(&folder, text).start();
        stream.says(&["close: "]);
        assert_eq!((stream.next(), stream.code()), (None, 0));
    }
}

#[test]
fn a_script_that_is_missing_for_a_moment_does_not_end_the_client_for_good() {
    let folder = Folder::new();
    let path = folder.path("script.jsonl");
    let program = || Program::nph("script").set("SSE_FILE", &path);
    let (code, head, items) = program().run();
    assert_eq!(code, 0);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let is_unavailable =
        |item: &Item| matches!(item, Item::Event(event) if event.name == "unavailable");
    assert!(items.iter().any(is_unavailable), "{items:?}");
    folder.write("script.jsonl", "{\"after\":\"0s\",\"data\":\"x\"}\n");
    program().start().says(&["x", "close: "]);
}

#[test]
fn a_folder_is_no_script() {
    let folder = Folder::new();
    let mut stream = Program::nph("script")
        .set("SSE_FILE", folder.path(""))
        .start();
    assert!(stream.head().starts_with("HTTP/1.1 500 "));
}

#[test]
fn a_script_cannot_speak_for_the_stream_or_eventsource_but_may_end() {
    let folder = Folder::new();
    let text = r#"{"after":"0s","event":"error","data":"a"}
{"after":"0s","event":"gap"}
{"after":"0s","msg":"b","retry":1}
{"after":"0s","event":"close","data":"c"}
"#;
    let mut stream = script(&folder, text).start();
    stream.says(&[
        "a",
        r#"{"after":"0s","event":"gap"}"#,
        r#"{"after":"0s","msg":"b","retry":1}"#,
        "close: c",
    ]);
    let said = stream.stderr();
    for part in [
        "line 1: an event is named error",
        "line 2: an event is named gap",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!said.contains("close"), "{said}");
}

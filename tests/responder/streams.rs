//! What subscribers receive.

use std::time::{Duration, Instant};

use super::peer::{COMPLETE, Folder, Protocol as _, Request, Responder, Spoken, Start, shown};
use crate::support::event_stream::Item;

#[test]
fn two_subscribers_get_each_event_once_before_the_next_is_written() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "old\n");
    let responder = Responder::start(&folder);
    let mut both = [0, 1].map(|_| responder.ask(&Request::tail(&file)));
    for client in &mut both {
        client.says(&["old"]);
    }
    for number in 0..50 {
        folder.append("log", format!("{number}\n"));
        for client in &mut both {
            client.says(&[&number.to_string()]);
        }
    }
    assert_eq!(both[0].last_id(), both[1].last_id());
}

#[test]
fn a_head_says_what_streaming_needs_and_opens_with_retry_and_a_comment() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "");
    let responder = Responder::start(&folder);
    let mut client = responder.ask(&Request::tail(&file).set("SSE_RETRY", "8s"));
    let head = client.head();
    for line in [
        "Content-Type: text/event-stream; charset=utf-8",
        "Cache-Control: no-cache, no-transform",
        "X-Accel-Buffering: no",
    ] {
        assert!(head.contains(&format!("{line}\r\n")), "{head}");
    }
    // A web server writes both itself.
    let is_alone = Spoken::HAS_NO_WEB_SERVER;
    assert_eq!(head.starts_with("HTTP/1.1 200 OK\r\n"), is_alone, "{head}");
    assert_eq!(head.contains("Connection: close\r\n"), is_alone, "{head}");
    let Some(Item::Retry(ms)) = client.next() else {
        panic!("no retry");
    };
    assert!((6_000..=12_000).contains(&ms), "{ms}");
    assert_eq!(client.next(), Some(Item::Comment(" sse-cgi".into())));
    assert!(matches!(client.next(), Some(Item::Blank { .. })));
}

#[test]
fn a_first_time_client_gets_the_backlog_and_one_that_returns_what_it_missed() {
    let folder = Folder::in_memory();
    let lines: String = (1..=20).map(|n| format!("{n}\n")).collect();
    let file = folder.write("log", lines);
    let responder = Responder::start(&folder);
    let request = Request::tail(&file).set("SSE_BACKLOG", "3");
    let mut first = responder.ask(&request);
    first.says(&["18", "19", "20"]);
    let id = first.last_id().to_owned();
    drop(first);
    folder.append("log", "21\n22\n");
    let mut again = responder.ask(&request.clone().last_id(&id));
    again.says(&["21", "22"]);
    // Also with others, and from the query.
    folder.append("log", "23\n");
    again.says(&["23"]);
    let query = format!("lastEventId={id}");
    let mut by_query = responder.ask(&request.query(&query));
    by_query.says(&["21", "22", "23"]);
}

#[test]
fn a_bad_or_unknown_id_is_a_gap_and_no_error() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "1\n2\n3\n");
    let responder = Responder::start(&folder);
    let request = Request::tail(&file).set("SSE_BACKLOG", "2");
    let _other = responder.ask(&request).opened();
    for bad in ["nonsense", "5-", "\u{e9}", "1-2, 3-4"] {
        let mut client = responder.ask(&request.clone().last_id(bad));
        client.says(&["gap: {\"reason\":\"bad-id\"}", "2", "3"]);
    }
    let doubled = request.clone().last_id("a").add("HTTP_LAST_EVENT_ID", "b");
    let mut client = responder.ask(&doubled);
    client.says(&["gap: {\"reason\":\"bad-id\"}", "2", "3"]);
    // Nothing here corresponds to it: the file from its start.
    let unknown = request.last_id("4-0123456789abcdef");
    let mut client = responder.ask(&unknown);
    client.says(&["gap: {\"reason\":\"unknown-id\"}", "1", "2", "3"]);
}

#[test]
fn a_countdown_ends_with_close_and_its_client_is_not_asked_to_return() {
    let folder = Folder::in_memory();
    let responder = Responder::start(&folder);
    let request = Request::of("countdown")
        .set("SSE_COUNT", "2")
        .set("SSE_INTERVAL", "10ms");
    let mut client = responder.ask(&request);
    let said: Vec<String> = client.rest().iter().map(shown).collect();
    assert_eq!(said, ["2", "1", "0", "close: "]);
    assert_eq!(client.whole(), COMPLETE);
    client.is_closed_soon();
    let mut again = responder.ask(&request.last_id(client.last_id()));
    assert_eq!((again.status(), again.whole()), (204, COMPLETE));
}

#[test]
fn a_method_or_accept_that_is_not_served_is_answered_without_a_stream() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "1\n");
    let responder = Responder::start(&folder);
    let tail = || Request::tail(&file);
    for (request, status, field) in [
        (tail().method("HEAD"), 200, "text/event-stream"),
        (tail().method("OPTIONS"), 204, "Allow: GET, HEAD, OPTIONS"),
        (
            tail().method("POST").body(b"x"),
            405,
            "Allow: GET, HEAD, OPTIONS",
        ),
        (tail().set("HTTP_ACCEPT", "text/html"), 406, ""),
        (
            Request::of("tail")
                .set("SSE_ROOT", file.parent().unwrap().to_str().unwrap())
                .set("PATH_INFO", "/missing"),
            404,
            "",
        ),
        (Request::of("").set("SCRIPT_NAME", "/nothing"), 404, ""),
    ] {
        let mut client = responder.ask(&request);
        assert_eq!(client.status(), status);
        assert!(client.head().contains(field), "{}", client.head());
        assert_eq!((client.whole(), client.rest()), (COMPLETE, vec![]));
        client.is_closed_soon();
    }
}

#[test]
fn a_name_below_the_root_is_served_and_one_outside_looks_missing() {
    let folder = Folder::in_memory();
    std::fs::create_dir(folder.path("root")).unwrap();
    folder.write("root/log", "inside\n");
    folder.write("secret", "outside\n");
    std::os::unix::fs::symlink("../secret", folder.path("root/link")).unwrap();
    let responder = Responder::start(&folder);
    let root = folder.path("root");
    let request = Request::of("tail").set("SSE_ROOT", root.to_str().unwrap());
    let mut client = responder.ask(&request.clone().set("PATH_INFO", "/log"));
    client.says(&["inside"]);
    for outside in ["/../secret", "/link", "/.hidden", "/"] {
        let mut client = responder.ask(&request.clone().set("PATH_INFO", outside));
        assert_eq!(client.status(), 404, "{outside}");
        assert_eq!(client.whole(), COMPLETE);
    }
}

#[test]
fn a_location_wins_over_the_environment() {
    let folder = Folder::in_memory();
    let (default, own) = (
        folder.write("default", "default\n"),
        folder.write("own", "own\n"),
    );
    let responder = Start::at_socket(&folder)
        .set("SSE_STREAM", "tail")
        .set("SSE_FILE", &default)
        .start();
    // nginx sends unset parameters as empty values.
    let mut client = responder.ask(&Request::of("").set("SSE_FILE", ""));
    client.says(&["default"]);
    let mut client = responder.ask(&Request::tail(&own));
    client.says(&["own"]);
}

#[test]
fn a_state_file_is_one_event_at_each_change_for_everybody() {
    let folder = Folder::in_memory();
    let file = folder.write("board", "one\nline");
    let responder = Responder::start(&folder);
    let request = Request::tail(&file)
        .set("SSE_FORMAT", "state")
        .set("SSE_EVENT", "board");
    let mut all = [0, 1, 2].map(|_| responder.ask(&request));
    for client in &mut all {
        client.says(&["board: one\nline"]);
    }
    for text in ["two", "", "three\n\nlines"] {
        folder.write("new", text);
        folder.rename("new", "board");
        for client in &mut all {
            client.says(&[&format!("board: {text}")]);
        }
    }
    let id = all[0].last_id().to_owned();
    // A client that has it does not get it again.
    let mut again = responder.ask(&request.last_id(&id)).opened();
    folder.write("new", "four");
    folder.rename("new", "board");
    again.says(&["board: four"]);
}

#[test]
fn who_filters_otherwise_has_a_stream_of_his_own() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "");
    let responder = Responder::start(&folder);
    let of = |filter: &str| {
        let request = Request::tail(&file).set("SSE_FILTER", filter);
        responder.ask(&request).opened()
    };
    let asked = |query: &str, allowed: &str| {
        let request = Request::tail(&file).set("SSE_ALLOW_FILTER", allowed);
        responder.ask(&request.query(query)).opened()
    };
    let mut clients = [
        (of("a"), vec!["a", "ab", "end ab"]),
        (of("b"), vec!["b", "ab", "end ab"]),
        (of("a"), vec!["a", "ab", "end ab"]),
        (of("!a"), vec!["b", "c"]),
        (of(""), vec!["a", "b", "c", "ab", "end ab"]),
        (of("/^[ab]$/"), vec!["a", "b"]),
        (asked("filter=b", "yes"), vec!["b", "ab", "end ab"]),
        (asked("filter=b", "no"), vec!["a", "b", "c", "ab", "end ab"]),
    ];
    for line in ["a\n", "b\n", "c\n", "ab\n", "end ab\n"] {
        folder.append("log", line);
    }
    for (client, expected) in &mut clients {
        client.says(expected);
    }
    // One channel for each of the six, for any number of followers.
    let on_it = responder
        .descriptors()
        .iter()
        .filter(|path| **path == file)
        .count();
    assert_eq!(on_it, 6);
}

#[test]
fn comments_and_names_of_jsonl_reach_everybody() {
    let folder = Folder::in_memory();
    let file = folder.write("log.jsonl", "");
    let responder = Responder::start(&folder);
    let mut all = [0, 1].map(|_| responder.ask(&Request::tail(&file)).opened());
    for client in &mut all {
        assert!(matches!(client.next(), Some(Item::Blank { .. })));
    }
    folder.append(
        "log.jsonl",
        "{\"comment\":\"psst\"}\n{\"event\":\"update\",\"data\":{\"n\":1}}\nnonsense\n{\"retry\":5000}\n{\"data\":\"end\"}\n",
    );
    for client in &mut all {
        assert_eq!(client.next(), Some(Item::Comment(" psst".into())));
        client.says(&["update: {\"n\":1}", "invalid: nonsense"]);
        assert_eq!(client.next(), Some(Item::Retry(5000)));
        client.says(&["end"]);
    }
}

/// The regression: it was polled twice a second instead.
#[test]
fn who_limits_the_size_of_its_stream_is_told_of_changes_besides_others() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "");
    let responder = Responder::start(&folder);
    let _other = responder.ask(&Request::tail(&file)).opened();
    let limited = Request::tail(&file).query("evs_buffer_size_limit=1000000");
    let mut client = responder.ask(&limited).opened();
    let start = Instant::now();
    for number in 0..30 {
        folder.append("log", format!("{number}\n"));
        client.says(&[&number.to_string()]);
    }
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
}

//! The first bytes of a response.

use std::path::Path;

use crate::stage::{EVERY_WAY, Folder, Over, Program};
use crate::support::event_stream::Item;

/// The head with the one line that changes left out.
fn without_date(head: &str) -> String {
    let (before, rest) = head.split_once("Date: ").expect("a date");
    let (date, after) = rest.split_once("\r\n").unwrap();
    assert!(date.len() == 29 && date.ends_with(" GMT"), "{date:?}");
    format!("{before}{after}")
}

const NPH: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
                   Cache-Control: no-cache, no-transform\r\nX-Accel-Buffering: no\r\nConnection: close\r\n\r\n";

const PLAIN: &str = "Status: 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
                     Cache-Control: no-cache, no-transform\r\nX-Accel-Buffering: no\r\n\r\n";

#[test]
fn head_retry_and_first_comment_come_in_one_read() {
    let folder = Folder::new();
    let file = folder.write("s", "{\"after\":\"1h\",\"data\":\"x\"}\n");
    for over in EVERY_WAY {
        for name in ["clock", "countdown", "script", "tail"] {
            let program = Program::nph(name).set("SSE_FILE", &file).over(over);
            let mut stream = program.start();
            let first = stream.read(65_536);
            let text = String::from_utf8(first).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").expect("a whole head");
            assert_eq!(without_date(&format!("{head}\r\n\r\n")), NPH);
            let retry = body.strip_prefix("retry: ").expect("retry first");
            let (retry, rest) = retry.split_once('\n').expect("a whole line");
            assert!((2250..=4500).contains(&retry.parse::<u32>().unwrap()));
            assert!(rest.starts_with(": sse-cgi\n"), "{rest:?}");
        }
    }
}

#[test]
fn the_name_decides_the_head_and_without_a_gateway_there_is_none() {
    let mut plain = Program::plain("clock").start();
    assert_eq!(plain.head(), PLAIN);
    let mut nph = Program::nph("clock").start();
    assert_eq!(without_date(&nph.head()), NPH);
    let first = Program::typed("clock", &[]).start().read(65_536);
    assert!(first.starts_with(b"retry: "), "{first:?}");
}

#[test]
fn a_head_request_ends_after_the_head() {
    let folder = Folder::new();
    let file = folder.write("log", "a\n");
    for name in ["clock", "countdown", "tail"] {
        let program = Program::nph(name).set("SSE_FILE", &file);
        let (code, head, items) = program.set("REQUEST_METHOD", "HEAD").run();
        assert_eq!(
            (code, without_date(&head), items),
            (0, NPH.to_owned(), vec![])
        );
    }
}

#[test]
fn what_is_no_stream_is_refused_with_a_whole_head() {
    let refused = |program: Program| {
        let (code, head, items) = program.run();
        assert_eq!((code, items), (0, vec![]));
        head
    };
    let post = Program::plain("clock").set("REQUEST_METHOD", "POST");
    assert_eq!(
        refused(post.set("CONTENT_LENGTH", "3")),
        "Status: 405 Method Not Allowed\r\nAllow: GET, HEAD, OPTIONS\r\nContent-Length: 0\r\n\r\n"
    );
    let html = Program::nph("clock").set("HTTP_ACCEPT", "text/html");
    assert_eq!(
        without_date(&refused(html)),
        "HTTP/1.1 406 Not Acceptable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    let options = Program::plain("clock").set("REQUEST_METHOD", "OPTIONS");
    assert_eq!(
        refused(options),
        "Status: 204 No Content\r\nAllow: GET, HEAD, OPTIONS\r\n\r\n"
    );
}

#[test]
fn an_allowed_origin_is_named_and_another_one_is_not() {
    let asked = |origin: &str| {
        let program = Program::nph("clock").set("SSE_ALLOW_ORIGIN", "https://a.example");
        program.set("HTTP_ORIGIN", origin).start().head()
    };
    let allowed = asked("https://a.example");
    assert!(
        allowed.contains("\r\nVary: Origin\r\nAccess-Control-Allow-Origin: https://a.example\r\n")
    );
    let denied = asked("https://b.example");
    assert!(denied.contains("\r\nVary: Origin\r\n") && !denied.contains("Access-Control"));
}

#[test]
fn a_polyfill_gets_the_comment_it_asks_for_before_anything_else() {
    for (query, length) in [
        ("padding=true", 2048),
        ("evs_preamble=2056", 2056),
        ("evs_preamble=99999", 4096),
        ("padding=true&evs_preamble=2056&lastEventId=", 2056),
    ] {
        let mut stream = Program::nph("clock").query(query).start();
        let Some(Item::Comment(text)) = stream.next() else {
            panic!("no comment first");
        };
        // The colon and the line end count as well.
        assert_eq!(text.len() + 2, length, "{query}");
        assert!(matches!(stream.next(), Some(Item::Retry(_))));
    }
}

#[test]
fn a_polyfill_s_size_limit_ends_the_stream_between_two_events() {
    let folder = Folder::new();
    let text: String = (0..2_000).map(|n| format!("line {n}\n")).collect();
    let file = folder.write("log", &text);
    // Each response obeys the limit, and continues exactly where the previous one ended.
    let mut lines: Vec<String> = Vec::new();
    let mut last_id = String::new();
    while lines.len() < 2_000 {
        let program = Program::tail(&file).set("SSE_BACKLOG", "5000");
        let limited = program.query("evs_buffer_size_limit=4096");
        let mut stream = limited.last_id(&last_id).start();
        let before = lines.len();
        while lines.len() < 2_000 {
            match stream.next() {
                Some(Item::Event(event)) => {
                    lines.push(event.data);
                    last_id = event.id;
                }
                Some(_) => {}
                None => {
                    assert_eq!(stream.code(), 0);
                    break;
                }
            }
        }
        assert!(lines.len() > before, "an answer without an event");
    }
    let whole: Vec<String> = (0..2_000).map(|n| format!("line {n}")).collect();
    assert_eq!(lines, whole);
}

#[test]
fn a_size_limit_is_exceeded_by_at_most_one_event() {
    let folder = Folder::new();
    let line = "x".repeat(700);
    let text: String = (0..500).map(|n| format!("{n} {line}\n")).collect();
    let file = folder.write("log", &text);
    let records: String = (0..500)
        .map(|n| format!("{{\"data\":\"{n} {line}\"}}\n"))
        .collect();
    let jsonl = folder.write("log.jsonl", &records);
    let tail = |file: &Path| Program::tail(file).set("SSE_BACKLOG", "500");
    for limit in [1000, 4096, 20_000, 70_000, 262_144] {
        for program in [tail(&file), tail(&jsonl)] {
            let query = format!("evs_buffer_size_limit={limit}");
            let mut running = program.query(&query).start();
            let mut answer = Vec::new();
            loop {
                let bytes = running.read(65_536);
                if bytes.is_empty() {
                    break;
                }
                answer.extend(bytes);
            }
            let answer = String::from_utf8(answer).unwrap();
            let body = answer.split_once("\r\n\r\n").expect("a head").1;
            assert!(body.len() > limit - 800, "{limit}: {} bytes", body.len());
            assert!(body.len() < limit + 800, "{limit}: {} bytes", body.len());
            assert!(body.ends_with("\n\n"), "{limit}");
        }
    }
}

#[test]
fn a_gateway_may_close_our_stdin_and_write_nothing_to_it() {
    let mut stream = Program::nph("clock").over(Over::Pipe).start();
    stream.event();
}

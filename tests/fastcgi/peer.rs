//! The crate `fastcgi` as the independent peer: the same requests through nginx to
//! `sse-fcgi` and to a responder that shares its encoder, but none of its protocol, have
//! the same answers, byte by byte.

use crate::servers::answer::Answer;
use crate::servers::folder::append;
use crate::servers::gateway::{Gateway, Site};
use crate::servers::patience::PATIENCE;
use crate::servers::request::Request;
use crate::servers::responder::Responder;

/// Head and body, with what is random or the time's replaced.
#[track_caller]
fn told(mut answer: Answer) -> String {
    answer.events_to_end(PATIENCE);
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    let lines = answer.head.raw.lines().chain(body.lines());
    lines
        .map(|line| match line.split_once(": ") {
            Some((name @ ("Date" | "retry"), _)) => format!("{name}: …\n"),
            _ => format!("{line}\n"),
        })
        .collect()
}

fn ask(site: &Site, method: &str, target: &str) -> Request {
    site.request(method, target).field("Connection", "close")
}

#[test]
fn the_same_requests_have_the_same_answers() {
    let sites = [Responder::Ours, Responder::FastcgiCrate].map(|responder| {
        let site = Site::with(Gateway::Nginx)
            .responder(responder)
            .set("SSE_ALLOW_ORIGIN", "https://app.example")
            .set("SSE_COUNT", "3")
            .set("SSE_INTERVAL", "10ms")
            .start();
        let lines: String = (0..2000)
            .map(|number| format!("{{\"event\":\"e{}\",\"data\":{number}}}\n", number % 7))
            .collect();
        append(&site.tail_file(), &lines);
        append(&site.tail_file(), "no JSON\n{\"data\":\"a\\nb\\r\\nc\"}\n");
        append(
            &site.tail_file(),
            &format!("{{\"data\":\"{}\"}}\n", "é".repeat(50_000)),
        );
        let script =
            "{\"after\":\"0s\",\"data\":1}\n{\"after\":\"20ms\",\"event\":\"e\",\"data\":\"x\"}\n";
        append(&site.path("data/flights.jsonl"), script);
        site
    });
    // Ids in the middle of the file come from its first answer.
    let mut whole = ask(&sites[0], "GET", "/events/tail?evs_buffer_size_limit=1").send();
    let first_ids: Vec<String> = whole
        .events_to_end(PATIENCE)
        .into_iter()
        .map(|event| event.id)
        .collect();
    assert!(!first_ids.is_empty());
    let origin = ("Origin", "https://app.example");
    let limited = "/events/tail?evs_buffer_size_limit=100000";
    let start = "1700000000000";
    let cases: Vec<(&str, String, Vec<(&str, String)>)> = vec![
        ("GET", limited.into(), vec![]),
        ("GET", limited.into(), vec![(origin.0, origin.1.into())]),
        ("GET", format!("{limited}&padding=true"), vec![]),
        (
            "GET",
            limited.into(),
            vec![("Last-Event-ID", first_ids[0].clone())],
        ),
        ("GET", limited.into(), vec![("Last-Event-ID", "0-0".into())]),
        (
            "GET",
            limited.into(),
            vec![("Last-Event-ID", "é, nonsense".into())],
        ),
        (
            "GET",
            format!("{limited}&lastEventId={}", first_ids[0]),
            vec![],
        ),
        ("HEAD", "/events/tail".into(), vec![]),
        (
            "OPTIONS",
            "/events/tail".into(),
            vec![(origin.0, origin.1.into())],
        ),
        (
            "POST",
            "/events/tail".into(),
            vec![("Content-Length", "0".into())],
        ),
        (
            "GET",
            "/events/tail".into(),
            vec![("Accept", "text/html".into())],
        ),
        (
            "GET",
            "/events/countdown".into(),
            vec![("Last-Event-ID", format!("{start}-2"))],
        ),
        (
            "GET",
            "/events/countdown".into(),
            vec![("Last-Event-ID", format!("{start}-end"))],
        ),
        (
            "GET",
            "/events/flights".into(),
            vec![("Last-Event-ID", format!("{start}-0-0"))],
        ),
    ];
    for (method, target, fields) in cases {
        let [ours, theirs] = sites.each_ref().map(|site| {
            let request = fields
                .iter()
                .fold(ask(site, method, &target), |request, (name, value)| {
                    request.field(name, value)
                });
            told(request.send())
        });
        assert_eq!(ours, theirs, "{method} {target} {fields:?}");
        assert!(ours.starts_with("HTTP/1.1 "), "{ours}");
    }
}

#[test]
fn a_live_stream_of_the_peer_has_the_same_events() {
    let sites = [Responder::Ours, Responder::FastcgiCrate].map(|responder| {
        let site = Site::with(Gateway::Nginx).responder(responder).start();
        append(&site.tail_file(), "{\"data\":\"from before\"}\n");
        site
    });
    let [ours, theirs] = sites.map(|site| {
        let mut stream = site.get("/events/tail").send();
        stream.event();
        for number in 0..50 {
            append(&site.tail_file(), &format!("{{\"data\":{number}}}\n"));
            assert_eq!(stream.event().data, number.to_string());
        }
        let body = String::from_utf8_lossy(&stream.body).into_owned();
        body.lines().skip(1).collect::<Vec<_>>().join("\n")
    });
    assert_eq!(ours, theirs);
}

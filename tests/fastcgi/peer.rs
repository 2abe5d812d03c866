//! The crate `fastcgi` as the independent peer: the same requests through nginx to `sse-fcgi`
//! and to a responder that shares its encoder, but not its protocol code, get the same
//! responses, byte by byte.

use crate::servers::answer::Answer;
use crate::servers::gateway::{Gateway, Site};
use crate::servers::request::Request;
use crate::servers::responder::Responder;
use crate::support::folder::append;
use crate::support::wait::PATIENCE;

/// Head and body, with random values and times replaced.
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
    // Ids in the middle of the file are taken from its first response.
    let mut whole = ask(&sites[0], "GET", "/events/tail?evs_buffer_size_limit=1").send();
    let first_ids: Vec<String> = whole
        .events_to_end(PATIENCE)
        .into_iter()
        .map(|event| event.id)
        .collect();
    assert!(!first_ids.is_empty());
    let id = &first_ids[0];
    let limited = "/events/tail?evs_buffer_size_limit=100000";
    let start = "1700000000000";
    for request in [
        format!("GET {limited}"),
        format!("GET {limited}\nOrigin: https://app.example"),
        format!("GET {limited}\nOrigin: https://evil.example"),
        format!("GET {limited}&padding=true"),
        format!("GET {limited}\nLast-Event-ID: {id}"),
        format!("GET {limited}\nLast-Event-ID: 0-0"),
        format!("GET {limited}\nLast-Event-ID: 1-2\nLast-Event-ID: 3-4"),
        format!("GET {limited}\nLast-Event-ID: é, nonsense"),
        format!("GET {limited}&lastEventId={id}"),
        "HEAD /events/tail".into(),
        "OPTIONS /events/tail\nOrigin: https://app.example".into(),
        "POST /events/tail\nContent-Length: 0".into(),
        "GET /events/tail\nAccept: text/html".into(),
        format!("GET /events/countdown\nLast-Event-ID: {start}-2"),
        format!("GET /events/countdown\nLast-Event-ID: {start}-end"),
        format!("GET /events/flights\nLast-Event-ID: {start}-0-0"),
    ] {
        let [ours, theirs] = sites.each_ref().map(|site| told(send(site, &request)));
        assert_eq!(ours, theirs, "{request}");
    }
}

/// Sends `METHOD target`, with the fields that follow it line by line.
#[track_caller]
fn send(site: &Site, request: &str) -> Answer {
    let mut lines = request.lines();
    let words = lines.next().and_then(|line| line.split_once(' '));
    let (method, target) = words.expect("a method and a target");
    lines
        .filter_map(|line| line.split_once(": "))
        .fold(ask(site, method, target), |request, (name, value)| {
            request.field(name, value)
        })
        .send()
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

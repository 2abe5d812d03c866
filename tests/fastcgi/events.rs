//! What reaches the client, and when: each event once, without delay.

use std::time::{Duration, Instant};

use crate::servers::answer::Answer;
use crate::servers::gateway::{Gateway, Site};
use crate::support::folder::append;
use crate::support::wait::PATIENCE;

behind_all!(
    each_line_arrives_when_it_is_written_and_not_later,
    events_flow_over_http_2_as_well,
    a_client_that_returns_gets_what_it_missed_and_nothing_twice,
    a_countdown_closes_and_answers_204_to_who_returns,
    a_script_is_played_to_its_end,
    names_below_the_root_are_followed_and_nothing_else_is,
    a_burst_arrives_whole_and_in_order,
);

/// More than a busy machine needs; far less than a heartbeat, which would push out a delayed
/// event.
pub const AT_ONCE: Duration = Duration::from_secs(1);

/// Appends one line at a time, each after the previous one has arrived, so a delayed event
/// would never arrive.
#[track_caller]
pub fn write_and_await_in_lockstep(site: &Site, stream: &mut Answer, label: &str) {
    for number in 0..10 {
        let line = format!(r#"{{"data":"{label} {number}"}}"#);
        let written = Instant::now();
        append(&site.tail_file(), &format!("{line}\n"));
        let event = stream.event();
        assert_eq!(event.name, "message");
        assert_eq!(event.data, format!("{label} {number}"));
        let delay = event.arrived - written;
        assert!(delay < AT_ONCE, "{line:?} took {delay:?}");
    }
}

fn each_line_arrives_when_it_is_written_and_not_later(gateway: Gateway) {
    let site = Site::with(gateway).start();
    append(&site.tail_file(), "{\"data\":\"from before\"}\n");
    let mut newest = site.get("/events/tail").send();
    assert_eq!(newest.event().data, "from before");
    write_and_await_in_lockstep(&site, &mut newest, "HTTP/1.1");
    let mut oldest = site.get("/events/tail").http_1_0().send();
    // A first-time client gets the last ten.
    assert_eq!(oldest.data_of(10)[9], "HTTP/1.1 9");
    write_and_await_in_lockstep(&site, &mut oldest, "HTTP/1.0");
}

fn events_flow_over_http_2_as_well(gateway: Gateway) {
    let site = Site::with(gateway).with_http2().start();
    append(&site.tail_file(), "{\"data\":\"from before\"}\n");
    let mut stream = site.get_over_http2("/events/tail", &[]);
    assert!(
        stream.head.raw.starts_with("HTTP/2 200"),
        "{}",
        stream.head.raw
    );
    assert_eq!(
        stream.head.field("content-type"),
        Some("text/event-stream; charset=utf-8")
    );
    assert_eq!(stream.event().data, "from before");
    write_and_await_in_lockstep(&site, &mut stream, "HTTP/2");
}

fn a_client_that_returns_gets_what_it_missed_and_nothing_twice(gateway: Gateway) {
    let line = |number: u32| format!("{{\"data\":{number}}}\n");
    let site = Site::with(gateway).start();
    append(&site.tail_file(), &(line(1) + &line(2) + &line(3)));
    let mut first = site.get("/events/tail").send();
    assert_eq!(first.data_of(3), ["1", "2", "3"]);
    let last_id = first.parser.last_id.clone();
    drop(first);

    append(&site.tail_file(), &(line(4) + &line(5)));
    let mut second = site
        .get("/events/tail")
        .field("Last-Event-ID", &last_id)
        .send();
    assert_eq!(second.data_of(2), ["4", "5"]);
    append(&site.tail_file(), &line(6));
    assert_eq!(second.data_of(1), ["6"]);

    // In a polyfill's notation.
    let target = format!("/events/tail?lastEventId={last_id}");
    assert_eq!(site.get(&target).send().data_of(3), ["4", "5", "6"]);

    // An id that a server joins or repeats is invalid, and is reported by a gap.
    let mut doubled = site
        .get("/events/tail")
        .field("Last-Event-ID", &last_id)
        .field("Last-Event-ID", "7-7")
        .send();
    let gap = doubled.event();
    assert_eq!(gap.name, "gap");
    assert!(gap.data.contains("bad-id"), "{}", gap.data);
    assert_eq!(doubled.data_of(6), ["1", "2", "3", "4", "5", "6"]);
}

fn a_countdown_closes_and_answers_204_to_who_returns(gateway: Gateway) {
    let site = Site::with(gateway)
        .set("SSE_COUNT", "3")
        .set("SSE_INTERVAL", "50ms")
        .start();
    let mut stream = site.get("/events/countdown").send();
    let events = stream.events_to_end(PATIENCE);
    assert!(!stream.cut, "the end of the body is missing");
    let told: Vec<_> = events
        .iter()
        .map(|event| (event.name.as_str(), event.data.as_str()))
        .collect();
    let expected = [
        ("message", "3"),
        ("message", "2"),
        ("message", "1"),
        ("message", "0"),
        ("close", ""),
    ];
    assert_eq!(told, expected);

    let back = |id: &str| {
        let request = site.get("/events/countdown").field("Last-Event-ID", id);
        request.field("Connection", "close").send()
    };
    let finished = back(&events[4].id);
    assert_eq!(finished.head.status, 204, "{}", finished.head.raw);
    assert_eq!(finished.head.field("Content-Type"), None);
    assert_eq!(finished.bytes_until_close(), "");

    // A client that left after the second number gets the others, and no number twice.
    let rest = back(&events[1].id).events_to_end(PATIENCE);
    let rest: Vec<_> = rest.into_iter().map(|event| event.data).collect();
    assert_eq!(rest, ["1", "0", ""]);
}

fn a_script_is_played_to_its_end(gateway: Gateway) {
    let site = Site::with(gateway).start();
    std::fs::write(
        site.path("data/flights.jsonl"),
        concat!(
            r#"{"after":"0s","event":"flightStateUpdate","data":{"flight":"I768"}}"#,
            "\n",
            r#"{"after":"500ms","event":"flightRemoval","data":"I768"}"#,
            "\n",
        ),
    )
    .expect("the data folder can be written");
    let events = site.get("/events/flights").send().events_to_end(PATIENCE);
    let names: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["flightStateUpdate", "flightRemoval", "close"]);
    assert_eq!(events[0].data, r#"{"flight":"I768"}"#);
    let between = events[1].arrived - events[0].arrived;
    assert!(
        between >= Duration::from_millis(100),
        "came together: {between:?}"
    );
}

fn names_below_the_root_are_followed_and_nothing_else_is(gateway: Gateway) {
    let site = Site::with(gateway).start();
    let logs = site.path("data/logs");
    std::fs::create_dir(logs.join("app")).expect("the data folder can be written");
    append(&logs.join("app/error.log"), "in a folder\n");
    append(&logs.join("a b%.log"), "odd name\n");
    append(&logs.join("notes.md"), "not a log\n");
    append(&logs.join(".hidden.log"), "hidden\n");
    append(&site.path("data/outside.log"), "outside\n");

    let mut stream = site.get("/logs/app/error.log").send();
    assert_eq!(stream.event().data, "in a folder");
    append(&logs.join("app/error.log"), "and more\n");
    assert_eq!(stream.event().data, "and more");
    let mut stream = site.get("/logs/a%20b%25.log?x=/logs/y").send();
    assert_eq!(stream.event().data, "odd name");

    for target in [
        "/logs/missing.log",
        "/logs/notes.md",
        "/logs/.hidden.log",
        "/logs/app",
        "/logs/",
        "/logs/../data/outside.log",
        "/logs/%2e%2e/outside.log",
        "/logs/app/..%2f..%2f..%2foutside.log",
        "/logs//etc/passwd",
    ] {
        let answer = site.get(target).field("Connection", "close").send();
        let status = answer.head.status;
        assert!(matches!(status, 400 | 403 | 404), "{target}: {status}");
    }
}

fn a_burst_arrives_whole_and_in_order(gateway: Gateway) {
    const LINES: usize = 20_000;
    let site = Site::with(gateway).start();
    append(&site.tail_file(), "{\"data\":-1}\n");
    let mut stream = site.get("/events/tail").send();
    assert_eq!(stream.event().data, "-1");
    let filler = "x".repeat(200);
    let lines: String = (0..LINES)
        .map(|number| format!("{{\"data\":\"{number} {filler}\"}}\n"))
        .collect();
    append(&site.tail_file(), &lines);
    for number in 0..LINES {
        let event = stream.event();
        assert_eq!(event.data, format!("{number} {filler}"));
    }
}

#[test]
fn compression_elsewhere_in_apache_does_not_touch_streams() {
    for gateway in [Gateway::ApacheProxy, Gateway::ApacheFcgid] {
        let site = Site::with(gateway)
            .directive("AddOutputFilterByType DEFLATE text/event-stream")
            .start();
        append(&site.tail_file(), "{\"data\":\"from before\"}\n");
        let request = site.get("/events/tail").field("Accept-Encoding", "gzip");
        let mut stream = request.send();
        assert_eq!(stream.head.field("Content-Encoding"), None);
        assert_eq!(stream.event().data, "from before");
        write_and_await_in_lockstep(&site, &mut stream, "gzip elsewhere");
    }
}

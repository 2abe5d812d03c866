//! Heads and methods: the response before the first event.

use crate::servers::answer::Head;
use crate::servers::gateway::{Gateway, Site};
use crate::support::folder::append;

behind_all!(
    the_head_is_what_the_responder_and_the_server_say_and_nothing_more,
    head_gets_the_head_and_no_body,
    any_other_method_gets_405_with_what_is_allowed,
    a_client_that_accepts_no_event_stream_gets_406,
    origins_are_allowed_by_setting_only,
    a_bad_setting_is_told_to_the_log_and_not_to_the_client,
    header_fields_and_queries_set_nothing,
);

const ALLOWED: &str = "https://app.example";

/// Names and values in the order of names, without those that change from day to day or version
/// to version.
fn fields(head: &Head) -> Vec<String> {
    let mut fields: Vec<String> = head
        .fields
        .iter()
        .map(|(name, value)| match name.to_ascii_lowercase().as_str() {
            name @ ("date" | "server") => name.to_owned(),
            name => format!("{name}: {value}"),
        })
        .collect();
    fields.sort();
    fields
}

fn the_head_is_what_the_responder_and_the_server_say_and_nothing_more(gateway: Gateway) {
    let site = Site::with(gateway).start();
    append(&site.tail_file(), "{\"data\":1}\n");
    for target in ["/events/tail", "/events/clock", "/events/countdown"] {
        let stream = site.get(target).send();
        assert!(
            stream.head.raw.starts_with("HTTP/1.1 200 OK\r\n"),
            "{}",
            stream.head.raw
        );
        let mut expected = vec![
            "cache-control: no-cache, no-transform",
            "content-type: text/event-stream; charset=utf-8",
            "date",
            "server",
            "transfer-encoding: chunked",
        ];
        match gateway {
            // It interprets X-Accel-Buffering and removes it.
            Gateway::Nginx => expected.push("connection: keep-alive"),
            // It sends its name to the responder only.
            Gateway::Haproxy => {
                expected.retain(|field| *field != "server");
                expected.push("x-accel-buffering: no");
            }
            Gateway::H2o => expected.extend(["connection: keep-alive", "x-accel-buffering: no"]),
            _ => expected.push("x-accel-buffering: no"),
        }
        expected.sort_unstable();
        assert_eq!(fields(&stream.head), expected, "{target}");
    }
}

fn head_gets_the_head_and_no_body(gateway: Gateway) {
    let site = Site::with(gateway).start();
    append(&site.tail_file(), "{\"data\":1}\n");
    for target in ["/events/tail", "/events/clock"] {
        let answer = site
            .request("HEAD", target)
            .field("Connection", "close")
            .send();
        assert_eq!(answer.head.status, 200, "{target}");
        assert_eq!(
            answer.head.field("Content-Type"),
            Some("text/event-stream; charset=utf-8")
        );
        assert_eq!(answer.bytes_until_close(), "");
    }
    let missing = site
        .request("HEAD", "/logs/missing.log")
        .field("Connection", "close");
    assert_eq!(missing.send().head.status, 404);
}

fn any_other_method_gets_405_with_what_is_allowed(gateway: Gateway) {
    let site = Site::with(gateway).start();
    for method in ["POST", "PUT", "DELETE"] {
        for size in [0, 1, 70_000] {
            let answer = site
                .request(method, "/events/clock")
                .field("Connection", "close")
                .body(&vec![b'x'; size])
                .send();
            let case = format!("{method}, {size} bytes");
            assert_eq!(answer.head.status, 405, "{case}");
            assert_eq!(
                answer.head.field("Allow"),
                Some("GET, HEAD, OPTIONS"),
                "{case}"
            );
            assert!(!answer.text().contains("data:"), "{case}");
        }
    }
}

fn a_client_that_accepts_no_event_stream_gets_406(gateway: Gateway) {
    let site = Site::with(gateway).start();
    let ask = |accept: &str| {
        let request = site.get("/events/clock").field("Connection", "close");
        request.field("Accept", accept).send().head.status
    };
    for accept in ["application/json", "text/event-stream;q=0, */*"] {
        assert_eq!(ask(accept), 406, "{accept}");
    }
    for accept in ["text/event-stream", "*/*", "text/*;q=0.1", ""] {
        assert_eq!(ask(accept), 200, "{accept}");
    }
}

fn origins_are_allowed_by_setting_only(gateway: Gateway) {
    let site = Site::with(gateway).set("SSE_ALLOW_ORIGIN", ALLOWED).start();
    let ask = |method: &str, origin: &str| {
        let request = site
            .request(method, "/events/clock")
            .field("Origin", origin);
        let request = request.field("Connection", "close");
        let request = request.field("Access-Control-Request-Method", "GET");
        request.send().head
    };
    for method in ["GET", "HEAD", "OPTIONS"] {
        let head = ask(method, ALLOWED);
        let status = if method == "OPTIONS" { 204 } else { 200 };
        assert_eq!(head.status, status, "{method}");
        let origin = head.field("Access-Control-Allow-Origin");
        assert_eq!(origin, Some(ALLOWED), "{method}");
        assert!(head.raw.contains("Origin\r\n"), "Vary: {}", head.raw);
        let head = ask(method, "https://evil.example");
        assert_eq!(head.field("Access-Control-Allow-Origin"), None, "{method}");
    }
}

fn a_bad_setting_is_told_to_the_log_and_not_to_the_client(gateway: Gateway) {
    let site = Site::with(gateway).set("SSE_HEARTBEAT", "soon").start();
    let answer = site
        .get("/events/clock")
        .field("Connection", "close")
        .send();
    assert_eq!(answer.head.status, 500);
    let told = answer.head.raw.clone() + &answer.text();
    assert!(!told.contains("SSE_") && !told.contains("soon"), "{told}");
    crate::support::wait::wait_until(
        "the log has the line",
        crate::support::wait::PATIENCE,
        || site.logs().contains("SSE_HEARTBEAT=soon"),
    );
}

fn header_fields_and_queries_set_nothing(gateway: Gateway) {
    let site = Site::with(gateway).start();
    append(&site.tail_file(), "{\"data\":\"the right file\"}\n");
    let mut stream = site
        .get("/events/tail?SSE_FILE=/etc/passwd&file=/etc/passwd&--help")
        .field("SSE-FILE", "/etc/passwd")
        .field("SSE_FILE", "/etc/passwd")
        .field("SSE-STREAM", "clock")
        .field("Proxy", "http://evil.example/")
        .send();
    assert_eq!(stream.event().data, "the right file");
}

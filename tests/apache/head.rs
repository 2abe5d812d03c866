//! Heads and methods: the exact response before the first event.

use crate::servers::answer::Head;
use crate::servers::apache::{Apache, Mpm};
use crate::support::folder::append;

under_both!(
    the_head_of_an_nph_program_is_exactly_its_own,
    the_head_of_a_plain_program_says_the_same_through_apache,
    head_gets_the_head_and_no_body,
    options_tells_an_allowed_origin_what_it_may_do,
    a_stream_tells_an_allowed_origin_that_it_may_read,
    any_other_method_gets_405_with_what_is_allowed,
    a_request_whose_body_nobody_wants_still_gets_its_answer,
    a_client_that_accepts_no_event_stream_gets_406,
);

const BOTH: [&str; 2] = ["nph-clock.cgi", "clock.cgi"];
const ALLOWED: &str = "https://app.example";

/// Replaces what changes from one second to the next.
#[track_caller]
fn without_date(head: &Head) -> String {
    let date = head.field("Date").expect("there is a Date");
    assert!(is_imf_fixdate(date), "Date: {date}");
    head.raw.replace(date, "NOW")
}

/// As in `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7).
fn is_imf_fixdate(date: &str) -> bool {
    let pattern = "Aaa, 00 Aaa 0000 00:00:00 GMT";
    date.len() == pattern.len()
        && date
            .bytes()
            .zip(pattern.bytes())
            .all(|(byte, expected)| match expected {
                b'A' => byte.is_ascii_uppercase(),
                b'a' => byte.is_ascii_lowercase(),
                b'0' => byte.is_ascii_digit(),
                _ => byte == expected,
            })
}

fn the_head_of_an_nph_program_is_exactly_its_own(mpm: Mpm) {
    let apache = Apache::with(mpm).start();
    append(&apache.tail_file(), "a line\n");
    for program in [
        "nph-clock.cgi",
        "nph-countdown.cgi",
        "nph-flights.cgi",
        "nph-tail.cgi",
    ] {
        for request in [apache.get(program), apache.get(program).http_1_0()] {
            let stream = request.send();
            assert_eq!(
                without_date(&stream.head),
                "HTTP/1.1 200 OK\r\n\
                 Date: NOW\r\n\
                 Content-Type: text/event-stream; charset=utf-8\r\n\
                 Cache-Control: no-cache, no-transform\r\n\
                 X-Accel-Buffering: no\r\n\
                 Connection: close\r\n\
                 \r\n",
                "{program}",
            );
        }
    }
}

fn the_head_of_a_plain_program_says_the_same_through_apache(mpm: Mpm) {
    let apache = Apache::with(mpm).start();
    append(&apache.tail_file(), "a line\n");
    for program in ["clock.cgi", "countdown.cgi", "tail.cgi"] {
        let stream = apache.get(program).send();
        let head = &stream.head;
        assert!(head.raw.starts_with("HTTP/1.1 200 OK\r\n"), "{}", head.raw);
        assert_eq!(
            head.field("Content-Type"),
            Some("text/event-stream; charset=utf-8")
        );
        assert_eq!(head.field("Cache-Control"), Some("no-cache, no-transform"));
        assert_eq!(head.field("X-Accel-Buffering"), Some("no"));
        // The connection and the framing are Apache's.
        assert_eq!(
            head.field("Transfer-Encoding"),
            Some("chunked"),
            "{program} {}",
            head.raw
        );
        assert_eq!(head.field("Connection"), None);
        assert_eq!(head.field("Content-Length"), None);
        assert_eq!(head.field("Status"), None);
        assert!(head.field("Date").is_some_and(is_imf_fixdate));
    }
}

fn head_gets_the_head_and_no_body(mpm: Mpm) {
    let apache = Apache::with(mpm).start();
    for program in BOTH {
        let answer = apache
            .request("HEAD", program)
            .field("Connection", "close")
            .send();
        assert_eq!(answer.head.status, 200);
        assert_eq!(
            answer.head.field("Content-Type"),
            Some("text/event-stream; charset=utf-8")
        );
        assert_eq!(answer.bytes_until_close(), "");
    }
}

fn options_tells_an_allowed_origin_what_it_may_do(mpm: Mpm) {
    let apache = Apache::with(mpm).set("SSE_ALLOW_ORIGIN", ALLOWED).start();
    for program in BOTH {
        let preflight = |origin: &str| {
            apache
                .request("OPTIONS", program)
                .field("Connection", "close")
                .field("Origin", origin)
                .field("Access-Control-Request-Method", "GET")
                .field(
                    "Access-Control-Request-Headers",
                    "last-event-id, cache-control",
                )
                .send()
        };
        let answer = preflight(ALLOWED);
        let head = &answer.head;
        assert!(matches!(head.status, 200 | 204), "{}", head.raw);
        assert_eq!(head.field("Access-Control-Allow-Origin"), Some(ALLOWED));
        assert_eq!(head.field("Access-Control-Allow-Credentials"), Some("true"));
        let methods = head
            .field("Access-Control-Allow-Methods")
            .unwrap_or_default();
        assert!(
            methods.split(", ").any(|method| method == "GET"),
            "{}",
            head.raw
        );
        let fields = head
            .field("Access-Control-Allow-Headers")
            .unwrap_or_default();
        let fields = fields.to_ascii_lowercase();
        for asked in ["last-event-id", "cache-control"] {
            assert!(
                fields.split(", ").any(|field| field == asked),
                "{}",
                head.raw
            );
        }
        assert!(
            head.field("Vary")
                .is_some_and(|vary| vary.contains("Origin")),
            "{}",
            head.raw
        );
        assert_eq!(answer.bytes_until_close(), "");

        let answer = preflight("https://evil.example");
        assert_eq!(answer.head.field("Access-Control-Allow-Origin"), None);
        assert!(
            answer
                .head
                .field("Vary")
                .is_some_and(|vary| vary.contains("Origin")),
            "a cache must not give this answer to an allowed origin: {}",
            answer.head.raw,
        );
        assert_eq!(answer.bytes_until_close(), "");

        let answer = apache
            .request("OPTIONS", program)
            .field("Connection", "close")
            .send();
        assert_eq!(answer.head.field("Access-Control-Allow-Origin"), None);
        let allow = answer.head.field("Allow").unwrap_or_default();
        assert!(allow.contains("GET"), "{}", answer.head.raw);
    }
}

fn a_stream_tells_an_allowed_origin_that_it_may_read(mpm: Mpm) {
    let apache = Apache::with(mpm).set("SSE_ALLOW_ORIGIN", ALLOWED).start();
    for program in BOTH {
        let mut stream = apache.get(program).field("Origin", ALLOWED).send();
        assert_eq!(
            stream.head.field("Access-Control-Allow-Origin"),
            Some(ALLOWED)
        );
        assert_eq!(
            stream.head.field("Access-Control-Allow-Credentials"),
            Some("true")
        );
        assert!(
            stream
                .head
                .field("Vary")
                .is_some_and(|vary| vary.contains("Origin"))
        );
        stream.event();

        // The browser prevents the page from reading it.
        let mut stream = apache
            .get(program)
            .field("Origin", "https://evil.example")
            .send();
        assert_eq!(stream.head.status, 200);
        assert_eq!(stream.head.field("Access-Control-Allow-Origin"), None);
        stream.event();
    }
}

fn any_other_method_gets_405_with_what_is_allowed(mpm: Mpm) {
    let apache = Apache::with(mpm).start();
    for program in BOTH {
        for method in ["POST", "PUT", "DELETE", "FOO"] {
            let answer = apache
                .request(method, program)
                .field("Connection", "close")
                .field("Content-Length", "0")
                .send();
            assert_eq!(answer.head.status, 405, "{method} {program}");
            assert_eq!(answer.head.field("Allow"), Some("GET, HEAD, OPTIONS"));
        }
    }
}

/// Under mod_cgid a program that ends with a body unread resets the socket to
/// Apache, and the client gets an empty reply: now and then for a small body,
/// almost always for a large one.
fn a_request_whose_body_nobody_wants_still_gets_its_answer(mpm: Mpm) {
    let apache = Apache::with(mpm).start();
    for program in BOTH {
        for size in [10, 10_000, 500_000] {
            for _ in 0..10 {
                let answer = apache
                    .request("POST", program)
                    .field("Connection", "close")
                    .body(&vec![b'x'; size])
                    .send();
                assert_eq!(answer.head.status, 405, "{program}, {size} bytes");
            }
        }
    }
}

fn a_client_that_accepts_no_event_stream_gets_406(mpm: Mpm) {
    let apache = Apache::with(mpm).start();
    for program in BOTH {
        let ask = |accept: &str| {
            apache
                .get(program)
                .field("Connection", "close")
                .field("Accept", accept)
                .send()
        };
        for accept in [
            "application/json",
            "text/event-stream;q=0, */*",
            "text/html, image/*",
        ] {
            assert_eq!(ask(accept).head.status, 406, "{program} {accept}");
        }
        for accept in ["text/event-stream", "*/*", "text/*;q=0.1", ""] {
            assert_eq!(ask(accept).head.status, 200, "{program} {accept}");
        }
    }
}

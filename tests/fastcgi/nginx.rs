//! The features of nginx's files only: TLS, compression, kept connections, and a response while
//! no responder runs.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::events::write_and_await_in_lockstep;
use crate::servers::events::Event;
use crate::servers::gateway::{Builder, Gateway, Site};
use crate::support::folder::append;
use crate::support::wait::{PATIENCE, wait_until};

fn nginx() -> Builder {
    Site::with(Gateway::Nginx)
}

/// With the two lines in the site's comments.
fn with_kept_connections() -> Builder {
    nginx()
        .edit("#keepalive 8;", "keepalive 8;")
        .edit_snippet("fastcgi_keep_conn off;", "fastcgi_keep_conn on;")
}

fn names(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.name.as_str()).collect()
}

#[test]
fn events_flow_over_tls() {
    let site = nginx().with_tls().start();
    append(&site.tail_file(), "{\"data\":\"from before\"}\n");
    let mut stream = site.get_over_tls(&["--http1.1", "--raw"], "/events/tail");
    assert!(
        stream.head.raw.starts_with("HTTP/1.1 200"),
        "{}",
        stream.head.raw
    );
    assert_eq!(stream.event().data, "from before");
    write_and_await_in_lockstep(&site, &mut stream, "TLS");
}

#[test]
fn many_streams_share_one_connection_over_http_2() {
    let site = nginx().with_tls().start();
    append(&site.tail_file(), "{\"data\":1}\n");
    // More than the six that a browser has over HTTP/1.1.
    let mut streams: Vec<_> = (0..10)
        .map(|_| site.get_over_http2("/events/tail", &[]))
        .collect();
    append(&site.tail_file(), "{\"data\":2}\n");
    for stream in &mut streams {
        assert_eq!(stream.data_of(2), ["1", "2"]);
    }
    assert_eq!(site.status("subscribers"), 10);
    drop(streams);
    site.wait_for_connections(0, Duration::from_secs(1));
}

#[test]
fn compression_elsewhere_on_the_server_does_not_touch_streams() {
    let site = nginx()
        .directive("gzip_types text/event-stream;")
        .directive("gzip_min_length 0;")
        .start();
    append(&site.tail_file(), "{\"data\":\"from before\"}\n");
    let request = site.get("/events/tail").field("Accept-Encoding", "gzip");
    let mut stream = request.send();
    assert_eq!(stream.head.field("Content-Encoding"), None);
    assert_eq!(stream.event().data, "from before");
    write_and_await_in_lockstep(&site, &mut stream, "gzip elsewhere");
}

#[test]
fn compressed_streams_flow_where_somebody_wants_them() {
    let site = nginx()
        .with_tls()
        .directive("gzip_types text/event-stream;")
        .directive("gzip_min_length 0;")
        .edit_snippet("gzip off;", "gzip on;")
        .start();
    append(&site.tail_file(), "{\"data\":\"from before\"}\n");
    let mut stream = site.get_over_tls(&["--http2", "--compressed"], "/events/tail");
    assert_eq!(stream.head.field("content-encoding"), Some("gzip"));
    assert_eq!(stream.event().data, "from before");
    write_and_await_in_lockstep(&site, &mut stream, "gzip");
}

#[test]
fn the_responder_asks_for_no_buffering_where_the_line_is_missing() {
    let site = nginx()
        .edit_snippet("fastcgi_buffering off;", "fastcgi_buffering on;")
        .start();
    append(&site.tail_file(), "{\"data\":\"from before\"}\n");
    let mut stream = site.get("/events/tail").send();
    assert_eq!(stream.event().data, "from before");
    write_and_await_in_lockstep(&site, &mut stream, "X-Accel-Buffering");
}

#[test]
fn a_small_buffer_holds_the_longest_head_and_passes_a_burst() {
    let origin = format!("https://{}.example", "a".repeat(60));
    let site = nginx()
        .directive("connection_pool_size 256;")
        .directive("request_pool_size 1k;")
        .directive("client_header_buffer_size 512;")
        .directive("fastcgi_buffer_size 1k;")
        .set("SSE_ALLOW_ORIGIN", &origin)
        .start();
    append(&site.tail_file(), "{\"data\":-1}\n");
    let mut stream = site.get("/events/tail").field("Origin", &origin).send();
    assert_eq!(stream.event().data, "-1");
    let lines: String = (0..5000)
        .map(|number| format!("{{\"data\":{number}}}\n"))
        .collect();
    append(&site.tail_file(), &lines);
    for number in 0..5000 {
        assert_eq!(stream.event().data, number.to_string());
    }
}

#[test]
fn kept_connections_serve_short_answers_one_after_the_other() {
    let site = with_kept_connections().start();
    append(&site.tail_file(), "{\"data\":1}\n");
    for _ in 0..20 {
        for (method, target, status) in [
            ("HEAD", "/events/tail", 200),
            ("GET", "/logs/missing.log", 404),
            ("POST", "/events/tail", 405),
        ] {
            let request = site.request(method, target).field("Connection", "close");
            assert_eq!(request.send().head.status, status, "{method} {target}");
        }
    }
    // nginx has two workers, each with connections of its own; it closes one if a HEAD request
    // ended before the response did.
    assert!(site.connections() <= 4, "{} kept", site.connections());
}

#[test]
fn kept_connections_stream_and_tell_when_a_client_leaves() {
    let site = with_kept_connections().set("SSE_HEARTBEAT", "25s").start();
    append(&site.tail_file(), "{\"data\":\"from before\"}\n");
    for _ in 0..3 {
        let mut stream = site.get("/events/tail").send();
        while stream.event().data != "from before" {}
        write_and_await_in_lockstep(&site, &mut stream, "kept");
        append(&site.tail_file(), "{\"data\":\"from before\"}\n");
        drop(stream);
        wait_until("no subscriber is left", Duration::from_secs(1), || {
            site.status("subscribers") == 0
        });
    }
    let countdown = site.get("/events/countdown?").field("Connection", "close");
    let id = "1700000000000-end";
    let finished = countdown.field("Last-Event-ID", id).send();
    assert_eq!(finished.head.status, 204);
}

#[test]
fn without_a_responder_a_client_is_asked_to_return() {
    let mut site = nginx().start();
    append(&site.tail_file(), "{\"data\":1}\n");
    site.signal_responder(Signal::SIGTERM);
    site.wait_until_responder_ended(PATIENCE);
    site.let_socket_go();

    let mut stream = site.get("/events/tail").send();
    assert_eq!(stream.head.status, 200, "{}", stream.head.raw);
    assert_eq!(
        stream.head.field("Content-Type"),
        Some("text/event-stream; charset=utf-8")
    );
    assert_eq!(
        stream.head.field("Cache-Control"),
        Some("no-cache, no-transform")
    );
    assert_eq!(names(&stream.events_to_end(PATIENCE)), ["unavailable"]);
    assert!(
        stream.parser.retry.is_some_and(|ms| ms >= 1000),
        "no retry: {:?}",
        String::from_utf8_lossy(&stream.body)
    );
    let post = site.request("POST", "/events/tail").body(b"x");
    assert_eq!(post.send().head.status, 503);

    site.hold_socket();
    site.start_responder();
    assert_eq!(site.get("/events/tail").send().event().data, "1");
}

#[test]
fn monitoring_sees_that_the_responder_is_down() {
    let mut site = nginx().start();
    append(&site.tail_file(), "{\"data\":1}\n");
    let status = |site: &Site, method: &str, target: &str| {
        let request = site.request(method, target).field("Connection", "close");
        request.send().head.status
    };
    for (method, target) in [("HEAD", "/events/tail"), ("GET", "/events/status")] {
        assert_eq!(status(&site, method, target), 200, "{method} {target}");
    }
    site.signal_responder(Signal::SIGTERM);
    site.wait_until_responder_ended(PATIENCE);
    site.let_socket_go();
    for (method, target) in [
        ("GET", "/events/status"),
        ("HEAD", "/events/status"),
        ("GET", "/events/status?format=prometheus"),
        ("HEAD", "/events/tail"),
        ("HEAD", "/logs/a.log"),
        ("HEAD", "/cgi-bin/nph-clock.cgi"),
        ("POST", "/events/tail"),
        ("POST", "/events/publish"),
        ("POST", "/events/room"),
        ("GET", "/events/publish"),
        ("OPTIONS", "/events/tail"),
        ("DELETE", "/events/tail"),
    ] {
        assert_eq!(status(&site, method, target), 503, "{method} {target}");
    }
    for target in ["/events/tail", "/logs/a.log", "/events/room"] {
        assert_eq!(status(&site, "GET", target), 200, "{target}");
    }
}

#[test]
fn a_page_of_another_site_returns_when_the_responder_was_down() {
    let mut site = nginx().start();
    site.signal_responder(Signal::SIGTERM);
    site.wait_until_responder_ended(PATIENCE);
    site.let_socket_go();
    let origin = "https://www.example.org";
    let mut stream = site.get("/events/tail").field("Origin", origin).send();
    assert_eq!(stream.head.status, 200);
    let field = |name: &str| stream.head.field(name).unwrap_or_default();
    assert_eq!(field("Access-Control-Allow-Origin"), origin);
    assert_eq!(field("Access-Control-Allow-Credentials"), "true");
    assert_eq!(field("Vary"), "Origin");
    assert_eq!(names(&stream.events_to_end(PATIENCE)), ["unavailable"]);
    assert!(stream.parser.retry.is_some());
    let same = site.get("/events/tail").send();
    assert_eq!(same.head.field("Access-Control-Allow-Origin"), None);
}

#[test]
fn a_client_with_too_many_streams_is_asked_to_return() {
    let site = nginx()
        .edit("#limit_conn_zone", "limit_conn_zone")
        .edit("#limit_conn sse_streams 20;", "limit_conn sse_streams 2;")
        .start();
    append(&site.tail_file(), "{\"data\":1}\n");
    let mut streams: Vec<_> = (0..3).map(|_| site.get("/events/tail").send()).collect();
    let mut refused = streams.pop().expect("three were opened");
    assert_eq!(refused.head.status, 200);
    assert_eq!(names(&refused.events_to_end(PATIENCE)), ["unavailable"]);
    assert!(refused.parser.retry.is_some());
    for stream in &mut streams {
        assert_eq!(stream.event().data, "1");
    }
}

#[test]
fn a_reload_of_nginx_ends_no_stream() {
    let site = nginx().start();
    append(&site.tail_file(), "{\"data\":1}\n");
    let mut stream = site.get("/events/tail").send();
    assert_eq!(stream.event().data, "1");
    site.signal_server(Signal::SIGHUP);
    wait_until("nginx has reloaded", PATIENCE, || {
        site.logs().contains("gracefully shutting down")
    });
    write_and_await_in_lockstep(&site, &mut stream, "after the reload");
    let mut fresh = site.get("/events/tail").send();
    assert_eq!(fresh.data_of(10)[9], "after the reload 9");
}

#[test]
fn the_pages_addresses_are_served_as_they_are() {
    let site = nginx().start();
    append(&site.tail_file(), "{\"data\":1}\n");
    for target in ["/cgi-bin/nph-tail.cgi", "/cgi-bin/tail.cgi"] {
        assert_eq!(site.get(target).send().event().data, "1", "{target}");
    }
}

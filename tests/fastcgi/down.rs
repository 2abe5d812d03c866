//! Caddy and HAProxy while no responder runs. (nginx: see nginx.rs.)

use nix::sys::signal::Signal;

use crate::servers::gateway::{Gateway, Site};
use crate::support::wait::PATIENCE;

fn a_stream_asks_to_return_and_monitoring_gets_503(gateway: Gateway) {
    let mut site = Site::with(gateway).start();
    site.signal_responder(Signal::SIGTERM);
    site.wait_until_responder_ended(PATIENCE);
    site.let_socket_go();
    for target in ["/events/tail", "/logs/a.log"] {
        let request = site.get(target).field("Origin", "https://app.example");
        let mut stream = request.field("Connection", "close").send();
        assert_eq!(stream.head.status, 200, "{}", stream.head.raw);
        let field = |name: &str| stream.head.field(name);
        assert_eq!(
            field("Content-Type"),
            Some("text/event-stream; charset=utf-8")
        );
        assert_eq!(field("Cache-Control"), Some("no-cache, no-transform"));
        assert_eq!(
            field("Access-Control-Allow-Origin"),
            Some("https://app.example")
        );
        let events = stream.events_to_end(PATIENCE);
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!(events[0].name, "unavailable");
        assert_eq!(events[0].data, r#"{"reason":"the server is not running"}"#);
        let retry = stream.parser.retry;
        assert!(
            retry.is_some_and(|ms| (2000..5000).contains(&ms)),
            "{retry:?}"
        );
    }
    let same = site.get("/events/tail").field("Connection", "close").send();
    assert_eq!(same.head.field("Access-Control-Allow-Origin"), None);
    for (method, target) in [
        ("HEAD", "/events/tail"),
        ("POST", "/events/room"),
        ("GET", "/events/status"),
        ("POST", "/events/publish"),
    ] {
        let request = site.request(method, target).field("Connection", "close");
        let request = if method == "POST" {
            request.body(b"x")
        } else {
            request
        };
        assert_eq!(request.send().head.status, 503, "{method} {target}");
    }
}

#[test]
fn behind_caddy() {
    a_stream_asks_to_return_and_monitoring_gets_503(Gateway::Caddy);
}

#[test]
fn behind_haproxy() {
    a_stream_asks_to_return_and_monitoring_gets_503(Gateway::Haproxy);
}

//! What Caddy alone does.

use std::time::{Duration, Instant};

use crate::events::write_and_await_in_lockstep;
use crate::servers::answer::Next;
use crate::servers::gateway::{Gateway, Site};
use crate::support::folder::append;
use crate::support::wait::PATIENCE;

#[test]
fn its_read_timeout_would_cut_a_stream_that_is_not_silent() {
    let from = "\twrite_timeout 60s\n";
    let site = Site::with(Gateway::Caddy)
        .edit(from, "\twrite_timeout 60s\n\tread_timeout 2s\n")
        .set("SSE_INTERVAL", "100ms")
        .start();
    let started = Instant::now();
    let mut stream = site.get("/events/clock").send();
    assert!(stream.events_to_end(PATIENCE).len() > 5);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn its_compression_holds_events_back_and_is_kept_from_streams() {
    let zipped = |site: &Site| {
        // It compresses only what begins with 512 bytes or more.
        let long = format!("{{\"data\":\"{}\"}}\n", "x".repeat(600));
        append(&site.tail_file(), &long);
        let request = site.get("/events/tail");
        request.field("Accept-Encoding", "gzip").send()
    };
    let site = Site::with(Gateway::Caddy).start();
    let mut stream = zipped(&site);
    assert_eq!(stream.head.field("Content-Encoding"), None);
    assert_eq!(stream.event().data.len(), 600);
    write_and_await_in_lockstep(&site, &mut stream, "compression elsewhere");

    let site = Site::with(Gateway::Caddy)
        .edit("encode @compressible gzip", "encode gzip")
        .start();
    let mut stream = zipped(&site);
    assert_eq!(stream.head.field("Content-Encoding"), Some("gzip"));
    // The head of the compressed stream at most.
    let soon = Instant::now() + Duration::from_millis(500);
    assert!(matches!(stream.wait(soon), Next::Late));
    assert!(stream.body.len() <= 10, "{} bytes", stream.body.len());
}

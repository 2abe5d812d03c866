//! What HAProxy alone does.

use std::time::{Duration, Instant};

use crate::servers::answer::Next;
use crate::servers::gateway::{Builder, Gateway, Site};
use crate::support::folder::append;
use crate::support::wait::PATIENCE;

fn haproxy() -> Builder {
    Site::with(Gateway::Haproxy)
}

/// Opens streams side by side and returns how many connections they take.
#[track_caller]
fn connections_of_three_streams(site: &Site) -> usize {
    append(&site.tail_file(), "{\"data\":1}\n");
    let mut streams: Vec<_> = (0..3).map(|_| site.get("/events/tail").send()).collect();
    for stream in &mut streams {
        assert_eq!(stream.event().data, "1");
    }
    append(&site.tail_file(), "{\"data\":2}\n");
    for stream in &mut streams {
        assert_eq!(stream.event().data, "2");
    }
    site.connections()
}

#[test]
fn kept_connections_stream_and_serve_short_answers_one_after_the_other() {
    let site = haproxy()
        .edit("no option keep-conn", "option keep-conn")
        .set("SSE_HEARTBEAT", "1s")
        .start();
    assert_eq!(connections_of_three_streams(&site), 3);
    // A connection without a client is closed at a heartbeat, because it is not reported at
    // once.
    site.wait_for_connections(0, Duration::from_millis(3500));
    for _ in 0..3 {
        let request = site.request("HEAD", "/events/clock");
        assert_eq!(request.field("Connection", "close").send().head.status, 200);
    }
    assert!((1..=3).contains(&site.connections()), "none was kept");
}

#[test]
fn silence_of_the_client_is_no_timeout_and_silence_of_the_responder_is_one() {
    let site = haproxy()
        .edit("timeout client 60s", "timeout client 1s")
        .edit("timeout server 60s", "timeout server 3s")
        .set("SSE_HEARTBEAT", "25s")
        .start();
    let mut stream = site.get("/events/tail").send();
    let opened = Instant::now();
    stream.wait_for_comments(1, PATIENCE);
    while let Next::Event(_) = stream.wait(opened + PATIENCE) {}
    let age = opened.elapsed();
    let expected = Duration::from_millis(2500)..Duration::from_secs(6);
    assert!(stream.cut && expected.contains(&age), "{age:?}");
}

#[test]
fn a_socket_below_the_root_that_debian_gives_it_is_reached() {
    let site = haproxy().directive("chroot {root}");
    let site = site.edit("unix@{root}/", "unix@/").start();
    append(&site.tail_file(), "{\"data\":1}\n");
    assert_eq!(site.get("/events/tail").send().event().data, "1");
}

//! Beginning and end of streams: a client, a responder or a server disconnects or ends.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::servers::answer::Next;
use crate::servers::gateway::{Gateway, Site};
use crate::servers::processes::running_from;
use crate::support::folder::append;
use crate::support::wait::{PATIENCE, wait_until};

behind_all!(
    a_client_that_left_is_noticed,
    a_stream_that_reached_its_age_ends_cleanly_and_is_resumed,
    silence_is_filled_with_heartbeats,
);

fn a_client_that_left_is_noticed(gateway: Gateway) {
    // Idle streams: only heartbeats are written, and some servers do not need them to notice.
    let notices_at_once = matches!(gateway, Gateway::Nginx | Gateway::Haproxy);
    let heartbeat = if notices_at_once { "25s" } else { "1s" };
    let site = Site::with(gateway).set("SSE_HEARTBEAT", heartbeat).start();
    let mut streams: Vec<_> = (0..3).map(|_| site.get("/events/tail").send()).collect();
    for stream in &mut streams {
        stream.wait_for_comments(1, PATIENCE);
    }
    let connections = site.connections();
    let has_status = gateway != Gateway::ApacheFcgid;
    if has_status {
        assert_eq!((connections, site.status("subscribers")), (3, 3));
    }
    streams.truncate(1);
    let limit = match gateway {
        _ if notices_at_once => Duration::from_secs(1),
        // Four, since it closes long after its failed write.
        Gateway::Caddy => Duration::from_millis(5500),
        // Two heartbeats, and some time for the check.
        _ => Duration::from_millis(3500),
    };
    site.wait_for_connections(1, limit);
    if has_status {
        assert_eq!(site.status("subscribers"), 1);
    }
    append(&site.tail_file(), "{\"data\":\"still here\"}\n");
    assert_eq!(streams[0].event().data, "still here");
}

fn a_stream_that_reached_its_age_ends_cleanly_and_is_resumed(gateway: Gateway) {
    // Apache's configuration takes precedence over the environment.
    let site = match gateway {
        Gateway::ApacheProxy | Gateway::ApacheFcgid => {
            Site::with(gateway).directive("Define EVENTS_MAX_AGE 1s")
        }
        _ => Site::with(gateway).set("SSE_MAX_AGE", "1s"),
    };
    let site = site.start();
    append(&site.tail_file(), "{\"data\":1}\n");
    let started = Instant::now();
    let mut stream = site.get("/events/tail").send();
    assert_eq!(stream.event().data, "1");
    assert!(stream.events_to_end(PATIENCE).is_empty());
    assert!(started.elapsed() > Duration::from_millis(800));
    assert!(!stream.cut, "the end of the body is missing");
    let body = String::from_utf8_lossy(&stream.body).into_owned();
    assert!(body.ends_with("\n\n"), "{body}");
    append(&site.tail_file(), "{\"data\":2}\n");
    let last_id = stream.parser.last_id.clone();
    let request = site.get("/events/tail").field("Last-Event-ID", &last_id);
    assert_eq!(request.send().event().data, "2");
}

fn silence_is_filled_with_heartbeats(gateway: Gateway) {
    let site = Site::with(gateway).set("SSE_HEARTBEAT", "1s").start();
    let mut stream = site.get("/events/tail").send();
    stream.wait_for_comments(3, PATIENCE);
    append(&site.tail_file(), "{\"data\":\"at last\"}\n");
    assert_eq!(stream.event().data, "at last");
}

/// Not behind h2o, which buffers without limit, so stalled clients go unnoticed.
mod a_client_that_stops_reading {
    use super::*;

    fn is_let_go(gateway: Gateway) {
        let site = Site::with(gateway)
            .set("SSE_SEND_TIMEOUT", "1s")
            .set("SSE_BACKLOG", "1000")
            .start();
        // More than the sockets and the server buffer together.
        let line = format!("{{\"data\":\"{}\"}}\n", "x".repeat(500_000));
        append(&site.tail_file(), &line.repeat(100));
        let stream = site.get("/events/tail").send();
        site.wait_for_connections(1, PATIENCE);
        site.wait_for_connections(0, PATIENCE);
        drop(stream);
    }

    #[test]
    fn behind_nginx() {
        is_let_go(Gateway::Nginx);
    }

    #[test]
    fn behind_mod_proxy_fcgi() {
        is_let_go(Gateway::ApacheProxy);
    }

    #[test]
    fn behind_mod_fcgid() {
        is_let_go(Gateway::ApacheFcgid);
    }

    #[test]
    fn behind_lighttpd() {
        is_let_go(Gateway::Lighttpd);
    }

    #[test]
    fn behind_caddy() {
        is_let_go(Gateway::Caddy);
    }

    #[test]
    fn behind_haproxy() {
        is_let_go(Gateway::Haproxy);
    }
}

/// Not under mod_fcgid, which starts its responders itself.
mod a_restart_of_the_responder {
    use super::*;

    fn loses_nothing_and_refuses_nobody(gateway: Gateway) {
        let mut site = Site::with(gateway).start();
        append(&site.tail_file(), "{\"data\":1}\n");
        let mut stream = site.get("/events/tail").send();
        assert_eq!(stream.event().data, "1");
        let first_retry = stream.parser.retry;

        site.signal_responder(Signal::SIGTERM);
        assert!(stream.events_to_end(PATIENCE).is_empty());
        assert!(!stream.cut, "the end of the body is missing");
        assert!(
            first_retry.is_some() && stream.parser.retry.is_some(),
            "no retry"
        );
        site.wait_until_responder_ended(PATIENCE);
        append(&site.tail_file(), "{\"data\":2}\n");

        // The request arrives while no responder runs, but the socket is held open.
        let last_id = stream.parser.last_id.clone();
        let request = site.get("/events/tail").field("Last-Event-ID", &last_id);
        let waiting = std::thread::spawn(move || request.send().event().data);
        site.wait_for_connections_waiting(PATIENCE);
        site.start_responder();
        assert_eq!(waiting.join().expect("the client does not fail"), "2");
    }

    #[test]
    fn behind_nginx() {
        loses_nothing_and_refuses_nobody(Gateway::Nginx);
    }

    #[test]
    fn behind_mod_proxy_fcgi() {
        loses_nothing_and_refuses_nobody(Gateway::ApacheProxy);
    }

    #[test]
    fn behind_lighttpd() {
        loses_nothing_and_refuses_nobody(Gateway::Lighttpd);
    }

    #[test]
    fn behind_h2o() {
        loses_nothing_and_refuses_nobody(Gateway::H2o);
    }

    #[test]
    fn behind_caddy() {
        loses_nothing_and_refuses_nobody(Gateway::Caddy);
    }

    #[test]
    fn behind_haproxy() {
        loses_nothing_and_refuses_nobody(Gateway::Haproxy);
    }
}

#[test]
fn a_responder_that_comes_back_is_found_soon() {
    for gateway in [
        Gateway::Nginx,
        Gateway::ApacheProxy,
        Gateway::Lighttpd,
        Gateway::H2o,
        Gateway::Caddy,
        Gateway::Haproxy,
    ] {
        let mut site = Site::with(gateway).start();
        append(&site.tail_file(), "{\"data\":1}\n");
        site.signal_responder(Signal::SIGTERM);
        site.wait_until_responder_ended(PATIENCE);
        site.let_socket_go();
        for _ in 0..5 {
            let request = site.get("/events/tail").field("Connection", "close");
            let answer = request.send();
            let expected: &[u16] = match gateway {
                // The response asks the client to reconnect.
                Gateway::Nginx | Gateway::Caddy | Gateway::Haproxy => &[200],
                _ => &[500, 502, 503],
            };
            let status = answer.head.status;
            assert!(expected.contains(&status), "{gateway:?}: {status}");
        }
        site.hold_socket();
        site.start_responder();
        let back = Instant::now();
        let mut stream = site.get("/events/tail").send();
        // lighttpd checks once a second whether it is back.
        while gateway == Gateway::Lighttpd && stream.head.status == 503 {
            assert!(back.elapsed() < Duration::from_secs(3), "{gateway:?}");
            std::thread::sleep(Duration::from_millis(50));
            stream = site.get("/events/tail").send();
        }
        assert_eq!(stream.head.status, 200, "{gateway:?}");
        assert_eq!(stream.event().data, "1");
    }
}

#[test]
fn a_graceful_restart_of_apache_ends_no_stream() {
    let site = Site::with(Gateway::ApacheProxy).start();
    append(&site.tail_file(), "{\"data\":1}\n");
    let mut stream = site.get("/events/tail").send();
    assert_eq!(stream.event().data, "1");
    let restarts = || site.logs().matches("resuming normal operations").count();
    assert_eq!(restarts(), 1);
    site.signal_server(Signal::SIGUSR1);
    wait_until("Apache has restarted", PATIENCE, || restarts() == 2);
    append(&site.tail_file(), "{\"data\":2}\n");
    assert_eq!(stream.event().data, "2");
    assert_eq!(site.get("/events/tail").send().data_of(2), ["1", "2"]);
}

#[test]
fn a_graceful_restart_of_apache_ends_the_responders_that_it_started() {
    let site = Site::with(Gateway::ApacheFcgid).start();
    append(&site.tail_file(), "{\"data\":1}\n");
    let mut stream = site.get("/events/tail").send();
    assert_eq!(stream.event().data, "1");
    site.signal_server(Signal::SIGUSR1);
    // At the end of an event, with `retry:`, and no error page after it.
    assert!(stream.events_to_end(PATIENCE).is_empty());
    let body = String::from_utf8_lossy(&stream.body).into_owned();
    assert!(!body.contains('<'), "{body}");
    append(&site.tail_file(), "{\"data\":2}\n");
    let last_id = stream.parser.last_id.clone();
    let request = site.get("/events/tail").field("Last-Event-ID", &last_id);
    assert_eq!(request.send().event().data, "2");
}

#[test]
fn a_killed_responder_cuts_streams_and_its_successor_resumes_them() {
    for gateway in [
        Gateway::Nginx,
        Gateway::ApacheProxy,
        Gateway::Lighttpd,
        Gateway::Caddy,
        Gateway::Haproxy,
    ] {
        let mut site = Site::with(gateway).start();
        append(&site.tail_file(), "{\"data\":1}\n");
        let mut stream = site.get("/events/tail").send();
        assert_eq!(stream.event().data, "1");
        site.signal_responder(Signal::SIGKILL);
        site.wait_until_responder_ended(PATIENCE);
        match stream.wait(Instant::now() + PATIENCE) {
            Next::Ended => {}
            other => panic!("{gateway:?}: {other:?}"),
        }
        append(&site.tail_file(), "{\"data\":2}\n");
        site.start_responder();
        let last_id = stream.parser.last_id.clone();
        let request = site.get("/events/tail").field("Last-Event-ID", &last_id);
        assert_eq!(request.send().event().data, "2");
    }
}

#[test]
fn lighttpd_starts_the_responder_itself_when_told_where_it_is() {
    let program = "\"bin-path\" => \"{root}/bin/responder\", \"max-procs\" => 1, \"check-local\"";
    let site = Site::with(Gateway::Lighttpd)
        .without_responder()
        .edit("\"check-local\"", program)
        .start();
    append(&site.path("data/logs/a.log"), "a line\n");
    assert_eq!(site.get("/logs/a.log").send().event().data, "a line");
    append(&site.tail_file(), "{\"data\":1}\n");
    let mut stream = site.get("/events/tail").send();
    assert_eq!(stream.event().data, "1");
    assert_eq!(running_from(&site.path("bin")).len(), 1, "processes");
}

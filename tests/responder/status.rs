//! The status page, and the limit of subscribers.

use super::peer::{COMPLETE, Folder, Protocol as _, Request, Responder, Spoken, Start, wait_for};
use crate::support::event_stream::Item;

#[test]
fn the_status_page_tells_the_same_in_both_forms_and_it_is_true() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "1\n");
    let big = folder.write("big", format!("{}\n", "x".repeat(999)).repeat(2_000));
    let responder = Responder::start(&folder);
    let mut tails: Vec<_> = (0..3)
        .map(|_| responder.ask(&Request::tail(&file)))
        .collect();
    for client in &mut tails {
        client.says(&["1"]);
    }
    let slow = Request::of("clock").set("SSE_INTERVAL", "1h");
    let mut clocks: Vec<_> = (0..2).map(|_| responder.ask(&slow)).collect();
    for client in &mut clocks {
        client.event();
    }
    let lagging = responder.ask(&Request::tail(&big).set("SSE_BACKLOG", "2000"));
    wait_for("a subscriber that catches up", || {
        (responder.figure("catching_up") == 1).then_some(())
    });
    for request in [
        Request::of("status").query("format=prometheus"),
        Request::of("status").set("HTTP_ACCEPT", "text/plain;version=0.0.4"),
    ] {
        wait_for("the same figures", || {
            let figures = responder.figures();
            let metrics = responder.metrics(&request);
            for (name, value) in [("clock", 2), ("tail", 4), ("countdown", 0), ("script", 0)] {
                assert_eq!(figures["subscribers_by_stream"][name], value, "{figures}");
                let metric = format!("sse_subscribers_by_stream{{stream=\"{name}\"}}");
                assert_eq!(metrics[&metric], value);
            }
            assert_eq!(figures["subscribers"], 6);
            assert_eq!(figures["version"], env!("CARGO_PKG_VERSION"));
            let same = [
                ("subscribers", "sse_subscribers"),
                ("catching_up", "sse_catching_up"),
                ("events", "sse_events_total"),
                ("dropped", "sse_dropped_total"),
                ("accept_errors", "sse_accept_errors_total"),
                ("oldest_seconds", "sse_oldest_seconds"),
                ("uptime_seconds", "sse_uptime_seconds"),
            ];
            // A second may have passed between the two.
            same.iter()
                .all(|(name, metric)| figures[name] == metrics[*metric])
                .then_some(())
        });
    }
    // The events of the slow subscriber fill the buffers first.
    responder.is_asleep();
    let events = responder.figure("events");
    folder.append("log", "2\n3\n");
    for client in &mut tails {
        client.says(&["2", "3"]);
    }
    assert_eq!(responder.figure("events"), events + 6);
    drop(lagging);
    wait_for("nobody who catches up", || {
        let figures = responder.figures();
        (figures["catching_up"] == 0 && figures["subscribers"] == 5).then_some(())
    });
    // Counters are never reset.
    drop((tails, clocks));
    wait_for("nobody", || {
        (responder.figure("subscribers") == 0).then_some(())
    });
    assert!(responder.figure("events") >= events + 6);
    assert_eq!(responder.figure("oldest_seconds"), 0);
}

#[test]
fn the_status_page_is_for_reading_only() {
    let folder = Folder::in_memory();
    let responder = Responder::start(&folder);
    for (method, status) in [("HEAD", 200), ("OPTIONS", 204), ("POST", 405)] {
        let mut client = responder.ask(&Request::of("status").method(method));
        assert_eq!((client.status(), client.whole()), (status, COMPLETE));
        assert_eq!(client.body, b"");
    }
}

#[test]
fn past_the_limit_a_client_is_asked_to_come_again() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "1\n");
    let responder = Start::at_socket(&folder)
        .set("SSE_MAX_SUBSCRIBERS", "2")
        .start();
    let request = Request::tail(&file);
    let mut two = [0, 1].map(|_| responder.ask(&request));
    for client in &mut two {
        client.says(&["1"]);
    }
    for _ in 0..3 {
        // A location's setting has no effect; a settings file may not even have it there.
        let mut third = match Spoken::HAS_NO_WEB_SERVER {
            true => responder.ask(&request),
            false => responder.ask(&request.clone().set("SSE_MAX_SUBSCRIBERS", "100")),
        };
        assert_eq!(third.status(), 200);
        let items = third.items();
        assert!(
            matches!(items[..], [Item::Retry(2_250..=4_500), Item::Event(_)]),
            "{items:?}"
        );
        assert_eq!(third.whole(), COMPLETE);
        third.is_closed_soon();
    }
    // One that the limit is reached, and one about the setting of the location.
    let expected = if Spoken::HAS_NO_WEB_SERVER { 1 } else { 2 };
    assert_eq!(
        responder.warnings().len(),
        expected,
        "{}",
        responder.stderr()
    );
    assert_eq!(responder.figure("subscribers"), 2);
    let [first, second] = two;
    drop(second);
    wait_for("a place", || {
        (responder.figure("subscribers") == 1).then_some(())
    });
    responder.ask(&request).says(&["1"]);
    drop(first);
}

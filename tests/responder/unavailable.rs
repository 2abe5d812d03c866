//! The events that tell a page that there is nothing to read, and that the connection is alive.

use nix::sys::signal::Signal;

use super::peer::{Folder, Request, Responder, Start};

const BEAT: &str = "heartbeat: {\"interval_ms\":1000}";
const MISSING: &str = "unavailable: {\"reason\":\"the file does not exist yet\"}";

#[test]
fn everybody_who_waits_for_a_missing_file_is_told_so_once() {
    let folder = Folder::in_memory();
    let responder = Responder::start(&folder);
    let request = Request::tail(&folder.path("log"));
    // The first one reads, and the others share its channel.
    let mut clients: Vec<_> = (0..3).map(|_| responder.ask(&request).opened()).collect();
    for client in &mut clients {
        client.says(&[MISSING]);
    }
    folder.write("log", "a\nb\n");
    for client in &mut clients {
        client.says(&["a", "b"]);
    }
}

#[test]
fn who_asks_for_the_heartbeat_shares_a_stream_with_who_does_not() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "");
    let responder = Responder::start(&folder);
    let request = Request::tail(&file).set("SSE_HEARTBEAT", "1s");
    let mut plain = responder.ask(&request).opened();
    let mut asked = responder.ask(&request.clone().query("heartbeat=event"));
    asked.says(&[BEAT, BEAT, BEAT]);
    folder.append("log", "a\n");
    asked.says(&["a", BEAT]);
    plain.says(&["a"]);
    // Both get what is read once.
    assert_eq!(responder.figure("catching_up"), 0);
    // Filtered records move the position, which a page does not see.
    let filtered = request.set("SSE_FILTER", "a").query("heartbeat=event");
    let mut filtered = [responder.ask(&filtered), responder.ask(&filtered)];
    for client in &mut filtered {
        client.says(&[BEAT, "a"]);
    }
    for _ in 0..2 {
        folder.append("log", "no\n");
        for client in &mut filtered {
            client.says(&[BEAT]);
        }
    }
}

#[test]
fn who_comes_when_all_places_are_taken_learns_why_it_has_to_come_again() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "");
    let start = Start::at_socket(&folder).set("SSE_MAX_SUBSCRIBERS", "1");
    let responder = start.start();
    let request = Request::tail(&file);
    let _first = responder.ask(&request).opened();
    let mut second = responder.ask(&request);
    assert_eq!(second.status(), 200);
    let [event] = &second.rest()[..] else {
        panic!("want one event");
    };
    assert_eq!((&*event.name, &*event.id), ("unavailable", ""));
    assert_eq!(event.data, "{\"reason\":\"too many subscribers\"}");
    responder.signal(Signal::SIGTERM);
}

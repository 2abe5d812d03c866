//! Connections that serve one request after another.

use super::peer::{COMPLETE, Folder, Request, Responder, Start};
use crate::peer::wire;

/// The regression: it counted as waiting for its first stream, and was notified only at its
/// heartbeats.
#[test]
fn the_next_stream_of_a_connection_gets_events_when_they_come() {
    let folder = Folder::in_memory();
    let (old, new) = (folder.write("old", "1\n"), folder.write("new", "2\n"));
    let responder = Responder::start(&folder);
    for others in [None, Some(&old), Some(&new)] {
        let others = others.map(|file| responder.ask(&Request::tail(file)).opened());
        let first = Request::tail(&old).set("SSE_MAX_AGE", "1s").keep();
        let mut client = responder.ask(&first).opened();
        client.says(&["1"]);
        assert_eq!(client.whole(), COMPLETE);
        client.ask(&Request::tail(&new).set("SSE_BACKLOG", "0").keep());
        let mut client = client.opened();
        for word in ["3", "4", "5"] {
            folder.append("new", format!("{word}\n"));
            client.says(&[word]);
        }
        drop(others);
    }
}

#[test]
fn a_request_that_begins_beside_another_and_goes_no_further_is_not_waited_for() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "1\n");
    let start = Start::at_socket(&folder).argument("--request-timeout=500ms");
    let responder = start.start();
    let request = Request::tail(&file).set("SSE_MAX_AGE", "1s").keep();
    let mut client = responder.ask(&request).opened();
    client.send(&[1, 1, 0]);
    assert_eq!(client.whole(), COMPLETE);
    client.is_closed_soon();
}

/// The regression: the received part was published as soon as the next request arrived, and the
/// response was sent into that request's stream.
#[test]
fn nothing_of_an_aborted_post_is_left_for_the_next_request() {
    let folder = Folder::in_memory();
    let file = folder.path("log.jsonl");
    let responder = Responder::start(&folder);
    let post = Request::of("publish")
        .set("SSE_FILE", file.to_str().unwrap())
        .set("SSE_PUBLISH_ALLOW", "anyone")
        .set("CONTENT_TYPE", "text/plain")
        .method("POST")
        .keep();
    let mut client = responder.connect();
    let head = client.head_of(&post);
    client.send(&head);
    client.send_record(wire::STDIN, 1, b"half of");
    client.send_record(wire::ABORT_REQUEST, 1, b"");
    client.whole();
    client.ask(&Request::tail(&file).keep());
    let mut client = client.opened();
    assert_eq!(folder.read("log.jsonl"), "");
    folder.append("log.jsonl", "{\"data\":1}\n");
    client.says(&["1"]);
}

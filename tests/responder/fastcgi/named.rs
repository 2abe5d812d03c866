//! The stream of a path without SSE_STREAM.

use super::peer::{Folder, Request, Responder};

fn at(path: &str) -> Request {
    Request::of("")
        .set("SSE_STREAM", "")
        .set("SCRIPT_NAME", path)
}

/// A web server restricts access to the location of the status page, but not to other paths
/// that end like it.
#[test]
fn no_path_leads_to_the_status_page_unless_its_location_says_so() {
    let folder = Folder::in_memory();
    let responder = Responder::start(&folder);
    for path in ["/events/status", "/events/status.x", "/events/a/nph-status"] {
        let mut client = responder.ask(&at(path));
        assert_eq!(client.status(), 404, "{path}");
    }
    assert_eq!(responder.ask(&at("/events/clock")).status(), 200);
    assert_eq!(responder.figure("uptime_seconds") / 1000, 0);
}

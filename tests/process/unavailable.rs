//! The events that tell a page that there is nothing to read, and that the connection is alive.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use crate::stage::{Folder, Program};
use crate::support::event_stream::Item;

const BEAT: &str = "heartbeat: {\"interval_ms\":1000}";

#[test]
fn a_page_learns_that_the_file_does_not_exist_and_then_gets_its_lines() {
    let folder = Folder::new();
    let file = folder.path("secret-name");
    let root = folder.path("");
    let below = Program::nph("tail")
        .set("SSE_ROOT", &root)
        .set("SSE_AWAIT", "yes");
    let missing = below.set("PATH_INFO", "/missing").start();
    let mut streams = [Program::tail(&file).start(), missing];
    for stream in &mut streams {
        let notice = stream.event();
        assert_eq!(notice.name, "unavailable");
        assert_eq!(notice.data, "{\"reason\":\"the file does not exist yet\"}");
        // The position is the one in the opening.
        assert_eq!(notice.id, stream.last_id());
    }
    folder.write("secret-name", "1\n");
    streams[0].says(&["1"]);
}

#[test]
fn a_file_that_comes_soon_is_no_news() {
    let folder = Folder::new();
    let file = folder.path("log");
    let mut stream = Program::tail(&file)
        .set("SSE_HEARTBEAT", "1s")
        .start()
        .opened();
    folder.write("log", "1\n");
    stream.says(&["1"]);
    // Longer than the time before the report.
    let end = Instant::now() + std::time::Duration::from_secs(6);
    while Instant::now() < end {
        assert!(!matches!(stream.next(), Some(Item::Event(_))));
    }
}

#[test]
fn head_of_what_cannot_be_read_now_is_a_503_without_a_body() {
    let folder = Folder::new();
    let file = folder.write("log", "1\n");
    std::fs::set_permissions(&file, Permissions::from_mode(0o000)).unwrap();
    // As a user other than root, for whom permissions matter.
    let program = || Program::tail(&file).by_user(65_534, &folder);
    let (_, head, items) = program().set("REQUEST_METHOD", "HEAD").run();
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert_eq!(items, []);
    let (_, head, items) = program().run();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(
        matches!(items[..], [Item::Retry(_), Item::Event(_)]),
        "{items:?}"
    );
}

#[test]
fn a_page_that_asks_for_it_sees_the_heartbeat_and_others_see_none() {
    let folder = Folder::new();
    let file = folder.write("log", "");
    let program = || Program::tail(&file).set("SSE_HEARTBEAT", "1s");
    let mut asked = program().query("heartbeat=event").start();
    let mut other = program().query("heartbeat=comment").start();
    asked.says(&[BEAT, BEAT, BEAT]);
    folder.append("log", "a\n");
    asked.says(&["a", BEAT]);
    other.says(&["a"]);
    other.beat();
}

#[test]
fn lines_that_a_filter_holds_back_do_not_hold_the_heartbeat_back() {
    let folder = Folder::new();
    let file = folder.write("log", "");
    let program = Program::tail(&file)
        .set("SSE_HEARTBEAT", "1s")
        .set("SSE_FILTER", "a")
        .query("heartbeat=event");
    let mut stream = program.start();
    stream.says(&[BEAT]);
    for _ in 0..3 {
        folder.append("log", "no\n");
        stream.says(&[BEAT]);
    }
}

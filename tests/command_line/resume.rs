//! Reconnecting: after an end, after an error, and in another process.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::server::{Reply, Server, answer, lasting, stream};
use crate::stage::{Folder, cat, wait_for};

const CLOSE: &str = "id: end\nevent: close\ndata\n\n";

fn last_ids(server: &Server) -> Vec<Option<String>> {
    let requests = server.requests();
    let ids = requests.iter().map(|r| r.field("Last-Event-ID"));
    ids.map(|id| id.map(str::to_owned)).collect()
}

#[test]
fn it_comes_back_after_the_last_event() {
    let server = Server::start([
        stream("retry: 100\nid: 1\ndata: a\n\nid: 2\ndata: cut off"),
        stream("data: b\n\nid: 3\n\n"),
        stream(CLOSE),
    ]);
    let started = Instant::now();
    let ended = cat([server.url()]).end();
    assert_eq!(ended.errors, "");
    assert_eq!(ended.with(0), "a\nb\n");
    let ids = [None, Some("1".to_owned()), Some("3".to_owned())];
    assert_eq!(last_ids(&server), ids);
    // Twice 100 ms, at least three quarters of it; the default would be 3 s.
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(150), "{took:?}");
}

#[test]
fn trouble_passes() {
    let cut = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
        Content-Length: 1000\r\n\r\nretry: 100\nid: 1\ndata: a\n\n";
    let server = Server::start([
        Reply::All(cut.into()),
        answer("503 Service Unavailable", "", "no"),
        Reply::All(Vec::new()),
        answer("429 Too Many Requests", "Retry-After: 1\r\n", ""),
        stream(CLOSE),
    ]);
    let started = Instant::now();
    let ended = cat([server.url()]).end();
    let took = started.elapsed();
    let said: Vec<&str> = ended.errors.lines().collect();
    assert_eq!(said.len(), 4, "{said:?}");
    assert!(
        said[1].contains("HTTP 503 Service Unavailable; again in 0."),
        "{said:?}"
    );
    assert!(
        said[3].contains("HTTP 429 Too Many Requests; again in 1."),
        "{said:?}"
    );
    assert!(took >= Duration::from_secs(1), "{took:?}");
    assert_eq!(ended.with(0), "a\n");
    assert!(
        last_ids(&server)[1..]
            .iter()
            .all(|id| id.as_deref() == Some("1"))
    );
}

#[test]
fn a_server_that_has_fallen_silent_is_left() {
    let server = Server::start([lasting("retry: 100\nid: 1\ndata: a\n\n"), stream(CLOSE)]);
    let ended = cat(["--silence", "300ms", &server.url()]).end();
    assert!(
        ended.errors.contains("fallen silent; again in 0."),
        "{}",
        ended.errors
    );
    assert_eq!(ended.with(0), "a\n");
}

#[test]
fn a_beat_of_the_heart_is_no_silence() {
    let server = Server::start([lasting("data: a\n\n")]);
    let mut reader = cat(["--silence", "1500ms", &server.url()]);
    reader.wait_for_output("a\n");
    let end = Instant::now() + Duration::from_millis(2500);
    while Instant::now() < end {
        server.say(":\n");
        assert!(reader.is_running());
        std::thread::sleep(Duration::from_millis(100));
    }
    server.say(CLOSE);
    let ended = reader.end();
    assert_eq!(ended.errors, "");
    ended.with(0);
}

#[test]
fn a_state_file_takes_the_next_run_to_the_next_event() {
    let folder = Folder::new();
    let state = folder.file("state");
    let server = Server::start([
        lasting("id: 1\ndata: a\n\nid: 2\ndata: b\n\n"),
        lasting("id: 3\n\n"),
        stream(CLOSE),
        answer("204 No Content", "", ""),
    ]);
    let url = server.url();
    let run = |arguments: &[&str]| {
        let all = arguments.iter().copied().chain(["--state", &state, &url]);
        let output = cat(all).end().with(0);
        (output, folder.read("state"))
    };
    assert_eq!(run(&["--count", "2"]), ("a\nb\n".into(), "2\n".into()));
    assert_eq!(
        run(&["--timeout=2s", "--last-id=9"]),
        (String::new(), "3\n".into())
    );
    assert_eq!(run(&[]), (String::new(), "end\n".into()));
    assert_eq!(run(&[]), (String::new(), "end\n".into()));
    let ids = [None, Some("2"), Some("3"), Some("end")].map(|id| id.map(str::to_owned));
    assert_eq!(last_ids(&server), ids);
    let mode = fs::metadata(&state).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
}

#[test]
fn an_event_that_was_not_asked_for_moves_the_place_too() {
    let folder = Folder::new();
    let state = folder.file("state");
    let server = Server::start([lasting("id: 1\nevent: x\ndata: a\n\nid: 2\ndata: b\n\n")]);
    let reader = cat(["--event", "x", "--state", &state, &server.url()]);
    wait_for("the id", || (folder.read("state") == "2\n").then_some(()));
    reader.signal(Signal::SIGTERM);
    reader.end();
}

#[test]
fn a_state_file_serves_one_at_a_time_also_after_it_was_replaced() {
    let folder = Folder::new();
    let state = folder.file("state");
    let server = Server::start([lasting("id: 1\ndata: a\n\n"), stream(CLOSE)]);
    let first = cat(["--state", &state, &server.url()]);
    wait_for("the id", || (folder.read("state") == "1\n").then_some(()));
    let said = cat(["--state", &state, &server.url()]).end().failed(111);
    let expected = format!("sse-cat: --state {state}: another sse-cat is using it\n");
    assert_eq!(said, expected);
    first.signal(Signal::SIGKILL);
    first.end();
    cat(["--state", &state, &server.url()]).end().with(0);
    let names: Vec<_> = fs::read_dir(&**folder).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn a_state_file_may_be_a_link_and_is_never_somebody_elses() {
    let folder = Folder::new();
    let target = folder.write("target", "7\n");
    let link = folder.file("link");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let server = Server::start([stream("id: 8\ndata: a\n\nevent: close\ndata\n\n")]);
    cat(["--state", &link, &server.url()]).end().with(0);
    assert_eq!(last_ids(&server), [Some("7".to_owned())]);
    assert_eq!(folder.read("target"), "8\n");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());

    let diary = folder.write("diary", "dear\ndiary\n");
    let said = cat(["--state", &diary, &server.url()]).end().failed(111);
    assert!(
        said.ends_with("this is not a file of sse-cat's: want one id\n"),
        "{said}"
    );
    assert_eq!(folder.read("diary"), "dear\ndiary\n");
    let nowhere = folder.file("none/state");
    cat(["--state", &nowhere, &server.url()]).end().failed(111);
}

#[test]
fn whoever_reads_the_state_sees_a_whole_id() {
    let folder = Folder::new();
    let state = folder.file("state");
    let server = Server::start([lasting("id: start\ndata: a\n\n")]);
    let reader = cat(["--state", &state, &server.url()]);
    wait_for("the id", || {
        (!folder.read("state").is_empty()).then_some(())
    });
    for number in 0..500 {
        let id = format!("{}-{number}", "x".repeat(100));
        server.say(&format!("id: {id}\ndata\n\n"));
        let seen = folder.read("state");
        assert!(
            seen.ends_with('\n') && seen.lines().count() == 1,
            "{seen:?}"
        );
    }
    wait_for("the last id", || {
        folder.read("state").ends_with("-499\n").then_some(())
    });
    drop(reader);
}

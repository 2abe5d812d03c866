//! Attacks on `sse-cat` by a server, or by a user of the same machine.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, symlink};
use std::time::Instant;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::server::{Reply, Server, lasting, stream};
use crate::stage::{DEADLINE, Folder, cat, wait_for};

const CLOSE: &str = "event: close\ndata\n\n";

/// The maximum memory of a process, in bytes.
fn peak_bytes(pid: nix::unistd::Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kb = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kb.unwrap_or(0) * 1024
}

#[test]
fn a_huge_id_and_many_empty_events_take_little_memory() {
    for id_bytes in [1 << 20, 60 << 10] {
        let events = "data\n\n".repeat(100_000);
        let id = "i".repeat(id_bytes);
        let server = Server::start([lasting(&format!("id: {id}\n{events}data: end\n\n"))]);
        let reader = cat([server.url()]);
        reader.wait_for_output("end\n");
        let peak = peak_bytes(reader.pid());
        assert!(peak < 200 << 20, "{peak} bytes with an id of {id_bytes}");
    }
}

#[test]
fn an_id_that_no_header_can_carry_is_not_saved() {
    let folder = Folder::new();
    let state = folder.file("state");
    let long = "i".repeat(70_000);
    let server = Server::start([
        stream(&format!("id: 1\ndata: a\n\nid: {long}\ndata: b\n\n{CLOSE}")),
        stream(CLOSE),
    ]);
    let ended = cat(["--state", &state, &server.url()]).end();
    assert!(
        ended.errors.contains("ids of 70000 bytes are ignored"),
        "{}",
        ended.errors
    );
    assert_eq!(ended.with(0), "a\nb\n");
    assert_eq!(folder.read("state"), "1\n");
    cat(["--state", &state, &server.url()]).end().with(0);
    assert_eq!(server.requests()[1].field("Last-Event-ID"), Some("1"));
}

#[test]
fn a_huge_event_name_does_not_fail_the_command() {
    let folder = Folder::new();
    let state = folder.file("state");
    let name = "n".repeat(200_000);
    let id = "i".repeat(64 << 10);
    let text = format!("id: {id}\nevent: {name}\ndata: a\n\nid: 2\ndata: b\n\n{CLOSE}");
    let server = Server::start([stream(&text)]);
    let script = "read x; echo $x ${#SSE_EVENT} ${#SSE_ID}";
    let ended = cat([
        "--state",
        &state,
        &server.url(),
        "--exec",
        "sh",
        "-c",
        script,
    ])
    .end();
    assert_eq!(ended.errors, "");
    assert_eq!(ended.with(0), "a 65536 65536\nb 7 1\n");
    assert_eq!(folder.read("state"), "2\n");
}

#[test]
fn a_planted_link_is_not_written_through() {
    let folder = Folder::new();
    let state = folder.write("state", "1\n");
    let precious = folder.write("precious", "mine\n");
    let server = Server::start([lasting("id: 2\ndata: a\n\n")]);
    // The names of the new file in earlier versions, and now while it is written.
    symlink(&precious, folder.file(".state.new")).unwrap();
    let reader = cat(["--state", &state, &server.url()]);
    wait_for("the id", || (folder.read("state") == "2\n").then_some(()));
    drop(reader);
    assert_eq!(folder.read("precious"), "mine\n");
}

#[test]
fn a_planted_fifo_does_not_hang_it() {
    let folder = Folder::new();
    let state = folder.write("state", "1\n");
    mkfifo(&*folder.join(".state.new"), Mode::S_IRWXU).unwrap();
    let server = Server::start([stream(&format!("id: 2\ndata: a\n\n{CLOSE}"))]);
    assert_eq!(cat(["--state", &state, &server.url()]).end().with(0), "a\n");
    assert_eq!(folder.read("state"), "2\n");
}

#[test]
fn what_is_no_file_is_refused_as_a_state_and_left_alone() {
    let folder = Folder::new();
    let fifo = folder.file("fifo");
    mkfifo(&*fifo, Mode::S_IRWXU).unwrap();
    let link = folder.file("link");
    symlink("/dev/null", &link).unwrap();
    let directory = folder.to_str().unwrap().to_owned();
    // No connection was made.
    let server = Server::start([]);
    for path in [&*fifo, "/dev/null", &*link, &*directory] {
        let started = Instant::now();
        let said = cat(["--state", path, &server.url()]).end().failed(111);
        let expected = format!("sse-cat: --state {path}: want a regular file\n");
        assert_eq!(said, expected);
        assert!(started.elapsed() < DEADLINE / 2, "it hung at {path}");
    }
    assert!(fs::metadata(&fifo).unwrap().file_type().is_fifo());
    assert!(
        fs::metadata("/dev/null")
            .unwrap()
            .file_type()
            .is_char_device()
    );
}

#[test]
fn a_folder_that_cannot_be_written_to_is_found_before_the_first_event() {
    let folder = Folder::new();
    let deep = folder.join("deep");
    fs::create_dir(&deep).unwrap();
    let state = deep.join("state").to_str().unwrap().to_owned();
    fs::write(&state, "1\n").unwrap();
    let read_only = |is: bool| {
        let mut permissions = fs::metadata(&deep).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(
            &mut permissions,
            if is { 0o500 } else { 0o700 },
        );
        fs::set_permissions(&deep, permissions).unwrap();
    };
    read_only(true);
    if fs::File::create(deep.join("probe")).is_ok() {
        println!("skipped: root may write anywhere");
        return read_only(false);
    }
    let server = Server::start([]);
    let said = cat(["--state", &state, &server.url()]).end().failed(111);
    read_only(false);
    assert!(said.contains("create a file in"), "{said}");
}

#[test]
fn a_state_s_name_may_be_as_long_as_a_name_can_be() {
    let folder = Folder::new();
    let state = folder.file(&"s".repeat(255));
    let server = Server::start([stream(&format!("id: 2\ndata: a\n\n{CLOSE}"))]);
    assert_eq!(cat(["--state", &state, &server.url()]).end().with(0), "a\n");
    assert_eq!(fs::read_to_string(&state).unwrap(), "2\n");
}

#[test]
fn an_unavailable_stream_is_reported_once_and_tried_again() {
    let nothing = || {
        stream("retry: 100\nevent: unavailable\ndata: {\"reason\":\"too many subscribers\"}\n\n")
    };
    let server = Server::start([
        stream("retry: 100\nid: 1\ndata: a\n\n"),
        nothing(),
        nothing(),
        stream(&format!("data: b\n\n{CLOSE}")),
    ]);
    let ended = cat([server.url()]).end();
    let expected = format!(
        "sse-cat: {}: unavailable: too many subscribers\n",
        server.url()
    );
    assert_eq!(ended.errors, expected);
    assert_eq!(ended.with(0), "a\nb\n");
    // The position has not moved.
    let ids: Vec<_> = server
        .requests()
        .iter()
        .map(|r| r.field("Last-Event-ID").map(str::to_owned))
        .collect();
    assert_eq!(
        ids[1..],
        [Some("1".into()), Some("1".into()), Some("1".into())]
    );
    let server = Server::start([nothing(), stream(&format!("data: b\n\n{CLOSE}"))]);
    let output = cat(["--json", "--count", "1", &server.url()]).end().with(0);
    assert!(
        output.starts_with("{\"id\":\"\",\"event\":\"unavailable\""),
        "{output}"
    );
    assert!(output.ends_with("\"data\":\"b\"}\n"), "{output}");
}

#[test]
fn a_retry_after_that_is_a_date_is_waited_for() {
    let soon = chrono::Utc::now() + chrono::TimeDelta::seconds(2);
    let date =
        |date: chrono::DateTime<chrono::Utc>| date.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let fields = format!(
        "Date: {}\r\nRetry-After: {}\r\n",
        date(chrono::Utc::now()),
        date(soon)
    );
    let server = Server::start([
        Reply::All(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nretry: 100\n\n".into(),
        ),
        crate::server::answer("503 Service Unavailable", &fields, ""),
        stream(CLOSE),
    ]);
    let started = Instant::now();
    cat([server.url()]).end().with(0);
    let took = started.elapsed();
    assert!(took.as_millis() >= 1000, "{took:?}");
}

//! A slow disk, and a process that starts slowly: only its own clients wait for it.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::peer::{Client, Folder, Request, Responder, Start};
use crate::support::root::can;

/// The delay of a system call, in microseconds: other clients get their responses much sooner.
const DELAY_US: u32 = 3_000_000;

/// A responder whose system call of this name takes [`DELAY_US`] more; the calls are written
/// to the file `calls`.
fn delayed(folder: &Folder, call: &str) -> Option<Responder> {
    let inject = format!("inject={call}:delay_enter={DELAY_US}");
    let trace = format!("trace={call}");
    let calls = folder.path("calls");
    let strace = ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-o"];
    let options = [calls.to_str().unwrap(), "-e", &trace, "-e", &inject];
    if !can(
        "strace",
        &["strace", "-f", "--seccomp-bpf", "-o", "/dev/null", "true"],
    ) {
        return None;
    }
    let start = Start::at_socket(folder).allowing_commands();
    Some(start.by(&[&strace[..], &options].concat()).start())
}

fn post(file: &Path, text: &str) -> Request {
    Request::of("publish")
        .method("POST")
        .set("SSE_FILE", file.to_str().unwrap())
        .set("SSE_PUBLISH_ALLOW", "anyone")
        .set("CONTENT_TYPE", "text/plain")
        .set("CONTENT_LENGTH", text.len().to_string())
        .body(text.as_bytes())
}

/// Other clients get responses, and streams advance, while these wait.
fn others_do_not_wait_for(waiting: &mut [Client], folder: &Folder, responder: &Responder) {
    let other = folder.write("other.log", "1\n");
    let mut stream = responder.ask(&Request::tail(&other).set("SSE_BACKLOG", "1"));
    stream.says(&["1"]);
    for line in ["2", "3", "4"] {
        folder.append("other.log", format!("{line}\n"));
        stream.says(&[line]);
        responder.figures();
    }
    for client in waiting {
        while client.read_some(4096) {}
        assert!(client.end.is_none(), "not delayed: {}", client.head());
    }
}

#[test]
fn a_post_that_waits_for_the_disk_delays_nobody_else() {
    let folder = Folder::new();
    let Some(responder) = delayed(&folder, "fdatasync") else {
        return;
    };
    let mut posting: Vec<Client> = (0..8)
        .map(|number| {
            let file = folder.path(&format!("{number}.jsonl"));
            responder.ask(&post(&file, "x").set("SSE_PUBLISH_SYNC", "yes"))
        })
        .collect();
    others_do_not_wait_for(&mut posting, &folder, &responder);
    // A record that needs no disk gets its response at once.
    let mut quick = responder.ask(&post(&folder.path("quick.jsonl"), "x"));
    assert_eq!(quick.status(), 201);
    for (number, client) in posting.iter_mut().enumerate() {
        assert_eq!(client.status(), 201);
        let text = fs::read_to_string(folder.path(&format!("{number}.jsonl"))).unwrap();
        assert_eq!(text, "{\"data\":\"x\"}\n");
    }
    responder.signal(Signal::SIGTERM);
}

#[test]
fn the_disk_is_waited_for_once_for_all_who_post_to_a_file_meanwhile() {
    let folder = Folder::new();
    let Some(mut responder) = delayed(&folder, "fdatasync") else {
        return;
    };
    let file = folder.path("a.jsonl");
    let ask = |number: usize| {
        let text = format!("text {number}");
        responder.ask(&post(&file, &text).set("SSE_PUBLISH_SYNC", "yes"))
    };
    let mut posting: Vec<Client> = (0..20).map(ask).collect();
    // One client disconnects before its turn: its record is not published.
    ask(20).leave();
    others_do_not_wait_for(&mut posting, &folder, &responder);
    for client in &mut posting {
        client.whole();
        assert_eq!(client.status(), 201);
    }
    let mut ids: Vec<_> = posting.iter().map(|client| client.body.clone()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 20);
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text.lines().count(), 20, "{text}");
    responder.signal(Signal::SIGTERM);
    assert_eq!(responder.code(), 0);
    let calls = fs::read_to_string(folder.path("calls")).unwrap();
    let synced = calls
        .lines()
        .filter(|line| line.contains("fdatasync("))
        .count();
    assert!((2..=4).contains(&synced), "{calls}");
}

#[test]
fn a_post_that_is_written_slowly_delays_others_once_and_no_more() {
    let folder = Folder::new();
    let Some(responder) = delayed(&folder, "fallocate") else {
        return;
    };
    // It is not known yet that the disk is slow.
    let mut first = responder.ask(&post(&folder.path("first.jsonl"), "x"));
    assert_eq!(first.status(), 201);
    let mut posting: Vec<Client> = (0..4)
        .map(|number| responder.ask(&post(&folder.path(&format!("{number}.jsonl")), "x")))
        .collect();
    others_do_not_wait_for(&mut posting, &folder, &responder);
    for client in &mut posting {
        assert_eq!(client.status(), 201);
    }
    responder.signal(Signal::SIGTERM);
}

#[test]
fn a_command_that_starts_slowly_delays_nobody_but_who_posted() {
    let folder = Folder::new();
    let Some(responder) = delayed(&folder, "execve") else {
        return;
    };
    let spool = folder.path("spool");
    let session = Request::of("session")
        .set("SSE_SPOOL", spool.to_str().unwrap())
        .set("SSE_PUBLISH_ALLOW", "anyone")
        .set("SSE_COMMAND", "sed s/^/said:/");
    let mut stream = responder.ask(&session);
    let welcome: Value = serde_json::from_str(&stream.event().data).unwrap();
    let post = session
        .method("POST")
        .set("HTTP_X_SESSION_ID", welcome["session"].as_str().unwrap())
        .set("CONTENT_TYPE", "text/plain")
        .set("CONTENT_LENGTH", "1")
        .body(b"x");
    let mut posting = [responder.ask(&post)];
    others_do_not_wait_for(&mut posting, &folder, &responder);
    assert_eq!(posting[0].status(), 201);
    stream.says(&["x", "answer: said:x", "done: 0"]);
    responder.signal(Signal::SIGTERM);
}

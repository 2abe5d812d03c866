//! The responder's program is replaced on disk while it runs.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::peer::{Folder, Protocol as _, Request, Spoken, Start};

#[test]
fn a_session_s_command_answers_after_the_program_was_replaced_on_disk() {
    let folder = Folder::in_memory();
    let copy = folder.path("responder");
    // By another process: an open copy would keep the program busy (ETXTBSY).
    let mut cp = Command::new("cp");
    let copied = cp.arg(Spoken::PROGRAM).arg(&copy).status();
    assert!(copied.unwrap().success());
    let script = "shift; exec \"$0\" \"$@\"";
    let responder = Start::at_socket(&folder)
        .allowing_commands()
        .by(&["sh", "-c", script, copy.to_str().unwrap()])
        .start();
    let request = Request::of("session")
        .set("SSE_SPOOL", folder.path("spool").to_str().unwrap())
        .set("SSE_COMMAND", "cat")
        .set("SSE_PUBLISH_ALLOW", "anyone");
    let mut stream = responder.ask(&request);
    let welcome: Value = serde_json::from_str(&stream.event().data).unwrap();
    let post = request
        .method("POST")
        .set("CONTENT_TYPE", "text/plain")
        .set("CONTENT_LENGTH", "5")
        .set("HTTP_X_SESSION_ID", welcome["session"].as_str().unwrap())
        .body(b"hello");
    // Removed, and then another program in its place.
    fs::remove_file(&copy).unwrap();
    for _ in 0..2 {
        assert_eq!(responder.ask(&post).status(), 201);
        stream.says(&["hello", "answer: hello", "done: 0"]);
        fs::write(&copy, "#!/bin/false\n").unwrap();
    }
}

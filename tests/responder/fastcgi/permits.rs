//! What requests may name: every client of the socket determines their settings.

use super::confined::{is_refused, is_served};
use super::peer::{Folder, Request, Responder, Start};

fn command(text: &str) -> Request {
    Request::of("command").set("SSE_COMMAND", text)
}

#[test]
fn a_request_alone_has_no_program_run() {
    let folder = Folder::in_memory();
    let responder = Responder::start(&folder);
    let mark = folder.path("mark");
    let touch = format!("touch {}", mark.display());
    let remedy = [
        "SSE_COMMAND=touch",
        "--allow-commands",
        "its own environment",
    ];
    is_refused(&responder, &command(&touch), &remedy);
    // The request itself cannot permit it.
    is_refused(
        &responder,
        &command(&touch).set("SSE_ALLOW_COMMANDS", "yes"),
        &remedy,
    );
    let spool = folder.path("spool");
    let session = Request::of("session")
        .set("SSE_SPOOL", spool.to_str().unwrap())
        .set("SSE_PUBLISH_ALLOW", "anyone");
    is_refused(
        &responder,
        &session.clone().set("SSE_COMMAND", &touch),
        &remedy,
    );
    let post = session
        .clone()
        .method("POST")
        .set("CONTENT_TYPE", "text/plain")
        .set("CONTENT_LENGTH", "2");
    is_refused(
        &responder,
        &post.set("SSE_COMMAND", &touch).body(b"hi"),
        &remedy,
    );
    // For a stream that does not use it, it is harmless.
    is_served(&responder, &session);
    is_served(&responder, &Request::of("clock").set("SSE_COMMAND", &touch));
    assert!(!mark.exists());
}

#[test]
fn programs_run_where_the_responder_was_told_so() {
    let folder = Folder::in_memory();
    let first = |start: Start| {
        let responder = start.start();
        let data = responder.ask(&command("echo hello")).event().data;
        assert_eq!(data, "hello");
    };
    first(Start::at_socket(&folder).allowing_commands());
    first(Start::at_socket(&folder).set("SSE_ALLOW_COMMANDS", "yes"));
    // Only that one.
    let responder = Start::at_socket(&folder)
        .set("SSE_COMMAND", "echo mine")
        .start();
    assert_eq!(responder.ask(&Request::of("command")).event().data, "mine");
    assert_eq!(responder.ask(&command("echo 'mine'")).event().data, "mine");
    is_refused(
        &responder,
        &command("echo other"),
        &["SSE_COMMAND=echo other"],
    );
    drop(responder);
    let (code, said) = Start::at_socket(&folder)
        .set("SSE_ALLOW_COMMANDS", "maybe")
        .run();
    assert_eq!(code, 100);
    assert!(said.contains("SSE_ALLOW_COMMANDS=maybe"), "{said}");
}

//! `--beneath`: the files that may be opened.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicU32, Ordering};

use super::peer::{Folder, Request, Responder, Start, wait_for};

/// It is a 500 without a reason for the client, and the log contains the reason.
#[track_caller]
pub fn is_refused(responder: &Responder, request: &Request, words: &[&str]) {
    // The same line for the same path is written once a minute.
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let path = format!("/{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let mut client = responder.ask(&request.clone().set("REQUEST_URI", path));
    assert_eq!(client.status(), 500);
    client.whole();
    let body = String::from_utf8_lossy(&client.body);
    assert!(!body.contains("SSE_") && !body.contains('/'), "{body}");
    let said = responder.said_of(&client);
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
}

pub fn is_served(responder: &Responder, request: &Request) {
    let mut client = responder.ask(request);
    assert_eq!(client.status(), 200);
}

#[test]
fn what_lies_outside_the_folders_is_refused_whatever_leads_there() {
    let folder = Folder::in_memory();
    for name in ["in/sub", "also", "inside"] {
        fs::create_dir_all(folder.path(name)).unwrap();
    }
    for name in ["secret.log", "in/a.log", "also/b.log", "inside/c.log"] {
        folder.write(name, "line\n");
    }
    let link = |from: &str, to: &str| symlink(to, folder.path(from)).unwrap();
    link("in/link.log", "../secret.log");
    link("in/up", "..");
    link("in/dangling.log", "../later.log");
    link("in/current.log", "a.log");
    link("door", "in/sub");
    let responder = Start::at_socket(&folder)
        .argument("--beneath")
        .argument(folder.path("in"))
        .argument("--beneath")
        .argument(folder.path("also"))
        .start();
    let tail = |name: &str| Request::tail(&folder.path(name));
    for name in [
        "in/a.log",
        "also/b.log",
        "in/current.log",
        "in/../also/b.log",
        "in/up/in/a.log",
    ] {
        assert_eq!(responder.ask(&tail(name)).event().data, "line", "{name}");
    }
    for name in ["in/later.log", "in/no/folder/yet.log", "door/later.log"] {
        is_served(&responder, &tail(name));
    }
    for name in [
        "secret.log",
        "inside/c.log",
        "in/../secret.log",
        "in/link.log",
        "in/up/secret.log",
        "in/dangling.log",
        "in/missing/../../secret.log",
        "in/sub/../../inside/c.log",
    ] {
        let value = format!("SSE_FILE={}", folder.path(name).display());
        is_refused(&responder, &tail(name), &[&value, "--beneath"]);
    }
    let outside = folder.path("inside");
    let outside = outside.to_str().unwrap();
    let root = Request::of("tail")
        .set("SSE_ROOT", outside)
        .set("PATH_INFO", "/c.log");
    is_refused(&responder, &root, &["SSE_ROOT="]);
    let spool = Request::of("session").set("SSE_SPOOL", format!("{outside}/spool"));
    is_refused(&responder, &spool, &["SSE_SPOOL="]);
    let script = Request::of("script").set("SSE_FILE", "/etc/passwd");
    is_refused(&responder, &script, &["SSE_FILE=/etc/passwd"]);
    let post = Request::of("publish")
        .method("POST")
        .set("SSE_PUBLISH_ALLOW", "token")
        .set("CONTENT_TYPE", "text/plain")
        .set("CONTENT_LENGTH", "2")
        .body(b"hi");
    let file = folder.path("in/events.jsonl");
    let file = file.to_str().unwrap();
    let token = post
        .clone()
        .set("SSE_FILE", file)
        .set("SSE_PUBLISH_TOKEN_FILE", "/etc/passwd");
    is_refused(&responder, &token, &["SSE_PUBLISH_TOKEN_FILE=/etc/passwd"]);
    let other = post
        .set("SSE_FILE", format!("{outside}/e.jsonl"))
        .set("SSE_PUBLISH_ALLOW", "anyone");
    is_refused(&responder, &other, &["SSE_FILE="]);
    assert!(!folder.path("inside/e.jsonl").exists());
    // Spools below a folder are created there.
    let spool = folder.path("in/spool");
    is_served(
        &responder,
        &Request::of("session").set("SSE_SPOOL", spool.to_str().unwrap()),
    );
    wait_for("the spool", || spool.is_dir().then_some(()));
}

#[test]
fn a_link_that_is_put_there_later_leads_nowhere() {
    let folder = Folder::in_memory();
    fs::create_dir_all(folder.path("in/app")).unwrap();
    fs::create_dir(folder.path("out")).unwrap();
    folder.write("out/a.log", "secret\n");
    let beneath = folder.path("in");
    let responder = Start::at_socket(&folder)
        .argument("--beneath")
        .argument(&beneath)
        .start();
    let mut client =
        responder.ask(&Request::tail(&folder.path("in/app/a.log")).set("SSE_HEARTBEAT", "1s"));
    assert_eq!(client.status(), 200);
    // The file itself, and then its folder.
    symlink("../../out/a.log", folder.path("in/app/a.log")).unwrap();
    let mut other = responder.ask(&Request::tail(&folder.path("in/app/b.log")));
    assert_eq!(other.status(), 200);
    fs::remove_file(folder.path("in/app/a.log")).unwrap();
    folder.write("in/app/a.log", "mine\n");
    assert_eq!(client.event().data, "mine");
    fs::rename(folder.path("in/app"), folder.path("in/old")).unwrap();
    symlink("../out", folder.path("in/app")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(100));
    fs::remove_file(folder.path("in/app")).unwrap();
    fs::create_dir(folder.path("in/app")).unwrap();
    folder.write("in/app/a.log", "mine again\n");
    loop {
        let event = client.event();
        assert_ne!(event.data, "secret");
        if event.data == "mine again" {
            break;
        }
    }
}

#[test]
fn a_folder_that_is_not_there_cannot_be_confined_to() {
    let folder = Folder::in_memory();
    let missing = folder.path("missing");
    let (code, said) = Start::at_socket(&folder)
        .argument("--beneath")
        .argument(&missing)
        .run();
    assert_eq!(code, 100);
    let expected = format!("--beneath {}: ", missing.display());
    assert!(said.contains(&expected), "{said}");
}

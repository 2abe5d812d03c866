//! Errors of single system calls.

use std::fs;

use crate::post::Post;
use crate::stage::{Folder, Program};
use crate::support::root::can;

/// strace that lets every `openat2` of this name fail.
fn failing<'a>(inject: &'a str, name: &'a str) -> Vec<&'a str> {
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", name];
    [&strace[..], &["-e", "trace=openat2", "-e", inject]].concat()
}

/// Temporary errors, which show nothing about the file.
const TEMPORARY: [&str; 5] = ["EIO", "ENOMEM", "EMFILE", "ENFILE", "ESTALE"];

/// Errors of the name.
const LASTING: [&str; 6] = [
    "ENOENT",
    "ENOTDIR",
    "ELOOP",
    "EXDEV",
    "EACCES",
    "ENAMETOOLONG",
];

#[test]
fn a_file_below_a_root_that_cannot_be_read_now_is_no_404() {
    if !can("strace", &["strace", "-o", "/dev/null", "true"]) {
        return;
    }
    let folder = Folder::new();
    folder.write("a.jsonl", "{\"data\":1}\n");
    for (errors, status) in [(&TEMPORARY[..], "Status: 200"), (&LASTING, "Status: 404")] {
        for error in errors {
            let inject = format!("inject=openat2:error={error}");
            let tail = || {
                Program::plain("tail")
                    .set("SSE_ROOT", folder.path(""))
                    .set("PATH_INFO", "/a.jsonl")
                    .by(&failing(&inject, "a.jsonl"))
            };
            let (code, head, items) = tail().run();
            assert!(head.starts_with(status), "{error}: {head}");
            assert_eq!(code, 0, "{error}");
            if status == "Status: 200" {
                assert!(
                    items
                        .iter()
                        .any(|item| matches!(item, crate::support::event_stream::Item::Retry(_))),
                    "{error}: {items:?}"
                );
                // A name that may be created later gets no other response.
                let (_, head, _) = tail().set("SSE_AWAIT", "yes").run();
                assert!(head.starts_with(status), "{error}: {head}");
            }
        }
    }
}

#[test]
fn a_file_below_a_root_that_cannot_be_written_now_is_a_503_and_no_404() {
    if !can("strace", &["strace", "-o", "/dev/null", "true"]) {
        return;
    }
    let folder = Folder::new();
    let file = folder.write("a.jsonl", "");
    for (errors, status) in [
        (&TEMPORARY[..], "503 Service Unavailable"),
        (&LASTING, "404 Not Found"),
    ] {
        for error in errors {
            let inject = format!("inject=openat2:error={error}");
            let post = Post::new().body("text/plain", "x");
            let post = post
                .set("SSE_ROOT", folder.path(""))
                .set("PATH_INFO", "/a.jsonl")
                .by(&failing(&inject, "a.jsonl"));
            let answer = post.send();
            answer.is_error(status);
            // Only the administrator learns the reason.
            let is_told = !answer.errors.is_empty();
            assert_eq!(
                is_told,
                status.starts_with("503") || *error == "EACCES",
                "{answer:?}"
            );
        }
    }
    assert_eq!(fs::read_to_string(file).unwrap(), "");
}

#[test]
fn a_token_file_that_cannot_be_read_now_is_a_503_and_no_500() {
    if !can("strace", &["strace", "-o", "/dev/null", "true"]) {
        return;
    }
    let folder = Folder::new();
    let file = folder.write("a.jsonl", "");
    let tokens = folder.write("tokens", "secret\n");
    for (error, status) in [
        ("EIO", "503 Service Unavailable"),
        ("EMFILE", "503 Service Unavailable"),
        ("EACCES", "500 Internal Server Error"),
    ] {
        let inject = format!("inject=openat,openat2:error={error}");
        let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-P"];
        let trace = ["-e", "trace=openat,openat2", "-e", &inject];
        let by = [&strace[..], &[tokens.to_str().unwrap()], &trace].concat();
        let answer = Post::new()
            .body("text/plain", "x")
            .set("SSE_FILE", &file)
            .set("SSE_PUBLISH_ALLOW", "token")
            .set("SSE_PUBLISH_TOKEN_FILE", &tokens)
            .by(&by)
            .send();
        answer.is_error(status);
        let said = "SSE_PUBLISH_TOKEN_FILE=";
        assert!(answer.errors.contains(said), "{answer:?}");
    }
    assert_eq!(fs::read_to_string(file).unwrap(), "");
}

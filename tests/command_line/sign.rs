//! `--sign-key`: each request has a link of its own.

use crate::server::{Server, answer, lasting, stream};
use crate::stage::{Folder, cat, publish};
use crate::support::signed::{KEY, OTHER_KEY, in_seconds, link, publish_link, write_keys};

fn keys(folder: &Folder) -> String {
    write_keys(&folder.path("keys"), &[KEY, OTHER_KEY]);
    folder.file("keys")
}

/// The target of a request, if its link is one of this key for an hour.
#[track_caller]
fn check_target(head: &str, link: fn(&str, i64, &str) -> String) {
    let target = head.split(' ').nth(1).unwrap();
    let valid = in_seconds(3590)..=in_seconds(3601);
    let found = valid
        .clone()
        .any(|expires| target == format!("/stream?{}", link(KEY, expires, "/stream")));
    assert!(found, "{target}");
}

#[test]
fn a_stream_is_requested_with_a_new_link_when_the_old_one_expires() {
    let folder = Folder::new();
    let server = Server::start([
        lasting("id: 1\ndata: a\n\nevent: expired\ndata: {}\nretry: 3600000\n\n"),
        stream("id: 2\ndata: b\n\nevent: close\ndata:\n\n"),
    ]);
    let read = cat(["--sign-key", &keys(&folder), &server.url()]).end();
    assert_eq!(read.errors, "");
    assert_eq!(read.with(0), "a\nb\n");
    let requests = server.requests();
    for request in &requests {
        check_target(&request.head, link);
    }
    assert_eq!(requests[1].field("Last-Event-ID"), Some("1"));
}

#[test]
fn a_message_is_published_with_a_link_and_no_message_shows_one() {
    let folder = Folder::new();
    let server = Server::start([answer("201 Created", "", "{\"id\":\"1-a\"}\n")]);
    let keys = keys(&folder);
    let sent = publish(["--sign-key", &keys, &server.url(), "hello"]).end();
    assert_eq!(sent.with(0), "1-a\n");
    check_target(&server.requests()[0].head, publish_link);

    let server = Server::start([
        answer("403 Forbidden", "", ""),
        answer("403 Forbidden", "", ""),
    ]);
    let url = server.url();
    let errors = publish(["--sign-key", &keys, &url, "x"]).end().failed(22);
    assert_eq!(errors, format!("sse-publish: {url}: HTTP 403 Forbidden\n"));
    let linked = format!("{url}?{}", link(KEY, in_seconds(60), "/stream"));
    let errors = cat([&linked]).end().failed(22);
    assert_eq!(errors, format!("sse-cat: {url}?…: HTTP 403 Forbidden\n"));
}

#[test]
fn a_file_without_a_key_is_wrong_usage() {
    let folder = Folder::new();
    let short = folder.write("short", "secret\n");
    for file in [short, folder.file("missing")] {
        let errors = cat(["--sign-key", &file, "http://127.0.0.1:9/"])
            .end()
            .failed(100);
        assert!(errors.contains(&format!("--sign-key {file}: ")), "{errors}");
        assert!(!errors.contains("secret"), "{errors}");
    }
}

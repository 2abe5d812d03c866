//! Bodies of every kind, length and speed.

use std::fs;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::post::{Post, timed};
use crate::stage::{DEADLINE, Folder};

#[test]
fn a_body_is_json_text_or_a_form_with_a_length_or_without() {
    let folder = Folder::new();
    let file = folder.path("a.jsonl");
    let form = "application/x-www-form-urlencoded;charset=UTF-8";
    for (media, body) in [
        ("application/json", "{\"data\":[1, 2],\"event\":\"a\"}"),
        ("text/plain; charset=utf-8", "two\nlines"),
        (form, "data=x+y&event=b"),
    ] {
        let post = Post::new().file(&file);
        post.clone().body(media, body).created();
        post.clone().chunked(media, body).created();
        let coded = post.body(media, body).set("CONTENT_LENGTH", "3");
        coded.set("HTTP_TRANSFER_ENCODING", "chunked").created();
    }
    let expected = [
        "{\"event\":\"a\",\"data\":[1, 2]}\n",
        "{\"data\":\"two\\nlines\"}\n",
        "{\"event\":\"b\",\"data\":\"x y\"}\n",
    ];
    let expected: String = expected.iter().map(|line| line.repeat(3)).collect();
    assert_eq!(fs::read_to_string(&file).unwrap(), expected);
}

#[test]
fn a_body_that_is_no_message_is_refused_with_the_reason() {
    let folder = Folder::new();
    let file = folder.path("a.jsonl");
    for (body, reason) in [
        ("", "the body is not one JSON object"),
        ("{", "the body is not one JSON object"),
        ("[1]", "the body is not one JSON object"),
        ("{\"event\":7}", "event is not a string"),
        ("{\"text\":7}", "neither event nor data"),
        ("{\"event\":\"close\"}", "event is a reserved name"),
    ] {
        let answer = Post::json(&file, body).send();
        answer.is_error("400 Bad Request");
        assert_eq!(answer.body, format!("{{\"error\":\"{reason}\"}}\n"));
    }
    let bytes = Post::new().file(&file).body("text/plain", b"caf\xe9");
    bytes.send().is_error("400 Bad Request");
    let length = Post::text(&file, "x").set("CONTENT_LENGTH", "ten");
    length.send().is_error("400 Bad Request");
    let cut_off = Post::text(&file, "x").set("CONTENT_LENGTH", "10");
    cut_off.send().is_error("400 Bad Request");
    assert!(!file.exists());
}

#[test]
fn a_body_of_another_type_is_refused_with_what_would_do() {
    let folder = Folder::new();
    let file = folder.path("a.jsonl");
    let post = Post::text(&file, "x");
    for media in [
        "text/html",
        "multipart/form-data",
        "text/plain;charset=latin1",
        "",
    ] {
        let answer = post.clone().set("CONTENT_TYPE", media).send();
        answer.is_error("415 Unsupported Media Type");
        let takes = answer.field("Accept-Post").unwrap();
        assert!(takes.starts_with("application/json, text/plain"), "{takes}");
    }
    let answer = post.set("HTTP_CONTENT_ENCODING", "gzip").send();
    answer.is_error("415 Unsupported Media Type");
    assert_eq!(answer.field("Accept-Encoding"), Some("identity"));
    assert!(!file.exists());
}

#[test]
fn a_body_may_be_as_large_as_the_limit_and_no_larger() {
    let folder = Folder::new();
    let file = folder.path("a.jsonl");
    let at = |size: usize| "x".repeat(size);
    let post = Post::new().file(&file).set("SSE_PUBLISH_MAX", "1000");
    post.clone().body("text/plain", at(1000)).created();
    post.clone().chunked("text/plain", at(1000)).created();
    let large = "413 Content Too Large";
    post.clone()
        .body("text/plain", at(1001))
        .send()
        .is_error(large);
    post.chunked("text/plain", at(1001)).send().is_error(large);
    let post = Post::new().file(&file);
    post.clone().body("text/plain", at(65_536)).created();
    post.body("text/plain", at(65_537)).send().is_error(large);
    assert_eq!(fs::metadata(&file).unwrap().len(), 2 * 1012 + 65_548);
}

/// Feeds up to a gigabyte and returns how much was accepted before the program disconnected.
fn feed_a_gigabyte(post: &Post) -> u64 {
    let posting = post.start();
    let mut body = posting.ours.try_clone().unwrap();
    let taken = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let piece = vec![b'x'; 64 << 10];
            while taken.load(Ordering::Relaxed) < 1 << 30 {
                match body.write(&piece) {
                    Ok(count) => taken.fetch_add(count as u64, Ordering::Relaxed),
                    Err(_) => break,
                };
            }
        });
        // The body is still being sent when the response arrives; then the program disconnects.
        let answer = posting.answer_meanwhile();
        answer.is_error("413 Content Too Large");
    });
    taken.into_inner()
}

#[test]
fn a_gigabyte_is_refused_after_the_limit() {
    let folder = Folder::new();
    let file = folder.path("a.jsonl");
    let open = Post::new().file(&file).chunked("text/plain", "");
    // Bytes that are on their way are read and discarded, so that the response is not lost.
    const ON_ITS_WAY: u64 = 20 << 20;
    let (taken, took) = timed(|| feed_a_gigabyte(&open));
    assert!(taken < ON_ITS_WAY, "{taken}");
    assert!(took < DEADLINE, "{took:?}");
    let taken = feed_a_gigabyte(&open.set("CONTENT_LENGTH", "1073741824"));
    assert!(taken < ON_ITS_WAY, "{taken}");
    assert!(!file.exists());
}

#[test]
fn a_body_that_comes_too_slowly_is_given_up() {
    let folder = Folder::new();
    let file = folder.path("a.jsonl");
    let post = Post::text(&file, "")
        .set("CONTENT_LENGTH", "60000")
        .set("SSE_PUBLISH_TIMEOUT", "300ms");
    let start = Instant::now();
    let posting = post.start();
    let mut body = posting.ours.try_clone().unwrap();
    let answer = std::thread::scope(|scope| {
        // Bytes at regular intervals, so that it is never silent.
        scope.spawn(|| {
            while start.elapsed() < DEADLINE && body.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        posting.answer_meanwhile()
    });
    answer.is_error("408 Request Timeout");
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    assert!(!file.exists());
    let silent = Post::text(&file, "").set("SSE_PUBLISH_TIMEOUT", "300ms");
    let posting = silent.unset("CONTENT_LENGTH").start();
    posting.answer_meanwhile().is_error("408 Request Timeout");
}

#[test]
fn a_record_that_readers_would_get_cut_is_refused() {
    let folder = Folder::new();
    let file = folder.path("a.jsonl");
    let post = Post::text(&file, "\0".repeat(100).as_str()).set("SSE_MAX_LINE", "500");
    post.send().is_error("413 Content Too Large");
    assert!(!file.exists());
}

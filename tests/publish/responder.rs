//! Publishing through `sse-fcgi` and `sse-httpd`, on sockets of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;

use super::peer::{Client, Folder, Protocol as _, Request, Responder, Spoken, Start, wait_for};
use crate::post::{Answer, Post};
use crate::stage::Program;

/// The request with the variables and the body of a POST.
fn request(post: &Post) -> Request {
    let mut request = Request::of("publish").body(post.body_bytes());
    for (name, value) in post.variables() {
        request = request.set(name, value);
    }
    request
}

/// Begins a request; its body is still to come.
fn begin(responder: &Responder, post: &Post) -> Client {
    let mut client = responder.connect();
    client.begin(&request(post));
    client
}

/// Sends a piece of the body.
fn body(client: &mut Client, piece: &[u8]) {
    let bytes = client.piece_of_body(piece);
    client.send(&bytes);
}

fn send(responder: &Responder, post: &Post) -> Answer {
    answer(responder.ask(&request(post)))
}

fn answer(mut client: Client) -> Answer {
    client.whole();
    let body = String::from_utf8(client.body.clone()).unwrap();
    let text = Spoken::head_as_cgi(&client.head()) + &body;
    Answer::of(&text, Some(0), client.stderr.clone())
}

/// A POST of text, as a web server passes it on to a responder.
fn post(file: &Path, text: &str) -> Post {
    let post = Post::text(file, text).set("SCRIPT_NAME", "/up");
    post.unset("PATH").set("SSE_STREAM", "publish")
}

#[test]
fn a_responder_answers_as_the_cgi_program_does() {
    let folder = Folder::new();
    let responder = Responder::start(&folder);
    let file = folder.path("a.jsonl");
    fs::write(folder.path("tokens"), "a-long-secret\n").unwrap();
    let post = |text: &str| post(&file, text);
    let token = post("x")
        .set("SSE_PUBLISH_ALLOW", "token")
        .set("SSE_PUBLISH_TOKEN_FILE", folder.path("tokens"));
    let below = post("x").unset("SSE_FILE").set("SSE_ROOT", folder.path(""));
    // HTTP cannot carry these requests, and a settings file cannot contain these settings.
    let only_by_fastcgi = [
        post("x").set("CONTENT_LENGTH", "7"),
        post("x").set("REQUEST_METHOD", "GET"),
        post("x").set("SSE_PUBLISH_ALLOW", "everybody"),
    ];
    let both = [
        post("hello"),
        post(&"x".repeat(65_536)),
        post(&"x".repeat(65_537)),
        post("").unset("CONTENT_LENGTH"),
        post("x")
            .chunked("application/json", "{\"data\":1}")
            .unset("CONTENT_LENGTH"),
        post("x").set("CONTENT_TYPE", "text/html"),
        post("x").set("REQUEST_METHOD", "OPTIONS"),
        post("x").set("SSE_PUBLISH_ALLOW", ""),
        post("x").set("SSE_FILE", "/nowhere/a.jsonl"),
        token.clone(),
        token
            .clone()
            .set("HTTP_AUTHORIZATION", "Bearer a-long-guess"),
        token.set("HTTP_AUTHORIZATION", "Bearer a-long-secret"),
        below.clone().set("PATH_INFO", "/a.jsonl"),
        below.clone().set("PATH_INFO", "/b.jsonl"),
        below.set("PATH_INFO", "/../a.jsonl"),
    ];
    let others = only_by_fastcgi.into_iter();
    let others = others.filter(|_| !Spoken::HAS_NO_WEB_SERVER);
    for request in both.into_iter().chain(others) {
        let _ = fs::remove_file(&file);
        let by_cgi = request.send();
        let written = fs::read(&file).ok();
        let _ = fs::remove_file(&file);
        let by_responder = send(&responder, &request);
        assert_eq!(by_responder.text, by_cgi.text);
        assert_eq!(fs::read(&file).ok(), written);
        let is_logged = by_responder.errors.is_empty() == by_cgi.errors.is_empty();
        assert!(
            is_logged || Spoken::HAS_NO_WEB_SERVER,
            "{by_responder:?}\n{by_cgi:?}"
        );
    }
}

#[test]
fn cgi_responder_and_echo_publish_to_one_file_and_lose_nothing() {
    const EACH: usize = 40;
    let folder = Folder::new();
    let responder = Responder::start(&folder);
    let file = folder.write("a.jsonl", "");
    let mut reader = Program::tail(&file).start().opened();
    let text = |who: usize, nth: usize| {
        format!(
            "{who}.{nth} {}",
            "x".repeat([5, 400, 30_000][(who + nth) % 3])
        )
    };
    let ids: BTreeMap<String, String> = std::thread::scope(|scope| {
        let (responder, file, text, folder) = (&responder, &file, &text, &folder);
        let run = move |who: usize| {
            let publish = |nth: usize| {
                let text = text(who, nth);
                let post = post(file, &text);
                let answer = if who % 2 == 0 {
                    send(responder, &post)
                } else {
                    post.send()
                };
                (text, answer.id())
            };
            (0..EACH).map(publish).collect::<Vec<_>>()
        };
        let all: Vec<_> = (0..8).map(|who| scope.spawn(move || run(who))).collect();
        for nth in 0..EACH {
            folder.append("a.jsonl", format!("{{\"data\":\"echo {nth}\"}}\n"));
        }
        all.into_iter()
            .flat_map(|one| one.join().unwrap())
            .collect()
    });
    let mut expected: BTreeSet<String> = ids.keys().cloned().collect();
    expected.extend((0..EACH).map(|nth| format!("echo {nth}")));
    let events = reader.events(expected.len());
    for event in &events {
        assert!(
            expected.remove(&event.data),
            "{:.20} came twice",
            event.data
        );
        assert!(ids.get(&event.data).is_none_or(|id| *id == event.id));
    }
}

#[test]
fn a_body_that_is_slow_or_a_lock_that_is_held_holds_nobody_else_up() {
    let folder = Folder::new();
    let responder = Responder::start(&folder);
    let file = folder.write("a.jsonl", "");
    let held = folder.write("held.jsonl", "");
    let lock = Flock::lock(fs::File::open(&held).unwrap(), FlockArg::LockExclusive).unwrap();
    let mut slow = begin(
        &responder,
        &post(&file, "slow").set("SSE_PUBLISH_TIMEOUT", "500ms"),
    );
    body(&mut slow, b"sl");
    let mut waits = begin(&responder, &post(&held, "waits"));
    body(&mut waits, b"waits");
    waits.end_body();
    let gives_up = post(&held, "x").set("SSE_PUBLISH_TIMEOUT", "200ms");
    let mut gives_up = begin(&responder, &gives_up);
    body(&mut gives_up, b"x");
    let start = Instant::now();
    for _ in 0..20 {
        send(&responder, &post(&file, "quick")).id();
    }
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    answer(slow).is_error("408 Request Timeout");
    answer(gives_up).is_error("503 Service Unavailable");
    drop(lock);
    answer(waits).id();
    assert_eq!(fs::read_to_string(&held).unwrap(), "{\"data\":\"waits\"}\n");
}

#[test]
fn a_full_disk_does_not_end_the_responder() {
    let folder = Folder::new();
    let responder = Start::at_socket(&folder)
        .by(&["sh", "-c", "ulimit -f 1; exec \"$0\" \"$@\""])
        .start();
    let file = folder.path("a.jsonl");
    // The limit is one of the log, too.
    for name in ["a.jsonl", "b.jsonl"] {
        responder.know(&request(&post(&folder.path(name), "")));
    }
    send(&responder, &post(&file, &"x".repeat(300))).id();
    for number in 0..3 {
        let answer = send(&responder, &post(&file, &"x".repeat(300)));
        answer.is_error("503 Service Unavailable");
        // The same line for the same path is written once a minute.
        if !Spoken::HAS_NO_WEB_SERVER {
            assert_eq!(answer.errors.contains("a.jsonl"), number == 0, "{answer:?}");
        }
    }
    send(&responder, &post(&folder.path("b.jsonl"), "x")).id();
}

#[test]
fn a_post_that_is_on_its_way_is_answered_before_the_responder_ends() {
    let folder = Folder::new();
    let mut responder = Responder::start(&folder);
    let file = folder.path("a.jsonl");
    let mut request = begin(&responder, &post(&file, "late"));
    body(&mut request, b"la");
    // A response on another connection shows that the first one has been processed.
    send(&responder, &post(&file, "first")).id();
    responder.signal(Signal::SIGTERM);
    wait_for("nobody to be taken any more", || {
        responder.try_connect().err()
    });
    body(&mut request, b"te");
    request.end_body();
    answer(request).id();
    assert_eq!(responder.code(), 0);
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text, "{\"data\":\"first\"}\n{\"data\":\"late\"}\n");
}

//! Publishing through `sse-fcgi`, on a socket of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::post::{Answer, Post};
use crate::stage::{DEADLINE, Folder, Program, wait_for};

struct Responder {
    child: Child,
    socket: PathBuf,
}

impl Responder {
    fn start(folder: &Folder) -> Self {
        Self::start_by(folder, &[])
    }

    /// Starts it by another program that ends in an exec of it.
    fn start_by(folder: &Folder, before: &[&str]) -> Self {
        let socket = folder.path("responder.sock");
        let mut words: Vec<OsString> = before.iter().map(OsString::from).collect();
        words.push(env!("CARGO_BIN_EXE_sse-fcgi").into());
        words.push("--allow-root".into());
        words.push("--socket".into());
        words.push(socket.clone().into());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .env_clear()
            .env("PATH", "/usr/bin:/bin");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let started = Self { child, socket };
        wait_for("the responder", || {
            UnixStream::connect(&started.socket).ok()
        });
        started
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// Begins a request; its body is still to come.
    fn begin(&self, post: &Post) -> Request {
        let mut stream = self.connect();
        let mut records = record(1, &[0, 1, 0, 0, 0, 0, 0, 0]);
        let mut params = Vec::new();
        for (name, value) in post.variables() {
            params.push(name.len() as u8);
            params.extend((value.len() as u32 | 1 << 31).to_be_bytes());
            params.extend([name, value].concat());
        }
        records.extend(record(4, &params));
        records.extend(record(4, b""));
        stream.write_all(&records).unwrap();
        Request { stream }
    }

    fn send(&self, post: &Post) -> Answer {
        let mut request = self.begin(post);
        for piece in post.body_bytes().chunks(60_000) {
            request.body(piece);
        }
        request.body(b"");
        request.answer()
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request that is being sent.
struct Request {
    stream: UnixStream,
}

impl Request {
    /// Sends a piece of the body; the end of it if it is empty.
    fn body(&mut self, piece: &[u8]) {
        // If it is decided early, the response may arrive and the connection close before all
        // of it was sent.
        let _ = self.stream.write_all(&record(5, piece));
    }

    fn answer(mut self) -> Answer {
        let mut bytes = Vec::new();
        let start = Instant::now();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        loop {
            assert!(start.elapsed() < DEADLINE, "no answer");
            let mut piece = [0; 4096];
            let count = self.stream.read(&mut piece).unwrap();
            assert!(count > 0, "the connection ends before the answer");
            bytes.extend_from_slice(&piece[..count]);
            while let Some((kind, content)) = take_record(&mut bytes) {
                match kind {
                    6 => stdout.extend(content),
                    7 => stderr.extend(content),
                    3 => {
                        let text = |bytes| String::from_utf8(bytes).unwrap();
                        return Answer::of(&text(stdout), Some(0), text(stderr));
                    }
                    _ => panic!("a record of type {kind}"),
                }
            }
        }
    }
}

/// A record of the request 1 (FastCGI 1.0 §3.3).
fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let mut bytes = vec![1, kind, 0, 1, length[0], length[1], 0, 0];
    bytes.extend_from_slice(content);
    bytes
}

fn take_record(bytes: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let header: [u8; 8] = bytes.get(..8)?.try_into().unwrap();
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let end = 8 + length + usize::from(header[6]);
    if bytes.len() < end {
        return None;
    }
    let content = bytes[8..8 + length].to_vec();
    bytes.drain(..end);
    Some((header[1], content))
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
    for request in [
        post("hello"),
        post(&"x".repeat(65_536)),
        post(&"x".repeat(65_537)),
        post("").unset("CONTENT_LENGTH"),
        post("x")
            .chunked("application/json", "{\"data\":1}")
            .unset("CONTENT_LENGTH"),
        post("x").set("CONTENT_TYPE", "text/html"),
        post("x").set("CONTENT_LENGTH", "7"),
        post("x").set("REQUEST_METHOD", "GET"),
        post("x").set("REQUEST_METHOD", "OPTIONS"),
        post("x").set("SSE_PUBLISH_ALLOW", ""),
        post("x").set("SSE_PUBLISH_ALLOW", "everybody"),
        post("x").set("SSE_FILE", "/nowhere/a.jsonl"),
        token.clone(),
        token
            .clone()
            .set("HTTP_AUTHORIZATION", "Bearer a-long-guess"),
        token.set("HTTP_AUTHORIZATION", "Bearer a-long-secret"),
        below.clone().set("PATH_INFO", "/a.jsonl"),
        below.clone().set("PATH_INFO", "/b.jsonl"),
        below.set("PATH_INFO", "/../a.jsonl"),
    ] {
        let _ = fs::remove_file(&file);
        let by_cgi = request.send();
        let written = fs::read(&file).ok();
        let _ = fs::remove_file(&file);
        let by_responder = responder.send(&request);
        assert_eq!(by_responder.text, by_cgi.text);
        assert_eq!(fs::read(&file).ok(), written);
        let is_logged = by_responder.errors.is_empty() == by_cgi.errors.is_empty();
        assert!(is_logged, "{by_responder:?}\n{by_cgi:?}");
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
                let answer = if who.is_multiple_of(2) {
                    responder.send(&post)
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
    let mut slow = responder.begin(&post(&file, "slow").set("SSE_PUBLISH_TIMEOUT", "500ms"));
    slow.body(b"sl");
    let mut waits = responder.begin(&post(&held, "waits"));
    waits.body(b"waits");
    waits.body(b"");
    let gives_up = post(&held, "x").set("SSE_PUBLISH_TIMEOUT", "200ms");
    let mut gives_up = responder.begin(&gives_up);
    gives_up.body(b"x");
    let start = Instant::now();
    for _ in 0..20 {
        responder.send(&post(&file, "quick")).id();
    }
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    slow.answer().is_error("408 Request Timeout");
    gives_up.answer().is_error("503 Service Unavailable");
    drop(lock);
    waits.answer().id();
    assert_eq!(fs::read_to_string(&held).unwrap(), "{\"data\":\"waits\"}\n");
}

#[test]
fn a_full_disk_does_not_end_the_responder() {
    let folder = Folder::new();
    let responder = Responder::start_by(&folder, &["sh", "-c", "ulimit -f 1; exec \"$0\" \"$@\""]);
    let file = folder.path("a.jsonl");
    responder.send(&post(&file, &"x".repeat(300))).id();
    for number in 0..3 {
        let answer = responder.send(&post(&file, &"x".repeat(300)));
        answer.is_error("503 Service Unavailable");
        // The same line for the same path is written once a minute.
        assert_eq!(answer.errors.contains("a.jsonl"), number == 0, "{answer:?}");
    }
    responder.send(&post(&folder.path("b.jsonl"), "x")).id();
}

#[test]
fn a_post_that_is_on_its_way_is_answered_before_the_responder_ends() {
    let folder = Folder::new();
    let mut responder = Responder::start(&folder);
    let file = folder.path("a.jsonl");
    let mut request = responder.begin(&post(&file, "late"));
    request.body(b"la");
    // A response on another connection shows that the first one has been processed.
    responder.send(&post(&file, "first")).id();
    let pid = Pid::from_raw(responder.child.id().cast_signed());
    kill(pid, Signal::SIGTERM).unwrap();
    wait_for("nobody to be taken any more", || {
        UnixStream::connect(&responder.socket).err()
    });
    request.body(b"te");
    request.body(b"");
    request.answer().id();
    let ended = wait_for("the end of the responder", || {
        responder.child.try_wait().unwrap()
    });
    assert!(ended.success());
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text, "{\"data\":\"first\"}\n{\"data\":\"late\"}\n");
}

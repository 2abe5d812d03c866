//! `nph-redis` by itself, as CGI.

use std::io::Read as _;
use std::process::{Command, Stdio};

use super::support::folder::Folder;
use super::support::redis::Redis;

#[test]
fn it_streams_what_is_there_and_what_comes() {
    let folder = Folder::in_memory();
    let mut redis = Redis::start(&folder, &[]);
    let first = redis.add("live:a", "one");
    let mut child = Command::new(env!("CARGO_BIN_EXE_nph-redis"))
        .env_clear()
        .envs([
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("REQUEST_METHOD", "GET"),
            ("SCRIPT_FILENAME", "/cgi-bin/nph-redis.cgi"),
            ("SSE_REDIS", &redis.address()),
            ("SSE_REDIS_USER", "sse"),
            ("SSE_STREAM_KEY", "live:a"),
        ])
        .env("SSE_REDIS_PASSWORD_FILE", folder.path("password"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = child.stdout.take().unwrap();
    let mut text = String::new();
    let mut read_to = |end: &str| {
        while !text.ends_with(end) {
            let mut buffer = [0; 1024];
            let count = output.read(&mut buffer).unwrap();
            assert!(count > 0, "the end after {text}");
            text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
        text.clone()
    };
    let text = read_to(&format!("id: {first}\ndata: one\n\n"));
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    let second = redis.add("live:a", "two");
    read_to(&format!("id: {second}\ndata: two\n\n"));
    // It ends when nothing can be read, so that its client returns.
    redis.kill();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("event: unavailable\n"), "{rest}");
    assert!(rest.contains("retry: "), "{rest}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn it_says_that_it_does_not_contain_tls() {
    let output = Command::new(env!("CARGO_BIN_EXE_nph-redis"))
        .env_clear()
        .envs([
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("REQUEST_METHOD", "GET"),
            ("SCRIPT_FILENAME", "/cgi-bin/nph-redis.cgi"),
            ("SSE_REDIS", "rediss://sse:secret@127.0.0.1:1"),
            ("SSE_STREAM_KEY", "live:a"),
        ])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    let said = "this program does not contain TLS; use sse-fcgi or sse-httpd";
    assert!(log.contains(said) && !log.contains("secret"), "{log}");
}

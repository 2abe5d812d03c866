//! `nph-redis` by itself, as CGI.

use std::io::{Read as _, Write as _};
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

/// `publish-redis`, as CGI or in a terminal: exit code, output and stderr.
fn publish(variables: &[(&str, &str)], arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_publish-redis"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A program that refuses its arguments may have ended before it reads its input.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn a_program_publishes_as_cgi_and_in_a_terminal() {
    let folder = Folder::in_memory();
    let mut redis = Redis::start(&folder, &[]);
    let address = redis.address();
    let password = folder.path("password").display().to_string();
    let common = [
        ("SSE_REDIS", address.as_str()),
        ("SSE_REDIS_USER", "sse"),
        ("SSE_REDIS_PASSWORD_FILE", &password),
    ];
    let cgi = [
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("REQUEST_METHOD", "POST"),
        ("SCRIPT_FILENAME", "/cgi-bin/publish-redis.cgi"),
        ("CONTENT_TYPE", "text/plain"),
        ("CONTENT_LENGTH", "3"),
        ("SSE_PUBLISH_ALLOW", "anyone"),
        ("SSE_STREAM_KEY", "live:a"),
    ];
    let all = [&common[..], &cgi[..]].concat();
    let (code, said, errors) = publish(&all, &[], "one");
    assert_eq!(code, 0, "{errors}");
    assert!(said.starts_with("Status: 201 Created\r\n"), "{said}");
    let (code, id, errors) = publish(&common, &["live:a"], "two\n");
    assert_eq!(code, 0, "{errors}");
    let first = redis.run(&["XRANGE", "live:a", "-", "+"]);
    assert!(first.contains("data\none"), "{first}");
    assert!(id.contains(first.lines().nth(3).unwrap()), "{id} {first}");
    assert!(first.ends_with("data\ntwo"), "{first}");
    // What is missing or wrong.
    let (code, _, errors) = publish(&common, &[], "x");
    assert_eq!(code, 100);
    assert!(errors.contains("no KEY is named"), "{errors}");
    let nowhere = [&common[..], &cgi[..6]].concat();
    let (code, said, errors) = publish(&nowhere, &[], "one");
    assert_eq!(code, 100);
    assert!(said.starts_with("Status: 500 "), "{said}");
    assert!(errors.contains("SSE_STREAM_KEY: not set"), "{errors}");
    redis.kill();
    let (code, said, errors) = publish(&all, &[], "one");
    assert_eq!(code, 0);
    assert!(said.starts_with("Status: 503 "), "{said}");
    assert!(errors.contains("publish to live:a of unix:"), "{errors}");
    let (code, _, _) = publish(&common, &["live:a"], "two\n");
    assert_eq!(code, 111);
    // The small program does not contain it.
    let refused = Command::new(env!("CARGO_BIN_EXE_publish"))
        .env_clear()
        .envs(all)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("use publish-redis"), "{said}");
}

//! The signals and conditions that end `sse-cat`.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::server::{Reply, Server, answer, lasting};
use crate::stage::{cat, wait_for};

#[test]
fn a_signal_ends_it_as_that_signal_whatever_it_does() {
    for (what, reply) in [
        ("reads", lasting("data: a\n\n")),
        ("waits for an answer", Reply::Begin(Vec::new())),
        (
            "waits to come back",
            answer("503 x", "Retry-After: 60\r\n", ""),
        ),
    ] {
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let server = Server::start([reply.clone()]);
            let reader = cat([server.url()]);
            server.wait_for_requests(1);
            match what {
                "reads" => reader.wait_for_output("a\n"),
                "waits to come back" => reader.wait_for_errors("; again in "),
                _ => {}
            }
            reader.signal(signal);
            let ended = reader.end();
            assert_eq!(ended.status.signal(), Some(signal as i32), "{what}");
            assert!(!ended.errors.contains("panic"), "{}", ended.errors);
        }
    }
}

#[test]
fn a_reader_that_left_is_noticed_while_nothing_comes() {
    let server = Server::start([lasting("data: a\n\n")]);
    let mut reader = Command::new(env!("CARGO_BIN_EXE_sse-cat"))
        .arg(server.url())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(reader.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "a\n");
    drop(stdout);
    let status = wait_for("its end", || reader.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_full_disk_is_told() {
    let server = Server::start([lasting("data: a\n\n")]);
    let reader = Command::new(env!("CARGO_BIN_EXE_sse-cat"))
        .arg(server.url())
        .stdin(Stdio::null())
        .stdout(File::options().write(true).open("/dev/full").unwrap())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = reader.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(111));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("sse-cat: write to stdout: "), "{said}");
}

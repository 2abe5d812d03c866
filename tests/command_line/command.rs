//! `--exec`.

use nix::sys::signal::Signal;

use std::os::unix::process::ExitStatusExt as _;

use crate::server::{Server, lasting, stream};
use crate::stage::{Folder, cat, wait_for};

const CLOSE: &str = "event: close\ndata\n\n";

#[test]
fn the_command_gets_the_event() {
    let text = format!("id: 1\nevent: x\ndata: a\ndata: b\n\nid\ndata: c\n\n{CLOSE}");
    let server = Server::start([stream(&text)]);
    let script = "printf '%s %s\\n' \"$SSE_EVENT\" \"$SSE_ID\"; cat";
    let reader = cat([&server.url(), "--exec", "sh", "-c", script]);
    assert_eq!(reader.end().with(0), "x 1\na\nb\nmessage \nc\n");

    let server = Server::start([stream(&text)]);
    let ended = cat(["--json", "--event=x", &server.url(), "--exec", "cat"]).end();
    let line = "{\"id\":\"1\",\"event\":\"x\",\"data\":\"a\\nb\"}\n";
    assert_eq!(ended.with(0), line);
}

#[test]
fn no_shell_sees_what_a_server_sent_or_what_was_typed() {
    let text = format!("event: $(id)\0`id`\nid: ;id\ndata: $(id)\n\n{CLOSE}");
    let server = Server::start([stream(&text)]);
    let arguments = [
        "--exec", "printf", "%s\\n", "$(id);", "`id`", "$SSE_ID", "--json",
    ];
    let url = server.url();
    let reader = cat([&*url].into_iter().chain(arguments));
    assert_eq!(reader.end().with(0), "$(id);\n`id`\n$SSE_ID\n--json\n");

    let server = Server::start([stream(&text)]);
    let reader = cat([&server.url(), "--exec", "env"]);
    let output = reader.end().with(0);
    assert!(output.contains("SSE_EVENT=$(id)`id`\n"), "{output}");
    assert!(output.contains("SSE_ID=;id\n"), "{output}");
}

#[test]
fn signals_reach_the_command() {
    let server = Server::start([stream(&format!("data: a\n\n{CLOSE}"))]);
    let script = "kill -TERM $$; kill -INT $$; echo alive";
    let arguments = ["--keep-going", &server.url(), "--exec", "sh", "-c", script];
    let ended = cat(arguments).end();
    let said = "sse-cat: sh: signal: 15 (SIGTERM)";
    assert!(ended.errors.starts_with(said), "{}", ended.errors);
    assert_eq!(ended.with(0), "");
}

#[test]
fn a_command_need_not_read_its_input() {
    let long = "x".repeat(1 << 20);
    let server = Server::start([stream(&format!("data: {long}\n\ndata: b\n\n{CLOSE}"))]);
    assert_eq!(cat([&server.url(), "--exec", "true"]).end().with(0), "");
}

#[test]
fn an_event_whose_command_failed_comes_again() {
    let folder = Folder::new();
    let state = folder.file("state");
    let events = |from: u32| {
        let events = (from..4).map(|n| format!("id: {n}\ndata: {n}\n\n"));
        stream(&format!("{}{CLOSE}", events.collect::<String>()))
    };
    let server = Server::start([events(1), events(2)]);
    let url = server.url();
    let script = |test: &str| format!("read n; {test} || exit 7; echo $n");
    let arguments = ["--state", &state, &url, "--exec", "sh", "-c"];
    let run = |test: &str| {
        let script = script(test);
        cat(arguments.into_iter().chain([&*script])).end()
    };
    let ended = run("[ $n != 2 ]");
    assert_eq!(ended.errors, "sse-cat: sh: exit status: 7\n");
    assert_eq!(ended.with(1), "1\n");
    assert_eq!(folder.read("state"), "1\n");
    assert_eq!(run("true").with(0), "2\n3\n");
    assert_eq!(server.requests()[1].field("Last-Event-ID"), Some("1"));
}

#[test]
fn keep_going_goes_on() {
    let server = Server::start([stream(&format!("data: a\n\ndata: b\n\n{CLOSE}"))]);
    let script = "read x; echo $x; [ $x = b ]";
    let ended = cat(["--keep-going", &server.url(), "--exec", "sh", "-c", script]).end();
    assert_eq!(ended.errors, "sse-cat: sh: exit status: 1\n");
    assert_eq!(ended.with(0), "a\nb\n");

    let server = Server::start([stream("data: a\n\n")]);
    let said = cat([&server.url(), "--exec", "/nonexistent"])
        .end()
        .failed(1);
    assert!(said.starts_with("sse-cat: /nonexistent: "), "{said}");
}

#[test]
fn a_signal_lets_the_command_finish_and_a_second_one_does_not() {
    let folder = Folder::new();
    let state = folder.file("state");
    let gate = folder.file("gate");
    let begun = folder.file("begun");
    let server = Server::start([
        lasting("id: 1\ndata: a\n\nid: 2\ndata: b\n\n"),
        lasting("id: 2\ndata: b\n\n"),
    ]);
    let url = server.url();
    // It waits as long as the test does, and no longer.
    let script = format!(
        "echo $SSE_ID >>'{begun}'; n=0; while [ ! -e '{gate}' ] && [ $n -lt 600 ]; do \
         sleep 0.05; n=$((n+1)); done; cat"
    );
    let start = || cat(["--state", &state, &url, "--exec", "sh", "-c", &script]);

    let reader = start();
    wait_for("the command", || {
        (folder.read("begun") == "1\n").then_some(())
    });
    reader.signal(Signal::SIGTERM);
    folder.write("gate", "");
    let ended = reader.end();
    assert_eq!(ended.status.signal(), Some(Signal::SIGTERM as i32));
    assert_eq!(ended.output, "a\n");
    assert_eq!(folder.read("state"), "1\n");

    std::fs::remove_file(&gate).unwrap();
    let mut reader = start();
    wait_for("the command", || {
        (folder.read("begun") == "1\n2\n").then_some(())
    });
    reader.signal(Signal::SIGTERM);
    // Two pending signals of the same kind are one; so the second is sent until it has an
    // effect.
    wait_for("its end", || {
        if reader.is_running() {
            reader.signal(Signal::SIGTERM);
            return None;
        }
        Some(())
    });
    assert_eq!(folder.read("state"), "1\n");
    folder.write("gate", "");
    reader.end();
}

//! The messages of a responder for an administrator, wherever its stderr leads.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;

use super::peer::{COMPLETE, Folder, Request, Start, wait_for};
use crate::peer::{FastCgi, Protocol as _};
use crate::support::pipe::pipe;

const BINARY: &str = env!("CARGO_BIN_EXE_sse-fcgi");

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

#[test]
fn an_error_is_printed_where_stdout_and_stderr_are_the_same_file_pipe_or_socket() {
    let folder = Folder::in_memory();
    let bogus = || command(&["--bogus"]);
    let file = File::create(folder.path("out")).unwrap();
    let code = bogus()
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .status()
        .unwrap();
    assert_eq!(code.code(), Some(100));
    assert!(folder.read("out").contains("--bogus"));

    let (mut reader, writer) = pipe();
    let status = bogus()
        .stdout(writer.try_clone().unwrap())
        .stderr(writer)
        .status();
    assert_eq!(status.unwrap().code(), Some(100));
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    assert!(said.contains("--bogus"), "{said}");

    // A socket, like systemd's journal; with an invalid setting.
    let (mut journal, theirs) = UnixStream::pair().unwrap();
    let theirs = OwnedFd::from(theirs);
    let path = folder.path("socket");
    let status = command(&["--allow-root", "--socket", path.to_str().unwrap()])
        .env("SSE_MAX_SUBSCRIBERS", "many")
        .stdout(theirs.try_clone().unwrap())
        .stderr(theirs)
        .status();
    assert_eq!(status.unwrap().code(), Some(100));
    let mut said = String::new();
    journal.read_to_string(&mut said).unwrap();
    assert!(
        said.contains("SSE_MAX_SUBSCRIBERS=many: not a number"),
        "{said}"
    );
}

#[test]
fn the_start_and_the_end_are_one_line_each() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "1\n");
    let start = Start::at_socket(&folder)
        .set("SSE_MAX_SUBSCRIBERS", "0")
        .set("SSE_FLIE", "x");
    let mut responder = start.start();
    let socket = folder.path("socket");
    let said = wait_for("the first lines", || {
        let said = responder.stderr();
        said.contains(": info: ").then_some(said)
    });
    let first = said.lines().find(|line| line.contains(": info: ")).unwrap();
    for part in [
        env!("CARGO_PKG_VERSION"),
        socket.to_str().unwrap(),
        "at most 1 subscribers",
        "descriptors",
    ] {
        assert!(first.contains(part), "{part} in {first}");
    }
    assert!(
        said.contains("SSE_MAX_SUBSCRIBERS=0: out of range, 1 is used"),
        "{said}"
    );
    assert!(said.contains("SSE_FLIE: no such setting"), "{said}");
    let mut client = responder.ask(&Request::tail(&file));
    client.says(&["1"]);
    responder.signal(Signal::SIGTERM);
    assert_eq!(responder.code(), 0);
    let said = responder.stderr();
    let last = said.lines().last().unwrap();
    assert!(last.contains(": info: ended by SIGTERM after "), "{last}");
    assert!(last.contains("1 streams ended, 1 of them now"), "{last}");
    // A problem of the environment is logged once, and not for each request.
    assert_eq!(said.matches("SSE_FLIE").count(), 1, "{said}");
}

#[test]
fn a_stderr_that_nobody_reads_blocks_nobody() {
    let folder = Folder::in_memory();
    let (reader, mut writer) = pipe();
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    while writer.write(&[b'x'; 4096]).is_ok() {}
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    let path = folder.path("socket");
    let mut child = command(&["--allow-root", "--socket", path.to_str().unwrap()])
        .stderr(writer)
        .spawn()
        .unwrap();
    let mut client = wait_for("a connection", || {
        super::peer::Client::unix(&path, FastCgi::new(&()), 1).ok()
    });
    client.ask(&Request::of("nonsense"));
    assert_eq!(client.status(), 500);
    drop(reader);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_misspelt_setting_of_a_location_is_named_with_the_one_that_was_meant() {
    let folder = Folder::in_memory();
    let responder = Start::at_socket(&folder).start();
    let request = Request::of("tail").set("SSE_FLIE", "/x");
    let mut client = responder.ask(
        &request
            .set("REQUEST_URI", "/events/x?token=secret")
            .set("REMOTE_ADDR", "192.0.2.7"),
    );
    assert_eq!(client.status(), 500);
    client.whole();
    assert_eq!(client.body, b"error: see the server's error log\n");
    let text = "SSE_FLIE: no such setting, it is ignored; did you mean SSE_FILE?";
    for said in [responder.stderr(), client.stderr.clone()] {
        assert!(said.contains(text) && !said.contains("secret"), "{said}");
        assert!(said.contains("192.0.2.7 GET /events/x: "), "{said}");
    }
}

#[test]
fn haproxy_is_sent_no_stderr_which_can_make_it_abort() {
    let folder = Folder::in_memory();
    let responder = Start::at_socket(&folder).start();
    for (software, is_sent) in [("HAProxy 2.6.12", false), ("nginx/1.22.1", true)] {
        let file = folder.path(software).join("log");
        let request = Request::tail(&file).set("SERVER_SOFTWARE", software);
        let client = responder.ask(&request).opened();
        let said = client.stderr.contains("not there yet");
        assert_eq!(said, is_sent, "{software}");
        let path = file.display().to_string();
        assert!(responder.stderr().contains(&path), "{software}");
    }
}

#[test]
fn a_request_with_a_warning_gets_its_stream_at_once() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "1\n");
    let responder = Start::at_socket(&folder).start();
    for (setting, value) in [("SSE_FLIE", "x"), ("SSE_BACKLOG", "9999999")] {
        let mut client = responder.ask(&Request::tail(&file).set(setting, value));
        client.says(&["1"]);
        assert!(client.stderr.contains(setting), "{}", client.stderr);
    }
}

#[test]
fn the_web_server_s_log_says_why_a_file_below_a_root_is_a_404_and_what_is_waited_for() {
    let folder = Folder::in_memory();
    std::os::unix::fs::symlink("/etc/hostname", folder.path("outside")).unwrap();
    let responder = Start::at_socket(&folder).start();
    let below = Request::of("tail").set("SSE_ROOT", folder.path("").as_os_str().as_encoded_bytes());
    let mut client = responder.ask(&below.set("PATH_INFO", "/outside"));
    assert_eq!(client.status(), 404);
    client.whole();
    assert!(
        client.stderr.contains("a link leads out"),
        "{}",
        client.stderr
    );
    let client = responder
        .ask(&Request::tail(&folder.path("nowhere/log")))
        .opened();
    assert!(client.stderr.contains("not there yet"), "{}", client.stderr);
}

#[test]
fn the_same_problem_with_the_same_path_is_written_once_a_minute() {
    let folder = Folder::in_memory();
    let log = folder.path("own-log");
    let responder = Start::at_socket(&folder).set("SSE_LOG", &log).start();
    let fails = |path: &str, address: &str| {
        let request = Request::of("tail").set("SSE_HEARTBEAT", "soon");
        let request = request.set("REQUEST_URI", path).set("REMOTE_ADDR", address);
        let mut client = responder.ask(&request);
        assert_eq!(client.status(), 500);
        client.whole();
        client.stderr.matches("SSE_HEARTBEAT=soon").count()
    };
    assert_eq!(fails("/a", "192.0.2.1"), 1);
    for number in 0..20 {
        assert_eq!(fails("/a", &format!("192.0.2.{number}")), 0);
    }
    assert_eq!(fails("/b", "192.0.2.1"), 1);
    assert_eq!(
        folder.read("own-log").matches("SSE_HEARTBEAT=soon").count(),
        2
    );
}

#[test]
fn requests_for_paths_that_name_no_stream_are_one_line_a_minute() {
    let folder = Folder::in_memory();
    let responder = Start::at_socket(&folder).start();
    for number in 0..100 {
        let request = Request::of("").set("SCRIPT_NAME", format!("/made-up-{number}"));
        let mut client = responder.ask(&request);
        assert_eq!(client.status(), 404);
        client.whole();
    }
    let lines = responder.stderr().matches("names no stream").count();
    assert_eq!(lines, 1, "{}", responder.stderr());
}

#[test]
fn a_program_that_writes_without_end_to_stderr_does_not_fill_the_log() {
    let folder = Folder::in_memory();
    let responder = Start::at_socket(&folder).allowing_commands().start();
    let text = "yes an error | head -c 3000000 >&2; echo done";
    let command = format!("/bin/sh -c '{text}'");
    let mut client = responder.ask(&Request::of("command").set("SSE_COMMAND", command));
    client.says(&["done", "close: 0"]);
    // How much was left out is told at its end, and not only when a program writes again.
    let log = wait_for("a line", || {
        let log = responder.stderr();
        log.contains("bytes of its stderr were left out")
            .then_some(log)
    });
    assert!(log.contains("bytes a minute to stderr"), "{log}");
    let written = log.matches("an error").count() * "an error\n".len();
    assert!((32_000..=64 * 1024).contains(&written), "{written}");
    assert!(log.len() < 1 << 20, "{}", log.len());
}

#[test]
fn a_followed_file_that_was_removed_is_in_the_log_and_one_that_was_rotated_is_not() {
    let folder = Folder::new();
    let (gone, rotated) = (
        folder.write("gone.log", "1\n"),
        folder.write("a.log", "1\n"),
    );
    let responder = Start::at_socket(&folder).start();
    let ask = |file| responder.ask(&Request::tail(file).set("SSE_BACKLOG", "1"));
    let (mut one, mut other) = (ask(&gone), ask(&rotated));
    one.says(&["1"]);
    other.says(&["1"]);
    fs::rename(&rotated, folder.path("a.log.1")).unwrap();
    folder.write("a.log", "2\n");
    other.says(&["2"]);
    fs::remove_file(&gone).unwrap();
    let said = wait_for("a line", || {
        let said = responder.stderr();
        said.contains("gone.log: it was removed or renamed")
            .then_some(said)
    });
    assert!(!said.contains("a.log: it was"), "{said}");
    // It is waited for, as before.
    folder.write("gone.log", "new\n");
    assert_eq!(one.event().data, "new");
}

#[test]
fn no_client_fills_the_log_with_paths_that_it_makes_up() {
    let folder = Folder::in_memory();
    let log = folder.path("own-log");
    let responder = Start::at_socket(&folder).set("SSE_LOG", &log).start();
    for number in 0..400 {
        let request = Request::of("tail").set("SSE_HEARTBEAT", "soon");
        let request = request.set("REQUEST_URI", format!("/{number}"));
        responder.ask(&request).whole();
    }
    let lines = folder.read("own-log").matches("SSE_HEARTBEAT=soon").count();
    assert!((190..=200).contains(&lines), "{lines}");
}

#[test]
fn a_setting_of_the_process_in_a_request_is_reported_once_for_each_location() {
    let folder = Folder::in_memory();
    let log = folder.path("own-log");
    let file = folder.write("log", "1\n");
    let responder = Start::at_socket(&folder).set("SSE_LOG", &log).start();
    let asks = |path: &str| {
        let request = Request::tail(&file)
            .set("REQUEST_URI", path)
            .set("SSE_LOG", "/elsewhere")
            .set("SSE_MAX_SUBSCRIBERS", "5");
        responder.ask(&request).says(&["1"]);
    };
    for _ in 0..3 {
        asks("/a");
    }
    asks("/b");
    let said = folder.read("own-log");
    for part in [
        "SSE_LOG=/elsewhere: it is ignored here",
        "SSE_MAX_SUBSCRIBERS=5: it is ignored here",
    ] {
        assert_eq!(said.matches(part).count(), 2, "{said}");
    }
    assert!(
        said.contains("set it in the environment of sse-fcgi"),
        "{said}"
    );
}

#[test]
fn an_empty_path_of_a_socket_is_a_wrong_option() {
    for arguments in [["--socket", ""], ["--beneath", ""], ["--listen", ""]] {
        let output = command(&arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(100), "{arguments:?}: {said}");
        assert!(
            said.contains(arguments[0]) && said.lines().count() == 1,
            "{said}"
        );
    }
}

#[test]
fn a_bad_setting_is_a_500_whose_reason_only_the_server_learns() {
    let folder = Folder::in_memory();
    let log = folder.path("own-log");
    let responder = Start::at_socket(&folder).set("SSE_LOG", &log).start();
    for (request, name) in [
        (Request::of("tail"), "SSE_FILE"),
        (Request::of("nonsense"), "SSE_STREAM=nonsense"),
        (
            Request::of("clock").set("SSE_INTERVAL", "often"),
            "SSE_INTERVAL=often",
        ),
    ] {
        let mut client = responder.ask(&request);
        assert_eq!(client.status(), 500);
        assert_eq!(client.whole(), COMPLETE);
        assert!(client.stderr.contains(name), "{:?}", client.stderr);
        assert!(client.stderr.ends_with('\n'));
        assert!(!client.head().contains("SSE_"), "{}", client.head());
        let body = String::from_utf8_lossy(&client.body);
        assert_eq!(body, "error: see the server's error log\n");
        assert!(folder.read("own-log").contains(name));
    }
}

#[test]
fn sighup_opens_the_log_anew_and_nothing_else_changes() {
    let folder = Folder::in_memory();
    let log = folder.path("own-log");
    let file = folder.write("log", "1\n");
    let responder = Start::at_socket(&folder).set("SSE_LOG", &log).start();
    let mut client = responder.ask(&Request::tail(&file));
    client.says(&["1"]);
    let fails = |path: &str| {
        let request = Request::of("nonsense").set("REQUEST_URI", path);
        responder.ask(&request).whole();
    };
    fails("/a");
    folder.rename("own-log", "own-log.1");
    fails("/b");
    assert_eq!(folder.read("own-log.1").matches("nonsense").count(), 2);
    responder.signal(Signal::SIGHUP);
    wait_for("a new log", || log.exists().then_some(()));
    // A line of the old file is not a repeat in the new one.
    fails("/b");
    assert_eq!(folder.read("own-log.1").matches("nonsense").count(), 2);
    assert_eq!(folder.read("own-log").matches("nonsense").count(), 1);
    folder.append("log", "2\n");
    client.says(&["2"]);
    drop(client);
    // At the end of each stream, with the reason.
    wait_for("a stream's end", || {
        let ends = folder.read("own-log");
        let line = ends.lines().find(|line| line.contains("stream ended"))?;
        let end: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (&end["reason"], &end["stream"]),
            (&"left".into(), &"tail".into())
        );
        assert_eq!(end["events"], 2);
        Some(())
    });
}

//! Programs in a terminal.

use std::fs::File;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::stage::{Folder, ONE_SECOND, Program, Running, wait_for};
use crate::support::pipe::pipe;

const CLOCK: &str = env!("CARGO_BIN_EXE_nph-clock");
const TAIL: &str = env!("CARGO_BIN_EXE_nph-tail");

/// Exit code, stdout and stderr of a program that ends by itself.
fn typed(program: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(program)
        .args(arguments)
        .env_clear()
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn help_names_every_option_and_version_the_version() {
    for flag in ["--help", "-h"] {
        let (code, out, err) = typed(TAIL, &[flag]);
        assert_eq!((code, err.as_str()), (Some(0), ""));
        for option in [
            "--file",
            "--backlog",
            "--last-event-id",
            "SSE_FILE",
            "exit codes",
        ] {
            assert!(out.contains(option), "{option} in {out}");
        }
    }
    let version = format!("sse-cgi {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        typed(CLOCK, &["--version"]),
        (Some(0), version.clone(), String::new())
    );
    assert_eq!(typed(CLOCK, &["-V"]).1, version);
}

#[test]
fn a_wrong_option_or_value_is_100_and_one_line() {
    for arguments in [
        &["--nonsense"][..],
        &["-x"],
        &["--interval"],
        &["--interval", "soon"],
        &["argument"],
        &["--file", "/etc/passwd"],
        &["--interval=1s", "--", "x"],
    ] {
        let (code, out, err) = typed(CLOCK, arguments);
        assert_eq!(
            (code, out.as_str()),
            (Some(100), ""),
            "{arguments:?}: {err}"
        );
        assert_eq!(err.lines().count(), 1, "{err}");
    }
    assert_eq!(typed(TAIL, &[]).0, Some(100));
    assert_eq!(typed(TAIL, &["a", "b"]).0, Some(100));
}

#[test]
fn ctrl_c_ends_it_cleanly() {
    let mut clock = Program::typed("clock", &["--interval", "10ms"]).start();
    clock.event();
    // What was written before the signal may still be read.
    clock.ends_within(ONE_SECOND, |clock| clock.signal(Signal::SIGINT));
    assert_eq!(clock.stderr(), "");
}

#[test]
fn a_stream_can_be_piped_into_a_reader_that_leaves() {
    let mut clock = Program::typed("clock", &["--interval=10ms"]).start();
    clock.event();
    clock.ends_within(ONE_SECOND, Running::leave);
    assert_eq!(clock.stderr(), "");
}

#[test]
fn an_option_wins_over_the_environment_and_an_argument_is_the_file() {
    let folder = Folder::new();
    let (one, two) = (folder.write("one", "1\n"), folder.write("two", "2\n"));
    let mut named = Program::typed("tail", &["--file", two.to_str().unwrap()]);
    named = named.set("SSE_FILE", &one);
    named.start().says(&["2"]);
    let mut bare = Program::typed("tail", &[two.to_str().unwrap()]).start();
    bare.says(&["2"]);
    let id = bare.last_id().to_owned();
    drop(bare);
    folder.append("two", "3\n");
    let two = two.to_str().unwrap();
    let mut again = Program::typed("tail", &["--last-event-id", &id, two]).start();
    again.says(&["3"]);
}

#[test]
fn a_stream_into_a_file_is_written_whole() {
    let folder = Folder::new();
    let out = File::create(folder.path("out")).unwrap();
    let countdown = env!("CARGO_BIN_EXE_nph-countdown");
    let mut command = Command::new(countdown);
    let status = command
        .args(["3", "--interval=10ms"])
        .env_clear()
        .stdout(out)
        .status();
    assert_eq!(status.unwrap().code(), Some(0));
    let text = std::fs::read(folder.path("out")).unwrap();
    let items = crate::support::event_stream::parse(&text);
    let events: Vec<String> = items
        .iter()
        .filter_map(|item| match item {
            crate::support::event_stream::Item::Event(event) => Some(crate::stage::shown(event)),
            _ => None,
        })
        .collect();
    assert_eq!(events, ["3", "2", "1", "0", "close: "]);
}

#[test]
fn a_full_disk_is_an_error_that_is_said_and_no_panic() {
    let full = || File::create("/dev/full").unwrap();
    for arguments in [&["--interval=10ms"][..], &["--help"], &["--version"]] {
        let mut command = Command::new(CLOCK);
        let output = command
            .args(arguments)
            .env_clear()
            .stdout(full())
            .output()
            .unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(111), "{arguments:?}: {err}");
        assert!(err.contains("No space left on device"), "{err}");
        assert!(
            !err.contains("panicked") && err.lines().count() == 1,
            "{err}"
        );
    }
}

#[test]
fn help_into_a_pipe_that_nobody_reads_is_no_panic() {
    let (reader, writer) = pipe();
    drop(reader);
    let mut command = Command::new(TAIL);
    let output = command
        .arg("--help")
        .env_clear()
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stderr, b"");
}

#[test]
fn a_stderr_that_takes_nothing_changes_no_exit_code() {
    let full = File::create("/dev/full").unwrap();
    let mut command = Command::new(CLOCK);
    let status = command.arg("--nonsense").env_clear().stderr(full).status();
    assert_eq!(status.unwrap().code(), Some(100));
}

#[test]
fn a_closed_stdout_is_no_panic() {
    let mut command = Command::new("sh");
    let script = "exec \"$0\" --count=3 --interval=10ms >&-";
    let output = command
        .args(["-c", script, CLOCK])
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(output.stderr, b"");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_terminal_gets_the_stream() {
    // `script` gives it a terminal for its stdout.
    let command = format!("{CLOCK} --count=2 --interval=10ms");
    let mut child = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let status = wait_for("the end of script", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    let mut text = String::new();
    std::io::Read::read_to_string(&mut child.stdout.unwrap(), &mut text).unwrap();
    assert_eq!(text.matches("\"epoch_ms\"").count(), 2);
    assert!(text.contains("event: close"));
}

#[test]
fn in_a_terminal_a_setting_is_called_by_its_option() {
    for (program, arguments, expected) in [
        (
            TAIL,
            &["--backlog", "x", "/tmp/a"][..],
            "--backlog x: not a number",
        ),
        (
            CLOCK,
            &["--interval", "soon"],
            "--interval soon: not a duration",
        ),
        (TAIL, &[], "--file: not set"),
    ] {
        let (code, _, err) = typed(program, arguments);
        assert_eq!(code, Some(100));
        assert!(err.contains(expected) && !err.contains("SSE_"), "{err}");
    }
    // A setting of the environment is named by its variable there.
    let output = Command::new(TAIL)
        .env_clear()
        .env("SSE_BACKLOG", "x")
        .output()
        .unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains("SSE_BACKLOG=x: not a number"), "{err}");
}

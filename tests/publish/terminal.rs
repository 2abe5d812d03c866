//! `publish` in a terminal or a script.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::stage::{Folder, wait_for};

/// Exit code and output.
fn typed(arguments: &[&str], input: &str) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_publish"));
    command
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/bin:/bin");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // An error is reported without reading it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    wait_for("the end of publish", || child.try_wait().unwrap());
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(text).unwrap(),
    )
}

#[test]
fn what_is_typed_becomes_a_record() {
    let folder = Folder::new();
    let file = folder.path("a.jsonl");
    let path = file.to_str().unwrap();
    let id = "{\"id\":\"17-29f60f89187aaf99\"}\n";
    assert_eq!(typed(&[path], "hello\n"), (0, id.into()));
    assert_eq!(typed(&["--json", path], "{\"event\":\"a\"}").0, 0);
    let text = "{\"data\":\"hello\"}\n{\"event\":\"a\"}\n";
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn what_is_wrong_is_said() {
    let folder = Folder::new();
    let file = folder.path("a.jsonl");
    let path = file.to_str().unwrap();
    for (arguments, input, code, expected) in [
        (&["--help"][..], "", 0, "usage: publish"),
        (&[], "", 100, "no FILE is named"),
        (&["--jsonl", path], "", 100, "--jsonl"),
        (&[path, path], "", 100, "unexpected argument"),
        (&["--json", path], "{", 100, "not one JSON object"),
        (&["/dev/null"], "", 100, ".jsonl"),
        (&["/nowhere/a.jsonl"], "x", 111, "/nowhere/a.jsonl"),
    ] {
        let (got, text) = typed(arguments, input);
        assert!(text.contains(expected), "{arguments:?}: {text}");
        assert_eq!(got, code, "{arguments:?}: {text}");
    }
    assert!(!file.exists());
}

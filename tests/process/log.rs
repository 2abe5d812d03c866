//! What an administrator gets to know, and that a client does not.

use crate::parser::Item;
use crate::stage::{Folder, Over, Program};

/// Runs a program whose setting is wrong: what it answers and says.
fn refused(program: Program) -> (String, String) {
    let mut stream = program.start();
    let head = stream.head();
    assert_eq!((stream.next(), stream.code()), (None, 100));
    (head, stream.stderr())
}

#[test]
fn a_bad_setting_is_a_500_that_says_nothing_and_a_line_that_says_all() {
    for (name, value, remedy) in [
        (
            "SSE_HEARTBEAT",
            "15",
            "not a duration; write a whole number",
        ),
        ("SSE_INTERVAL", "secret\r\nSet-Cookie: x", "not a duration"),
        (
            "SSE_ALLOW_ORIGIN",
            "https://a.example/",
            "not a list of origins",
        ),
        ("SSE_COUNT", "many", "not a number; write digits only"),
        (
            "SSE_EVENT",
            "close",
            "only the stream itself and EventSource",
        ),
        (
            "SSE_EVENT",
            "error",
            "only the stream itself and EventSource",
        ),
    ] {
        let (head, said) = refused(Program::plain("clock").set(name, value));
        assert_eq!(
            head,
            "Status: 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
        );
        assert_eq!(said.lines().count(), 1, "{said:?}");
        assert!(
            said.contains(&format!("{name}=")) && said.contains(remedy),
            "{said}"
        );
    }
}

#[test]
fn a_file_that_is_not_named_or_no_file_is_refused_and_nothing_hangs() {
    let folder = Folder::new();
    let pipe = folder.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path("socket")).unwrap();
    let (folder_path, socket) = (folder.path(""), folder.path("socket"));
    for (path, words) in [
        (
            None,
            "SSE_FILE: not set; this stream reads a file, so set SSE_FILE to its path",
        ),
        (Some(pipe), "no regular file; name a"),
        (Some(folder_path), "a folder; name a"),
        (Some(socket), "no regular file; name a"),
        (Some("/dev/zero".into()), "no regular file; name a"),
    ] {
        for name in ["tail", "script"] {
            let path = path.clone().unwrap_or_default();
            let (head, said) = refused(Program::nph(name).set("SSE_FILE", &path));
            assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
            assert!(said.contains(words), "{name} {path:?}: {said}");
        }
    }
}

#[test]
fn a_setting_that_does_not_exist_or_is_out_of_range_is_noticed_and_served() {
    let program = Program::nph("clock")
        .set("SSE_FLIE", "/x")
        .set("SSE_HEARTBEAT", "1h");
    let mut stream = program.start();
    stream.event();
    let said = stream.stderr();
    assert!(
        said.contains("SSE_FLIE: no such setting, it is ignored"),
        "{said}"
    );
    assert!(
        said.contains("SSE_HEARTBEAT=1h: out of range, 25s is used"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 2);
}

#[test]
fn a_log_file_gets_lines_of_json_and_the_server_s_log_nothing() {
    let folder = Folder::new();
    let log = folder.path("sse.log");
    let program = |path: &str| {
        Program::nph("clock")
            .set("SSE_LOG", &log)
            .set("SSE_FLIE", "a\"b")
            .set("REQUEST_URI", path)
    };
    program("/a?x=secret").start().event();
    let mut stream = program("/b").start();
    stream.event();
    assert_eq!(stream.stderr(), "");
    let text = std::fs::read_to_string(&log).unwrap();
    assert_eq!(text.lines().count(), 2);
    for line in text.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(record["level"], "warning");
        assert_eq!(
            record["message"],
            "SSE_FLIE: no such setting, it is ignored; did you mean SSE_FILE?"
        );
        assert_eq!(record["client"], "127.0.0.1");
        assert_eq!(record["method"], "GET");
        assert_eq!(record["path"].as_str().unwrap().len(), 2);
        assert!(record["time"].as_str().unwrap().ends_with('Z'));
        assert!(record["program"].as_str().unwrap().contains("clock"));
    }
}

#[test]
fn a_bad_setting_is_said_in_the_log_file_where_there_is_one() {
    let folder = Folder::new();
    let log = folder.path("sse.log");
    // Under mini-httpd it is the only place where it can be said at all.
    let program = Program::nph("clock")
        .set("SSE_LOG", &log)
        .set("SSE_INTERVAL", "x");
    let mut stream = program.over(Over::Tcp).stderr_is_the_reader().start();
    assert!(stream.head().starts_with("HTTP/1.1 500 "));
    assert_eq!((stream.next(), stream.code()), (None, 100));
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.contains("SSE_INTERVAL=x: not a duration"), "{text}");
}

#[test]
fn a_log_that_cannot_be_had_costs_no_stream() {
    let folder = Folder::new();
    let pipe = folder.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for path in [folder.path("missing/log"), folder.path(""), pipe] {
        let mut stream = Program::nph("clock").set("SSE_LOG", &path).start();
        stream.event();
        let said = stream.stderr();
        assert!(
            said.contains("SSE_LOG=") && said.contains("name a file"),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1);
    }
}

#[test]
fn a_stderr_that_is_the_client_never_gets_a_line() {
    for over in [Over::Socket, Over::Pipe, Over::Tcp] {
        let program = Program::nph("clock").set("SSE_FLIE", "x").over(over);
        let mut stream = program.stderr_is_the_reader().start();
        assert!(stream.head().starts_with("HTTP/1.1 200 OK\r\n"));
        stream.event();
        let bad = Program::nph("clock").set("SSE_INTERVAL", "x").over(over);
        let (head, items) = {
            let mut stream = bad.stderr_is_the_reader().start();
            (stream.head(), stream.next())
        };
        assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
        assert_eq!(items, None::<Item>);
    }
}

#[test]
fn nothing_is_said_on_stderr_once_a_stream_is_served() {
    let folder = Folder::new();
    let file = folder.write("log", "a\n");
    let mut stream = Program::tail(&file).set("SSE_HEARTBEAT", "1s").start();
    stream.says(&["a"]);
    // Trouble of every kind that a follower lives through.
    folder.write("log", "");
    assert_eq!(stream.event().name, "gap");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    stream.beat();
    std::fs::remove_dir(&file).unwrap();
    folder.append("log", "b\n");
    stream.says(&["b"]);
    assert_eq!(stream.stderr(), "");
}

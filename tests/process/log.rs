//! Messages for the administrator, which a client does not get.

use crate::stage::{Folder, Over, Program};
use crate::support::event_stream::Item;

/// Runs a program with an invalid setting: its response and its log.
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
            "Status: 500 Internal Server Error\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Cache-Control: no-store\r\nContent-Length: 34\r\n\r\n"
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
    // Under mini-httpd it is the only place for a message.
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
fn what_goes_wrong_while_a_stream_is_served_is_said_unless_stderr_is_the_client() {
    let folder = Folder::new();
    let file = folder.write("log", "a\n");
    let mut stream = Program::tail(&file).set("SSE_HEARTBEAT", "1s").start();
    stream.says(&["a"]);
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    stream.beat();
    std::fs::remove_dir(&file).unwrap();
    folder.append("log", "b\n");
    stream.says(&["b"]);
    let said = stream.stderr();
    let path = file.to_str().unwrap();
    for part in [
        "127.0.0.1 GET /cgi-bin/nph-tail.cgi: ",
        path,
        "a folder",
        "(uid ",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
}

#[test]
fn a_missing_path_is_reported_with_the_folder_that_is_missing() {
    let folder = Folder::new();
    for (name, missing) in [
        ("logg/deep/app.log", "logg is missing"),
        ("app.log", "its folder is there"),
        ("state/app.log", "state is missing"),
    ] {
        let path = folder.path(name);
        let mut program = Program::tail(&path);
        if name.starts_with("state") {
            program = program.set("SSE_FORMAT", "state");
        }
        let stream = program.start().opened();
        let said = stream.stderr();
        let waiting = format!("{} is not there yet; waiting; ", path.display());
        assert!(said.contains(&waiting) && said.contains(missing), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn what_is_unreadable_below_the_root_is_a_404_and_a_line_that_says_why() {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path("root/closed")).unwrap();
    std::fs::create_dir(folder.path("shut")).unwrap();
    for name in [
        "root/secret.log",
        "root/closed/a.log",
        "shut/a.log",
        "outside.log",
    ] {
        folder.write(name, "x\n");
    }
    symlink(folder.path("outside.log"), folder.path("root/link.log")).unwrap();
    for (name, mode) in [
        ("root/secret.log", 0o000),
        ("root/closed", 0o000),
        ("shut", 0o000),
    ] {
        set_permissions(folder.path(name), Permissions::from_mode(mode)).unwrap();
    }
    for (root, name, remedy) in [
        ("root", "/secret.log", "let it read the file"),
        ("root", "/closed/a.log", "let it read the file"),
        ("shut", "/a.log", "let it read the file"),
        ("root", "/link.log", "a link leads out of SSE_ROOT"),
    ] {
        let program = Program::nph("tail")
            .set("SSE_ROOT", folder.path(root))
            .set("PATH_INFO", name)
            .by_user(54_322, &folder);
        let mut stream = program.start();
        let head = stream.head();
        assert!(head.starts_with("HTTP/1.1 404 "), "{root}{name}: {head}");
        assert_eq!(stream.next(), None);
        let path = format!("{}{name}", folder.path(root).display());
        let said = stream.stderr();
        for part in [&path, remedy, "uid ", "clients get a 404"] {
            assert!(said.contains(part), "{part} in {said}");
        }
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    // A missing file is not logged.
    let program = Program::nph("tail").set("SSE_ROOT", folder.path("root"));
    let mut stream = program.set("PATH_INFO", "/missing.log").start();
    assert!(stream.head().starts_with("HTTP/1.1 404 "));
    assert_eq!((stream.next(), stream.stderr()), (None, String::new()));
    for name in ["root/closed", "shut"] {
        set_permissions(folder.path(name), Permissions::from_mode(0o700)).unwrap();
    }
}

#[test]
fn the_same_problem_with_the_same_path_is_written_once_a_minute_by_all_processes() {
    let folder = Folder::new();
    let log = folder.path("sse.log");
    let ask = |path: &str, client: &str| {
        let program = Program::nph("clock").set("SSE_LOG", &log);
        let program = program.set("SSE_INTERVAL", "x").set("REMOTE_ADDR", client);
        assert_eq!(program.set("REQUEST_URI", path).run().0, 100);
    };
    for number in 0..5 {
        ask("/a?nocache=1", &format!("192.0.2.{number}"));
    }
    ask("/b", "192.0.2.1");
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let named = |line: &serde_json::Value| {
        let part = |name: &str| line[name].as_str().unwrap().to_owned();
        [part("client"), part("method"), part("path")].join(" ")
    };
    let named: Vec<String> = lines.iter().map(named).collect();
    assert_eq!(named, ["192.0.2.0 GET /a", "192.0.2.1 GET /b"]);
}

#[test]
fn a_500_has_a_body_of_one_line_and_a_head_request_has_none() {
    let bad = |program: Program| program.set("SSE_INTERVAL", "x");
    for program in [Program::nph("clock"), Program::plain("clock")] {
        let mut stream = bad(program).start();
        let head = stream.head();
        assert!(head.contains("Content-Length: 34\r\n"), "{head}");
        assert_eq!(stream.rest_as_text(), "error: see the server's error log\n");
    }
    let mut stream = bad(Program::nph("clock"))
        .set("REQUEST_METHOD", "HEAD")
        .start();
    assert!(stream.head().starts_with("HTTP/1.1 500 "));
    assert_eq!(stream.rest_as_text(), "");
}

#[test]
fn files_of_proc_that_have_no_lines_to_follow_are_served_and_named_in_the_log() {
    let read = |path: &str, format: &str| {
        let program = Program::tail(std::path::Path::new(path)).set("SSE_FORMAT", format);
        program.start()
    };
    for format in ["lines", "jsonl"] {
        let mut uptime = read("/proc/uptime", format);
        uptime.event();
        // Its next content is different, and not appended lines.
        assert_eq!(uptime.event().name, "gap");
        assert!(uptime.stderr().contains("/proc/uptime: its size is not"));
        assert!(uptime.stderr().contains("SSE_FORMAT=state"));
        assert!(uptime.processor_ticks() < 20, "{format}");
    }
    for format in ["lines", "state"] {
        let memory = read("/proc/self/mem", format).opened();
        let said = || memory.stderr().contains("/proc/self/mem: cannot be read");
        crate::stage::wait_for("a line in the log", || said().then_some(()));
        assert!(memory.processor_ticks() < 20, "{format}");
    }
    for device in ["/dev/null", "/dev/zero", "/dev/full"] {
        for format in ["lines", "state"] {
            let program = Program::tail(std::path::Path::new(device)).set("SSE_FORMAT", format);
            let (_, said) = refused(program);
            assert!(said.contains("no regular file"), "{said}");
        }
    }
}

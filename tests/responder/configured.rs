//! `--config FILE`: which stream is where, and with which settings.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};

use super::peer::{Client, Folder, Protocol as _, Request, Responder, Spoken, Start, wait_for};

/// A request with nginx's plain parameters: the whole path is SCRIPT_NAME.
pub fn get(path: &str) -> Request {
    let request = Request::of("").set("SCRIPT_NAME", path);
    // (A parameter without a value is an absent one.)
    request.set("REQUEST_URI", path).set("DOCUMENT_URI", path)
}

/// A responder with this settings file; `{folder}` stands for its folder.
pub fn configure(folder: &Folder, text: &str) -> Start {
    let path = rewrite(folder, text);
    Start::at_socket(folder).argument("--config").argument(path)
}

pub fn rewrite(folder: &Folder, text: &str) -> std::path::PathBuf {
    let root = folder.display().to_string();
    folder.write("streams.conf", text.replace("{folder}", &root))
}

/// Sends SIGHUP and waits until the log has one more line with these words.
#[track_caller]
fn reload(responder: &Responder, words: &str) {
    let count = || responder.stderr().matches(words).count();
    let before = count();
    responder.signal(Signal::SIGHUP);
    wait_for(words, || (count() > before).then_some(()));
}

#[track_caller]
pub fn status(responder: &Responder, request: &Request) -> (u16, String) {
    let mut client: Client = responder.ask(request);
    let status = client.status();
    client.whole();
    (status, responder.said_of(&client))
}

#[test]
fn each_path_is_served_as_its_section_says() {
    let folder = Folder::new();
    folder.write("app.log", "app\n");
    folder.write("builds.jsonl", "{\"event\":\"build\",\"data\":1}\n");
    folder.make("logs");
    folder.write("logs/a.log", "below\n");
    let responder = configure(
        &folder,
        "SSE_HEARTBEAT = 25s\n\
         [/events/log /log]\nSSE_STREAM = tail\nSSE_FILE = {folder}/app.log\n\
         [/events/log/builds]\nSSE_STREAM = tail\nSSE_FILE = builds.jsonl\n\
         [/logs/]\nSSE_STREAM = tail\nSSE_ROOT = logs\n\
         [/events/clock]\nSSE_INTERVAL = 10ms\n\
         [/events/status]\nSSE_STREAM = status\n",
    )
    .start();
    responder.ask(&get("/events/log")).says(&["app"]);
    responder.ask(&get("/log")).says(&["app"]);
    responder
        .ask(&get("/events/log/builds"))
        .says(&["build: 1"]);
    responder.ask(&get("/logs/a.log")).says(&["below"]);
    for below in ["/events/log/other", "/events/clock/extra", "/events/clock/"] {
        // A web server has chosen the location. A server that listens to clients itself has a
        // stream at one address only.
        let expected = if Spoken::HAS_NO_WEB_SERVER { 404 } else { 200 };
        let mut client = responder.ask(&get(below));
        assert_eq!(client.status(), expected, "{below}");
    }
    // As lighttpd and h2o split paths.
    let split = get("/logs").set("PATH_INFO", "/a.log");
    responder.ask(&split).says(&["below"]);
    let whole = get("").set("PATH_INFO", "/logs/a.log");
    responder.ask(&whole).says(&["below"]);
    assert_eq!(status(&responder, &get("/logs")).0, 404);
    assert_eq!(status(&responder, &get("/logs/../app.log")).0, 404);
    assert_eq!(status(&responder, &get("/events/status")).0, 200);
    assert_eq!(responder.warnings(), Vec::<String>::new());
}

#[test]
fn a_mistake_ends_the_start_and_every_one_is_named() {
    let folder = Folder::new();
    let check = |text: &str, expected: &[&str]| {
        let (code, said) = configure(&folder, text).run();
        assert_eq!(code, 100, "{said}");
        let path = folder.path("streams.conf").display().to_string();
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), expected.len(), "{said}");
        for (line, expected) in lines.iter().zip(expected) {
            let expected = format!("error: {path}{expected}");
            assert!(line.contains(&expected), "{line}\n{expected}");
        }
    };
    check(
        "[/a]\nSSE_STREAM = tail\nSSE_FLIE = /x\n",
        &[":3: SSE_FLIE=/x: no such setting; did you mean SSE_FILE?"],
    );
    check(
        "SSE_HEARTBEAT = 15\nSSE_MAX_SUBSCRIBERS = many\n",
        &[
            ":1: SSE_HEARTBEAT=15: not a duration; write a whole number",
            ":2: SSE_MAX_SUBSCRIBERS=many: not a number; write digits only",
        ],
    );
    check(
        "[/a/tail]\nSSE_RETRY = 3\n[/b]\nSSE_STREAM = tial\n[/c]\nSSE_FILE = /f\n\
         [/d]\nSSE_STREAM = publish\nSSE_PUBLISH_RATE = 5\n",
        &[
            ":2: SSE_RETRY=3: not a duration",
            ":4: SSE_STREAM=tial: no such stream; write clock",
            ":5: [/c]: SSE_STREAM is not set, and the path does not end in the name of a stream",
            ":9: SSE_PUBLISH_RATE=5: not a rate",
        ],
    );
    check(
        "[/a]\nSSE_LOG = /l\n",
        &[":2: SSE_LOG=/l: it belongs to the whole process"],
    );
}

#[test]
fn a_file_that_others_may_write_or_that_is_none_is_refused_and_nothing_hangs() {
    let folder = Folder::new();
    let path = folder.path("streams.conf");
    let start = || {
        Start::at_socket(&folder)
            .argument("--config")
            .argument(&path)
    };
    let check = |expected: &str| {
        let (code, said) = start().run();
        assert_eq!(code, 100, "{said}");
        let expected = format!("{}: {expected}", path.display());
        assert!(said.contains(&expected), "{said}");
    };
    check("No such file");
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    check("no regular file; replace it by one");
    fs::remove_file(&path).unwrap();
    fs::write(&path, "SSE_RETRY = 5s\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    check("others may write it (mode 0666); chmod 644");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    if geteuid().is_root() {
        chown(&path, Some(12_345), None).unwrap();
        check("it belongs to the user 12345; give it to");
        chown(&path, Some(0), None).unwrap();
    }
    // An administrator's link is followed: Kubernetes makes such.
    fs::rename(&path, folder.path("real.conf")).unwrap();
    symlink("real.conf", &path).unwrap();
    start().start();
}

#[test]
fn sighup_reads_the_file_again_and_open_streams_keep_their_settings() {
    let folder = Folder::new();
    folder.write("a", "a1\n");
    folder.write("b", "b1\n");
    let section = |file: &str| format!("[/log]\nSSE_STREAM = tail\nSSE_FILE = {file}\n");
    let responder = configure(&folder, &section("a")).start();
    let mut before = responder.ask(&get("/log"));
    before.says(&["a1"]);
    rewrite(&folder, &(section("b") + "[/clock]\nSSE_INTERVAL = 10ms\n"));
    assert_eq!(status(&responder, &get("/clock")).0, 404);
    reload(&responder, "streams.conf: read again; sections: 2");
    responder.ask(&get("/log")).says(&["b1"]);
    responder.ask(&get("/clock")).event();
    folder.append("a", "a2\n");
    before.says(&["a2"]);
}

#[test]
fn a_file_with_a_mistake_changes_nothing_and_the_log_says_why() {
    let folder = Folder::new();
    folder.write("a", "a\n");
    let right = "SSE_MAX_SUBSCRIBERS = 9\n[/log]\nSSE_STREAM = tail\nSSE_FILE = a\n";
    let responder = configure(&folder, right).start();
    for (wrong, expected) in [
        (
            "[/log]\nSSE_STREAM = clock\n[/x]\n",
            ":3: [/x]: SSE_STREAM is not set",
        ),
        (
            "SSE_MAX_SUBSCRIBERS = 1\nSSE_NO = 1\n",
            ":2: SSE_NO=1: no such setting",
        ),
        (
            "SSE_STREAM = clock",
            ":1: SSE_STREAM = clock: the line has no end",
        ),
    ] {
        rewrite(&folder, wrong);
        reload(
            &responder,
            "streams.conf: not used; the settings from before stay",
        );
        assert!(
            responder.stderr().contains(expected),
            "{}",
            responder.stderr()
        );
        responder.ask(&get("/log")).says(&["a"]);
    }
    fs::remove_file(folder.path("streams.conf")).unwrap();
    reload(
        &responder,
        "streams.conf: not used; the settings from before stay",
    );
    responder.ask(&get("/log")).says(&["a"]);
    rewrite(&folder, right);
    reload(&responder, "streams.conf: read again; sections: 1");
}

#[test]
fn settings_of_the_whole_process_are_read_from_the_top_and_again() {
    let folder = Folder::new();
    let text = |most: usize, log: &str| {
        format!("SSE_MAX_SUBSCRIBERS = {most}\nSSE_LOG = {log}\n[/clock]\n")
    };
    let start = configure(&folder, &text(1, "log-a")).set("SSE_LOG", folder.path("log-x"));
    let responder = start.start();
    wait_for("the first line", || {
        folder
            .read("log-a")
            .contains("at most 1 subscribers")
            .then_some(())
    });
    let mut first = responder.ask(&get("/clock"));
    first.event();
    let mut second = responder.ask(&get("/clock"));
    assert_eq!(second.event().name, "unavailable");
    rewrite(&folder, &text(2, "log-b"));
    responder.signal(Signal::SIGHUP);
    wait_for("the new log", || {
        folder.read("log-b").contains("read again").then_some(())
    });
    let mut second = responder.ask(&get("/clock"));
    assert_ne!(second.event().name, "unavailable");
    // A request cannot set them.
    if !Spoken::HAS_NO_WEB_SERVER {
        let (_, said) = status(&responder, &get("/none").set("SSE_LOG", "/l"));
        assert!(said.contains("SSE_LOG=/l: it is ignored here"), "{said}");
    }
}

#[test]
fn what_is_wrong_with_a_value_when_it_is_used_names_the_line() {
    let folder = Folder::new();
    let text = "[/log]\nSSE_STREAM = tail\nSSE_FILE = {folder}\n";
    let responder = configure(&folder, text).start();
    let (code, said) = status(&responder, &get("/log"));
    assert_eq!(code, 500);
    let path = folder.path("streams.conf").display().to_string();
    let expected = format!("{path}:3: SSE_FILE={}", folder.display());
    assert!(said.contains(&expected), "{said}");
}

#[test]
fn a_value_out_of_range_is_reported_once_with_its_line() {
    let folder = Folder::new();
    let text = "[/clock]\nSSE_HEARTBEAT = 1h\nSSE_INTERVAL = 10ms\n";
    let responder = configure(&folder, text).start();
    for _ in 0..2 {
        responder.ask(&get("/clock")).event();
    }
    let said = responder.warnings();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("streams.conf:2: SSE_HEARTBEAT=1h: out of range"),
        "{said:?}"
    );
}

//! `.htsse`: the settings file beside a CGI program.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::Command;

use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};

use crate::stage::{Folder, Program};
use crate::support::event_stream::Item;
use crate::support::root::can;

/// nph-tail as `name` in the folder.
fn tail(folder: &Folder, name: &str) -> Program {
    Program::nph("tail").installed_as(folder, name)
}

/// Runs a program with an invalid settings file and returns its log. The client learns nothing.
#[track_caller]
fn refused(program: Program) -> String {
    let mut stream = program.start();
    let head = stream.head();
    assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
    assert_eq!(stream.rest_as_text(), "error: see the server's error log\n");
    assert_eq!(stream.code(), 100);
    let said = stream.stderr();
    assert_eq!(said.lines().count(), 1, "{said:?}");
    said
}

#[test]
fn each_program_gets_the_settings_of_its_section_and_those_of_the_top() {
    let folder = Folder::new();
    folder.write("app.log", "a\n");
    folder.write("builds.jsonl", "{\"data\":1}\n{\"data\":2}\n");
    folder.write(
        ".htsse",
        format!(
            "# for all\nSSE_BACKLOG = 1\n\n[nph-tail.cgi tail.cgi]\nSSE_FILE = {}\n\n\
             [nph-builds.cgi]\nSSE_FILE = builds.jsonl\nSSE_BACKLOG = 2\n",
            folder.path("app.log").display()
        ),
    );
    symlink("nph-tail.cgi", folder.path("nph-builds.cgi")).unwrap();
    symlink("nph-tail.cgi", folder.path("tail.cgi")).unwrap();
    tail(&folder, "nph-tail.cgi").start().says(&["a"]);
    folder.append("app.log", "b\n");
    tail(&folder, "tail.cgi").start().says(&["b"]);
    let mut builds = tail(&folder, "nph-builds.cgi").start();
    builds.says(&["1", "2"]);
    assert_eq!(builds.stderr(), "");
}

#[test]
fn where_the_server_passes_no_setting_the_log_names_the_file_to_write() {
    let folder = Folder::new();
    let said = refused(tail(&folder, "nph-tail.cgi"));
    assert!(said.contains("SSE_FILE: not set; "), "{said}");
    assert!(said.contains("write it into .htsse beside this"), "{said}");
    // Something is passed: then the setting was forgotten.
    let said = refused(tail(&folder, "nph-tail.cgi").set("SSE_RETRY", "9s"));
    assert!(!said.contains(".htsse"), "{said}");
}

#[test]
fn what_the_server_sets_wins_over_the_file() {
    let folder = Folder::new();
    folder.write("a.log", "a\n");
    folder.write("b.log", "b\n");
    folder.write(".htsse", "SSE_FILE = a.log\nSSE_EVENT = file\n");
    let program = tail(&folder, "nph-tail.cgi").set("SSE_FILE", folder.path("b.log"));
    program.start().says(&["file: b"]);
    // A folder counts as an invalid file too.
    let program = tail(&folder, "nph-tail.cgi")
        .set("SSE_ROOT", folder.path(""))
        .set("PATH_INFO", "/b.log");
    program.start().says(&["file: b"]);
}

#[test]
fn the_file_beside_the_name_counts_and_not_the_one_beside_what_a_link_leads_to() {
    let (named, other) = (Folder::new(), Folder::new());
    named.write("own.log", "own\n");
    named.write(".htsse", "SSE_FILE = own.log\n");
    other.write("other.log", "other\n");
    other.write(".htsse", "SSE_FILE = other.log\n");
    let target = tail(&other, "nph-tail.cgi");
    target.start().says(&["other"]);
    symlink(other.path("nph-tail.cgi"), named.path("nph-tail.cgi")).unwrap();
    tail(&named, "nph-tail.cgi").start().says(&["own"]);
}

#[test]
fn a_program_named_without_a_folder_finds_it_in_the_working_directory() {
    let folder = Folder::new();
    folder.write("app.log", "a\n");
    folder.write(".htsse", "[nph-tail.cgi]\nSSE_FILE = app.log\n");
    // As suEXEC and mini-httpd start it: in its folder, by its name without a path.
    let script = "cd \"${0%/*}\" && exec -a nph-tail.cgi ./nph-tail.cgi";
    let program = tail(&folder, "nph-tail.cgi").by(&["bash", "-c", script]);
    program.start().says(&["a"]);
}

#[test]
fn a_mistake_names_file_line_name_value_and_remedy() {
    let folder = Folder::new();
    let file = folder.path(".htsse");
    let check = |text: &str, expected: &str| {
        folder.write(".htsse", text);
        let said = refused(tail(&folder, "nph-tail.cgi"));
        let expected = format!("error: {}{expected}", file.display());
        assert!(said.contains(&expected), "{said}");
    };
    check(
        "SSE_FLIE = /x\n",
        ":1: SSE_FLIE=/x: no such setting; did you mean SSE_FILE?",
    );
    check(
        "\n[nph-tail.cgi]\nSSE_FILE = /x\nSSE_HEARTBEAT = 15\n",
        ":4: SSE_HEARTBEAT=15: not a duration; write a whole number",
    );
    check(
        "[nph-tial.cgi]\nSSE_FILE = /x\n",
        ":1: [nph-tial.cgi]: no such program in this folder; correct the name",
    );
    // The source detects this, not the reader of settings.
    let missing = format!("SSE_FILE = {}\n", folder.path("").display());
    let expected = format!(":1: SSE_FILE={}", folder.path("").display());
    check(&missing, &expected);
    // In the section of another program: this program is not served either, so that the mistake
    // is noticed.
    check(
        "[nph-tail.cgi]\nSSE_FILE /x\n",
        ":2: SSE_FILE /x: not understood",
    );
}

#[test]
fn a_value_out_of_range_is_served_and_its_line_is_named() {
    let folder = Folder::new();
    folder.write("app.log", "a\n");
    folder.write(".htsse", "SSE_FILE = app.log\nSSE_HEARTBEAT = 1h\n");
    let mut stream = tail(&folder, "nph-tail.cgi").start();
    stream.says(&["a"]);
    let said = stream.stderr();
    let expected = "/.htsse:2: SSE_HEARTBEAT=1h: out of range, 25s is used";
    assert!(said.contains(expected), "{said}");
}

/// Creates a settings file that cannot be used.
type Spoil = fn(&Path);

const HOSTILE: [(&str, Spoil, &str); 10] = [
    (
        "NUL",
        |file| fs::write(file, "SSE_RETRY = 5\0s\n").unwrap(),
        ":1: SSE_RETRY = 5\\x00s: a control character; write text only",
    ),
    (
        "no newline",
        |file| fs::write(file, "SSE_FILE = /x").unwrap(),
        ":1: SSE_FILE = /x: the line has no end",
    ),
    (
        "10 MB in one line",
        |file| fs::write(file, vec![b'a'; 10 << 20]).unwrap(),
        ": longer than 64K; shorten it",
    ),
    (
        "thousands of sections",
        |file| {
            let heads: String = (0..5_000).map(|n| format!("[p{n}]\n")).collect();
            fs::write(file, heads).unwrap();
        },
        ":1001: [p1000]: more than 1000 names of sections",
    ),
    (
        "a link",
        |file| {
            let target = file.with_file_name("settings");
            fs::write(&target, "SSE_RETRY = 5s\n").unwrap();
            symlink(target, file).unwrap();
        },
        ": a symbolic link; put the file itself there",
    ),
    (
        "a link to nothing",
        |file| symlink("nothing", file).unwrap(),
        ": a symbolic link",
    ),
    (
        "a FIFO",
        |file| mkfifo(file, Mode::S_IRWXU).unwrap(),
        ": no regular file; replace it by one",
    ),
    (
        "a folder",
        |file| fs::create_dir(file).unwrap(),
        ": no regular file; replace it by one",
    ),
    (
        "writable by the group",
        |file| {
            fs::write(file, "SSE_RETRY = 5s\n").unwrap();
            fs::set_permissions(file, fs::Permissions::from_mode(0o664)).unwrap();
        },
        ": others may write it (mode 0664); chmod 644",
    ),
    (
        "writable by everybody",
        |file| {
            fs::write(file, "SSE_RETRY = 5s\n").unwrap();
            fs::set_permissions(file, fs::Permissions::from_mode(0o606)).unwrap();
        },
        ": others may write it (mode 0606); chmod 644",
    ),
];

#[test]
fn a_hostile_file_is_a_500_and_a_line_in_the_log_and_nothing_hangs() {
    for (what, spoil, expected) in HOSTILE {
        let folder = Folder::new();
        let program = tail(&folder, "nph-tail.cgi").set("SSE_FILE", "/etc/hostname");
        let file = folder.path(".htsse");
        spoil(&file);
        let said = refused(program);
        let expected = format!("{}{expected}", file.display());
        assert!(said.contains(&expected), "{what}: {said}");
        // The same file for a POST.
        let room = Program::nph("room").installed_as(&folder, "nph-room.cgi");
        let said = refused_post(room);
        assert!(said.contains(&expected), "{what}: {said}");
    }
}

/// The same for a POST.
#[track_caller]
fn refused_post(program: Program) -> String {
    let mut stream = program.set("REQUEST_METHOD", "POST").start();
    let head = stream.head();
    assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
    while stream.next().is_some() {}
    assert_eq!(stream.code(), 100);
    stream.stderr()
}

#[test]
fn the_file_of_another_account_is_not_used() {
    if !geteuid().is_root() {
        eprintln!("skipped: only root can give a file away");
        return;
    }
    let folder = Folder::new();
    let file = folder.write(".htsse", "SSE_FILE = /etc/hostname\n");
    // It belongs neither to root, nor to this process's user, nor to the folder's owner.
    chown(&file, Some(12_345), None).unwrap();
    let said = refused(tail(&folder, "nph-tail.cgi"));
    assert!(
        said.contains(": it belongs to the user 12345; give it to"),
        "{said}"
    );
    // The owner of the folder could put any program there.
    chown(&*folder, Some(12_345), None).unwrap();
    tail(&folder, "nph-tail.cgi").start().event();
    // Root's file is used by every user, and a user's own file by that user.
    let user = |owner: u32| {
        chown(&*folder, Some(0), None).unwrap();
        chown(&file, Some(owner), None).unwrap();
        tail(&folder, "nph-tail.cgi").by_user(65_534, &folder)
    };
    user(0).start().event();
    user(65_534).start().event();
    // A file that this user may not read.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let said = refused(user(0));
    assert!(
        said.contains("may not read it; make it readable: chmod 644"),
        "{said}"
    );
}

#[test]
fn what_is_wrong_with_the_file_is_in_the_log_that_it_names() {
    let folder = Folder::new();
    folder.write(".htsse", "SSE_LOG = log.jsonl\nSSE_NO = 1\n");
    let program = tail(&folder, "nph-tail.cgi").stderr_is_the_reader();
    let mut stream = program.start();
    assert!(stream.head().starts_with("HTTP/1.1 500 "));
    // Under mini-httpd, stderr is the client, which gets no reason.
    assert_eq!(stream.rest_as_text(), "error: see the server's error log\n");
    let log = folder.read("log.jsonl");
    assert!(log.contains(".htsse:2: SSE_NO=1: no such setting"), "{log}");
}

#[test]
fn an_absent_file_costs_one_failed_system_call() {
    if !can("strace", &["strace", "-o", "/dev/null", "true"]) {
        return;
    }
    let folder = Folder::new();
    let trace = folder.path("trace");
    let traced = ["strace", "-f", "-o", trace.to_str().unwrap()];
    let program = Program::nph("countdown").installed_as(&folder, "nph-countdown.cgi");
    let (code, ..) = program.by(&traced).set("SSE_COUNT", "0").run();
    assert_eq!(code, 0);
    let trace = folder.read("trace");
    let calls: Vec<&str> = trace.lines().filter(|l| l.contains(".htsse")).collect();
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert!(
        calls[0].ends_with("ENOENT (No such file or directory)"),
        "{calls:?}"
    );
    // Nothing else is done in the folder.
    assert!(!trace.contains("getcwd"), "{trace}");
}

#[test]
fn in_a_terminal_the_file_is_not_read() {
    let folder = Folder::new();
    folder.write(".htsse", "nonsense\n");
    let program = Program::typed("countdown", &["--count", "0"]);
    let (code, _, items) = program.installed_as(&folder, "nph-countdown.cgi").run();
    assert_eq!(code, 0);
    assert!(items.iter().any(|item| matches!(item, Item::Event(_))));
}

#[test]
fn publishing_and_rooms_work_by_the_file_alone() {
    let folder = Folder::new();
    let spool = folder.make("spool");
    fs::set_permissions(&spool, fs::Permissions::from_mode(0o700)).unwrap();
    folder.write(
        ".htsse",
        "SSE_FILE = chat.jsonl\nSSE_PUBLISH_ALLOW = anyone\n[nph-room.cgi]\nSSE_SPOOL = spool\n",
    );
    let mut room = Program::nph("room")
        .installed_as(&folder, "nph-room.cgi")
        .start();
    assert_eq!(room.event().name, "welcome");
    let publish = env!("CARGO_BIN_EXE_publish");
    symlink(publish, folder.path("publish.cgi")).unwrap();
    let body = folder.write("body", "hello");
    let output = Command::new(folder.path("publish.cgi"))
        .env_clear()
        .envs([
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("REQUEST_METHOD", "POST"),
            ("CONTENT_TYPE", "text/plain"),
            ("CONTENT_LENGTH", "5"),
        ])
        .stdin(fs::File::open(body).unwrap())
        .output()
        .unwrap();
    let reply = String::from_utf8_lossy(&output.stdout);
    assert!(reply.starts_with("Status: 201 Created"), "{reply}");
    while room.event().data != "hello" {}
}

/// `nph-tail --check` with these arguments: exit code and what it printed.
fn checked(folder: &Folder, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(folder.path("nph-tail.cgi"))
        .arg("--check")
        .args(arguments)
        .env_clear()
        .env("SSE_RETRY", "7s")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), said)
}

#[test]
fn check_reports_for_each_program_which_settings_apply_and_where_they_come_from() {
    let folder = Folder::new();
    drop(tail(&folder, "nph-tail.cgi"));
    // A link and a copy under names that say nothing.
    symlink("nph-tail.cgi", folder.path("nph-builds.cgi")).unwrap();
    let clock = env!("CARGO_BIN_EXE_nph-clock");
    for name in ["clock.cgi", "time.cgi"] {
        let status = Command::new("cp")
            .arg(clock)
            .arg(folder.path(name))
            .status();
        assert!(status.unwrap().success());
    }
    folder.write("app.log", "a\n");
    folder.write("notes.txt", "no program\n");
    folder.write(
        ".htsse",
        "SSE_HEARTBEAT = 20s\n[nph-tail.cgi]\nSSE_FILE = app.log\nSSE_COUNT = 5\n\
         [nph-builds.cgi]\nSSE_FILE = missing.log\n",
    );
    let (code, said) = checked(&folder, &[]);
    assert_eq!(code, Some(0), "{said}");
    let root = folder.display().to_string();
    let file = format!("{root}/.htsse");
    let parts: Vec<&str> = said.split("\n\n").collect();
    assert_eq!(parts.len(), 4, "{said}");
    let has = |part: &str, line: &str| {
        assert!(part.lines().any(|own| own == line), "{line}\n{part}");
    };
    has(parts[0], &format!("{file}: no mistake; sections: 2"));
    has(parts[1], "clock.cgi (clock), time.cgi (clock)");
    has(parts[1], "  SSE_INTERVAL: 1s (default)");
    has(parts[2], "nph-builds.cgi (tail)");
    let missing = format!("  SSE_FILE = {root}/missing.log ({file}:6; not there yet)");
    has(parts[2], &missing);
    has(parts[3], "nph-tail.cgi (tail)");
    has(
        parts[3],
        &format!("  SSE_FILE = {root}/app.log ({file}:3; readable)"),
    );
    has(parts[3], &format!("  SSE_HEARTBEAT = 20s ({file}:1)"));
    has(parts[3], "  SSE_RETRY = 7s (environment)");
    has(parts[3], "  SSE_BACKLOG: 10 (default)");
    let unread = format!("  SSE_COUNT = 5 ({file}:4; this program does not read it)");
    has(parts[3], &unread);
    assert!(!said.contains("notes.txt"), "{said}");
}

#[test]
fn check_names_what_is_wrong_and_fails() {
    let folder = Folder::new();
    drop(tail(&folder, "nph-tail.cgi"));
    let file = folder.write(".htsse", "[nph-tail.cgi]\nSSE_HEARTBEAT = 15\n");
    // The folder can be named, too.
    let (code, said) = checked(&folder, &[folder.to_str().unwrap()]);
    assert_eq!(code, Some(100), "{said}");
    let expected = format!(
        "  error: {}:2: SSE_HEARTBEAT=15: not a duration",
        file.display()
    );
    assert!(said.contains(&expected), "{said}");
    assert!(
        said.contains("  SSE_FILE is not set: clients get a 500"),
        "{said}"
    );
    folder.write(".htsse", "SSE_NO = 1\n");
    let (code, said) = checked(&folder, &[]);
    assert_eq!(code, Some(100), "{said}");
    let expected = format!("  error: {}:1: SSE_NO=1: no such setting", file.display());
    assert!(said.contains(&expected), "{said}");
    fs::remove_file(&file).unwrap();
    let (code, said) = checked(&folder, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("/.htsse: there is none"), "{said}");
}

#[test]
fn check_reads_the_sections_of_several_streams() {
    let folder = Folder::new();
    drop(tail(&folder, "nph-tail.cgi"));
    symlink(
        env!("CARGO_BIN_EXE_nph-streams"),
        folder.path("streams.cgi"),
    )
    .unwrap();
    folder.write("app.log", "a\n");
    let file = folder.path(".htsse").display().to_string();
    let write = |rest: &str| {
        let streams = "[streams.cgi]\nSSE_STREAMS = log builds\n[stream log]\nSSE_FILE = app.log\n";
        folder.write(".htsse", format!("{streams}{rest}"));
        checked(&folder, &[])
    };
    let (code, said) = write("[stream builds]\nSSE_FILE = builds.log\n");
    assert_eq!(code, Some(0), "{said}");
    let root = folder.display().to_string();
    for (name, use_of_it) in [("app", "readable"), ("builds", "not there yet")] {
        let line = format!(" SSE_FILE = {root}/{name}.log; {use_of_it}\n");
        assert!(said.contains(&line), "{said}");
    }
    for (rest, expected) in [
        (
            "",
            format!("SSE_STREAMS=builds: {file} has no section for it; add [stream builds]"),
        ),
        (
            "[stream builds]\nSSE_FILE = f\nSSE_BACKLOG = many\n",
            format!("{file}:7: SSE_BACKLOG=many: not a number"),
        ),
        (
            "[stream builds]\nSSE_FILE = f\nSSE_FILTER = /(/\n",
            "[stream builds]: SSE_FILTER=/(/: ".to_owned(),
        ),
        (
            "[stream builds]\nSSE_REDIS = unix:/r\nSSE_STREAM_KEY = k\n",
            "[stream builds]: it cannot be one of several streams here".to_owned(),
        ),
    ] {
        let (code, said) = write(rest);
        assert_eq!(code, Some(100), "{said}");
        let errors: Vec<_> = said
            .lines()
            .filter(|line| line.contains("  error: "))
            .collect();
        assert_eq!(errors.len(), 1, "{said}");
        assert!(errors[0].contains(&expected), "{said}");
    }
}

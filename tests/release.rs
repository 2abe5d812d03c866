//! What packages bring besides the programs: `sse-cgi-enable`, and the archive of
//! `scripts/package`. The packages themselves are installed by tests/debian.sh.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

mod support;

use support::folder::{Folder, read};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The folder of the programs that cargo has built.
fn built() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_nph-tail"))
        .parent()
        .expect("a folder")
}

/// A cgi-bin of the test's own.
struct CgiBin {
    folder: Folder,
    dir: PathBuf,
}

impl CgiBin {
    fn new() -> Self {
        let folder = Folder::new();
        let dir = folder.make("cgi-bin");
        Self { folder, dir }
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        Command::new(Path::new(ROOT).join("packages").join(program))
            .args(arguments)
            .arg("--dir")
            .arg(&self.dir)
            .env("SSE_CGI_PROGRAMS", built())
            .env("SSE_CGI_STATE", self.folder.join("state"))
            .output()
            .expect("a shell runs it")
    }

    /// As whoever runs the tests, who can read the files.
    #[track_caller]
    fn enable(&self, arguments: &[&str], exit_code: i32) -> String {
        let user = Command::new("id").arg("-un").output().expect("id runs");
        let user = String::from_utf8(user.stdout).expect("a name");
        let mut all = vec!["--check-as", user.trim()];
        all.extend(arguments);
        said(&self.run("sse-cgi-enable", &all), exit_code)
    }

    #[track_caller]
    fn disable(&self, name: &str, exit_code: i32) -> String {
        said(&self.run("sse-cgi-disable", &[name]), exit_code)
    }

    fn settings(&self) -> String {
        read(&self.dir.join(".htsse"))
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&self.dir)
            .expect("the folder is there")
            .map(|entry| entry.expect("it can be read").file_name())
            .map(|name| name.into_string().expect("text"))
            .collect();
        names.sort();
        names
    }
}

#[track_caller]
fn said(output: &Output, exit_code: i32) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit_code), "{text}");
    text
}

const FIRST_LINE: &str =
    "# Settings of the programs beside this file, by sse-cgi-enable; man sse-cgi-enable\n";

#[test]
fn a_program_is_enabled_under_both_names_with_its_settings() {
    let cgi_bin = CgiBin::new();
    let log = cgi_bin.folder.join("app.log");
    fs::write(&log, "the first line\n").expect("written");
    let file = format!("SSE_FILE={}", log.display());
    let text = cgi_bin.enable(&["tail", &file], 0);
    assert!(text.contains("readable)"), "{text}");
    assert!(text.contains("Next:"), "{text}");
    assert_eq!(cgi_bin.names(), [".htsse", "nph-tail.cgi", "tail.cgi"]);
    let section = format!("[nph-tail.cgi tail.cgi]\nSSE_FILE = {}\n", log.display());
    assert_eq!(cgi_bin.settings(), format!("{FIRST_LINE}{section}"));
    // The program answers as a web server starts it.
    let answer = Command::new("timeout")
        .args(["5", "sh", "-c", "\"$0\" | grep -m 1 '^data: '"])
        .arg(cgi_bin.dir.join("tail.cgi"))
        .env("GATEWAY_INTERFACE", "CGI/1.1")
        .env("REQUEST_METHOD", "GET")
        .env("SERVER_PROTOCOL", "HTTP/1.1")
        .output()
        .expect("it runs");
    assert_eq!(
        String::from_utf8_lossy(&answer.stdout),
        "data: the first line\n"
    );
}

#[test]
fn a_second_stream_has_a_name_of_its_own_and_settings_are_replaced() {
    let cgi_bin = CgiBin::new();
    cgi_bin.enable(&["clock"], 0);
    assert_eq!(cgi_bin.names(), ["clock.cgi", "nph-clock.cgi"]);
    cgi_bin.enable(&["tail", "--as", "builds", "SSE_FILE=/var/log/a"], 0);
    cgi_bin.enable(
        &[
            "tail",
            "--as",
            "builds",
            "SSE_FILE=/var/log/b",
            "SSE_BACKLOG=3",
        ],
        0,
    );
    assert_eq!(
        cgi_bin.settings(),
        format!(
            "{FIRST_LINE}[nph-builds.cgi builds.cgi]\nSSE_FILE = /var/log/b\nSSE_BACKLOG = 3\n"
        )
    );
}

#[test]
fn a_wrong_setting_enables_nothing_and_is_named() {
    let cgi_bin = CgiBin::new();
    cgi_bin.enable(&["tail", "--as", "builds", "SSE_FILE=/var/log/a"], 0);
    let (names, settings) = (cgi_bin.names(), cgi_bin.settings());
    for (setting, expected) in [
        ("SSE_FIEL=/var/log/b", "did you mean SSE_FILE?"),
        ("SSE_BACKLOG=many", "SSE_BACKLOG=many"),
        ("SSE_BACKLOG=5", "SSE_FILE is not set"),
    ] {
        let text = cgi_bin.enable(&["tail", setting], 100);
        assert!(text.contains(expected), "{setting}: {text}");
        assert_eq!(cgi_bin.names(), names, "{setting}");
        assert_eq!(cgi_bin.settings(), settings, "{setting}");
    }
    let text = cgi_bin.enable(&["tail"], 100);
    assert!(text.contains("tail SSE_FILE=/var/log/app.log"), "{text}");
    let text = cgi_bin.enable(&["tial"], 100);
    assert!(text.contains("no program tial"), "{text}");
    let text = cgi_bin.enable(&["tail", "--as", "../x", "SSE_FILE=/var/log/a"], 100);
    assert!(text.contains("letters, digits"), "{text}");
}

#[test]
fn a_program_of_somebody_else_is_neither_replaced_nor_removed() {
    let cgi_bin = CgiBin::new();
    let own = cgi_bin.dir.join("tail.cgi");
    fs::write(&own, "#!/bin/sh\necho mine\n").expect("written");
    fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).expect("permitted");
    let text = cgi_bin.enable(&["tail", "SSE_FILE=/var/log/a"], 111);
    assert!(text.contains("is not a program of sse-cgi"), "{text}");
    symlink("/bin/true", cgi_bin.dir.join("clock.cgi")).expect("a link");
    cgi_bin.disable("clock", 111);
    cgi_bin.disable("tail", 111);
    assert_eq!(cgi_bin.names(), ["clock.cgi", "tail.cgi"]);
    assert_eq!(read(&own), "#!/bin/sh\necho mine\n");
}

#[test]
fn disabling_removes_the_section_and_leaves_what_others_wrote() {
    let cgi_bin = CgiBin::new();
    cgi_bin.enable(&["tail", "SSE_FILE=/var/log/a"], 0);
    cgi_bin.enable(&["publish", "SSE_FILE=/var/log/a"], 0);
    let text = cgi_bin.settings().replace(
        "[publish.cgi]",
        "# of the builds\n[publish.cgi]\nSSE_PUBLISH_MAX = 1K",
    );
    fs::write(cgi_bin.dir.join(".htsse"), text).expect("written");
    let text = cgi_bin.disable("tail", 0);
    assert!(text.contains("SSE_FILE = /var/log/a"), "{text}");
    assert_eq!(
        cgi_bin.settings(),
        format!(
            "{FIRST_LINE}# of the builds\n[publish.cgi]\nSSE_PUBLISH_MAX = 1K\nSSE_FILE = /var/log/a\n"
        )
    );
    cgi_bin.disable("publish", 0);
    assert_eq!(cgi_bin.settings(), format!("{FIRST_LINE}# of the builds\n"));
    cgi_bin.disable("publish", 111);
}

#[test]
fn the_file_of_settings_goes_with_its_last_section() {
    let cgi_bin = CgiBin::new();
    cgi_bin.enable(&["countdown", "--as", "down", "SSE_COUNT=3", "--copy"], 0);
    assert!(!cgi_bin.dir.join("down.cgi").is_symlink());
    // A copy that is replaced is recognised.
    cgi_bin.enable(&["countdown", "--as", "down", "SSE_COUNT=4", "--copy"], 0);
    cgi_bin.disable("down", 0);
    assert_eq!(cgi_bin.names(), [""; 0]);
}

#[test]
fn the_archive_has_the_same_bytes_each_time_and_installs_from_where_it_lies() {
    let folder = Folder::new();
    let programs = folder.make("built");
    for entry in fs::read_dir(Path::new(ROOT).join("src/bin")).expect("programs") {
        let name = entry.expect("it can be read").file_name();
        let name = name.to_str().expect("text").trim_end_matches(".rs");
        let text = format!(
            "#!/bin/sh\n[ \"$1\" = --version ] && echo {name} 1.2.3 && exit\n\
             printf '{name}: a stand-in\\n\\nusage: {name}\\n\\noptions:\\n  --help   this\\n'\n"
        );
        fs::write(programs.join(name), text).expect("written");
        fs::set_permissions(programs.join(name), fs::Permissions::from_mode(0o755))
            .expect("permitted");
    }
    let make = |to: &Path| {
        let output = Command::new(Path::new(ROOT).join("scripts/package"))
            .args(["--only", "tar", "--version", "1.2.3-1", "--from"])
            .arg(&programs)
            .arg("--to")
            .arg(to)
            .output()
            .expect("bash runs scripts/package");
        said(&output, 0);
        read(&to.join("SHA256SUMS"))
    };
    let (one, two) = (folder.join("one"), folder.join("two"));
    let sums = make(&one);
    assert_eq!(sums, make(&two));
    let archive = sums.split_whitespace().nth(1).expect("a name");
    assert!(archive.starts_with("sse-cgi-1.2.3-"), "{archive}");
    let run = |script: &str| {
        let output = Command::new("sh")
            .args(["-ec", script])
            .current_dir(&one)
            .output()
            .expect("a shell runs");
        said(&output, 0)
    };
    run("sha256sum --check --quiet SHA256SUMS");
    run("tar xzf sse-cgi-*.tar.gz && mv sse-cgi-*-linux unpacked");
    run("unpacked/scripts/install --tools tools --responder bin --systemd units --web pages");
    assert!(read(&one.join("tools/sse-cat")).contains("stand-in"));
    assert!(read(&one.join("units/sse-fcgi.service")).contains("ExecStart="));
    for file in [
        "INSTALL",
        "docs/getting-started.md",
        "share/man/man1/nph-tail.1.gz",
        "share/bash-completion/completions/sse-fcgi",
        "share/fish/vendor_completions.d/sse-fcgi.fish",
        "share/zsh/site-functions/_sse-fcgi",
    ] {
        assert!(one.join("unpacked").join(file).is_file(), "{file}");
    }
}

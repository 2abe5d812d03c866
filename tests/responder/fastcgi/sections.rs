//! The settings file and the settings that a request brings.

use super::configured::{configure, get, rewrite, status};
use super::peer::{Folder, Request};

#[test]
fn a_path_without_a_section_is_served_only_where_the_request_names_the_stream() {
    let folder = Folder::new();
    let responder = configure(&folder, "[/events/clock]\nSSE_INTERVAL = 10ms\n").start();
    let (code, said) = status(&responder, &get("/other/clock"));
    assert_eq!(code, 404);
    let expected = "no section of the settings file is for this path; add one, or set SSE_STREAM";
    assert!(said.contains(expected), "{said}");
    let named = get("/other/clock").set("SSE_STREAM", "clock");
    responder.ask(&named.set("SSE_INTERVAL", "10ms")).event();
    // A section's path ends at a slash.
    assert_eq!(status(&responder, &get("/events/clocks")).0, 404);
    // A file without sections says nothing about paths.
    let folder = Folder::new();
    let responder = configure(&folder, "SSE_INTERVAL = 10ms\n").start();
    responder.ask(&get("/other/clock")).event();
}

#[test]
fn what_the_request_sets_wins_then_the_section_the_top_and_the_environment() {
    let folder = Folder::new();
    for name in ["request", "section", "top", "environment"] {
        folder.write(name, format!("{name}\n"));
    }
    let start = configure(
        &folder,
        "SSE_FILE = top\nSSE_EVENT = from-top\nSSE_STREAM = tail\n\
         [/section]\nSSE_ROOT = {folder}\n[/top]\n",
    );
    let responder = start
        .set("SSE_FILE", folder.path("environment"))
        .set("SSE_EVENT", "from-environment")
        .set("SSE_BACKLOG", "1")
        .start();
    let says = |request: Request, expected: &str| responder.ask(&request).says(&[expected]);
    says(get("/top"), "from-top: top");
    says(get("/section/section"), "from-top: section");
    let own = folder.path("request").display().to_string();
    says(get("/section/x").set("SSE_FILE", &own), "from-top: request");
    says(get("/top").set("SSE_EVENT", "own"), "own: top");
}

#[test]
fn programs_that_the_file_names_may_be_run_and_no_others() {
    let folder = Folder::new();
    let text = "[/id]\nSSE_STREAM = command\nSSE_COMMAND = echo 'from the file'\n\
                [/session]\nSSE_STREAM = clock\n";
    let responder = configure(&folder, text).start();
    responder.ask(&get("/id")).says(&["from the file"]);
    let other = get("/id").set("SSE_COMMAND", "echo own");
    let (code, said) = status(&responder, &other);
    assert_eq!(code, 500);
    assert!(
        said.contains("SSE_COMMAND=echo own: this responder does not run"),
        "{said}"
    );
}

#[test]
fn check_says_what_is_wrong_and_ends() {
    let folder = Folder::new();
    let check_with = |program: &str, text: &str| {
        let path = rewrite(&folder, text);
        let output = std::process::Command::new(program)
            .arg("--check")
            .arg(path)
            .env_clear()
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let path = folder.path("streams.conf").display().to_string();
    let programs = [
        env!("CARGO_BIN_EXE_sse-fcgi"),
        env!("CARGO_BIN_EXE_sse-httpd"),
    ];
    for program in programs {
        let check = |text: &str| check_with(program, text);
        assert_eq!(
            check("[/clock]\n[/log]\nSSE_STREAM = tail\nSSE_FILE = /f\n"),
            (
                Some(0),
                format!("{path}: no mistake; sections: 2\n"),
                String::new()
            )
        );
        let (code, said, errors) = check("[/clock]\nSSE_RETRY = 3\n[/x]\n");
        assert_eq!((code, said), (Some(100), format!("{path}: mistakes: 2\n")));
        assert!(
            errors.starts_with(&format!("error: {path}:2: SSE_RETRY=3: not a")),
            "{errors}"
        );
        assert_eq!(errors.lines().count(), 2, "{errors}");
        let (code, _, errors) = check("[/tail]\nSSE_FILE = /f\nSSE_FILTER = /[/\n");
        assert_eq!(code, Some(100));
        assert!(
            errors.starts_with(&format!("error: {path}:3: SSE_FILTER=/[/: ")),
            "{errors}"
        );
    }
}

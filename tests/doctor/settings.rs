//! Ten wrong settings, one by one, under each gateway: the log names the setting, its value, what
//! was expected and the remedy; the client is told nothing but a 500.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::servers::apache::{Apache, Mpm};
use crate::servers::gateway::{Gateway, Site};
use crate::support::folder::Folder;
use crate::support::wait::{PATIENCE, wait_until};

/// The stream that reads it, the setting, its value, and the rest of the line in the log.
const WRONG: [(&str, &str, &str, &str); 10] = [
    (
        "clock",
        "SSE_INTERVAL",
        "soon",
        "not a duration; write a whole number and ms, s, m or h, such as 15s",
    ),
    (
        "clock",
        "SSE_COUNT",
        "ten",
        "not a number; write digits only, such as 10",
    ),
    (
        "clock",
        "SSE_HEARTBEAT",
        "15",
        "not a duration; write a whole number and ms, s, m or h",
    ),
    (
        "clock",
        "SSE_RETRY",
        "1x",
        "not a duration; write a whole number and ms, s, m or h",
    ),
    (
        "clock",
        "SSE_ALLOW_ORIGIN",
        "www.example.org",
        "not a list of origins; no scheme; write https:// or http://",
    ),
    (
        "tail",
        "SSE_FORMAT",
        "json",
        "no such format; write lines, jsonl or state",
    ),
    (
        "tail",
        "SSE_BACKLOG",
        "many",
        "not a number; write digits only, such as 10",
    ),
    (
        "tail",
        "SSE_REPLAY",
        "16X",
        "not a size; write a number of bytes, or of K, M or G, such as 16M",
    ),
    (
        "tail",
        "SSE_AWAIT",
        "maybe",
        "neither yes nor no; write one of them",
    ),
    (
        "tail",
        "SSE_STATE_MAX",
        "huge",
        "not a size; write a number of bytes, or of K, M or G, such as 16M",
    ),
];

/// Waits until the log has the line.
#[track_caller]
fn says(gateway: &str, log: impl Fn() -> String, (_, name, value, rest): (&str, &str, &str, &str)) {
    let line = format!("{name}={value}: {rest}");
    wait_until(
        &format!("{gateway}: {line} in {}", log()),
        Duration::from_secs(5),
        || log().contains(&line),
    );
}

#[test]
fn apache_says_what_is_wrong() {
    let mut site = Apache::with(Mpm::EventWithCgid);
    for (row, (_, name, value, _)) in WRONG.iter().enumerate() {
        site = site.directive(&format!("SetEnvIf X-Row \"^{row}$\" {name}={value}"));
    }
    let site = site.start();
    for (row, wrong) in WRONG.iter().enumerate() {
        let request = site.get(&format!("nph-{}.cgi", wrong.0));
        let answer = request.field("X-Row", &row.to_string()).send();
        assert_eq!(answer.head.status, 500, "{}", answer.head.raw);
        let text = answer.text();
        assert!(!text.contains(wrong.1) && !text.contains(wrong.2), "{text}");
        says("Apache", || site.logs(), *wrong);
    }
}

#[test]
fn nginx_says_what_is_wrong() {
    let locations: String = WRONG
        .iter()
        .enumerate()
        .map(|(row, (stream, name, value, _))| {
            format!(
                "location = /events/row{row} {{ include snippets/sse-cgi.conf; \
                 fastcgi_param SSE_STREAM {stream}; fastcgi_param SSE_FILE {{root}}/data/x.jsonl; \
                 fastcgi_param {name} \"{value}\"; }}\n"
            )
        })
        .collect();
    let first = "    location = /events/clock {";
    let site = Site::with(Gateway::Nginx)
        .edit(first, &format!("{locations}{first}"))
        .start();
    for (row, wrong) in WRONG.iter().enumerate() {
        let request = site.get(&format!("/events/row{row}"));
        let answer = request.field("Connection", "close").send();
        assert_eq!(answer.head.status, 500, "{}", answer.head.raw);
        says("nginx", || site.logs(), *wrong);
    }
}

/// The server does not start with a mistake in its file, and says where it is.
#[test]
fn sse_httpd_says_what_is_wrong_in_its_file() {
    let folder = Folder::new();
    for wrong in WRONG {
        let (stream, name, value, _) = wrong;
        let text = format!(
            "# a comment\n[/events/x]\nSSE_STREAM = {stream}\nSSE_FILE = /tmp/x.jsonl\n{name} = {value}\n"
        );
        folder.write("streams.conf", text);
        let output = Command::new("timeout")
            .arg(PATIENCE.as_secs().to_string())
            .arg(env!("CARGO_BIN_EXE_sse-httpd"))
            .args(["--allow-root", "--listen", "127.0.0.1:0", "--config"])
            .arg(folder.join("streams.conf"))
            .stdin(Stdio::null())
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(100), "{name}: {said}");
        says("sse-httpd", || said.clone(), wrong);
        assert!(said.contains("streams.conf:5: "), "{said}");
    }
}

/// The file beside a CGI program.
#[test]
fn a_cgi_program_says_what_is_wrong_in_the_file_beside_it() {
    for wrong in WRONG {
        let (stream, name, value, _) = wrong;
        let folder = Folder::new();
        let built = match stream {
            "clock" => env!("CARGO_BIN_EXE_nph-clock"),
            _ => env!("CARGO_BIN_EXE_nph-tail"),
        };
        let program = folder.join(format!("nph-{stream}.cgi"));
        fs::hard_link(built, &program)
            .or_else(|_| fs::copy(built, &program).map(|_| ()))
            .expect("the folder can be written");
        folder.write(".htsse", format!("[nph-{stream}.cgi]\n{name} = {value}\n"));
        let output = Command::new("timeout")
            .arg(PATIENCE.as_secs().to_string())
            .arg(&program)
            .env_clear()
            .envs([
                ("GATEWAY_INTERFACE", "CGI/1.1"),
                ("REQUEST_METHOD", "GET"),
                ("SERVER_PROTOCOL", "HTTP/1.1"),
                ("SCRIPT_NAME", "/cgi-bin/x"),
            ])
            .stdin(Stdio::null())
            .output()
            .expect("it starts");
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(answer.contains("500 Internal Server Error"), "{answer}");
        assert!(!answer.contains(name), "{answer}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        says(".htsse", || said.clone(), wrong);
        assert!(said.contains(".htsse:2: "), "{said}");
    }
}

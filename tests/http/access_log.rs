//! `--access-log`: a line for each response.

use std::fs;
use std::net::Shutdown;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::stage::{Folder, Httpd, Start, get, wait_for};

/// One that serves a.log, with this format of its access log.
fn logging(folder: &Folder, format: &str) -> Httpd {
    start(folder, format).argument(folder.path("a.log")).start()
}

fn start(folder: &Folder, format: &str) -> Start {
    fs::write(folder.path("a.log"), "one\n").unwrap();
    let start = Start::new(folder).argument("--access-log");
    let start = start.argument(folder.path("access.log"));
    start.argument("--access-log-format").argument(format)
}

/// The lines of the log, once there are so many.
#[track_caller]
fn lines(folder: &Folder, count: usize) -> Vec<String> {
    wait_for("the lines of the access log", || {
        let text = folder.read("access.log");
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        (lines.len() >= count && text.ends_with('\n')).then_some(lines)
    })
}

/// The same as JSON.
#[track_caller]
fn objects(folder: &Folder, count: usize) -> Vec<Value> {
    let parsed = |line: &String| serde_json::from_str(line).expect("JSON");
    lines(folder, count).iter().map(parsed).collect()
}

/// A combined line without its time and the seconds at its end.
fn untimed(line: &str) -> String {
    let (before, rest) = line.split_once(" [").unwrap();
    let (time, rest) = rest.split_once("] ").unwrap();
    // 29/Nov/2026:09:30:15 +0100
    assert_eq!(time.len(), 26, "{time}");
    let (rest, seconds) = rest.rsplit_once(' ').unwrap();
    assert!(seconds.parse::<f64>().is_ok_and(|s| s < 60.0), "{seconds}");
    format!("{before} {rest}")
}

#[test]
fn each_response_has_a_line_as_apache_writes_it() {
    let folder = Folder::new();
    let httpd = logging(&folder, "combined");
    let mut client = httpd.connect();
    let mut expected = Vec::new();
    let mut check = |request: &str, line: &str| {
        client.send(request);
        let bytes = if request.starts_with("HEAD") {
            client.until("\r\n\r\n");
            0
        } else {
            client.response().body.len()
        };
        let bytes = match bytes {
            0 => "-".to_owned(),
            bytes => bytes.to_string(),
        };
        expected.push(format!("127.0.0.1 - - {}", line.replace("BYTES", &bytes)));
    };
    let with = |fields: &str| {
        format!("GET /site.js?token=s&a=1 HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n")
    };
    check(
        &get("/style.css"),
        "\"GET /style.css HTTP/1.1\" 200 BYTES \"-\" \"-\"",
    );
    check(&get("/no"), "\"GET /no HTTP/1.1\" 404 BYTES \"-\" \"-\"");
    check(
        &with(
            "User-Agent: a \"b\" \\ \u{e9}\r\nReferer: http://x/?session=1#2\r\nCookie: c\r\nAuthorization: Basic eDp5\r\n",
        ),
        "\"GET /site.js?token=***&a=1 HTTP/1.1\" 200 BYTES \"http://x/?session=***#2\" \
         \"a \\\"b\\\" \\\\ \\xc3\\xa9\"",
    );
    check(
        "HEAD /style.css HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "\"HEAD /style.css HTTP/1.1\" 200 - \"-\" \"-\"",
    );
    check(
        "OPTIONS /events/a.log HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "\"OPTIONS /events/a.log HTTP/1.1\" 204 - \"-\" \"-\"",
    );
    check(
        "POST /events/a.log HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi",
        "\"POST /events/a.log HTTP/1.1\" 405 BYTES \"-\" \"-\"",
    );
    check(
        "GET /events/a.log HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "\"GET /events/a.log HTTP/1.1\" 421 BYTES \"-\" \"-\"",
    );
    check(
        "GET /?t=secret HTTP/1.1\r\nHost: localhost\r\na: b\nc: d\r\n\r\n",
        "\"GET /?t=*** HTTP/1.1\" 400 BYTES \"-\" \"-\"",
    );
    let found: Vec<String> = lines(&folder, expected.len())
        .iter()
        .map(|line| untimed(line))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn whatever_is_rejected_has_a_line_that_no_terminal_obeys() {
    let folder = Folder::new();
    let httpd = logging(&folder, "json");
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(20_000));
    for request in [
        &b"\x1b[2J\r\n\r\n"[..],
        b"\x16\x03\x01\x02\0\x01\0",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /x?lastEventId=7 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        long.as_bytes(),
    ] {
        httpd.ask(request).rest();
    }
    let found = objects(&folder, 6);
    assert!(found.iter().all(|line| line["client"] == "127.0.0.1"));
    let is_refused = |line: &Value| line["status"].as_u64().is_some_and(|s| s >= 400);
    assert!(found.iter().all(is_refused), "{found:?}");
    let targets: Vec<&str> = found
        .iter()
        .filter_map(|line| line["target"].as_str())
        .collect();
    assert!(targets.contains(&"/x?lastEventId=***"), "{targets:?}");
    let text = folder.read("access.log");
    assert!(text.bytes().all(|b| b == b'\n' || !b.is_ascii_control()));
    assert!(text.lines().all(|line| line.len() < 4096));
}

#[test]
fn a_stream_s_line_comes_when_it_ends_and_counts_what_was_sent() {
    let folder = Folder::new();
    let httpd = logging(&folder, "json");
    let mut client = httpd.ask(get("/events/a.log?lastEventID=x&access_token=y"));
    client.until("\r\n\r\n");
    let mut body = client.until("data: one\n\n");
    let began = std::time::Instant::now();
    httpd.get("/no");
    assert_eq!(objects(&folder, 1)[0]["status"], 404);
    wait_for("some time", || {
        (began.elapsed().as_millis() > 150).then_some(())
    });
    folder.append("a.log", "two\n");
    body += &client.until("data: two\n\n");
    client.socket.shutdown(Shutdown::Write).unwrap();
    body += &String::from_utf8(client.rest()).unwrap();
    let line = &objects(&folder, 2)[1];
    assert_eq!(
        line["target"],
        "/events/a.log?lastEventID=***&access_token=***"
    );
    assert_eq!(line["bytes"], body.len());
    assert_eq!(line["stream"], "tail");
    assert_eq!(line["end"], "left");
    assert!(line["seconds"].as_f64().is_some_and(|s| s > 0.15), "{line}");

    // One is open at the end.
    let mut client = httpd.ask(get("/events/a.log"));
    client.until("data: two\n\n");
    httpd.signal(Signal::SIGTERM);
    client.rest();
    let line = &objects(&folder, 3)[2];
    assert_eq!(
        (&line["end"], &line["status"]),
        (&"drained".into(), &200.into())
    );
}

#[test]
fn a_stream_that_does_not_end_in_time_has_its_line_too() {
    let folder = Folder::new();
    let httpd = start(&folder, "combined")
        .argument("--drain")
        .argument("100ms")
        .argument(folder.path("a.log"));
    let mut httpd = httpd.set("SSE_SEND_TIMEOUT", "1h").start();
    let client = httpd.ask(get("/events/a.log"));
    // It reads nothing, so its stream cannot end.
    let long = format!("{}\n", "x".repeat(100_000)).repeat(200);
    wait_for("a client whose stream is full", || {
        folder.append("a.log", &long);
        let figures = fs::read_to_string(format!("/proc/{}/net/tcp", httpd.pid())).unwrap();
        let port = format!(":{:04X} ", httpd.address().port());
        let is_full = |line: &str| {
            let mut words = line.split_whitespace().skip(1);
            let own = words.next().unwrap_or_default();
            let queued = words.nth(2).unwrap_or_default();
            let queued = queued.split(':').next().unwrap_or_default();
            format!("{own} ").ends_with(&port)
                && u64::from_str_radix(queued, 16).is_ok_and(|bytes| bytes > 1_000_000)
        };
        figures.lines().any(is_full).then_some(())
    });
    httpd.signal(Signal::SIGTERM);
    assert_eq!(httpd.code(), 0);
    let found = lines(&folder, 1);
    assert!(
        found[0].contains("\"GET /events/a.log HTTP/1.1\" 200 "),
        "{found:?}"
    );
    drop(client);
}

#[test]
fn the_client_is_who_a_trusted_proxy_says() {
    let folder = Folder::new();
    let request = "GET /no HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n";
    let httpd = logging(&folder, "json");
    httpd.ask(request).response();
    drop(httpd);
    let httpd = start(&folder, "json")
        .argument("--trusted-proxy")
        .argument("127.0.0.1")
        .argument(folder.path("a.log"))
        .start();
    httpd.ask(request).response();
    let found = objects(&folder, 2);
    assert_eq!(found[0]["client"], "127.0.0.1");
    assert_eq!(found[1]["client"], "192.0.2.7");
}

#[test]
fn a_file_that_was_rotated_is_opened_anew_at_sighup() {
    let folder = Folder::new();
    let httpd = logging(&folder, "combined");
    httpd.get("/one");
    lines(&folder, 1);
    folder.rename("access.log", "access.log.1");
    httpd.signal(Signal::SIGHUP);
    wait_for("the new file", || {
        folder.path("access.log").exists().then_some(())
    });
    httpd.get("/two");
    assert!(lines(&folder, 1)[0].contains("GET /two "));
    assert_eq!(folder.read("access.log.1").lines().count(), 1);
}

#[test]
fn a_full_disk_and_a_pipe_that_nobody_reads_stop_nobody() {
    let folder = Folder::new();
    fs::write(folder.path("a.log"), "one\n").unwrap();
    for target in ["/dev/full", "-"] {
        let httpd = Start::new(&folder)
            .argument("--access-log")
            .argument(target)
            .argument(folder.path("a.log"))
            .start();
        // More than the pipe and the buffer take together.
        let request = get(&format!("/{}", "x".repeat(1400)));
        let mut client = httpd.connect();
        for _ in 0..30 {
            client.send(request.repeat(50));
            for _ in 0..50 {
                assert_eq!(client.response().status(), 404);
            }
        }
        httpd.ask(get("/events/a.log")).until("data: one\n\n");
        wait_for("the error in the log", || {
            let text = httpd.stderr();
            let name = format!("error: --access-log {target}: ");
            let is_told = text.contains(&name) && text.contains("lines lost");
            is_told.then_some(())
        });
    }
}

#[test]
fn lines_on_stdout_follow_the_address() {
    let folder = Folder::new();
    fs::write(folder.path("a.log"), "one\n").unwrap();
    let mut httpd = Start::new(&folder)
        .argument("--access-log=-")
        .argument(folder.path("a.log"))
        .start();
    httpd.get("/no");
    assert!(httpd.line().contains("\"GET /no HTTP/1.1\" 404 15 "));
}

#[test]
fn what_is_wrong_with_the_access_log_is_said_at_the_start() {
    let folder = Folder::new();
    fs::write(folder.path("a.log"), "one\n").unwrap();
    let code = |arguments: &[&str]| {
        let start = Start::new(&folder).argument(folder.path("a.log"));
        let start = arguments
            .iter()
            .fold(start, |start, word| start.argument(word));
        let mut httpd = start.spawn();
        (httpd.code(), httpd.stderr())
    };
    let (status, text) = code(&["--access-log", "-", "--access-log-format", "clf"]);
    assert_eq!(status, 100, "{text}");
    assert!(text.contains("write combined or json"), "{text}");
    let (status, text) = code(&["--access-log", "/no/such/folder/access.log"]);
    assert_eq!(status, 111, "{text}");
    assert!(
        text.contains("--access-log /no/such/folder/access.log: "),
        "{text}"
    );
}

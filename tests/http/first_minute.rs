//! `sse-httpd FILE…`: what somebody sees who starts it for the first time.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use nix::sys::signal::Signal;

use crate::stage::{Folder, Httpd, Start, get, wait_for};
use crate::support::disk::Disk;
use crate::support::pipe::pipe;

#[test]
fn files_of_the_command_line_are_streams_and_nothing_else_is_served() {
    let folder = Folder::new();
    fs::write(folder.path("app.log"), "one\n").unwrap();
    fs::write(folder.path("build.log"), "two\n").unwrap();
    fs::write(folder.path("secret.log"), "three\n").unwrap();
    let httpd = Httpd::of(&folder, &["app.log", "build.log"]);

    let mut client = httpd.ask(get("/events/app.log"));
    let head = client.until("\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\nDate: "), "{head}");
    assert!(
        head.contains("\r\nContent-Type: text/event-stream; charset=utf-8\r\n"),
        "{head}"
    );
    assert!(head.ends_with("\r\nConnection: close\r\n\r\n"), "{head}");
    client.until("data: one\n\n");
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(folder.path("app.log"))
        .unwrap();
    file.write_all(b"more\n").unwrap();
    client.until("data: more\n\n");

    httpd.ask(get("/events/build.log")).until("data: two\n\n");
    for path in [
        "/events/secret.log",
        "/events/app.log/",
        "/events/../app.log",
        "/events/app.log/../secret.log",
        "/events/app.log%2F..%2Fsecret.log",
        "/events",
        "/app.log",
        "/etc/passwd",
        "/events/status",
        "/events/publish",
        "//events/app.log",
    ] {
        assert_eq!(httpd.get(path).status(), 404, "{path}");
    }
}

#[test]
fn its_page_lists_the_streams_and_loads_from_the_program_alone() {
    let folder = Folder::new();
    fs::create_dir(folder.path("logs")).unwrap();
    fs::write(folder.path("logs/a b.log"), "one\n").unwrap();
    fs::write(folder.path("logs/.hidden"), "two\n").unwrap();
    let httpd = Httpd::of(&folder, &["logs"]);
    let page = httpd.get("/");
    assert_eq!(page.field("Content-Type"), Some("text/html; charset=utf-8"));
    let text = page.text();
    assert!(
        text.contains("<a href=\"/?stream=/events/logs/a%2520b.log\">a b.log</a>"),
        "{text}"
    );
    assert!(!text.contains(".hidden"), "{text}");
    for path in [
        "/log.js",
        "/config.js",
        "/site.js",
        "/style.css",
        "/favicon.svg",
        "/sse.js",
    ] {
        assert_eq!(httpd.get(path).status(), 200, "{path}");
    }
    httpd
        .ask(get("/events/logs/a%20b.log"))
        .until("data: one\n\n");
    assert_eq!(httpd.get("/events/logs/.hidden").status(), 404);
    assert_eq!(httpd.get("/events/logs").status(), 404);
    let mut client = httpd.ask("HEAD / HTTP/1.0\r\n\r\n");
    assert!(client.until("\r\n\r\n").starts_with("HTTP/1.1 200 "));
    assert_eq!(client.rest(), b"");
}

#[test]
fn the_output_of_a_command_is_a_stream() {
    let folder = Folder::new();
    let httpd = Start::new(&folder)
        .argument("-c")
        .argument("echo one | cat; sleep 60")
        .start();
    httpd.ask(get("/events/command")).until("data: one\n\n");
}

#[test]
fn standard_input_is_a_stream_and_leaves_no_file_behind() {
    let folder = Folder::new();
    let (reader, mut writer) = pipe();
    let mut httpd = Start::new(&folder)
        .set("TMPDIR", folder.path(""))
        .stdin(Stdio::from(reader))
        .argument("-")
        .start();
    let folders = || {
        let entries = fs::read_dir(folder.path("")).unwrap();
        entries
            .filter(|entry| entry.as_ref().unwrap().path().is_dir())
            .count()
    };
    assert_eq!(folders(), 1);
    let mut client = httpd.ask(get("/events/stdin"));
    writer.write_all(b"one\n").unwrap();
    client.until("data: one\n\n");
    drop(writer);
    httpd.signal(Signal::SIGINT);
    assert_eq!(httpd.code(), 0);
    assert_eq!(folders(), 0);
}

#[test]
fn standard_input_is_read_as_another_user_below_a_folder() {
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    let folder = Folder::new();
    let temporary = folder.make_public("temporary");
    let (reader, mut writer) = pipe();
    let mut httpd = Start::new(&folder)
        .set("TMPDIR", &temporary)
        .stdin(Stdio::from(reader))
        .argument("--user")
        .argument("www-data")
        .argument("--beneath")
        .argument("/var")
        .argument("-")
        .start();
    let mut client = httpd.ask(get("/events/stdin"));
    writer.write_all(b"one\n").unwrap();
    client.until("data: one\n\n");
    drop(writer);
    httpd.signal(Signal::SIGINT);
    assert_eq!(httpd.code(), 0);
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
}

#[test]
fn on_a_full_disk_standard_input_waits_and_nothing_of_it_is_lost() {
    let Some(disk) = Disk::of("tmpfs") else {
        return;
    };
    let folder = Folder::new();
    let (reader, mut writer) = pipe();
    let httpd = Start::new(&folder)
        .set("TMPDIR", disk.path(""))
        .stdin(Stdio::from(reader))
        .argument("-")
        .start();
    let mut client = httpd.ask(get("/events/stdin"));
    writer.write_all(b"one\n").unwrap();
    client.until("data: one\n\n");
    disk.leave_blocks(0);
    // More than the rest of the file's last block.
    let long = "x".repeat(10_000);
    writer
        .write_all(format!("{long}\ntwo\n").as_bytes())
        .unwrap();
    wait_for("a line about the disk", || {
        let said = httpd.stderr();
        (said.contains("No space left on device") && said.contains("TMPDIR")).then_some(())
    });
    disk.free();
    client.until(&format!("data: {long}\n\n"));
    client.until("data: two\n\n");
}

#[test]
fn ctrl_c_ends_streams_after_an_event_and_tells_clients_when_to_come_again() {
    let folder = Folder::new();
    fs::write(folder.path("a.log"), "one\n").unwrap();
    let mut httpd = Httpd::of(&folder, &["a.log"]);
    let mut client = httpd.ask(get("/events/a.log"));
    client.until("data: one\n\n");
    httpd.signal(Signal::SIGINT);
    let rest = String::from_utf8(client.rest()).unwrap();
    assert!(rest.contains("retry: "), "{rest}");
    drop(client);
    assert_eq!(httpd.code(), 0);
}

#[test]
fn a_port_that_is_taken_is_reported() {
    let folder = Folder::new();
    fs::write(folder.path("a.log"), "").unwrap();
    let first = Httpd::of(&folder, &["a.log"]);
    let address = first.address().to_string();
    let other = Folder::new();
    let start = Start::bare(&other).argument(folder.path("a.log"));
    let mut second = start.argument("--listen").argument(&address).spawn();
    assert_eq!(second.code(), 111);
    let said = second.stderr();
    assert!(said.contains(&format!("--listen {address}: ")), "{said}");
    assert_eq!(second.line(), "");
}

#[test]
fn nothing_to_serve_is_an_error_of_the_command_line() {
    let folder = Folder::new();
    let mut httpd = Start::bare(&folder).spawn();
    assert_eq!(httpd.code(), 100);
    assert!(
        httpd.stderr().contains("nothing to serve"),
        "{}",
        httpd.stderr()
    );
}

#[test]
fn a_page_of_another_site_cannot_read_by_making_its_name_ours() {
    let folder = Folder::new();
    fs::write(folder.path("a.log"), "one\n").unwrap();
    let start = Start::new(&folder).argument(folder.path("a.log"));
    let httpd = start.argument("--host").argument("box.example").start();
    let status = |host: &str| {
        let request = format!("HEAD /events/a.log HTTP/1.0\r\nHost: {host}\r\n\r\n");
        httpd.ask(request).response().status()
    };
    let port = httpd.address().port();
    assert_eq!(status("evil.example"), 421);
    assert_eq!(status(&format!("evil.example:{port}")), 421);
    assert_eq!(status(&format!("localhost:{port}")), 200);
    assert_eq!(status("127.0.0.1"), 200);
    assert_eq!(status("box.example"), 200);
    assert_eq!(status(&format!("BOX.Example.:{port}")), 200);
    assert_eq!(status(&format!("[::1]:{port}")), 200);
    assert_eq!(status("[::2]"), 421);
    assert_eq!(status("localhost.evil.example"), 421);

    let status = |head: &str| {
        let request = format!("{head}\r\nConnection: close\r\n\r\n");
        httpd.ask(request).response().status()
    };
    // The absolute form is no way round it.
    assert_eq!(status("HEAD http://evil.example/ HTTP/1.0"), 421);
    assert_eq!(
        status("HEAD http://evil.example/ HTTP/1.1\r\nHost: evil.example"),
        421
    );
    assert_eq!(
        status("HEAD http://evil.example/ HTTP/1.1\r\nHost: localhost"),
        400
    );
    assert_eq!(
        status("HEAD http://localhost/ HTTP/1.1\r\nHost: localhost"),
        200
    );
    // Nor are fields that a page of another site can set.
    for field in ["X-Forwarded-Host: localhost", "Forwarded: host=localhost"] {
        let head = format!("HEAD / HTTP/1.1\r\nHost: evil.example\r\n{field}");
        assert_eq!(status(&head), 421, "{field}");
    }
}

#[test]
fn several_addresses_and_a_socket_of_the_file_system_are_served_alike() {
    let folder = Folder::new();
    fs::write(folder.path("a.log"), "one\n").unwrap();
    let socket = folder.path("socket");
    let mut httpd = Start::new(&folder)
        .argument("--listen")
        .argument("[::1]:0")
        .argument("--listen")
        .argument(format!("unix:{}", socket.display()))
        .argument(folder.path("a.log"))
        .start();
    httpd.ask(get("/events/a.log")).until("data: one\n\n");
    let second = httpd.line();
    let second = second
        .trim()
        .strip_prefix("http://")
        .unwrap()
        .strip_suffix('/')
        .unwrap();
    let mut stream = std::net::TcpStream::connect(second).unwrap();
    stream.write_all(get("/").as_bytes()).unwrap();
    let mut first = [0; 12];
    std::io::Read::read_exact(&mut stream, &mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    assert_eq!(httpd.line().trim(), socket.display().to_string());
    let mut stream = wait_for("the socket", || {
        std::os::unix::net::UnixStream::connect(&socket).ok()
    });
    stream.write_all(get("/").as_bytes()).unwrap();
    std::io::Read::read_exact(&mut stream, &mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
}

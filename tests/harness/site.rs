//! Pages, paths, limits, and the start of the server.

use std::ffi::OsStr;

use crate::stage::{Stage, refused};

const HELLO: &str = "#!/bin/sh\nprintf 'HTTP/1.1 200 OK\\r\\n\\r\\nhello'\n";

#[test]
fn a_page_has_its_type_and_is_asked_for_each_time() {
    let harness = Stage::new().page("index.html", "<p>hi").start();
    let (head, body) = harness.get("/").answer();
    for line in [
        "HTTP/1.1 200 OK\r\n",
        "Content-Type: text/html; charset=utf-8\r\n",
        "Content-Length: 5\r\n",
        "Cache-Control: no-cache\r\n",
    ] {
        assert!(head.contains(line), "{line} in {head}");
    }
    assert_eq!(body, "<p>hi");
}

#[test]
fn head_gets_the_head_of_a_page() {
    let harness = Stage::new().page("a.css", "x{}").start();
    let request = "HEAD /a.css HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let (head, body) = harness.send(request).answer();
    assert!(head.contains("Content-Length: 3\r\n"), "{head}");
    assert_eq!(body, "");
}

#[test]
fn what_is_hidden_outside_or_missing_is_not_served() {
    let stage = Stage::new()
        .page("a.html", "")
        .page(".secret", "")
        .program("a.cgi", "")
        .program(".hidden.cgi", HELLO);
    std::fs::write(stage.folder.join("secret"), "").unwrap();
    std::os::unix::fs::symlink("../secret", stage.folder.join("web/link")).unwrap();
    std::fs::create_dir(stage.folder.join("web/sub")).unwrap();
    let harness = stage.start();
    for (target, status) in [
        ("/a.html", 200),
        ("/sub/../a.html", 200),
        ("/", 404),
        ("/missing", 404),
        ("/.secret", 404),
        ("/%2esecret", 404),
        ("/link", 404),
        ("/sub", 301),
        ("/sub/", 404),
        ("/../secret", 400),
        ("/%2e%2e/secret", 400),
        ("/sub/../../secret", 400),
        ("/..%2fsecret", 404),
        ("/a.html%00", 400),
        ("/%", 400),
        ("/cgi-bin/", 404),
        ("/cgi-bin/.hidden.cgi", 404),
        ("/cgi-bin/missing.cgi", 404),
        ("/cgi-bin/..%2fsecret", 404),
    ] {
        assert_eq!(harness.status(target), status, "{target}");
    }
}

#[test]
fn a_folder_without_its_slash_is_a_redirect_on_this_server() {
    let stage = Stage::new();
    std::fs::create_dir(stage.folder.join("web/a b")).unwrap();
    let harness = stage.start();
    let head = harness.get("//a%20b?x=1").until("\r\n\r\n");
    assert!(head.contains("\r\nLocation: /a%20b/?x=1\r\n"), "{head}");
}

#[test]
fn other_methods_are_refused_for_pages_and_trace_for_all() {
    let harness = Stage::new()
        .page("a.html", "")
        .program("a.cgi", HELLO)
        .start();
    for (line, allow) in [
        ("POST /a.html", "GET, HEAD"),
        ("TRACE /cgi-bin/a.cgi", "GET, HEAD, POST, OPTIONS"),
    ] {
        let request = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = harness.send(request).until("\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 405 "), "{head}");
        assert!(head.contains(&format!("\r\nAllow: {allow}\r\n")), "{head}");
    }
}

#[test]
fn a_request_has_one_good_host() {
    let harness = Stage::new().page("index.html", "").start();
    for (host, status) in [
        ("Host: LOCALHOST:1\r\n", "200"),
        ("Host:\r\n", "200"),
        ("", "400"),
        ("Host: a\r\nHost: b\r\n", "400"),
        ("Host: a b\r\n", "400"),
    ] {
        let request = format!("GET / HTTP/1.1\r\n{host}\r\n");
        let head = harness.send(request).until("\r\n");
        assert_eq!(&head[9..12], status, "{host}");
    }
}

#[test]
fn too_long_a_head_or_body_is_refused() {
    let cat = "#!/bin/sh\nprintf '\\n'; exec cat\n";
    let harness = Stage::new()
        .program("cat.cgi", cat)
        .options(&["--max-header", "4K", "--max-body", "1K"])
        .start();
    let long = "x".repeat(5000);
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n");
    assert!(
        harness
            .send(head)
            .until("\r\n")
            .starts_with("HTTP/1.1 431 ")
    );

    let post = "POST /cgi-bin/cat.cgi HTTP/1.1\r\nHost: a\r\n";
    for (framing, status) in [
        (
            format!("Content-Length: 1024\r\n\r\n{}", &long[..1024]),
            "200",
        ),
        ("Content-Length: 1025\r\n\r\n".to_string(), "413"),
        (
            format!("Transfer-Encoding: chunked\r\n\r\n1388\r\n{long}\r\n0\r\n\r\n"),
            "413",
        ),
    ] {
        let head = harness.send(format!("{post}{framing}")).until("\r\n");
        assert_eq!(&head[9..12], status);
    }
}

#[test]
fn a_pipelined_page_is_whole_before_the_raw_answer_begins() {
    let page = "0123456789abcdef".repeat(1 << 19);
    let harness = Stage::new()
        .page("big", &page)
        .program("nph-hello.cgi", HELLO)
        .start();
    let host = "HTTP/1.1\r\nHost: a\r\n\r\n";
    let requests = format!("GET /big {host}GET /cgi-bin/nph-hello.cgi {host}");
    let (head, rest) = harness.send(requests).answer();
    assert!(head.contains(&format!("Content-Length: {}", page.len())));
    assert!(rest.starts_with(&page), "the page is whole");
    assert_eq!(&rest[page.len()..], "HTTP/1.1 200 OK\r\n\r\nhello");
}

#[test]
fn the_access_log_is_common_log_format_with_the_duration() {
    let harness = Stage::new()
        .page("a.txt", "12345")
        .program("nph-hello.cgi", HELLO)
        .start();
    harness.get("/a.txt?\u{1}").rest();
    harness.get("/a.txt").rest();
    harness.get("/cgi-bin/nph-hello.cgi").rest();
    harness.wait_for_log("] \"GET /a.txt HTTP/1.1\" 200 5 0.");
    harness.wait_for_log("] \"GET /cgi-bin/nph-hello.cgi HTTP/1.1\" 200 24 0.");
    assert!(harness.log().contains("\n127.0.0.1 - - ["));
}

#[test]
fn it_says_what_it_is_for() {
    let harness = Stage::new().start();
    harness.wait_for_log("for local use, not for the internet");
    assert!(!harness.log().contains("WARNING"));
    let open = Stage::new().options(&["--listen", "0.0.0.0:0"]).start();
    open.wait_for_log("WARNING: 0.0.0.0 can be reached from other machines");
}

#[test]
fn a_taken_port_is_said_with_the_remedy() {
    let harness = Stage::new().start();
    let web = harness.folder().join("web");
    let taken = harness.address.to_string();
    let arguments = [
        OsStr::new("--web"),
        web.as_os_str(),
        OsStr::new("--cgi-bin"),
        web.as_os_str(),
        OsStr::new("--listen"),
        OsStr::new(&taken),
    ];
    let (code, said) = refused(&arguments);
    assert_eq!(code, Some(111));
    assert!(said.contains(&format!("listen on {taken}")), "{said}");
    assert!(said.contains("--listen 127.0.0.1:0"), "{said}");
}

#[test]
fn a_wrong_option_is_100_and_a_missing_folder_111() {
    let (code, said) = refused(&[OsStr::new("--bogus")]);
    assert_eq!(code, Some(100));
    assert!(said.contains("--help"), "{said}");
    let (code, said) = refused(&[OsStr::new("--web"), OsStr::new("/nonexistent")]);
    assert_eq!(code, Some(111));
    assert!(said.contains("--web DIR"), "{said}");
}

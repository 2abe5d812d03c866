//! Signed links in a CGI program, whatever its gateway passes.

use crate::stage::{Folder, Program};
use crate::support::signed::{KEY, in_seconds, link, write_keys};

fn tail(folder: &Folder) -> Program {
    let keys = folder.path("keys");
    write_keys(&keys, &[KEY]);
    let file = folder.write("a.log", "a line\n");
    Program::tail(&file).set("SSE_KEYS", keys)
}

#[track_caller]
fn check(program: Program, status: &str) {
    let mut running = program.start();
    let head = running.head();
    assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
}

#[test]
fn a_gateway_without_request_uri_passes_the_path_in_two_parts() {
    let folder = Folder::new();
    let query = link(KEY, in_seconds(600), "/cgi-bin/nph-tail.cgi/a b");
    let with = |info: &str| tail(&folder).query(&query).set("PATH_INFO", info);
    check(with("/a b"), "200");
    check(with("/a b/c"), "200");
    for info in ["", "/a", "/a bc", "/a b/../c", "/a b//c", "/a%20b"] {
        check(with(info), "403");
    }
}

#[test]
fn a_terminal_needs_no_link_and_a_preflight_can_bring_none() {
    let folder = Folder::new();
    let keys = folder.path("keys");
    write_keys(&keys, &[KEY]);
    let file = folder.write("a.log", "a line\n");
    let typed = Program::typed("tail", &[file.to_str().unwrap()]).set("SSE_KEYS", &keys);
    assert_eq!(typed.start().event().data, "a line");
    check(tail(&folder).set("REQUEST_METHOD", "OPTIONS"), "204");
    check(tail(&folder).set("REQUEST_METHOD", "HEAD"), "403");
    check(tail(&folder).set("REQUEST_METHOD", "DELETE"), "403");
    check(tail(&folder).set("HTTP_ACCEPT", "text/html"), "403");
}

#[test]
fn keys_of_json_web_tokens_are_a_setting_that_a_small_program_refuses() {
    let folder = Folder::new();
    let mut running = tail(&folder)
        .set("SSE_KEYS", "")
        .set("SSE_JWT_KEYS", "/k.json")
        .set("SSE_JWT_AUDIENCE", "events")
        .start();
    assert!(running.head().starts_with("HTTP/1.1 500 "));
    assert_ne!(running.code(), 0);
    let expected = "SSE_JWT_KEYS=/k.json: this program does not check JSON Web Tokens; use \
                    sse-fcgi or sse-httpd";
    assert!(running.stderr().contains(expected), "{}", running.stderr());
}

#[test]
fn nginx_is_told_nothing_that_it_would_log_beside_a_link() {
    let folder = Folder::new();
    let query = link(KEY, in_seconds(-1), "/");
    for (server, expected) in [
        ("nginx/1.22.1", false),
        ("openresty/1.27", false),
        ("Tengine/3.1", false),
        ("Apache", true),
    ] {
        let program = tail(&folder).query(&query).set("SERVER_SOFTWARE", server);
        let mut running = program.start();
        assert!(running.head().starts_with("HTTP/1.1 403 "));
        running.code();
        let said = running.stderr();
        assert_eq!(said.contains("access: refused (403)"), expected, "{said}");
    }
}

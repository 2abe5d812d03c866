//! Limits of servers that end a stream.

use crate::servers::gateway::{Builder, Gateway, Site};
use crate::stage::{Report, diagnose};
use crate::support::folder::append;

/// A stream that is silent but for heartbeats every two seconds.
fn site(gateway: Gateway, heartbeat: &str) -> Builder {
    Site::with(gateway).set("SSE_HEARTBEAT", heartbeat)
}

#[track_caller]
fn look(site: &Site) -> Report {
    append(&site.tail_file(), "{\"data\":1}\n");
    diagnose(site.port(), "/events/tail", "5s", &[])
}

#[track_caller]
fn cut(wrong: Builder, mended: Builder, code: &str, culprit: &str, fix: &str) {
    look(&wrong.start()).is_fault(code, culprit, fix);
    let report = look(&mended.start());
    assert_eq!(
        (report.code, report.verdict("open")),
        (0, "ok"),
        "{:#}",
        report.json
    );
}

#[test]
fn nginx_fastcgi_read_timeout() {
    let limit = "fastcgi_read_timeout 60s;";
    let site = || site(Gateway::Nginx, "20s");
    cut(
        site().edit_snippet(limit, "fastcgi_read_timeout 2s;"),
        site(),
        "timeout",
        "nginx",
        "fastcgi_read_timeout 60s;",
    );
}

#[test]
fn haproxy_timeout_server() {
    let site = || site(Gateway::Haproxy, "20s");
    let wrong = site().edit("timeout server 60s", "timeout server 2s");
    cut(wrong, site(), "timeout", "HAProxy", "timeout server 60s");
}

#[test]
fn lighttpd_read_timeout() {
    let site = || site(Gateway::Lighttpd, "20s");
    let wrong = site().edit("\"read-timeout\" => 60", "\"read-timeout\" => 2");
    cut(
        wrong,
        site(),
        "timeout",
        "lighttpd",
        "\"read-timeout\" => 60",
    );
}

#[test]
fn a_heartbeat_mends_it_too() {
    let site = site(Gateway::Nginx, "1s")
        .edit_snippet("fastcgi_read_timeout 60s;", "fastcgi_read_timeout 3s;");
    let report = look(&site.start());
    assert_eq!(
        (report.code, report.verdict("open")),
        (0, "ok"),
        "{:#}",
        report.json
    );
}

#[test]
fn caddy_read_timeout_cuts_a_stream_that_is_not_silent() {
    let site = || Site::with(Gateway::Caddy).set("SSE_INTERVAL", "200ms");
    let wrong = site().edit(
        "\twrite_timeout 60s\n",
        "\twrite_timeout 60s\n\tread_timeout 2s\n",
    );
    let look = |site: Site| diagnose(site.port(), "/events/clock", "4s", &[]);
    look(wrong.start()).is("warning", "age", "Caddy", "no read_timeout");
    look(site().start()).is_well();
}

#[test]
fn mod_fcgid_io_timeout_writes_a_page_into_the_stream() {
    let site = || site(Gateway::ApacheFcgid, "20s");
    let wrong = site().edit("FcgidIOTimeout 60", "FcgidIOTimeout 2");
    look(&wrong.start()).is_fault("timeout", "Apache", "FcgidIOTimeout 60");
    let report = look(&site().start());
    assert_eq!(
        (report.code, report.verdict("open")),
        (0, "ok"),
        "{:#}",
        report.json
    );
}

#[test]
fn mod_proxy_fcgi_timeout() {
    let look = |builder: Builder| {
        let site = builder.start();
        append(&site.tail_file(), "{\"data\":1}\n");
        // The client sees the end KeepAliveTimeout (5 s) later.
        diagnose(site.port(), "/events/tail", "9s", &[])
    };
    let site = || site(Gateway::ApacheProxy, "20s");
    let wrong = site().edit("timeout=60", "timeout=2");
    look(wrong).is_fault("timeout", "Apache", "ProxyPass … timeout=60");
    assert_eq!(look(site()).verdict("open"), "ok");
}

#[test]
fn mod_fcgid_busy_timeout() {
    let look = |builder: Builder| {
        let site = builder.directive("FcgidBusyScanInterval 1").start();
        diagnose(site.port(), "/events/clock", "6s", &[])
    };
    let site = || Site::with(Gateway::ApacheFcgid).set("SSE_INTERVAL", "200ms");
    let wrong = site().edit("FcgidBusyTimeout 4000", "FcgidBusyTimeout 2");
    // mod_fcgid asks the responder to end, and that ends its streams as it does at SSE_MAX_AGE.
    let report = look(wrong);
    report.is_well();
    report.is("note", "open", "", "");
    assert_eq!(look(site()).verdict("open"), "ok");
}

#[test]
fn h2o_io_timeout() {
    let site = || site(Gateway::H2o, "20s");
    let wrong = site().edit("fastcgi.timeout.io: 60000", "fastcgi.timeout.io: 2000");
    cut(wrong, site(), "timeout", "h2o", "fastcgi.timeout.io: 60000");
}

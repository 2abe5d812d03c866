//! What holds the events of `sse-fcgi` back, compresses or refuses them.

use nix::sys::signal::Signal;

use crate::servers::gateway::{Builder, Gateway, Site};
use crate::stage::{Report, diagnose};
use crate::support::folder::append;
use crate::support::signed::{KEY, in_seconds, link, write_keys};
use crate::support::wait::PATIENCE;

/// A clock whose events fill no buffer within the time of a test.
fn site(gateway: Gateway) -> Builder {
    Site::with(gateway).set("SSE_INTERVAL", "250ms")
}

#[track_caller]
fn look(site: &Site) -> Report {
    diagnose(site.port(), "/events/clock", "4s", &[])
}

/// The diagnosis with the fault, and then with its remedy.
#[track_caller]
fn held_back(faulty: Builder, mended: Builder, code: &str, culprit: &str, fix: &str) {
    look(&faulty.start()).is_fault(code, culprit, fix);
    look(&mended.start()).is_well();
}

#[test]
fn nginx_fastcgi_buffering() {
    let ignoring = |site: Builder, buffering| {
        site.edit_snippet("fastcgi_buffering off;", buffering)
            .directive("fastcgi_ignore_headers X-Accel-Buffering;")
    };
    held_back(
        ignoring(site(Gateway::Nginx), "fastcgi_buffering on;"),
        ignoring(site(Gateway::Nginx), "fastcgi_buffering off;"),
        "delivery",
        "nginx",
        "fastcgi_buffering off;",
    );
}

#[test]
fn mod_fcgid_output_buffer() {
    let wrong =
        site(Gateway::ApacheFcgid).edit("FcgidOutputBufferSize 0", "FcgidOutputBufferSize 65536");
    held_back(
        wrong,
        site(Gateway::ApacheFcgid),
        "delivery",
        "Apache",
        "FcgidOutputBufferSize 0",
    );
}

#[test]
fn h2o_does_not_compress_a_stream() {
    let wrong = site(Gateway::H2o).edit("num-threads: 2\n", "num-threads: 2\ncompress: ON\n");
    let report = look(&wrong.start());
    report.is_well();
    assert_eq!(report.verdict("compression"), "ok");
}

#[test]
fn nginx_gzip_is_named_and_no_fault() {
    let site = site(Gateway::Nginx)
        .directive("gzip_types text/event-stream;")
        .directive("gzip_min_length 0;")
        .edit_snippet("gzip off;", "gzip on;")
        .start();
    let report = look(&site);
    report.is_well();
    assert_eq!(report.verdict("compression"), "note");
    let fixes = report.check("compression")["fixes"].to_string();
    assert!(fixes.contains("gzip off;"), "{fixes}");
}

#[test]
fn apache_without_flushpackets() {
    let wrong = site(Gateway::ApacheProxy).edit(" flushpackets=on", "");
    held_back(
        wrong,
        site(Gateway::ApacheProxy),
        "delivery",
        "Apache",
        "flushpackets=on",
    );
}

#[test]
fn lighttpd_stream_response_body() {
    held_back(
        site(Gateway::Lighttpd).edit(
            "server.stream-response-body = 2",
            "server.stream-response-body = 0",
        ),
        site(Gateway::Lighttpd),
        "delivery",
        "lighttpd",
        "server.stream-response-body = 2",
    );
}

#[test]
fn haproxy_wait_for_body() {
    let backend = "backend sse_streams from sse\n";
    let wrong = format!("{backend}    http-response wait-for-body time 30s\n");
    held_back(
        site(Gateway::Haproxy).edit(backend, &wrong),
        site(Gateway::Haproxy),
        "delivery",
        // HAProxy is recognised by a response, and there is none.
        "an unknown server",
        "no buffering",
    );
}

#[test]
fn haproxy_without_no_delay() {
    let wrong = site(Gateway::Haproxy).edit("    option http-no-delay\n", "");
    look(&wrong.start()).is_well();
}

#[test]
fn haproxy_does_not_compress_a_stream() {
    let backend = "backend sse_streams from sse\n";
    let wrong =
        format!("{backend}    compression algo gzip\n    compression type text/event-stream\n");
    let report = look(&site(Gateway::Haproxy).edit(backend, &wrong).start());
    report.is_well();
    assert_eq!(report.verdict("compression"), "ok");
}

#[test]
fn lighttpd_does_not_compress_a_stream() {
    let modules = "\"mod_setenv\", \"mod_fastcgi\"";
    let wrong = site(Gateway::Lighttpd)
        .edit(modules, &format!("{modules}, \"mod_deflate\""))
        .edit(
            "server.stream-response-body = 2\n",
            "server.stream-response-body = 2\n    deflate.mimetypes = ( \"text/event-stream\" )\n    \
             deflate.allowed-encodings = ( \"gzip\" )\n",
        );
    let report = look(&wrong.start());
    report.is_well();
    assert_eq!(report.verdict("compression"), "ok");
}

#[test]
fn caddy_encode() {
    let look = |site: Site| {
        // It compresses only what begins with 512 bytes or more.
        let long = format!("{{\"data\":\"{}\"}}\n", "x".repeat(600));
        append(&site.tail_file(), &long);
        let file = site.tail_file();
        let writer = std::thread::spawn(move || {
            for number in 0..20 {
                append(&file, &format!("{{\"data\":{number}}}\n"));
                std::thread::sleep(std::time::Duration::from_millis(250));
            }
        });
        let report = diagnose(site.port(), "/events/tail", "4s", &[]);
        writer.join().expect("it writes");
        report
    };
    let wrong = Site::with(Gateway::Caddy).edit("encode @compressible gzip", "encode gzip");
    look(wrong.start()).is_fault("compression", "Caddy", "@compressible not path /events/*");
    look(Site::with(Gateway::Caddy).start()).is_well();
}

#[test]
fn every_server_as_it_is_shipped_has_no_fault() {
    for gateway in [
        Gateway::H2o,
        Gateway::Haproxy,
        Gateway::Nginx,
        Gateway::ApacheFcgid,
    ] {
        let report = look(&site(gateway).start());
        report.is_well();
        let name = match gateway {
            Gateway::H2o => "h2o",
            Gateway::Haproxy => "HAProxy",
            Gateway::Nginx => "nginx",
            _ => "Apache",
        };
        assert_eq!(
            report.json["servers"],
            serde_json::json!([name]),
            "{:#}",
            report.json
        );
    }
}

/// The shipped files answer 200 with a stream that asks the client to return.
#[test]
fn a_responder_that_is_away() {
    for (gateway, name) in [
        (Gateway::Nginx, "nginx"),
        (Gateway::Lighttpd, "lighttpd"),
        (Gateway::ApacheProxy, "Apache"),
        (Gateway::H2o, "h2o"),
    ] {
        let mut site = match gateway {
            Gateway::Nginx => {
                site(gateway).edit_snippet("error_page 502 503 504 = @sse_later;", "")
            }
            _ => site(gateway),
        }
        .start();
        site.signal_responder(Signal::SIGTERM);
        site.wait_until_responder_ended(PATIENCE);
        site.let_socket_go();
        let report = diagnose(site.port(), "/events/tail", "3s", &[]);
        report.is_fault("status", name, "systemctl status sse-fcgi.socket");
    }
    let mut site = site(Gateway::Haproxy).start();
    site.signal_responder(Signal::SIGTERM);
    site.wait_until_responder_ended(PATIENCE);
    site.let_socket_go();
    let report = diagnose(site.port(), "/events/tail", "3s", &[]);
    report.is_fault(
        "open",
        "the web server while the responder is away",
        "systemctl status sse-fcgi",
    );
}

#[test]
fn a_wrong_setting_is_a_500() {
    let site = site(Gateway::Nginx)
        .edit(
            "fastcgi_param SSE_STREAM clock;",
            "fastcgi_param SSE_STREAM clock; fastcgi_param SSE_INTERVAL soon;",
        )
        .start();
    look(&site).is_fault("status", "settings", "error_log");
}

#[test]
fn a_departure_and_an_event_of_ones_own() {
    let site = Site::with(Gateway::Nginx)
        .edit(
            "#fastcgi_param SSE_PUBLISH_ALLOW      token;",
            "fastcgi_param SSE_PUBLISH_ALLOW anyone;",
        )
        .start();
    append(&site.tail_file(), "{\"data\":1}\n{\"data\":2}\n");
    let at = |path: &str| format!("http://localhost:{}{path}", site.port());
    let options = [
        "--publish",
        &at("/events/publish"),
        "--status",
        &at("/events/status"),
    ];
    let report = diagnose(site.port(), "/events/tail", "4s", &options);
    for check in ["publish", "departure", "last-event-id"] {
        assert_eq!(report.verdict(check), "ok", "{:#}", report.json);
    }
    assert_eq!(report.json["connections"], 4);
}

#[test]
fn a_stream_behind_signed_links() {
    let site = Site::with(Gateway::Nginx)
        .set("SSE_KEYS", "{root}/data/keys")
        .edit(
            "#fastcgi_param SSE_PUBLISH_ALLOW      token;",
            "fastcgi_param SSE_PUBLISH_ALLOW anyone;",
        )
        .start();
    let keys = site.path("data/keys");
    write_keys(&keys, &[KEY]);
    append(&site.tail_file(), "{\"data\":1}\n{\"data\":2}\n");
    let publish = format!("http://localhost:{}/events/publish", site.port());
    let signed = ["--sign-key", keys.to_str().unwrap(), "--publish", &publish];
    let report = diagnose(site.port(), "/events/tail", "4s", &signed);
    for check in ["publish", "last-event-id"] {
        assert_eq!(report.verdict(check), "ok", "{:#}", report.json);
    }
    diagnose(site.port(), "/events/tail", "1s", &[]).is_fault("status", "", "");
    let query = link(KEY, in_seconds(60), "/events/tail");
    let report = diagnose(site.port(), &format!("/events/tail?{query}"), "1s", &[]);
    assert_eq!(report.check("status")["verdict"], "ok", "{:#}", report.json);
    let tag = &query[query.len() - 64..];
    assert!(!report.json.to_string().contains(tag), "{:#}", report.json);
}

#[test]
fn origins_are_told_apart() {
    let site = site(Gateway::Nginx)
        .set("SSE_ALLOW_ORIGIN", "https://a.example")
        .start();
    let of = |origin| diagnose(site.port(), "/events/clock", "2s", &["--origin", origin]);
    assert_eq!(of("https://a.example").verdict("cors"), "ok");
    of("https://b.example").is_fault("cors", "", "SSE_ALLOW_ORIGIN=");
}

//! CGI programs: what Apache, and a proxy in front of it, do to them.

use std::os::unix::fs::symlink;

use nix::sys::signal::{Signal, killpg};

use crate::servers::apache::{Apache, Mpm};
use crate::servers::daemon::{Daemon, require, start_on_free_port};
use crate::servers::nginx::{self, Edits, InFrontOf};
use crate::stage::{Report, diagnose};
use crate::support::folder::{Folder, append};
use crate::support::wait::{PATIENCE, wait_until};

fn apache() -> crate::servers::apache::Builder {
    Apache::with(Mpm::EventWithCgid).set("SSE_INTERVAL", "250ms")
}

#[test]
fn mod_deflate_compresses_plain_names_and_not_nph_names() {
    let site = apache().directive("SetOutputFilter DEFLATE").start();
    let of = |name: &str| diagnose(site.port(), &site.target(name), "4s", &[]);
    of("clock.cgi").is_fault("compression", "Apache", "FilterChain !");
    of("nph-clock.cgi").is_well();
    drop(site);
    // The remedy: the type is listed instead, which the shipped file undoes.
    let site = apache()
        .directive("AddOutputFilterByType DEFLATE text/event-stream")
        .start();
    diagnose(site.port(), &site.target("clock.cgi"), "4s", &[]).is_well();
}

#[test]
fn nph_over_http_2_is_held_and_the_plain_name_is_not() {
    let site = apache().with_http2().start();
    let of = |name: &str| diagnose(site.port(), &site.target(name), "4s", &["--http2"]);
    let report = of("nph-clock.cgi");
    let check = report.check("http2");
    assert!(
        check["fixes"]
            .to_string()
            .contains("use the name clock.cgi"),
        "{:#}",
        report.json
    );
    let report = of("clock.cgi");
    report.is_well();
    assert_eq!(report.verdict("protocol"), "ok", "{:#}", report.json);
}

#[test]
fn nginx_proxy_buffering_in_front_of_apache() {
    let apache = apache().start();
    let look = |buffering: &str| {
        let folder = Folder::new();
        folder.make("run");
        folder.make_public("logs");
        std::os::unix::fs::symlink(apache.path("pages"), folder.join("pages"))
            .expect("a new folder");
        let edits = Edits {
            http: vec!["proxy_ignore_headers X-Accel-Buffering;".into()],
            site: vec![("proxy_buffering off;".into(), buffering.into())],
            ..Edits::default()
        };
        let (_nginx, port) = start_on_free_port(&folder, &[], |port| {
            nginx::configure_in_front(&folder, port, InFrontOf::Cgi, apache.port(), &edits)
        });
        diagnose(port, "/cgi-bin/nph-clock.cgi", "4s", &[])
    };
    look("proxy_buffering on;").is_fault("delivery", "nginx", "proxy_buffering off;");
    look("proxy_buffering off;").is_well();
}

/// nginx in front of Apache, with one replacement in its file.
#[track_caller]
fn look_through_nginx(apache: &Apache, edit: (&str, &str)) -> Report {
    let folder = Folder::new();
    folder.make("run");
    folder.make_public("logs");
    symlink(apache.path("pages"), folder.join("pages")).expect("a new folder");
    let edits = Edits {
        site: vec![(edit.0.into(), edit.1.into())],
        ..Edits::default()
    };
    let (_nginx, port) = start_on_free_port(&folder, &[], |port| {
        nginx::configure_in_front(&folder, port, InFrontOf::Cgi, apache.port(), &edits)
    });
    diagnose(port, "/cgi-bin/nph-tail.cgi", "5s", &[])
}

#[test]
fn nginx_proxy_read_timeout_in_front_of_apache() {
    let apache = apache().set("SSE_HEARTBEAT", "20s").start();
    append(&apache.tail_file(), "{\"data\":1}\n");
    let limit = "proxy_read_timeout 60s;";
    let report = look_through_nginx(&apache, (limit, "proxy_read_timeout 2s;"));
    report.is_fault("timeout", "nginx", limit);
    let report = look_through_nginx(&apache, (limit, limit));
    assert_eq!(report.verdict("open"), "ok", "{:#}", report.json);
}

#[track_caller]
fn script_timeout(mpm: Mpm, directive: &str, fix: &str) {
    let look = |limit: &str, time: &str| {
        let line = format!("            {directive} 60s\n");
        let site = Apache::with(mpm)
            .set("SSE_HEARTBEAT", "20s")
            .edit(&line, &line.replace("60s", limit))
            .start();
        append(&site.tail_file(), "{\"data\":1}\n");
        diagnose(site.port(), &site.target("tail.cgi"), time, &[])
    };
    // Apache closes the connection some seconds later.
    look("2s", "8s").is_fault("timeout", "Apache", fix);
    let report = look("60s", "4s");
    assert_eq!(report.verdict("open"), "ok", "{:#}", report.json);
}

#[test]
fn mod_cgid_script_timeout() {
    script_timeout(
        Mpm::EventWithCgid,
        "CGIDScriptTimeout",
        "CGIDScriptTimeout 60s",
    );
}

#[test]
fn mod_cgi_script_timeout() {
    script_timeout(
        Mpm::PreforkWithCgi,
        "CGIScriptTimeout",
        "CGIScriptTimeout 60s",
    );
}

#[test]
fn fcgiwrap_without_no_buffering() {
    require("/usr/sbin/fcgiwrap", "fcgiwrap");
    let apache = apache().start();
    let look = |parameter: &str| {
        let folder = Folder::new();
        folder.make("run");
        folder.make_public("logs");
        folder.make("pages");
        symlink(apache.path("cgi-bin"), folder.join("pages/cgi-bin")).expect("a new folder");
        std::fs::copy(apache.path("pages/mark.txt"), folder.join("pages/mark.txt"))
            .expect("a page");
        let command = format!(
            "umask 0; exec fcgiwrap -f -c 5 -s unix:{}/wrap.sock",
            folder.display()
        );
        let wrapper = Daemon::start(&folder, &["sh", "-c", &command], None, &[]);
        let (_nginx, port) = start_on_free_port(&folder, &[], |port| {
            let edits = [("fastcgi_param NO_BUFFERING 1;", parameter)];
            nginx::configure_fcgiwrap(&folder, port, &edits)
        });
        wait_until("fcgiwrap listens", PATIENCE, || {
            folder.join("wrap.sock").exists()
        });
        let report = diagnose(port, "/cgi-bin/clock.cgi", "5s", &[]);
        // Its workers outlive a SIGTERM.
        let _ = killpg(wrapper.pid(), Signal::SIGKILL);
        report
    };
    look("").is_fault("delivery", "nginx", "fastcgi_param NO_BUFFERING 1;");
    look("fastcgi_param NO_BUFFERING 1;").is_well();
}

#[test]
fn a_program_that_is_sent_as_a_file_a_page_and_nothing() {
    let site = apache().start();
    diagnose(site.port(), "/mark.txt", "2s", &[]).is_fault("wrong-type", "", "ExecCGI");
    let report = diagnose(site.port(), &site.target("nothing.cgi"), "2s", &[]);
    report.is_fault("status", "", "check the path");
}

#[test]
fn a_login_page() {
    let site = apache().directive("Redirect 302 /cgi-bin/nph-clock.cgi /login.html");
    let site = site.start();
    std::fs::write(site.path("pages/login.html"), "<html>Log in</html>").expect("a page");
    let report = diagnose(site.port(), &site.target("nph-clock.cgi"), "2s", &[]);
    report.is_fault("login-page", "access rules", "--token-file");
    // (The page cannot be reached by EventSource; another program needs no login.)
    diagnose(site.port(), &site.target("clock.cgi"), "2s", &[]).is_well();
}

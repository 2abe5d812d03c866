//! CGI programs: what Apache, and a proxy in front of it, do to them.

use crate::servers::apache::{Apache, Mpm};
use crate::servers::daemon::start_on_free_port;
use crate::servers::nginx::{self, Edits, InFrontOf};
use crate::stage::diagnose;
use crate::support::folder::Folder;

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

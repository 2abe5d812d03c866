//! HAProxy, started from the project's own haproxy/ file.

use std::fs;

use super::configured::configured;
use super::daemon::{becomes_server_user, require};
use super::nginx::Edits;
use super::responder::socket;
use crate::support::folder::Folder;

const HAPROXY: &str = "/usr/sbin/haproxy";

/// Writes the configuration for `port` and returns the command. `edits` are replacements
/// in the project's file, whose old texts must be there; `directives` are lines of the
/// section `global`.
#[track_caller]
pub fn configure(
    folder: &Folder,
    port: u16,
    edits: &[(String, String)],
    directives: &[String],
) -> Vec<String> {
    require(HAPROXY, "haproxy");
    let root = folder.display().to_string();
    let mark = format!("http-request return status 200 content-type text/plain file {root}/pages");
    let site = configured(
        "haproxy/sse-cgi.cfg",
        &[
            ("bind :80\n", &format!("bind 127.0.0.1:{port}\n")),
            // The page that is requested while HAProxy starts.
            ("server pages 127.0.0.1:8080", &format!("{mark}/mark.txt")),
            (
                "unix@/run/sse-fcgi/sse-fcgi.sock",
                &format!("unix@{}", socket(folder).display()),
            ),
            ("/var/lib/sse-cgi/", &format!("{root}/data/")),
        ],
    );
    let site = edits.iter().fold(site, |text, (from, to)| {
        let (from, to) = (from.replace("{root}", &root), to.replace("{root}", &root));
        assert!(text.contains(&from), "no {from:?} in haproxy/sse-cgi.cfg");
        text.replace(&from, &to)
    });
    command(folder, &site, directives)
}

/// Writes the configuration of a proxy for the `sse-httpd` on another port, and returns the
/// command.
#[track_caller]
pub fn configure_in_front(folder: &Folder, port: u16, behind: u16, edits: &Edits) -> Vec<String> {
    require(HAPROXY, "haproxy");
    let site = configured(
        "haproxy/in-front-of-httpd.cfg",
        &[
            ("bind :80\n", &format!("bind 127.0.0.1:{port}\n")),
            ("127.0.0.1:8080", &format!("127.0.0.1:{behind}")),
        ],
    );
    let site = edits.site.iter().fold(site, |text, (from, to)| {
        assert!(text.contains(from), "the site does not contain {from:?}");
        text.replace(from, to)
    });
    command(folder, &site, &edits.http)
}

/// Writes the site and what Debian's file says before it, and returns the command.
fn command(folder: &Folder, site: &str, directives: &[String]) -> Vec<String> {
    let root = folder.display().to_string();
    let user = match becomes_server_user() {
        true => "    user haproxy\n    group haproxy\n",
        false => "",
    };
    let directives = directives.join("\n    ").replace("{root}", &root);
    // As Debian's, but for the folder that is the root of its files.
    let base = format!(
        "global\n    log stderr format raw local0\n    nbthread 2\n    maxconn 500\n{user}    \
         {directives}\n\n\
         defaults\n    log global\n    mode http\n    option httplog\n    option dontlognull\n    \
         timeout connect 5000\n    timeout client 50000\n    timeout server 50000\n"
    );
    let write = |name: &str, text: &str| {
        let file = folder.join(name);
        fs::write(&file, text).expect("the new folder can be written");
        file.to_str().expect("the path is text").to_owned()
    };
    let base = write("haproxy.cfg", &base);
    let site = write("sse-cgi.cfg", site);
    [HAPROXY, "-db", "-f", &base, "-f", &site]
        .map(str::to_owned)
        .into()
}

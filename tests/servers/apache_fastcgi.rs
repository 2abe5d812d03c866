//! Apache with the project's sites for mod_proxy_fcgi and mod_fcgid.

use super::apache_base::{Base, Mpm, command, require_apache};
use super::configured::configured;
use super::responder::socket;
use crate::support::folder::Folder;

/// How Apache reaches the responder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// It connects to a running one.
    Proxy,
    /// It starts as many as it needs of the program `bin/responder` of the folder.
    Fcgid,
}

/// Requests that may be served at a time.
const WORKERS: u32 = 30;

/// Writes the configuration for `port` and returns the command. `edits` are replacements in the
/// project's file, whose old texts must be there.
#[track_caller]
pub fn configure(
    folder: &Folder,
    port: u16,
    by: By,
    protocols: &str,
    environment: &[(String, String)],
    directives: &[String],
    edits: &[(String, String)],
) -> Vec<String> {
    let root = folder.display();
    let (modules, file) = match by {
        By::Proxy => (&["proxy", "proxy_fcgi"][..], "sse-cgi-proxy-fcgi.conf"),
        By::Fcgid => (&["fcgid"][..], "sse-cgi-fcgid.conf"),
    };
    require_apache(match by {
        By::Proxy => &[("proxy_fcgi", "apache2-bin")],
        By::Fcgid => &[("fcgid", "libapache2-mod-fcgid")],
    });
    let mut text = Base {
        mpm: Mpm::EventWithCgid,
        modules,
        workers: WORKERS,
        directives,
    }
    .text(folder, port);
    if by == By::Fcgid {
        text.push_str(&format!(
            "FcgidIPCDir {root}/run/fcgid\nFcgidProcessTableFile {root}/run/fcgid_shm\n"
        ));
        for (name, value) in environment {
            text.push_str(&format!("FcgidInitialEnv {name} \"{value}\"\n"));
        }
    }
    let shipped = format!("apache/{file}");
    let site = edits
        .iter()
        .fold(configured(&shipped, &[]), |text, (from, to)| {
            assert!(text.contains(from), "no {from:?} in {shipped}");
            text.replace(from, to)
        });
    folder.write("site.conf", site);
    text.push_str(&format!(
        "Define EVENTS_PORT {port}\n\
         Define EVENTS_PROTOCOLS \"{protocols}\"\n\
         Define EVENTS_PAGES {root}/pages\n\
         Define EVENTS_DATA {root}/data\n\
         Define EVENTS_SOCKET {}\n\
         Define EVENTS_RESPONDER {root}/bin/responder\n\
         Define EVENTS_LOGS {root}/logs\n\
         Include {root}/site.conf\n",
        socket(folder).display(),
    ));
    command(folder, &text)
}

/// Writes the configuration of a proxy for the `sse-httpd` on another port, and returns the
/// command.
#[track_caller]
pub fn configure_in_front(folder: &Folder, port: u16, behind: u16) -> Vec<String> {
    require_apache(&[("proxy_http", "apache2-bin"), ("headers", "apache2-bin")]);
    folder.make("run");
    let base = Base {
        mpm: Mpm::EventWithCgid,
        modules: &["proxy", "proxy_http", "headers"],
        workers: WORKERS,
        directives: &[],
    };
    let text = base.text(folder, port)
        + &format!(
            "Define EVENTS_HTTPD 127.0.0.1:{behind}\nInclude {}/apache/in-front-of-httpd.conf\n",
            env!("CARGO_MANIFEST_DIR"),
        );
    command(folder, &text)
}

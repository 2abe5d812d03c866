//! Caddy, started from the project's own caddy/ file.

use std::fs;

use super::configured::configured;
use super::daemon::require;
use super::nginx::{Edits, InFrontOf};
use super::responder::socket;
use crate::support::folder::Folder;

const CADDY: &str = "/usr/bin/caddy";

/// Writes the configuration for `port` and returns the command. `edits` are replacements
/// in the project's file, whose old texts must be there; `directives` are global options.
#[track_caller]
pub fn configure(
    folder: &Folder,
    port: u16,
    edits: &[(String, String)],
    directives: &[String],
) -> Vec<String> {
    require(CADDY, "caddy");
    let root = folder.display().to_string();
    let site = configured(
        "caddy/Caddyfile",
        &[
            (
                "\n:80 {\n",
                &format!("\nhttp://:{port} {{\n\tbind 127.0.0.1\n"),
            ),
            (
                "unix//run/sse-fcgi/sse-fcgi.sock",
                &format!("unix/{}", socket(folder).display()),
            ),
            ("/var/www/sse-cgi\n", &format!("{root}/pages\n")),
            ("/var/lib/sse-cgi/", &format!("{root}/data/")),
        ],
    );
    let site = edits.iter().fold(site, |text, (from, to)| {
        assert!(text.contains(from), "no {from:?} in caddy/Caddyfile");
        text.replace(from, &to.replace("{root}", &root))
    });
    command(folder, &site, directives)
}

/// Writes the configuration of a proxy for the server on another port, and returns the command.
#[track_caller]
pub fn configure_in_front(
    folder: &Folder,
    port: u16,
    of: InFrontOf,
    behind: u16,
    edits: &Edits,
) -> Vec<String> {
    require(CADDY, "caddy");
    let site = configured(
        match of {
            InFrontOf::Cgi => "caddy/in-front-of-cgi.Caddyfile",
            InFrontOf::Httpd => "caddy/in-front-of-httpd.Caddyfile",
        },
        &[
            (
                "\n:80 {\n",
                &format!("\nhttp://:{port} {{\n\tbind 127.0.0.1\n"),
            ),
            ("127.0.0.1:8080", &format!("127.0.0.1:{behind}")),
        ],
    );
    let site = edits.site.iter().fold(site, |text, (from, to)| {
        assert!(text.contains(from), "the site does not contain {from:?}");
        text.replace(from, to)
    });
    command(folder, &site, &edits.http)
}

/// Writes the site with global options before it, and returns the command.
pub fn command(folder: &Folder, site: &str, directives: &[String]) -> Vec<String> {
    let root = folder.display().to_string();
    let directives = directives.join("\n\t");
    let text = format!(
        "{{\n\tadmin off\n\tlog {{\n\t\toutput file {root}/logs/error.log\n\t}}\n\t\
         {directives}\n}}\n{site}"
    );
    let file = folder.join("Caddyfile");
    fs::write(&file, text).expect("the new folder can be written");
    let file = file.to_str().expect("the path is text");
    let home = format!("XDG_DATA_HOME={root}/run");
    let config = format!("XDG_CONFIG_HOME={root}/run");
    [
        "env",
        &home,
        &config,
        CADDY,
        "run",
        "--adapter",
        "caddyfile",
        "--config",
        file,
    ]
    .map(str::to_owned)
    .into()
}

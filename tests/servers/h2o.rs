//! h2o, started from the project's own h2o/ file.

use std::fs;

use super::configured::configured;
use super::daemon::{becomes_server_user, require};
use super::responder::socket;
use crate::support::folder::Folder;

const H2O: &str = "/usr/bin/h2o";

/// Writes the configuration for `port` and returns the command. `edits` are replacements
/// in the project's file, whose old texts must be there.
#[track_caller]
pub fn configure(folder: &Folder, port: u16, edits: &[(String, String)]) -> Vec<String> {
    require(H2O, "h2o");
    let root = folder.display().to_string();
    let user = match becomes_server_user() {
        true => "user: www-data\n",
        false => "",
    };
    let text = configured(
        "h2o/sse-cgi.conf",
        &[
            (
                "listen: 8080\n",
                &format!("listen:\n  host: 127.0.0.1\n  port: {port}\n"),
            ),
            ("user: www-data\n", user),
            ("/var/log/h2o/", &format!("{root}/logs/")),
            (
                "/run/sse-fcgi/sse-fcgi.sock",
                &socket(folder).display().to_string(),
            ),
            ("/var/lib/sse-cgi/", &format!("{root}/data/")),
            ("/var/www/sse-cgi", &format!("{root}/pages")),
        ],
    );
    let text = edits.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "no {from:?} in h2o/sse-cgi.conf");
        text.replace(from, to)
    });
    let file = folder.join("h2o.conf");
    fs::write(&file, text).expect("the new folder can be written");
    let file = file.to_str().expect("the path is text");
    [H2O, "-c", file].map(str::to_owned).into()
}

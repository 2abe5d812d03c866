//! lighttpd, started from the project's own lighttpd/ file.

use std::fs;

use super::configured::configured;
use super::daemon::{SERVER_USER, becomes_server_user, require};
use super::responder::socket;
use crate::support::folder::Folder;

const LIGHTTPD: &str = "/usr/sbin/lighttpd";

/// Writes the configuration for `port` and returns the command. `edits` are replacements
/// in the project's file, whose old texts must be there.
#[track_caller]
pub fn configure(folder: &Folder, port: u16, edits: &[(String, String)]) -> Vec<String> {
    require(LIGHTTPD, "lighttpd");
    let root = folder.display().to_string();
    folder.make_public("run/upload");
    let site = configured(
        "lighttpd/sse-cgi.conf",
        &[
            (
                "\"/run/sse-fcgi/sse-fcgi.sock\"",
                &format!("\"{}\"", socket(folder).display()),
            ),
            ("\"/var/lib/sse-cgi\"", &format!("\"{root}/data\"")),
        ],
    );
    let site = edits.iter().fold(site, |text, (from, to)| {
        assert!(text.contains(from), "no {from:?} in lighttpd/sse-cgi.conf");
        text.replace(from, &to.replace("{root}", &root))
    });
    let user = match becomes_server_user() {
        true => {
            format!("server.username = \"{SERVER_USER}\"\nserver.groupname = \"{SERVER_USER}\"\n")
        }
        false => String::new(),
    };
    let text = format!(
        "{user}\
         server.modules = ( \"mod_indexfile\", \"mod_access\" )\n\
         server.document-root = \"{root}/pages\"\n\
         server.port = {port}\n\
         server.bind = \"127.0.0.1\"\n\
         server.errorlog = \"{root}/logs/error.log\"\n\
         server.upload-dirs = ( \"{root}/run/upload\" )\n\
         index-file.names = ( \"index.html\" )\n\
         mimetype.assign = ( \".html\" => \"text/html\", \"\" => \"text/plain\" )\n\
         {site}",
    );
    let file = folder.join("lighttpd.conf");
    fs::write(&file, text).expect("the new folder can be written");
    let file = file.to_str().expect("the path is text");
    [LIGHTTPD, "-D", "-f", file].map(str::to_owned).into()
}

//! The page of the streams that a command line names: the log viewer of `web/`.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use super::site::Pages;
use crate::request::{Head, Status};

/// The page, without a choice of streams.
const PAGE: &str = include_str!("../../../web/log.html");

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// What the page needs, as it is: path, type, content.
const FILES: [(&str, &str, &str); 17] = [
    ("/about.js", SCRIPT, include_str!("../../../web/about.js")),
    (
        "/connection-badge.js",
        SCRIPT,
        include_str!("../../../web/connection-badge.js"),
    ),
    (
        "/favicon.svg",
        "image/svg+xml",
        include_str!("../../../web/favicon.svg"),
    ),
    (
        "/gap-words.js",
        SCRIPT,
        include_str!("../../../web/gap-words.js"),
    ),
    (
        "/log-view.js",
        SCRIPT,
        include_str!("../../../web/log-view.js"),
    ),
    ("/log.js", SCRIPT, include_str!("../../../web/log.js")),
    ("/page.js", SCRIPT, include_str!("../../../web/page.js")),
    (
        "/sse-history.js",
        SCRIPT,
        include_str!("../../../web/sse-history.js"),
    ),
    (
        "/sse-send.js",
        SCRIPT,
        include_str!("../../../web/sse-send.js"),
    ),
    (
        "/sse-source.js",
        SCRIPT,
        include_str!("../../../web/sse-source.js"),
    ),
    (
        "/sse-streams.js",
        SCRIPT,
        include_str!("../../../web/sse-streams.js"),
    ),
    (
        "/sse-tabs.js",
        SCRIPT,
        include_str!("../../../web/sse-tabs.js"),
    ),
    ("/sse.js", SCRIPT, include_str!("../../../web/sse.js")),
    (
        "/stream-address.js",
        SCRIPT,
        include_str!("../../../web/stream-address.js"),
    ),
    (
        "/style.css",
        "text/css; charset=utf-8",
        include_str!("../../../web/style.css"),
    ),
    (
        "/words-ja.js",
        SCRIPT,
        include_str!("../../../web/words-ja.js"),
    ),
    ("/words.js", SCRIPT, include_str!("../../../web/words.js")),
];

/// What the page explains itself by.
const ABOUT: &str = include_str!("../../../web/about.html");

/// The pages that this site has beside the viewer: none.
const SITE: &str = "export const usual = 'fastcgi';\nexport const pages = [];\n";

/// The most files of a folder that are listed.
const FILES_MAX: usize = 1000;

/// One stream, or a folder of them.
#[derive(Clone, Debug)]
pub(super) enum Listed {
    /// At this path, decoded, under this name.
    Stream { path: Vec<u8>, name: String },
    /// The files of this folder, below this path.
    Folder { path: Vec<u8>, folder: PathBuf },
}

/// The viewer, with a link to each stream.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub(super) listed: Vec<Listed>,
}

impl Pages for Page {
    fn respond(&self, method: &[u8], path: &[u8]) -> Option<(Head, Vec<u8>)> {
        let file = FILES.iter().find(|(own, ..)| own.as_bytes() == path);
        let (media_type, body) = match (path, file) {
            (_, Some((_, media_type, content))) => (*media_type, (*content).to_owned()),
            (b"/", _) => (HTML, self.html(PAGE)),
            (b"/about.html", _) => (HTML, self.html(ABOUT)),
            (b"/config.js", _) => (SCRIPT, self.config()),
            (b"/site.js", _) => (SCRIPT, SITE.to_owned()),
            _ => return None,
        };
        if method != b"GET" && method != b"HEAD" {
            let head = Head::new(Status::MethodNotAllowed).with("Allow", "GET, HEAD");
            return Some((head, Vec::new()));
        }
        let head = Head::new(Status::Ok)
            .with("Content-Type", media_type)
            // The next version of the program has another page at the same address.
            .with("Cache-Control", "no-cache")
            .with("X-Content-Type-Options", "nosniff");
        Some((head, body.into_bytes()))
    }
}

impl Page {
    /// The streams by path and name.
    fn streams(&self) -> Vec<(Vec<u8>, String)> {
        let mut streams = Vec::new();
        for listed in &self.listed {
            match listed {
                Listed::Stream { path, name } => streams.push((path.clone(), name.clone())),
                Listed::Folder { path, folder } => {
                    let mut names: Vec<_> = fs::read_dir(folder)
                        .into_iter()
                        .flatten()
                        .filter_map(Result::ok)
                        .filter(|entry| entry.path().is_file())
                        .map(|entry| entry.file_name())
                        .filter(|name| !name.as_bytes().starts_with(b"."))
                        .take(FILES_MAX)
                        .collect();
                    names.sort();
                    for name in names {
                        let path = [&path[..], b"/", name.as_bytes()].concat();
                        streams.push((path, name.to_string_lossy().into_owned()));
                    }
                }
            }
        }
        streams
    }

    /// A page with a menu of the streams.
    fn html(&self, page: &str) -> String {
        let mut links = String::new();
        for (path, name) in self.streams() {
            let path = encoded(encoded(&path).as_bytes());
            links.push_str(&format!(
                "<a href=\"/?stream={path}\">{}</a>\n      ",
                escaped(&name)
            ));
        }
        let html = page.replace("action=\"log.html\"", "action=\"/\"");
        match (html.find("<nav"), html.find("</nav>")) {
            (Some(start), Some(end)) => format!(
                "{}<nav class=\"top\" aria-label=\"Streams\">\n      {links}{}",
                &html[..start],
                &html[end..]
            ),
            _ => html,
        }
    }

    /// What the page opens unless its address says otherwise.
    fn config(&self) -> String {
        let streams = self.streams();
        let first = streams.first().map(|(path, _)| encoded(path));
        // What is percent-encoded needs no escape in a string.
        let first = first.unwrap_or_else(|| "/events".into());
        format!("export const streams = {{ tail: '{first}' }};\n")
    }
}

/// Percent-encoded: all but the unreserved characters and the slash.
pub(super) fn encoded(path: &[u8]) -> String {
    let mut text = String::new();
    for byte in path {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => text.push(char::from(*byte)),
            byte => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            control if control.is_control() => escaped.push('\u{FFFD}'),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(name: &str) -> Page {
        Page {
            listed: vec![Listed::Stream {
                path: format!("/events/{name}").into_bytes(),
                name: name.into(),
            }],
        }
    }

    fn body(page: &Page, path: &str) -> String {
        let (head, body) = page.respond(b"GET", path.as_bytes()).expect(path);
        assert_eq!(head.status, Status::Ok);
        String::from_utf8(body).expect("text")
    }

    #[test]
    fn everything_that_the_page_loads_is_in_the_program() {
        let page = page("app.log");
        let mut paths = vec!["/".to_owned()];
        let mut seen = Vec::new();
        while let Some(path) = paths.pop() {
            let text = body(&page, &path);
            for mark in ["from './", "import './", "src=\"", "href=\"", "import('./"] {
                for piece in text.split(mark).skip(1) {
                    let name = piece.split(['\'', '"']).next().unwrap_or_default();
                    let is_file =
                        name.ends_with(".js") || name.ends_with(".css") || name.ends_with(".svg");
                    let path = format!("/{}", name.trim_start_matches('/'));
                    if is_file && !seen.contains(&path) {
                        seen.push(path.clone());
                        paths.push(path);
                    }
                }
            }
        }
        assert!(seen.len() >= FILES.len(), "{seen:?}");
        assert!(seen.iter().any(|path| path == "/sse.js"));
        // No link to a page that is not here.
        assert!(!body(&page, "/").contains(".html\""));
    }

    #[test]
    fn names_of_files_are_text_and_not_markup() {
        let page = page("<b>&\"'%41 ?#.log");
        let html = body(&page, "/");
        let link = "<a href=\"/?stream=/events/%253Cb%253E%2526%2522%2527%252541%2520%253F%2523\
                    .log\">&lt;b&gt;&amp;&quot;&#39;%41 ?#.log</a>";
        assert!(html.contains(link), "{html}");
        let config = body(&page, "/config.js");
        assert_eq!(
            config,
            "export const streams = { tail: '/events/%3Cb%3E%26%22%27%2541%20%3F%23.log' };\n"
        );
    }

    #[test]
    fn nothing_else_is_served() {
        let page = page("a");
        for path in [
            "/log.html",
            "/index.html",
            "//",
            "/../etc/passwd",
            "/style.css/",
            "",
        ] {
            assert!(page.respond(b"GET", path.as_bytes()).is_none(), "{path}");
        }
        let (head, _) = page.respond(b"POST", b"/").expect("a response");
        assert_eq!(head.status, Status::MethodNotAllowed);
    }
}

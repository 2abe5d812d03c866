//! The links of the first page of a shipped site, and the streams that those pages read.

use std::fs;
use std::path::Path;

use super::answer::Answer;
use crate::support::folder::Folder;

/// Copies the project's pages and examples into `pages` and `data` of a site's folder.
#[track_caller]
pub fn install_pages(folder: &Folder) {
    for (from, to) in [
        ("web", folder.make("pages")),
        ("examples", folder.join("data")),
    ] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(from);
        for entry in fs::read_dir(from).expect("the project has this folder") {
            let entry = entry.expect("it can be read");
            // The folders in examples/ are projects of their own.
            if entry.path().is_dir() {
                continue;
            }
            fs::copy(entry.path(), to.join(entry.file_name()))
                .expect("the new folder can be written");
        }
    }
}

/// Opens every link of the first page, as served, and the stream of each page.
#[track_caller]
pub fn check_links(get: impl Fn(&str) -> Answer) {
    let index = text(&get, "/");
    for link in values(&index, "href=\"") {
        text(&get, &format!("/{link}"));
    }
    for script in values(&index, "src=\"") {
        text(&get, &format!("/{script}"));
    }
    // The links that page.js adds.
    let site = text(&get, "/site.js");
    let quoted = |after: &str| -> Vec<String> {
        let (_, rest) = site.split_once(after).expect("site.js says it");
        let line = rest.split(';').next().unwrap_or_default();
        line.split('\'')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    };
    let usual = quoted("export const usual =");
    let mut streams: Vec<&str> = vec!["clock", "countdown", "flights", "timers", "tail"];
    for page in quoted("export const pages =") {
        text(&get, &format!("/{page}.html"));
        match page.as_str() {
            "chat" => streams.push("room"),
            "answer" => streams.push("answer"),
            "status" => assert!(text(&get, "/events/status").contains("\"subscribers\"")),
            _ => panic!("a page of an unknown stream: {page}"),
        }
    }
    for stream in streams {
        let targets = match usual[0].as_str() {
            "cgi" => vec![
                format!("/cgi-bin/nph-{stream}.cgi"),
                format!("/cgi-bin/{stream}.cgi"),
            ],
            _ => vec![format!("/events/{stream}")],
        };
        for target in targets {
            let answer = get(&target);
            assert_eq!(answer.head.status, 200, "{target}");
            let kind = answer.head.field("Content-Type").unwrap_or_default();
            assert!(kind.starts_with("text/event-stream"), "{target}: {kind}");
        }
    }
}

fn text(get: &impl Fn(&str) -> Answer, target: &str) -> String {
    let answer = get(target);
    assert_eq!(answer.head.status, 200, "{target}");
    answer.text()
}

fn values<'a>(html: &'a str, before: &str) -> Vec<&'a str> {
    let parts = html.split(before).skip(1);
    let values = parts.filter_map(|part| part.split('"').next());
    values
        .filter(|value| !value.starts_with(['#', '?']))
        .collect()
}

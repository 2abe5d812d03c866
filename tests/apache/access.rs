//! Signed links under Apache, whose CGI programs check them.

use crate::servers::apache::{Apache, Mpm};
use crate::support::folder::append;
use crate::support::signed::{
    KEY, OTHER_KEY, WAYS_OUT, in_seconds, link, publish_link, write_keys,
};
use crate::support::wait::PATIENCE;

under_both!(
    only_a_signed_link_opens_a_program_s_stream,
    a_key_that_is_removed_ends_no_stream_and_admits_nobody,
);

const BOTH: [&str; 2] = ["nph-tail.cgi", "tail.cgi"];

fn only_a_signed_link_opens_a_program_s_stream(mpm: Mpm) {
    let apache = Apache::with(mpm)
        .set("SSE_KEYS", "/nonexistent")
        .directive("<Location /cgi-bin>\nCGIPassAuth On\n</Location>")
        .start();
    let answer = apache.get("tail.cgi").field("Connection", "close").send();
    assert_eq!(answer.head.status, 500, "{}", answer.head.raw);
    drop(apache);

    let keys = crate::support::folder::Folder::new();
    let file = keys.path("keys");
    write_keys(&file, &[KEY, OTHER_KEY]);
    let apache = Apache::with(mpm)
        .set("SSE_KEYS", file.to_str().unwrap())
        .set("SSE_COOKIE", "sse")
        .directive("<Location /cgi-bin>\nCGIPassAuth On\n</Location>")
        .start();
    append(&apache.tail_file(), "a line\n");
    let soon = in_seconds(3600);
    for program in BOTH {
        let query = link(OTHER_KEY, soon, &apache.target(program));
        let get = |target: &str| apache.get(target).field("Connection", "close");
        let opened = [
            get(&format!("{program}?{query}")),
            get(program).field("Cookie", &format!("sse={query}")),
            get(program).field("Authorization", &format!("Bearer {query}")),
        ];
        for request in opened {
            let mut stream = request.send();
            assert_eq!(stream.head.status, 200, "{}", stream.head.raw);
            assert_eq!(stream.event().data, "a line");
        }
        let other = BOTH[usize::from(program == BOTH[0])];
        for target in [
            program.to_owned(),
            format!("{other}?{query}"),
            format!(
                "{program}?{}",
                publish_link(KEY, soon, &apache.target(program))
            ),
            format!(
                "{program}?{}",
                link(KEY, in_seconds(-1), &apache.target(program))
            ),
            format!("{program}/../{program}?{query}"),
            format!("{program}/../{other}?{query}"),
            format!("{program}/%2e%2e/{other}?{query}"),
            format!("{program}//x?{query}"),
        ] {
            let answer = get(&target).send();
            assert_eq!(answer.head.status, 403, "{target}: {}", answer.head.raw);
        }
        let place = apache.target(program);
        let below = link(KEY, soon, &format!("{place}/a.log"));
        for way in WAYS_OUT {
            let target = format!("{}?{below}", way.replacen("/logs", &place, 1));
            let request = apache.get_path(&target).field("Connection", "close");
            let status = request.send().head.status;
            assert!(matches!(status, 400 | 403 | 404), "{target}: {status}");
        }
    }
}

fn a_key_that_is_removed_ends_no_stream_and_admits_nobody(mpm: Mpm) {
    let keys = crate::support::folder::Folder::new();
    let file = keys.path("keys");
    write_keys(&file, &[KEY]);
    let apache = Apache::with(mpm)
        .set("SSE_KEYS", file.to_str().unwrap())
        .start();
    append(&apache.tail_file(), "a line\n");
    let query = link(KEY, in_seconds(6), &apache.target(""));
    let mut stream = apache.get(&format!("nph-tail.cgi?{query}")).send();
    assert_eq!(stream.event().data, "a line");
    write_keys(&file, &[OTHER_KEY]);
    let refused = apache.get(&format!("nph-tail.cgi?{query}")).send();
    assert_eq!(refused.head.status, 403, "{}", refused.head.raw);
    append(&apache.tail_file(), "another\n");
    assert_eq!(stream.event().data, "another");
    let rest = stream.events_to_end(PATIENCE);
    let names: Vec<&str> = rest.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["expired"]);
}

#[test]
fn the_documents_keep_links_out_of_the_log_of_apache() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/signed-links.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once("```apache\n").unwrap();
    let snippet = rest.split_once("```").unwrap().0;
    let folder = crate::support::folder::Folder::new();
    let (keys, log) = (folder.path("keys"), folder.path("access.log"));
    write_keys(&keys, &[KEY]);
    // For all sites: that of the tests has a log of its own.
    let snippet = snippet
        .replace("CustomLog", "GlobalLog")
        .replace("${APACHE_LOG_DIR}/access.log", log.to_str().unwrap());
    let apache = Apache::with(Mpm::EventWithCgid)
        .set("SSE_KEYS", keys.to_str().unwrap())
        .directive(&snippet)
        .start();
    append(&apache.tail_file(), "a line\n");
    let query = link(KEY, in_seconds(600), "/cgi-bin");
    let mut stream = apache.get(&format!("tail.cgi?{query}")).send();
    assert_eq!(stream.event().data, "a line");
    drop(stream);
    // The program notices that its client has left when it writes.
    append(&apache.tail_file(), "another\n");
    let read = || std::fs::read_to_string(&log).unwrap_or_default();
    crate::support::wait::wait_until("its line in the log", PATIENCE, || {
        append(&apache.tail_file(), "more\n");
        read().contains("/cgi-bin/tail.cgi")
    });
    assert!(!read().contains(&query[query.len() - 64..]), "{}", read());
}

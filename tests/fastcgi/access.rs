//! Signed links: what opens a stream behind every web server, and what does not.

use std::time::Duration;

use crate::servers::answer::Answer;
use crate::servers::gateway::{Gateway, Site};
use crate::support::folder::append;
use crate::support::signed::{
    KEY, OTHER_KEY, WAYS_OUT, in_seconds, link, publish_link, write_keys,
};
use crate::support::wait::PATIENCE;

behind_all!(
    only_a_signed_link_opens_a_stream_and_what_is_below_its_path,
    a_stream_ends_when_its_link_does_and_its_client_was_told,
    publishing_needs_a_link_of_its_own,
);

fn site(gateway: Gateway) -> Site {
    let site = Site::with(gateway)
        .set("SSE_KEYS", "{root}/data/keys")
        .set("SSE_COOKIE", "sse")
        .set("SSE_PUBLISH_ALLOW", "")
        .set("SSE_ALLOW_ORIGIN", "https://app.example")
        .start();
    write_keys(&site.path("data/keys"), &[KEY]);
    site
}

/// The response without what differs from request to request.
fn refusal(answer: Answer) -> String {
    assert_eq!(answer.head.status, 403, "{}", answer.head.raw);
    let lines = answer.head.raw.lines();
    let head: Vec<String> = (lines.filter(|line| !line.to_lowercase().starts_with("date:")))
        .map(str::to_owned)
        .collect();
    head.join("\n") + &answer.text()
}

fn only_a_signed_link_opens_a_stream_and_what_is_below_its_path(gateway: Gateway) {
    let site = site(gateway);
    append(&site.tail_file(), "{\"data\":\"from before\"}\n");
    let soon = in_seconds(3600);
    let get = |target: &str| site.get(target).field("Connection", "close");
    let tail = link(KEY, soon, "/events/tail");
    let mut stream = get(&format!("/events/tail?{tail}")).send();
    assert_eq!(stream.event().data, "from before");
    drop(stream);
    let by_cookie = get("/events/tail").field("Cookie", &format!("a=b; sse={tail}"));
    assert_eq!(by_cookie.send().event().data, "from before");
    // (Debian's fastcgi_params and every other server pass it on; Apache does not by itself.)
    if !matches!(gateway, Gateway::ApacheProxy | Gateway::ApacheFcgid) {
        let by_token = get("/events/tail").field("Authorization", &format!("Bearer {tail}"));
        assert_eq!(by_token.send().event().data, "from before");
    }

    let origin = |request: crate::servers::request::Request| {
        request.field("Origin", "https://app.example").send()
    };
    let refused = refusal(origin(get("/events/tail")));
    assert!(refused.contains("https://app.example"), "{refused}");
    let old = link(KEY, in_seconds(-5), "/events/tail");
    let wrong = link(OTHER_KEY, soon, "/events/tail");
    let publishes = publish_link(KEY, soon, "/events/tail");
    for target in [
        format!("/events/tail?{old}"),
        format!("/events/tail?{wrong}"),
        format!("/events/tail?{publishes}"),
        format!("/events/tail?{tail}0"),
        format!("/events/tail?{tail}&e={soon}"),
        format!("/events/clock?{tail}"),
    ] {
        assert_eq!(refusal(origin(get(&target))), refused, "{target}");
    }

    let logs = site.path("data/logs");
    append(&logs.join("a"), "no name of this log\n");
    for name in ["a.log", "ab.log", "b.log"] {
        append(&logs.join(name), &format!("{name}\n"));
    }
    std::fs::create_dir(logs.join("a.log.d")).unwrap();
    let below = link(KEY, soon, "/logs/a.log");
    assert_eq!(
        get(&format!("/logs/a.log?{below}")).send().event().data,
        "a.log"
    );
    let encoded = get(&format!("/logs/%61.log?{below}")).send();
    // What a server makes of the encoding is the same file or none.
    if encoded.head.status == 200 {
        let mut encoded = encoded;
        assert_eq!(encoded.event().data, "a.log");
    }
    for target in WAYS_OUT {
        let answer = get(&format!("{target}?{below}")).send();
        let (status, head) = (answer.head.status, answer.head.raw);
        // (HAProxy sends what is in no location of its own to the pages.)
        let is_page = gateway == Gateway::Haproxy && !head.contains("event-stream");
        assert!(
            matches!(status, 400 | 403 | 404) || is_page,
            "{target}: {head}"
        );
    }
    // A field that names another path changes nothing.
    for field in ["X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Uri"] {
        let request = get(&format!("/logs/b.log?{below}")).field(field, "/logs/a.log");
        assert_eq!(request.send().head.status, 403, "{field}");
    }
    // Whether a file exists is not told.
    let folder = link(KEY, soon, "/logs/b.log");
    let known = refusal(get(&format!("/logs/a.log?{folder}")).send());
    assert_eq!(
        refusal(get(&format!("/logs/missing.log?{folder}")).send()),
        known
    );

    let logs = site.logs();
    for secret in [KEY, &tail[tail.len() - 64..], &old[old.len() - 64..]] {
        // (The server's own access log is in the documents.)
        let of_responder: Vec<&str> = { logs.lines() }
            .filter(|line| line.contains("access: refused") && line.contains(secret))
            .collect();
        assert_eq!(of_responder, Vec::<&str>::new());
    }
}

fn a_stream_ends_when_its_link_does_and_its_client_was_told(gateway: Gateway) {
    let site = site(gateway);
    append(&site.tail_file(), "{\"data\":\"from before\"}\n");
    let ends = in_seconds(4);
    let query = link(KEY, ends, "/events");
    let mut stream = site.get(&format!("/events/tail?{query}")).send();
    assert_eq!(stream.event().data, "from before");
    let told = stream.event();
    assert_eq!(told.name, "expired");
    assert!(told.data.starts_with("{\"ends_in_ms\":"), "{}", told.data);
    assert!(in_seconds(0) <= ends, "it was told too late");
    append(&site.tail_file(), "{\"data\":\"once more\"}\n");
    let rest = stream.events_to_end(PATIENCE);
    assert!(
        rest.iter().all(|event| event.data == "once more"),
        "{rest:?}"
    );
    let late = in_seconds(0) - ends;
    assert!((0..=1).contains(&late), "{late} s late");
    let retry = Duration::from_millis(stream.parser.retry.unwrap());
    assert!(retry >= Duration::from_millis(2_250), "{retry:?}");
    let again = site.get(&format!("/events/tail?{query}"));
    let again = again.field("Last-Event-ID", &stream.parser.last_id);
    refusal(again.field("Connection", "close").send());
}

fn publishing_needs_a_link_of_its_own(gateway: Gateway) {
    let site = site(gateway);
    let soon = in_seconds(3600);
    let post = |query: &str| {
        let target = format!("/events/publish?{query}");
        let request = site.request("POST", &target).field("Connection", "close");
        request
            .field("Content-Type", "text/plain")
            .body(b"hello")
            .send()
    };
    let refused = refusal(post(""));
    let reads = link(KEY, soon, "/events/publish");
    assert_eq!(refusal(post(&reads)), refused);
    let elsewhere = publish_link(KEY, soon, "/events/tail");
    assert_eq!(refusal(post(&elsewhere)), refused);
    let answer = post(&publish_link(KEY, soon, "/events/publish"));
    assert_eq!(answer.head.status, 201, "{}", answer.head.raw);
    let mut stream = site
        .get(&format!("/events/tail?{}", link(KEY, soon, "/events")))
        .send();
    assert_eq!(stream.event().data, "hello");
}

/// The fenced block of docs/signed-links.md in this language.
fn snippet(language: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/signed-links.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once("## Keep links out of logs").unwrap();
    let (_, rest) = rest.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

/// Opens a stream by a link, and waits until the server has logged its path without the link.
#[track_caller]
fn check_log(site: &Site, read: impl Fn() -> String) {
    write_keys(&site.path("data/keys"), &[KEY]);
    append(&site.tail_file(), "{\"data\":\"from before\"}\n");
    let query = link(KEY, in_seconds(600), "/events");
    let target = format!("/events/tail?x=y&{query}");
    let mut stream = site.get(&target).send();
    assert_eq!(stream.event().data, "from before");
    drop(stream);
    crate::support::wait::wait_until("its line in the log", PATIENCE, || {
        // Caddy notices that a client has left when it writes.
        append(&site.tail_file(), "{\"data\":\"more\"}\n");
        read().contains("/events/tail")
    });
    let logged = read();
    assert!(!logged.contains(&query[query.len() - 64..]), "{logged}");
}

#[test]
fn the_documents_keep_links_out_of_the_log_of_nginx() {
    let snippet = snippet("nginx");
    let (format, log) = snippet.split_once("\naccess_log").unwrap();
    let log = log.replace("/var/log/nginx/access.log", "{root}/logs/without.log");
    let site = Site::with(Gateway::Nginx)
        .set("SSE_KEYS", "{root}/data/keys")
        .directive(format)
        .edit(
            "server_name localhost;",
            &format!("server_name localhost;\n    access_log{log}"),
        )
        .start();
    let file = site.path("logs/without.log");
    check_log(&site, || std::fs::read_to_string(&file).unwrap_or_default());
}

#[test]
fn the_documents_keep_links_out_of_the_log_of_caddy() {
    let log = snippet("caddy").replacen(
        "log {\n",
        "log {\n\toutput file {root}/logs/without.log\n",
        1,
    );
    let site = Site::with(Gateway::Caddy)
        .set("SSE_KEYS", "{root}/data/keys")
        .edit(
            "\t@compressible not",
            &format!("{log}\n\t@compressible not"),
        )
        .start();
    let file = site.path("logs/without.log");
    check_log(&site, || std::fs::read_to_string(&file).unwrap_or_default());
}

#[test]
fn the_documents_keep_links_out_of_the_log_of_haproxy() {
    let site = Site::with(Gateway::Haproxy)
        .set("SSE_KEYS", "{root}/data/keys")
        .edit(
            "frontend sse_web from sse\n",
            &format!("frontend sse_web from sse\n    {}", snippet("haproxy")),
        )
        .start();
    check_log(&site, || site.logs());
}

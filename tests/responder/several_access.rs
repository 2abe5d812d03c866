//! Several streams in one connection, each with its own access: what signed links open.

use std::collections::BTreeSet;

use super::configured::{configure, get, status};
use super::peer::{Client, Folder, Protocol as _, Request, Responder, Spoken, shown};
use crate::support::signed::{KEY, OTHER_KEY, in_seconds, link, write_keys};

/// `own` has keys of its own.
const CONFIGURATION: &str = "\
SSE_HEARTBEAT = 25s
[/dashboard]
SSE_STREAMS = log builds own
SSE_KEYS = {folder}/keys
[/log]
SSE_STREAMS = log builds
SSE_KEYS = {folder}/keys
[stream log]
SSE_FILE = app.log
[stream builds]
SSE_FILE = builds.log
[stream own]
SSE_FILE = own.log
SSE_KEYS = {folder}/own-keys
";

fn dashboard(folder: &Folder) -> Responder {
    folder.write("app.log", "a\n");
    folder.write("builds.log", "b\n");
    folder.write("own.log", "o\n");
    write_keys(&folder.path("keys"), &[KEY]);
    write_keys(&folder.path("own-keys"), &[OTHER_KEY]);
    configure(folder, CONFIGURATION).start()
}

fn of(key: &str, prefix: &str) -> String {
    link(key, in_seconds(600), prefix)
}

fn asked(query: &str, link: &str) -> Request {
    get("/dashboard").query(&format!("{query}&{link}"))
}

fn unavailable(name: &str) -> String {
    let reason = "no such stream, or no access";
    format!("{name}/unavailable: {{\"stream\":\"{name}\",\"reason\":\"{reason}\"}}")
}

/// The first events, in any order between the streams.
#[track_caller]
fn gets(mut client: Client, expected: &[&str]) {
    let found: BTreeSet<String> = expected.iter().map(|_| shown(&client.event())).collect();
    let expected: BTreeSet<String> = expected.iter().map(|text| (*text).to_owned()).collect();
    assert_eq!(found, expected);
}

/// Nothing that a client sent is in the log.
#[track_caller]
fn logs_no_link(responder: &Responder) {
    let said = responder.stderr();
    for secret in [KEY, OTHER_KEY, "&t=", "e=1", "p=%2F", "s=log"] {
        assert!(!said.contains(secret), "{secret}: {said}");
    }
}

#[test]
fn a_link_for_the_location_opens_all_and_one_below_it_opens_this_stream() {
    let folder = Folder::in_memory();
    let responder = dashboard(&folder);
    let (all, log) = (of(KEY, "/dashboard"), of(KEY, "/dashboard/log"));
    let builds = unavailable("builds");
    let (own, nope) = (unavailable("own"), unavailable("nope"));
    let opens = |request: &Request, expected: &[&str]| gets(responder.ask(request), expected);
    // All of the location's keys; `own` wants a link of another.
    opens(
        &asked("", &all),
        &["log/message: a", "builds/message: b", &own],
    );
    opens(&asked("s=log", &log), &["log/message: a"]);
    // What it may not read is answered like what does not exist.
    let refused: &[&str] = &["log/message: a", &builds, &nope];
    opens(&asked("s=log&s=builds&s=nope", &log), refused);
    opens(&asked("s=log&s=nope", &all), &["log/message: a", &nope]);
    opens(&asked("", &log), &["log/message: a", &builds, &own]);
    // Decoded, it is the same name.
    opens(&asked("s=%6Cog", &log), &["log/message: a"]);
    opens(&asked("s=%6C%6F%67&s=log", &log), &["log/message: a"]);
    // A section's own keys: those of the location do not open it.
    for prefix in ["/dashboard", "/dashboard/own"] {
        opens(&asked("s=own", &of(OTHER_KEY, prefix)), &["own/message: o"]);
        assert_eq!(status(&responder, &asked("s=own", &of(KEY, prefix))).0, 403);
    }
    logs_no_link(&responder);
}

#[test]
fn what_a_link_does_not_open_is_refused_whatever_the_encoding() {
    let folder = Folder::in_memory();
    let responder = dashboard(&folder);
    let log = of(KEY, "/dashboard/log");
    let long = format!("s={}", "x".repeat(65));
    let many: String = (0..33).map(|number| format!("s=n{number}&")).collect();
    for (query, expected) in [
        ("s=builds", 403),
        ("s=nope", 403),
        ("s=LOG", 403),
        ("s=lo", 403),
        ("s=logs", 403),
        ("s=log.", 403),
        ("s=%6Cog%2e", 403),
        ("s=log%256", 400),
        ("s=%256Cog", 400),
        ("s=log/", 400),
        ("s=log%2F", 400),
        ("s=log%2Fx", 400),
        ("s=log/../builds", 400),
        ("s=../builds", 400),
        ("s=..", 400),
        ("s=.", 400),
        ("s=%2e%2e", 400),
        ("s=%2e%2e%2fbuilds", 400),
        ("s=log%00", 400),
        ("s=log%0d%0a", 400),
        ("s=log+", 400),
        ("s=%ff", 400),
        ("s=log%5c..%5cbuilds", 400),
        ("s=log;", 400),
        ("s=", 400),
        (&long, 400),
        (&many, 400),
    ] {
        assert_eq!(
            status(&responder, &asked(query, &log)).0,
            expected,
            "{query}"
        );
    }
    for (link, reason) in [
        (String::new(), "none"),
        (of(KEY, "/dash"), "a part of a name"),
        (of(KEY, "/dashboard/lo"), "a part of a stream's name"),
        (of(KEY, "/dashboard/log/x"), "below it"),
        (of(KEY, "/dashboard/../dashboard/log"), "a path with dots"),
        (of(OTHER_KEY, "/dashboard"), "another key"),
        (
            crate::support::signed::link(KEY, in_seconds(-1), "/"),
            "expired",
        ),
        (
            crate::support::signed::publish_link(KEY, in_seconds(60), "/"),
            "publishing",
        ),
        (log.replace("&t=", "&t=0"), "a wrong signature"),
    ] {
        let found = status(&responder, &asked("s=log", &link)).0;
        assert_eq!(found, 403, "{reason}");
    }
    logs_no_link(&responder);
}

/// A path below the location belongs to no stream: a link for `/dashboard/log` covers
/// `/dashboard/log/builds`, which must not be how to ask for `builds`.
#[test]
fn a_path_below_the_location_opens_nothing_else() {
    let folder = Folder::in_memory();
    let responder = dashboard(&folder);
    let log = of(KEY, "/dashboard/log");
    let split = get("/dashboard")
        .set("PATH_INFO", "/log")
        .set("REQUEST_URI", "/dashboard/log");
    for below in [get("/dashboard/log"), get("/dashboard/log/"), split] {
        for query in ["s=builds", "s=log", ""] {
            let query = format!("{query}&{log}");
            let found = status(&responder, &below.clone().query(&query)).0;
            assert!([403, 404].contains(&found), "{query}: {found}");
        }
    }
    // A location may have the name of a stream.
    let whole = of(KEY, "/log");
    let request = get("/log").query(&format!("s=builds&{whole}"));
    gets(responder.ask(&request), &["builds/message: b"]);
    if !Spoken::HAS_NO_WEB_SERVER {
        // The web server says what its location serves, and not where that is.
        let unlisted = |path: &str, query: String| {
            let request = get(path).set("SSE_STREAMS", "log builds").query(&query);
            request.set("SSE_KEYS", folder.path("keys").display().to_string())
        };
        let log = of(KEY, "/live/log");
        let request = unlisted("/live", format!("s=log&{log}"));
        gets(responder.ask(&request), &["log/message: a"]);
        for path in ["/live/log", "/live/log/x"] {
            let request = unlisted(path, format!("s=builds&{log}"));
            assert_eq!(status(&responder, &request).0, 403, "{path}");
        }
    }
    logs_no_link(&responder);
}

//! A session's stream: the messages to it, for its client only, in any process.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use nix::sys::signal::Signal;

use crate::spool::{Place, session_of};
use crate::stage::Running;
use crate::support::event_stream::Item;

#[test]
fn what_is_posted_to_a_session_comes_down_with_the_id_that_was_answered() {
    let place = Place::new();
    let (mut stream, id) = place.session();
    let post = |text| place.post("session", text).set("HTTP_X_SESSION_ID", &id);
    let answered = post("hello\nyou").created();
    let event = stream.event();
    assert_eq!(
        (&event.id, &event.data[..]),
        (&answered, "hello\nyou"),
        "{event:?}"
    );
    let json = r#"{"event":"piece","data":{"n":1}}"#;
    let answered = post("").body("application/json", json).created();
    let event = stream.event();
    assert_eq!(
        (&event.id, &event.name[..], &event.data[..]),
        (&answered, "piece", "{\"n\":1}")
    );
}

#[test]
fn a_client_that_returns_has_its_session_again_in_another_process() {
    let place = Place::new();
    let (mut stream, id) = place.session();
    let post = |text: &str| {
        let post = place.post("session", text);
        post.set("HTTP_X_SESSION_ID", &id).created()
    };
    post("one");
    stream.says(&["one"]);
    let last = stream.last_id().to_owned();
    // However it ended.
    stream.signal(Signal::SIGKILL);
    drop(stream);
    post("two");
    post("three");
    let mut again = place.get("session").last_id(&last).start();
    again.says(&["two", "three"]);
    post("four");
    again.says(&["four"]);
    // And from its beginning: the position before the welcome is valid as well.
    let mut first = place
        .get("session")
        .last_id(&format!("{id}.{}", start_of_a_file()));
    first = first.set("SSE_RETRY", "1s");
    let mut first = first.start();
    assert_eq!(session_of(&first.event()), id);
    first.says(&["one", "two", "three", "four"]);
    assert_eq!(place.sessions().len(), 1);
}

/// The position of a stream that has sent nothing yet.
fn start_of_a_file() -> String {
    let place = Place::new();
    let mut stream = crate::stage::Program::tail(&place.history()).start();
    loop {
        if let Some(Item::Blank { id, .. }) = stream.next() {
            return id;
        }
    }
}

#[test]
fn two_streams_of_one_session_both_get_what_is_posted() {
    let place = Place::new();
    let (mut stream, id) = place.session();
    let mut other = place
        .get("session")
        .last_id(stream.last_id())
        .start()
        .opened();
    let post = place.post("session", "x").set("HTTP_X_SESSION_ID", &id);
    post.created();
    stream.says(&["x"]);
    other.says(&["x"]);
}

#[test]
fn an_id_that_means_nothing_gets_a_gap_and_then_a_new_session() {
    let place = Place::new();
    let unknown = "0123456789abcdef0123456789abcdef.74-42774481cc30a452";
    for (last_id, reason) in [
        (unknown, "unknown-id"),
        ("74-42774481cc30a452", "bad-id"),
        ("../../../../etc/passwd.74-42774481cc30a452", "bad-id"),
        (
            "0123456789ABCDEF0123456789ABCDEF.74-42774481cc30a452",
            "bad-id",
        ),
        ("0123456789abcdef0123456789abcdef.x", "bad-id"),
        ("0123456789abcdef0123456789abcdef", "bad-id"),
    ] {
        let mut stream = place.get("session").last_id(last_id).start();
        let gap = stream.event();
        assert_eq!(
            gap.data,
            format!("{{\"reason\":\"{reason}\"}}"),
            "{last_id}"
        );
        let id = session_of(&stream.event());
        assert!(!last_id.starts_with(&id) && gap.id.starts_with(&id));
    }
}

#[test]
fn only_the_session_that_is_named_gets_what_is_posted() {
    let place = Place::new();
    let mut streams: Vec<(Running, String)> = (0..5).map(|_| place.session()).collect();
    for (number, (_, id)) in streams.iter().enumerate() {
        let post = place.post("session", &format!("for {number}"));
        post.set("HTTP_X_SESSION_ID", id).created();
    }
    for (number, (stream, id)) in streams.iter_mut().enumerate() {
        stream.says(&[&format!("for {number}")]);
        let post = place.post("session", "last");
        post.set("HTTP_X_SESSION_ID", id).created();
        // Nothing arrived in between.
        stream.says(&["last"]);
    }
}

#[test]
fn a_post_that_names_no_session_of_ours_is_404_in_json_and_makes_nothing() {
    let place = Place::new();
    let (_stream, id) = place.session();
    let before = place.sessions();
    let post = place.post("session", "x");
    post.send().is_error("404 Not Found");
    let upper = id.to_uppercase();
    let twice = format!("{id}, {id}");
    let dots = format!("../{}/{id}", &id[..2]);
    for bad in [
        "",
        "x",
        &id[1..],
        &upper,
        &twice,
        &dots,
        "0123456789abcdef0123456789abcdef",
        ".",
        "../../../../../../../etc/passwd",
    ] {
        let answer = post.clone().set("HTTP_X_SESSION_ID", bad).send();
        answer.is_error("404 Not Found");
        assert_eq!(answer.body, "{\"error\":\"no such session\"}\n", "{bad}");
    }
    assert_eq!(place.sessions(), before);
}

#[test]
fn who_may_not_publish_does_not_learn_which_sessions_there_are() {
    let place = Place::new();
    let (_stream, id) = place.session();
    let post = place.post("session", "x").unset("SSE_PUBLISH_ALLOW");
    let known = post.clone().set("HTTP_X_SESSION_ID", &id).send();
    known.is_error("403 Forbidden");
    let unknown = post.set("HTTP_X_SESSION_ID", "0".repeat(32)).send();
    assert_eq!(known.text, unknown.text);
}

#[test]
fn the_limits_of_publishing_hold_for_sessions() {
    let place = Place::new();
    let (_stream, id) = place.session();
    let post = |text: &str| place.post("session", text).set("HTTP_X_SESSION_ID", &id);
    let limited = post("hello").set("SSE_PUBLISH_MAX", "4");
    limited.send().is_error("413 Content Too Large");
    post("x")
        .body("text/html", "x")
        .send()
        .is_error("415 Unsupported Media Type");
    // A client's POSTs are counted over all of its sessions.
    let (_other, other) = place.session();
    let rated = |id: &str| {
        let post = place.post("session", "x").set("HTTP_X_SESSION_ID", id);
        post.set("SSE_PUBLISH_RATE", "1/h").send()
    };
    rated(&id).id();
    rated(&other).is_error("429 Too Many Requests");
}

#[test]
fn ids_are_random_and_nobody_else_may_look_into_the_spool() {
    let place = Place::new();
    let ids: BTreeSet<String> = (0..20).map(|_| place.session().1).collect();
    assert_eq!(ids.len(), 20);
    // In 20 ids of 32 digits each digit comes about 40 times.
    for digit in "0123456789abcdef".chars() {
        let count = ids
            .iter()
            .map(|id| id.matches(digit).count())
            .sum::<usize>();
        assert!((10..100).contains(&count), "{digit}: {count}");
    }
    let mut folders = vec![place.spool()];
    for session in place.sessions() {
        folders.push(session.parent().unwrap().to_owned());
        let file = session.join("events.jsonl").metadata().unwrap();
        assert_eq!(file.mode() & 0o777, 0o600);
        folders.push(session);
    }
    for folder in folders {
        assert_eq!(
            folder.metadata().unwrap().mode() & 0o777,
            0o700,
            "{folder:?}"
        );
    }
}

#[test]
fn a_spool_that_others_may_write_in_is_refused_and_the_log_says_so() {
    let place = Place::new();
    fs::create_dir(place.spool()).unwrap();
    for mode in [0o777, 0o770, 0o1777] {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(place.spool(), permissions).unwrap();
        let mut stream = place.get("session").start();
        assert!(stream.head().starts_with("Status: 500"), "{mode:o}");
        assert_eq!(stream.code(), 100);
        let log = stream.stderr();
        assert!(log.contains("others may write in it"), "{log}");
    }
    fs::set_permissions(place.spool(), fs::Permissions::from_mode(0o755)).unwrap();
    place.session();
    let unset = place.get("session").set("SSE_SPOOL", "").run();
    assert!(unset.1.starts_with("Status: 500"), "{}", unset.1);
}

#[test]
fn a_link_in_the_place_of_a_session_leads_nowhere() {
    let place = Place::new();
    let (stream, id) = place.session();
    let last = stream.last_id().to_owned();
    drop(stream);
    let session = place.sessions().remove(0);
    let elsewhere = place.folder.path("elsewhere");
    fs::rename(&session, &elsewhere).unwrap();
    symlink(&elsewhere, &session).unwrap();
    let post = place.post("session", "x").set("HTTP_X_SESSION_ID", &id);
    assert_ne!(post.send().status, "201 Created");
    let mut stream = place.get("session").last_id(&last).start();
    assert!(!stream.head().is_empty());
    let events = stream.next();
    assert!(!matches!(events, Some(Item::Event(event)) if event.id.starts_with(&id)));
    let file = fs::read_to_string(elsewhere.join("events.jsonl")).unwrap();
    assert_eq!(file.lines().count(), 1);
}

#[test]
fn only_the_head_is_asked_for_or_a_preflight_and_no_session_is_made() {
    let place = Place::new();
    let head = place.get("session").set("REQUEST_METHOD", "HEAD").run();
    assert!(head.1.starts_with("Status: 200 OK"), "{}", head.1);
    let asks = |method: &str| {
        let get = place.get("session").set("REQUEST_METHOD", method);
        let get = get.set("HTTP_ORIGIN", "https://a.example");
        get.set("SSE_ALLOW_ORIGIN", "https://a.example").run().1
    };
    let preflight = asks("OPTIONS");
    for expected in [
        "Status: 204",
        "Allow: GET, HEAD, POST, OPTIONS\r\n",
        "Access-Control-Allow-Methods: GET, HEAD, POST, OPTIONS\r\n",
        ", X-Session-ID\r\n",
    ] {
        assert!(preflight.contains(expected), "{preflight}");
    }
    let other = asks("DELETE");
    assert!(other.starts_with("Status: 405"), "{other}");
    assert!(other.contains("Allow: GET, HEAD, POST, OPTIONS"), "{other}");
    assert!(place.sessions().is_empty());
}

#[test]
fn a_session_whose_file_is_rotated_goes_on() {
    let place = Place::new();
    let (mut stream, id) = place.session();
    for number in 0..60 {
        let text = format!("{number} {}", "x".repeat(100));
        let post = place.post("session", &text).set("HTTP_X_SESSION_ID", &id);
        post.set("SSE_FILE_MAX", "1K").created();
        assert_eq!(stream.event().data, text);
    }
    assert!(fs::read_dir(&place.sessions()[0]).unwrap().count() > 2);
}

#[test]
fn a_spool_that_this_user_cannot_write_in_is_a_500_with_path_user_and_remedy() {
    let place = Place::new();
    fs::create_dir(place.spool()).unwrap();
    fs::set_permissions(place.spool(), fs::Permissions::from_mode(0o555)).unwrap();
    let folder = crate::stage::Folder::new();
    let mut stream = place.get("session").by_user(54_323, &folder).start();
    assert!(stream.head().starts_with("Status: 500"));
    assert_eq!(stream.code(), 100);
    let said = stream.stderr();
    let spool = place.spool();
    for part in [
        spool.to_str().unwrap(),
        "ermission denied",
        "(os error 13)",
        "uid ",
        "name a folder",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
}

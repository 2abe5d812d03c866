//! A room: all members get each message, in one order, and know who is a member.

use std::fs;

use crate::spool::{Place, json, said, session_of};
use crate::stage::Program;

const FORM: &str = "application/x-www-form-urlencoded";

#[test]
fn what_one_says_reaches_all_others_and_not_itself() {
    let place = Place::new();
    let (mut ann, ann_id) = place.member("Ann");
    let (mut bob, bob_id) = place.member("Bob");
    assert_eq!(ann.event().name, "join");
    assert_eq!(bob.event().name, "join");
    let id = place.say(&ann_id, "hello");
    let event = bob.event();
    assert_eq!(said(&event), ("Ann".into(), "hello".into()));
    assert_eq!(event.name, "message");
    // The same position in the same file.
    assert!(id.starts_with(&ann_id) && event.id.starts_with(&bob_id));
    assert_eq!(&id[32..], &event.id[32..]);
    place.say(&bob_id, "hi");
    assert_eq!(said(&ann.event()), ("Bob".into(), "hi".into()));
    // A process that can write the file sends to all.
    place
        .folder
        .append("room.jsonl", "{\"event\":\"notice\",\"data\":\"tea\"}\n");
    ann.says(&["notice: tea"]);
    bob.says(&["notice: tea"]);
}

#[test]
fn a_late_comer_gets_the_history_and_who_is_here() {
    let place = Place::new();
    let (_ann, ann_id) = place.member("Ann");
    for number in 0..20 {
        place.say(&ann_id, &number.to_string());
    }
    let (_bob, bob_id) = place.member("Bob");
    place.say(&bob_id, "20");
    let get = place
        .get("room")
        .query("nick=Zoe&x=1")
        .set("SSE_BACKLOG", "5");
    let mut zoe = get.start();
    let welcome = json(&zoe.event().data);
    assert_eq!(
        (&welcome["nick"], &welcome["count"]),
        (&"Zoe".into(), &3.into())
    );
    let members = welcome["members"].as_array().unwrap();
    let nicks: Vec<_> = members.iter().map(|member| &member["nick"]).collect();
    assert_eq!(nicks, ["Ann", "Bob", "Zoe"]);
    assert!(members.iter().any(|member| member["tag"] == welcome["tag"]));
    // Joins are announced as well, but are not messages.
    let mut told = Vec::new();
    while told.len() < 5 {
        let event = zoe.event();
        match &event.name[..] {
            "message" => told.push(said(&event).1),
            _ => assert_eq!(event.name, "join"),
        }
    }
    assert_eq!(told, ["16", "17", "18", "19", "20"]);
}

#[test]
fn two_thousand_visits_do_not_hide_what_was_said() {
    let place = Place::new();
    let mut history = String::new();
    for number in 0..12 {
        history += &format!("{{\"data\":\"said {number}\"}}\n");
    }
    for tag in 0..2_000 {
        for event in ["join", "leave"] {
            let tag = format!("\"tag\":\"{tag:016x}\"");
            history +=
                &format!("{{{tag},\"event\":\"{event}\",\"data\":{{{tag},\"nick\":\"guest\"}}}}\n");
        }
    }
    place.folder.append("room.jsonl", &history);
    let mut ann = place.get("room").query("nick=Ann").start();
    assert_eq!(ann.event().name, "welcome");
    for number in 2..12 {
        ann.says(&[&format!("said {number}")]);
    }
}

#[test]
fn a_reconnect_is_neither_join_nor_leave() {
    let place = Place::new();
    let (mut ann, _) = place.member("Ann");
    let (mut bob, bob_id) = place.member("Bob");
    assert_eq!(said(&ann.event()).0, "Bob");
    assert_eq!(said(&bob.event()).0, "Ann");
    let last = bob.last_id().to_owned();
    drop(bob);
    let mut bob = place.get("room").last_id(&last).start();
    place.say(&bob_id, "back");
    // It is still Bob, and does not get its own messages.
    assert_eq!(said(&ann.event()), ("Bob".into(), "back".into()));
    place.folder.append("room.jsonl", "{\"data\":\"x\"}\n");
    // No second welcome.
    bob.says(&["x"]);
    ann.says(&["x"]);
    assert_eq!(place.sessions().len(), 2);
}

#[test]
fn who_missed_something_is_told_anew_who_is_here() {
    let place = Place::new();
    place.folder.append("room.jsonl", "{\"data\":\"before\"}\n");
    let (mut stream, id) = place.member("Ann");
    stream.says(&["before"]);
    let last = stream.last_id().to_owned();
    drop(stream);
    fs::write(place.history(), "{\"data\":\"another file\"}\n").unwrap();
    let mut again = place.get("room").last_id(&last).start();
    assert_eq!(again.event().data, "{\"reason\":\"unknown-id\"}");
    assert_eq!(session_of(&again.event()), id);
    again.says(&["another file"]);
}

#[test]
fn a_nick_comes_out_as_data_whatever_it_holds() {
    let place = Place::new();
    let (mut ann, _) = place.member("Ann");
    let nasty = "%3Cscript%3Ealert(1)%3C/script%3E%0A%0Adata:+x%00%E2%80%AE%22,%22tag%22:%221%22";
    let (mut eve, eve_id) = place.member(nasty);
    let join = ann.event();
    assert_eq!(join.name, "join");
    let nick = said(&join).0;
    assert_eq!(nick, "<script>alert(1)</script> data:");
    // In the body, for this message.
    let post = place.post("room", "").set("HTTP_X_SESSION_ID", &eve_id);
    let body = serde_json::json!({"data": "x", "nick": "\u{202E}E\nv\u{0}e\u{7}"});
    post.clone()
        .body("application/json", body.to_string())
        .created();
    assert_eq!(said(&ann.event()), ("E ve".into(), "x".into()));
    post.clone().body(FORM, "data=y&nick=%20%0A").created();
    assert_eq!(said(&ann.event()), (nick, "y".into()));
    post.body(FORM, format!("data=z&nick={}", "w".repeat(99)))
        .created();
    assert_eq!(said(&ann.event()).0, "w".repeat(32));
    assert_eq!(said(&eve.event()).0, "Ann");
    let (mut guest, _) = place.member("");
    let stored = guest.event();
    assert_eq!(stored.name, "join");
    let guests: Vec<_> = (0..1).map(|_| said(&ann.event()).0).collect();
    assert!(guests[0].starts_with("guest-"), "{guests:?}");
}

#[test]
fn no_member_can_pretend_that_somebody_came_or_speak_for_another() {
    let place = Place::new();
    let (mut ann, ann_id) = place.member("Ann");
    let (mut bob, bob_id) = place.member("Bob");
    let joined = json(&ann.event().data);
    bob.event();
    let post = |id: &str, body: &str| {
        let post = place.post("room", "").set("HTTP_X_SESSION_ID", id);
        post.body("application/json", body).send()
    };
    for event in ["welcome", "join", "leave", "close", "gap", "le\\nave"] {
        let body = format!("{{\"event\":\"{event}\",\"data\":{{}}}}");
        post(&ann_id, &body).is_error("400 Bad Request");
    }
    // Another member's tag in a message hides nothing from that member, and is data.
    let tag = joined["tag"].as_str().unwrap();
    let body = format!("{{\"tag\":\"{tag}\",\"data\":{{\"tag\":\"{tag}\",\"nick\":\"Bob\"}}}}");
    post(&ann_id, &body).id();
    let event = json(&bob.event().data);
    assert_eq!(event["nick"], "Ann");
    assert_ne!(event["tag"], tag);
    assert_eq!(event["data"]["tag"], tag);
    post(&bob_id, "{\"event\":\"x\"}").id();
    assert_eq!(ann.event().name, "x");
    post(&"0".repeat(32), "{\"data\":1}").is_error("404 Not Found");
}

#[test]
fn what_others_see_of_a_member_tells_nothing_of_its_session() {
    let place = Place::new();
    let (_ann, ann_id) = place.member("Ann");
    place.say(&ann_id, "x");
    let history = fs::read_to_string(place.history()).unwrap();
    for digits in 8..=32 {
        assert!(!history.contains(&ann_id[..digits]), "{history}");
    }
    let mut bob = place.get("room").query("nick=Bob").start();
    assert!(!bob.event().data.contains(&ann_id));
}

#[test]
fn a_private_session_is_no_member_of_a_room_nor_one_of_another_room() {
    let place = Place::new();
    let (_stream, private) = place.session();
    let (_ann, member) = place.member("Ann");
    let post = place.post("room", "x");
    let post = |id: &str| post.clone().set("HTTP_X_SESSION_ID", id);
    post(&private).send().is_error("404 Not Found");
    let other = place.folder.path("other.jsonl");
    post(&member).file(&other).send().is_error("404 Not Found");
    let up = place.post("session", "x").set("HTTP_X_SESSION_ID", &member);
    up.send().is_error("404 Not Found");
    assert!(!other.exists());
}

#[test]
fn a_name_below_a_root_is_a_room_of_its_own() {
    let place = Place::new();
    let root = place.folder.path("rooms");
    fs::create_dir(&root).unwrap();
    let get = |name: &str| -> Program {
        let get = place.get("room").set("SSE_FILE", "").set("SSE_ROOT", &root);
        get.set("SSE_AWAIT", "yes").set("PATH_INFO", name)
    };
    let mut one = get("/one.jsonl").query("nick=Ann").start();
    let id = session_of(&one.event());
    let mut two = get("/two.jsonl").query("nick=Bob").start();
    assert_eq!(json(&two.event().data)["count"], 1);
    let post = place
        .post("room", "x")
        .unset("SSE_FILE")
        .set("SSE_ROOT", &root);
    let post = post.set("SSE_AWAIT", "yes").set("HTTP_X_SESSION_ID", &id);
    post.clone().set("PATH_INFO", "/one.jsonl").created();
    let elsewhere = post.set("PATH_INFO", "/two.jsonl").send();
    elsewhere.is_error("404 Not Found");
    let absent = get("/../x.jsonl").set("SSE_AWAIT", "no").run();
    assert!(absent.1.starts_with("Status: 404"), "{}", absent.1);
}

#[test]
fn a_get_of_a_room_below_a_root_writes_to_no_file_that_is_no_room_or_where_nobody_may_publish() {
    let place = Place::new();
    let root = place.folder.path("rooms");
    fs::create_dir(&root).unwrap();
    let line = "{\"data\":\"said\"}\n";
    let names = [
        "access.log",
        "one.jsonl.1",
        "one.jsonl.old",
        "one.1.jsonl",
        "one-2026-11-28.jsonl",
        "one",
        "one.jsonl",
    ];
    for name in names {
        fs::write(root.join(name), line).unwrap();
    }
    let get = |name: &str| -> Program {
        let get = place.get("room").set("SSE_FILE", "").set("SSE_ROOT", &root);
        get.set("SSE_FORMAT", "jsonl")
            .set("PATH_INFO", format!("/{name}"))
    };
    let allowed = |name: &str| get(name).set("SSE_PUBLISH_ALLOW", "same-origin");
    for name in &names[..6] {
        for program in [
            get(name),
            allowed(name),
            allowed(name).set("SSE_AWAIT", "yes"),
        ] {
            let (_, head, _) = program.run();
            assert!(head.starts_with("Status: 404"), "{name}: {head}");
        }
    }
    // A room where nobody may publish can be read, and its members are not announced.
    // (A number alone makes no rotated file.)
    let mut numbered = get("two.1.jsonl").set("SSE_AWAIT", "yes").start();
    assert_eq!(json(&numbered.event().data)["count"], 1);
    let mut quiet = get("one.jsonl").query("nick=Ann").start();
    assert_eq!(json(&quiet.event().data)["count"], 1);
    quiet.says(&["said"]);
    for name in names {
        assert_eq!(fs::read_to_string(root.join(name)).unwrap(), line, "{name}");
    }
    // Members who may publish may be announced.
    let mut member = allowed("one.jsonl").query("nick=Bob").start();
    assert_eq!(json(&member.event().data)["count"], 2);
    member.says(&["said"]);
    assert_eq!(said(&quiet.event()).0, "Bob");
    let room = fs::read_to_string(root.join("one.jsonl")).unwrap();
    assert_eq!(room.lines().count(), 2, "{room}");
    let post = place
        .post("room", "x")
        .unset("SSE_FILE")
        .set("SSE_ROOT", &root);
    let id = member.last_id().split('.').next().unwrap().to_owned();
    let post = post.set("HTTP_X_SESSION_ID", id).set("SSE_FORMAT", "jsonl");
    for name in &names[..6] {
        let to_other = post.clone().set("PATH_INFO", format!("/{name}"));
        to_other.send().is_error("404 Not Found");
    }
}

#[test]
fn who_only_comes_and_goes_lets_the_history_grow_to_its_limit_and_no_further() {
    let place = Place::new();
    let mut witness = place.get("room").query("nick=Ann").start();
    witness.event();
    for number in 0..60 {
        let get = place.get("room").query(&format!("nick=guest{number}"));
        let mut guest = get
            .set("SSE_FILE_MAX", "1K")
            .set("SSE_FILE_KEEP", "2")
            .start();
        guest.event();
        // The rotation loses no join.
        assert_eq!(said(&witness.event()).0, format!("guest{number}"));
    }
    let rotated = |number: u32| place.folder.path(&format!("room.jsonl.{number}"));
    assert!(rotated(2).exists() && !rotated(3).exists());
    for file in [place.history(), rotated(1), rotated(2)] {
        assert!(file.metadata().unwrap().len() <= 1024);
    }
}

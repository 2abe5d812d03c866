//! Rooms over two nodes: one order, one join and one leave for each member, whatever fails.

use std::time::Duration;

use serde_json::Value;

use super::peer::Request;
use super::support::event_stream::Event;
use super::support::folder::Folder;
use super::support::redis::Redis;
use super::support::wait::wait_for;
use super::{Client, Responder, request};

const ROOM: &str = "live:room";
const ALIVE: &str = "{live:room}//alive";

/// A redis-server and two nodes.
struct Stage {
    redis: Redis,
    nodes: [Responder; 2],
    folder: Folder,
    _places: [Folder; 2],
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

/// The event as `name nick data`, without what is absent.
fn told(event: &Event) -> String {
    let data = json(&event.data);
    let words = [&event.name, data["nick"].as_str().unwrap_or_default()].map(str::to_owned);
    let said = match &data["data"] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    [words.join(" "), said].join(" ").trim_end().to_owned()
}

impl Stage {
    fn new() -> Self {
        let folder = Folder::in_memory();
        let redis = Redis::start(&folder, &["--appendonly", "yes", "--appendfsync", "always"]);
        let places = [Folder::in_memory(), Folder::in_memory()];
        let nodes = [0, 1].map(|node| Responder::start(&places[node]));
        Self {
            redis,
            nodes,
            folder,
            _places: places,
        }
    }

    fn room(&self) -> Request {
        request(&self.redis, &self.folder, ROOM)
            .set("SSE_STREAM", "room")
            .set("SSE_PUBLISH_ALLOW", "anyone")
            .set("SSE_HEARTBEAT", "1s")
            .set("SSE_SESSION_GRACE", "10s")
    }

    /// A member at a node, after its welcome, which names so many members; and its session.
    #[track_caller]
    fn member(&self, node: usize, nick: &str, count: usize) -> (Client, String) {
        let request = self.room().query(&format!("nick={nick}"));
        let mut client = self.nodes[node].ask(&request);
        let (session, welcome) = welcome(&client.event());
        assert_eq!(welcome["nick"], nick);
        assert_eq!(welcome["count"], count);
        (client, session)
    }

    /// A POST to the room by the owner of a session: its status and its body.
    #[track_caller]
    fn post(&self, node: usize, session: &str, body: &str) -> (u16, Value) {
        self.post_to(&self.room(), node, session, body)
    }

    #[track_caller]
    fn post_to(&self, to: &Request, node: usize, session: &str, body: &str) -> (u16, Value) {
        let post = to
            .clone()
            .method("POST")
            .set("CONTENT_TYPE", "text/plain")
            .set("CONTENT_LENGTH", body.len().to_string())
            .set("REMOTE_ADDR", "192.0.2.1")
            .set("HTTP_X_SESSION_ID", session);
        let mut client = self.nodes[node].ask(&post.body(body.as_bytes()));
        let status = client.status();
        client.whole();
        (status, json(&String::from_utf8_lossy(&client.body)))
    }

    /// A message that reaches the room: the id of its event.
    #[track_caller]
    fn say(&self, node: usize, session: &str, text: &str) -> String {
        let (status, body) = self.post(node, session, text);
        assert_eq!(status, 201, "{body}");
        body["id"].as_str().unwrap().to_owned()
    }

    /// The event names, tags and nicks of the history.
    fn history(&mut self) -> Vec<String> {
        let text = self.redis.run(&["XRANGE", ROOM, "-", "+"]);
        let lines = text.lines().filter(|line| line.starts_with('{'));
        lines.map(str::to_owned).collect()
    }

    /// How often the history contains this event for this nickname.
    fn count(&mut self, event: &str, nick: &str) -> usize {
        let text = self.redis.run(&["XRANGE", ROOM, "-", "+"]);
        let lines: Vec<&str> = text.lines().collect();
        let is_it = |three: &&[&str]| {
            three[0] == event && three[1] == "data" && three[2].contains(&format!("\"{nick}\""))
        };
        lines.windows(3).filter(is_it).count()
    }
}

#[track_caller]
pub fn welcome(event: &Event) -> (String, Value) {
    assert_eq!(event.name, "welcome", "{event:?}");
    let data = json(&event.data);
    let session = data["session"].as_str().unwrap().to_owned();
    assert!(event.id.starts_with(&format!("{session}.")), "{event:?}");
    (session, data)
}

#[test]
fn members_on_two_nodes_are_one_room() {
    let mut stage = Stage::new();
    stage.redis.add(ROOM, "{\"text\":\"before\"}");
    let (mut ann, _) = stage.member(0, "Ann", 1);
    ann.says(&["{\"text\":\"before\"}"]);
    let (mut bob, _) = stage.member(1, "Bob", 2);
    assert_eq!(told(&ann.event()), "join Bob");
    bob.says(&["{\"text\":\"before\"}"]);
    assert_eq!(told(&bob.event()), "join Ann");
    // Any program can add to the history.
    stage
        .redis
        .run(&["XADD", ROOM, "*", "event", "notice", "data", "tea"]);
    ann.says(&["notice: tea"]);
    bob.says(&["notice: tea"]);
    // A reconnect to the other node is neither join nor leave, and brings no welcome.
    let last = ann.last_id().to_owned();
    drop(ann);
    let mut ann = stage.nodes[1].ask(&stage.room().last_id(&last));
    stage.redis.add(ROOM, "x");
    ann.says(&["x"]);
    bob.says(&["x"]);
    assert_eq!(stage.count("join", "Ann"), 1);
    assert_eq!(stage.count("leave", "Ann"), 0);
    assert_eq!(stage.history().len(), 3);
}

#[test]
fn members_of_a_killed_node_leave_once_after_their_grace() {
    let mut stage = Stage::new();
    let (mut ann, _) = stage.member(0, "Ann", 1);
    let (mut bob, _) = stage.member(0, "Bob", 2);
    let (mut eve, _) = stage.member(1, "Eve", 3);
    let (mut zoe, _) = stage.member(1, "Zoe", 4);
    for member in [&mut ann, &mut bob] {
        member.may_break();
    }
    stage.nodes[0].kill();
    for _ in 0..2 {
        assert_eq!(told(&eve.event()).split(' ').next(), Some("join"));
    }
    assert_eq!(told(&eve.event()), "join Zoe");
    for _ in 0..3 {
        assert_eq!(told(&zoe.event()).split(' ').next(), Some("join"));
    }
    let mut left = [told(&eve.event()), told(&eve.event())];
    left.sort();
    assert_eq!(left, ["leave Ann", "leave Bob"]);
    for nick in ["Ann", "Bob", "Eve", "Zoe"] {
        assert_eq!(stage.count("join", nick), 1, "{nick}");
        let left = usize::from(["Ann", "Bob"].contains(&nick));
        assert_eq!(stage.count("leave", nick), left, "{nick}");
    }
    assert_eq!(stage.redis.run(&["ZCARD", ALIVE]), "2");
    assert_eq!(stage.redis.run(&["HLEN", "{live:room}//members"]), "2");
    // Who returns later is told, and joins anew.
    let last = ann.last_id().to_owned();
    let mut ann = stage.nodes[1].ask(&stage.room().query("nick=Ann").last_id(&last));
    assert_eq!(ann.event().data, "{\"reason\":\"unknown-id\"}");
    assert_eq!(welcome(&ann.event()).1["count"], 3);
    assert_eq!(told(&zoe.event()).split(' ').next(), Some("leave"));
}

#[test]
fn an_engine_that_was_down_for_longer_than_the_grace_makes_nobody_leave() {
    let mut stage = Stage::new();
    let (mut ann, _) = stage.member(0, "Ann", 1);
    let (mut bob, _) = stage.member(1, "Bob", 2);
    assert_eq!(told(&ann.event()), "join Bob");
    assert_eq!(told(&bob.event()), "join Ann");
    // As if it had been down for an hour.
    let members = stage.redis.run(&["ZRANGE", ALIVE, "0", "-1"]);
    for member in members.lines() {
        stage.redis.run(&["ZADD", ALIVE, "1000", member]);
    }
    stage.redis.kill();
    let unavailable = "unavailable: {\"reason\":\"not available now\"}";
    for member in [&mut ann, &mut bob] {
        member.says(&[unavailable]);
        member.rest();
    }
    stage.redis.start_again();
    let mut both = [0, 1].map(|node| {
        let last = [&ann, &bob][node].last_id().to_owned();
        wait_for("the engine", || {
            let mut client = stage.nodes[1 - node].ask(&stage.room().last_id(&last));
            client.may_break();
            let add = client.head().contains("200");
            // The stream ends at once if it still counts as down.
            wait_for("an answer", || {
                client.read_some(65_536);
                let opened = stage.nodes[1 - node].figure("subscribers") > 0;
                (client.is_closed || opened).then_some(())
            });
            (add && !client.is_closed).then_some(client)
        })
    });
    stage.redis.add(ROOM, "back");
    for client in &mut both {
        client.says(&["back"]);
        client.is_silent_for(Duration::from_millis(1));
    }
    for nick in ["Ann", "Bob"] {
        assert_eq!(stage.count("join", nick), 1);
        assert_eq!(stage.count("leave", nick), 0);
    }
}

#[test]
fn the_members_of_a_node_ask_once_for_each_entry() {
    let mut stage = Stage::new();
    let request = stage.room().set("SSE_HEARTBEAT", "25s");
    let mut members: Vec<Client> = (0..50).map(|_| stage.nodes[0].ask(&request)).collect();
    for member in &mut members {
        welcome(&member.event());
    }
    stage.redis.add(ROOM, "0");
    let is_said = |event: &Event, data: &str| event.name == "message" && event.data == data;
    for member in &mut members {
        while !is_said(&member.event(), "0") {}
    }
    stage.redis.run(&["CONFIG", "RESETSTAT"]);
    for number in 1..=20 {
        let data = number.to_string();
        stage.redis.add(ROOM, &data);
        for member in &mut members {
            assert!(is_said(&member.event(), &data));
        }
    }
    let stats = stage.redis.run(&["INFO", "commandstats"]);
    let line = stats.lines().find(|line| line.starts_with("cmdstat_xinfo"));
    let calls = line.and_then(|line| line.split("calls=").nth(1)?.split(',').next());
    let calls: u32 = calls.unwrap().parse().unwrap();
    println!("{calls} questions");
    assert!(calls < 200, "{calls} questions for 20 entries");
}

#[test]
fn a_name_in_the_path_is_a_room_of_its_own_and_vanishes_if_nothing_was_said() {
    let mut stage = Stage::new();
    let of = |stage: &Stage, path: &str| {
        let request = stage.room().set("SSE_STREAM_KEY", "");
        let request = request.set("SSE_STREAM_KEY_PREFIX", "live:");
        request.set("PATH_INFO", path).query("nick=Ann")
    };
    for hostile in ["/", "/../x", "/a//members", "/{x}", "/a}b", "/.a"] {
        let request = of(&stage, hostile);
        assert_eq!(stage.nodes[0].ask(&request).status(), 404, "{hostile}");
    }
    let mut one = stage.nodes[0].ask(&of(&stage, "/one"));
    assert_eq!(welcome(&one.event()).1["count"], 1);
    let mut two = stage.nodes[1].ask(&of(&stage, "/two"));
    assert_eq!(welcome(&two.event()).1["count"], 1);
    assert_eq!(stage.redis.run(&["XLEN", "live:one"]), "1");
    let left =
        |stage: &mut Stage| -> i64 { stage.redis.run(&["PTTL", "live:one"]).parse().unwrap() };
    assert!(left(&mut stage) > 24 * 3600 * 1000);
    stage.redis.add("live:one", "said");
    one.says(&["said"]);
    wait_for("a history that stays", || {
        (left(&mut stage) == -1).then_some(())
    });
    // Where nobody may publish, members are counted and not announced.
    let quiet = of(&stage, "/quiet").set("SSE_PUBLISH_ALLOW", "");
    let mut member = stage.nodes[0].ask(&quiet);
    assert_eq!(welcome(&member.event()).1["count"], 1);
    assert_eq!(stage.redis.run(&["EXISTS", "live:quiet"]), "0");
    // A key of the settings stays.
    drop(stage.member(0, "Zoe", 1));
    assert_eq!(stage.redis.run(&["PTTL", ROOM]), "-1");
}

#[test]
fn who_missed_something_is_told_anew_who_is_here() {
    let mut stage = Stage::new();
    let (mut ann, session) = stage.member(0, "Ann", 1);
    let first = stage.redis.add(ROOM, "0");
    ann.says(&["0"]);
    assert_eq!(ann.last_id(), format!("{session}.{first}"));
    let last = ann.last_id().to_owned();
    drop(ann);
    for number in 1..5 {
        stage.redis.add(ROOM, &number.to_string());
    }
    stage.redis.run(&["XTRIM", ROOM, "MAXLEN", "2"]);
    let mut ann = stage.nodes[1].ask(&stage.room().last_id(&last));
    ann.says(&["gap: {\"reason\":\"expired\"}"]);
    let mut rest = [ann.event(), ann.event(), ann.event()];
    rest.sort_by(|one, other| one.name.cmp(&other.name));
    assert_eq!([&rest[0].data, &rest[1].data], ["3", "4"]);
    let (again, data) = welcome(&rest[2]);
    assert_eq!((again, &data["count"]), (session, &1.into()));
    // The keys were removed while its stream was open.
    stage.redis.run(&["FLUSHALL"]);
    // The history and the session are missed in either order.
    for event in ann.rest() {
        assert_eq!(event.data, "{\"reason\":\"unknown-id\"}");
    }
    let last = ann.last_id().to_owned();
    let mut ann = stage.nodes[0].ask(&stage.room().query("nick=Ann").last_id(&last));
    assert_eq!(ann.event().data, "{\"reason\":\"unknown-id\"}");
    assert_eq!(welcome(&ann.event()).1["nick"], "Ann");
    assert_eq!(stage.count("join", "Ann"), 1);
}

#[test]
fn a_private_session_is_continued_on_another_node_within_its_grace() {
    let mut stage = Stage::new();
    let request = stage.room().set("SSE_STREAM", "session");
    let mut stream = stage.nodes[0].ask(&request);
    let (session, _) = welcome(&stream.event());
    let key = format!("{{{ROOM}}}//{session}");
    stage.redis.add(&key, "one");
    stream.says(&["one"]);
    let last = stream.last_id().to_owned();
    drop(stream);
    stage.redis.add(&key, "two");
    let mut stream = stage.nodes[1].ask(&request.clone().last_id(&last));
    stream.says(&["two"]);
    let mut other = stage.nodes[0].ask(&request);
    assert_ne!(welcome(&other.event()).0, session);
    // While the stream is open, the key does not expire.
    let left = |redis: &mut Redis| redis.run(&["PTTL", &key]).parse::<i64>().unwrap();
    let before = left(&mut stage.redis);
    assert!((0..=10_000).contains(&before), "{before}");
    stage.redis.run(&["PEXPIRE", &key, "4000"]);
    wait_for("an update", || {
        (left(&mut stage.redis) > 4000).then_some(())
    });
    // A session that has ended is a gap and a new session.
    let last = stream.last_id().to_owned();
    drop(stream);
    stage.redis.run(&["PEXPIRE", &key, "1"]);
    wait_for("the end", || (left(&mut stage.redis) < 0).then_some(()));
    let mut stream = stage.nodes[0].ask(&request.last_id(&last));
    assert_eq!(stream.event().data, "{\"reason\":\"unknown-id\"}");
    assert_ne!(welcome(&stream.event()).0, session);
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let stage = Stage::new();
    let check = |request: Request, said: &str| {
        let mut client = stage.nodes[0].ask(&request);
        assert_eq!(client.status(), 500);
        client.whole();
        let told = stage.nodes[0].said_of(&client);
        assert!(told.contains(said), "{told}");
    };
    let both = stage.room().set("SSE_FILE", "/tmp/room.jsonl");
    check(
        both,
        "SSE_STREAM_KEY=live:room: SSE_FILE or SSE_ROOT is set as well",
    );
    check(stage.room().set("SSE_STREAM_KEY", ""), "SSE_STREAM_KEY");
    check(stage.room().set("SSE_REDIS", ""), "SSE_REDIS");
    let answering = stage.room().set("SSE_STREAM", "session");
    check(answering.set("SSE_COMMAND", "cat"), "SSE_COMMAND");
    // No session is made for a HEAD.
    let head = stage.room().method("HEAD");
    assert_eq!(stage.nodes[0].ask(&head).status(), 200);
}

#[test]
fn what_one_says_on_any_node_reaches_all_others_in_one_order_and_not_itself() {
    let stage = Stage::new();
    let (mut ann, ann_id) = stage.member(0, "Ann", 1);
    let (mut bob, bob_id) = stage.member(1, "Bob", 2);
    assert_eq!(told(&ann.event()), "join Bob");
    assert_eq!(told(&bob.event()), "join Ann");
    let mut said = Vec::new();
    for number in 0..10 {
        // Each posts to either node.
        let text = number.to_string();
        let id = stage.say(number % 2, [&ann_id, &bob_id][number / 5], &text);
        said.push((id, text));
    }
    for (number, (id, text)) in said.iter().enumerate() {
        let (member, session, speaker) = match number / 5 {
            0 => (&mut bob, &bob_id, "Ann"),
            _ => (&mut ann, &ann_id, "Bob"),
        };
        let event = member.event();
        assert_eq!(told(&event), format!("message {speaker} {text}"));
        // The same position in the same history.
        assert_eq!(event.id[..32], **session);
        assert_eq!(event.id[32..], id[32..]);
    }
    let (status, body) = stage.post(0, &"0".repeat(32), "x");
    assert_eq!(
        (status, body["error"].as_str()),
        (404, Some("no such session"))
    );
    assert_eq!(stage.post(1, "", "x").0, 404);
    // A reconnect with the id of an own message, which was never sent down.
    drop(ann);
    let own = stage.say(1, &ann_id, "own");
    stage.say(0, &bob_id, "after");
    let mut ann = stage.nodes[1].ask(&stage.room().last_id(&own));
    assert_eq!(told(&ann.event()), "message Bob after");
    assert_eq!(told(&bob.event()), "message Ann own");
}

#[test]
fn limits_count_on_all_nodes_together() {
    let stage = Stage::new();
    let (_ann, session) = stage.member(0, "Ann", 1);
    let limited = stage.room().set("SSE_PUBLISH_RATE", "3/h");
    for node in [0, 1, 0] {
        assert_eq!(stage.post_to(&limited, node, &session, "x").0, 201);
    }
    for node in [0, 1] {
        let (status, _) = stage.post_to(&limited, node, &session, "x");
        assert_eq!(status, 429);
    }
    // Another limit, of the same client.
    let (status, body) = stage.post(0, &session, &"x".repeat(70_000));
    assert_eq!(status, 413, "{body}");
    let short = stage.room().set("SSE_MAX_LINE", "64");
    assert_eq!(stage.post_to(&short, 0, &session, &"x".repeat(64)).0, 413);
    for event in ["welcome", "join", "leave", "close"] {
        let to = stage.room().set("CONTENT_TYPE", "application/json");
        let post = to
            .method("POST")
            .set("HTTP_X_SESSION_ID", &session)
            .body(format!("{{\"event\":\"{event}\"}}").as_bytes());
        assert_eq!(stage.nodes[1].ask(&post).status(), 400, "{event}");
    }
    let kept = stage.room().set("SSE_KEEP", "100");
    for number in 0..250 {
        let text = number.to_string();
        assert_eq!(stage.post_to(&kept, number % 2, &session, &text).0, 201);
    }
    let mut stage = stage;
    let length: u32 = stage.redis.run(&["XLEN", ROOM]).parse().unwrap();
    assert!(length < 250, "{length}");
}

#[test]
fn a_private_session_gets_what_is_posted_on_any_node_and_nobody_else_does() {
    let mut stage = Stage::new();
    let request = stage.room().set("SSE_STREAM", "session");
    let mut streams = [0, 1].map(|node| stage.nodes[node].ask(&request));
    let sessions = [0, 1].map(|node| welcome(&streams[node].event()).0);
    for number in 0..6 {
        let (own, text) = (number % 2, number.to_string());
        let (status, body) = stage.post_to(&request, 1 - own, &sessions[own], &text);
        assert_eq!(status, 201, "{body}");
        let event = streams[own].event();
        assert_eq!(
            (event.data, event.id.as_str()),
            (text, body["id"].as_str().unwrap())
        );
    }
    // A member of a room is no private session, and the other way round.
    let (_ann, member) = stage.member(0, "Ann", 1);
    assert_eq!(stage.post_to(&request, 0, &member, "x").0, 404);
    assert_eq!(stage.post(0, &sessions[0], "x").0, 404);
    // One that has ended does not come back.
    let key = format!("{{{ROOM}}}//{}", sessions[0]);
    stage.redis.run(&["DEL", &key]);
    assert_eq!(stage.post_to(&request, 1, &sessions[0], "x").0, 404);
    assert_eq!(stage.redis.run(&["EXISTS", &key]), "0");
}

#[test]
fn while_the_engine_is_down_posts_are_503_and_members_come_again() {
    let mut stage = Stage::new();
    let (mut ann, session) = stage.member(0, "Ann", 1);
    stage.say(1, &session, "x");
    stage.redis.kill();
    assert_eq!(stage.post(0, &session, "x").0, 503);
    assert_eq!(stage.post(1, &session, "x").0, 503);
    ann.says(&["unavailable: {\"reason\":\"not available now\"}"]);
    ann.rest();
    let last = ann.last_id().to_owned();
    let mut refused = stage.nodes[1].ask(&stage.room().last_id(&last));
    refused.says(&["unavailable: {\"reason\":\"not available now\"}"]);
    refused.rest();
    stage.redis.start_again();
    wait_for("the engine", || {
        (stage.post(0, &session, "y").0 == 201).then_some(())
    });
}

#[test]
fn an_engine_that_is_full_keeps_its_members_and_refuses_others() {
    let mut stage = Stage::new();
    let (mut ann, session) = stage.member(0, "Ann", 1);
    stage.redis.run(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(stage.post(1, &session, "x").0, 503);
    let mut refused = stage.nodes[1].ask(&stage.room());
    refused.says(&["unavailable: {\"reason\":\"not available now\"}"]);
    refused.rest();
    // Several updates of its presence are refused.
    wait_for("a refusal", || {
        let said = stage.nodes[0].stderr();
        said.contains("who is here: OOM").then_some(())
    });
    stage.redis.run(&["CONFIG", "SET", "maxmemory", "0"]);
    stage.redis.add(ROOM, "still here");
    ann.says(&["still here"]);
    let (mut bob, _) = stage.member(1, "Bob", 2);
    stage.say(0, &session, "hello");
    assert_eq!(told(&bob.event()), "join Ann");
    assert_eq!(stage.count("leave", "Ann"), 0);
}

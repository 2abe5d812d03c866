//! A chat over two nodes, while connections, nodes and the engine are killed: every member gets
//! every message of the others once, in the order of the history, and nobody joins twice or leaves.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::peer::Request;
use super::support::event_stream::Item;
use super::support::folder::Folder;
use super::support::random;
use super::support::redis::Redis;
use super::{Client, Responder, request};

const ROOM: &str = "live:chat";

/// A member, and what it has received.
struct Member {
    nick: String,
    session: String,
    tag: String,
    connection: Option<Client>,
    last_id: String,
    /// The positions and the data of the messages.
    received: Vec<(String, String)>,
    /// What must not come: gaps, and a second welcome.
    odd: Vec<String>,
    /// With which ids it connected, for the message of a failure.
    story: Vec<String>,
}

/// A POST that has not been answered.
struct Posted {
    client: Client,
    text: String,
}

impl Posted {
    /// Its answer; `None` as long as there is none. 0: the connection was lost.
    fn answer(&mut self) -> Option<(u16, String)> {
        while self.client.read_some(65_536) {}
        if self.client.end.is_none() && !self.client.is_closed {
            return None;
        }
        if self.client.end.is_none() {
            return Some((0, String::new()));
        }
        let status = self.client.status();
        let body = String::from_utf8_lossy(&self.client.body).into_owned();
        Some((status, body))
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

impl Member {
    fn new(number: usize) -> Self {
        Self {
            nick: format!("member{number}"),
            session: String::new(),
            tag: String::new(),
            connection: None,
            last_id: String::new(),
            received: Vec::new(),
            odd: Vec::new(),
            story: Vec::new(),
        }
    }

    /// Reads what has arrived; connects if it is not connected.
    fn go_on(&mut self, node: &Responder, room: &Request) {
        let Some(connection) = &mut self.connection else {
            if let Ok(mut connection) = node.try_connect() {
                connection.may_break();
                let mut request = room.clone().query(&format!("nick={}", self.nick));
                if !self.last_id.is_empty() {
                    request = request.last_id(&self.last_id);
                    self.story.push(self.last_id[33..].to_owned());
                }
                if connection.try_ask(&request).is_ok() {
                    self.connection = Some(connection);
                }
            }
            return;
        };
        while connection.read_some(65_536) {
            while let Some(item) = connection.ready() {
                let Item::Event(event) = item else { continue };
                match event.name.as_str() {
                    "join" | "unavailable" | "place" => {}
                    "welcome" if self.session.is_empty() => {
                        let data = json(&event.data);
                        self.session = data["session"].as_str().unwrap().to_owned();
                        self.tag = data["tag"].as_str().unwrap().to_owned();
                    }
                    "message" => {
                        let place = event.id[33..].to_owned();
                        self.received.push((place, event.data));
                    }
                    name => self.odd.push(format!("{name}: {}", event.data)),
                }
            }
            if !connection.last_id().is_empty() {
                self.last_id = connection.last_id().to_owned();
            }
            if connection.is_closed {
                self.connection = None;
                return;
            }
        }
    }
}

/// How often there was such an event of this tag.
type Presence = BTreeMap<(String, String), usize>;

/// The messages of the history: ids, tags and data, in their order; and how often which member
/// joined and left.
fn history(redis: &mut Redis) -> (Vec<[String; 3]>, Presence) {
    let text = redis.run(&["XRANGE", ROOM, "-", "+"]);
    let (mut messages, mut presence) = (Vec::new(), Presence::new());
    let mut lines = text.lines().peekable();
    while let Some(id) = lines.next() {
        let mut next = || lines.next().unwrap().to_owned();
        assert_eq!(next(), "tag");
        let tag = next();
        let mut name = next();
        if name == "event" {
            let event = next();
            *presence.entry((event, tag.clone())).or_default() += 1;
            name = next();
            assert_eq!(name, "data");
            next();
            continue;
        }
        assert_eq!(name, "data");
        messages.push([id.to_owned(), tag, next()]);
    }
    (messages, presence)
}

#[test]
fn every_member_gets_every_message_once_and_in_one_order() {
    let folder = Folder::in_memory();
    let mut redis = Redis::start(&folder, &["--appendonly", "yes", "--appendfsync", "always"]);
    let places = [Folder::in_memory(), Folder::in_memory()];
    let mut nodes: Vec<_> = places.iter().map(Responder::start).collect();
    let room = request(&redis, &folder, ROOM)
        .set("SSE_STREAM", "room")
        .set("SSE_PUBLISH_ALLOW", "anyone")
        .set("SSE_HEARTBEAT", "1s");
    let mut dice = random::random();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let number = random::number("SSE_REDIS_MEMBERS", 12) as usize;
    let mut members: Vec<Member> = (0..number).map(Member::new).collect();
    let deadline = Instant::now() + Duration::from_secs(30);
    // No message is sent before all are members.
    while members.iter().any(|member| member.session.is_empty()) {
        assert!(Instant::now() < deadline, "not all are members");
        for member in &mut members {
            member.go_on(&nodes[dice.usize(0..2)], &room);
        }
    }
    let seconds = random::number("SSE_REDIS_CHAT_SECONDS", 3);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut posted: Vec<Posted> = Vec::new();
    let mut acknowledged = Vec::new();
    let mut said = 0_u64;
    while Instant::now() < end || !posted.is_empty() {
        let is_over = Instant::now() >= end;
        let member = &members[dice.usize(0..number)];
        if !is_over && posted.len() < 8 {
            let node = &nodes[dice.usize(0..2)];
            if let Ok(mut client) = node.try_connect() {
                client.may_break();
                said += 1;
                let text = format!("message {said}");
                let post = room
                    .clone()
                    .method("POST")
                    .set("CONTENT_TYPE", "text/plain")
                    .set("CONTENT_LENGTH", text.len().to_string())
                    .set("HTTP_X_SESSION_ID", &member.session)
                    .body(text.as_bytes());
                if client.try_ask(&post).is_ok() {
                    posted.push(Posted { client, text });
                }
            }
        }
        posted.retain_mut(|post| match post.answer() {
            None => true,
            Some((status, body)) => {
                *counts.entry(format!("answers {status}")).or_default() += 1;
                if status == 201 {
                    let id = json(&body)["id"].as_str().unwrap()[33..].to_owned();
                    acknowledged.push((id, post.text.clone()));
                } else {
                    assert!([0, 503].contains(&status), "{status} {body}");
                }
                false
            }
        });
        for member in &mut members {
            if !is_over && dice.u32(0..100) == 0 {
                member.connection = None;
                *counts.entry("switched".into()).or_default() += 1;
            }
            member.go_on(&nodes[dice.usize(0..2)], &room);
        }
        let dangers = if is_over { 1000 } else { 0 };
        match dangers + dice.u32(0..300) {
            0..6 => {
                redis.run(&["CLIENT", "KILL", "USER", "sse"]);
                *counts.entry("connections killed".into()).or_default() += 1;
            }
            6 => {
                redis.kill();
                redis.start_again();
                *counts.entry("engine killed".into()).or_default() += 1;
            }
            7..9 => {
                let node = dice.usize(0..2);
                nodes[node].kill();
                nodes[node] = Responder::start(&places[node]);
                *counts.entry("node killed".into()).or_default() += 1;
            }
            _ => std::thread::sleep(Duration::from_millis(2)),
        }
    }
    let (messages, presence) = history(&mut redis);
    let expected = |member: &Member| -> Vec<(String, String)> {
        let of_others = messages.iter().filter(|[_, tag, _]| *tag != member.tag);
        of_others
            .map(|[id, _, data]| (id.clone(), data.clone()))
            .collect()
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    for member in &mut members {
        let expected = expected(member);
        while member.received.len() < expected.len() {
            let nick = &member.nick;
            assert!(Instant::now() < deadline, "{nick} lacks some: {counts:?}");
            member.go_on(&nodes[dice.usize(0..2)], &room);
        }
        let mut pairs = member.received.iter().zip(&expected);
        let nick = &member.nick;
        if let Some(at) = pairs.position(|(own, other)| own != other) {
            let from = at.saturating_sub(3);
            let ids = |list: &[(String, String)]| -> Vec<String> {
                let part = list.iter().skip(from).take(8);
                part.map(|(id, _)| id.clone()).collect()
            };
            let story = &member.story;
            panic!(
                "{nick}: received {:?}, not {:?}; {story:?}; {counts:?}",
                ids(&member.received),
                ids(&expected)
            );
        }
        assert_eq!(member.received.len(), expected.len(), "{nick}: {counts:?}");
        assert_eq!(member.odd, Vec::<String>::new(), "{nick}: {counts:?}");
    }
    for (id, text) in &acknowledged {
        let found = messages.iter().find(|[own, _, _]| own == id);
        let data = &found.unwrap_or_else(|| panic!("{id} is missing: {counts:?}"))[2];
        assert_eq!(json(data)["data"], text.as_str());
    }
    let expected: Presence = members
        .iter()
        .map(|member| (("join".to_owned(), member.tag.clone()), 1))
        .collect();
    assert_eq!(presence, expected, "{counts:?}");
    println!(
        "{} messages to {number} members, {counts:?}",
        messages.len()
    );
}

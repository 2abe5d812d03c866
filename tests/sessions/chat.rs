//! Fifty clients in one room, all of which send messages.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::servers::answer::{Answer, Next};
use crate::servers::apache::Mpm;
use crate::spool::json;
use crate::way::{Way, welcome};

const CLIENTS: usize = 50;

/// How many post at the same time.
const POSTERS: usize = 4;

/// Far more than all of it takes.
const LIMIT: Duration = Duration::from_secs(200);

#[test]
fn each_of_fifty_hears_all_others_once_through_cgi() {
    // A process for every message.
    all_hear_all(&Way::apache(Mpm::EventWithCgid, 80), messages(2_000));
}

#[test]
fn each_of_fifty_hears_all_others_once_through_the_responder() {
    all_hear_all(&Way::nginx(), messages(10_000));
}

/// The number of messages: `SSE_CHAT_MESSAGES` for a long run, otherwise as many as fit into an
/// ordinary one.
fn messages(usual: usize) -> usize {
    let asked = std::env::var("SSE_CHAT_MESSAGES").ok();
    asked.map_or(usual, |number| number.parse().expect("a number"))
}

/// A client: what it has received, as positions and data.
struct Client {
    session: String,
    tag: String,
    last_id: String,
    heard: Vec<(String, String)>,
    stream: Option<Answer>,
}

impl Client {
    fn enter(way: &Way, number: usize) -> Self {
        let mut stream = way.open("room", &format!("nick=client-{number}"), "");
        let event = stream.event();
        let data = json(&event.data);
        let text = |name: &str| data[name].as_str().expect("a text").to_owned();
        Self {
            session: text("session"),
            tag: text("tag"),
            last_id: event.id,
            heard: Vec::new(),
            stream: Some(stream),
        }
    }

    /// Reads until it has received `count` messages; its connection breaks on the way.
    fn hear(&mut self, way: &Way, count: usize, deadline: Instant) {
        let mut lose_at = [count / 3, count / 2 + count / 5].into_iter().peekable();
        while self.heard.len() < count {
            if lose_at.next_if(|at| self.heard.len() >= *at).is_some() {
                self.stream = None;
            }
            let last_id = &self.last_id;
            let stream = self
                .stream
                .get_or_insert_with(|| way.open("room", "", last_id));
            match stream.wait(deadline) {
                Next::Event(event) if event.name == "message" => {
                    let (_, place) = event.id.split_once('.').expect("a session's id");
                    self.heard.push((place.to_owned(), event.data));
                    self.last_id = event.id;
                }
                Next::Event(event) => self.last_id = event.id,
                Next::Ended => self.stream = None,
                Next::Late => panic!("heard {} of {count}", self.heard.len()),
            }
            // Otherwise all of it is kept.
            if let Some(stream) = &mut self.stream {
                stream.body.clear();
            }
        }
    }
}

fn all_hear_all(way: &Way, messages: usize) {
    let deadline = Instant::now() + LIMIT;
    let mut clients: Vec<Client> = (0..CLIENTS).map(|n| Client::enter(way, n)).collect();
    let sessions: Vec<String> = clients.iter().map(|c| c.session.clone()).collect();
    let next = AtomicUsize::new(0);
    let each = messages / CLIENTS;
    thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(|| client.hear(way, messages - each, deadline));
        }
        for _ in 0..POSTERS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= messages || Instant::now() > deadline {
                        return;
                    }
                    let session = &sessions[number % CLIENTS];
                    let id = way.created("room", session, &format!("message {number}"));
                    assert!(id.starts_with(session.as_str()));
                }
            });
        }
    });
    // All have the same order, that of the file.
    let history = fs::read_to_string(way.path("data/room.jsonl")).expect("a history");
    let said: Vec<BTreeMap<String, Value>> = history
        .lines()
        .map(|line| serde_json::from_str(line).expect("a record"))
        .filter(|record: &BTreeMap<String, Value>| !record.contains_key("event"))
        .collect();
    assert_eq!(said.len(), messages);
    for client in &mut clients {
        let others = said.iter().filter(|record| record["tag"] != client.tag[..]);
        let expected: Vec<Value> = others.map(|record| record["data"].clone()).collect();
        let heard: Vec<Value> = client.heard.iter().map(|(_, data)| json(data)).collect();
        assert!(heard == expected, "{} heard something else", client.tag);
        // Positions only increase, so nothing is repeated.
        let place = |(id, _): &(String, String)| -> u64 {
            id.split_once('-')
                .expect("a place")
                .0
                .parse()
                .expect("a number")
        };
        assert!(
            client
                .heard
                .windows(2)
                .all(|two| place(&two[0]) < place(&two[1]))
        );
    }
    // Nothing more arrives: the next event is the next message.
    let mut listener = way.open("room", "", &clients[0].last_id);
    let mut talker = way.open("room", "nick=last", "");
    let session = welcome(&mut talker);
    way.created("room", &session, "the end");
    let mut event = listener.event();
    while event.name != "message" {
        event = listener.event();
    }
    assert_eq!(json(&event.data)["data"], "the end");
}

//! Two nodes with one history: clients that switch between them miss nothing and get nothing
//! twice, whatever happens to the connections, to a node and to the engine.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::peer::Request;
use super::support::event_stream::Item;
use super::support::folder::Folder;
use super::support::random;
use super::support::redis::Redis;
use super::{Client, Responder, request};

/// A client, and what it has received.
struct Reader {
    connection: Option<Client>,
    last_id: String,
    received: Vec<u64>,
    gaps: usize,
    /// Everything but events, for the message of a failure.
    story: Vec<String>,
}

#[test]
fn two_nodes_deliver_one_history() {
    let folder = Folder::in_memory();
    let mut redis = Redis::start(&folder, &["--appendonly", "yes", "--appendfsync", "always"]);
    let seconds = random::number("SSE_REDIS_SECONDS", 4);
    let readers_number = random::number("SSE_REDIS_READERS", 40) as usize;
    let places = [Folder::in_memory(), Folder::in_memory()];
    let mut nodes: Vec<_> = places.iter().map(Responder::start).collect();
    let request = request(&redis, &folder, "live:a");
    let mut dice = random::random();
    let first = redis.add("live:a", "0");
    let mut readers: Vec<Reader> = (0..readers_number)
        .map(|_| Reader {
            connection: None,
            last_id: first.clone(),
            received: Vec::new(),
            gaps: 0,
            story: Vec::new(),
        })
        .collect();
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut added = 0_u64;
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let last_added = loop {
        let is_over = Instant::now() > end;
        if !is_over {
            for _ in 0..dice.u64(0..5) {
                added += 1;
                redis.add("live:a", &added.to_string());
            }
            match dice.u32(0..100) {
                0..5 => {
                    redis.run(&["CLIENT", "KILL", "USER", "sse"]);
                    *counts.entry("connections killed").or_default() += 1;
                }
                5 => {
                    redis.kill();
                    redis.start_again();
                    *counts.entry("engine killed").or_default() += 1;
                }
                6..8 => {
                    let node = dice.usize(0..2);
                    nodes[node].kill();
                    nodes[node] = Responder::start(&places[node]);
                    *counts.entry("node killed").or_default() += 1;
                }
                _ => {}
            }
        }
        let mut is_complete = true;
        for reader in &mut readers {
            if !is_over && dice.u32(0..50) == 0 {
                reader.connection = None;
                *counts.entry("switched").or_default() += 1;
            }
            reader.go_on(&nodes[dice.usize(0..2)], &request);
            is_complete &= reader.received.last() == Some(&added);
        }
        if is_over && is_complete {
            break added;
        }
        let late = end + Duration::from_secs(30);
        assert!(
            Instant::now() < late,
            "the readers are not complete: {counts:?}"
        );
    };
    let expected: Vec<u64> = (1..=last_added).collect();
    for reader in &readers {
        let odd = reader
            .received
            .iter()
            .zip(&expected)
            .find(|(own, other)| own != other);
        let story = &reader.story;
        assert!(
            reader.received == expected,
            "{odd:?}, {} gaps, {story:?}",
            reader.gaps
        );
        assert_eq!(reader.gaps, 0);
    }
}

impl Reader {
    /// Reads what has arrived; connects if it is not connected.
    fn go_on(&mut self, node: &Responder, request: &Request) {
        let Some(connection) = &mut self.connection else {
            if let Ok(mut connection) = node.try_connect() {
                connection.may_break();
                let request = request.clone().last_id(&self.last_id);
                self.story.push(format!("asks after {}", self.last_id));
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
                    "gap" => {
                        self.gaps += 1;
                        self.story.push(format!(
                            "gap {} after {:?}",
                            event.data,
                            self.received.last()
                        ));
                    }
                    "unavailable" => self
                        .story
                        .push(format!("unavailable after {:?}", self.received.last())),
                    _ => self.received.push(event.data.parse().expect("a number")),
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

//! A client of several streams that moves between sets of them, between nodes and over rotations
//! and restarts receives each stream exactly once.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use sse_cgi::event::{CompositeId, EventId, Tag};

use super::configured::{configure, get};
use crate::fastcgi::peer::{Client, Folder, Responder};
use crate::support::random::number;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const BACKLOG: usize = 3;
/// How many rotated files of a stream are kept: more than are made while a client is behind.
const KEPT: usize = 12;

/// What a client may expect next of a stream.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// This line.
    Line(usize),
    /// One of these, as a first-time client.
    Between(usize, usize),
}

/// Files, as their writers know them, and two nodes that serve them.
struct World {
    data: Folder,
    nodes: [(Folder, Responder); 2],
    /// How many lines each stream has.
    written: BTreeMap<&'static str, usize>,
}

/// A client, with its last id.
#[derive(Default)]
struct Moving {
    id: String,
    expected: BTreeMap<&'static str, Expected>,
    connected: Option<(Client, BTreeSet<&'static str>)>,
}

fn node(data: &Folder, folder: &Folder) -> Responder {
    let root = data.display();
    let section =
        |name: &str| format!("[stream {name}]\nSSE_FILE = {root}/{name}.log\nSSE_BACKLOG = 3\n");
    let sections: String = NAMES.iter().map(|name| section(name)).collect();
    let text = format!("SSE_HEARTBEAT = 25s\n[/d]\nSSE_STREAMS = a b c d\n{sections}");
    configure(folder, &text).start()
}

impl World {
    fn new() -> Self {
        let data = Folder::in_memory();
        for name in NAMES {
            data.write(&format!("{name}.log"), "");
        }
        let nodes = [0, 1].map(|_| {
            let folder = Folder::in_memory();
            let responder = node(&data, &folder);
            (folder, responder)
        });
        let written = NAMES.iter().map(|name| (*name, 0)).collect();
        Self {
            data,
            nodes,
            written,
        }
    }

    fn write(&mut self, name: &'static str, lines: usize) {
        let written = self.written.get_mut(name).unwrap();
        let text: String = (0..lines)
            .map(|n| format!("{name} {}\n", *written + n))
            .collect();
        self.data.append(&format!("{name}.log"), text);
        *written += lines;
    }

    /// As logrotate does it.
    fn rotate(&self, name: &str) {
        let file = |number: usize| match number {
            0 => format!("{name}.log"),
            _ => format!("{name}.log.{number}"),
        };
        for number in (0..KEPT).rev() {
            if self.data.path(&file(number)).exists() {
                self.data.rename(&file(number), &file(number + 1));
            }
        }
        self.data.write(&file(0), "");
    }

    fn restart(&mut self, number: usize) {
        let (folder, responder) = &mut self.nodes[number];
        responder.kill();
        *responder = node(&self.data, folder);
    }
}

impl Moving {
    fn connect(&mut self, world: &World, number: usize, set: BTreeSet<&'static str>) {
        let known = EventId::new(self.id.clone()).ok();
        let known = known.and_then(|id| CompositeId::parse(&id));
        for name in &set {
            let has = |id: &CompositeId| id.get(Tag::of(name)).is_some();
            if !known.as_ref().is_some_and(has) {
                self.expected.remove(name);
            }
        }
        for name in &set {
            let written = world.written[name];
            let first = Expected::Between(written.saturating_sub(BACKLOG), written);
            self.expected.entry(name).or_insert(first);
        }
        let query: Vec<String> = set.iter().map(|name| format!("s={name}")).collect();
        let mut request = get("/d").query(&query.join("&"));
        if !self.id.is_empty() {
            request = request.last_id(&self.id);
        }
        self.connected = Some((world.nodes[number].1.ask(&request).opened(), set));
    }

    #[track_caller]
    fn take(&mut self) {
        let (client, set) = self.connected.as_mut().unwrap();
        let event = client.event();
        let (stream, kind) = event.name.split_once('/').expect("a stream's event");
        assert_eq!(kind, "message", "{event:?}");
        let (name, line) = event.data.split_once(' ').unwrap();
        assert_eq!(stream, name, "{event:?}");
        let line: usize = line.parse().unwrap();
        let expected = self.expected.iter_mut().find(|(own, _)| **own == name);
        let (_, expected) = expected.expect("a stream that was asked for");
        match *expected {
            Expected::Line(next) => assert_eq!(line, next, "{event:?} after {}", self.id),
            Expected::Between(from, to) => {
                assert!((from..=to).contains(&line), "{event:?} after {}", self.id)
            }
        }
        *expected = Expected::Line(line + 1);
        self.id = event.id;
        // The new id contains the streams of this connection only.
        self.expected.retain(|name, _| set.contains(name));
    }

    /// Whether something is sure to come.
    fn is_behind(&self, world: &World) -> bool {
        let Some((_, set)) = &self.connected else {
            return false;
        };
        let mut expected = self.expected.iter().filter(|(name, _)| set.contains(*name));
        expected.any(|(name, expected)| match expected {
            Expected::Line(next) => *next < world.written[name],
            // What a first-time client gets after a rotation is not known.
            Expected::Between(_, to) => *to < world.written[name],
        })
    }

    #[track_caller]
    fn take_all(&mut self, world: &World) {
        while self.is_behind(world) {
            self.take();
        }
    }

    fn leave(&mut self) {
        if let Some((mut client, _)) = self.connected.take() {
            while let Some(item) = client.ready() {
                drop(item);
            }
            client.leave();
        }
    }
}

#[test]
fn a_client_that_moves_between_four_streams_receives_each_exactly_once() {
    let seed = number("SSE_SEED", fastrand::u64(..));
    println!("SSE_SEED={seed}");
    let mut dice = Rng::with_seed(seed);
    let mut world = World::new();
    let all: BTreeSet<&'static str> = NAMES.into_iter().collect();
    // They stay, so that there are channels to attach to.
    let mut staying = [0, 1].map(|number| {
        let mut client = Moving::default();
        client.connect(&world, number, all.clone());
        client
    });
    let mut moving = Moving::default();
    for step in 0..number("SSE_STEPS", 1000) {
        let name = NAMES[dice.usize(..NAMES.len())];
        match dice.usize(..20) {
            0..8 => world.write(name, dice.usize(1..4)),
            8 => world.rotate(name),
            9..12 if moving.is_behind(&world) => moving.take(),
            12..17 => {
                moving.leave();
                let mut set: BTreeSet<&'static str> =
                    all.iter().copied().filter(|_| dice.bool()).collect();
                set.insert(name);
                moving.connect(&world, dice.usize(..2), set);
            }
            17 => moving.leave(),
            _ if moving.connected.is_some() => moving.take_all(&world),
            _ => {}
        }
        if step % 10 == 0 {
            for client in &mut staying {
                client.take_all(&world);
            }
        }
        if step % 150 == 149 {
            let number = dice.usize(..2);
            moving.leave();
            staying[number].leave();
            world.restart(number);
            staying[number].connect(&world, number, all.clone());
        }
    }
    moving.leave();
    moving.connect(&world, 0, all);
    for name in NAMES {
        world.write(name, 2);
    }
    for client in staying.iter_mut().chain([&mut moving]) {
        client.take_all(&world);
        for name in NAMES {
            let end = world.written[name];
            assert!(matches!(client.expected[name], Expected::Line(next) if next == end));
        }
    }
    for (_, responder) in &world.nodes {
        assert_eq!(responder.warnings(), Vec::<String>::new());
    }
}

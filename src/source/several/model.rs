//! Random histories of several files against what their clients must receive.
//!
//! `SSE_MODEL_RUNS=20000 cargo test --release --lib several::model` is the long run. A failure
//! prints the seed, and `SSE_MODEL_SEED=n` repeats it.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;

use super::STREAM;
use crate::event::{Batch, CompositeId, EventId, Gap, Position, Reason, Tag};
use crate::request::{
    BelowRoot, Labelling, LastId, Lifetime, MetaVariables, NamedStream, Request, Selection,
    Settings,
};
use crate::source::tail::memory::MemoryDisk;
use crate::source::tail::{Disk, DiskFile, Sibling, Stat};
use crate::source::{Changes, Host, Next, Now, Opened, Opening, Source};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const BACKLOG: usize = 3;
/// All rotated files are kept.
const ROTATIONS_MAX: usize = 12;
const START_MS: u64 = 1_000_000;

/// A file, as its writer knows it.
struct Written {
    disk: MemoryDisk,
    /// The number of its finished lines.
    lines: usize,
    /// The number of the first line after the last rotation.
    file_start: usize,
    /// The rest of an unfinished line.
    rest: String,
    rotations: usize,
    changes: u64,
}

/// How changes are reported.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reports {
    Counted,
    /// Some are not.
    Some,
    None,
}

struct World {
    files: Vec<RefCell<Written>>,
    random: RefCell<fastrand::Rng>,
    now_ms: Cell<u64>,
    reports: Reports,
    /// Lines are written between two calls of a disk, on an average once in so many; 0: never.
    interferes_in: Cell<usize>,
    named: Vec<Rc<NamedStream>>,
}

impl World {
    fn new(seed: u64) -> Rc<Self> {
        let mut random = fastrand::Rng::with_seed(seed);
        let reports = [Reports::Counted, Reports::Some, Reports::None][random.usize(..3)];
        let file = |name: &&'static str| {
            let disk = MemoryDisk::following(name);
            *disk.now_ns.borrow_mut() = i128::from(START_MS) * 1_000_000;
            disk.create(name);
            RefCell::new(Written {
                disk,
                lines: 0,
                file_start: 0,
                rest: String::new(),
                rotations: 0,
                changes: 0,
            })
        };
        let named = |name: &&'static str| {
            let backlog = BACKLOG.to_string();
            let pairs = [("SSE_FILE", *name), ("SSE_BACKLOG", &backlog)];
            let meta = MetaVariables::of(&pairs);
            Rc::new(NamedStream {
                name: (*name).into(),
                kind: "tail".into(),
                settings: Settings::parse(&meta, Lifetime::Hour).unwrap().0,
            })
        };
        Rc::new(Self {
            files: NAMES.iter().map(file).collect(),
            random: RefCell::new(random),
            now_ms: Cell::new(START_MS),
            reports,
            interferes_in: Cell::new(0),
            named: NAMES.iter().map(named).collect(),
        })
    }

    fn dice(&self, below: usize) -> usize {
        self.random.borrow_mut().usize(..below)
    }

    fn now(&self) -> Now {
        Now {
            monotonic: Duration::from_millis(self.now_ms.get()),
            unix_ms: self.now_ms.get(),
        }
    }

    fn wait(&self, ms: u64) {
        self.now_ms.set(self.now_ms.get() + ms);
        for file in &self.files {
            *file.borrow().disk.now_ns.borrow_mut() = i128::from(self.now_ms.get()) * 1_000_000;
        }
    }

    /// Appends lines; the last one may stay unfinished.
    fn write(&self, number: usize, lines: usize, filler: usize) {
        let is_cut = self.dice(5) == 0;
        let mut file = self.files[number].borrow_mut();
        let mut text = std::mem::take(&mut file.rest);
        file.lines += usize::from(!text.is_empty());
        for _ in 0..lines {
            text.push_str(&format!("{} {}\n", file.lines, "x".repeat(filler)));
            file.lines += 1;
        }
        if is_cut && lines > 0 {
            file.lines -= 1;
            file.rest = text.split_off(text.len() - 2);
        }
        let own = file.disk.file(NAMES[number]).unwrap();
        file.disk.append(&own, text.as_bytes());
        file.changes += 1;
    }

    fn write_some(&self, number: usize) {
        let (lines, filler) = match self.dice(12) {
            0 => (300, 200),
            1 => (40, 400),
            _ => (1 + self.dice(3), self.dice(300)),
        };
        self.write(number, lines, filler);
    }

    fn finish_line(&self, number: usize) {
        let is_unfinished = !self.files[number].borrow().rest.is_empty();
        if is_unfinished {
            self.write(number, 0, 0);
        }
    }

    fn rotate(&self, number: usize) {
        self.finish_line(number);
        let mut file = self.files[number].borrow_mut();
        if file.rotations == ROTATIONS_MAX {
            return;
        }
        let name = NAMES[number];
        for n in (1..=file.rotations).rev() {
            let (from, to) = (format!("{name}.{n}"), format!("{name}.{}", n + 1));
            file.disk.rename(&from, &to);
        }
        file.disk.rename(name, &format!("{name}.1"));
        file.disk.create(name);
        file.rotations += 1;
        file.file_start = file.lines;
        file.changes += 1;
    }

    /// The first line that a first-time client receives.
    fn first(&self, number: usize) -> usize {
        let file = self.files[number].borrow();
        file.lines - BACKLOG.min(file.lines - file.file_start)
    }

    fn interfere(&self) {
        let calls = self.interferes_in.get();
        if calls > 0 && self.dice(calls) == 0 {
            self.write(self.dice(NAMES.len()), 1, 10);
        }
    }
}

/// The access of a source to the files.
struct Access(Rc<World>);

struct FileAccess {
    world: Rc<World>,
    number: usize,
    disk: MemoryDisk,
}

struct Handle(Rc<dyn DiskFile>, Rc<World>);

impl Host for Access {
    fn disk(&self, path: &Path) -> Box<dyn Disk> {
        let number = NAMES.iter().position(|name| path.ends_with(name)).unwrap();
        Box::new(FileAccess {
            world: Rc::clone(&self.0),
            number,
            disk: self.0.files[number].borrow().disk.clone(),
        })
    }

    fn disk_below(&self, path: &Path, _: &BelowRoot) -> io::Result<Box<dyn Disk>> {
        Ok(self.disk(path))
    }

    fn warn(&self, message: &str) {
        panic!("{message}");
    }

    fn read(&self, _: &Path, _: u64) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn utc_offset_seconds(&self, _: u64) -> i32 {
        0
    }
}

impl FileAccess {
    fn handle(&self, file: Rc<dyn DiskFile>) -> Rc<dyn DiskFile> {
        Rc::new(Handle(file, Rc::clone(&self.world)))
    }
}

impl Disk for FileAccess {
    fn changes(&self) -> Option<Rc<dyn Changes>> {
        let changes = Reported(Rc::clone(&self.world), self.number);
        (self.world.reports != Reports::None).then(|| Rc::new(changes) as _)
    }

    fn stat(&mut self) -> io::Result<Stat> {
        self.world.interfere();
        self.disk.stat()
    }

    fn open(&mut self) -> io::Result<Rc<dyn DiskFile>> {
        self.world.interfere();
        self.disk.open().map(|file| self.handle(file))
    }

    fn siblings(&mut self) -> io::Result<Vec<Sibling>> {
        self.world.interfere();
        self.disk.siblings()
    }

    fn open_sibling(&mut self, name: &str) -> io::Result<Rc<dyn DiskFile>> {
        self.world.interfere();
        self.disk.open_sibling(name).map(|file| self.handle(file))
    }

    fn was_moved_in(&mut self) -> bool {
        self.disk.was_moved_in()
    }
}

impl DiskFile for Handle {
    fn stat(&self) -> io::Result<Stat> {
        self.1.interfere();
        self.0.stat()
    }

    fn whereabouts(&self) -> crate::source::tail::Whereabouts {
        self.0.whereabouts()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.1.interfere();
        self.0.read_at(buffer, offset)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<(u64, u64)>> {
        self.0.next_data(offset)
    }
}

struct Reported(Rc<World>, usize);

impl Changes for Reported {
    fn set_owner(&self, _: u64) {}

    fn look_again_after(&self) -> Option<Duration> {
        None
    }

    fn reported(&self) -> Option<u64> {
        let is_counted = self.0.reports == Reports::Counted;
        is_counted.then(|| self.0.files[self.1].borrow().changes)
    }
}

/// The next line of each stream; `None` for one that the id does not contain.
type Expected = [Option<usize>; NAMES.len()];

/// A client, and every id that it has had.
struct Client {
    world: Rc<World>,
    source: Box<dyn Source>,
    set: Vec<usize>,
    batch: Batch,
    expected: Expected,
    gaps: Vec<String>,
    ids: Vec<(String, Expected)>,
}

fn open(world: &Rc<World>, set: &[usize], last_id: LastId) -> (Box<dyn Source>, Option<Gap>) {
    let mut streams: Vec<_> = set.iter().map(|n| Rc::clone(&world.named[*n])).collect();
    streams.sort_by_key(|named| Tag::of(&named.name));
    let selection = Selection {
        streams,
        unavailable: Vec::new(),
        labelling: Labelling::Name,
        continues: false,
        none: None,
    };
    let meta = MetaVariables::of(&[]);
    let request = Request {
        last_id,
        selection: Some(Rc::new(selection)),
        ..Request::from_meta(&meta)
    };
    let host: Rc<dyn Host> = Rc::new(Access(Rc::clone(world)));
    let opening = Opening {
        settings: &Settings::parse(&meta, Lifetime::Hour).unwrap().0,
        request: &request,
        now: world.now(),
        host: &host,
        live: None,
    };
    match (STREAM.open)(&opening).unwrap() {
        Opened::Stream(source, gap) => (source, gap),
        Opened::Finished => panic!("files have no end"),
    }
}

impl Client {
    fn new(world: &Rc<World>, set: Vec<usize>) -> Self {
        let mut client = Self {
            world: Rc::clone(world),
            source: open(world, &set, LastId::None).0,
            set: set.clone(),
            batch: Batch::new(),
            expected: [None; NAMES.len()],
            gaps: Vec::new(),
            ids: vec![(String::new(), [None; NAMES.len()])],
        };
        client.connect(set, 0);
        client
    }

    /// Connects with an id that it has had.
    fn connect(&mut self, set: Vec<usize>, id: usize) {
        let (text, had) = self.ids[id].clone();
        self.expected = [None; NAMES.len()];
        for number in &set {
            let first = || self.world.first(*number);
            self.expected[*number] = Some(had[*number].unwrap_or_else(first));
        }
        let id = EventId::new(text).ok();
        self.batch = id.as_ref().map_or_else(Batch::new, Batch::after);
        let last_id = id.map_or(LastId::None, LastId::Given);
        let (source, gap) = open(&self.world, &set, last_id);
        assert_eq!(gap, None);
        (self.source, self.set) = (source, set);
    }

    /// Polls once. Returns when to do so again, and whether a line was received.
    fn poll(&mut self, limit_bytes: Option<u64>) -> (Next, bool) {
        if let Some(limit) = limit_bytes {
            self.batch.limit(limit);
        }
        self.batch.begin_turn();
        let next = self.source.poll(self.world.now(), &mut self.batch);
        let before = self.expected;
        let text = String::from_utf8(self.batch.as_bytes().to_vec()).unwrap();
        self.batch.clear();
        for block in text.split_terminator("\n\n") {
            self.take(block);
        }
        (next, self.expected != before)
    }

    fn take(&mut self, block: &str) {
        let field = |name: &str| {
            let mut lines = block.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(own, _)| *own == name).map(|(_, value)| value)
        };
        let (name, data) = (field("event").unwrap(), field("data").unwrap());
        if let Some((stream, kind)) = name.split_once('/') {
            let number = NAMES.iter().position(|own| *own == stream).unwrap();
            if kind == "gap" {
                self.gaps.push(stream.into());
            } else {
                assert_eq!(kind, "message");
                let line: usize = data.split(' ').next().unwrap().parse().unwrap();
                assert_eq!(Some(line), self.expected[number], "{block:.200}");
                self.expected[number] = Some(line + 1);
            }
        } else {
            assert_eq!(name, "place");
        }
        match field("id") {
            Some(id) => self.note_id(id),
            None => panic!("no id: {block:.200}"),
        }
    }

    fn note_id(&mut self, id: &str) {
        let positions = CompositeId::parse(&EventId::new(id).unwrap()).unwrap();
        let mut had = self.expected;
        for (own, name) in had.iter_mut().zip(NAMES) {
            let position = positions.get(Tag::of(name));
            assert!(own.is_some() || position.is_none());
            *own = own.filter(|_| position.is_some());
        }
        self.ids.push((id.into(), had));
    }

    /// Reads until it has everything. No time passes but that which the source waits for.
    fn read_all(&mut self) {
        for _ in 0..20_000 {
            let (next, _) = self.poll(None);
            let is_behind = |number: &usize| {
                self.expected[*number] != Some(self.world.files[*number].borrow().lines)
            };
            if !self.set.iter().any(is_behind) {
                return;
            }
            match next {
                Next::More => {}
                Next::At(at) => {
                    let left = at.saturating_sub(self.world.now().monotonic);
                    self.world.wait(u64::try_from(left.as_millis()).unwrap());
                }
                Next::Change if self.world.reports == Reports::None => self.world.wait(5_000),
                other => panic!("{other:?}, and there are lines to read"),
            }
        }
        panic!("it does not receive everything");
    }

    /// Connects again, with any of its ids and to any of the streams.
    fn move_on(&mut self) {
        let set = some_of(&self.world);
        let far = self.world.dice(4) == 0;
        let back = self.world.dice(if far {
            self.ids.len()
        } else {
            1 + self.ids.len() / 20
        });
        self.connect(set, self.ids.len() - 1 - back);
    }
}

fn some_of(world: &World) -> Vec<usize> {
    let mask = 1 + world.dice(15);
    (0..NAMES.len()).filter(|n| mask >> n & 1 == 1).collect()
}

/// Runs `history` for many seeds; a failure names its own.
fn check(runs: u64, history: impl Fn(u64) + std::panic::RefUnwindSafe) {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let seeds = match number("SSE_MODEL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SSE_MODEL_RUNS").unwrap_or(runs),
    };
    for seed in seeds {
        if std::panic::catch_unwind(|| history(seed)).is_err() {
            panic!("repeat with SSE_MODEL_SEED={seed}");
        }
    }
}

#[test]
fn a_client_of_any_id_and_any_set_receives_each_stream_once_and_in_order() {
    check(120, |seed| {
        let world = World::new(seed);
        let mut client = Client::new(&world, some_of(&world));
        for _ in 0..world.dice(120) {
            let number = world.dice(NAMES.len());
            match world.dice(20) {
                0..7 => world.write_some(number),
                7 => world.rotate(number),
                8 => world.wait([10, 1_000, 6_000][world.dice(3)]),
                9..16 => {
                    let limit = [None, Some(1), Some(world.dice(900) as u64)][world.dice(3)];
                    world.interferes_in.set([0, 0, 4][world.dice(3)]);
                    client.poll(limit);
                    world.interferes_in.set(0);
                }
                _ => client.move_on(),
            }
        }
        client.read_all();
        if let Some(id) = client.source.position() {
            client.note_id(id.as_str());
        }
        client.connect((0..NAMES.len()).collect(), client.ids.len() - 1);
        (0..NAMES.len()).for_each(|number| world.write_some(number));
        (0..NAMES.len()).for_each(|number| world.finish_line(number));
        client.read_all();
        assert_eq!(client.gaps, Vec::<String>::new());
    });
}

#[test]
fn a_reader_that_aims_at_the_position_of_another_reaches_it_while_all_files_grow() {
    check(60, |seed| {
        let world = World::new(seed);
        let set = some_of(&world);
        let mut leader = Client::new(&world, set.clone());
        let mut follower = Client::new(&world, set.clone());
        for _ in 0..6 {
            for _ in 0..world.dice(8) {
                let number = world.dice(NAMES.len());
                match world.dice(8) {
                    0 => world.rotate(number),
                    1 => drop(follower.poll(Some(world.dice(500) as u64))),
                    _ => world.write_some(number),
                }
            }
            leader.poll(None);
            world.interferes_in.set(1 + world.dice(2));
            let mut is_there = false;
            for _ in 0..100 {
                if let Some(at) = leader.source.position() {
                    follower.source.aim(&at);
                    let had = follower.ids.len();
                    follower.poll(None);
                    // A batch may pass the position, and is cut there.
                    let passed = follower.ids[had..].iter().find(|(id, _)| id == at.as_str());
                    let there = follower.source.is_at(&at).then_some(follower.expected);
                    if let Some(expected) = passed.map(|(_, expected)| *expected).or(there) {
                        assert_eq!(expected, leader.expected);
                        is_there = true;
                        break;
                    }
                }
                leader.poll(None);
                world.wait(1_000);
            }
            world.interferes_in.set(0);
            assert!(is_there);
            let back = world.dice(follower.ids.len());
            follower.connect(set.clone(), back);
        }
    });
}

#[test]
fn a_busy_stream_does_not_keep_the_others_waiting() {
    check(30, |seed| {
        let world = World::new(seed);
        let mut client = Client::new(&world, (0..NAMES.len()).collect());
        client.poll(None);
        let busy = world.dice(NAMES.len());
        world.write(busy, 2_000, 400);
        for number in 0..NAMES.len() {
            world.write(number, 1, 0);
            world.finish_line(number);
        }
        if world.reports == Reports::None {
            world.wait(5_000);
        }
        let limit = [None, Some(1), Some(10_000)][world.dice(3)];
        // One turn of each member; a limit may end a poll after any.
        for _ in 0..=NAMES.len() {
            client.poll(limit);
            world.write(busy, 100, 400);
        }
        for number in (0..NAMES.len()).filter(|number| *number != busy) {
            let lines = world.files[number].borrow().lines;
            assert_eq!(
                client.expected[number],
                Some(lines),
                "{number} of busy {busy}"
            );
        }
    });
}

/// Opens all streams with an id that this server has not given, and reads everything.
fn read_after(id: EventId<'static>) -> (Option<Gap>, Vec<String>) {
    let world = World::new(0);
    for number in 0..NAMES.len() {
        world.write(number, 2, 10);
        world.finish_line(number);
    }
    let set: Vec<usize> = (0..NAMES.len()).collect();
    let mut client = Client::new(&world, set.clone());
    let (source, gap) = open(&world, &set, LastId::Given(id));
    client.source = source;
    client.expected = [Some(0); NAMES.len()];
    client.read_all();
    // What it has now is as good as any other id.
    client.connect(set, client.ids.len() - 1);
    world.write(0, 1, 10);
    world.finish_line(0);
    client.read_all();
    (gap, client.gaps)
}

fn any_position() -> impl Strategy<Value = Position> {
    prop_oneof![
        (0..1u64 << 48, any::<u64>()).prop_map(|(offset_bytes, anchor)| Position::File {
            offset_bytes,
            anchor
        }),
        (0..40u64, any::<u64>()).prop_map(|(offset_bytes, anchor)| Position::File {
            offset_bytes,
            anchor
        }),
        (0..1u64 << 44, 0..1u64 << 29)
            .prop_map(|(unix_ms, sequence)| Position::Redis { unix_ms, sequence }),
    ]
}

proptest! {
    #[test]
    fn an_arbitrary_id_yields_a_gap(bytes in proptest::collection::vec(0x21u8..0x7f, 1..=255)) {
        for text in [bytes.clone(), [b"*", &bytes[..bytes.len().min(254)]].concat()] {
            let id = EventId::from_bytes(&text).unwrap();
            let positions = CompositeId::parse(&id);
            let (gap, gaps) = read_after(id);
            match positions {
                None => prop_assert_eq!(gap, Some(Gap::new(Reason::BadId))),
                Some(positions) => {
                    let has = |name: &&&str| positions.get(Tag::of(name)).is_some();
                    prop_assert_eq!(gap, None);
                    prop_assert_eq!(gaps.len(), NAMES.iter().filter(has).count());
                }
            }
        }
    }

    #[test]
    fn a_position_that_was_never_given_yields_a_gap_of_its_stream(
        positions in proptest::collection::vec(proptest::option::of(any_position()), NAMES.len())
    ) {
        let given = NAMES.into_iter().zip(positions);
        let given: Vec<_> = given.filter_map(|(name, at)| Some((name, at?))).collect();
        let entries: Vec<_> = given.iter().map(|(name, at)| (Tag::of(name), *at)).collect();
        let id = CompositeId::new(&entries).unwrap().event_id();
        let (gap, mut gaps) = read_after(id);
        prop_assert_eq!(gap, None);
        gaps.sort();
        let names: Vec<&str> = given.iter().map(|(name, _)| *name).collect();
        prop_assert_eq!(gaps, names);
    }
}

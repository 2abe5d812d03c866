//! Random histories of a stream, checked against what a client must receive.
//!
//! Entries are added, trimmed and deleted; the key is removed (DEL, FLUSHALL, an eviction) and
//! begins anew; the engine loses its newest entries (a restart, a failover). Meanwhile clients
//! read, leave and return with their last ids.
//!
//! The same histories run in memory and in a real redis-server. `SSE_MODEL_RUNS` is the number of
//! histories in memory.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::*;
use crate::request::{BelowRoot, Format, Lifetime, MetaVariables, Settings};
use crate::source::lines::LineEncoding;

/// An engine that executes commands at once.
trait Engine {
    /// The replies.
    fn execute(&mut self, commands: &[u8], replies: usize) -> Vec<u8>;
}

/// A stream in memory: the parts of Redis that the source uses.
#[derive(Default)]
struct Memory {
    stream: Option<Kept>,
    saved: Option<Kept>,
}

#[derive(Clone, Default)]
struct Kept {
    entries: BTreeMap<StreamId, Vec<u8>>,
    last: StreamId,
    max_deleted: StreamId,
    added: u64,
}

/// The commands of a request.
fn words(commands: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let mut reader = Reader::new(commands);
    let mut all = Vec::new();
    while reader.place() < commands.len() {
        let count = reader.array().unwrap();
        let words = (0..count).map(|_| reader.string().unwrap().to_vec());
        all.push(words.collect());
    }
    all
}

fn bulk(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("${}\r\n", text.len()).as_bytes());
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

fn entry(id: StreamId, data: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"*2\r\n");
    bulk(id.to_string().as_bytes(), out);
    out.extend_from_slice(b"*2\r\n");
    bulk(b"data", out);
    bulk(data, out);
}

impl Memory {
    fn one(&mut self, words: &[Vec<u8>], out: &mut Vec<u8>) {
        let id = |index: usize| match words[index].as_slice() {
            b"-" => StreamId::START,
            b"+" => StreamId {
                ms: u64::MAX,
                seq: u64::MAX,
            },
            text => StreamId::from_bytes(text).unwrap(),
        };
        let number = |index: usize| -> usize {
            std::str::from_utf8(&words[index]).unwrap().parse().unwrap()
        };
        match words[0].as_slice() {
            b"XINFO" => {
                let Some(stream) = &self.stream else {
                    out.extend_from_slice(b"-ERR no such key\r\n");
                    return;
                };
                out.extend_from_slice(b"*10\r\n");
                bulk(b"length", out);
                out.extend_from_slice(format!(":{}\r\n", stream.entries.len()).as_bytes());
                bulk(b"last-generated-id", out);
                bulk(stream.last.to_string().as_bytes(), out);
                bulk(b"max-deleted-entry-id", out);
                bulk(stream.max_deleted.to_string().as_bytes(), out);
                bulk(b"entries-added", out);
                out.extend_from_slice(format!(":{}\r\n", stream.added).as_bytes());
                bulk(b"first-entry", out);
                match stream.entries.first_key_value() {
                    Some((id, data)) => entry(*id, data, out),
                    None => out.extend_from_slice(b"$-1\r\n"),
                }
            }
            b"XRANGE" | b"XREVRANGE" => {
                let is_reverse = words[0] == b"XREVRANGE";
                let (least, most) = match is_reverse {
                    true => (id(3), id(2)),
                    false => (id(2), id(3)),
                };
                let count = if words.len() > 4 {
                    number(5)
                } else {
                    usize::MAX
                };
                let empty = BTreeMap::new();
                let all = self.stream.as_ref().map_or(&empty, |s| &s.entries);
                let mut found: Vec<_> = Vec::new();
                if least <= most {
                    found = all.range(least..=most).collect();
                }
                if is_reverse {
                    found.reverse();
                }
                found.truncate(count);
                out.extend_from_slice(format!("*{}\r\n", found.len()).as_bytes());
                for (id, data) in found {
                    entry(*id, data, out);
                }
            }
            b"XADD" => {
                let stream = self.stream.get_or_insert_default();
                stream.last = id(2);
                stream.added += 1;
                stream.entries.insert(id(2), words[4].clone());
                bulk(&words[2], out);
            }
            b"XTRIM" => {
                let most = number(3);
                if let Some(stream) = &mut self.stream {
                    while stream.entries.len() > most {
                        stream.entries.pop_first();
                    }
                }
                out.extend_from_slice(b":0\r\n");
            }
            b"XDEL" => {
                if let Some(stream) = &mut self.stream {
                    stream.entries.remove(&id(2));
                    stream.max_deleted = stream.max_deleted.max(id(2));
                }
                out.extend_from_slice(b":0\r\n");
            }
            b"DEL" => {
                self.stream = None;
                out.extend_from_slice(b":0\r\n");
            }
            b"SAVE" => {
                self.saved = self.stream.clone();
                out.extend_from_slice(b"+OK\r\n");
            }
            b"LOSE" => {
                self.stream = self.saved.clone();
                out.extend_from_slice(b"+OK\r\n");
            }
            other => panic!("{}", other.escape_ascii()),
        }
    }
}

impl Engine for Memory {
    fn execute(&mut self, commands: &[u8], replies: usize) -> Vec<u8> {
        let commands = words(commands);
        let mut out = Vec::new();
        assert_eq!(commands.len(), replies);
        let is_transaction = commands[0][0] == b"MULTI";
        let inner = match is_transaction {
            true => &commands[1..commands.len() - 1],
            false => &commands[..],
        };
        if is_transaction {
            out.extend_from_slice(b"+OK\r\n");
            out.extend_from_slice(&b"+QUEUED\r\n".repeat(inner.len()));
            out.extend_from_slice(format!("*{}\r\n", inner.len()).as_bytes());
        }
        for command in inner {
            self.one(command, &mut out);
        }
        out
    }
}

/// A redis-server with a socket of its own.
struct Server {
    child: Child,
    stream: UnixStream,
    saved: Option<Vec<u8>>,
    folder: std::path::PathBuf,
}

impl Server {
    fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("sse-redis-model-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let socket = folder.join("s");
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--unixsocket"]);
        command.arg(&socket).arg("--dir").arg(&folder);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command
            .spawn()
            .expect("redis-server is needed; install redis-server");
        let stream = connect(&socket);
        Self {
            child,
            stream,
            saved: None,
            folder,
        }
    }

    fn ask(&mut self, commands: &[u8], replies: usize) -> Vec<u8> {
        self.stream.write_all(commands).unwrap();
        let (mut all, mut end) = (Vec::new(), 0);
        for _ in 0..replies {
            let mut scanner = Scanner::default();
            loop {
                if let Some(length) = scanner.length(&all[end..]).unwrap() {
                    end += length;
                    break;
                }
                let mut buffer = [0; 4096];
                let count = self.stream.read(&mut buffer).unwrap();
                assert!(count > 0, "redis-server has closed the connection");
                all.extend_from_slice(&buffer[..count]);
            }
        }
        all
    }
}

fn connect(socket: &Path) -> UnixStream {
    let give_up_at = Instant::now() + Duration::from_secs(10);
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => {
                let limit = Some(Duration::from_secs(10));
                stream.set_read_timeout(limit).unwrap();
                return stream;
            }
            Err(error) if Instant::now() > give_up_at => panic!("redis-server: {error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Engine for Server {
    fn execute(&mut self, commands: &[u8], replies: usize) -> Vec<u8> {
        let mut out = Vec::new();
        match words(commands)[0][0].as_slice() {
            b"SAVE" => {
                command(&[b"DUMP", b"k"], &mut out);
                let reply = self.ask(&out, 1);
                self.saved = match Reader::new(&reply).item().unwrap() {
                    Item::Bulk(bytes) => Some(bytes.to_vec()),
                    _ => None,
                };
                Vec::new()
            }
            b"LOSE" => {
                command(&[b"DEL", b"k"], &mut out);
                if let Some(saved) = &self.saved {
                    command(&[b"RESTORE", b"k", b"0", saved], &mut out);
                }
                self.ask(&out, 1 + usize::from(self.saved.is_some()))
            }
            _ => self.ask(commands, replies),
        }
    }
}

/// A feed that has its answer at once, and shows it at the next poll.
struct Direct {
    engine: Rc<RefCell<dyn Engine>>,
    reply: Option<Vec<u8>>,
    watch: Rc<RefCell<Watch>>,
}

/// What a feed watches.
#[derive(Default)]
struct Watch {
    /// What it asks as soon as there is an entry.
    ahead: Option<(Vec<u8>, usize)>,
    answer: Option<Vec<u8>>,
}

struct Never;

impl Changes for Never {
    fn set_owner(&self, _: u64) {}

    fn look_again_after(&self) -> Option<Duration> {
        None
    }
}

impl Feed for Direct {
    fn changes(&self) -> Rc<dyn Changes> {
        Rc::new(Never)
    }

    fn send(&mut self, commands: Vec<u8>, replies: usize) {
        self.reply = Some(self.engine.borrow_mut().execute(&commands, replies));
    }

    fn receive(&mut self) -> Option<io::Result<Vec<u8>>> {
        self.reply.take().map(Ok)
    }

    fn is_watching(&self) -> bool {
        true
    }

    fn watch(&mut self, _: StreamId, commands: Vec<u8>, replies: usize) {
        *self.watch.borrow_mut() = Watch {
            ahead: Some((commands, replies)),
            answer: None,
        };
    }

    fn take_ahead(&mut self) -> Option<Vec<u8>> {
        self.watch.borrow_mut().answer.take()
    }

    fn take_signal(&mut self) -> bool {
        self.watch.borrow().answer.is_some()
    }
}

struct Silent;

impl Host for Silent {
    fn disk(&self, _: &Path) -> Box<dyn super::super::tail::Disk> {
        unreachable!()
    }

    fn disk_below(&self, _: &Path, _: &BelowRoot) -> io::Result<Box<dyn super::super::tail::Disk>> {
        unreachable!()
    }

    fn warn(&self, message: &str) {
        panic!("{message}");
    }

    fn read(&self, _: &Path, _: u64) -> io::Result<Vec<u8>> {
        unreachable!()
    }

    fn utc_offset_seconds(&self, _: u64) -> i32 {
        0
    }
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Kept,
    Trimmed,
    Deleted,
    /// It was deleted, and the engine has lost the deletion.
    Restored,
    /// The engine has lost it.
    Lost,
    /// Its stream was removed.
    Gone,
}

struct Client {
    name: usize,
    source: Option<Redis>,
    watch: Rc<RefCell<Watch>>,
    last_id: Option<StreamId>,
    /// The last entry that was received, and whether a gap followed it.
    last: Option<(usize, bool)>,
    received: BTreeSet<usize>,
    gaps: usize,
}

/// A history: the engine, and what happened in it.
struct History {
    engine: Rc<RefCell<dyn Engine>>,
    random: fastrand::Rng,
    unix_ms: u64,
    /// Monotonic, in seconds.
    seconds: u64,
    /// Every entry that was ever added, in this order.
    entries: Vec<(StreamId, Fate)>,
    /// How many entries existed when the engine was saved, and whether there was a stream.
    saved: Option<Vec<Fate>>,
    /// Entries were lost, or the stream removed, and the clients have not looked since.
    is_news: bool,
    has_losses: bool,
    log: Vec<String>,
}

impl History {
    fn new(engine: Rc<RefCell<dyn Engine>>, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        engine.borrow_mut().execute(&one(&[b"DEL", b"k"]), 1);
        engine.borrow_mut().execute(&one(&[b"SAVE"]), 1);
        Self {
            engine,
            unix_ms: 1_700_000_000_000,
            seconds: 0,
            entries: Vec::new(),
            saved: None,
            is_news: false,
            has_losses: random.bool(),
            random,
            log: vec![format!("seed {seed}")],
        }
    }

    fn execute(&mut self, words: &[&[u8]]) {
        let text: Vec<_> = words
            .iter()
            .map(|word| String::from_utf8_lossy(word))
            .collect();
        self.log.push(text.join(" "));
        self.engine.borrow_mut().execute(&one(words), 1);
    }

    fn kept(&self) -> Vec<usize> {
        let all = self.entries.iter().enumerate();
        all.filter(|(_, (_, fate))| matches!(fate, Fate::Kept | Fate::Restored))
            .map(|(index, _)| index)
            .collect()
    }

    fn add(&mut self) {
        self.unix_ms += self.random.u64(0..3);
        let last = self.entries.last().map_or(StreamId::START, |(id, _)| *id);
        let own = StreamId {
            ms: self.unix_ms,
            seq: 0,
        };
        let id = own.max(last.next());
        let index = self.entries.len().to_string();
        self.execute(&[
            b"XADD",
            b"k",
            id.to_string().as_bytes(),
            b"data",
            index.as_bytes(),
        ]);
        self.entries.push((id, Fate::Kept));
    }

    /// What a client asked ahead is answered, or not: then it asks itself.
    fn notify(&mut self, client: &mut Client) {
        let ahead = client.watch.borrow_mut().ahead.take();
        if let Some((commands, replies)) = ahead
            && self.random.bool()
        {
            let answer = self.engine.borrow_mut().execute(&commands, replies);
            client.watch.borrow_mut().answer = Some(answer);
            while !self.poll(client) {}
        }
    }

    fn trim(&mut self) {
        let kept = self.kept();
        let most = self.random.usize(0..=kept.len());
        self.execute(&[b"XTRIM", b"k", b"MAXLEN", most.to_string().as_bytes()]);
        for index in &kept[..kept.len() - most] {
            self.entries[*index].1 = Fate::Trimmed;
        }
    }

    fn delete(&mut self) {
        let kept = self.kept();
        // (Trimming counts what is left.)
        let Some(index) = self.random.choice(&kept).copied() else {
            return;
        };
        let id = self.entries[index].0.to_string();
        self.execute(&[b"XDEL", b"k", id.as_bytes()]);
        self.entries[index].1 = Fate::Deleted;
    }

    fn remove(&mut self) {
        self.execute(&[b"DEL", b"k"]);
        for (_, fate) in &mut self.entries {
            *fate = Fate::Gone;
        }
        self.saved = None;
        self.unix_ms += 1;
        self.is_news = true;
        self.execute(&[b"SAVE"]);
    }

    fn save(&mut self) {
        self.execute(&[b"SAVE"]);
        self.saved = Some(self.entries.iter().map(|(_, fate)| *fate).collect());
    }

    fn lose(&mut self) {
        let Some(saved) = &self.saved else { return };
        if self.entries.len() == saved.len() {
            return;
        }
        for (index, (_, fate)) in self.entries.iter_mut().enumerate() {
            *fate = match saved.get(index) {
                Some(Fate::Kept) if *fate == Fate::Deleted => Fate::Restored,
                Some(fate) => *fate,
                None => Fate::Lost,
            };
        }
        self.unix_ms += 1;
        self.is_news = true;
        self.execute(&[b"LOSE"]);
    }

    fn open(&mut self, client: &mut Client) {
        let meta = MetaVariables::of(&[]);
        let settings = Settings::parse(&meta, Lifetime::Unlimited).unwrap().0;
        let lines = LineEncoding::new(&settings, Format::Jsonl, |_| {});
        let encoding = EntryEncoding::new(lines, &settings, Vec::new());
        let feed = Direct {
            engine: Rc::clone(&self.engine),
            reply: None,
            watch: Rc::default(),
        };
        client.watch = Rc::clone(&feed.watch);
        let state = match client.last_id {
            Some(id) => State::Resuming(id),
            None => State::Searching(Search::new(self.random.usize(0..4))),
        };
        let host = Rc::new(Silent);
        let mut source = Redis::new(Box::new(feed), b"k".to_vec(), encoding, host, state, None);
        source.page_entries = self.random.usize(1..4);
        self.log
            .push(format!("{} opens {:?}", client.name, client.last_id));
        client.source = Some(source);
    }

    /// Polls a client's source, and checks what it received. Returns whether that was all.
    fn poll(&mut self, client: &mut Client) -> bool {
        let Some(source) = &mut client.source else {
            return true;
        };
        self.seconds += 2;
        let now = Now {
            monotonic: Duration::from_secs(self.seconds),
            unix_ms: self.unix_ms,
        };
        let mut out = Batch::new();
        let is_all = loop {
            out.limit(self.random.u64(1..400));
            let next = source.poll(now, &mut out);
            source.page_entries = self.random.usize(1..4);
            // What was read is sent before anything else happens: then the fate of an entry is
            // what it was when it was read. Between two pages anything may happen.
            let is_sent = source.page.left() == 0 && source.asked.is_none();
            if next != Next::More || (is_sent && self.random.bool()) {
                break next != Next::More;
            }
        };
        let text = String::from_utf8(out.as_bytes().to_vec()).unwrap();
        self.log.push(format!("  {} got {text:?}", client.name));
        for block in text.split_terminator("\n\n") {
            let field = |name: &str| {
                let line = block.lines().find_map(|line| line.strip_prefix(name));
                line.map(|value| value.trim().to_owned())
            };
            client.last_id = field("id:")
                .and_then(|id| StreamId::parse(&id))
                .or(client.last_id);
            match field("event:").as_deref() {
                Some("gap") => {
                    client.gaps += 1;
                    if let Some((_, has_gap)) = &mut client.last {
                        *has_gap = true;
                    }
                }
                Some("place") => {}
                Some(other) => panic!("{other}"),
                None => self.receive(client, field("data:").unwrap().parse().unwrap()),
            }
        }
        is_all
    }

    fn receive(&self, client: &mut Client, entry: usize) {
        let story = || self.log.join("\n");
        assert!(client.received.insert(entry), "{entry} twice\n{}", story());
        if let Some((last, has_gap)) = client.last.replace((entry, false)) {
            assert!(last < entry, "{entry} after {last}\n{}", story());
            let is_fine = |fate: Fate| matches!(fate, Fate::Deleted | Fate::Restored | Fate::Lost);
            let is_next = self.entries[last + 1..entry]
                .iter()
                .all(|(_, fate)| is_fine(*fate))
                && !matches!(self.entries[last].1, Fate::Lost | Fate::Gone);
            assert!(
                has_gap || is_next,
                "no gap between {last} and {entry}\n{}",
                story()
            );
        }
    }

    fn run(mut self, steps: usize) {
        let mut clients: Vec<Client> = (0..3)
            .map(|name| Client {
                name,
                source: None,
                watch: Rc::default(),
                last_id: None,
                last: None,
                received: BTreeSet::new(),
                gaps: 0,
            })
            .collect();
        for _ in 0..steps {
            let client = self.random.usize(0..clients.len());
            match self.random.u32(0..20) {
                0..=6 => {
                    self.add();
                    for client in &mut clients {
                        self.notify(client);
                    }
                }
                action @ (7 | 8) if self.has_losses => {
                    // If a stream lost as many entries at its end as are trimmed before a client
                    // looks again, nothing would show either.
                    if std::mem::take(&mut self.is_news) {
                        for client in &mut clients {
                            while client.source.is_some() && !self.poll(client) {}
                        }
                    }
                    match action {
                        7 => self.trim(),
                        _ => self.delete(),
                    }
                }
                9 if self.has_losses && self.random.u32(0..4) == 0 => self.remove(),
                10 if self.has_losses => self.save(),
                11 if self.has_losses => self.lose(),
                12 => clients[client].source = None,
                _ => {
                    if clients[client].source.is_none() {
                        self.open(&mut clients[client]);
                    }
                    let _ = self.poll(&mut clients[client]);
                }
            }
        }
        // What is left reaches every client that reads on.
        self.add();
        for client in &mut clients {
            if client.source.is_none() {
                self.open(client);
            }
            for _ in 0..200 {
                let _ = self.poll(client);
            }
            let newest = self.entries.len() - 1;
            assert!(client.received.contains(&newest), "{}", self.log.join("\n"));
            let is_whole = self.has_losses || client.gaps == 0;
            assert!(
                is_whole,
                "a gap where nothing was lost\n{}",
                self.log.join("\n")
            );
        }
    }
}

fn one(words: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    command(words, &mut out);
    out
}

#[test]
fn every_client_receives_the_stream_or_is_told_of_a_gap() {
    let runs = std::env::var("SSE_MODEL_RUNS")
        .ok()
        .and_then(|runs| runs.parse().ok());
    for seed in 0..runs.unwrap_or(60) {
        let engine = Rc::new(RefCell::new(Memory::default()));
        History::new(engine, seed).run(120);
    }
}

#[test]
fn every_client_of_a_real_redis_receives_the_stream_or_is_told_of_a_gap() {
    let server = Rc::new(RefCell::new(Server::start()));
    for seed in 0..20 {
        let engine: Rc<RefCell<dyn Engine>> = Rc::<RefCell<Server>>::clone(&server);
        History::new(engine, seed).run(120);
    }
}

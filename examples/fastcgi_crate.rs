//! A responder on the crate `fastcgi`, for programs that already use it: the streams, ids and
//! encoding of this crate behind a handler of that crate. It serves clock, countdown, script
//! and tail, chosen by `SSE_STREAM` or the base name of SCRIPT_NAME, on the listening socket
//! that it inherits as descriptor 0:
//!
//!     cargo build --example fastcgi_crate
//!     spawn-fcgi -n -s /run/sse.sock -- target/debug/examples/fastcgi_crate
//!
//! Differences from `sse-fcgi` (the first five are properties of the crate):
//! - a thread for every subscriber, about 30 kB of memory each, and each thread encodes every
//!   event again;
//! - a client that has left is noticed when a write to it fails, so at a heartbeat;
//! - out of descriptors, accept fails and the process ends;
//! - a malformed record panics its thread, 10 000 parameters overflow its stack;
//! - a parameter that is not UTF-8 is dropped, with all that follow it;
//! - no `SSE_ROOT`, `SSE_LOG`, `SSE_SEND_TIMEOUT`, `SSE_MAX_SUBSCRIBERS`, status page,
//!   or end at an event boundary on SIGTERM.

#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Condvar, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use sse_cgi::event::{Batch, Unavailable};
use sse_cgi::gateway::Framing;
use sse_cgi::request::{
    BelowRoot, Decision, Head, Lifetime, MetaVariables, Request, Settings, Status, decide,
};
use sse_cgi::source::tail::{Disk, DiskFile, Mark, Sibling, Stat};
use sse_cgi::source::{Host, Now, OpenError, Opened, Opening, STREAMS};
use sse_cgi::stream::{Delivery, StreamParams, Subscription, Turn};

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);
static CHANGES: LazyLock<Changes> = LazyLock::new(Changes::watch);

fn main() {
    fastcgi::run_raw(
        |mut request| {
            // A failed write means that the client has left, so it cannot be told.
            let _ = serve(&mut request);
        },
        0,
    );
}

fn serve(peer: &mut fastcgi::Request) -> io::Result<()> {
    let meta = meta_variables(peer);
    let answer = |peer: &mut fastcgi::Request, head: &Head| {
        let head = Framing::Parsed.write(head, "");
        peer.stdout().write_all(&head)
    };
    let refuse = |peer: &mut fastcgi::Request, problem: String| {
        tell(peer, &problem)?;
        answer(peer, &Head::new(Status::InternalServerError))
    };
    let settings = match Settings::parse(&meta, Lifetime::Unlimited) {
        Ok((settings, _)) => settings,
        Err(error) => return refuse(peer, error.to_string()),
    };
    let request = Request::from_meta(&meta);
    let (head, is_head_only) = match decide(&request, &settings) {
        Decision::Refuse(head) => return answer(peer, &head),
        Decision::HeadOnly(head) => (head, true),
        Decision::Stream(head) => (head, false),
    };
    let name = stream_name(&meta);
    let Some(stream) = STREAMS.iter().find(|stream| stream.name == name) else {
        return refuse(peer, format!("SSE_STREAM={name}: no such stream"));
    };
    let host: Rc<dyn Host> = Rc::new(SystemHost);
    let opening = Opening {
        settings: &settings,
        request: &request,
        now: now(),
        host: &host,
        live: None,
    };
    let terms = StreamParams::new(&request, &settings, Delivery::Immediate, fastrand::f64());
    let mut batch = Batch::new();
    let (source, gap) = match (stream.open)(&opening) {
        Ok(Opened::Stream(source, gap)) => (source, gap),
        Ok(Opened::Finished) => return answer(peer, &with_cors_of(&head, Status::NoContent)),
        Err(OpenError::Setting(error)) => return refuse(peer, error.to_string()),
        Err(OpenError::NotFound) => return answer(peer, &with_cors_of(&head, Status::NotFound)),
        Err(OpenError::Forbidden) => return answer(peer, &with_cors_of(&head, Status::Forbidden)),
        Err(OpenError::BadQuery) => {
            return answer(peer, &with_cors_of(&head, Status::BadRequest));
        }
        Err(OpenError::Temporary(trouble)) => {
            tell(peer, &trouble)?;
            batch.head(&Framing::Parsed.write(&head, ""));
            batch.retry(terms.retry_ms.into());
            batch.unavailable(Unavailable::of_stream(stream.name));
            return peer.stdout().write_all(batch.as_bytes());
        }
    };
    if is_head_only {
        return answer(peer, &head);
    }
    batch.head(&Framing::Parsed.write(&head, ""));
    let mut subscription = Subscription::new(source, gap, terms, now());
    loop {
        let seen = CHANGES.count();
        let turn = subscription.poll(now(), &mut batch);
        if !batch.is_empty() {
            peer.stdout().write_all(batch.as_bytes())?;
            subscription.sent(now(), batch.as_bytes().len());
            batch.clear();
        }
        match turn {
            Turn::More => {}
            Turn::Until(at) => CHANGES.wait(seen, at.saturating_sub(now().monotonic)),
            Turn::End(_) => return Ok(()),
        }
    }
}

/// One line in one write, which is one record: a server logs each record separately.
fn tell(peer: &mut fastcgi::Request, problem: &str) -> io::Result<()> {
    peer.stderr().write_all(format!("{problem}\n").as_bytes())
}

/// The process's own `SSE_*` come first, so that those of the location take precedence.
fn meta_variables(peer: &fastcgi::Request) -> MetaVariables {
    let own = std::env::vars().filter(|(name, _)| name.starts_with("SSE_"));
    let pairs = own.chain(peer.params());
    MetaVariables::new(pairs.map(|(n, v)| (n.into(), v.into())).collect())
}

/// The value of `SSE_STREAM`, or else `clock` for `/events/nph-clock.cgi`.
fn stream_name(meta: &MetaVariables) -> String {
    let last = |name| meta.get(name).last().map(String::from_utf8_lossy);
    if let Some(name) = last("SSE_STREAM") {
        return name.into_owned();
    }
    let script = last("SCRIPT_NAME").unwrap_or_default();
    let stem = Path::new(&*script).file_stem().unwrap_or_default();
    let stem = stem.to_string_lossy();
    stem.strip_prefix("nph-").unwrap_or(&stem).to_owned()
}

/// Every status needs the fields that let a page of another origin read the response.
fn with_cors_of(head: &Head, status: Status) -> Head {
    let is_cors = |name: &str| name == "Vary" || name.starts_with("Access-Control-");
    let fields = head.fields.iter().filter(|(name, _)| is_cors(name));
    Head {
        status,
        fields: fields.cloned().collect(),
    }
}

fn now() -> Now {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    Now {
        monotonic: STARTED.elapsed(),
        unix_ms: since_epoch.unwrap_or_default().as_millis() as u64,
    }
}

/// Notifies all threads when something changed in a folder that one of them follows. One
/// inotify instance serves the whole process, since a user has only 128.
struct Changes {
    inotify: Option<Inotify>,
    watched: Mutex<HashSet<PathBuf>>,
    count: Mutex<u64>,
    happened: Condvar,
}

impl Changes {
    fn watch() -> Self {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC).ok();
        if inotify.is_some() {
            std::thread::spawn(|| {
                let inotify = CHANGES.inotify.as_ref();
                while inotify.is_some_and(|inotify| inotify.read_events().is_ok()) {
                    *CHANGES.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                    CHANGES.happened.notify_all();
                }
            });
        }
        Self {
            inotify,
            watched: Mutex::default(),
            count: Mutex::default(),
            happened: Condvar::new(),
        }
    }

    fn follow(&self, folder: &Path) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVE;
        if let Some(inotify) = &self.inotify {
            if !watched.contains(folder) && inotify.add_watch(folder, wanted).is_ok() {
                watched.insert(folder.to_owned());
            }
        }
    }

    fn count(&self) -> u64 {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change after number `seen`, but at most a second, because some changes are
    /// not reported.
    fn wait(&self, seen: u64, limit: Duration) {
        let count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = limit.min(Duration::from_secs(1));
        let _ = self
            .happened
            .wait_timeout_while(count, limit, |count| *count == seen);
    }
}

/// The files of this machine, as a source sees them.
struct SystemHost;

impl Host for SystemHost {
    fn disk(&self, path: &Path) -> Box<dyn Disk> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
        CHANGES.follow(&folder);
        Box::new(Place { path, folder })
    }

    fn disk_below(&self, _: &Path, _: &BelowRoot) -> io::Result<Box<dyn Disk>> {
        let text = "this responder serves single files only";
        Err(io::Error::new(io::ErrorKind::Unsupported, text))
    }

    fn warn(&self, message: &str) {
        eprintln!("{message}");
    }

    fn read(&self, path: &Path, limit_bytes: u64) -> io::Result<Vec<u8>> {
        let bytes = fs::read(path)?;
        if bytes.len() as u64 > limit_bytes {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "too long"));
        }
        Ok(bytes)
    }

    fn utc_offset_seconds(&self, unix_ms: u64) -> i32 {
        let moment = chrono::DateTime::from_timestamp_millis(unix_ms as i64).unwrap_or_default();
        moment
            .with_timezone(&chrono::Local)
            .offset()
            .local_minus_utc()
    }
}

struct Place {
    path: PathBuf,
    folder: PathBuf,
}

impl Disk for Place {
    fn stat(&mut self) -> io::Result<Stat> {
        stat(&fs::metadata(&self.path)?)
    }

    fn open(&mut self) -> io::Result<Rc<dyn DiskFile>> {
        open(&self.path)
    }

    fn siblings(&mut self) -> io::Result<Vec<Sibling>> {
        let base = self.path.file_name().unwrap_or_default().to_string_lossy();
        let mut siblings = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some((mark, form)) =
                Mark::of(&base, &name).map(|mark| (mark.text.to_owned(), mark.form))
            {
                if let Ok(stat) = entry.metadata().and_then(|metadata| stat(&metadata)) {
                    siblings.push(Sibling {
                        name,
                        mark,
                        form,
                        stat,
                    });
                }
            }
        }
        Ok(siblings)
    }

    fn open_sibling(&mut self, name: &str) -> io::Result<Rc<dyn DiskFile>> {
        open(&self.folder.join(name))
    }
}

struct OpenFile(File);

impl DiskFile for OpenFile {
    fn stat(&self) -> io::Result<Stat> {
        stat(&self.0.metadata()?)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match self.0.read_at(&mut buffer[read..], offset + read as u64)? {
                0 => break,
                count => read += count,
            }
        }
        Ok(read)
    }
}

fn open(path: &Path) -> io::Result<Rc<dyn DiskFile>> {
    // It is checked before it is opened: opening a FIFO would wait for a writer.
    stat(&fs::metadata(path)?)?;
    Ok(Rc::new(OpenFile(File::open(path)?)))
}

fn stat(metadata: &Metadata) -> io::Result<Stat> {
    if !metadata.is_file() {
        let text = "not a regular file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let born = metadata.created().ok();
    let born = born.and_then(|moment| moment.duration_since(UNIX_EPOCH).ok());
    Ok(Stat {
        identity: (metadata.dev(), metadata.ino()),
        size_bytes: metadata.len(),
        modified_ns: i128::from(metadata.mtime()) * 1_000_000_000
            + i128::from(metadata.mtime_nsec()),
        links: metadata.nlink(),
        born_ns: born.map(|since| since.as_nanos() as i128),
    })
}

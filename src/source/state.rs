//! A whole file as one event, whenever its content changes.
//!
//! ```text
//!            written in place: quiet for 50 ms ─┐
//!  changed ──┤                                  ├─► read ─► whole? ─► differs? ─► event
//!            renamed into place: at once ───────┘    │        │
//!                                               too large    broken JSON: wait for more
//! ```
//!
//! Only the current content matters: several changes at once become one event, and a client
//! that reconnects and already has the content gets nothing.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use serde::de::IgnoredAny;
use xxhash_rust::xxh3::xxh3_64;

use super::charset::decode_whole;
use super::followed::Followed;
use super::tail::{Disk, DiskFile, Stat};
use super::{Changes, Host, Next, Now, OpenError, Opened, Opening, Source, resume_point};
use crate::event::{Batch, Event, EventId, EventName, Gap, Reason, Unavailable};
use crate::request::TextEncoding;

/// How long a file that is written in place must have been unchanged.
const SETTLED: Duration = Duration::from_millis(50);

/// How long a file that was emptied must have stayed empty: its writer probably truncated it and
/// is about to write.
const SETTLED_EMPTY: Duration = Duration::from_secs(2);

/// How often a file that reports a wrong size is read: no notification reports its changes.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// When a failed read is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The id that means "there is no file".
const REMOVED: &str = "removed";

/// The content of a file.
///
/// The event's data is the file's text without its last line end. Its id is a hash of the content
/// (XXH3-64, 16 hexadecimal digits), or `removed` for the event `removed`. A file larger than
/// `SSE_STATE_MAX` is not sent: a `gap` with the reason `cut` gives its size.
pub struct State {
    disk: Box<dyn Disk>,
    host: Rc<dyn Host>,
    /// The file's path, for messages.
    path: String,
    name: Option<EventName<'static>>,
    max_bytes: u64,
    /// `SSE_SETTLE`, if it is set.
    settle: Option<Duration>,
    /// Its size differs from its content, as in /proc and /sys.
    is_wrong_size: bool,
    encoding: TextEncoding,
    check: Check,
    /// The file that was read last. It stays open because only an open file is watched.
    file: Option<Rc<dyn DiskFile>>,
    /// The content that the client has.
    known: Known,
    /// The file's status at the last check, and since when it is so.
    seen: Option<Stat>,
    seen_since: Duration,
    /// It has been looked at since the stream was opened.
    has_looked: bool,
    /// The content with the status in `seen` was handled.
    is_done: bool,
}

/// Whether a half-written file can be distinguished from a whole one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Check {
    /// By parsing it.
    Json,
    /// Not at all.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Nothing: the client connects for the first time.
    Nothing,
    /// That the file does not exist.
    Removed,
    /// The content with this hash.
    Content(u64),
}

fn parse(id: &str) -> Option<Known> {
    if id == REMOVED {
        return Some(Known::Removed);
    }
    let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if id.len() != 16 || !id.bytes().all(lower_hex) {
        return None;
    }
    u64::from_str_radix(id, 16).ok().map(Known::Content)
}

/// Opens the format `state` of the stream `tail`.
pub(super) fn open(opening: &Opening<'_>, mut followed: Followed) -> Result<Opened, OpenError> {
    let file = match followed.open() {
        Ok(None) => {
            followed.warn_of_missing();
            None
        }
        Ok(file) => file,
        // It is reported when it can be read, whatever it contains by then.
        Err(OpenError::Temporary(trouble)) => {
            opening.host.warn(&trouble);
            None
        }
        Err(error) => return Err(error),
    };
    let settings = opening.settings;
    let (point, gap) = resume_point(&opening.request.last_id, parse);
    let state = State {
        path: followed.path(),
        host: Rc::clone(opening.host),
        disk: followed.disk,
        file,
        name: settings.event.clone(),
        max_bytes: settings.state_max_bytes,
        settle: settings.settle,
        is_wrong_size: false,
        encoding: settings.encoding,
        check: if followed.is_json {
            Check::Json
        } else {
            Check::Nothing
        },
        known: point.unwrap_or(Known::Nothing),
        seen: None,
        seen_since: opening.now.monotonic,
        has_looked: false,
        is_done: false,
    };
    Ok(Opened::Stream(Box::new(state), gap))
}

impl State {
    /// Checks the path; returns the time of the next check if it is too early to read.
    fn look(&mut self, now: Now) -> Option<Duration> {
        let stat = self.disk.stat().ok();
        let was_moved_in = self.disk.was_moved_in();
        let had_looked = std::mem::replace(&mut self.has_looked, true);
        if stat != self.seen || was_moved_in || !had_looked {
            self.seen = stat;
            self.seen_since = now.monotonic;
            self.is_done = false;
        }
        if self.is_done || was_moved_in || self.is_wrong_size {
            return None;
        }
        let settled = match stat {
            Some(stat) if stat.size_bytes == 0 && self.holds_something() => return None,
            Some(stat) if stat.size_bytes == 0 => self.settle.unwrap_or(SETTLED_EMPTY),
            _ => self.settle.unwrap_or(SETTLED),
        };
        // The file's own time counts too: it may have been unchanged since before this process
        // started.
        let now_ns = i128::from(now.unix_ms) * 1_000_000;
        if stat.is_some_and(|stat| now_ns - stat.modified_ns >= settled.as_nanos() as i128) {
            return None;
        }
        let settled_at = self.seen_since + settled;
        (now.monotonic < settled_at).then_some(settled_at)
    }

    /// Whether a file of size 0 can be read nevertheless.
    fn holds_something(&mut self) -> bool {
        let Ok(file) = self.disk.open() else {
            return false;
        };
        let has_bytes = file.read_at(&mut [0], 0).is_ok_and(|read| read > 0);
        let is_empty = file.stat().is_ok_and(|stat| stat.size_bytes == 0);
        // Every opened file is watched for writes.
        self.file = Some(file);
        has_bytes && is_empty
    }

    /// Reports the present content if the client does not have it. `WouldBlock` if the file changes
    /// while it is read.
    fn tell(&mut self, out: &mut Batch) -> io::Result<()> {
        let Some(stat) = self.seen else {
            self.tell_removed(out);
            return Ok(());
        };
        // Also a file that is too large: only opened files are watched for writes.
        let file = Rc::clone(self.file.insert(self.disk.open()?));
        if stat.size_bytes > self.max_bytes {
            self.tell_too_large(stat, out);
            return Ok(());
        }
        let content = read_whole(&*file, stat, self.max_bytes)?;
        self.is_wrong_size = content.len() as u64 != stat.size_bytes;
        if content.len() as u64 > self.max_bytes {
            self.tell_too_large(stat, out);
            return Ok(());
        }
        if self.check == Check::Json
            && serde_json::from_slice::<IgnoredAny>(&decode_whole(&content, self.encoding)).is_err()
        {
            return Ok(());
        }
        let hash = xxh3_64(&content);
        if self.known != Known::Content(hash) {
            self.known = Known::Content(hash);
            let text = decode_whole(&content, self.encoding);
            let data = without_line_end(&text);
            out.event(&Event {
                id: self.position(),
                name: self.name.clone(),
                data,
            });
        }
        Ok(())
    }

    /// The id of content that is identified by size and time only.
    fn tell_too_large(&mut self, stat: Stat, out: &mut Batch) {
        let hash = xxh3_64(format!("{} {}", stat.size_bytes, stat.modified_ns).as_bytes());
        if self.known != Known::Content(hash) {
            self.known = Known::Content(hash);
            out.gap(&Gap::of(Reason::Cut, stat.size_bytes), self.position());
        }
    }

    fn tell_removed(&mut self, out: &mut Batch) {
        if let Known::Content(_) = self.known {
            self.known = Known::Removed;
            let name = EventName::new(REMOVED).ok();
            out.event(&Event {
                id: self.position(),
                name,
                data: b"",
            });
        }
    }
}

/// Reads a file with the status `stat` to its end, regardless of its size, or until one byte more
/// than `max_bytes`; an error if its status has changed.
fn read_whole(file: &dyn DiskFile, stat: Stat, max_bytes: u64) -> io::Result<Vec<u8>> {
    let most = max_bytes as usize + 1;
    let mut content = vec![0; (stat.size_bytes as usize + 1).min(most)];
    let mut length = 0;
    loop {
        match file.read_at(&mut content[length..], length as u64)? {
            0 => break,
            read => length += read,
        }
        if length == most {
            break;
        }
        if length == content.len() {
            content.resize((length * 2).clamp(4096, most.max(4096)).min(most), 0);
        }
    }
    content.truncate(length);
    let after = file.stat()?;
    if (after.identity, after.size_bytes) != (stat.identity, stat.size_bytes)
        || (length as u64 == stat.size_bytes && after != stat)
    {
        return Err(io::Error::from(io::ErrorKind::WouldBlock));
    }
    Ok(content)
}

fn without_line_end(content: &[u8]) -> &[u8] {
    let content = content.strip_suffix(b"\n").unwrap_or(content);
    content.strip_suffix(b"\r").unwrap_or(content)
}

impl Source for State {
    fn poll(&mut self, now: Now, out: &mut Batch) -> Next {
        if let Some(settled_at) = self.look(now) {
            return Next::At(settled_at);
        }
        if self.is_done {
            return Next::Change;
        }
        match self.tell(out) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.seen_since = now.monotonic;
                Next::At(now.monotonic + self.settle.unwrap_or(SETTLED))
            }
            // A file that cannot be read now may become readable later without a change.
            Err(error) => {
                // A path that cannot be opened is reported when it is opened.
                if self.file.is_some() {
                    let path = &self.path;
                    self.host.warn(&format!(
                        "{path}: cannot be read: {error}; it is tried again; name another file, \
                         or check the disk"
                    ));
                }
                Next::At(now.monotonic + TRY_AGAIN)
            }
            Ok(()) if self.is_wrong_size => Next::At(now.monotonic + READ_AGAIN),
            Ok(()) => {
                self.is_done = true;
                Next::Change
            }
        }
    }

    fn unavailable(&self) -> Option<Unavailable> {
        match (&self.seen, &self.file) {
            (None, _) => Some(Unavailable::Missing),
            (Some(_), None) => Some(Unavailable::Unreadable),
            (Some(_), Some(_)) => None,
        }
    }

    fn changes(&self) -> Option<Rc<dyn Changes>> {
        self.disk.changes()
    }

    fn position(&self) -> Option<EventId<'static>> {
        let id = match self.known {
            Known::Content(hash) => format!("{hash:016x}"),
            Known::Removed | Known::Nothing => REMOVED.into(),
        };
        EventId::new(id).ok()
    }
}

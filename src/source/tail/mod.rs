//! Follows a file: its records are the events, and the file is the history.
//!
//! ```text
//!            Disk (stat, open, read)            `store::disk` or the model test  
//!                      │
//!   resume ──► Tail ──► Cursor ──► records ──► Batch
//!                │         one file, line by line
//!                └ which file, and which next: rotation, truncation, replacement
//! ```
//!
//! Old and new bytes are read through one cursor, so there is no seam between replay
//! and live. The place in the file is the only state, and it travels with the client:
//! see [`TailId`].
//!
//! What can be lost, and is said by a `gap`: bytes that were truncated before they
//! were read, rotations that are gone, compressed or beyond the replay limit, what is
//! longer than a record may be. What can be lost and cannot be known: lines that a
//! daemon writes into the file between the copy and the truncation of a
//! `copytruncate`; lines that it goes on writing into a file that was rotated away,
//! after the new file has content, while this client is not connected.
//!
//! What is taken for the file that it was: one that was written anew in place with the
//! same first 256 bytes and the same 128 before the place (and what was held back of an
//! unfinished line). What follows the place is delivered, what is new before it is not.
//!
//! This module never makes a system call and never waits.

mod anchor;
mod backlog;
mod between;
mod buffer;
mod cursor;
mod disk;
mod line_ends;
#[cfg(test)]
pub(crate) mod memory;
#[cfg(test)]
mod model;
mod newline;
mod nuls;
mod order;
mod past;
mod records;
mod replaced;
mod resume;
mod shared;
mod siblings;
mod turnover;

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::{Changes, Next, Now, Source, Stream};
use crate::event::{Batch, EventId, Gap, Unavailable};
use crate::request::Settings;

pub use anchor::TailId;
pub use disk::{Disk, DiskFile, Identity, Sibling, Stat, Whereabouts};
pub(super) use resume::{Extra, Missing, open_with};
pub use siblings::{Form, Mark, bases_of};

use between::{Fate, Seen};
use cursor::{Cursor, Filled};
use records::Encoding;
use turnover::is_empty;

/// The stream `tail`.
pub static STREAM: Stream = Stream {
    name: "tail",
    summary: "follows a file: every line is an event",
    open: resume::open,
    settings: settings_of!("tail"),
    argument: Some("SSE_FILE"),
    shared: Some(shared::key),
};

/// How long a file that was rotated away must have been quiet before its unfinished
/// last line is taken for finished. Daemons reopen their log within a second or two;
/// five give them time, and cost nothing while nothing is unfinished.
const QUIET: Duration = Duration::from_secs(5);

/// How soon what could not be read is tried again where no hint tells that it can: EIO,
/// no descriptor left, a folder without permission.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// How many steps one poll makes, each of at most one read: a line without an end, or
/// records that are no events, can fill any disk, and whoever polls has signals and
/// heartbeats to see to.
const STEPS_MAX: usize = 16;

/// How long a file that was rotated away is watched for late lines after the last one.
/// Ten minutes are what Apache's manual gives the children of a graceful restart, which
/// write to the old log until their last request is over, before it may be compressed.
const LINGER: Duration = Duration::from_secs(600);

/// How many files that were rotated away are watched for late lines at once.
const LINGERING_MAX: usize = 4;

/// The log line for a file that was opened and cannot be read.
fn cannot_read(error: &io::Error) -> String {
    format!("cannot be read: {error}; it is tried again; name another file, or check the disk")
}

/// A followed file.
pub struct Tail {
    disk: Box<dyn Disk>,
    encoding: Encoding,
    max_line_bytes: usize,
    /// How long the file must have been quiet before its unfinished last line is a record.
    flush: Option<Duration>,
    /// How much is sent again of a file that was edited.
    replay_bytes: u64,
    /// The file being read; `None` until there is one.
    active: Option<Cursor>,
    /// The id of the place while there is no file.
    start: TailId,
    /// The last records are still being searched for, in this file: there is no place yet.
    search: Option<resume::LastRecords>,
    /// When `active` brought bytes last, or was opened.
    active_since: Duration,
    /// The files to read after `active`, each from its start, oldest first. The last
    /// of all is what the path named when it was looked at last.
    later: VecDeque<Later>,
    /// Which rotated files are older than `active` and all of `later`.
    seen: Seen,
    /// The rotated files that were there before the first file was opened, until they are
    /// noted as seen.
    listed: Option<Vec<Sibling>>,
    /// Files that have been read to their end and left for a newer one. What is still
    /// written into them is passed on without an id: the place is in the newer file.
    lingering: Vec<Lingering>,
}

/// A file that is to be read from its start.
struct Later {
    file: Rc<dyn DiskFile>,
    /// What to say before it: that files between it and the one before are lost.
    gap: Option<Gap>,
    came: Came,
}

/// How a file came to be the one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// The one before was rotated away, and this one was created.
    ByRotation,
    /// It was renamed to the path when it was complete.
    MovedIn(Fate),
    /// It was created under the path.
    Created(Fate),
}

impl Later {
    fn at_once(file: Rc<dyn DiskFile>) -> Self {
        Self {
            file,
            gap: None,
            came: Came::ByRotation,
        }
    }
}

struct Lingering {
    cursor: Cursor,
    since: Duration,
}

/// What one step of the machine came to.
enum Step {
    /// Something happened; go on.
    Again,
    /// Nothing to do before this.
    Wait(Next),
}

impl Step {
    /// Something could not be done now.
    fn later(now: Now) -> Self {
        Self::Wait(Next::At(now.monotonic + TRY_AGAIN))
    }
}

impl Tail {
    fn new(disk: Box<dyn Disk>, encoding: Encoding, settings: &Settings, now: Now) -> Self {
        Self {
            disk,
            encoding,
            max_line_bytes: settings.max_line_bytes,
            replay_bytes: settings.replay_bytes,
            flush: None,
            active: None,
            start: TailId::start_after(None),
            search: None,
            active_since: now.monotonic,
            later: VecDeque::new(),
            seen: Seen::nothing(unix_ns(now)),
            listed: None,
            lingering: Vec::new(),
        }
    }

    fn step(&mut self, now: Now, out: &mut Batch) -> Step {
        let Some(active) = &mut self.active else {
            return self.begin(now);
        };
        if self.encoding.emit_lines(active, out).is_err() {
            return Step::later(now);
        }
        if out.is_full() {
            return Step::Wait(Next::More);
        }
        // A short read has told already that this is the end.
        if active.is_drained() {
            return self.at_end(now, out);
        }
        let was_empty = active.was_empty();
        match active.fill(now) {
            Ok(Filled::More) => {
                self.active_since = now.monotonic;
                if was_empty {
                    active.note_empty();
                    return self.first_bytes(now);
                }
            }
            Ok(Filled::Padding) => {}
            Ok(Filled::AtEnd) => return self.at_end(now, out),
            Ok(Filled::Rewritten) => return self.rewritten(now, out),
            // EIO and its like: nothing is skipped until it can be read again.
            Err(error) => {
                self.encoding.warn(&cannot_read(&error));
                return Step::later(now);
            }
        }
        Step::Again
    }

    /// There is no file yet.
    fn begin(&mut self, now: Now) -> Step {
        let file = match self.disk.open() {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Step::Wait(Next::Change);
            }
            Err(_) => return Step::later(now),
        };
        let own = file.stat().ok();
        let active = match past::find_rotated(&mut *self.disk, self.start, own, |_| true) {
            Err(_) => return Step::later(now),
            // It came and was rotated away between two looks.
            Ok(Some(rotated)) => {
                let first = Rc::clone(&rotated.file);
                self.later.extend(rotated.newer.into_iter().rev());
                self.later.push_back(Later {
                    gap: rotated.gap,
                    ..Later::at_once(file)
                });
                first
            }
            Ok(None) => file,
        };
        if let Ok(stat) = active.stat() {
            self.start = self.start.bound_to(&stat);
        }
        if self.note_siblings(now).is_err() {
            return Step::later(now);
        }
        self.active = Some(Cursor::at_start(active, self.start, self.max_line_bytes));
        self.active_since = now.monotonic;
        Step::Again
    }

    /// Once the place is found, it is told: the stream opened without one.
    fn poll_search(&mut self, now: Now, out: &mut Batch) -> Next {
        match self.search_on() {
            Ok(true) => {
                // Where that fails, times and names must do.
                let _ = self.note_older();
                out.place(&self.place().event_id());
            }
            Ok(false) => {}
            Err(_) => return Next::At(now.monotonic + TRY_AGAIN),
        }
        Next::More
    }

    fn place(&self) -> TailId {
        self.active.as_ref().map_or(self.start, Cursor::id)
    }

    /// Passes on what was still written into files that have been left. Tells when to
    /// look again; at once, where it stopped before the end of one of them.
    fn poll_lingering(&mut self, now: Now, out: &mut Batch) -> Option<Duration> {
        let encoding = &self.encoding;
        let mut has_more = false;
        self.lingering.retain_mut(|old| {
            let mut steps = 0;
            while !out.is_full() && steps < STEPS_MAX {
                steps += 1;
                let read_on = encoding.emit_late_lines(&mut old.cursor, out).is_ok()
                    && (old.cursor.fill(now))
                        .is_ok_and(|filled| matches!(filled, Filled::More | Filled::Padding));
                if !read_on {
                    break;
                }
                old.since = now.monotonic;
            }
            has_more |= steps == STEPS_MAX;
            // Where the batch is full, whole lines may be left.
            if !out.is_full() && steps < STEPS_MAX && now.monotonic >= old.since + QUIET {
                let _ = encoding.emit_late_unfinished(&mut old.cursor, out);
            }
            now.monotonic < old.since + LINGER
        });
        if has_more {
            return Some(now.monotonic);
        }
        let wake = |old: &Lingering| {
            let quiet_at = old.since + QUIET;
            if now.monotonic < quiet_at {
                quiet_at
            } else {
                old.since + LINGER
            }
        };
        self.lingering.iter().map(wake).min()
    }
}

impl Source for Tail {
    fn poll(&mut self, now: Now, out: &mut Batch) -> Next {
        out.begin_turn();
        if self.search.is_some() {
            return self.poll_search(now, out);
        }
        if let Some(active) = &mut self.active {
            active.look_again(now);
        }
        let late = self.poll_lingering(now, out);
        let mut steps = 0;
        let next = loop {
            match self.step(now, out) {
                Step::Again if steps == STEPS_MAX => break Next::More,
                Step::Again => steps += 1,
                Step::Wait(next) => break next,
            }
        };
        match (next, late) {
            (Next::More, _) => Next::More,
            (_, Some(at)) if at <= now.monotonic => Next::More,
            (Next::Change, Some(at)) => Next::At(at),
            (Next::At(one), Some(other)) => Next::At(one.min(other)),
            (next, _) => next,
        }
    }

    fn changes(&self) -> Option<Rc<dyn Changes>> {
        self.disk.changes()
    }

    fn is_costly(&self) -> bool {
        self.encoding.is_costly()
    }

    fn rest(&mut self) {
        let old = self.lingering.iter_mut().map(|old| &mut old.cursor);
        self.active.iter_mut().chain(old).for_each(Cursor::rest);
    }

    fn unavailable(&self) -> Option<Unavailable> {
        let has_none = self.active.is_none() && self.search.is_none();
        has_none.then_some(Unavailable::Missing)
    }

    fn position(&self) -> Option<EventId<'static>> {
        if self.search.is_some() {
            return None;
        }
        Some(self.place().event_id())
    }

    /// The end of a file that was rotated away is the start of the one that comes next. Who
    /// opens the stream before that has content, or is there, knows the place by that name.
    fn is_at(&self, place: &EventId<'_>) -> bool {
        if self.search.is_some() {
            return false;
        }
        let own = self.place();
        let Some(place) = TailId::parse(place.as_str()) else {
            return false;
        };
        let start = TailId {
            offset_bytes: 0,
            ..own
        };
        let has_all = || {
            let is_drained = |active: &Cursor| active.is_drained() && active.held_back_bytes() == 0;
            let is_next = |later: &Later| later.gap.is_none() && is_empty(&*later.file);
            self.active.as_ref().is_some_and(is_drained) && self.later.iter().all(is_next)
        };
        let next = self.later.back().and_then(|next| next.file.stat().ok());
        let is_start = || place == next.map_or(start, |next| start.bound_to(&next));
        place == own || (own.offset_bytes > 0 && has_all() && is_start())
    }
}

fn unix_ns(now: Now) -> i128 {
    i128::from(now.unix_ms) * 1_000_000
}

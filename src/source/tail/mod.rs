//! Follows a file: its records are the events, and the file is the history.
//!
//! ```text
//!            Disk (stat, open, read)            what the driver or the model does
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
mod memory;
#[cfg(test)]
mod model;
mod newline;
mod nul;
mod records;
mod resume;
mod shared;
mod siblings;

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::{Changes, Next, Now, Source, Stream};
use crate::event::{Batch, EventId, Gap, Reason, Unavailable};

pub use anchor::TailId;
pub use disk::{Disk, DiskFile, Identity, Sibling, Stat};
pub(super) use resume::{Extra, Missing, open_with};
pub use siblings::rotation_suffix;

use cursor::{Cursor, Filled};
use records::Encoding;

/// The stream `tail`.
pub static STREAM: Stream = Stream {
    name: "tail",
    summary: "follows a file: every line is an event",
    open: resume::open,
    settings: &[
        "SSE_FILE",
        "SSE_FORMAT",
        "SSE_FILTER",
        "SSE_EVENT",
        "SSE_ENCODING",
        "SSE_LINE_END",
        "SSE_FLUSH",
        "SSE_BACKLOG",
        "SSE_REPLAY",
        "SSE_MAX_LINE",
        "SSE_SOURCE_ID",
        "SSE_STATE_MAX",
        "SSE_SETTLE",
    ],
    argument: Some("SSE_FILE"),
    shared: Some(shared::of),
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

/// A followed file.
pub struct Tail {
    disk: Box<dyn Disk>,
    encoding: Encoding,
    max_line_bytes: usize,
    /// How long the file must have been quiet before its unfinished last line is a record.
    flush: Option<Duration>,
    /// The file being read; `None` until there is one.
    active: Option<Cursor>,
    /// The id of the place while there is no file.
    start: TailId,
    /// The last records are still being searched for, in this file: there is no place yet.
    search: Option<(backlog::Search, Rc<dyn DiskFile>)>,
    /// When `active` brought bytes last, or was opened.
    active_since: Duration,
    /// The files to read after `active`, each from its start, oldest first. The last
    /// of all is what the path named when it was looked at last.
    later: VecDeque<Later>,
    /// Files that have been read to their end and left for a newer one. What is still
    /// written into them is passed on without an id: the place is in the newer file.
    lingering: Vec<Lingering>,
}

/// A file that is to be read from its start.
struct Later {
    file: Rc<dyn DiskFile>,
    /// What to say before it: that files between it and the one before are lost.
    gap: Option<Gap>,
}

impl Later {
    fn at_once(file: Rc<dyn DiskFile>) -> Self {
        Self { file, gap: None }
    }

    fn identity(&self) -> Option<(u64, u64)> {
        self.file.stat().ok().map(|stat| stat.identity)
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
    fn new(disk: Box<dyn Disk>, encoding: Encoding, max_line_bytes: usize, now: Now) -> Self {
        Self {
            disk,
            encoding,
            max_line_bytes,
            flush: None,
            active: None,
            start: TailId::start_after(None),
            search: None,
            active_since: now.monotonic,
            later: VecDeque::new(),
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
            Err(_) => return Step::later(now),
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
        let own = file.stat().ok().map(|stat| stat.identity);
        let active = match resume::find_rotated(&mut *self.disk, self.start, own) {
            Err(_) => return Step::later(now),
            // It came and was rotated away between two looks.
            Ok(Some(rotated)) => {
                let first = Rc::clone(&rotated.file);
                self.later.extend(rotated.newer.into_iter().rev());
                self.later.push_back(Later {
                    file,
                    gap: rotated.gap,
                });
                first
            }
            Ok(None) => file,
        };
        self.active = Some(Cursor::at_start(active, self.start, self.max_line_bytes));
        self.active_since = now.monotonic;
        Step::Again
    }

    /// The active file was empty, and is no longer: what was written to it first may have
    /// been copied and truncated away since it was looked at last.
    fn first_bytes(&mut self, now: Now) -> Step {
        let Some(active) = &self.active else {
            return Step::Again;
        };
        let file = Rc::clone(active.file());
        let place = active.id();
        let own = file.stat().ok().map(|stat| stat.identity);
        let Ok(rotated) = resume::find_rotated(&mut *self.disk, place, own) else {
            return Step::later(now);
        };
        if let Some(rotated) = rotated {
            self.go_back(rotated, place, file);
        }
        Step::Again
    }

    /// Goes on in the copy of a file that has been truncated; says whether it could.
    fn go_back(&mut self, rotated: resume::Rotated, place: TailId, file: Rc<dyn DiskFile>) -> bool {
        let Ok(Some(cursor)) = rotated.cursor(place, self.max_line_bytes) else {
            return false;
        };
        self.active = Some(cursor);
        self.later.push_front(Later {
            file,
            gap: rotated.gap,
        });
        for newer in rotated.newer {
            self.later.push_front(newer);
        }
        true
    }

    /// The active file has been read to its end.
    fn at_end(&mut self, now: Now, out: &mut Batch) -> Step {
        let Ok(is_new) = self.look() else {
            return Step::later(now);
        };
        let Some(active) = &mut self.active else {
            return Step::Again;
        };
        active.note_empty();
        if is_new {
            // It may have been written to between our read and its rotation.
            active.look_again(now);
            return Step::Again;
        }
        let succeeded = self.later.iter().any(|later| !is_empty(&*later.file));
        if !succeeded {
            return self.flush(now, out);
        }
        if active.held_back_bytes() > 0 {
            let quiet_at = self.active_since + QUIET;
            if now.monotonic < quiet_at && !is_quiet(&**active.file(), now, QUIET) {
                return Step::Wait(Next::At(quiet_at));
            }
            if self.encoding.emit_unfinished(active, out).is_err() {
                return Step::later(now);
            }
            return Step::Again;
        }
        self.take_in_copies();
        self.advance(now, out);
        Step::Again
    }

    /// Nothing follows the active file, whose end has been reached: its unfinished last
    /// line is a record once it was left alone for as long as the settings say.
    fn flush(&mut self, now: Now, out: &mut Batch) -> Step {
        let (Some(flush), Some(active)) = (self.flush, &mut self.active) else {
            return Step::Wait(Next::Change);
        };
        if active.held_back_bytes() == 0 || active.skips_rest() {
            return Step::Wait(Next::Change);
        }
        let quiet_at = self.active_since + flush;
        if now.monotonic < quiet_at && !is_quiet(&**active.file(), now, flush) {
            return Step::Wait(Next::At(quiet_at));
        }
        match self.encoding.emit_unfinished(active, out) {
            Ok(()) => Step::Again,
            Err(_) => Step::later(now),
        }
    }

    /// The last file of `later` may have been copied and truncated while it was waiting
    /// to be read: then the copies come before it.
    fn take_in_copies(&mut self) {
        let active = self.active.as_ref().map(|active| Rc::clone(active.file()));
        let Some(mut newest) = self.later.pop_back() else {
            return;
        };
        if let (Some(active), Some(current)) = (active, newest.identity())
            && let Ok(listed) = between::between(&mut *self.disk, &*active, current)
        {
            let identities: Vec<_> = listed.files.iter().filter_map(Later::identity).collect();
            // What is no longer in the folder is older than what is.
            self.later.retain(|later| {
                later
                    .identity()
                    .is_none_or(|own| !identities.contains(&own))
            });
            self.later.extend(listed.files);
            newest.gap = newest.gap.or(listed.gap);
        }
        self.later.push_back(newest);
    }

    /// Leaves the active file for the one after it.
    fn advance(&mut self, now: Now, out: &mut Batch) {
        let Some(Later { file, gap }) = self.later.pop_front() else {
            return;
        };
        // What stands before the start of the next file is the end of this one.
        let left = self.active.as_ref().map_or(self.start, Cursor::id);
        let start = TailId {
            offset_bytes: 0,
            ..left
        };
        if let Some(gap) = gap {
            out.gap(&gap, Some(start.event_id()));
        }
        let next = match self.same_place_in(&file, left) {
            Some(cursor) => cursor,
            None => Cursor::at_start(file, start, self.max_line_bytes),
        };
        if let Some(cursor) = self.active.replace(next) {
            self.lingering.push(Lingering {
                cursor,
                since: self.active_since,
            });
            if self.lingering.len() > LINGERING_MAX {
                self.lingering.remove(0);
            }
        }
        self.active_since = now.monotonic;
    }

    /// A cursor at the place `left` of the next file, if what was left is known to stand in
    /// it as well: between copy and truncation both hold the same, and a file that was
    /// replaced by a longer one of the same beginning only grew. In a chain of renames it
    /// would be a coincidence: there what comes next is younger, and what was left keeps
    /// a name.
    fn same_place_in(&self, next: &Rc<dyn DiskFile>, left: TailId) -> Option<Cursor> {
        let left_file = self.active.as_ref()?.file().stat().ok()?;
        let is_copy = next.stat().ok()?.born_ns? < left_file.born_ns?;
        let is_replaced = left_file.links == 0;
        if left.offset_bytes == 0 || !(is_copy || is_replaced) {
            return None;
        }
        if !anchor::matches(&**next, left).ok()? {
            return None;
        }
        Cursor::at(Rc::clone(next), left.offset_bytes, self.max_line_bytes).ok()?
    }

    /// Looks whether the path names another file by now, and takes it and those that
    /// came and went in between into `later`. Tells whether there were any.
    fn look(&mut self) -> io::Result<bool> {
        let named = match self.disk.identity() {
            Ok(identity) => identity,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let later = self.later.back().map(|later| &later.file);
        let active = self.active.as_ref().map(Cursor::file);
        let Some(newest) = later.or(active).map(Rc::clone) else {
            return Ok(false);
        };
        // We hold the file open, so its inode cannot have been given to another.
        if named == newest.identity()? {
            return Ok(false);
        }
        let known = newest.stat()?;
        // First what the path names: whatever is rotated after this is seen next time.
        let current = self.disk.open()?;
        let opened = current.identity()?;
        if opened == known.identity {
            return Ok(false);
        }
        let between = between::between(&mut *self.disk, &*newest, opened)?;
        self.later.extend(between.files);
        self.later.push_back(Later {
            file: current,
            gap: between.gap,
        });
        Ok(true)
    }

    /// The active file is not the one that was read so far.
    fn rewritten(&mut self, now: Now, out: &mut Batch) -> Step {
        let Some(active) = &mut self.active else {
            return Step::Again;
        };
        let file = Rc::clone(active.file());
        let place = active.id();
        let (Ok(stat), Ok(still_there)) = (file.stat(), active.still_there()) else {
            return Step::later(now);
        };
        self.active_since = now.monotonic;
        if still_there && place.offset_bytes > 0 {
            // Only what was held back has been written over, and nobody has seen that.
            active.read_held_back_anew();
            return Step::Again;
        }
        let own = Some(stat.identity);
        let Ok(rotated) = resume::find_rotated(&mut *self.disk, place, own) else {
            return Step::later(now);
        };
        // Copied and truncated: the copy holds what we had not read.
        if let Some(rotated) = rotated
            && self.go_back(rotated, place, Rc::clone(&file))
        {
            return Step::Again;
        }
        let Some(active) = &mut self.active else {
            return Step::Again;
        };
        if still_there && stat.size_bytes >= active.known_end() {
            active.read_held_back_anew();
            return Step::Again;
        }
        let Ok(start) = resume::start_id(&mut *self.disk, own) else {
            return Step::later(now);
        };
        let gap = Gap {
            file: resume::newest_compressed(&mut *self.disk),
            ..Gap::new(Reason::Truncated)
        };
        out.gap(&gap, Some(start.event_id()));
        self.active = Some(Cursor::at_start(file, start, self.max_line_bytes));
        Step::Again
    }

    /// Once the place is found, it is told: the stream opened without one.
    fn poll_search(&mut self, now: Now, out: &mut Batch) -> Next {
        match self.search_on() {
            Ok(true) => out.place(&self.place().event_id()),
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
        place == own || (place == start && has_all())
    }
}

fn is_empty(file: &dyn DiskFile) -> bool {
    file.stat().is_ok_and(|stat| stat.size_bytes == 0)
}

/// Whether nobody has written to the file for a while, by its own time: a process that
/// comes later need not wait again.
fn is_quiet(file: &dyn DiskFile, now: Now, quiet: Duration) -> bool {
    let now_ns = i128::from(now.unix_ms) * 1_000_000;
    file.stat()
        .is_ok_and(|stat| now_ns - stat.modified_ns >= quiet.as_nanos() as i128)
}

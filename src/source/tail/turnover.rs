//! What a follower does at the end of a file: whether another one has taken its place,
//! which files come next, and whether the file is still the one that was read.

mod copies;

use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::between::{Fate, between};
use super::cursor::Cursor;
use super::disk::DiskFile;
use super::past;
use super::replaced::{Beginning, EditedIf, beginning, holds_two_records, is_edited};
use super::{
    Came, LINGERING_MAX, Later, Lingering, QUIET, Step, TRY_AGAIN, Tail, TailId, anchor, backlog,
    unix_ns,
};
use crate::event::{Batch, Gap, Reason};
use crate::source::{Next, Now};

impl Tail {
    /// Notes which rotated files are older than what is followed now, where the file's own
    /// time of creation does not tell: then a file that is found later is newer.
    pub(super) fn note_siblings(&mut self, now: Now) -> io::Result<()> {
        self.seen.named_ns = unix_ns(now);
        // What happened to the path before is no news.
        self.disk.was_moved_in();
        self.note_older()
    }

    /// As [`Tail::note_siblings`], once there is a place, of what was there when the path was
    /// looked at last.
    pub(super) fn note_older(&mut self) -> io::Result<()> {
        let later = self.later.iter().map(|later| &later.file);
        let files = later.chain(self.active.as_ref().map(Cursor::file));
        let files: Vec<Rc<dyn DiskFile>> = files.map(Rc::clone).collect();
        for file in &files {
            self.seen.add(file.stat()?);
        }
        let newest = self.later.back().map(|later| &later.file);
        let newest = newest.or(self.active.as_ref().map(Cursor::file));
        let Some(newest) = newest.map(Rc::clone) else {
            return Ok(());
        };
        if self.seen.is_complete() {
            return Ok(());
        }
        let listed = match self.listed.take() {
            Some(listed) => listed,
            None => {
                let listed = past::all_siblings(&mut *self.disk)?;
                let identity = newest.stat()?.identity;
                // Otherwise it has been rotated since: some of them may be newer.
                if { self.disk.stat() }.is_ok_and(|named| named.identity == identity) {
                    listed
                } else {
                    return Ok(());
                }
            }
        };
        self.seen.complete(listed.iter());
        self.note_copy(&listed, &files)
    }

    /// The active file has been read to its end.
    pub(super) fn at_end(&mut self, now: Now, out: &mut Batch) -> Step {
        let Ok(is_new) = self.look(now) else {
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
        match self.beginning_of_next() {
            Ok(Beginning::Same) => {
                // Whatever was said to lie in between: nothing does.
                return match self.advance(now) {
                    Ok(()) => Step::Again,
                    Err(_) => Step::later(now),
                };
            }
            Ok(Beginning::Unfinished(modified_ns)) => {
                // An editor writes all of it within moments; the last of it perhaps after
                // `now`, which is read before the file.
                let age_ns = unix_ns(now) - modified_ns;
                if age_ns.unsigned_abs() < TRY_AGAIN.as_nanos() {
                    return Step::later(now);
                }
            }
            Ok(Beginning::Other) => {}
            Err(_) => return Step::later(now),
        }
        let Some(active) = &mut self.active else {
            return Step::Again;
        };
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
        self.take_in_copies(now);
        if self.advance_to_other(now, out).is_err() {
            return Step::later(now);
        }
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

    /// Whether the next file begins with what was read of the active one, where it took
    /// that one's place. In a chain of renames it would be a coincidence: there what was
    /// left keeps a name, and what comes next is younger and grows.
    fn beginning_of_next(&self) -> io::Result<Beginning> {
        let (Some(active), Some(next)) = (&self.active, self.later.front()) else {
            return Ok(Beginning::Other);
        };
        // A place in the middle of a line is one of this file only.
        if !active.is_at_record_end() {
            return Ok(Beginning::Other);
        }
        let left = active.file();
        let is_replaced = match next.came {
            Came::ByRotation => false,
            Came::MovedIn(fate) => fate != Fate::Unmoved,
            // An editor may have given its backup a name such as a rotation gives. A single
            // line that comes again and again tells nothing.
            Came::Created(Fate::Rotated) => {
                return match holds_two_records(&**left, active.offset())? {
                    true => Ok(beginning(&**left, active.id(), &*next.file)?.if_unfinished()),
                    false => Ok(Beginning::Other),
                };
            }
            Came::Created(fate) => matches!(fate, Fate::Removed | Fate::Renamed),
        };
        // Between copy and truncation both hold the same.
        let is_original = match (next.file.stat()?.born_ns, left.stat()?.born_ns) {
            (Some(next_ns), Some(left_ns)) => next_ns < left_ns,
            _ => false,
        };
        if is_replaced {
            return beginning(&**left, active.id(), &*next.file);
        }
        if is_original && active.offset() > 0 && anchor::matches(&*next.file, active.id())? {
            return Ok(Beginning::Same);
        }
        Ok(Beginning::Other)
    }

    /// Leaves the active file for the one after it, which has the same place.
    fn advance(&mut self, now: Now) -> io::Result<()> {
        let (Some(active), Some(next)) = (&self.active, self.later.front()) else {
            return Ok(());
        };
        let file = Rc::clone(&next.file);
        // Otherwise it has been truncated since, and has no such place.
        if let Some(cursor) = Cursor::at(file, active.offset(), self.max_line_bytes)? {
            let is_copy = self.is_copy_of_next()?;
            self.later.pop_front();
            self.leave_for(cursor, is_copy, now);
        }
        Ok(())
    }

    /// Leaves the active file for the start of the one after it.
    fn advance_to_other(&mut self, now: Now, out: &mut Batch) -> io::Result<()> {
        let Some(next) = self.later.front() else {
            return Ok(());
        };
        let file = Rc::clone(&next.file);
        let mut gap = next.gap.clone();
        let is_edit = self.is_edited_by(next)?;
        if is_edit {
            gap = gap.or_else(|| Some(Gap::new(Reason::Rotated)));
        }
        let next = file.stat()?;
        let start = match self.end_before_next().filter(|_| gap.is_none()) {
            Some(end) => end.bound_to(&next),
            None => past::start_id(&mut *self.disk, Some(next))
                .unwrap_or_else(|_| self.place().bound_to(&next)),
        };
        let cursor = match is_edit {
            true => self.within_reach(&file, start)?,
            false => Cursor::at_start(file, start, self.max_line_bytes),
        };
        let is_copy = self.is_copy_of_next()?;
        self.later.pop_front();
        if let Some(gap) = gap {
            out.gap(&gap, Some(cursor.id().event_id()));
        }
        self.leave_for(cursor, is_copy, now);
        Ok(())
    }

    /// Whether the next file is an edited active one.
    fn is_edited_by(&self, next: &Later) -> io::Result<bool> {
        let Some(active) = &self.active else {
            return Ok(false);
        };
        let edited_if = match next.came {
            // Other files may have had the name as well.
            Came::MovedIn(Fate::Renamed) | Came::Created(Fate::Renamed) => return Ok(true),
            // What an editor writes is younger than what it replaces.
            Came::MovedIn(Fate::Removed) if is_younger(&*next.file, &**active.file())? => {
                EditedIf::AlsoIfSimilar
            }
            // A backup may have a name such as a rotation gives.
            Came::MovedIn(Fate::Removed | Fate::Rotated) | Came::Created(Fate::Removed) => {
                EditedIf::OneIsInBoth
            }
            Came::Created(Fate::Rotated) => EditedIf::HalfIsInBoth,
            Came::MovedIn(Fate::Unmoved) | Came::Created(_) | Came::ByRotation => {
                return Ok(false);
            }
        };
        is_edited(&**active.file(), active.offset(), &*next.file, edited_if)
    }

    /// What stands before the start of the next file: the end of this one, or, where this
    /// one was left empty, of the last one before it that was not.
    fn end_before_next(&self) -> Option<TailId> {
        let left = self.lingering.iter().rev().map(|left| &left.cursor);
        let mut left = self.active.iter().chain(left);
        left.find(|cursor| cursor.offset() > 0).map(Cursor::id)
    }

    /// A cursor at the start of a file that was edited, or as far before its end as may be
    /// sent again.
    fn within_reach(&mut self, file: &Rc<dyn DiskFile>, start: TailId) -> io::Result<Cursor> {
        let end = file.stat()?.size_bytes;
        let from = end.saturating_sub(self.replay_bytes);
        let from = backlog::line_start_from(&**file, from, end)?;
        if from > 0 {
            if let Some(cursor) = self.cursor_at_line(file, from)? {
                return Ok(cursor);
            }
        }
        Ok(Cursor::at_start(
            Rc::clone(file),
            start,
            self.max_line_bytes,
        ))
    }

    fn leave_for(&mut self, next: Cursor, is_copy: bool, now: Now) {
        match self.active.replace(next) {
            // What is still copied is in the next file, too.
            Some(copy) if is_copy => {
                if let (Ok(stat), true) = (copy.file().stat(), self.later.is_empty()) {
                    self.seen.note_copy(stat);
                }
            }
            Some(cursor) => {
                self.lingering.push(Lingering {
                    cursor,
                    since: self.active_since,
                });
                if self.lingering.len() > LINGERING_MAX {
                    self.lingering.remove(0);
                }
            }
            None => {}
        }
        self.active_since = now.monotonic;
    }

    /// Looks whether the path names another file by now, and takes it and those that
    /// came and went in between into `later`. Tells whether there were any.
    fn look(&mut self, now: Now) -> io::Result<bool> {
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
            // It was moved away and back, if at all.
            self.disk.was_moved_in();
            return Ok(false);
        }
        let known = newest.stat()?;
        // First what the path names: whatever is rotated after this is seen next time.
        let current = self.disk.open()?;
        let opened = current.stat()?;
        if opened.identity == known.identity {
            return Ok(false);
        }
        let found = between(&mut *self.disk, &*newest, &self.seen, opened, unix_ns(now))?;
        let was_moved_in = self.disk.was_moved_in();
        let came = match (found.files.is_empty(), was_moved_in, found.fate) {
            (false, ..) => Came::ByRotation,
            (true, true, fate) => Came::MovedIn(fate),
            (true, false, fate) => Came::Created(fate),
        };
        self.later.extend(found.files);
        self.later.push_back(Later {
            file: current,
            gap: found.gap,
            came,
        });
        self.seen = found.seen;
        Ok(true)
    }

    /// The active file is not the one that was read so far.
    pub(super) fn rewritten(&mut self, now: Now, out: &mut Batch) -> Step {
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
        let Ok(rotated) = self.find_copy(&file, place) else {
            return Step::later(now);
        };
        // Copied and truncated: the copy holds what we had not read.
        if let Some(rotated) = rotated {
            let doubt = rotated.doubt.clone();
            if self.go_back(rotated, place, Rc::clone(&file)) {
                if let Some(doubt) = doubt {
                    out.gap(&doubt, Some(place.event_id()));
                }
                return Step::Again;
            }
        }
        let Some(active) = &mut self.active else {
            return Step::Again;
        };
        if still_there && stat.size_bytes >= active.known_end() {
            active.read_held_back_anew();
            return Step::Again;
        }
        let Ok(start) = past::start_id(&mut *self.disk, Some(stat)) else {
            return Step::later(now);
        };
        let gap = Gap {
            file: past::newest_compressed(&mut *self.disk),
            ..Gap::new(Reason::Truncated)
        };
        let Ok(cursor) = self.within_reach(&file, start) else {
            return Step::later(now);
        };
        out.gap(&gap, Some(cursor.id().event_id()));
        self.active = Some(cursor);
        Step::Again
    }
}

fn is_younger(file: &dyn DiskFile, other: &dyn DiskFile) -> io::Result<bool> {
    let born = file.stat()?.born_ns.zip(other.stat()?.born_ns);
    Ok(born.is_some_and(|(ns, other_ns)| ns > other_ns))
}

pub(super) fn is_empty(file: &dyn DiskFile) -> bool {
    file.stat().is_ok_and(|stat| stat.size_bytes == 0)
}

/// Whether nobody has written to the file for a while, by its own time: a process that
/// comes later need not wait again.
fn is_quiet(file: &dyn DiskFile, now: Now, quiet: Duration) -> bool {
    let now_ns = i128::from(now.unix_ms) * 1_000_000;
    file.stat()
        .is_ok_and(|stat| now_ns - stat.modified_ns >= quiet.as_nanos() as i128)
}

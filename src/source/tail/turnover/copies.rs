//! Copies that are made of a file before it is truncated: logrotate's `copytruncate`.
//!
//! ```text
//!            create     copy        truncate
//!   log      ───────────────────────┤├────────   the same file all the time
//!   log.1         ├─────────┤                    born later, holds what log held
//! ```
//!
//! Between copy and truncation, both files hold the same. A copy is then no file that comes
//! before or after the log, but it must be known afterwards: what was not read of the log, or
//! even nothing, is in the copy, and no gap is due.

use std::io;
use std::rc::Rc;

use super::super::anchor::{self, TailId};
use super::super::between::{Between, between};
use super::super::disk::{DiskFile, Sibling};
use super::super::past::{self, Rotated};
use super::super::{Came, Later, Step, Tail, unix_ns};
use crate::source::Now;

impl Tail {
    /// Notes which of the rotated files is a copy of the newest file, of which `followed` are
    /// no copies.
    pub(super) fn note_copy(
        &mut self,
        listed: &[Sibling],
        followed: &[Rc<dyn DiskFile>],
    ) -> io::Result<()> {
        let (newest, place) = match (self.later.back(), &self.active) {
            (Some(later), _) => (Rc::clone(&later.file), None),
            (None, Some(active)) => (Rc::clone(active.file()), Some(active.id())),
            (None, None) => return Ok(()),
        };
        let own_born_ns = newest.stat()?.born_ns;
        // One is made after the other; the newest is listed first.
        let readable = { listed.iter().rev() }.filter(|sibling| !sibling.is_compressed());
        let Some(last) = readable.max_by_key(|sibling| sibling.stat.born_ns) else {
            return Ok(());
        };
        let is_younger = last.stat.born_ns.zip(own_born_ns);
        if is_younger.is_none_or(|(ns, own_ns)| ns < own_ns) {
            return Ok(());
        }
        for file in followed {
            if file.stat()?.identity == last.stat.identity {
                return Ok(());
            }
        }
        // Renamed meanwhile, it is a copy that is complete.
        let Ok(copy) = self.disk.open_sibling(&last.name) else {
            return Ok(());
        };
        let stat = copy.stat()?;
        if stat.identity == last.stat.identity && is_copy_of(&*copy, &*newest, place)? {
            self.seen.note_copy(stat);
        }
        Ok(())
    }

    /// Whether the active file is a copy of the one after it: of what that was before a
    /// truncation which is still to come.
    pub(super) fn is_copy_of_next(&self) -> io::Result<bool> {
        let (Some(active), Some(next)) = (&self.active, self.later.front()) else {
            return Ok(false);
        };
        let (copy, next_ns) = (&**active.file(), next.file.stat()?.born_ns);
        let is_younger = copy.stat()?.born_ns.zip(next_ns);
        Ok(next.came == Came::ByRotation
            && is_younger.is_some_and(|(ns, next_ns)| ns > next_ns)
            && is_copy_of(copy, &*next.file, None)?)
    }

    /// The active file was empty, and is no longer: what was written to it first may have
    /// been copied and truncated away since it was looked at last.
    pub(in super::super) fn first_bytes(&mut self, now: Now) -> Step {
        let Some(active) = &self.active else {
            return Step::Again;
        };
        let file = Rc::clone(active.file());
        let place = active.id();
        let Ok(rotated) = self.find_copy(&file, place) else {
            return Step::later(now);
        };
        if let Some(rotated) = rotated {
            self.go_back(rotated, place, file);
        }
        Step::Again
    }

    /// The copy of a file, made before that was truncated, that holds the place.
    pub(super) fn find_copy(
        &mut self,
        file: &Rc<dyn DiskFile>,
        place: TailId,
    ) -> io::Result<Option<Rotated>> {
        let own = file.stat()?;
        let seen = &self.seen;
        let is_new = |sibling: &Sibling| {
            (!seen.holds(sibling) || seen.is_copy(sibling))
                && (sibling.stat.born_ns.zip(own.born_ns)).is_none_or(|(ns, own_ns)| ns >= own_ns)
        };
        past::find_rotated(&mut *self.disk, place, Some(own), is_new)
    }

    /// Goes on in the copy of a file that has been truncated; says whether it could.
    pub(super) fn go_back(
        &mut self,
        rotated: Rotated,
        place: TailId,
        file: Rc<dyn DiskFile>,
    ) -> bool {
        let Ok(Some(cursor)) = rotated.cursor(place, self.max_line_bytes) else {
            return false;
        };
        // They are not to be found once more.
        let copies = { rotated.newer.iter() }.map(|later| &later.file);
        for copy in copies.chain([&rotated.file]) {
            if let Ok(stat) = copy.stat() {
                self.seen.add(stat);
            }
        }
        rotated.older.iter().for_each(|stat| self.seen.add(*stat));
        self.active = Some(cursor);
        self.later.push_front(Later {
            gap: rotated.gap,
            ..Later::at_once(file)
        });
        for newer in rotated.newer {
            self.later.push_front(newer);
        }
        true
    }

    /// The last file of `later` may have been copied and truncated while it was waiting
    /// to be read: then the copies come before it.
    pub(super) fn take_in_copies(&mut self, now: Now) {
        let Some(newest) = self.later.back().map(|later| Rc::clone(&later.file)) else {
            return;
        };
        let Ok(own) = newest.stat() else { return };
        let listed = between(&mut *self.disk, &*newest, &self.seen, own, unix_ns(now));
        let Ok(Between {
            files, gap, seen, ..
        }) = listed
        else {
            return;
        };
        if files.is_empty() {
            return;
        }
        self.seen = seen;
        if let Some(mut newest) = self.later.pop_back() {
            newest.gap = newest.gap.or(gap);
            newest.came = Came::ByRotation;
            self.later.extend(files);
            self.later.push_back(newest);
        }
    }
}

/// Whether a file holds what `original` holds, as far as it has been copied, or what that held
/// up to `place` before it was truncated.
fn is_copy_of(
    copy: &dyn DiskFile,
    original: &dyn DiskFile,
    place: Option<TailId>,
) -> io::Result<bool> {
    let (copied_bytes, own_bytes) = (copy.stat()?.size_bytes, original.stat()?.size_bytes);
    if let Some(place) = place.filter(|place| own_bytes < place.offset_bytes) {
        return anchor::matches(copy, place);
    }
    if copied_bytes == 0 {
        return Ok(true);
    }
    match anchor::id_at(original, copied_bytes)? {
        Some(end) => anchor::matches(copy, end),
        None => Ok(false),
    }
}

//! The rotated files of the past: in which of them a place is.

use std::collections::HashSet;
use std::io;
use std::rc::Rc;

use super::Later;
use super::anchor::{self, TailId};
use super::cursor::Cursor;
use super::disk::{Disk, DiskFile, Sibling, Stat};
use super::order::{is_contradicted, newest_first};
use super::resume::cursor_at;
use super::siblings::SIBLINGS_MAX;
use crate::event::{Gap, Reason};

/// The rotated files, newest first, that are older than the one with the identity `own`.
///
/// # Errors
/// A chain is renamed file by file, and a listing in the middle of that can miss one or
/// show one twice: it is believed when two in a row agree.
fn past(disk: &mut dyn Disk, own: Option<Stat>) -> io::Result<Vec<Sibling>> {
    let before = all_siblings(disk)?;
    let mut past = all_siblings(disk)?;
    if !is_same(&before, &past) {
        return Err(rotating());
    }
    // Two names of one file are one file.
    let mut identities = HashSet::new();
    past.retain(|sibling| identities.insert(sibling.stat.identity));
    // Rotated between our opening it and now, a file is not its own past, and what has
    // come after it will be found by looking at the path again.
    if let Some(own) = own {
        let at = past.iter().position(|s| s.stat.identity == own.identity);
        past.drain(..at.map_or(0, |at| at + 1));
        past.retain(|sibling| !sibling.is_other_log(&own));
    }
    past.truncate(SIBLINGS_MAX);
    Ok(past)
}

/// Whether two listings show the same files under the same names. One that is written to
/// meanwhile is still the same.
pub(super) fn is_same(one: &[Sibling], other: &[Sibling]) -> bool {
    let file = |s: &Sibling| (s.name.clone(), s.stat.identity);
    one.iter().map(file).eq(other.iter().map(file))
}

/// Opens a file that was listed; `None` when it cannot be read.
///
/// # Errors
/// When its name is another's by now.
fn open_listed(disk: &mut dyn Disk, sibling: &Sibling) -> io::Result<Option<Rc<dyn DiskFile>>> {
    match disk.open_sibling(&sibling.name) {
        Ok(file) if file.stat()?.identity == sibling.stat.identity => Ok(Some(file)),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Ok(None),
        _ => Err(rotating()),
    }
}

fn rotating() -> io::Error {
    io::Error::other("being rotated at this moment")
}

/// Does what a rotation in the middle of it can spoil, again if it did.
fn unspoilt<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..ATTEMPTS_MAX {
        if let Ok(done) = attempt() {
            return Ok(done);
        }
    }
    attempt()
}

/// A rotation is over in a fraction of this. Whoever rotates for longer is not waited for.
const ATTEMPTS_MAX: usize = 64;

pub(super) fn all_siblings(disk: &mut dyn Disk) -> io::Result<Vec<Sibling>> {
    Ok(newest_first(disk.siblings()?))
}

/// That a rotated file cannot be read.
pub(super) fn lost(name: &str) -> Gap {
    Gap {
        file: Some(name.into()),
        ..Gap::new(Reason::Rotated)
    }
}

/// A rotated file that a client was reading, and those that are newer.
pub(super) struct Rotated {
    pub(super) file: Rc<dyn DiskFile>,
    /// Newest first.
    pub(super) newer: Vec<Later>,
    /// Those that are older, which are not to be read.
    pub(super) older: Vec<Stat>,
    /// What to say after these, before the file that was not rotated.
    pub(super) gap: Option<Gap>,
    /// What to say first, where the place is in several files: it may have been another.
    pub(super) doubt: Option<Gap>,
}

impl Rotated {
    /// A cursor in the file at the place that it was found by.
    pub(super) fn cursor(&self, id: TailId, max_line_bytes: usize) -> io::Result<Option<Cursor>> {
        cursor_at(&self.file, id, max_line_bytes)
    }

    pub(super) fn ends_at(&self, id: TailId) -> bool {
        { self.file.stat() }.is_ok_and(|stat| stat.size_bytes == id.offset_bytes)
    }
}

/// Where else a place is that is looked for in rotated files.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AlsoIn {
    Nothing,
    /// In the file that is followed, with the same bytes before it.
    Current,
}

/// The rotated file in which `id` is a place, of those that are older than `own`, which
/// is the file that is followed.
///
/// # Errors
/// When the files are being rotated all the time.
pub(super) fn find(
    disk: &mut dyn Disk,
    id: TailId,
    own: Option<Stat>,
    also_in: AlsoIn,
) -> io::Result<Option<Rotated>> {
    unspoilt(|| {
        let mut past = past(disk, own)?;
        if also_in == AlsoIn::Current {
            // A copy that was made before the file is truncated has the place as well.
            past.retain(|sibling| !is_later_born(sibling, own));
        }
        find_in_past(disk, &past, id, own, &|_| true)
    })
}

/// The rotated file in which `id`, a place in the file that is followed, is now: a copy of
/// that file, which has been truncated. `is_new` tells which files may be one.
///
/// # Errors
/// As [`find`].
pub(super) fn find_rotated(
    disk: &mut dyn Disk,
    id: TailId,
    own: Option<Stat>,
    is_new: impl Fn(&Sibling) -> bool,
) -> io::Result<Option<Rotated>> {
    unspoilt(|| {
        let past = past(disk, own)?;
        find_in_past(disk, &past, id, own, &is_new)
    })
}

fn is_later_born(sibling: &Sibling, own: Option<Stat>) -> bool {
    let own_ns = own.and_then(|own| own.born_ns);
    own_ns.is_some_and(|own_ns| sibling.stat.born_ns.is_some_and(|ns| ns > own_ns))
}

/// Whether `id` is the start of the file `own`, or of one before it that was left empty.
pub(super) fn is_start(disk: &mut dyn Disk, own: Option<Stat>, id: TailId) -> io::Result<bool> {
    unspoilt(|| {
        let past = past(disk, own)?;
        starts_at(disk, own, &past.iter().collect::<Vec<_>>(), id)
    })
}

fn find_in_past(
    disk: &mut dyn Disk,
    past: &[Sibling],
    id: TailId,
    own: Option<Stat>,
    may_be: &dyn Fn(&Sibling) -> bool,
) -> io::Result<Option<Rotated>> {
    let past: Vec<&Sibling> = past.iter().collect();
    if id.offset_bytes == 0 && starts_at(disk, own, &past, id)? {
        return Ok(None);
    }
    let mut found = Vec::new();
    for (at, sibling) in past.iter().enumerate() {
        let is_long_enough = sibling.stat.size_bytes >= id.offset_bytes;
        // An empty file holds no place.
        let is_empty = sibling.stat.size_bytes == 0;
        if is_empty || sibling.is_compressed() || !is_long_enough || !may_be(sibling) {
            continue;
        }
        let Some(file) = open_listed(disk, sibling)? else {
            continue;
        };
        let is_it = match id.offset_bytes {
            0 => {
                let older = &past[at + 1..];
                let copied = own.filter(|_| is_later_born(sibling, own));
                starts_at(disk, Some(sibling.stat), older, id)?
                    || (copied.is_some() && starts_at(disk, copied, older, id)?)
            }
            _ => anchor::matches(&*file, id).is_ok_and(|same| same),
        };
        if is_it {
            found.push((at, file));
        }
        if found.len() == 2 || (is_it && id.offset_bytes == 0) {
            break;
        }
    }
    let doubt = (found.len() > 1).then(|| Gap::new(Reason::Rotated));
    let Some((at, file)) = found.pop() else {
        return Ok(None);
    };
    let (newer, gap) = newer_than(disk, &past, at)?;
    Ok(Some(Rotated {
        file,
        newer,
        older: past[at + 1..].iter().map(|older| older.stat).collect(),
        gap,
        doubt,
    }))
}

/// The files that are newer than the one at `at`, newest first, and what to say after them.
fn newer_than(
    disk: &mut dyn Disk,
    past: &[&Sibling],
    at: usize,
) -> io::Result<(Vec<Later>, Option<Gap>)> {
    let is_in_line =
        |s: &&&Sibling| s.stat.size_bytes > 0 && (s.form == past[at].form || !s.is_doubtful());
    let line: Vec<&&Sibling> = past[..at].iter().filter(is_in_line).collect();
    let mut newer: Vec<Later> = Vec::new();
    let mut gap = None;
    for (index, sibling) in line.iter().enumerate() {
        let opened = match sibling.is_compressed() {
            true => None,
            false => open_listed(disk, sibling)?,
        };
        let older = line.get(index + 1).map_or(past[at], |older| **older);
        let is_doubtful = is_contradicted(sibling, older);
        match opened {
            Some(file) => newer.push(Later {
                gap: is_doubtful.then(|| Gap::new(Reason::Rotated)),
                ..Later::at_once(file)
            }),
            None => {
                let place = newer.last_mut().map_or(&mut gap, |later| &mut later.gap);
                *place = place.take().or_else(|| Some(lost(&sibling.name)));
            }
        }
    }
    Ok((newer, gap))
}

/// Whether `id` is the start of the file with the state `file`, or of one that was not
/// there yet, which came after all of `older`, newest first: after the newest of them, or,
/// where a gap was said, after the newest that can be read.
fn starts_at(
    disk: &mut dyn Disk,
    file: Option<Stat>,
    older: &[&Sibling],
    id: TailId,
) -> io::Result<bool> {
    // An empty file leaves nothing to anchor in; its start is that of the next file.
    let empty: Vec<Stat> = { older.iter() }
        .map(|sibling| sibling.stat)
        .take_while(|stat| stat.size_bytes == 0)
        .collect();
    let older = &older[empty.len()..];
    let mut starts_after = |predecessor: Option<&&Sibling>| -> io::Result<bool> {
        let opened = match predecessor {
            Some(older) => open_listed(disk, older)?,
            None => None,
        };
        let start = TailId::start_after(opened.as_deref());
        let mut files = file.iter().chain(&empty);
        Ok(start == id || files.any(|file| start.bound_to(file) == id))
    };
    if starts_after(older.first())? {
        return Ok(true);
    }
    let is_readable = |s: &&&Sibling| s.stat.size_bytes > 0 && !s.is_compressed();
    match older.iter().find(is_readable) {
        Some(readable) => starts_after(Some(readable)),
        None => Ok(false),
    }
}

/// The id of the start of the file `own`, or, without, of the file that the path will
/// name.
///
/// # Errors
/// As [`find_rotated`].
pub(super) fn start_id(disk: &mut dyn Disk, own: Option<Stat>) -> io::Result<TailId> {
    let unbound = start_after_past(disk, own)?;
    Ok(own.map_or(unbound, |own| unbound.bound_to(&own)))
}

pub(super) fn start_after_past(disk: &mut dyn Disk, own: Option<Stat>) -> io::Result<TailId> {
    unspoilt(|| {
        let past = past(disk, own)?;
        let newest = match past.iter().find(|s| s.stat.size_bytes > 0) {
            Some(newest) => open_listed(disk, newest)?,
            None => None,
        };
        Ok(TailId::start_after(newest.as_deref()))
    })
}

/// The newest rotated file that may hold what is missing, but cannot be read.
pub(super) fn newest_compressed(disk: &mut dyn Disk) -> Option<String> {
    let siblings = all_siblings(disk).unwrap_or_default();
    { siblings.into_iter() }
        .take(SIBLINGS_MAX)
        .find(Sibling::is_compressed)
        .map(|s| s.name)
}

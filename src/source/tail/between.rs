//! The files that came and went between two looks at a path.

use std::cmp::Ordering;
use std::io;

use super::Later;
use super::anchor;
use super::disk::{Disk, DiskFile, Sibling, Stat, Whereabouts};
use super::order::is_contradicted;
use super::past::{all_siblings, is_same, lost};
use crate::event::{Gap, Reason};

/// How often a listing is repeated until two agree.
const LISTINGS_MAX: usize = 8;

/// How many rotated files a follower that was held up opens at once.
const LATER_MAX: usize = 64;

/// How far the time that a file system gives a file may be behind the clock: it is that
/// of the last tick.
const TICK_NS: i128 = 20_000_000;

/// Rotated files that are known to be older than the newest that is read, or to be read
/// already.
pub(super) struct Seen {
    /// When the newest file was named by the path, in nanoseconds since 1970: what was
    /// created before that is older.
    pub(super) named_ns: i128,
    files: Vec<Stat>,
    /// All that were there at that time are in `files`.
    is_complete: bool,
    /// A copy of the newest file, which that is going to be truncated after. It is no file to
    /// be read as long as it is not, but what the place is looked for in afterwards.
    copy: Option<Stat>,
}

impl Seen {
    /// None of them, at a time when the newest file is named by the path.
    pub(super) fn nothing(named_ns: i128) -> Self {
        Self {
            named_ns,
            files: Vec::new(),
            is_complete: false,
            copy: None,
        }
    }

    /// All that are in a listing.
    pub(super) fn all<'a>(named_ns: i128, listed: impl Iterator<Item = &'a Sibling>) -> Self {
        Self {
            named_ns,
            files: listed.map(|s| s.stat).collect(),
            is_complete: true,
            copy: None,
        }
    }

    /// Notes all that were listed when the newest file was named.
    pub(super) fn complete<'a>(&mut self, listed: impl Iterator<Item = &'a Sibling>) {
        self.files.extend(listed.map(|s| s.stat));
        self.is_complete = true;
    }

    /// Notes one more file.
    pub(super) fn add(&mut self, stat: Stat) {
        if self.copy.is_some_and(|copy| is_one(&copy, &stat)) {
            self.copy = None;
        }
        self.files.push(stat);
    }

    /// Notes that one of the files holds what the newest file holds, as far as that has been
    /// copied.
    pub(super) fn note_copy(&mut self, stat: Stat) {
        self.add(stat);
        self.copy = Some(stat);
    }

    /// Whether a file is a copy of the newest one.
    pub(super) fn is_copy(&self, sibling: &Sibling) -> bool {
        let is_it = |copy| is_one(&copy, &sibling.stat);
        self.copy.is_some_and(is_it) && !sibling.is_compressed()
    }

    /// Whether it tells all files that are older. A time of creation alone does not: a copy
    /// that was made before a truncation is younger than the file.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Whether a file was there already.
    pub(super) fn holds(&self, sibling: &Sibling) -> bool {
        let stat = &sibling.stat;
        let is_it = |seen: &Stat| {
            // What is compressed is another file, with the original's time.
            let is_compressed = sibling.is_compressed() && seen.modified_ns == stat.modified_ns;
            is_compressed || is_one(seen, stat)
        };
        let is_older = |ns: i128| ns + TICK_NS < self.named_ns && !sibling.is_compressed();
        stat.born_ns.is_some_and(is_older) || self.files.iter().any(is_it)
    }
}

/// Whether two states are of one file. An inode may have been used again.
fn is_one(seen: &Stat, stat: &Stat) -> bool {
    seen.identity == stat.identity && seen.born_ns == stat.born_ns
}

/// What became of the file that was followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is one of the rotated files, or was.
    Rotated,
    /// It was removed, or replaced by the one that has its name now.
    Removed,
    /// It was renamed to a name that tells nothing.
    Renamed,
    /// It is where it was: the path leads elsewhere.
    Unmoved,
}

/// What came between two files.
pub(super) struct Between {
    /// What can be read of it, oldest first.
    pub(super) files: Vec<Later>,
    /// What to say after these, before the newer of the two.
    pub(super) gap: Option<Gap>,
    /// What became of the older of the two.
    pub(super) fate: Fate,
    /// All that are older than the newer of the two.
    pub(super) seen: Seen,
}

/// The file that was the newest at the last look.
struct Held<'a> {
    file: &'a dyn DiskFile,
    stat: Stat,
    seen: &'a Seen,
    /// The path still names it: what is looked for are copies of it.
    is_followed: bool,
}

/// The files that were rotated after `old`, which is held open, and before `current`,
/// which the path named at `now_ns`.
///
/// # Errors
/// When the folder cannot be listed now.
pub(super) fn between(
    disk: &mut dyn Disk,
    old: &dyn DiskFile,
    seen: &Seen,
    current: Stat,
    now_ns: i128,
) -> io::Result<Between> {
    let stat = old.stat()?;
    let held = Held {
        file: old,
        stat,
        seen,
        is_followed: stat.identity == current.identity,
    };
    let mut before = all_siblings(disk)?;
    let mut attempt = 1;
    loop {
        let listed = all_siblings(disk)?;
        let is_last = attempt == LISTINGS_MAX;
        // What never comes to rest is taken as it is: what cannot be opened is a gap.
        if is_last || is_same(&before, &listed) {
            let (found, as_listed) = open_between(disk, &listed, &held, current, now_ns);
            if is_last || as_listed {
                return Ok(found);
            }
        }
        before = listed;
        attempt += 1;
    }
}

/// As [`between`], of what is `listed`; tells whether all of it was as listed.
fn open_between(
    disk: &mut dyn Disk,
    listed: &[Sibling],
    held: &Held<'_>,
    current: Stat,
    now_ns: i128,
) -> (Between, bool) {
    // What is newer than `current` is found by the next look.
    let at = listed
        .iter()
        .position(|s| s.stat.identity == current.identity);
    let newer = at.map_or(&[][..], |at| &listed[..at]);
    let is_newer = |s: &Sibling| match (s.stat.born_ns, current.born_ns) {
        (Some(ns), Some(current_ns)) if at.is_some() && ns != current_ns => ns > current_ns,
        _ => newer.iter().any(|other| other.name == s.name),
    };
    let listed: Vec<&Sibling> = { listed.iter() }
        .filter(|s| s.stat.identity != current.identity && !is_newer(s))
        .filter(|s| s.stat.identity == held.stat.identity || !s.is_other_log(&current))
        .collect();
    let old = place_of(&listed, held);
    let mut is_certain = true;
    let mut younger: Vec<&Sibling> = Vec::new();
    for (index, &sibling) in listed.iter().enumerate() {
        if old == Some(index) {
            continue;
        }
        // A log of its own may have been made meanwhile.
        if sibling.is_doubtful() && old.is_none_or(|old| listed[old].form != sibling.form) {
            continue;
        }
        match age(
            disk,
            sibling,
            old.map(|old| (old.cmp(&index), listed[old])),
            held,
        ) {
            Age::Younger => younger.push(sibling),
            Age::Older => {}
            Age::Unclear => is_certain = false,
        }
    }
    let fate = match (old, held.file.whereabouts()) {
        (Some(_), _) => Fate::Rotated,
        (None, Whereabouts::Removed) => Fate::Removed,
        (None, Whereabouts::Renamed) => Fate::Renamed,
        (None, Whereabouts::Unmoved) => Fate::Unmoved,
    };
    // Where the old file is not beside them, what came right after it may be gone as well.
    let is_whole = held.is_followed || old.is_some() || younger.is_empty();
    let mut gap = (!is_whole || !is_certain).then(|| Gap::new(Reason::Rotated));
    if younger.len() > LATER_MAX {
        younger.drain(LATER_MAX..);
        gap = Some(Gap::new(Reason::Rotated));
    }
    let (files, gap, as_listed) = open_all(disk, &younger, gap);
    let found = Between {
        files,
        gap,
        fate,
        seen: Seen::all(now_ns, listed.iter().copied()),
    };
    (found, as_listed)
}

/// Opens files that are listed newest first, to be read after a gap, if there is one.
fn open_all(
    disk: &mut dyn Disk,
    younger: &[&Sibling],
    gap: Option<Gap>,
) -> (Vec<Later>, Option<Gap>, bool) {
    let mut files = Vec::new();
    let mut gap = gap;
    let mut as_listed = true;
    let mut before: Option<&Sibling> = None;
    for &sibling in younger.iter().rev() {
        if before.is_some_and(|older| is_contradicted(sibling, older)) {
            gap = gap.or_else(|| Some(Gap::new(Reason::Rotated)));
        }
        before = Some(sibling);
        let file = if sibling.is_compressed() {
            None
        } else {
            let file = disk.open_sibling(&sibling.name).ok().filter(|file| {
                file.stat()
                    .is_ok_and(|stat| stat.identity == sibling.stat.identity)
            });
            as_listed &= file.is_some();
            file
        };
        match file {
            Some(file) => files.push(Later {
                gap: gap.take(),
                ..Later::at_once(file)
            }),
            None => gap = Some(lost(&sibling.name)),
        }
    }
    (files, gap, as_listed)
}

/// Where the held file is in the listing, itself or compressed.
fn place_of(listed: &[&Sibling], held: &Held<'_>) -> Option<usize> {
    let is_old = |s: &&Sibling| s.stat.identity == held.stat.identity;
    // What compresses a file gives the result its time.
    let holds_old = |s: &&Sibling| s.is_compressed() && s.stat.modified_ns == held.stat.modified_ns;
    let at = listed.iter().position(is_old);
    at.or_else(|| listed.iter().position(holds_old))
}

/// Whether a rotated file came after the one that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    Younger,
    Older,
    /// It is not read, since that may be for the second time, and a gap says that it may
    /// have been missed.
    Unclear,
}

/// `named` is where the held file stands in the order of names, and as which, if it does.
fn age(
    disk: &mut dyn Disk,
    sibling: &Sibling,
    named: Option<(Ordering, &Sibling)>,
    held: &Held<'_>,
) -> Age {
    if held.is_followed && held.seen.is_copy(sibling) {
        return Age::Younger;
    }
    if held.seen.holds(sibling) {
        return Age::Older;
    }
    let (stat, old) = (&sibling.stat, &held.stat);
    // The held file, being compressed.
    if sibling.is_compressed() && named.is_some_and(|(_, old)| old.mark == sibling.mark) {
        return Age::Older;
    }
    // Restored or unpacked: what was written last before the held file was created.
    if old.born_ns.is_some_and(|ns| stat.modified_ns < ns) {
        return Age::Older;
    }
    if !sibling.is_compressed() {
        if named.is_none()
            && !held.is_followed
            && is_copy(disk, sibling, held.file).unwrap_or(false)
        {
            return Age::Unclear;
        }
        match (stat.born_ns, old.born_ns) {
            (Some(ns), Some(old_ns)) if ns > old_ns => return Age::Younger,
            (Some(ns), Some(old_ns)) if ns < old_ns => return Age::Older,
            _ => {}
        }
        // It was not there before.
        if held.seen.is_complete {
            return Age::Younger;
        }
    }
    let written = stat.modified_ns.cmp(&old.modified_ns);
    match (named, written) {
        // The order of the listing is from the newest.
        (Some((Ordering::Greater, old)), _) if !is_contradicted(sibling, old) => Age::Younger,
        (Some((Ordering::Less, old)), _) if !is_contradicted(old, sibling) => Age::Older,
        (None, Ordering::Greater) => Age::Younger,
        (None, Ordering::Less) => Age::Older,
        _ => Age::Unclear,
    }
}

/// Whether a rotated file holds what `old` holds: a copy that was made before `old` was
/// replaced.
fn is_copy(disk: &mut dyn Disk, sibling: &Sibling, old: &dyn DiskFile) -> io::Result<bool> {
    let both_bytes = sibling.stat.size_bytes.min(old.stat()?.size_bytes);
    // Less is too little to tell a copy from a file that begins alike.
    if both_bytes < anchor::HEAD_BYTES as u64 {
        return Ok(false);
    }
    let copy = disk.open_sibling(&sibling.name)?;
    match anchor::id_at(&*copy, both_bytes)? {
        Some(end) => anchor::matches(old, end),
        None => Ok(false),
    }
}

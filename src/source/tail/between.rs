//! The files that came and went between two looks at a path.

use std::io;

use super::Later;
use super::anchor;
use super::disk::{Disk, DiskFile, Sibling, Stat};
use super::resume::{all_siblings, is_same, lost};
use super::siblings::is_compressed;
use crate::event::{Gap, Reason};

/// How often a listing is repeated until two agree.
const LISTINGS_MAX: usize = 8;

/// How many rotated files a follower that was held up opens at once.
const LATER_MAX: usize = 64;

/// What came between two files.
#[derive(Default)]
pub(super) struct Between {
    /// What can be read of it, oldest first.
    pub(super) files: Vec<Later>,
    /// What to say after these, before the newer of the two.
    pub(super) gap: Option<Gap>,
}

/// The files that were rotated after `old`, which is held open, and before the one with
/// the identity `current`.
///
/// # Errors
/// When the folder cannot be listed now.
pub(super) fn between(
    disk: &mut dyn Disk,
    old: &dyn DiskFile,
    current: (u64, u64),
) -> io::Result<Between> {
    let known = old.stat()?;
    let old = (old, known);
    let mut before = all_siblings(disk)?;
    let mut attempt = 1;
    loop {
        let listed = all_siblings(disk)?;
        let is_last = attempt == LISTINGS_MAX;
        // What never comes to rest is taken as it is: what cannot be opened is a gap.
        if is_last || is_same(&before, &listed) {
            let (found, as_listed) = open_between(disk, &listed, old, current);
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
    (old_file, old): (&dyn DiskFile, Stat),
    current: (u64, u64),
) -> (Between, bool) {
    let newest = listed.iter().position(|s| s.stat.identity == current);
    let newest = newest.map_or(0, |at| at + 1);
    let mut found = Between::default();
    let is_old = |s: &Sibling| s.stat.identity == old.identity;
    // What compresses a file gives the result its time.
    let holds_old = |s: &Sibling| is_compressed(&s.suffix) && s.stat.modified_ns == old.modified_ns;
    let mut listed_old = listed.iter().position(is_old);
    listed_old = listed_old.or_else(|| listed.iter().position(holds_old));
    let oldest = listed_old.unwrap_or_else(|| {
        // Removed or replaced: what came right after it may be gone as well.
        let mut count = newest;
        let mut is_certain = true;
        for sibling in &listed[newest..] {
            match age(disk, sibling, (old_file, old)) {
                Age::Younger => count += 1,
                Age::Older => break,
                Age::Unclear => {
                    is_certain = false;
                    break;
                }
            }
        }
        found.gap = (count > newest || !is_certain).then(|| Gap::new(Reason::Rotated));
        count
    });
    let mut oldest = oldest.max(newest);
    if oldest - newest > LATER_MAX {
        oldest = newest + LATER_MAX;
        found.gap = Some(Gap::new(Reason::Rotated));
    }
    let mut as_listed = true;
    for sibling in listed[newest..oldest].iter().rev() {
        let file = if is_compressed(&sibling.suffix) {
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
            Some(file) => found.files.push(Later {
                file,
                gap: found.gap.take(),
            }),
            None => found.gap = Some(lost(&sibling.name)),
        }
    }
    (found, as_listed)
}

/// Whether a rotated file came after another one that is not in the folder any more.
enum Age {
    Younger,
    Older,
    /// Its times contradict each other: it is not read, since that may be for the second
    /// time, and a gap says that it may have been missed.
    Unclear,
}

/// Younger is what was both made and written later. Somebody may write on into an older
/// file, and a copy is made after its original, so that neither time is enough.
fn age(disk: &mut dyn Disk, sibling: &Sibling, (file, old): (&dyn DiskFile, Stat)) -> Age {
    let written_later = sibling.stat.modified_ns > old.modified_ns;
    // What compresses a file gives the result its time, and makes it when it likes.
    let made_later = match (sibling.stat.born_ns, old.born_ns) {
        (Some(sibling_ns), Some(old_ns)) if !is_compressed(&sibling.suffix) => sibling_ns > old_ns,
        _ => written_later,
    };
    if made_later && is_copy(disk, sibling, file).unwrap_or(false) {
        return Age::Older;
    }
    match (made_later, written_later) {
        (true, true) => Age::Younger,
        (false, false) => Age::Older,
        _ => Age::Unclear,
    }
}

/// Whether a rotated file holds what `old` holds: a copy that was made before `old` was
/// replaced.
fn is_copy(disk: &mut dyn Disk, sibling: &Sibling, old: &dyn DiskFile) -> io::Result<bool> {
    let both_bytes = sibling.stat.size_bytes.min(old.stat()?.size_bytes);
    // Less is too little to tell a copy from a file that begins alike.
    if is_compressed(&sibling.suffix) || both_bytes < anchor::HEAD_BYTES as u64 {
        return Ok(false);
    }
    let copy = disk.open_sibling(&sibling.name)?;
    match anchor::id_at(&*copy, both_bytes)? {
        Some(end) => anchor::matches(old, end),
        None => Ok(false),
    }
}

//! A file that took the place of another: the same one, continued, or an edited one.
//!
//! Editors, `sed -i` and rsync write a new file and rename it to the path, or rename the
//! old one to a backup first.

use std::collections::HashSet;
use std::io;

use super::anchor::{TailId, read_full};
use super::disk::DiskFile;

/// How much of what was read is compared with a new file, from its start and from its end:
/// what is inserted or left out before that shifts the end.
const COMPARED_BYTES: u64 = 4 << 20;

/// How much of the beginnings of two files is searched for records that are in both.
const SEARCHED_BYTES: u64 = 64 << 10;

/// How a new file begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// With all that was read of the old one.
    Same,
    /// It is shorter, but what there is so far is the same; and when it was written last.
    Unfinished(i128),
    /// Otherwise.
    Other,
}

impl Beginning {
    /// Only whether it is unfinished counts.
    pub(super) fn if_unfinished(self) -> Self {
        match self {
            Self::Unfinished(_) => self,
            Self::Same | Self::Other => Self::Other,
        }
    }
}

/// Whether `new` begins with what was read of `old`, up to `place`.
pub(super) fn beginning(
    old: &dyn DiskFile,
    place: TailId,
    new: &dyn DiskFile,
) -> io::Result<Beginning> {
    let read_bytes = place.offset_bytes;
    if read_bytes == 0 {
        return Ok(Beginning::Other);
    }
    let stat = new.stat()?;
    let both_bytes = stat.size_bytes.min(read_bytes);
    let tail_from = both_bytes
        .saturating_sub(COMPARED_BYTES)
        .max(COMPARED_BYTES);
    let is_same = is_same_part(old, new, 0, both_bytes.min(COMPARED_BYTES))?
        && is_same_part(old, new, tail_from, both_bytes)?;
    Ok(match is_same {
        false => Beginning::Other,
        true if both_bytes < read_bytes => Beginning::Unfinished(stat.modified_ns),
        true => Beginning::Same,
    })
}

/// Whether two files hold the same bytes in `from..to`.
fn is_same_part(one: &dyn DiskFile, other: &dyn DiskFile, from: u64, to: u64) -> io::Result<bool> {
    const BLOCK_BYTES: u64 = 64 << 10;
    let mut from = from;
    let mut blocks = [Vec::new(), Vec::new()];
    while from < to {
        let length = (to - from).min(BLOCK_BYTES) as usize;
        for (block, file) in blocks.iter_mut().zip([one, other]) {
            block.resize(length, 0);
            let read = read_full(file, block, from)?;
            block.truncate(read);
        }
        if blocks[0].len() < length || blocks[0] != blocks[1] {
            return Ok(false);
        }
        from += length as u64;
    }
    Ok(true)
}

/// What tells an edited file from another one that took its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EditedIf {
    /// A record that is in both: otherwise none comes again.
    OneIsInBoth,
    /// As well if most records resemble the old ones, line by line: `sed -i 's/^/x/'`.
    AlsoIfSimilar,
    /// At least two records that differ, and half of all: a log that was rotated while
    /// nobody followed it may begin with the same line as the one before.
    HalfAreInBoth,
    /// At least two records that differ, and half of those of the old file: each new log may
    /// begin with the same lines, such as the names of its fields.
    HalfIsInBoth,
}

/// Whether `new`, which replaced `old`, is an edited `old`, of which `read_bytes` were
/// delivered.
pub(super) fn is_edited(
    old: &dyn DiskFile,
    read_bytes: u64,
    new: &dyn DiskFile,
    edited_if: EditedIf,
) -> io::Result<bool> {
    if read_bytes == 0 {
        return Ok(false);
    }
    let old_text = first_bytes(old, read_bytes.min(SEARCHED_BYTES))?;
    let new_text = first_bytes(new, SEARCHED_BYTES)?;
    let delivered: HashSet<&[u8]> = records(&old_text).collect();
    let present: HashSet<&[u8]> = records(&new_text).collect();
    let in_both = delivered.intersection(&present).count();
    Ok(match edited_if {
        EditedIf::OneIsInBoth => in_both > 0,
        EditedIf::AlsoIfSimilar => in_both > 0 || are_similar(&old_text, &new_text),
        EditedIf::HalfAreInBoth => in_both > 1 && in_both * 2 >= delivered.len().min(present.len()),
        EditedIf::HalfIsInBoth => in_both > 1 && in_both * 2 >= delivered.len(),
    })
}

/// Whether two records that differ are among the first of a file, of which `read_bytes` were
/// delivered.
pub(super) fn holds_two_records(file: &dyn DiskFile, read_bytes: u64) -> io::Result<bool> {
    let text = first_bytes(file, read_bytes.min(SEARCHED_BYTES))?;
    let mut all = records(&text);
    let first = all.next();
    Ok(all.any(|record| Some(record) != first))
}

fn records(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').filter(|r| !r.is_empty())
}

/// Whether there are several records, and most of one text resemble those of the other at
/// the same line. A single one is too little to tell.
fn are_similar(one: &[u8], other: &[u8]) -> bool {
    let pairs = || records(one).zip(records(other));
    let similar = pairs().filter(|(a, b)| is_similar(a, b)).count();
    similar > 1 && similar * 2 > pairs().count()
}

/// Whether at least half of two records is the same, from their starts and their ends.
fn is_similar(one: &[u8], other: &[u8]) -> bool {
    let shorter = one.len().min(other.len());
    let same = |(a, b): &(&u8, &u8)| a == b;
    let start = one.iter().zip(other).take_while(same).count();
    let ends = one.iter().rev().zip(other.iter().rev());
    let end = ends.take(shorter - start).take_while(same).count();
    (start + end) * 2 >= shorter
}

fn first_bytes(file: &dyn DiskFile, most_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; most_bytes as usize];
    let read = read_full(file, &mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

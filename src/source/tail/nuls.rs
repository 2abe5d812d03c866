//! NUL bytes that are no text: a hole reads as NULs, and a file is padded with them.
//!
//! - NULs at the end of a file are not data yet: something may be written over them.
//! - NULs at the start of a line are no part of it.
//! - A run of [`RUN_BYTES`] or more within a line ends it, as a newline would.
//! - Other NULs are data; the encoder leaves them out.

use std::io;

use super::anchor::read_full;
use super::disk::DiskFile;

/// A shorter run of NULs within a line is data. A block of a file system: a file has no
/// smaller holes, and no text has so many NULs.
pub(super) const RUN_BYTES: usize = 4096;

static NULS: [u8; RUN_BYTES] = [0; RUN_BYTES];

/// How many NULs `bytes` begin with.
pub(super) fn leading(bytes: &[u8]) -> usize {
    let is_empty = |block: &&[u8]| **block == NULS;
    let blocks = bytes.chunks_exact(RUN_BYTES).take_while(is_empty).count();
    let rest = &bytes[blocks * RUN_BYTES..];
    blocks * RUN_BYTES + rest.iter().take_while(|byte| **byte == 0).count()
}

/// How many bytes come before the NULs that `bytes` end with.
pub(super) fn data_end(bytes: &[u8]) -> usize {
    let mut end = bytes.len();
    while end >= RUN_BYTES && bytes[end - RUN_BYTES..end] == NULS {
        end -= RUN_BYTES;
    }
    let last = bytes[..end].iter().rposition(|byte| *byte != 0);
    last.map_or(0, |last| last + 1)
}

/// The first run of at least [`RUN_BYTES`]: where it begins, and where it ends.
pub(super) fn first_run(bytes: &[u8]) -> Option<(usize, usize)> {
    probes(bytes).find_map(|probe| run_at(bytes, probe))
}

/// The last one.
pub(super) fn last_run(bytes: &[u8]) -> Option<(usize, usize)> {
    probes(bytes).rev().find_map(|probe| run_at(bytes, probe))
}

/// Every run that is long enough holds one of these places.
fn probes(bytes: &[u8]) -> impl DoubleEndedIterator<Item = usize> {
    let last_bytes = RUN_BYTES - 1;
    (0..bytes.len() / RUN_BYTES).map(move |block| block * RUN_BYTES + last_bytes)
}

fn run_at(bytes: &[u8], probe: usize) -> Option<(usize, usize)> {
    if bytes[probe] != 0 {
        return None;
    }
    let start = data_end(&bytes[..probe]);
    let end = probe + leading(&bytes[probe..]);
    (end - start >= RUN_BYTES).then_some((start, end))
}

/// How much is read at a time of NULs that were written.
pub(super) const READ_BYTES: u64 = 64 * 1024;

/// The start of the hole that reaches from `at` or before to `at`, which is `at` itself
/// where there is none.
pub(super) fn hole_start(file: &dyn DiskFile, at: u64) -> io::Result<u64> {
    let is_hole_from = |from: u64| -> io::Result<bool> {
        Ok(file.next_data(from)?.is_none_or(|(start, _)| start >= at))
    };
    let (mut hole, mut step) = (at, READ_BYTES);
    // In steps that grow, so that it costs next to nothing however long the hole is.
    let mut data = loop {
        if hole == 0 {
            return Ok(0);
        }
        let before = hole.saturating_sub(step);
        if !is_hole_from(before)? {
            break before;
        }
        hole = before;
        step = step.saturating_mul(2);
    };
    while hole - data > 1 {
        let middle = data + (hole - data) / 2;
        match is_hole_from(middle)? {
            true => hole = middle,
            false => data = middle,
        }
    }
    Ok(hole)
}

/// Where the data of the first `end` bytes ends, as far as it is found by reading about
/// `most_bytes` backwards; and whether that is it.
pub(super) fn trimmed_end(
    file: &dyn DiskFile,
    end: u64,
    most_bytes: u64,
) -> io::Result<(u64, bool)> {
    let mut at = end;
    let mut block = vec![0; READ_BYTES as usize];
    // Most files end with data: of these little is read.
    let mut length = 256;
    while at > 0 && end - at <= most_bytes {
        let start = at.saturating_sub(length);
        let part = &mut block[..(at - start) as usize];
        let read = read_full(file, part, start)?;
        let data = data_end(&part[..read]);
        if data > 0 {
            return Ok((start + data as u64, true));
        }
        at = hole_start(file, start)?;
        length = READ_BYTES;
        if start - at > most_bytes {
            // Nothing of a hole was read.
            return Ok((at, at == 0));
        }
    }
    Ok((at, at == 0))
}

/// How many bytes from `from` to `to` are in no hole.
pub(super) fn data_bytes(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<u64> {
    let mut bytes = 0;
    walk(file, from, to, |start, end| {
        bytes += end - start;
        true
    })?;
    Ok(bytes)
}

/// The place after `bytes` of data from `from` on, but not after `to`.
pub(super) fn place_after(
    file: &dyn DiskFile,
    (from, to): (u64, u64),
    bytes: u64,
) -> io::Result<u64> {
    let (mut left, mut place) = (bytes, from);
    walk(file, from, to, |start, end| {
        place = start + left.min(end - start);
        left -= place - start;
        left > 0
    })?;
    Ok(place)
}

/// Shows what is in no hole, piece by piece, while `more` wants it.
fn walk(
    file: &dyn DiskFile,
    from: u64,
    to: u64,
    mut more: impl FnMut(u64, u64) -> bool,
) -> io::Result<()> {
    let mut at = from;
    for piece in 1.. {
        if at >= to {
            break;
        }
        let Some((start, end)) = file.next_data(at)? else {
            break;
        };
        // What is in so many pieces is taken for one.
        let end = if piece < PIECES_MAX { end.min(to) } else { to };
        if start >= to {
            break;
        }
        at = end.max(start + 1);
        let (start, end) = match piece {
            ..TRIMMED_MAX => trimmed(file, start, end)?,
            _ => (start, end),
        };
        if start < end && !more(start, end) {
            break;
        }
    }
    Ok(())
}

const PIECES_MAX: usize = 10_000;

/// A piece consists of whole blocks: of so many, what fills up the first block and the
/// last is left out.
const TRIMMED_MAX: usize = 64;

fn trimmed(file: &dyn DiskFile, start: u64, end: u64) -> io::Result<(u64, u64)> {
    let mut block = [0; RUN_BYTES];
    let length = (end - start).min(RUN_BYTES as u64);
    let block = &mut block[..length as usize];
    let read = read_full(file, block, start)?;
    let first = start + leading(&block[..read]) as u64;
    let read = read_full(file, block, end - length)?;
    let last = end - length + data_end(&block[..read]) as u64;
    Ok((first, last.max(first)))
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemoryFile;
    use super::*;

    #[test]
    fn nuls_are_counted_at_both_ends() {
        for (before, nuls, after) in [
            (0, 0, 0),
            (0, 5, 0),
            (3, 0, 2),
            (1, 5, 1),
            (0, 9_000, 1),
            (7, 4_096, 0),
        ] {
            let bytes = [vec![b'x'; before], vec![0; nuls], vec![b'y'; after]].concat();
            let first = if before > 0 { 0 } else { nuls };
            assert_eq!(leading(&bytes), first, "{before} {nuls} {after}");
            let end = if after > 0 { bytes.len() } else { before };
            assert_eq!(data_end(&bytes), end, "{before} {nuls} {after}");
            let run = (nuls >= RUN_BYTES).then_some((before, before + nuls));
            assert_eq!(first_run(&bytes), run);
            assert_eq!(last_run(&bytes), run);
        }
    }

    #[test]
    fn a_run_is_found_wherever_it_is() {
        for start in [0, 1, 4_000, 4_095, 4_096, 5_000, 8_191] {
            let bytes = |nuls| [vec![b'x'; start], vec![0; nuls], vec![b'y'; 9_000]].concat();
            assert_eq!(first_run(&bytes(4_095)), None);
            assert_eq!(last_run(&bytes(4_096)), Some((start, start + 4_096)));
            let two = [bytes(4_096), bytes(5_000)].concat();
            assert_eq!(first_run(&two), Some((start, start + 4_096)));
            let second = start + 4_096 + 9_000 + start;
            let joined = (second, second + 5_000);
            assert_eq!(last_run(&two), Some(joined));
        }
    }

    #[test]
    fn a_hole_counts_for_nothing() {
        let text = [&b"one\n"[..], &[0; 200_000], b"two\n", &[0; 300_000]].concat();
        let file = MemoryFile::of(&text);
        let size = text.len() as u64;
        let second = 4 + 200_000;
        // A block of this disk is 64 bytes.
        let start = hole_start(&file, second - 64).unwrap();
        assert!((4..=64).contains(&start), "{start}");
        assert_eq!(
            trimmed_end(&file, size, 1 << 20).unwrap(),
            (second + 4, true)
        );
        assert_eq!(data_bytes(&file, 0, size).unwrap(), 8);
        let place = place_after(&file, (0, size), 5).unwrap();
        assert_eq!(place, second + 1);
    }
}

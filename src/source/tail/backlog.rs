//! Where in a file to begin, without reading what comes before.

use std::io;

use super::anchor::read_full;
use super::disk::DiskFile;
use super::newline;

/// How much is read at a time, backwards: a backlog of ten lines is in the first.
const BLOCK_BYTES: u64 = 8 * 1024;

/// A search for the place before the last lines of a file that count, but no further
/// back than it may reach. The place is the start of a line, and the unfinished line at
/// the end is none.
///
/// How long it takes is the reach over how fast lines are told to count: 16 MiB are
/// passed over in 15 ms, but in more than a second by a regular expression.
pub(super) struct Search {
    floor: u64,
    end: u64,
    /// Everything from here on has been dealt with; it is right after a newline. `None`
    /// where there is no whole line within reach.
    line_end: Option<u64>,
    left: usize,
    block: Block,
}

impl Search {
    /// For the last `records` lines of the first `end` bytes.
    pub(super) fn new(
        file: &dyn DiskFile,
        end: u64,
        records: usize,
        reach_bytes: u64,
    ) -> io::Result<Self> {
        let floor = end.saturating_sub(reach_bytes);
        let mut block = Block::default();
        let newline = block.newline_before(file, end, floor)?;
        Ok(Self {
            floor,
            end,
            line_end: newline.map(|newline| newline + 1),
            left: records,
            block,
        })
    }

    /// Searches on, over about `most_bytes`; `None` when the place is further back.
    /// `counts` says whether a line is a record; a line of which only a part was read
    /// is asked for with that part.
    pub(super) fn run(
        &mut self,
        file: &dyn DiskFile,
        most_bytes: u64,
        mut counts: impl FnMut(&[u8]) -> bool,
    ) -> io::Result<Option<u64>> {
        let Some(mut line_end) = self.line_end else {
            return line_start_from(file, self.floor, self.end).map(Some);
        };
        let stop = line_end.saturating_sub(most_bytes);
        while self.left > 0 && line_end > self.floor {
            if line_end < stop {
                return Ok(None);
            }
            let newline = self.block.newline_before(file, line_end - 1, self.floor)?;
            let start = match newline {
                Some(newline) => newline + 1,
                None if self.floor == 0 => 0,
                // The line begins before the reach.
                None => break,
            };
            if counts(self.block.known(start, line_end - 1)) {
                self.left -= 1;
            }
            line_end = start;
            self.line_end = Some(start);
        }
        Ok(Some(line_end))
    }
}

/// The start of the first line at or after `from`; `limit` when no line starts before.
pub(super) fn line_start_from(file: &dyn DiskFile, from: u64, limit: u64) -> io::Result<u64> {
    if from == 0 {
        return Ok(0);
    }
    let mut at = from - 1;
    let mut block = vec![0; BLOCK_BYTES as usize];
    while at < limit {
        let read = read_full(file, &mut block, at)?;
        if let Some(found) = newline::first(&block[..read]) {
            return Ok((at + found as u64 + 1).min(limit));
        }
        if read == 0 {
            break;
        }
        at += read as u64;
    }
    Ok(limit)
}

/// A part of the file, moved backwards.
#[derive(Default)]
struct Block {
    start: u64,
    bytes: Vec<u8>,
}

impl Block {
    fn newline_before(
        &mut self,
        file: &dyn DiskFile,
        end: u64,
        floor: u64,
    ) -> io::Result<Option<u64>> {
        let mut end = end;
        loop {
            let held_end = self.start + self.bytes.len() as u64;
            if end > self.start && end <= held_end {
                let part = &self.bytes[..(end - self.start) as usize];
                if let Some(found) = newline::last(part) {
                    return Ok(Some(self.start + found as u64));
                }
                end = self.start;
            }
            if end <= floor {
                return Ok(None);
            }
            // The next block overlaps nothing, but keeps the line that is being looked
            // at in one piece where it is short.
            let start = end.saturating_sub(BLOCK_BYTES).max(floor);
            let keep = if end == self.start && self.bytes.len() as u64 <= BLOCK_BYTES {
                std::mem::take(&mut self.bytes)
            } else {
                Vec::new()
            };
            let mut bytes = vec![0; (end - start) as usize];
            let read = read_full(file, &mut bytes, start)?;
            bytes.truncate(read);
            if (read as u64) < end - start {
                // Truncated while being read: there is nothing to go back over.
                return Ok(None);
            }
            bytes.extend_from_slice(&keep);
            self.start = start;
            self.bytes = bytes;
        }
    }

    /// What is held of the file from `start` to `end`.
    fn known(&self, start: u64, end: u64) -> &[u8] {
        let at = |offset: u64| (offset.saturating_sub(self.start) as usize).min(self.bytes.len());
        &self.bytes[at(start)..at(end)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemoryFile;
    use super::*;

    /// In small steps.
    fn last_records(file: &MemoryFile, end: u64, records: usize, reach: u64) -> u64 {
        let mut search = Search::new(file, end, records, reach).unwrap();
        loop {
            if let Some(place) = search.run(file, 20, |_| true).unwrap() {
                return place;
            }
        }
    }
    use proptest::prelude::*;

    fn line_starts(text: &[u8]) -> Vec<u64> {
        let after = text
            .iter()
            .enumerate()
            .filter(|(_, b)| **b == b'\n')
            .map(|(i, _)| i as u64 + 1);
        std::iter::once(0).chain(after).collect()
    }

    fn lines() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof!["[a-z]{0,9}\n", "[a-z]{0,9}", "x{9000}\n", "y{20000}"];
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn the_backlog_is_the_last_whole_lines(text in lines(), records in 0usize..12) {
            let end = text.len() as u64;
            let got = last_records(&MemoryFile::of(&text), end, records, 1 << 30);
            let starts = line_starts(&text);
            prop_assert_eq!(got, starts[(starts.len() - 1).saturating_sub(records)]);
        }

        #[test]
        fn a_backlog_reaches_no_further_than_it_may(text in lines(), reach in 0u64..40_000) {
            let end = text.len() as u64;
            let got = last_records(&MemoryFile::of(&text), end, 100, reach);
            prop_assert!(got + reach >= end);
            prop_assert!(got == end || line_starts(&text).contains(&got));
        }
    }
}

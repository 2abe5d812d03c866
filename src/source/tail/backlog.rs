//! Where in a file to begin, without reading what comes before.

use std::borrow::Cow;
use std::io;

use super::anchor::read_full;
use super::cursor::char_boundary;
use super::disk::DiskFile;
use super::{newline, nuls};
use crate::event::Batch;

/// How much is read at a time, backwards: a backlog of ten lines is in the first.
const BLOCK_BYTES: u64 = 8 * 1024;

/// How much of an unfinished line is kept when the search moves back to the block before.
/// A longer line is read once more, as soon as it is known where it starts.
const KEPT_MOST_BYTES: u64 = 64 * 1024;

/// How much of the NULs at the end of a file is passed over by one call: they cost only
/// the reading.
const TRIM_BYTES: u64 = 8 << 20;

/// A search for the place before the last lines of a file that count, but no further
/// back than it may reach. The place is the start of a line, and the unfinished line at
/// the end is none. Holes and the NULs at the end are passed over, and are no part of the
/// reach.
///
/// How long it takes is the reach over how fast lines are told to count: 16 MiB are
/// passed over in 15 ms, but in more than a second by a regular expression.
pub(super) struct Search {
    reach_bytes: u64,
    /// Everything before it is text, or to be looked at.
    end: u64,
    phase: Phase,
    left: usize,
    /// A line that is longer counts by its first bytes, which are the record.
    max_line_bytes: usize,
    block: Block,
}

/// How far one call may search.
#[derive(Clone, Copy)]
pub(super) struct Allowance {
    /// Of the file.
    pub(super) bytes: u64,
    /// For telling which lines count: see [`Batch::WORK_MAX`].
    pub(super) work: u64,
}

impl Allowance {
    pub(super) fn of_bytes(bytes: u64) -> Self {
        Self {
            bytes,
            work: Batch::WORK_MAX,
        }
    }
}

/// What is being looked for.
enum Phase {
    /// The end of the data.
    End,
    /// The end of the last whole line.
    LastLine,
    /// Lines that count, before this boundary.
    Lines(Boundary),
}

impl Search {
    /// For the last `records` lines of the first `end` bytes.
    pub(super) fn new(end: u64, records: usize, reach_bytes: u64, max_line_bytes: usize) -> Self {
        Self {
            reach_bytes,
            end,
            phase: Phase::End,
            left: records,
            max_line_bytes,
            block: Block::of(BLOCK_BYTES, KEPT_MOST_BYTES),
        }
    }

    /// Searches on, within about what is allowed; `None` when the place is further back.
    /// `counts` says whether a line is a record, and raises its second argument by the cost;
    /// it is given what the record would be.
    pub(super) fn run(
        &mut self,
        file: &dyn DiskFile,
        most: Allowance,
        mut counts: impl FnMut(&[u8], &mut u64) -> bool,
    ) -> io::Result<Option<u64>> {
        let mut work = 0;
        if matches!(self.phase, Phase::End) {
            let (end, is_found) = nuls::trimmed_end(file, self.end, TRIM_BYTES)?;
            self.end = end;
            if !is_found {
                return Ok(None);
            }
            self.block.floor = end.saturating_sub(self.reach_bytes);
            self.phase = Phase::LastLine;
        }
        if matches!(self.phase, Phase::LastLine) {
            let looked_at = self.block.line_before(file, self.end, Kind::Newline)?;
            let Some(last) = looked_at.before else {
                return line_start_from(file, self.block.floor, self.end).map(Some);
            };
            self.phase = Phase::Lines(last);
        }
        let Phase::Lines(place) = &mut self.phase else {
            return Ok(None);
        };
        let stop = place.after.saturating_sub(most.bytes);
        while self.left > 0 && place.after > self.block.floor {
            if place.after < stop || work >= most.work {
                return Ok(None);
            }
            let line = self.block.line_before(file, place.end, place.kind)?;
            let before = match line.before {
                Some(before) => before,
                None if self.block.floor == 0 => Boundary::START,
                // The line begins before the reach.
                None => break,
            };
            // Between a newline and a hole there is no line.
            let is_line = place.kind == Kind::Newline || before.after < line.end;
            if is_line {
                let read = self
                    .block
                    .read(file, before.after, line.end, self.max_line_bytes)?;
                let record = record(&read, place.kind, self.max_line_bytes);
                if counts(record, &mut work) {
                    self.left -= 1;
                }
            }
            *place = before;
        }
        Ok(Some(place.after))
    }
}

/// What separates two lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Boundary {
    kind: Kind,
    /// Where the line before it ends.
    end: u64,
    /// Where the line after it begins.
    after: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Newline,
    /// A hole, or a long run of NULs.
    Hole,
}

impl Boundary {
    const START: Self = Self {
        kind: Kind::Newline,
        end: 0,
        after: 0,
    };
}

/// The record that the follower makes of a line that ends with a boundary of that `kind`.
/// Of a line that is longer than `max_line_bytes`, there may be no more than these, two
/// bytes and its leading NULs.
fn record(line: &[u8], kind: Kind, max_line_bytes: usize) -> &[u8] {
    let line = &line[nuls::leading(line)..];
    let whole = match kind {
        Kind::Newline => line.strip_suffix(b"\r").unwrap_or(line),
        Kind::Hole => line,
    };
    &whole[..char_boundary(whole, max_line_bytes)]
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

/// NULs that were written have to be read to be passed over, and in a responder others
/// wait so long.
const NULS_MAX: u64 = 64 << 20;

/// A part of the file, moved backwards.
struct Block {
    start: u64,
    bytes: Vec<u8>,
    /// It moves no further back; a hole that is passed over moves it.
    floor: u64,
    /// So many NULs that were written, too, are no part of the reach.
    nuls_left: u64,
    /// How much is read at a time.
    read_bytes: u64,
    /// How much of a line is kept from one block to the next.
    kept_most_bytes: u64,
}

/// A line, seen from its end.
struct LookedAt {
    /// Where it ends, without NULs that fill it up.
    end: u64,
    /// What it begins behind; `None` where that is not within reach.
    before: Option<Boundary>,
}

impl Block {
    fn of(read_bytes: u64, kept_most_bytes: u64) -> Self {
        Self {
            start: 0,
            bytes: Vec::new(),
            floor: 0,
            nuls_left: NULS_MAX,
            read_bytes,
            kept_most_bytes,
        }
    }

    /// The line that ends at `line_end`, with a boundary of that `kind`. What is held of
    /// it stays.
    fn line_before(
        &mut self,
        file: &dyn DiskFile,
        line_end: u64,
        kind: Kind,
    ) -> io::Result<LookedAt> {
        let mut line_end = line_end;
        let mut end = line_end;
        loop {
            let held_end = self.start + self.bytes.len() as u64;
            if end > self.start && end <= held_end {
                let known = &self.bytes[..(line_end.min(held_end) - self.start) as usize];
                let newline = newline::last(&known[..(end - self.start) as usize]);
                let line = newline.map_or(0, |newline| newline + 1);
                let at = |index: usize| self.start + (line + index) as u64;
                // NULs that fill up a line are no part of it.
                let data = nuls::data_end(&known[line..]);
                let nuls = known.len() - line - data;
                let is_at_end = line_end <= held_end && nuls > 0;
                if is_at_end && (kind == Kind::Hole || nuls >= nuls::RUN_BYTES) {
                    line_end = at(data);
                    end = end.min(line_end);
                    continue;
                }
                let run = nuls::last_run(&known[line..]).filter(|run| line + run.1 < known.len());
                if let Some((run, after)) = run {
                    let before = Some(Boundary {
                        kind: Kind::Hole,
                        end: at(run),
                        after: at(after),
                    });
                    return Ok(LookedAt {
                        end: line_end,
                        before,
                    });
                }
                if let Some(newline) = newline {
                    let newline = self.start + newline as u64;
                    let before = Some(Boundary {
                        kind: Kind::Newline,
                        end: newline,
                        after: newline + 1,
                    });
                    return Ok(LookedAt {
                        end: line_end,
                        before,
                    });
                }
                end = self.start;
            }
            let nothing = LookedAt {
                end: line_end,
                before: None,
            };
            if end > self.floor {
                if !self.move_back(file, end, line_end)? {
                    return Ok(nothing);
                }
                let read = &self.bytes[..(end - self.start) as usize];
                if nuls::leading(read) < read.len() {
                    continue;
                }
            } else if end == 0 || end != self.start || self.bytes.first() != Some(&0) {
                return Ok(nothing);
            }
            // All of the block may be in a hole, or the reach ends in one.
            let hole = nuls::hole_start(file, self.start)?;
            if hole == self.start {
                match end > self.floor {
                    true => continue,
                    false => return Ok(nothing),
                }
            }
            let after = self.start + nuls::leading(&self.bytes) as u64;
            self.floor = self.floor.saturating_sub(self.start - hole);
            self.bytes.clear();
            self.start = hole;
            let is_run = after - hole >= nuls::RUN_BYTES as u64;
            if is_run && after < line_end {
                let before = Some(Boundary {
                    kind: Kind::Hole,
                    end: hole,
                    after,
                });
                return Ok(LookedAt {
                    end: line_end,
                    before,
                });
            }
            if after >= line_end {
                line_end = hole;
            }
            end = hole;
        }
    }

    /// Reads the block that ends at `end`, of the line that ends at `line_end`; `false`
    /// when the file is no longer so long.
    fn move_back(&mut self, file: &dyn DiskFile, end: u64, line_end: u64) -> io::Result<bool> {
        let start = end.saturating_sub(self.read_bytes).max(self.floor);
        let mut bytes = vec![0; (end - start) as usize];
        if read_full(file, &mut bytes, start)? < bytes.len() {
            // Truncated while being read: there is nothing to go back over.
            self.bytes.clear();
            return Ok(false);
        }
        if start == self.floor {
            let nuls = (nuls::leading(&bytes) as u64).min(self.nuls_left);
            self.nuls_left -= nuls;
            self.floor = self.floor.saturating_sub(nuls);
        }
        // The next block overlaps nothing: what is held of the line that is being looked
        // at is put behind it, and the lines after that one are not. Of a line that is too
        // long to be kept, enough is to find a run of NULs.
        if end == self.start {
            let kept = match line_end - end {
                kept if kept <= self.kept_most_bytes => kept,
                _ => self.kept_most_bytes.min(nuls::RUN_BYTES as u64),
            };
            let kept = self.bytes.len().min(kept as usize);
            bytes.extend_from_slice(&self.bytes[..kept]);
        }
        self.start = start;
        self.bytes = bytes;
        Ok(true)
    }

    /// The line from `start` to `end`. Of one that is not held, no more is read than what
    /// the record is made of.
    fn read(
        &self,
        file: &dyn DiskFile,
        start: u64,
        end: u64,
        max_line_bytes: usize,
    ) -> io::Result<Cow<'_, [u8]>> {
        let held_end = self.start + self.bytes.len() as u64;
        if start >= self.start && end <= held_end {
            let at = |offset: u64| (offset - self.start) as usize;
            return Ok(Cow::Borrowed(&self.bytes[at(start)..at(end)]));
        }
        let needed = max_line_bytes + 2 + nuls::RUN_BYTES;
        let mut bytes = vec![0; (end - start).min(needed as u64) as usize];
        let read = read_full(file, &mut bytes, start)?;
        bytes.truncate(read);
        Ok(Cow::Owned(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemoryFile;
    use super::*;
    use proptest::prelude::*;

    /// In small steps.
    fn last_records(file: &MemoryFile, end: u64, records: usize, reach: u64) -> u64 {
        let mut search = Search::new(end, records, reach, 1 << 20);
        loop {
            if let Some(place) = search
                .run(file, Allowance::of_bytes(20), |_, _| true)
                .unwrap()
            {
                return place;
            }
        }
    }

    fn line_starts(text: &[u8]) -> Vec<u64> {
        let after = text
            .iter()
            .enumerate()
            .filter(|(_, b)| **b == b'\n')
            .map(|(i, _)| i as u64 + 1);
        std::iter::once(0).chain(after).collect()
    }

    fn lines() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            "[a-z]{0,9}\n",
            "[a-z]{0,9}",
            Just("x".repeat(9_000) + "\n"),
            Just("y".repeat(20_000)),
        ];
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat().into_bytes())
    }

    /// Lines whose beginning, middle or end decides whether they count.
    fn decisive_lines() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            "[xé]{0,40}",
            Just("+".to_owned()),
            Just("\r".to_owned()),
            Just("\n".to_owned()),
            Just("\r\n".to_owned()),
        ];
        prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat().into_bytes())
    }

    /// The end of a line that is too long counts for nothing, and a CR before the newline
    /// is no part of it.
    fn counts(line: &[u8]) -> bool {
        line.contains(&b'+') && !line.ends_with(b"+")
    }

    /// Where the last `records` lines that count begin, by reading forward.
    fn by_reading_forward(text: &[u8], records: usize, max_line_bytes: usize) -> u64 {
        let starts = line_starts(text);
        let is_record = |pair: &&[u64]| {
            let line = &text[pair[0] as usize..pair[1] as usize - 1];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            counts(&line[..char_boundary(line, max_line_bytes)])
        };
        if records == 0 {
            return *starts.last().unwrap();
        }
        let places: Vec<u64> = starts.windows(2).filter(is_record).map(|p| p[0]).collect();
        match places.len().checked_sub(records) {
            Some(first) => places[first],
            None => 0,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn a_line_that_straddles_blocks_counts_as_a_whole(
            text in decisive_lines(),
            records in 0usize..6,
            (read_bytes, kept_most_bytes) in (1u64..50, 0u64..100),
            max_line_bytes in 16usize..80,
        ) {
            let file = MemoryFile::of(&text);
            let end = text.len() as u64;
            let mut search = Search::new(end, records, 1 << 30, max_line_bytes);
            search.block = Block::of(read_bytes, kept_most_bytes);
            let place = loop {
                if let Some(place) = search.run(&file, Allowance::of_bytes(7), |line, _| counts(line)).unwrap() {
                    break place;
                }
            };
            prop_assert_eq!(place, by_reading_forward(&text, records, max_line_bytes));
        }
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

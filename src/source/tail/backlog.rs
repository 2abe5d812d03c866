//! Where in a file to begin, without reading what comes before.

use std::borrow::Cow;
use std::io;

use super::anchor::read_full;
use super::cursor::char_boundary;
use super::disk::DiskFile;
use super::newline;

/// How much is read at a time, backwards: a backlog of ten lines is in the first.
const BLOCK_BYTES: u64 = 8 * 1024;

/// How much of an unfinished line is kept when the search moves back to the block before.
/// A longer line is read once more, as soon as it is known where it starts.
const KEPT_MOST_BYTES: u64 = 64 * 1024;

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
    /// A line that is longer counts by its first bytes, which are the record.
    max_line_bytes: usize,
    block: Block,
}

impl Search {
    /// For the last `records` lines of the first `end` bytes.
    pub(super) fn new(
        file: &dyn DiskFile,
        end: u64,
        (records, reach_bytes): (usize, u64),
        max_line_bytes: usize,
    ) -> io::Result<Self> {
        let block = Block::of(BLOCK_BYTES, KEPT_MOST_BYTES);
        Self::by(block, file, end, (records, reach_bytes), max_line_bytes)
    }

    fn by(
        mut block: Block,
        file: &dyn DiskFile,
        end: u64,
        (records, reach_bytes): (usize, u64),
        max_line_bytes: usize,
    ) -> io::Result<Self> {
        let floor = end.saturating_sub(reach_bytes);
        let newline = block.newline_before(file, end, floor)?;
        Ok(Self {
            floor,
            end,
            line_end: newline.map(|newline| newline + 1),
            left: records,
            max_line_bytes,
            block,
        })
    }

    /// Searches on, over about `most_bytes`; `None` when the place is further back.
    /// `counts` says whether a line is a record; it is given what the record would be.
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
            let line = self
                .block
                .line(file, start, line_end - 1, self.max_line_bytes)?;
            if counts(record(&line, self.max_line_bytes)) {
                self.left -= 1;
            }
            line_end = start;
            self.line_end = Some(start);
        }
        Ok(Some(line_end))
    }
}

/// The record that the follower makes of a line without its newline, of which at least
/// `max_line_bytes` and two are here.
fn record(line: &[u8], max_line_bytes: usize) -> &[u8] {
    let whole = line.strip_suffix(b"\r").unwrap_or(line);
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

/// A part of the file, moved backwards.
struct Block {
    start: u64,
    bytes: Vec<u8>,
    /// How much is read at a time.
    read_bytes: u64,
    /// How much of a line is kept from one block to the next.
    kept_most_bytes: u64,
}

impl Block {
    fn of(read_bytes: u64, kept_most_bytes: u64) -> Self {
        Self {
            start: 0,
            bytes: Vec::new(),
            read_bytes,
            kept_most_bytes,
        }
    }

    /// Where the last newline before `line_end` is, but not before `floor`. What is held
    /// of the line that it comes before stays.
    fn newline_before(
        &mut self,
        file: &dyn DiskFile,
        line_end: u64,
        floor: u64,
    ) -> io::Result<Option<u64>> {
        let mut end = line_end;
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
            let start = end.saturating_sub(self.read_bytes).max(floor);
            // The next block overlaps nothing: what is held of the line that is being
            // looked at is put behind it, and the lines after that one are not.
            let kept_bytes = line_end - end;
            let keep = if end == self.start
                && kept_bytes <= self.kept_most_bytes
                && line_end <= held_end
            {
                self.bytes.truncate(kept_bytes as usize);
                std::mem::take(&mut self.bytes)
            } else {
                Vec::new()
            };
            let mut bytes = vec![0; (end - start) as usize];
            let read = read_full(file, &mut bytes, start)?;
            bytes.truncate(read);
            if (read as u64) < end - start {
                // Truncated while being read: there is nothing to go back over.
                self.bytes.clear();
                return Ok(None);
            }
            bytes.extend_from_slice(&keep);
            self.start = start;
            self.bytes = bytes;
        }
    }

    /// The line from `start` to `end`; of one that is not held and longer than
    /// `max_line_bytes` and a line end, not less than these.
    fn line(
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
        let length = (end - start).min(max_line_bytes as u64 + 2);
        let mut bytes = vec![0; length as usize];
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
        let mut search = Search::new(file, end, (records, reach), 1 << 20).unwrap();
        loop {
            if let Some(place) = search.run(file, 20, |_| true).unwrap() {
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
        let piece = prop_oneof!["[a-z]{0,9}\n", "[a-z]{0,9}", "x{9000}\n", "y{20000}"];
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
            let block = Block::of(read_bytes, kept_most_bytes);
            let terms = (records, 1 << 30);
            let end = text.len() as u64;
            let mut search = Search::by(block, &file, end, terms, max_line_bytes).unwrap();
            let place = loop {
                if let Some(place) = search.run(&file, 7, counts).unwrap() {
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

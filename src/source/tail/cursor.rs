//! Reading one file forward, line by line, with an id for every place between lines.
//!
//! It holds a block of the file around its place: the bytes that the next anchor is
//! made of, and what has been read beyond. It does not know of paths and rotations,
//! and makes no events.
//!
//! Every read begins a little before its end of knowledge, over bytes it has already
//! seen, so that a file that was truncated and has grown again is recognised by the
//! same system call that reads on.

mod overlong;
mod padding;

use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::anchor::{self, Head, TailId, WINDOW_BYTES};
use super::buffer::Buffer;
use super::disk::DiskFile;
use super::newline;
use crate::source::Now;

pub(super) use overlong::char_boundary;

/// A file and a place in it.
pub(super) struct Cursor {
    file: Rc<dyn DiskFile>,
    /// The id of the start of the file.
    start: TailId,
    /// The place: right after the last line that was given out.
    offset: u64,
    /// File bytes from `base` on. It always holds the window before `offset`, except
    /// in the middle of a line that is too long to hold.
    buffer: Buffer,
    base: u64,
    /// Up to where (in the file) there is no newline after `offset`.
    scanned: u64,
    head: Head,
    /// The id of the place, while the bytes around it are not kept: the current line is
    /// longer than `max_line_bytes`, or its rest is to be left out.
    pinned: Option<TailId>,
    /// The place is in the middle of a line whose rest is to be left out.
    skips_rest: bool,
    /// The last read reached the end of the file.
    drained: bool,
    /// The file has been seen to be empty.
    was_empty: bool,
    /// When the head of the file was compared last; `None` when it has to be compared:
    /// files whose lines all end alike can differ only there.
    head_checked_at: Option<Duration>,
    max_line_bytes: usize,
    /// How much the next read asks for.
    ask_bytes: usize,
    /// NULs behind what has been read.
    padding: Option<padding::Padding>,
    /// A hole begins at the end of what has been read, and something follows it here.
    hole_to: Option<u64>,
    /// The line before the hole that was passed last.
    before_hole: Vec<u8>,
}

/// What is next in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// A whole line without its end, and the id of the place after it.
    Whole { bytes: &'a [u8], id: TailId },
    /// A line that was too long: its first bytes, the id of the place where they
    /// end, how many bytes are left out, and the id of the place after it.
    Cut {
        bytes: Vec<u8>,
        cut_id: TailId,
        left_out_bytes: u64,
        id: TailId,
    },
    /// The rest of a line whose first part was given out before.
    Rest { left_out_bytes: u64, id: TailId },
    /// No whole line is known: [`Cursor::fill`].
    Unfinished,
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// New bytes.
    More,
    /// Only NULs so far, and there may be something behind them: go on.
    Padding,
    /// Nothing new.
    AtEnd,
    /// The file is not the one that was read so far: it is shorter, or other bytes
    /// stand where ours stood.
    Rewritten,
}

/// The first read, and all reads of a file that grows line by line.
const ASK_LEAST_BYTES: usize = 8 * 1024;

/// Reads of a file that is being caught up with: what has been read is still in the
/// processor's nearest memory when it is encoded.
const ASK_MOST_BYTES: usize = 64 * 1024;

/// How much of what is held back a read begins with, to see that it is still there. Of a
/// line that is longer than this, and was not finished when it was read, the last bytes
/// stand for all of it: what was read of it before is not read again with every piece.
const OVERLAP_MOST_BYTES: usize = 8 * 1024;

/// For so long a head that was compared is taken for what it was, in a file that is at
/// least so long. To compare it for every event would cost a system call more, a tenth of
/// all that an event costs; so it costs nothing that counts, however busy the file is. To
/// deceive us, somebody has to truncate the file and write that much anew within this
/// time and between two of our looks, with the same bytes before our place. Then records
/// of the new file can come before the gap that the next comparison gives, and again
/// after it; none is lost, and an id from between fits neither file.
const HEAD_HOLDS: Duration = Duration::from_millis(10);
const HEAD_HOLDS_FROM_BYTES: u64 = 64 * 1024;

impl Cursor {
    /// A cursor at the start of the file, whose id is `start`.
    pub(super) fn at_start(file: Rc<dyn DiskFile>, start: TailId, max_line_bytes: usize) -> Self {
        Self {
            start,
            ..Self::new(file, max_line_bytes)
        }
    }

    fn new(file: Rc<dyn DiskFile>, max_line_bytes: usize) -> Self {
        Self {
            file,
            start: TailId::start_after(None),
            offset: 0,
            buffer: Buffer::default(),
            base: 0,
            scanned: 0,
            head: Head::empty(),
            pinned: None,
            skips_rest: false,
            was_empty: false,
            drained: false,
            head_checked_at: None,
            max_line_bytes,
            ask_bytes: ASK_LEAST_BYTES,
            padding: None,
            hole_to: None,
            before_hole: Vec::new(),
        }
    }

    /// A cursor at `offset`; `None` when the file is shorter.
    pub(super) fn at(
        file: Rc<dyn DiskFile>,
        offset: u64,
        max_line_bytes: usize,
    ) -> io::Result<Option<Self>> {
        let Some((head, window)) = anchor::read_place(&*file, offset)? else {
            return Ok(None);
        };
        let base = offset - window.len() as u64;
        let fresh = Self::new(file, max_line_bytes);
        Ok(Some(Self {
            offset,
            buffer: window.into(),
            base,
            scanned: offset,
            head,
            ..fresh
        }))
    }

    pub(super) fn file(&self) -> &Rc<dyn DiskFile> {
        &self.file
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Leaves out what follows up to the next line end: the place is in the middle of a
    /// line whose first part the client has.
    pub(super) fn skip_rest_of_line(mut self) -> Self {
        self.pinned = Some(self.id());
        self.skips_rest = true;
        self
    }

    /// Whether the rest of the current line is to be left out.
    pub(super) fn skips_rest(&self) -> bool {
        self.skips_rest
    }

    /// Whether the last [`Cursor::fill`] found the end of the file.
    pub(super) fn is_drained(&self) -> bool {
        self.drained
    }

    /// The file may have grown since the end of it was found, or been rewritten.
    pub(super) fn look_again(&mut self, now: Now) {
        self.drained = false;
        let is_recent = |at: Duration| now.monotonic < at + HEAD_HOLDS;
        if self.known_end() < HEAD_HOLDS_FROM_BYTES || !self.head_checked_at.is_some_and(is_recent)
        {
            self.head_checked_at = None;
        }
    }

    /// How many bytes of an unfinished line are being held back.
    pub(super) fn held_back_bytes(&self) -> u64 {
        self.known_end() - self.offset
    }

    /// The end of what has been read.
    pub(super) fn known_end(&self) -> u64 {
        self.base + self.buffer.len() as u64
    }

    /// Notes that the end has been reached, if that is the start as well.
    pub(super) fn note_empty(&mut self) {
        self.was_empty = self.known_end() == 0;
    }

    /// Whether the file was empty when its end was reached last.
    pub(super) fn was_empty(&self) -> bool {
        self.was_empty
    }

    /// The id of the place.
    pub(super) fn id(&self) -> TailId {
        if self.offset == 0 {
            return self.start;
        }
        self.pinned
            .unwrap_or_else(|| self.id_at((self.offset - self.base) as usize))
    }

    /// The byte before the place; `None` at the start.
    pub(super) fn byte_before(&self) -> Option<u8> {
        let at = (self.offset - self.base) as usize;
        at.checked_sub(1).map(|at| self.buffer[at])
    }

    /// Whether the place is one that is given while the file is followed: between two
    /// lines, or where a record was cut.
    pub(super) fn is_at_record_end(&self) -> bool {
        // (After a hole, a line begins.)
        self.skips_rest || matches!(self.byte_before(), None | Some(b'\n' | 0))
    }

    /// The id of the place at `index` of the buffer, whose head is known.
    fn id_at(&self, index: usize) -> TailId {
        let window = &self.buffer[index.saturating_sub(WINDOW_BYTES)..index];
        TailId {
            offset_bytes: self.base + index as u64,
            anchor: self.head.anchor(window),
        }
    }

    /// The next whole line of what has been read, if there is one, and moves behind it.
    //
    // Inlined, so that a line stays in registers: written to memory piece by piece and
    // copied from there at once, as a return value is, it takes a tenth of all the time
    // that a catch-up takes.
    #[inline(always)]
    pub(super) fn next_line(&mut self) -> io::Result<Line<'_>> {
        let scan_from = (self.scanned - self.base) as usize;
        let Some(distance) = newline::first(&self.buffer[scan_from..]) else {
            return self.line_before_nuls();
        };
        let newline = scan_from + distance;
        let after = self.base + newline as u64 + 1;
        if self.skips_rest || self.pinned.is_some() {
            return self.line_with_nuls(newline);
        }
        let start = (self.offset - self.base) as usize;
        if self.buffer[start] == 0 || padding::may_hold_run(newline - start) {
            return self.line_with_nuls(newline);
        }
        let end = newline - usize::from(newline > start && self.buffer[newline - 1] == b'\r');
        if end - start > self.max_line_bytes {
            return self.cut(start, end, newline + 1);
        }
        self.head.extend(&self.buffer[start..=newline]);
        self.offset = after;
        self.scanned = after;
        let id = self.id_at(newline + 1);
        Ok(Line::Whole {
            bytes: &self.buffer[start..end],
            id,
        })
    }

    /// There is no line end in what has been read.
    fn note_unfinished(&mut self) {
        self.scanned = self.known_end();
        let too_long = self.held_back_bytes() > self.max_line_bytes as u64 + 2;
        if too_long && self.pinned.is_none() {
            self.pinned = Some(self.id());
        }
    }

    /// The unfinished last line as it is, and moves behind it: for a file that nobody
    /// writes to any more.
    pub(super) fn take_unfinished(&mut self) -> io::Result<Line<'_>> {
        let end = self.known_end();
        if end == self.offset {
            return Ok(Line::Unfinished);
        }
        if self.skips_rest {
            let from = self.offset;
            if self.move_to(end, end)?.is_none() {
                return Ok(Line::Unfinished);
            }
            return Ok(Line::Rest {
                left_out_bytes: end - from,
                id: self.id(),
            });
        }
        let start = (self.offset.max(self.base) - self.base) as usize;
        if self.pinned.is_some() {
            return self.finish_overlong(end, end);
        }
        let length = self.buffer.len() - start;
        if length > self.max_line_bytes {
            return self.cut(start, start + length, start + length);
        }
        self.head.extend(&self.buffer[start..]);
        self.offset = end;
        self.scanned = end;
        let id = self.id();
        Ok(Line::Whole {
            bytes: &self.buffer[start..],
            id,
        })
    }

    /// Reads on.
    pub(super) fn fill(&mut self, now: Now) -> io::Result<Filled> {
        if self.head_checked_at.is_none() {
            if !self.head.is_still_there(&*self.file)? {
                return Ok(Filled::Rewritten);
            }
            self.head_checked_at = Some(now.monotonic);
        }
        self.compact();
        self.hole_to = None;
        let known = self.buffer.len();
        // All that is held back is read again: it is to become a record together with
        // what follows, and the start of it need not be like the start of another.
        let overlap = (self.held_back_bytes() as usize)
            .clamp(WINDOW_BYTES, OVERLAP_MOST_BYTES)
            .min(known);
        let seen = self.buffer[known - overlap..].to_vec();
        let from = self.known_end() - overlap as u64;
        let room = self.buffer.room(overlap, self.ask_bytes);
        let read = self.file.read_at(room, from);
        let unread = |cursor: &mut Self| {
            cursor.buffer.room(overlap, 0).copy_from_slice(&seen);
        };
        let read = match read {
            Ok(read) => read,
            Err(error) => {
                unread(self);
                return Err(error);
            }
        };
        let same = read >= overlap && self.buffer[known - overlap..] == seen;
        if !same {
            unread(self);
            return Ok(Filled::Rewritten);
        }
        self.buffer.hold(known - overlap + read);
        self.drained = read < overlap + self.ask_bytes;
        if !self.drained {
            self.ask_bytes = (self.ask_bytes * 4).min(ASK_MOST_BYTES);
        }
        if read == overlap {
            return Ok(Filled::AtEnd);
        }
        let seen_to = self.known_end();
        if self.trim(known) {
            return Ok(Filled::More);
        }
        self.see_padding(seen_to)
    }

    /// Gives back what a burst took: a follower that waits should cost no memory.
    pub(super) fn rest(&mut self) {
        self.ask_bytes = ASK_LEAST_BYTES;
        self.compact();
        self.before_hole = Vec::new();
        self.buffer.shrink(ASK_LEAST_BYTES);
    }

    /// Forgets what is no longer needed at the front of the buffer.
    fn compact(&mut self) {
        let needed_from = if self.pinned.is_none() {
            self.offset
        } else {
            self.scanned
        };
        let keep_from = needed_from
            .saturating_sub(WINDOW_BYTES as u64)
            .max(self.base);
        self.buffer.forget((keep_from - self.base) as usize);
        self.base = keep_from;
    }

    /// Starts reading the held-back bytes anew, because they may have been written
    /// over in place.
    pub(super) fn read_held_back_anew(&mut self) {
        let anew = Self::at(Rc::clone(&self.file), self.offset, self.max_line_bytes);
        // Otherwise it was truncated since, and the next read says so.
        if let Ok(Some(fresh)) = anew {
            let fresh = Self {
                start: self.start,
                ..fresh
            };
            *self = match self.skips_rest {
                true => fresh.skip_rest_of_line(),
                false => fresh,
            };
        }
    }

    /// Whether what stands before the place is still what was read there.
    pub(super) fn still_there(&self) -> io::Result<bool> {
        if self.offset == 0 {
            return Ok(true);
        }
        anchor::matches(&*self.file, self.id())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::memory::MemoryFile;
    use super::super::nuls;
    use super::*;

    const NOW: Now = Now {
        monotonic: Duration::ZERO,
        unix_ms: 0,
    };

    /// Reads a whole file and writes down what it gave: text, what was left out, offset.
    fn read(cursor: &mut Cursor) -> Vec<(String, u64, u64)> {
        let mut got = Vec::new();
        loop {
            // Asked for in every state, as a heartbeat does.
            let place = cursor.id().offset_bytes;
            assert_eq!(place, cursor.offset());
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            match cursor.next_line().unwrap() {
                Line::Whole { bytes, id } => got.push((text(bytes), 0, id.offset_bytes)),
                Line::Cut {
                    bytes,
                    left_out_bytes,
                    id,
                    cut_id,
                } => {
                    // (NULs before it are passed over.)
                    assert!(cut_id.offset_bytes >= place + bytes.len() as u64);
                    assert!(cut_id.offset_bytes + left_out_bytes <= id.offset_bytes);
                    got.push((text(&bytes), left_out_bytes, id.offset_bytes));
                }
                Line::Rest { left_out_bytes, id } => {
                    got.push((String::new(), left_out_bytes, id.offset_bytes));
                }
                Line::Unfinished => match cursor.fill(NOW).unwrap() {
                    Filled::More | Filled::Padding => {}
                    Filled::AtEnd => return got,
                    Filled::Rewritten => panic!("nobody wrote"),
                },
            }
        }
    }

    fn cursor(text: &str, max_line_bytes: usize) -> Cursor {
        let file = Rc::new(MemoryFile::of(text.as_bytes()));
        Cursor::at_start(file, TailId::start_after(None), max_line_bytes)
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_between_characters_and_its_rest_is_counted() {
        let long = "é".repeat(20);
        for end in ["\n", "\r\n"] {
            let text = format!("a{end}{long}{end}b{end}");
            let e = end.len() as u64;
            let expected = [
                ("a".to_owned(), 0, 1 + e),
                ("é".repeat(8), 24, 41 + 2 * e),
                ("b".to_owned(), 0, 42 + 3 * e),
            ];
            assert_eq!(read(&mut cursor(&text, 17)), expected, "{end:?}");
        }
    }

    #[test]
    fn a_line_longer_than_memory_is_cut_like_any_other() {
        let text = format!("a\n{}\r\nb\n", "x".repeat(3 << 20));
        let got = read(&mut cursor(&text, 100));
        assert_eq!(
            got[1],
            ("x".repeat(100), (3 << 20) - 100, 2 + (3 << 20) + 2)
        );
        assert_eq!(got[2].0, "b");
    }

    #[test]
    fn the_rest_of_a_cut_line_is_left_out_however_long_it_is() {
        for length in [50, 3 << 20] {
            let text = format!("{}\nb\n", "x".repeat(length));
            let file: Rc<dyn DiskFile> = Rc::new(MemoryFile::of(text.as_bytes()));
            let at = Cursor::at(file, 20, 20).unwrap().unwrap();
            let got = read(&mut at.skip_rest_of_line());
            assert_eq!(
                got[0],
                (String::new(), length as u64 - 20, length as u64 + 1)
            );
            assert_eq!(got[1].0, "b");
        }
    }

    #[test]
    fn a_cut_goes_between_two_characters_where_there_are_characters() {
        for (text, limit, expected) in [
            (&b"abcdef"[..], 4, 4),
            ("aé".as_bytes(), 2, 1),
            ("€€".as_bytes(), 5, 3),
            ("𝄞𝄞".as_bytes(), 7, 4),
            (b"\x80\x80\x80\x80\x80\x80", 5, 5),
            (b"abc", 3, 3),
        ] {
            assert_eq!(char_boundary(text, limit), expected, "{text:?}");
        }
    }

    /// The records of a text without NULs, with NULs put where they make no difference
    /// but for the places: `None` stands for a long run of them in the middle of a line.
    fn padded(pieces: &[(String, usize, bool)]) -> (Vec<u8>, Vec<String>) {
        let (mut bytes, mut records) = (Vec::new(), Vec::new());
        for (text, nuls, ends) in pieces {
            bytes.resize(bytes.len() + nuls, 0);
            bytes.extend_from_slice(text.as_bytes());
            records.push(text.clone());
            if *ends {
                bytes.push(b'\n');
            } else {
                // A run ends it.
                bytes.resize(bytes.len() + nuls::RUN_BYTES, 0);
            }
        }
        bytes.extend_from_slice(b"last\n");
        records.push("last".into());
        (bytes, records)
    }

    fn pieces() -> impl Strategy<Value = Vec<(String, usize, bool)>> {
        let nuls = prop_oneof![Just(0usize), 0usize..200, 3_000usize..10_000, Just(140_000)];
        prop::collection::vec(("[a-z]{1,9}|x{100}|y{9000}", nuls, any::<bool>()), 0..8)
    }

    proptest! {
        #[test]
        fn holes_are_passed_over_and_every_place_is_exact(
            pieces in pieces(),
            trailing in prop_oneof![Just(0usize), Just(10), Just(100_000)],
            max_line_bytes in prop_oneof![Just(16usize), Just(1 << 20)],
        ) {
            let (mut bytes, mut records) = padded(&pieces);
            for record in &mut records {
                record.truncate(max_line_bytes);
            }
            bytes.resize(bytes.len() + trailing, 0);
            let file = Rc::new(MemoryFile::of(&bytes));
            let at_start = Cursor::at_start(file.clone(), TailId::start_after(None), max_line_bytes);
            let mut cursor = at_start;
            let got = read(&mut cursor);
            let texts: Vec<&str> = got.iter().map(|record| record.0.as_str()).collect();
            prop_assert_eq!(&texts, &records);
            // Nothing of the padding is left out with a gap.
            let left_out: u64 = got.iter().map(|record| record.1).sum();
            let length = |piece: &(String, usize, bool)| piece.0.len().saturating_sub(max_line_bytes);
            prop_assert_eq!(left_out as usize, pieces.iter().map(length).sum::<usize>());
            for (index, (_, _, place)) in got.iter().enumerate() {
                let mut from = Cursor::at(file.clone(), *place, max_line_bytes).unwrap().unwrap();
                prop_assert!(from.is_at_record_end());
                prop_assert_eq!(&read(&mut from)[..], &got[index + 1..]);
            }
            // Seen from the end.
            for count in 0..records.len() + 1 {
                let size = bytes.len() as u64;
                let mut search = super::super::backlog::Search::new(size, count, 1 << 30, max_line_bytes);
                let place = loop {
                    if let Some(place) = search.run(&*file, super::super::backlog::Allowance::of_bytes(1 << 20), |_, _| true).unwrap() {
                        break place;
                    }
                };
                let mut from = Cursor::at(file.clone(), place, max_line_bytes).unwrap().unwrap();
                let first = records.len().saturating_sub(count);
                prop_assert_eq!(&read(&mut from)[..], &got[first..]);
            }
        }
    }

    #[test]
    fn padding_that_is_written_over_is_read_as_it_comes() {
        let file = Rc::new(MemoryFile::of(&[b"one\n", &[0; 200_000][..]].concat()));
        let start = TailId::start_after(None);
        let mut cursor = Cursor::at_start(file.clone(), start, 1 << 20);
        assert_eq!(read(&mut cursor).len(), 1);
        let mut at = 4;
        for text in ["two\n", "thr", "ee\n", "four\nfive\n"] {
            cursor.look_again(NOW);
            file.write_at(at, text.as_bytes());
            at += text.len();
            let lines = text.matches('\n').count();
            assert_eq!(read(&mut cursor).len(), lines, "{text:?}");
        }
        // Behind all of it, and in the midst of it.
        file.write_at(250_000, b"six\n");
        cursor.look_again(NOW);
        assert_eq!(read(&mut cursor), [("six".to_owned(), 0, 250_004)]);
    }
}

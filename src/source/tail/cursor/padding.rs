//! What a cursor does with NULs: see [`nul`](super::nul).

use std::io;

use super::super::nuls::{READ_BYTES, RUN_BYTES, data_end, first_run, leading};
use super::{Cursor, Filled, Line};

/// NULs between what has been read and the end of the file.
pub(super) struct Padding {
    /// Up to where there is nothing else.
    to: u64,
    /// Where what has been read ended when they were seen.
    known_end: u64,
    /// Size and time of the file whose every byte was seen; `None` while only a part was.
    of: Option<(u64, i128)>,
}

/// How many blocks one call looks through.
const BLOCKS_MAX: usize = 16;

impl Cursor {
    /// What has been read ends before `end` of the buffer, and NULs follow. Tells
    /// what [`Cursor::fill`] came to.
    pub(super) fn see_padding(&mut self, seen_to: u64) -> io::Result<Filled> {
        if self.drained {
            // That was all of it.
            return Ok(Filled::AtEnd);
        }
        let stat = self.file.stat()?;
        let now = (stat.size_bytes, stat.modified_ns);
        let mut at = seen_to;
        if let Some(padding) = self.padding.take().filter(|p| p.to <= stat.size_bytes) {
            if padding.of == Some(now) {
                self.padding = Some(padding);
                self.drained = true;
                return Ok(Filled::AtEnd);
            }
            // What was written stands where writing goes on, or behind all of it. If it is
            // at neither place, all of it is looked through once more.
            let is_explained = padding.known_end != self.known_end();
            let has_grown = padding.of.is_none_or(|(size, _)| size < stat.size_bytes);
            if is_explained || has_grown {
                at = at.max(padding.to);
            }
        }
        let mut block = vec![0; READ_BYTES as usize];
        for _ in 0..BLOCKS_MAX {
            let from = match self.file.next_data(at)? {
                Some((start, _)) if start < stat.size_bytes => start.max(at),
                _ => return Ok(self.note_padding(stat.size_bytes, Some(now))),
            };
            let read = self.file.read_at(&mut block, from)?;
            let nuls = leading(&block[..read]);
            at = from + nuls as u64;
            if nuls < read {
                // A newline ends the line that was begun before the hole, and no other.
                let ends_line = self.held_back_bytes() > 0 && block[nuls] == b'\n';
                self.hole_to = Some(at + u64::from(ends_line));
                return Ok(Filled::More);
            }
            if read == 0 {
                return Ok(self.note_padding(at, Some(now)));
            }
        }
        Ok(self.note_padding(at, None))
    }

    fn note_padding(&mut self, to: u64, of: Option<(u64, i128)>) -> Filled {
        self.padding = Some(Padding {
            to,
            known_end: self.known_end(),
            of,
        });
        self.drained = of.is_some();
        if self.drained {
            Filled::AtEnd
        } else {
            Filled::Padding
        }
    }

    /// Takes the NULs that were read last from the end of the buffer, of which the first
    /// `known` bytes were known before. Tells whether there is anything new before them.
    pub(super) fn trim(&mut self, known: usize) -> bool {
        let data = data_end(&self.buffer[known..]);
        self.buffer.hold(known + data);
        data > 0
    }

    /// Whether the place is the start of a line, and what follows is kept.
    fn is_at_line_start(&self) -> bool {
        !self.skips_rest && self.pinned.is_none()
    }

    /// Moves the place over the NULs that a line begins with, `end` being its end in the
    /// buffer.
    fn pass_leading(&mut self, end: usize) {
        let start = (self.offset - self.base) as usize;
        let nuls = leading(&self.buffer[start..end]);
        self.head.extend(&self.buffer[start..start + nuls]);
        self.offset += nuls as u64;
        self.scanned = self.scanned.max(self.offset);
    }

    /// A run of NULs in a line that ends at `end` of the buffer, where its newline is or
    /// what has been read: where the run begins, and where what follows does.
    fn run_in_line(&mut self, end: usize, has_newline: bool) -> Option<(usize, usize)> {
        if self.is_at_line_start() {
            self.pass_leading(end);
        }
        // What has been scanned ends with something else.
        let from = (self.scanned.max(self.offset).max(self.base) - self.base) as usize;
        let (start, after) = first_run(&self.buffer[from..end])?;
        let is_last = has_newline && from + after == end;
        Some((from + start, from + after + usize::from(is_last)))
    }

    /// The next line, whose newline is at `newline` of the buffer, and in which there may
    /// be NULs.
    pub(super) fn line_with_nuls(&mut self, newline: usize) -> io::Result<Line<'_>> {
        let (end, after) = match self.run_in_line(newline, true) {
            Some(run) => run,
            None => (newline, newline + 1),
        };
        self.end_line(end, after)
    }

    /// The next line, where what has been read holds no newline: a run of NULs can end it.
    pub(super) fn line_before_nuls(&mut self) -> io::Result<Line<'_>> {
        let end = self.buffer.len();
        if let Some((end, after)) = self.run_in_line(end, false) {
            return self.end_line(end, after);
        }
        if let Some(after) = self.hole_to.take() {
            return self.end_at_hole(after);
        }
        self.note_unfinished();
        Ok(Line::Unfinished)
    }

    /// A line from the place to `end` of the buffer, what follows being at `after`.
    fn end_line(&mut self, end: usize, after: usize) -> io::Result<Line<'_>> {
        if !self.is_at_line_start() {
            let at = |index: usize| self.base + index as u64;
            return self.finish_part(at(end), at(after));
        }
        let start = (self.offset - self.base) as usize;
        let has_return = end > start && self.buffer[end - 1] == b'\r';
        let end = end - usize::from(has_return);
        if end - start > self.max_line_bytes {
            return self.cut(start, end, after);
        }
        self.head.extend(&self.buffer[start..after]);
        self.offset = self.base + after as u64;
        self.scanned = self.offset;
        Ok(Line::Whole {
            bytes: &self.buffer[start..end],
            id: self.id_at(after),
        })
    }

    /// What has been read ends at a hole, and what follows begins at `after`.
    fn end_at_hole(&mut self, after: u64) -> io::Result<Line<'_>> {
        let end = self.known_end();
        let is_whole = self.is_at_line_start();
        if is_whole && self.held_back_bytes() == 0 {
            self.move_to(end, after)?;
            return Ok(Line::Unfinished);
        }
        if !is_whole || self.held_back_bytes() > self.max_line_bytes as u64 {
            return self.finish_part(end, after);
        }
        let line = self.buffer[(self.offset - self.base) as usize..].to_vec();
        if self.move_to(end, after)?.is_none() {
            return Ok(Line::Unfinished);
        }
        self.before_hole = line;
        let id = self.id();
        Ok(Line::Whole {
            bytes: self
                .before_hole
                .strip_suffix(b"\r")
                .unwrap_or(&self.before_hole),
            id,
        })
    }
}

/// Whether a line of so many bytes has to be looked through for a run of NULs.
pub(super) fn may_hold_run(length: usize) -> bool {
    length >= RUN_BYTES
}

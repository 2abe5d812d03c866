//! Lines that are longer than the longest record: they are cut, and their rest is left out.

use std::io;

use super::super::anchor::{self, TailId};
use super::{Cursor, Line};

impl Cursor {
    /// A line whose bytes are not all here ends at `end`, and what follows begins at
    /// `after`.
    pub(super) fn finish_part(&mut self, end: u64, after: u64) -> io::Result<Line<'_>> {
        if self.skips_rest {
            self.finish_skipped(end, after)
        } else {
            self.finish_overlong(end, after)
        }
    }

    /// A line whose bytes are all here, but which is too long.
    pub(super) fn cut(&mut self, start: usize, end: usize, after: usize) -> io::Result<Line<'_>> {
        let kept = char_boundary(&self.buffer[start..end], self.max_line_bytes);
        self.head.extend(&self.buffer[start..start + kept]);
        let cut_id = self.id_at(start + kept);
        self.head.extend(&self.buffer[start + kept..after]);
        self.offset = self.base + after as u64;
        self.scanned = self.offset;
        Ok(Line::Cut {
            bytes: self.buffer[start..start + kept].to_vec(),
            cut_id,
            left_out_bytes: (end - start - kept) as u64,
            id: self.id_at(after),
        })
    }

    /// A line that was scanned without being kept has its line end at `end` and goes on
    /// at `after`: its first bytes are read once more.
    pub(super) fn finish_overlong(&mut self, end: u64, after: u64) -> io::Result<Line<'_>> {
        let mut bytes = vec![0; self.max_line_bytes];
        let read = anchor::read_full(&*self.file, &mut bytes, self.offset)?;
        bytes.truncate(read);
        let keep = if read < self.max_line_bytes {
            read
        } else {
            self.boundary_in(&bytes)?
        };
        bytes.truncate(keep);
        let cut_offset = self.offset + bytes.len() as u64;
        let Some((cut_head, cut_window)) = anchor::read_place(&*self.file, cut_offset)? else {
            return Ok(Line::Unfinished);
        };
        let cut_id = TailId {
            offset_bytes: cut_offset,
            anchor: cut_head.anchor(&cut_window),
        };
        let Some(before_end) = self.move_to(end, after)? else {
            return Ok(Line::Unfinished);
        };
        let carriage_return = after > end && before_end == Some(b'\r');
        let left_out_bytes = end.saturating_sub(u64::from(carriage_return) + cut_offset);
        Ok(Line::Cut {
            bytes,
            cut_id,
            left_out_bytes,
            id: self.id(),
        })
    }

    /// The rest of a line whose first part the client has ends at `end`.
    fn finish_skipped(&mut self, end: u64, after: u64) -> io::Result<Line<'_>> {
        let from = self.offset;
        let Some(before_end) = self.move_to(end, after)? else {
            return Ok(Line::Unfinished);
        };
        let carriage_return = after > end && end > from && before_end == Some(b'\r');
        let left_out_bytes = end - from - u64::from(carriage_return);
        Ok(Line::Rest {
            left_out_bytes,
            id: self.id(),
        })
    }

    /// Moves the place over a line that was not kept, and tells the byte before its
    /// end; `None` when the file is no longer so long.
    pub(super) fn move_to(&mut self, end: u64, after: u64) -> io::Result<Option<Option<u8>>> {
        let Some((head, window)) = anchor::read_place(&*self.file, after)? else {
            return Ok(None);
        };
        let line_end_bytes = (after - end) as usize;
        let before_end = window
            .len()
            .checked_sub(line_end_bytes + 1)
            .map(|at| window[at]);
        self.head = head;
        self.pinned = None;
        self.skips_rest = false;
        self.offset = after;
        self.scanned = after;
        // What follows the line in the buffer stays; the window is put before it.
        let passed = (after - self.base).min(self.buffer.len() as u64);
        self.buffer.forget(passed as usize);
        self.base = after - window.len() as u64;
        self.buffer.put_before(&window);
        Ok(Some(before_end))
    }

    /// Where to cut a line of which `bytes` are the first `max_line_bytes`: the byte
    /// after them tells whether they end with a character.
    fn boundary_in(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut longer = bytes[bytes.len().saturating_sub(4)..].to_vec();
        let mut next = [0];
        let read = self
            .file
            .read_at(&mut next, self.offset + bytes.len() as u64)?;
        longer.extend_from_slice(&next[..read]);
        let before = bytes.len() - (longer.len() - read);
        Ok(before + char_boundary(&longer, longer.len() - read))
    }
}

/// The most bytes of `text`, at most `limit`, that end between two characters. What is
/// no UTF-8 has no characters to keep together.
pub(in crate::source::tail) fn char_boundary(text: &[u8], limit: usize) -> usize {
    if text.len() <= limit {
        return text.len();
    }
    let continues = |at: usize| text[at] & 0xC0 == 0x80;
    let lead = (limit.saturating_sub(3)..=limit)
        .rev()
        .find(|&at| !continues(at));
    match lead {
        Some(lead) if lead > 0 => lead,
        _ => limit,
    }
}

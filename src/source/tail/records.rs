//! Lines become events.

use std::borrow::Cow;
use std::io;

use super::anchor::{IdText, TailId};
use super::cursor::{Cursor, Line};
use super::line_ends::without_rest_of_crlf;
use crate::event::{Batch, Gap, Reason};
use crate::request::{Filter, Format, LineEnd, Settings, TextEncoding, Verdict};
use crate::source::charset::decode;
use crate::source::lines::LineEncoding;

/// How the lines of a file become events.
pub(super) struct Encoding {
    lines: LineEncoding,
    /// A record that does not pass all of them is passed over; its place counts.
    filters: Vec<Filter>,
    /// How a line is text.
    encoding: TextEncoding,
    line_end: LineEnd,
    /// Which records count for nothing in a backlog.
    uncounted: fn(&[u8]) -> bool,
}

impl Encoding {
    /// Tells the administrator of a problem with the file.
    pub(super) fn warn(&self, problem: &str) {
        self.lines.warn(problem);
    }

    pub(super) fn new(lines: LineEncoding, settings: &Settings, filters: Vec<Filter>) -> Self {
        Self {
            lines,
            encoding: settings.encoding,
            line_end: settings.line_end,
            filters,
            uncounted: |_| false,
        }
    }

    /// The same with records that a backlog does not count, but holds.
    pub(super) fn counting_all_but(mut self, uncounted: fn(&[u8]) -> bool) -> Self {
        self.uncounted = uncounted;
        self
    }

    /// The file is known to have another encoding than the settings say.
    pub(super) fn set_encoding(&mut self, encoding: TextEncoding) {
        self.encoding = encoding;
    }

    /// A line as UTF-8.
    fn text<'a>(&self, line: &'a [u8]) -> Cow<'a, [u8]> {
        match self.line_end {
            LineEnd::Lf => decode(line, self.encoding),
            LineEnd::Any => decode(without_rest_of_crlf(line), self.encoding),
        }
    }

    /// Whether a client decides how much it costs to judge a record.
    pub(super) fn is_costly(&self) -> bool {
        self.filters.iter().any(Filter::is_clients_expression)
    }

    /// Whether a record passes all filters; `work` is raised by the cost.
    fn judge(&self, line: &[u8], work: &mut u64) -> Verdict {
        for filter in &self.filters {
            match filter.judge(line, work) {
                Verdict::Passes => {}
                other => return other,
            }
        }
        Verdict::Passes
    }

    /// The same, for a record that is about to be appended to `out`.
    fn verdict(&self, line: &[u8], out: &mut Batch) -> Verdict {
        let mut work = 0;
        let verdict = self.judge(line, &mut work);
        out.spend(work);
        verdict
    }

    /// Whether a line is an event of its own, for counting a backlog; `work` is raised by
    /// what it costs to tell. A record that is too long to be matched becomes a gap.
    pub(super) fn counts(&self, line: &[u8], work: &mut u64) -> bool {
        let line = &*self.text(line);
        let is_record = self.lines.format() != Format::Jsonl || !line.trim_ascii().is_empty();
        is_record && !(self.uncounted)(line) && self.judge(line, work) == Verdict::Passes
    }

    /// Appends the whole lines that the cursor knows, until `out` is full.
    pub(super) fn emit_lines(&self, cursor: &mut Cursor, out: &mut Batch) -> io::Result<()> {
        self.emit_each(cursor, Position::Moves, out)
    }

    /// Appends the unfinished last line as a record.
    pub(super) fn emit_unfinished(&self, cursor: &mut Cursor, out: &mut Batch) -> io::Result<()> {
        self.emit(cursor.take_unfinished()?, Position::Moves, out);
        Ok(())
    }

    /// The same for a file that has been left: its lines carry no id, since the place
    /// of the stream is in a newer file.
    pub(super) fn emit_late_lines(&self, cursor: &mut Cursor, out: &mut Batch) -> io::Result<()> {
        self.emit_each(cursor, Position::Stays, out)
    }

    /// The unfinished last line of a file that has been left.
    pub(super) fn emit_late_unfinished(
        &self,
        cursor: &mut Cursor,
        out: &mut Batch,
    ) -> io::Result<()> {
        self.emit(cursor.take_unfinished()?, Position::Stays, out);
        Ok(())
    }

    fn emit_each(&self, cursor: &mut Cursor, place: Position, out: &mut Batch) -> io::Result<()> {
        while !out.is_full() && self.emit(cursor.next_line()?, place, out) {}
        Ok(())
    }

    /// Appends a line; `false` when there was none.
    #[inline(always)] // As Cursor::next_line.
    fn emit(&self, line: Line<'_>, place: Position, out: &mut Batch) -> bool {
        match line {
            Line::Unfinished => return false,
            // Half of a line end, of a file that has been left.
            Line::Whole { bytes: b"\r", .. } if self.line_end == LineEnd::Any => {}
            Line::Whole { bytes, id } => {
                let text = self.text(bytes);
                // Notepad's mark, in the first line of a file.
                let is_first = id.offset_bytes <= bytes.len() as u64 + 2;
                let text = match text.strip_prefix(b"\xEF\xBB\xBF") {
                    Some(rest) if is_first => rest,
                    _ => &*text,
                };
                match self.verdict(text, out) {
                    Verdict::Passes => self.record(text, place.id(id), out),
                    Verdict::Fails => {}
                    Verdict::TooLong => gap(bytes.len() as u64, place.id(id), out),
                }
            }
            other => self.emit_part(other, place, out),
        }
        true
    }

    /// Appends what there is of a line that is too long.
    fn emit_part(&self, line: Line<'_>, place: Position, out: &mut Batch) {
        match line {
            Line::Cut {
                bytes,
                cut_id,
                left_out_bytes,
                id,
            } => {
                let text = self.text(&bytes);
                // Of a record that is too long, the part that is kept decides.
                match self.verdict(&text, out) {
                    Verdict::Passes => {
                        // The record's own id is the place where it was cut, so that a
                        // client that gets it and not the gap is told the rest when it
                        // returns.
                        self.record(&text, place.id(cut_id), out);
                        gap(left_out_bytes, place.id(id), out);
                    }
                    Verdict::Fails => {}
                    Verdict::TooLong => {
                        gap(bytes.len() as u64 + left_out_bytes, place.id(id), out);
                    }
                }
            }
            Line::Rest { left_out_bytes, id } => gap(left_out_bytes, place.id(id), out),
            Line::Whole { .. } | Line::Unfinished => {}
        }
    }

    fn record(&self, line: &[u8], id: Option<TailId>, out: &mut Batch) {
        let mut room = IdText::default();
        let id = id.map(|id| id.text(&mut room));
        self.lines.record(line, id, out);
    }
}

fn gap(left_out_bytes: u64, id: Option<TailId>, out: &mut Batch) {
    out.gap(
        &Gap::of(Reason::Cut, left_out_bytes),
        id.map(TailId::event_id),
    );
}

/// Whether a line moves the place of the stream.
#[derive(Clone, Copy)]
enum Position {
    Moves,
    Stays,
}

impl Position {
    fn id(self, id: TailId) -> Option<TailId> {
        match self {
            Self::Moves => Some(id),
            Self::Stays => None,
        }
    }
}

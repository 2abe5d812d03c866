//! Lines become events.

use std::borrow::Cow;
use std::io;

use super::anchor::{IdText, TailId};
use super::cursor::{Cursor, Line};
use crate::event::{Batch, Event, EventId, EventName, Gap, Reason};
use crate::request::{Filter, Format, Settings, SourceId};
use crate::source::record::{Record, text_of};

/// How the lines of a file become events.
pub(super) struct Encoding {
    format: Format,
    /// The name of events in the format `lines`.
    name: Option<EventName<'static>>,
    source_id: SourceId,
    /// A record that does not pass all of them is passed over; its place counts.
    filters: Vec<Filter>,
}

impl Encoding {
    pub(super) fn new(settings: &Settings, format: Format, filters: Vec<Filter>) -> Self {
        let name = settings.event.clone();
        Self {
            format,
            name,
            source_id: settings.source_id,
            filters,
        }
    }

    fn passes(&self, line: &[u8]) -> bool {
        self.filters.iter().all(|filter| filter.passes(line))
    }

    /// Whether a line is an event of its own, for counting a backlog.
    pub(super) fn counts(&self, line: &[u8]) -> bool {
        let is_record = self.format != Format::Jsonl || !line.trim_ascii().is_empty();
        is_record && self.passes(line)
    }

    /// Appends the whole lines that the cursor knows, until `out` is full.
    pub(super) fn emit_lines(&self, cursor: &mut Cursor, out: &mut Batch) -> io::Result<()> {
        self.emit_each(cursor, Place::Moves, out)
    }

    /// Appends the unfinished last line as a record.
    pub(super) fn emit_unfinished(&self, cursor: &mut Cursor, out: &mut Batch) -> io::Result<()> {
        self.emit(cursor.take_unfinished()?, Place::Moves, out);
        Ok(())
    }

    /// The same for a file that has been left: its lines carry no id, since the place
    /// of the stream is in a newer file.
    pub(super) fn emit_late_lines(&self, cursor: &mut Cursor, out: &mut Batch) -> io::Result<()> {
        self.emit_each(cursor, Place::Stays, out)
    }

    /// The unfinished last line of a file that has been left.
    pub(super) fn emit_late_unfinished(
        &self,
        cursor: &mut Cursor,
        out: &mut Batch,
    ) -> io::Result<()> {
        self.emit(cursor.take_unfinished()?, Place::Stays, out);
        Ok(())
    }

    fn emit_each(&self, cursor: &mut Cursor, place: Place, out: &mut Batch) -> io::Result<()> {
        while !out.is_full() && self.emit(cursor.next_line()?, place, out) {}
        Ok(())
    }

    /// Appends a line; `false` when there was none.
    #[inline(always)] // As Cursor::next_line.
    fn emit(&self, line: Line<'_>, place: Place, out: &mut Batch) -> bool {
        match line {
            Line::Unfinished => return false,
            Line::Whole { bytes, id } => {
                if self.passes(bytes) {
                    self.record(bytes, place.id(id), out);
                }
            }
            other => self.emit_part(other, place, out),
        }
        true
    }

    /// Appends what there is of a line that is too long.
    fn emit_part(&self, line: Line<'_>, place: Place, out: &mut Batch) {
        match line {
            // Of a record that is too long, the part that is kept decides.
            Line::Cut { bytes, .. } if !self.passes(&bytes) => {}
            Line::Cut {
                bytes,
                cut_id,
                left_out_bytes,
                id,
            } => {
                // The record's own id is the place where it was cut, so that a client
                // that gets it and not the gap is told the rest when it returns.
                self.record(&bytes, place.id(cut_id), out);
                gap(left_out_bytes, place.id(id), out);
            }
            Line::Rest { left_out_bytes, id } => gap(left_out_bytes, place.id(id), out),
            Line::Whole { .. } | Line::Unfinished => {}
        }
    }

    fn record(&self, line: &[u8], id: Option<TailId>, out: &mut Batch) {
        let mut room = IdText::default();
        let id = id.map(|id| id.text(&mut room));
        match self.format {
            Format::Jsonl => self.json_record(line, id, out),
            Format::Lines | Format::State => {
                out.event(&Event {
                    id,
                    name: self.name.clone(),
                    data: line,
                });
            }
        }
    }

    fn json_record(&self, line: &[u8], id: Option<EventId<'_>>, out: &mut Batch) {
        if line.trim_ascii().is_empty() {
            return;
        }
        let text = String::from_utf8_lossy(line);
        let Ok(record) = Record::parse(&text) else {
            return out.event(&Event {
                id,
                name: Some(EventName::INVALID),
                data: line,
            });
        };
        if let Some(comment) = &record.comment {
            out.comment(comment);
        }
        if let Some(retry_ms) = record.retry_ms {
            out.retry(retry_ms);
        }
        if !record.is_event() {
            return;
        }
        let data = match (self.source_id, record.id) {
            (SourceId::PassedOn, Some(own)) => {
                let data = record.data.unwrap_or("null");
                Cow::Owned(format!("{{\"source_id\":{own},\"data\":{data}}}").into_bytes())
            }
            _ => record.data.map(text_of).unwrap_or_default(),
        };
        out.event(&Event {
            id,
            name: record.event,
            data: &data,
        });
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
enum Place {
    Moves,
    Stays,
}

impl Place {
    fn id(self, id: TailId) -> Option<TailId> {
        match self {
            Self::Moves => Some(id),
            Self::Stays => None,
        }
    }
}

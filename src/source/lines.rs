//! A line becomes an event.

use std::borrow::Cow;

use super::record::{Record, text_of};
use crate::event::{Batch, Event, EventId, EventName};
use crate::request::{Format, Settings, SourceId};

/// How lines become events.
pub(super) struct LineEncoding {
    format: Format,
    /// The name of events in the format `lines`.
    name: Option<EventName<'static>>,
    source_id: SourceId,
}

impl LineEncoding {
    pub(super) fn new(settings: &Settings, format: Format) -> Self {
        Self {
            format,
            name: settings.event.clone(),
            source_id: settings.source_id,
        }
    }

    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// Appends what a line without its end stands for.
    pub(super) fn record(&self, line: &[u8], id: Option<EventId<'_>>, out: &mut Batch) {
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

//! LineEncoding: turns a line into an event.

use std::borrow::Cow;

use super::record::{JsonLine, text_of, without_mark};
use crate::event::{Batch, Event, EventId, EventName};
use crate::request::{Format, Settings, SourceId};

/// How lines become events.
pub(super) struct LineEncoding {
    format: Format,
    /// The name of events in the format `lines`.
    name: Option<EventName<'static>>,
    source_id: SourceId,
    /// Logs a line for the administrator.
    warn: Box<dyn Fn(&str)>,
}

impl LineEncoding {
    /// `warn` receives the problem of a line, without its position.
    pub(super) fn new(settings: &Settings, format: Format, warn: impl Fn(&str) + 'static) -> Self {
        Self {
            format,
            name: settings.event.clone(),
            source_id: settings.source_id,
            warn: Box::new(warn),
        }
    }

    /// Reports a problem to the administrator, without its position.
    pub(super) fn warn(&self, problem: &str) {
        (self.warn)(problem);
    }

    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// Appends the event of a line, which is given without its line end.
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
        let Ok(record) = JsonLine::parse(&text) else {
            return out.event(&Event {
                id,
                name: Some(EventName::INVALID),
                data: line,
            });
        };
        let is_foreign = record.is_foreign();
        if !is_foreign {
            if let Some(comment) = &record.comment {
                out.comment(comment);
            }
            if let Some(retry_ms) = record.retry_ms {
                out.retry(retry_ms);
            }
            if !record.is_event() {
                return;
            }
        }
        let is_reserved = record.event.as_ref().is_some_and(EventName::is_reserved);
        let (name, data) = match record.event {
            _ if is_foreign => (None, Some(without_mark(&text))),
            Some(name) if is_reserved => {
                (self.warn)(&reserved(&name));
                // Without data, the event consists of its name.
                (None, record.data.or(Some(without_mark(&text))))
            }
            name => (name, record.data),
        };
        self.json_event(id, name, record.id, data, out);
    }

    /// Appends an event with `data`, which is JSON.
    fn json_event(
        &self,
        id: Option<EventId<'_>>,
        name: Option<EventName<'_>>,
        own_id: Option<&str>,
        data: Option<&str>,
        out: &mut Batch,
    ) {
        let data = match (self.source_id, own_id) {
            (SourceId::PassedOn, Some(own)) => {
                let data = data.unwrap_or("null").trim();
                Cow::Owned(format!("{{\"source_id\":{own},\"data\":{data}}}").into_bytes())
            }
            _ => data.map(text_of).unwrap_or_default(),
        };
        out.event(&Event {
            id,
            name,
            data: &data,
        });
    }
}

/// The message for an event name that a source must not use.
pub(super) fn reserved(name: &EventName<'_>) -> String {
    format!(
        "an event is named {}, which only the stream itself and EventSource may use; it is sent \
         as a plain message; choose another name",
        name.as_str()
    )
}

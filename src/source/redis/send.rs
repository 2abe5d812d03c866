//! What the entries of a stream become for its client: events, gaps, positions, and the end.

use super::query::{Page, Query, Refused, Together, remedy, shown};
use super::{Redis, State};
use crate::event::{Batch, Event, EventName, Reason, Unavailable};
use crate::source::Next;

impl Redis {
    /// Sends a gap with the position, and the number of events that are lost if it is known.
    pub(super) fn gap(&mut self, reason: Reason, events: Option<u64>, out: &mut Batch) {
        let reason = reason.as_str();
        let data = match events {
            Some(events) => format!("{{\"reason\":\"{reason}\",\"events\":{events}}}"),
            None => format!("{{\"reason\":\"{reason}\"}}"),
        };
        self.is_reported = true;
        self.has_gap = true;
        out.event(&Event {
            id: Some(self.position.event_id()),
            name: Some(EventName::GAP),
            data: data.as_bytes(),
        });
    }

    /// Sends what the page contains, as far as it fits.
    pub(super) fn emit(&mut self, out: &mut Batch) -> Result<(), Refused> {
        let events_before = out.events();
        while self.page.left() > 0 && !out.is_full() {
            let encoding = &self.encoding;
            let read = self.page.next(|id, own, fields| {
                encoding.emit(&own, fields, out);
                id
            })?;
            if let Some(id) = read {
                self.position = id;
                self.ledger.receive();
            }
        }
        self.is_reported |= out.events() > events_before;
        Ok(())
    }

    /// Everything in the stream was sent.
    pub(super) fn settle(&mut self, out: &mut Batch) {
        self.is_last_page = false;
        let lost = self.ledger.settle(self.stream.as_ref());
        let position = self.position;
        let newer = self
            .stream
            .filter(|stream| stream.last_generated > position);
        if let Some(stream) = newer {
            // Without an entry: it was removed. (Trimming removes the first ones first.)
            let was_entry = stream.length == 0
                || stream
                    .max_deleted
                    .is_none_or(|deleted| deleted >= stream.last_generated);
            self.set_id = (!was_entry).then_some(stream.last_generated);
            self.position = stream.last_generated;
        }
        match lost {
            0 => {}
            1.. => self.gap(Reason::Expired, Some(lost.unsigned_abs()), out),
            ..0 => self.gap(Reason::UnknownId, None, out),
        }
        if !std::mem::replace(&mut self.is_reported, true) {
            let id = self.position.event_id();
            if !out.ends_at(&id) {
                out.place(&id);
            }
        }
        self.is_settled = true;
        if self.feed.is_watching() {
            let query = Query::After(self.position, self.page_entries);
            let (commands, replies) = query.commands(&self.key, Together::Transaction);
            self.feed.watch(self.position, commands, replies);
            self.ahead = Some(query);
        }
    }

    /// Ends the stream: its client returns with its last id.
    pub(super) fn fail(&mut self, out: &mut Batch) -> Next {
        self.state = State::Ended;
        self.page = Page::default();
        out.come_again(Unavailable::Other, self.retry_ms);
        Next::End
    }

    pub(super) fn refuse(&mut self, refused: &Refused, out: &mut Batch) -> Next {
        let text = match refused {
            Refused::Malformed(error) => error.to_string(),
            // These are asked again.
            Refused::Full | Refused::Changed => "no answer".into(),
            Refused::Error(text) => format!("{text}; {}", remedy(text)),
        };
        self.host.warn(&format!("{}: {text}", shown(&self.key)));
        self.fail(out)
    }
}

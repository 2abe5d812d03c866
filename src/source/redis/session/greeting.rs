//! What the stream of a session tells its client besides entries: its welcome.

use crate::event::{Batch, Event, EventName};
use crate::source::redis::{Ledger, Redis, State};

impl Redis {
    /// Sends the event `welcome` before the first entry, as soon as the position is known.
    pub(super) fn greet_first(&mut self, data: String) {
        self.greeting = Some(data);
    }

    /// Sends the event `welcome` now, or as soon as the position is known.
    pub(super) fn greet(&mut self, data: String, out: &mut Batch) {
        self.greeting = Some(data);
        if matches!(self.state, State::Reading) {
            self.say_greeting(out);
        }
    }

    /// Sends the event `welcome`, if there is one.
    pub(in crate::source::redis) fn say_greeting(&mut self, out: &mut Batch) {
        if let Some(data) = self.greeting.take() {
            self.is_reported = true;
            out.event(&Event {
                id: Some(self.position.event_id()),
                name: EventName::new("welcome").ok(),
                data: data.as_bytes(),
            });
        }
    }

    /// Whether it has sent a gap since the last call.
    pub(super) fn take_gap(&mut self) -> bool {
        std::mem::take(&mut self.has_gap)
    }

    /// A stream that is read from its start was created for this client, so nothing of it is lost.
    pub(super) fn begin_if_new(&mut self, out: &mut Batch) {
        if matches!(self.state, State::Reading) {
            self.ledger = Ledger::at_end(None);
            if let Some(reason) = self.gap.take() {
                self.gap(reason, None, out);
            }
        }
    }
}

//! The events of a response, with the times of their arrival.

use std::time::Instant;

use crate::support::event_stream::{self, Item};

/// A dispatched event.
#[derive(Clone, Debug)]
pub struct Event {
    /// The last id at the time it was dispatched.
    pub id: String,
    /// `message` if the event has no name.
    pub name: String,
    pub data: String,
    /// When the bytes that completed it were read.
    pub arrived: Instant,
}

/// A parser that accepts pieces of any size.
#[derive(Default)]
pub struct Parser {
    stream: event_stream::Parser,
    /// Browsers send this as Last-Event-ID.
    pub last_id: String,
    /// The last `retry:`, in milliseconds.
    pub retry: Option<u64>,
    pub comments: u32,
    /// Blocks that ended without data, for which browsers dispatch nothing, and `place`.
    pub blocks_without_data: u32,
}

impl Parser {
    pub fn feed(&mut self, bytes: &[u8], now: Instant) -> Vec<Event> {
        self.stream.feed(bytes);
        let mut events = Vec::new();
        while let Some(item) = self.stream.next() {
            match item {
                Item::Event(event) => events.push(Event {
                    id: event.id,
                    name: event.name,
                    data: event.data,
                    arrived: now,
                }),
                Item::Blank { .. } => self.blocks_without_data += 1,
                Item::Comment(_) => self.comments += 1,
                Item::Retry(milliseconds) => self.retry = Some(milliseconds),
                Item::Ignored(_) => {}
            }
        }
        // Until this stream has sent an id, that of the previous stream counts.
        if !self.stream.last_id.is_empty() {
            self.last_id.clone_from(&self.stream.last_id);
        }
        events
    }
}

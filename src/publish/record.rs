//! Record: one line of a stream's file.

use crate::event::EventName;
use crate::source::{JsonLine, text_of};

/// One JSON object and its newline, the only content that is ever appended to the file. No byte
/// from a client can end the line or leave its JSON string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record(Vec<u8>);

impl Record {
    /// A record of `event` and of `data`, which is a JSON value on one line.
    pub(super) fn new(event: Option<&EventName<'_>>, data: Option<&str>) -> Self {
        let mut line = String::from("{");
        if let Some(event) = event {
            line.push_str("\"event\":");
            line.push_str(&json_text(event.as_str()));
        }
        if let Some(data) = data {
            line.push_str(if event.is_some() {
                ",\"data\":"
            } else {
                "\"data\":"
            });
            line.push_str(data);
        }
        line.push_str("}\n");
        Self(line.into_bytes())
    }

    /// A record that is already encoded, without its newline; `None` if it is more than one
    /// line.
    pub(crate) fn of_line(line: String) -> Option<Self> {
        if line.contains('\n') {
            return None;
        }
        Some(Self((line + "\n").into_bytes()))
    }

    /// The same event as the fields of an entry of a Redis Stream, which readers get as they get
    /// the line.
    pub(crate) fn entry_fields(&self) -> Vec<(&'static str, Vec<u8>)> {
        let line = std::str::from_utf8(&self.0).unwrap_or_default();
        let line = JsonLine::parse(line).unwrap_or_default();
        let event = line.event.as_ref();
        let event = event.map(|name| ("event", name.as_str().as_bytes().to_vec()));
        let data = line.data.map(|json| ("data", text_of(json).into_owned()));
        event.into_iter().chain(data).collect()
    }

    /// The line, including its newline.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A text as a JSON string.
pub(super) fn json_text(text: &str) -> String {
    // Serialization fails only for keys that are not strings, and a string has no keys.
    serde_json::to_string(text).unwrap_or_default()
}

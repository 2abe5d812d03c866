//! Relay: the events of one stream of several, from its own batch into that of the connection.

use memchr::memchr;

use super::places::Places;
use crate::event::{Batch, EventId, Unavailable};
use crate::request::Labelling;

/// The first part of encoded output.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// A comment or a reconnection time, with its line end.
    Line(&'a [u8]),
    /// An event.
    Block(Block<'a>),
}

/// The parts of an encoded event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block<'a> {
    pub(super) id: Option<&'a [u8]>,
    /// Empty: none.
    pub(super) name: &'a [u8],
    /// Its `data:` lines, and others, with the blank line.
    pub(super) data_lines: &'a [u8],
}

impl<'a> Part<'a> {
    /// Reads the first part of what a [`Batch`] contains, and its length; `None` if there is none.
    pub(super) fn first(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let first_end = memchr(b'\n', bytes)? + 1;
        if bytes.starts_with(b":") || bytes.starts_with(b"retry: ") {
            return Some((Self::Line(&bytes[..first_end]), first_end));
        }
        let (mut id, mut name, mut at) = (None, &b""[..], 0);
        if bytes.starts_with(b"id: ") {
            id = Some(&bytes[4..first_end - 1]);
            at = first_end;
        }
        if bytes[at..].starts_with(b"event: ") {
            let end = at + memchr(b'\n', &bytes[at..])?;
            name = &bytes[at + 7..end];
            at = end + 1;
        }
        let mut end = at;
        loop {
            end += memchr(b'\n', &bytes[end..])? + 1;
            if bytes.get(end) == Some(&b'\n') {
                break;
            }
        }
        let block = Block {
            id,
            name,
            data_lines: &bytes[at..=end],
        };
        Some((Self::Block(block), end + 1))
    }
}

impl Block<'_> {
    /// Its data, whose lines are separated by LF.
    pub(super) fn data(&self) -> Vec<u8> {
        let mut data = Vec::with_capacity(self.data_lines.len());
        let lines = self.data_lines.split(|byte| *byte == b'\n');
        let lines = lines.filter_map(|line| line.strip_prefix(b"data:"));
        for (number, line) in lines.enumerate() {
            if number > 0 {
                data.push(b'\n');
            }
            data.extend_from_slice(line.strip_prefix(b" ").unwrap_or(line));
        }
        data
    }
}

/// How the events of one stream are relayed.
pub(super) struct Relay {
    name: String,
    labelling: Labelling,
    /// `data: {"stream":"log","data":"`.
    field_start: Vec<u8>,
}

/// What an event was, for the state of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relayed {
    /// An event, or a `gap`.
    Event,
    /// The end of the stream.
    Close,
    /// The stream has nothing to serve.
    Unavailable,
}

impl Relay {
    /// `name` needs no escape in JSON.
    pub(super) fn new(name: &str, labelling: Labelling) -> Self {
        Self {
            name: name.into(),
            labelling,
            field_start: format!("data: {{\"stream\":\"{name}\",\"data\":\"").into(),
        }
    }

    /// Appends an event of the stream. Its id is that of all positions, or none.
    pub(super) fn block(
        &self,
        block: &Block<'_>,
        id: Option<&EventId<'_>>,
        out: &mut Batch,
    ) -> Relayed {
        match block.name {
            b"gap" => {
                self.own(id, "gap", &block.data(), out);
                Relayed::Event
            }
            b"unavailable" => {
                self.own(None, "unavailable", &block.data(), out);
                Relayed::Unavailable
            }
            b"close" => {
                let name = [self.name.as_bytes(), b"/close"];
                out.relay(id, &name, block.data_lines);
                Relayed::Close
            }
            name => {
                self.published(name, block, id, out);
                Relayed::Event
            }
        }
    }

    fn published(&self, name: &[u8], block: &Block<'_>, id: Option<&EventId<'_>>, out: &mut Batch) {
        match self.labelling {
            Labelling::Name => {
                let name = if name.is_empty() { b"message" } else { name };
                out.relay(id, &[self.name.as_bytes(), b"/", name], block.data_lines);
            }
            Labelling::Field => {
                let mut line = self.field_start.clone();
                escape(&block.data(), &mut line);
                line.extend_from_slice(b"\"}\n\n");
                let parts = [name];
                let name = if name.is_empty() { &[][..] } else { &parts };
                out.relay(id, name, &line);
            }
        }
    }

    /// Appends an event of the stream itself, whose data is a JSON object.
    fn own(&self, id: Option<&EventId<'_>>, name: &str, data: &[u8], out: &mut Batch) {
        let members = data.strip_prefix(b"{").unwrap_or(b"}");
        let comma: &[u8] = if members.starts_with(b"}") { b"" } else { b"," };
        let stream = format!("data: {{\"stream\":\"{}\"", self.name);
        let line = [stream.as_bytes(), comma, members, b"\n\n"].concat();
        let name = [self.name.as_bytes(), b"/", name.as_bytes()];
        out.relay(id, &name, &line);
    }

    /// Appends the event that the stream has nothing to serve.
    pub(super) fn unavailable(&self, reason: Unavailable, out: &mut Batch) {
        self.unavailable_of(reason.to_string().as_bytes(), out);
    }

    /// The same, with the data of the event, a JSON object.
    pub(super) fn unavailable_of(&self, data: &[u8], out: &mut Batch) {
        self.own(None, "unavailable", data, out);
    }
}

/// Appends an event without data of its own that brings the position.
pub(super) fn place(places: &Places, out: &mut Batch) {
    if let Some(id) = places.id().filter(|id| !out.ends_at(id)) {
        out.place(&id);
    }
}

/// Appends UTF-8 text as it is written within a string of JSON (RFC 8259 §7).
fn escape(text: &[u8], out: &mut Vec<u8>) {
    out.reserve(text.len() + 8);
    let mut plain_from = 0;
    for (at, byte) in text.iter().enumerate() {
        if *byte >= b' ' && *byte != b'"' && *byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&text[plain_from..at]);
        plain_from = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
    }
    out.extend_from_slice(&text[plain_from..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::{Event, EventName, Gap, Reason};

    fn relayed(labelling: Labelling, batch: &Batch) -> String {
        let relay = Relay::new("log", labelling);
        let id = EventId::new("*x").unwrap();
        let mut out = Batch::new();
        let mut rest = batch.as_bytes();
        while let Some((part, length)) = Part::first(rest) {
            match part {
                Part::Line(line) => out.relay_line(line),
                Part::Block(block) => {
                    let id = block.id.map(|_| &id);
                    relay.block(&block, id, &mut out);
                }
            }
            rest = &rest[length..];
        }
        assert!(rest.is_empty());
        assert_eq!(out.events(), batch.events());
        String::from_utf8(out.as_bytes().to_vec()).unwrap()
    }

    fn batch() -> Batch {
        let mut batch = Batch::new();
        batch.comment(b"hello");
        let id = || EventId::new("7").unwrap();
        batch.event(&Event {
            id: Some(id()),
            name: None,
            data: b"a \"b\"\nc\\\t\n",
        });
        batch.event(&Event {
            id: None,
            name: EventName::new("update").ok(),
            data: b"{\"a\":1}",
        });
        batch.gap(&Gap::of(Reason::Cut, 3), Some(id()));
        batch.come_again(Unavailable::Other, 1234);
        batch.close(None);
        batch
    }

    #[test]
    fn an_event_shows_its_stream_in_its_name() {
        assert_eq!(
            relayed(Labelling::Name, &batch()),
            ": hello\n\
             id: *x\nevent: log/message\ndata: a \"b\"\ndata: c\\\t\ndata:\n\n\
             event: log/update\ndata: {\"a\":1}\n\n\
             id: *x\nevent: log/gap\ndata: {\"stream\":\"log\",\"reason\":\"cut\",\"bytes\":3}\n\n\
             event: log/unavailable\ndata: {\"stream\":\"log\",\"reason\":\"not available now\"}\n\n\
             event: log/close\ndata:\n\n"
        );
    }

    #[test]
    fn an_event_shows_its_stream_in_its_data() {
        assert_eq!(
            relayed(Labelling::Field, &batch()),
            ": hello\n\
             id: *x\ndata: {\"stream\":\"log\",\"data\":\"a \\\"b\\\"\\nc\\\\\\t\\n\"}\n\n\
             event: update\ndata: {\"stream\":\"log\",\"data\":\"{\\\"a\\\":1}\"}\n\n\
             id: *x\nevent: log/gap\ndata: {\"stream\":\"log\",\"reason\":\"cut\",\"bytes\":3}\n\n\
             event: log/unavailable\ndata: {\"stream\":\"log\",\"reason\":\"not available now\"}\n\n\
             event: log/close\ndata:\n\n"
        );
    }

    proptest! {
        #[test]
        fn any_data_of_any_event_is_relayed_unchanged(
            events in proptest::collection::vec(
                (any::<bool>(), "[a-z:]{0,9}", proptest::collection::vec(any::<u8>(), 0..40)),
                0..8,
            )
        ) {
            let mut one = Batch::new();
            for (has_id, name, data) in &events {
                one.event(&Event {
                    id: has_id.then(|| EventId::new("7").unwrap()),
                    name: EventName::cleaned(name.into()).filter(|name| !name.is_reserved()),
                    data,
                });
            }
            let text = relayed(Labelling::Field, &one);
            let mut rest = one.as_bytes();
            let mut blocks = text.split_terminator("\n\n");
            while let Some((Part::Block(block), length)) = Part::first(rest) {
                let line = blocks.next().unwrap().lines().last().unwrap();
                let data = line.strip_prefix("data: ").unwrap();
                let data: serde_json::Value = serde_json::from_str(data).unwrap();
                prop_assert_eq!(data["data"].as_str().unwrap().as_bytes(), block.data());
                rest = &rest[length..];
            }
            prop_assert_eq!(blocks.next(), None);
        }
    }
}

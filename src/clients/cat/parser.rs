//! Parser: the bytes of a `text/event-stream` → events (WHATWG HTML §9.2.6).
//!
//! It accepts pieces of any size, split anywhere. `tests` feeds each case whole and byte by
//! byte.

use std::sync::Arc;
use std::time::Duration;

use memchr::{memchr, memchr2};

/// An event as a browser would dispatch it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// The last event id at this event, whether or not the event itself contained it; '' for
    /// none. It is shared: a server can send one long id and then thousands of short events.
    pub(crate) id: Arc<str>,
    /// `message` if the event has no name. Cut at [`Parser::NAME_MAX_BYTES`].
    pub(crate) name: String,
    /// Its lines joined by LF.
    pub(crate) data: String,
}

/// One item of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// An event.
    Event(Event),
    /// The position of the stream has changed without an event.
    Position(Arc<str>),
    /// The time to wait before reconnecting.
    Retry(Duration),
    /// An id that was ignored because it exceeds [`Parser::ID_MAX_BYTES`]; its length.
    LongId(usize),
}

/// A line, or the data of one event, is longer than [`Parser::EVENT_MAX_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// One connection's parser.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    /// The beginning of a line, without its line end.
    line: Vec<u8>,
    is_after_first_line: bool,
    /// The last byte was a CR; a LF that follows belongs to it.
    is_after_cr: bool,
    /// Every data line, each followed by LF.
    data: String,
    name: String,
    /// The last event ID buffer; it takes effect at the next blank line.
    id: Arc<str>,
    /// The id that has taken effect.
    last_id: Arc<str>,
}

impl Parser {
    /// 64 MiB: no stream of ours has a larger event, and memory is limited.
    pub(crate) const EVENT_MAX_BYTES: usize = 64 << 20;

    /// 64 KiB: no server accepts a longer `Last-Event-ID`. A longer id is ignored, like one
    /// that contains NUL.
    pub(crate) const ID_MAX_BYTES: usize = 64 << 10;

    /// 64 KiB: a longer string does not fit into the environment of a command (Linux
    /// allows 128 KiB), which would then fail at every run.
    pub(crate) const NAME_MAX_BYTES: usize = 64 << 10;

    /// A parser for a connection that continues after `last_id`.
    pub(crate) fn after(last_id: &Arc<str>) -> Self {
        Self {
            id: Arc::clone(last_id),
            last_id: Arc::clone(last_id),
            ..Self::default()
        }
    }

    /// Parses the next bytes and appends the items that they complete.
    ///
    /// # Errors
    /// When an event is too long. The items before it have been appended.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], items: &mut Vec<Item>) -> Result<(), TooLong> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.is_after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = memchr2(b'\n', b'\r', bytes);
            let part = &bytes[..end.unwrap_or(bytes.len())];
            if self.line.len() + part.len() + self.data.len() > Self::EVENT_MAX_BYTES {
                return Err(TooLong);
            }
            let Some(end) = end else {
                self.line.extend_from_slice(part);
                break;
            };
            self.is_after_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            if self.line.is_empty() {
                self.end_line(part, items);
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(part);
                self.end_line(&line, items);
            }
        }
        Ok(())
    }

    fn end_line(&mut self, mut line: &[u8], items: &mut Vec<Item>) {
        if !std::mem::replace(&mut self.is_after_first_line, true) {
            line = line.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(line);
        }
        if line.is_empty() {
            return self.dispatch(items);
        }
        let (field, value) = match memchr(b':', line) {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        // A line ends between characters, so bad UTF-8 in it does not affect the next line.
        let text = String::from_utf8_lossy(value);
        match field {
            b"data" => {
                self.data.push_str(&text);
                self.data.push('\n');
            }
            b"event" => {
                self.name = text.into_owned();
                let mut end = self.name.len().min(Self::NAME_MAX_BYTES);
                while !self.name.is_char_boundary(end) {
                    end -= 1;
                }
                self.name.truncate(end);
            }
            b"id" if value.contains(&0) => {}
            b"id" if text.len() > Self::ID_MAX_BYTES => items.push(Item::LongId(text.len())),
            b"id" => self.id = text.into(),
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                let ms = text.parse().unwrap_or(u64::MAX);
                items.push(Item::Retry(Duration::from_millis(ms)));
            }
            _ => {}
        }
    }

    fn dispatch(&mut self, items: &mut Vec<Item>) {
        let name = std::mem::take(&mut self.name);
        let mut data = std::mem::take(&mut self.data);
        let has_moved = self.last_id != self.id;
        if has_moved {
            self.last_id = Arc::clone(&self.id);
        }
        // Each data line added a LF; without a data line there is no event.
        if data.pop().is_some() {
            let name = if name.is_empty() {
                "message".to_owned()
            } else {
                name
            };
            let id = Arc::clone(&self.last_id);
            items.push(Item::Event(Event { id, name, data }));
        } else if has_moved {
            items.push(Item::Position(Arc::clone(&self.last_id)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Item> {
        let (mut parser, mut items) = (Parser::default(), Vec::new());
        for piece in pieces {
            parser.feed(piece, &mut items).unwrap();
        }
        items
    }

    fn event(id: &str, name: &str, data: &str) -> Item {
        let [name, data] = [name, data].map(str::to_owned);
        let id = id.into();
        Item::Event(Event { id, name, data })
    }

    fn retry(ms: u64) -> Item {
        Item::Retry(Duration::from_millis(ms))
    }

    #[track_caller]
    fn check(wire: impl AsRef<[u8]>, expected: &[Item]) {
        let wire = wire.as_ref();
        assert_eq!(fed([wire]), expected, "whole");
        assert_eq!(fed(wire.chunks(1)), expected, "byte by byte");
    }

    #[test]
    fn an_event_ends_at_a_blank_line() {
        check("data: a\n\n", &[event("", "message", "a")]);
        check("data: a\n", &[]);
        check(
            "id: 1\nevent: x\ndata: a\ndata: b\n\n",
            &[event("1", "x", "a\nb")],
        );
        check(
            "data\n\ndata\ndata\n\ndata:",
            &[event("", "message", ""), event("", "message", "\n")],
        );
        check("event: x\n\ndata: a\n\n", &[event("", "message", "a")]);
    }

    #[test]
    fn cr_lf_and_both_end_a_line() {
        let expected = [event("", "message", "a\nb"), event("", "message", "c")];
        for end in ["\n", "\r", "\r\n"] {
            let wire = "data:a\ndata:b\n\ndata:c\n\n".replace('\n', end);
            check(wire, &expected);
        }
        check(
            "data: a\r\rdata: b\r\n\r\n",
            &[event("", "message", "a"), event("", "message", "b")],
        );
        check(
            "data: a\u{2028}b\u{85}c\u{b}d\n\n",
            &[event("", "message", "a\u{2028}b\u{85}c\u{b}d")],
        );
    }

    #[test]
    fn one_space_after_the_colon_is_no_value() {
        check(
            "data:a\ndata: b\ndata:  c\ndata:\td\n\n",
            &[event("", "message", "a\nb\n c\n\td")],
        );
    }

    #[test]
    fn comments_and_unknown_fields_are_nothing() {
        check(
            ": c\n:\n\ndata: a\nother: b\nData: c\n data: d\n:x\n\n",
            &[event("", "message", "a")],
        );
    }

    #[test]
    fn an_id_stays_until_the_next_and_none_holds_a_nul() {
        check(
            "id: 1\ndata: a\n\ndata: b\n\nid: 2\0\ndata: c\n\nid\ndata: d\n\n",
            &[
                event("1", "message", "a"),
                event("1", "message", "b"),
                event("1", "message", "c"),
                event("", "message", "d"),
            ],
        );
    }

    #[test]
    fn an_id_alone_moves_the_place() {
        check("id: 1\n\nid: 1\n\n\nid: 2", &[Item::Position("1".into())]);
    }

    #[test]
    fn a_new_connection_goes_on_with_the_last_id() {
        let (mut parser, mut items) = (Parser::after(&"7".into()), Vec::new());
        parser.feed(b"data: a\n\nid: 7\n\n", &mut items).unwrap();
        assert_eq!(items, [event("7", "message", "a")]);
    }

    #[test]
    fn retry_is_digits_only() {
        check("retry: 1500\n", &[retry(1500)]);
        check("retry:99999999999999999999\n", &[retry(u64::MAX)]);
        check("retry: 1s\nretry:\nretry: -1\nretry: \u{661}\n", &[]);
    }

    #[test]
    fn one_mark_at_the_very_start_is_dropped() {
        check("\u{FEFF}data: a\n\n", &[event("", "message", "a")]);
        check("\u{FEFF}\u{FEFF}data: a\n\n", &[]);
        check("\n\u{FEFF}data: a\n\n", &[]);
        check("data: \u{FEFF}a\n\n", &[event("", "message", "\u{FEFF}a")]);
    }

    #[test]
    fn bad_utf_8_is_replaced_within_its_line() {
        check(
            b"data: \xff\xe2\x82\ndata: \xac\n\n",
            &[event("", "message", "\u{FFFD}\u{FFFD}\n\u{FFFD}")],
        );
    }

    #[test]
    fn too_long_an_event_is_refused_before_it_fills_the_memory() {
        let piece = vec![b'x'; 1 << 20];
        let (mut parser, mut items) = (Parser::default(), Vec::new());
        parser.feed(b"data: a\n\ndata: ", &mut items).unwrap();
        let fed = (0..64).map(|_| parser.feed(&piece, &mut items));
        assert_eq!(fed.last(), Some(Err(TooLong)));
        assert_eq!(items, [event("", "message", "a")]);
    }

    #[test]
    fn a_long_id_is_kept_once_for_all_events_that_follow_it() {
        let id = "i".repeat(Parser::ID_MAX_BYTES);
        let wire = format!("id: {id}\n{}", "data\n\n".repeat(10_000));
        let items = fed([wire.as_bytes()]);
        let ids = items.iter().map(|items| match items {
            Item::Event(event) => &event.id,
            other => panic!("{other:?}"),
        });
        let mut ids = ids.collect::<Vec<_>>();
        assert_eq!((ids.len(), ids[0].len()), (10_000, id.len()));
        ids.dedup_by(|a, b| Arc::ptr_eq(a, b));
        assert_eq!(ids.len(), 1, "the id was copied");
    }

    #[test]
    fn too_long_an_id_is_ignored_and_reported() {
        let long = "i".repeat(Parser::ID_MAX_BYTES + 1);
        check(
            format!("id: 1\ndata: a\n\nid: {long}\ndata: b\n\nid: {long}\n\nid: 2\n\n"),
            &[
                event("1", "message", "a"),
                Item::LongId(long.len()),
                event("1", "message", "b"),
                Item::LongId(long.len()),
                Item::Position("2".into()),
            ],
        );
    }

    #[test]
    fn too_long_a_name_is_cut_between_two_characters() {
        let whole = "n".repeat(Parser::NAME_MAX_BYTES - 1);
        check(
            format!("event: {whole}\u{e9}{whole}\ndata: a\n\n"),
            &[event("", &whole, "a")],
        );
    }

    proptest! {
        #[test]
        fn a_split_changes_nothing(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    &b"data"[..], b"id", b"event", b"retry", b":", b" ", b"\n", b"\r", b"\r\n",
                    b"\n\n", b"7", b"x", b"\0", b"\xff", "\u{FEFF}".as_bytes(), "ž".as_bytes(),
                ]),
                0..60,
            ),
            at in 0..200usize,
        ) {
            let wire = parts.concat();
            let (before, after) = wire.split_at(at.min(wire.len()));
            prop_assert_eq!(fed([&wire[..]]), fed([before, after]));
        }
    }
}

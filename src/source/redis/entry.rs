//! Entries become events.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::event::{Batch, Event, EventId, EventName, Gap, Reason};
use crate::request::{Filter, Settings, SourceId, Verdict};
use crate::source::lines::{LineEncoding, reserved};

/// A field of an entry: its name and its value, which can be any bytes.
pub(super) type Field<'a> = (&'a [u8], &'a [u8]);

/// How the entries of a stream become events.
///
/// The fields `data` and `event` are those of a `jsonl` record, with the text of `data` as it is.
/// An entry without `data` and with fields that such a record does not define is sent as a JSON
/// object of its fields.
pub(super) struct EntryEncoding {
    lines: LineEncoding,
    /// An entry that does not pass all of them is not sent, but its position counts.
    filters: Vec<Filter>,
    source_id: SourceId,
    max_data_bytes: usize,
    /// In a room: the tag of the member whose stream it is.
    own_tag: Option<Vec<u8>>,
}

impl EntryEncoding {
    pub(super) fn new(lines: LineEncoding, settings: &Settings, filters: Vec<Filter>) -> Self {
        Self {
            lines,
            filters,
            source_id: settings.source_id,
            max_data_bytes: settings.max_line_bytes,
            own_tag: None,
        }
    }

    /// The same for the entries of a room: those that begin with the field `tag` and the value
    /// `own_tag` are not sent.
    pub(super) fn of_room(self, own_tag: Vec<u8>) -> Self {
        Self {
            own_tag: Some(own_tag),
            ..self
        }
    }

    /// Whether a client determines how much it costs to match an entry.
    pub(super) fn is_costly(&self) -> bool {
        self.filters.iter().any(Filter::is_clients_expression)
    }

    /// Whether an entry is an event of its own, for counting a backlog; `work` is raised by the
    /// cost of matching.
    pub(super) fn counts(&self, fields: &[Field<'_>], work: &mut u64) -> bool {
        let is_said = match (&self.own_tag, fields) {
            (Some(own), [(b"tag", tag), rest @ ..]) => {
                own != tag && !matches!(rest, [(b"event", b"join" | b"leave"), ..])
            }
            _ => true,
        };
        is_said && self.judge(fields, work) == Verdict::Passes
    }

    /// Filters match the JSON text of an entry, as they match a line of a file.
    fn judge(&self, fields: &[Field<'_>], work: &mut u64) -> Verdict {
        if self.filters.is_empty() {
            return Verdict::Passes;
        }
        let text = object(fields, Numbers::AsText);
        for filter in &self.filters {
            match filter.judge(text.as_bytes(), work) {
                Verdict::Passes => {}
                other => return other,
            }
        }
        Verdict::Passes
    }

    /// Appends the event of an entry.
    pub(super) fn emit(&self, id: &EventId<'_>, fields: &[Field<'_>], out: &mut Batch) {
        let is_own = |own: &[u8]| matches!(fields, [(b"tag", tag), ..] if *tag == own);
        if self.own_tag.as_deref().is_some_and(is_own) {
            return;
        }
        let mut work = 0;
        let verdict = self.judge(fields, &mut work);
        out.spend(work);
        match verdict {
            Verdict::Passes => {}
            Verdict::Fails => return,
            Verdict::TooLong => {
                let bytes = fields.iter().map(|(_, value)| value.len() as u64).sum();
                return out.gap(&Gap::of(Reason::Cut, bytes), Some(id.clone()));
            }
        }
        let fields = match (&self.own_tag, fields) {
            (Some(_), [(b"tag", _), rest @ ..]) => rest,
            _ => fields,
        };
        match *fields {
            [(b"data", data)] => self.event(id, None, data, out),
            [(b"event", name), (b"data", data)] | [(b"data", data), (b"event", name)] => {
                let name = EventName::cleaned(String::from_utf8_lossy(name));
                self.event(id, self.permitted(name), data, out);
            }
            _ => self.unusual(id, fields, out),
        }
    }

    /// The name, unless only the stream itself may use it.
    fn permitted<'a>(&self, name: Option<EventName<'a>>) -> Option<EventName<'a>> {
        let name = name?;
        if name.is_reserved() {
            self.lines.warn(&reserved(&name));
            return None;
        }
        Some(name)
    }

    /// Appends an event whose data is cut if it is too long.
    fn event(&self, id: &EventId<'_>, name: Option<EventName<'_>>, data: &[u8], out: &mut Batch) {
        let kept = cut(data, self.max_data_bytes);
        out.event(&Event {
            id: Some(id.clone()),
            name,
            data: kept,
        });
        self.gap_after_cut(id, data.len() - kept.len(), out);
    }

    fn gap_after_cut(&self, id: &EventId<'_>, bytes: usize, out: &mut Batch) {
        if bytes > 0 {
            out.gap(&Gap::of(Reason::Cut, bytes as u64), Some(id.clone()));
        }
    }

    fn unusual(&self, id: &EventId<'_>, fields: &[Field<'_>], out: &mut Batch) {
        let has = |names: &[&[u8]]| fields.iter().any(|(name, _)| names.contains(name));
        let known: [&[u8]; 5] = [b"data", b"event", b"id", b"retry", b"comment"];
        if !has(&[b"data"]) && fields.iter().any(|(name, _)| !known.contains(name)) {
            let text = object(fields, Numbers::AsText);
            return self.event(id, None, text.as_bytes(), out);
        }
        let mut left_out = 0;
        let mut shortened = fields.to_vec();
        for (name, value) in &mut shortened {
            if *name == b"data" {
                let kept = cut(value, self.max_data_bytes);
                left_out = value.len() - kept.len();
                *value = kept;
            }
        }
        if self.source_id == SourceId::Ignored {
            shortened.retain(|(name, _)| *name != b"id" || fields.len() == 1);
        }
        let line = object(&shortened, Numbers::OfRetry);
        self.lines.record(line.as_bytes(), Some(id.clone()), out);
        self.gap_after_cut(id, left_out, out);
    }
}

/// The beginning of a text, not longer than `max_bytes`, without half a character at its end.
fn cut(text: &[u8], max_bytes: usize) -> &[u8] {
    if text.len() <= max_bytes {
        return text;
    }
    let kept = &text[..max_bytes];
    match std::str::from_utf8(kept) {
        Err(error) if error.error_len().is_none() => &kept[..error.valid_up_to()],
        _ => kept,
    }
}

/// How values that are digits are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Numbers {
    /// As strings, as all values.
    AsText,
    /// The value of `retry` as a number, which a record has.
    OfRetry,
}

/// The fields as a JSON object. If a field comes twice, the last one counts. What is not UTF-8
/// becomes U+FFFD.
fn object(fields: &[Field<'_>], numbers: Numbers) -> String {
    let last: BTreeMap<&[u8], usize> = fields
        .iter()
        .enumerate()
        .map(|(index, (name, _))| (*name, index))
        .collect();
    let mut text = String::from("{");
    for (index, (name, value)) in fields.iter().enumerate() {
        if last.get(name) != Some(&index) {
            continue;
        }
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&json(String::from_utf8_lossy(name)));
        text.push(':');
        let value = String::from_utf8_lossy(value);
        let is_number =
            *name == b"retry" && value.parse::<u64>().is_ok_and(|n| n.to_string() == value);
        match numbers {
            Numbers::OfRetry if is_number => text.push_str(&value),
            _ => text.push_str(&json(value)),
        }
    }
    text.push('}');
    text
}

fn json(text: Cow<'_, str>) -> String {
    // Serialization of a string cannot fail.
    serde_json::to_string(&text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Format, Lifetime, MetaVariables};

    fn wire(settings: &[(&str, &str)], fields: &[Field<'_>]) -> String {
        let meta = MetaVariables::of(settings);
        let settings = Settings::parse(&meta, Lifetime::Unlimited).unwrap().0;
        let lines = LineEncoding::new(&settings, Format::Jsonl, |_| {});
        let filters = settings.filter.iter().map(|f| Filter::parse(f).unwrap());
        let filters = filters.collect();
        let encoding = EntryEncoding::new(lines, &settings, filters);
        let mut out = Batch::new();
        encoding.emit(&EventId::new("5-1").unwrap(), fields, &mut out);
        String::from_utf8(out.as_bytes().to_vec()).unwrap()
    }

    fn check(fields: &[Field<'_>], expected: &str) {
        assert_eq!(wire(&[], fields), expected, "{fields:?}");
    }

    #[test]
    fn data_and_event_are_those_of_a_record() {
        check(&[(b"data", b"a\nb")], "id: 5-1\ndata: a\ndata: b\n\n");
        check(
            &[(b"event", b"update"), (b"data", b"{\"a\": 1}")],
            "id: 5-1\nevent: update\ndata: {\"a\": 1}\n\n",
        );
        check(
            &[(b"data", b"x"), (b"event", b"e")],
            "id: 5-1\nevent: e\ndata: x\n\n",
        );
        check(&[(b"event", b"e")], "id: 5-1\nevent: e\ndata:\n\n");
        check(&[(b"data", b"\"x\"")], "id: 5-1\ndata: \"x\"\n\n");
        check(&[(b"data", b"")], "id: 5-1\ndata:\n\n");
        // Other fields beside `data` are passed over, as in a record.
        check(
            &[(b"data", b"x"), (b"user", b"u"), (b"event", b"e")],
            "id: 5-1\nevent: e\ndata: x\n\n",
        );
        check(
            &[(b"data", b"x"), (b"retry", b"5000")],
            "retry: 5000\nid: 5-1\ndata: x\n\n",
        );
        check(&[(b"comment", b"c")], ": c\n");
    }

    #[test]
    fn an_entry_of_another_shape_is_an_object_of_its_fields() {
        check(
            &[(b"temperature", b"21.5"), (b"unit", b"C")],
            "id: 5-1\ndata: {\"temperature\":\"21.5\",\"unit\":\"C\"}\n\n",
        );
        check(
            &[(b"a", b"1"), (b"b", b"\""), (b"a", b"2"), (b"retry", b"3")],
            "id: 5-1\ndata: {\"b\":\"\\\"\",\"a\":\"2\",\"retry\":\"3\"}\n\n",
        );
        check(
            &[(b"event", b"close"), (b"x", b"")],
            "id: 5-1\ndata: {\"event\":\"close\",\"x\":\"\"}\n\n",
        );
    }

    #[test]
    fn what_is_not_utf_8_becomes_the_replacement_character() {
        check(&[(b"data", b"a\xFFb")], "id: 5-1\ndata: a\u{FFFD}b\n\n");
        check(
            &[(b"k\xFF", b"\xFE\0")],
            "id: 5-1\ndata: {\"k\u{FFFD}\":\"\u{FFFD}\\u0000\"}\n\n",
        );
        check(
            &[(b"event", b"e\xFF\r\nid: 1"), (b"data", b"x")],
            "id: 5-1\nevent: e\u{FFFD}id: 1\ndata: x\n\n",
        );
    }

    #[test]
    fn the_stream_s_own_names_cannot_come_from_an_entry() {
        for name in [
            "close",
            "gap",
            "unavailable",
            "place",
            "heartbeat",
            "open",
            "error",
        ] {
            let fields: [Field<'_>; 2] = [(b"event", name.as_bytes()), (b"data", b"x")];
            check(&fields, "id: 5-1\ndata: x\n\n");
        }
    }

    #[test]
    fn what_is_too_long_is_cut_and_reported() {
        let settings = [("SSE_MAX_LINE", "16")];
        let fields: [Field<'_>; 1] = [(b"data", "0123456789abcdeé!".as_bytes())];
        let cut = "id: 5-1\ndata: 0123456789abcde\n\n\
                   id: 5-1\nevent: gap\ndata: {\"reason\":\"cut\",\"bytes\":3}\n\n";
        assert_eq!(wire(&settings, &fields), cut);
        let fields: [Field<'_>; 2] = [fields[0], (b"x", b"")];
        assert_eq!(wire(&settings, &fields), cut);
    }

    #[test]
    fn filters_match_the_json_text() {
        let settings = [("SSE_FILTER", "\"level\":\"error\"")];
        let fields: [Field<'_>; 2] = [(b"level", b"error"), (b"m", b"x")];
        assert!(wire(&settings, &fields).contains("data:"));
        let fields: [Field<'_>; 2] = [(b"level", b"info"), (b"m", b"x")];
        assert_eq!(wire(&settings, &fields), "");
    }

    #[test]
    fn an_entry_s_own_id_is_passed_on_if_that_is_set() {
        let fields: [Field<'_>; 2] = [(b"id", b"7"), (b"data", b"x")];
        check(&fields, "id: 5-1\ndata: x\n\n");
        assert_eq!(
            wire(&[("SSE_SOURCE_ID", "yes")], &fields),
            "id: 5-1\ndata: {\"source_id\":\"7\",\"data\":\"x\"}\n\n"
        );
    }
}

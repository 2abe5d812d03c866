//! JsonLine: one line of JSON that describes an event, in `jsonl` files and scripts.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::event::EventName;

/// The fields of an object. If a field comes twice, the last one counts. A known field of the wrong
/// type counts as absent, and as a foreign field.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct JsonLine<'a> {
    /// `event`: a string. CR, LF and NUL are removed.
    pub event: Option<EventName<'a>>,
    /// `data`, as JSON: [`text_of`] turns it into the event's text.
    pub data: Option<&'a str>,
    /// `id`, as JSON.
    pub id: Option<&'a str>,
    /// `retry`: milliseconds, clamped to 1 s to 1 h.
    pub retry_ms: Option<u64>,
    /// `comment`: a string.
    pub comment: Option<Cow<'a, [u8]>>,
    /// `after`, as text: scripts only.
    pub after: Option<Cow<'a, [u8]>>,
    /// `every`, as text: scripts only.
    pub every: Option<Cow<'a, [u8]>>,
    /// Whether `after` or `every` is present, of any type.
    has_times: bool,
    /// Whether any other field is present.
    has_others: bool,
}

impl<'a> JsonLine<'a> {
    /// Reads a line.
    ///
    /// # Errors
    /// If it is not exactly one JSON object.
    pub(crate) fn parse(line: &'a str) -> Result<Self, serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_str(without_mark(line));
        let record = reader.deserialize_map(RecordVisitor)?;
        reader.end()?;
        Ok(record)
    }

    /// Whether a line of a `jsonl` file is foreign JSON: it has no `data`, but has fields that
    /// this format does not define. Then the whole line is the event's data, and none of its
    /// fields is interpreted.
    pub(crate) fn is_foreign(&self) -> bool {
        self.data.is_none() && (self.has_others || self.has_times)
    }

    /// The same for a line of a script, where `after` and `every` are known fields.
    pub(crate) fn is_foreign_in_script(&self) -> bool {
        self.data.is_none() && self.has_others
    }

    /// Whether the line is an event: it has a name or data, or no field at all. A line with only a
    /// `comment` or `retry` is not an event.
    pub(crate) fn is_event(&self) -> bool {
        self.event.is_some()
            || self.data.is_some()
            || (self.retry_ms.is_none() && self.comment.is_none())
    }
}

/// The line without a byte order mark, which Notepad puts at the start of a file and which is not
/// JSON.
pub(crate) fn without_mark(line: &str) -> &str {
    line.strip_prefix('\u{FEFF}').unwrap_or(line)
}

struct RecordVisitor;

impl<'de> Visitor<'de> for RecordVisitor {
    type Value = JsonLine<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<JsonLine<'de>, M::Error> {
        let mut record = JsonLine::default();
        while let Some(key) = map.next_key::<Text<'de>>()? {
            match &*key.0 {
                b"event" => {
                    let raw: &'de RawValue = map.next_value()?;
                    let text = string(raw).map(lossy);
                    record.has_others |= text.is_none() && !is_null(raw);
                    record.event = text.and_then(EventName::cleaned);
                }
                b"data" => {
                    let raw: &'de RawValue = map.next_value()?;
                    record.data = Some(raw.get());
                }
                b"id" => {
                    let raw: &'de RawValue = map.next_value()?;
                    record.id = Some(raw.get());
                }
                b"retry" => {
                    let raw: &'de RawValue = map.next_value()?;
                    record.retry_ms = whole_number(raw.get()).map(|ms| ms.clamp(1_000, 3_600_000));
                    record.has_others |= record.retry_ms.is_none() && !is_null(raw);
                }
                b"comment" => {
                    let raw: &'de RawValue = map.next_value()?;
                    record.comment = string(raw);
                    record.has_others |= record.comment.is_none() && !is_null(raw);
                }
                b"after" => {
                    record.after = string(map.next_value()?);
                    record.has_times = true;
                }
                b"every" => {
                    record.every = string(map.next_value()?);
                    record.has_times = true;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    record.has_others = true;
                }
            }
        }
        Ok(record)
    }
}

/// A non-negative whole JSON number; one that is too large becomes the largest.
fn whole_number(json: &str) -> Option<u64> {
    let all_digits = !json.is_empty() && json.bytes().all(|b| b.is_ascii_digit());
    all_digits.then(|| json.parse().unwrap_or(u64::MAX))
}

fn is_null(raw: &RawValue) -> bool {
    raw.get() == "null"
}

/// The text of a JSON string; `None` for any other value. Half of a surrogate pair becomes bad
/// UTF-8, which the encoder replaces, so that the event is not lost.
fn string(raw: &RawValue) -> Option<Cow<'_, [u8]>> {
    string_text(raw.get())
}

/// A JSON value as an event's text: a string's content, any other value as it was written.
pub(crate) fn text_of(json: &str) -> Cow<'_, [u8]> {
    string_text(json).unwrap_or(Cow::Borrowed(json.as_bytes()))
}

fn string_text(json: &str) -> Option<Cow<'_, [u8]>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner.as_bytes()));
    }
    let mut reader = serde_json::Deserializer::from_str(json);
    reader
        .deserialize_bytes(TextVisitor)
        .ok()
        .map(|text| text.0)
}

/// A JSON string as bytes.
struct Text<'a>(Cow<'a, [u8]>);

impl<'de> de::Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_bytes(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(bytes)))
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(text.as_bytes())))
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(bytes.to_vec())))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(text.as_bytes().to_vec())))
    }
}

/// UTF-8 from any bytes. Borrowed text that is valid is not copied.
fn lossy(bytes: Cow<'_, [u8]>) -> Cow<'_, str> {
    match bytes {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, event: Option<&str>, data: Option<&str>) {
        let record = JsonLine::parse(line).unwrap();
        assert_eq!(
            record.event.as_ref().map(EventName::as_str),
            event,
            "{line}"
        );
        assert_eq!(
            record.data.map(text_of).as_deref(),
            data.map(str::as_bytes),
            "{line}"
        );
    }

    #[test]
    fn data_is_a_string_s_text_or_json_as_written() {
        check(r#"{"event":"a","data":"x\ny"}"#, Some("a"), Some("x\ny"));
        check(
            r#"{"data":{"b": 1.0, "a":[1e400]}}"#,
            None,
            Some(r#"{"b": 1.0, "a":[1e400]}"#),
        );
        check(r#"{"data":null}"#, None, Some("null"));
        check(r#"{"data":""}"#, None, Some(""));
        check(r#" {"event":"é","x":[{}]} "#, Some("é"), None);
        check("{}", None, None);
        check("\u{FEFF}{}", None, None);
    }

    #[test]
    fn what_is_odd_costs_no_event() {
        check(r#"{"event":5,"data":1}"#, None, Some("1"));
        check(r#"{"event":"a","event":"b"}"#, Some("b"), None);
        check(r#"{"event":"a\r\ndata: x"}"#, Some("adata: x"), None);
        check("{\"\\u0065vent\":\"a\"}", Some("a"), None);
        let half = JsonLine::parse(r#"{"data":"\ud800!"}"#).unwrap();
        assert!(text_of(half.data.unwrap()).ends_with(b"!"));
    }

    #[test]
    fn a_line_without_data_and_with_other_fields_is_foreign() {
        for (line, jsonl, script) in [
            (r#"{"msg":"hi"}"#, true, true),
            (r#"{"msg":"x","retry":3}"#, true, true),
            (r#"{"event":"close","logger":"db"}"#, true, true),
            (r#"{"after":"3s"}"#, true, false),
            (r#"{"every":5,"event":"x"}"#, true, false),
            (r#"{"event":5}"#, true, true),
            (r#"{"retry":"soon"}"#, true, true),
            (r#"{"comment":["a"]}"#, true, true),
            (r#"{"msg":"hi","data":1}"#, false, false),
            (r#"{"msg":"hi","data":null}"#, false, false),
            (
                r#"{"event":null,"retry":null,"comment":null}"#,
                false,
                false,
            ),
            (
                r#"{"event":"x","id":5,"retry":3,"comment":"c"}"#,
                false,
                false,
            ),
            ("{}", false, false),
        ] {
            let record = JsonLine::parse(line).unwrap();
            assert_eq!(record.is_foreign(), jsonl, "{line}");
            assert_eq!(record.is_foreign_in_script(), script, "{line}");
        }
    }

    #[test]
    fn only_one_object_is_a_record() {
        for bad in [
            "",
            "1",
            "[]",
            "null",
            "\"x\"",
            "{} {}",
            "{",
            "{\"a\"}",
            "{\"a\":1,}",
        ] {
            assert!(JsonLine::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_retry_is_brought_into_its_range() {
        for (retry, expected) in [
            ("5000", Some(5000)),
            ("0", Some(1000)),
            ("99999999999999999999999", Some(3_600_000)),
            ("1e4", None),
            ("-1", None),
            ("\"5000\"", None),
        ] {
            let line = format!("{{\"retry\":{retry}}}");
            assert_eq!(JsonLine::parse(&line).unwrap().retry_ms, expected);
        }
    }
}

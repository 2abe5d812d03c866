//! Message: the content of a body in JSON, text or form encoding.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde_json::value::RawValue;

use super::record::{Record, json_text};
use crate::event::EventName;
use crate::request::{Nick, fields};
use crate::source::Author;

/// The media type of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// `application/json`: an object with `event`, a string, and `data`, anything.
    Json,
    /// `text/plain`: the whole body is the data.
    Text,
    /// `application/x-www-form-urlencoded`: the fields `event` and `data`.
    Form,
}

impl Media {
    /// The supported types, for `Accept-Post` and for people.
    pub const ALL: &'static str = "application/json, text/plain, application/x-www-form-urlencoded";

    /// Reads a `Content-Type` (RFC 9110 §8.3). `None` for any other type, and for any `charset`
    /// but UTF-8 and its subset US-ASCII.
    #[must_use]
    pub fn parse(content_type: &[u8]) -> Option<Self> {
        let mut parts = content_type.split(|&b| b == b';').map(<[u8]>::trim_ascii);
        let media = match &parts.next()?.to_ascii_lowercase()[..] {
            b"application/json" => Self::Json,
            b"text/plain" => Self::Text,
            b"application/x-www-form-urlencoded" => Self::Form,
            _ => return None,
        };
        let is_readable = |part: &[u8]| {
            let part = part.to_ascii_lowercase();
            let charset = part.strip_prefix(b"charset=").map(|c| c.trim_ascii());
            charset.is_none_or(|charset| {
                let charset = charset.strip_prefix(b"\"").unwrap_or(charset);
                let charset = charset.strip_suffix(b"\"").unwrap_or(charset);
                [&b"utf-8"[..], b"utf8", b"us-ascii"].contains(&charset)
            })
        };
        parts.all(is_readable).then_some(media)
    }
}

/// The content of an event before it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its name, without CR, LF and NUL.
    pub event: Option<EventName<'a>>,
    /// Its data, as a JSON value on one line.
    pub data: Option<Cow<'a, str>>,
    /// The nickname that the member of a room chooses for this message.
    pub nick: Option<Nick>,
}

/// Why a body is not a message. The text is for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It is not UTF-8.
    NotUtf8,
    /// It is not one JSON object.
    NotAnObject,
    /// `event` is not a string.
    EventNotText,
    /// `event` is longer than [`Message::EVENT_MAX_BYTES`].
    EventTooLong,
    /// `event` is a name that cannot be published.
    EventReserved,
    /// `event` and `data` are missing.
    Empty,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotUtf8 => "the body is not UTF-8",
            Self::NotAnObject => "the body is not one JSON object",
            Self::EventNotText => "event is not a string",
            Self::EventTooLong => "event is longer than 256 bytes",
            Self::EventReserved => "event is a reserved name",
            Self::Empty => "neither event nor data",
        })
    }
}

impl std::error::Error for Problem {}

impl<'a> Message<'a> {
    /// The longest name of an event, in bytes.
    pub const EVENT_MAX_BYTES: usize = 256;

    /// Reads a body.
    ///
    /// Fields other than `event`, `data` and `nick` are ignored; of a repeated field, the last
    /// one counts. Bad UTF-8 inside a form's percent-encoding becomes U+FFFD, as it would when
    /// the stream is encoded.
    ///
    /// # Errors
    /// The [`Problem`].
    pub fn parse(media: Media, body: &'a [u8]) -> Result<Self, Problem> {
        let text = std::str::from_utf8(body).map_err(|_| Problem::NotUtf8)?;
        match media {
            Media::Json => Self::of_json(text),
            Media::Text => Ok(Self::of_text(text)),
            Media::Form => Self::of_form(body),
        }
    }

    /// A message of text only.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        Self {
            event: None,
            data: Some(Cow::Owned(json_text(text))),
            nick: None,
        }
    }

    fn of_json(text: &'a str) -> Result<Self, Problem> {
        let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
        let fields: BTreeMap<Cow<'a, str>, &'a RawValue> =
            serde_json::from_str(text).map_err(|_| Problem::NotAnObject)?;
        let event = match fields.get("event").map(|raw| raw.get()) {
            None | Some("null") => None,
            Some(raw) => {
                let name: String = serde_json::from_str(raw).map_err(|_| Problem::EventNotText)?;
                name_of(Cow::Owned(name))?
            }
        };
        let data = fields.get("data").map(|raw| on_one_line(raw.get()));
        let nick = fields.get("nick").map(|raw| raw.get());
        let nick = nick.and_then(|raw| serde_json::from_str::<String>(raw).ok());
        Self::of(event, data, nick.and_then(|nick| Nick::cleaned(&nick)))
    }

    fn of_form(body: &[u8]) -> Result<Self, Problem> {
        let (mut event, mut data, mut nick) = (None, None, None);
        for (name, value) in fields(body) {
            let text = || String::from_utf8_lossy(&value).into_owned();
            match &*name {
                b"event" => event = name_of(Cow::Owned(text()))?,
                b"data" => data = Some(Cow::Owned(json_text(&text()))),
                b"nick" => nick = Nick::cleaned(&text()),
                _ => {}
            }
        }
        Self::of(event, data, nick)
    }

    fn of(
        event: Option<EventName<'a>>,
        data: Option<Cow<'a, str>>,
        nick: Option<Nick>,
    ) -> Result<Self, Problem> {
        if event.is_none() && data.is_none() {
            return Err(Problem::Empty);
        }
        Ok(Self { event, data, nick })
    }

    /// The line for the file.
    #[must_use]
    pub fn record(&self) -> Record {
        Record::new(self.event.as_ref(), self.data.as_deref())
    }

    /// The line for a room's history, with the member as its author.
    ///
    /// # Errors
    /// When the event's name is one that only the room itself uses.
    pub fn record_of(&self, author: &Author) -> Result<Record, Problem> {
        if self.event.as_ref().is_some_and(Author::may_not_say) {
            return Err(Problem::EventReserved);
        }
        let author = author.clone().called(self.nick.clone());
        let line = author.line(self.event.as_ref(), self.data.as_deref());
        // Its data is on one line already.
        Record::of_line(line).ok_or(Problem::NotAnObject)
    }
}

/// Whether a name is one that must not be published: `close` would end the stream of every
/// page, `gap`, `place` and `invalid` would be false statements about the file, and `open` and
/// `error` would call the listeners of EventSource's own events. Some clients trim names, so
/// white space around a name does not make it a different one.
fn is_reserved(name: &EventName<'_>) -> bool {
    let trimmed = EventName::new(name.as_str().trim());
    trimmed.is_ok_and(|name| name.is_reserved() || name == EventName::INVALID)
}

fn name_of(text: Cow<'_, str>) -> Result<Option<EventName<'_>>, Problem> {
    if text.len() > Message::EVENT_MAX_BYTES {
        return Err(Problem::EventTooLong);
    }
    let name = EventName::cleaned(text);
    match &name {
        Some(name) if is_reserved(name) => Err(Problem::EventReserved),
        _ => Ok(name),
    }
}

/// A JSON value without the white space between its tokens, the only place where it may contain
/// line ends (RFC 8259 §2, §7).
fn on_one_line(json: &str) -> Cow<'_, str> {
    if !json.contains(['\n', '\r']) {
        return Cow::Borrowed(json);
    }
    let (mut in_string, mut escaped) = (false, false);
    let keep = |c: &char| {
        match (in_string, *c) {
            (true, _) if escaped => escaped = false,
            (true, '\\') => escaped = true,
            (_, '"') => in_string = !in_string,
            (false, ' ' | '\t' | '\n' | '\r') => return false,
            _ => {}
        }
        true
    };
    Cow::Owned(json.chars().filter(keep).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(media: Media, body: &[u8]) -> Result<String, Problem> {
        let record = Message::parse(media, body)?.record();
        Ok(String::from_utf8(record.as_bytes().to_vec()).unwrap())
    }

    #[track_caller]
    fn check(media: Media, body: &str, expected: &str) {
        assert_eq!(line(media, body.as_bytes()).unwrap(), expected, "{body}");
    }

    #[test]
    fn each_kind_of_body_becomes_one_line() {
        check(
            Media::Json,
            r#"{"event":"move","data":{"x": 1}}"#,
            "{\"event\":\"move\",\"data\":{\"x\": 1}}\n",
        );
        check(Media::Json, r#"{"data":[]}"#, "{\"data\":[]}\n");
        check(Media::Json, r#"{"event":"a"}"#, "{\"event\":\"a\"}\n");
        check(
            Media::Json,
            r#"{"event":null,"data":null}"#,
            "{\"data\":null}\n",
        );
        check(
            Media::Json,
            "\u{FEFF}{\"data\":1e400}",
            "{\"data\":1e400}\n",
        );
        check(
            Media::Json,
            r#"{"data":1,"id":7,"retry":1,"comment":"c","data":2}"#,
            "{\"data\":2}\n",
        );
        check(Media::Text, "", "{\"data\":\"\"}\n");
        check(
            Media::Text,
            "{\"data\":1}",
            "{\"data\":\"{\\\"data\\\":1}\"}\n",
        );
        check(
            Media::Form,
            "event=move&data=a+b%26&nick=x",
            "{\"event\":\"move\",\"data\":\"a b&\"}\n",
        );
        check(Media::Form, "data=%ff", "{\"data\":\"\u{FFFD}\"}\n");
    }

    #[test]
    fn what_would_break_out_of_a_line_is_data() {
        check(
            Media::Text,
            "\u{FEFF}a\r\ndata: b\0\nid: 1\n\nevent: x",
            "{\"data\":\"\u{FEFF}a\\r\\ndata: b\\u0000\\nid: 1\\n\\nevent: x\"}\n",
        );
        check(
            Media::Json,
            "{\"event\" : \"a\\nevent: b\\u0000\",\r\n \"data\"\n:\t{\r\n\"x\\\" \\\\\" : \" y \\n\"\n}}",
            "{\"event\":\"aevent: b\",\"data\":{\"x\\\" \\\\\":\" y \\n\"}}\n",
        );
        check(
            Media::Form,
            "event=a%0Adata:+b&data=x%0D%0A%00",
            "{\"event\":\"adata: b\",\"data\":\"x\\r\\n\\u0000\"}\n",
        );
    }

    #[test]
    fn a_body_that_is_no_message_says_why() {
        use Problem::{Empty, EventNotText, EventReserved, EventTooLong, NotAnObject, NotUtf8};
        let long = format!(r#"{{"event":"{}"}}"#, "x".repeat(257));
        for (media, body, expected) in [
            (Media::Json, &b""[..], NotAnObject),
            (Media::Json, b"[]", NotAnObject),
            (Media::Json, b"{\"data\":1} x", NotAnObject),
            (Media::Json, b"{\"data\":\"a\nb\"}", NotAnObject),
            (Media::Json, b"{\"data\":\"\xff\"}", NotUtf8),
            (Media::Json, b"{\"event\":1}", EventNotText),
            (Media::Json, b"{\"event\":\"\"}", Empty),
            (Media::Json, b"{\"message\":\"hello\"}", Empty),
            (Media::Json, long.as_bytes(), EventTooLong),
            (Media::Json, b"{\"event\":\"cl\\u000aose\"}", EventReserved),
            (Media::Form, b"event=gap&data=1", EventReserved),
            (Media::Form, b"event=invalid", EventReserved),
            (Media::Form, b"event=open&data=1", EventReserved),
            (
                Media::Json,
                b"{\"event\":\"error\",\"data\":1}",
                EventReserved,
            ),
            (Media::Json, b"{\"event\":\"unavailable\"}", EventReserved),
            (Media::Form, b"event=place&data=1", EventReserved),
            (Media::Json, b"{\"event\":\" close \"}", EventReserved),
            (Media::Form, b"", Empty),
            (Media::Text, b"\xc3", NotUtf8),
        ] {
            assert_eq!(line(media, body), Err(expected), "{body:?}");
        }
    }

    #[test]
    fn only_three_types_are_read() {
        for (text, expected) in [
            ("application/json", Some(Media::Json)),
            ("Application/JSON; charset=\"UTF-8\"", Some(Media::Json)),
            (
                "text/plain;charset=us-ascii; format=flowed",
                Some(Media::Text),
            ),
            ("application/x-www-form-urlencoded", Some(Media::Form)),
            ("text/plain;charset=iso-8859-1", None),
            ("text/html", None),
            ("multipart/form-data; boundary=x", None),
            ("application/json, text/plain", None),
            ("", None),
        ] {
            assert_eq!(Media::parse(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn a_deep_body_takes_no_stack() {
        let deep = format!(
            "{{\"data\":{}{}}}",
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert_eq!(line(Media::Json, deep.as_bytes()).unwrap().trim_end(), deep);
    }

    fn media() -> impl Strategy<Value = Media> {
        prop_oneof![Just(Media::Json), Just(Media::Text), Just(Media::Form)]
    }

    /// Bodies that are likely to be valid.
    fn body() -> impl Strategy<Value = Vec<u8>> {
        let pieces = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            "\"",
            "\\",
            ",",
            ":",
            "\"event\":",
            "\"data\":",
            "event=",
            "data=",
            "&",
            "%0a",
            "%00",
            "%",
            "\n",
            "\r",
            "\0",
            "\u{FEFF}",
            "data: x",
            "null",
            "1",
            " ",
            "\\u000a",
            "\\ud800",
            "é",
        ]);
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            prop::collection::vec(pieces, 0..30).prop_map(|p| p.concat().into_bytes()),
            any::<String>().prop_map(|text| format!("{{\"data\":{}}}", json_text(&text)).into()),
        ]
    }

    proptest! {
        /// The result is a problem, or one line that reads back as event and data.
        #[test]
        fn any_bytes_are_a_problem_or_one_line((media, body) in (media(), body())) {
            if let Ok(line) = line(media, &body) {
                let inner = line.strip_suffix('\n').unwrap();
                prop_assert!(!inner.contains(['\n', '\r', '\0']));
                let read: BTreeMap<String, &RawValue> = serde_json::from_str(inner).unwrap();
                prop_assert!(!read.is_empty());
                prop_assert!(read.keys().all(|key| key == "event" || key == "data"));
            }
        }

        #[test]
        fn text_comes_out_as_it_went_in(text in any::<String>()) {
            let line = line(Media::Text, text.as_bytes()).unwrap();
            let read: BTreeMap<String, String> = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(&read["data"], &text);
        }

        #[test]
        fn a_form_comes_out_as_it_went_in(text in any::<String>()) {
            let body = form_urlencoded::Serializer::new(String::new())
                .append_pair("data", &text)
                .finish();
            let line = line(Media::Form, body.as_bytes()).unwrap();
            let read: BTreeMap<String, String> = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(&read["data"], &text);
        }

        /// Only the white space between the tokens of a value is lost.
        #[test]
        fn a_json_value_keeps_its_meaning(text in "[ \t\r\n\\[\\]{}\",:0a\\\\]{0,40}") {
            let body = format!("{{\"data\":\n{text}}}");
            if let Ok(line) = line(Media::Json, body.as_bytes()) {
                let read = |text: &str| serde_json::from_str::<serde_json::Value>(text);
                let given = read(&body).unwrap();
                prop_assert_eq!(&read(&line).unwrap()["data"], &given["data"]);
            }
        }
    }
}

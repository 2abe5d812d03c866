//! An independent parser reads back what the encoder writes.

#[allow(dead_code)]
#[path = "support/event_stream.rs"]
mod event_stream;

use std::convert::Infallible;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use event_stream::{Item, Parser, parse};
use eventsource_stream::EventStream;
use futures_core::Stream;
use proptest::collection::vec;
use proptest::prelude::*;
use sse_cgi::event::{Batch, Event, EventId, EventName, Gap, Reason};

/// The items that can be appended to a batch.
#[derive(Clone, Debug)]
enum Part {
    Event {
        id: Option<String>,
        name: Option<String>,
        data: Vec<u8>,
    },
    Place(String),
    Comment(Vec<u8>),
    Padding(usize),
    Retry(u64),
    Gap(Option<u64>),
    Close,
}

fn append(part: &Part, batch: &mut Batch) {
    let id = |text: &String| EventId::new(text.clone()).unwrap();
    match part {
        Part::Event {
            id: event_id,
            name,
            data,
        } => batch.event(&Event {
            id: event_id.as_ref().map(id),
            name: name.clone().map(|name| EventName::new(name).unwrap()),
            data,
        }),
        Part::Place(text) => batch.place(&id(text)),
        Part::Comment(text) => batch.comment(text),
        Part::Padding(length) => batch.padding(*length),
        Part::Retry(ms) => batch.retry(*ms),
        Part::Gap(bytes) => batch.gap(
            &Gap {
                skipped_bytes: *bytes,
                ..Gap::new(Reason::Cut)
            },
            None,
        ),
        Part::Close => batch.close(None),
    }
}

/// The documented cleaning: every line end becomes LF, bad UTF-8 becomes U+FFFD, and then NUL
/// is removed.
fn cleaned(data: &[u8]) -> String {
    let mut lines = Vec::new();
    let mut at = 0;
    while at < data.len() {
        match data[at] {
            // The LF after it ends the line.
            b'\r' if data.get(at + 1) == Some(&b'\n') => {}
            b'\r' => lines.push(b'\n'),
            byte => lines.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&lines).replace('\0', "")
}

/// The items that a browser reads.
fn expected(parts: &[Part]) -> Vec<Item> {
    let mut last_id = String::new();
    let mut items = Vec::new();
    let event = |id: &str, name: &str, data: String| {
        let (id, name) = (id.to_owned(), name.to_owned());
        Item::Event(event_stream::Event { id, name, data })
    };
    for part in parts {
        match part {
            Part::Event { id, name, data } => {
                last_id = id.clone().unwrap_or(last_id);
                let name = name.as_deref().unwrap_or("message");
                items.push(event(&last_id, name, cleaned(data)));
            }
            Part::Place(id) => {
                last_id.clone_from(id);
                let (id, dropped) = (id.clone(), None);
                items.push(Item::Blank { id, dropped });
            }
            Part::Gap(bytes) => {
                let bytes = bytes.map_or(String::new(), |n| format!(r#","bytes":{n}"#));
                let data = format!(r#"{{"reason":"cut"{bytes}}}"#);
                items.push(event(&last_id, "gap", data));
            }
            Part::Close => items.push(event(&last_id, "close", String::new())),
            Part::Retry(ms) => items.push(Item::Retry(*ms)),
            Part::Comment(_) | Part::Padding(_) => {}
        }
    }
    items
}

fn without_comments(items: Vec<Item>) -> Vec<Item> {
    items
        .into_iter()
        .filter(|item| !matches!(item, Item::Comment(_)))
        .collect()
}

/// Bytes with more special cases than random ones would have.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => vec(any::<u8>(), 0..12),
        2 => ".{0,8}".prop_map(String::into_bytes),
        2 => prop::sample::select(vec![
            "\r", "\n", "\r\n", "\n\r", "\0", "\u{FEFF}", " ", ":", "data: x", "id: 7\n",
            "\r\nevent: forged\r\n\r\n", "\u{2028}", "\u{0085}", "\x0b", "\x0c", "",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::sample::select(vec![
            &b"\xC3"[..], b"\xE2\x82", b"\xF0\x9F\x98", b"\xED\xA0\x80", b"\xC3\0\xA9", b"\xFF\xFE",
            b"\xC0\xAF", b"\xF5", b"\xE2\r\x82\n\xAC",
        ]).prop_map(<[u8]>::to_vec),
    ];
    vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn id() -> impl Strategy<Value = String> {
    "[!-~]{1,40}"
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,9}", r"[^\r\n\x00]{1,20}", " [a-z]{0,3}", ":"]
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        8 => (prop::option::of(id()), prop::option::of(name()), bytes())
            .prop_map(|(id, name, data)| Part::Event { id, name, data }),
        1 => id().prop_map(Part::Place),
        2 => bytes().prop_map(Part::Comment),
        1 => (0..50_usize).prop_map(Part::Padding),
        1 => any::<u64>().prop_map(Part::Retry),
        1 => any::<Option<u64>>().prop_map(Part::Gap),
        1 => Just(Part::Close),
    ]
}

fn encoded(parts: &[Part]) -> Vec<u8> {
    let mut batch = Batch::new();
    for part in parts {
        append(part, &mut batch);
    }
    batch.as_bytes().to_vec()
}

/// The same by a crate that many clients use: ids, names and data of the events.
fn second_opinion(wire: &[u8]) -> Vec<(String, String, String)> {
    struct Once<'a>(Option<&'a [u8]>);
    impl<'a> Stream for Once<'a> {
        type Item = Result<&'a [u8], Infallible>;
        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Self::Item>> {
            Poll::Ready(self.0.take().map(Ok))
        }
    }
    let mut stream = pin!(EventStream::new(Once(Some(wire))));
    let mut context = Context::from_waker(Waker::noop());
    let mut events = Vec::new();
    while let Poll::Ready(Some(event)) = stream.as_mut().poll_next(&mut context) {
        let event = event.unwrap();
        events.push((event.id, event.event, event.data));
    }
    events
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back_cleaned(parts in vec(part(), 0..8)) {
        let wire = encoded(&parts);
        prop_assert_eq!(without_comments(parse(&wire)), expected(&parts));
    }

    #[test]
    fn a_split_anywhere_changes_nothing(parts in vec(part(), 1..4), sizes in vec(1..7_usize, 1..9)) {
        let wire = encoded(&parts);
        let mut parser = Parser::default();
        let mut rest = &wire[..];
        for size in sizes.iter().cycle() {
            let (now, later) = rest.split_at((*size).min(rest.len()));
            parser.feed(now);
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        let items: Vec<Item> = std::iter::from_fn(|| parser.next()).collect();
        prop_assert_eq!(items, parse(&wire));
    }

    #[test]
    fn what_every_client_reads_another_crate_reads_too(parts in vec(part(), 0..8)) {
        let events: Vec<_> = expected(&parts)
            .into_iter()
            .filter_map(|item| match item {
                Item::Event(event) => Some((event.id, event.name, event.data)),
                _ => None,
            })
            .collect();
        let others: Vec<_> = second_opinion(&encoded(&parts))
            .into_iter()
            .filter(|(_, name, _)| name != "place")
            .collect();
        prop_assert_eq!(others, events);
    }

    #[test]
    fn nothing_is_ignored_and_no_blank_line_ends_nothing(parts in vec(part(), 0..8)) {
        for (part, item) in parts.iter().map(|part| (part, parse(&encoded(std::slice::from_ref(part))))) {
            let blanks = item.iter().filter(|i| matches!(i, Item::Blank { .. })).count();
            let ignored = item.iter().filter(|i| matches!(i, Item::Ignored(_))).count();
            let dropped = item.iter().any(|i| matches!(i, Item::Blank { dropped: Some(_), .. }));
            prop_assert_eq!(blanks, usize::from(matches!(part, Part::Place(_))));
            prop_assert_eq!((ignored, dropped), (0, false));
        }
    }

    #[test]
    fn padding_is_as_long_as_it_was_asked_for(length in 2..5000_usize) {
        prop_assert_eq!(encoded(&[Part::Padding(length)]).len(), length);
    }

    #[test]
    fn an_id_is_visible_ascii_or_none(text in bytes()) {
        let is_id = (1..=256).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic);
        prop_assert_eq!(EventId::from_bytes(&text).is_ok(), is_id);
    }

    #[test]
    fn any_name_can_be_cleaned_and_then_stays_on_its_line(text in bytes()) {
        let text = String::from_utf8_lossy(&text).into_owned();
        let clean = text.replace(['\r', '\n', '\0'], "");
        let name = EventName::cleaned(text.clone().into());
        prop_assert_eq!(name.as_ref().map(EventName::as_str), Some(&*clean).filter(|c| !c.is_empty()));
        prop_assert_eq!(EventName::new(text.clone()).is_ok(), clean == text && !text.is_empty());
    }
}

#[test]
fn a_bom_never_starts_a_stream_and_survives_in_one() {
    let bom = "\u{FEFF}";
    for part in [
        Part::Event {
            id: None,
            name: None,
            data: bom.as_bytes().to_vec(),
        },
        Part::Event {
            id: None,
            name: Some(bom.into()),
            data: format!("{bom}{bom}x\n{bom}").into_bytes(),
        },
        Part::Comment(bom.as_bytes().to_vec()),
    ] {
        let wire = encoded(std::slice::from_ref(&part));
        assert!(!wire.starts_with(bom.as_bytes()));
        assert_eq!(without_comments(parse(&wire)), expected(&[part]));
    }
}

#[test]
fn the_parser_itself_reads_as_browsers_do() {
    let event = |id: &str, name: &str, data: &str| {
        let (id, name, data) = (id.into(), name.into(), data.into());
        Item::Event(event_stream::Event { id, name, data })
    };
    let blank = |id: &str, dropped: Option<&str>| Item::Blank {
        id: id.into(),
        dropped: dropped.map(str::to_owned),
    };
    for (wire, items) in [
        (
            "\u{FEFF}data: a\r\rdata\r\n\r\n",
            vec![event("", "message", "a"), event("", "message", "")],
        ),
        ("data:  a\ndata:b\n\n", vec![event("", "message", " a\nb")]),
        ("event: close\nid: 4\n\n", vec![blank("4", Some("close"))]),
        (
            "id: 1\ndata: x\n\nid\ndata: y\n\n",
            vec![event("1", "message", "x"), event("", "message", "y")],
        ),
        (
            "id: a\0b\nretry: 5\nretry: -5\nfoo: x\n:c\n",
            vec![
                Item::Ignored("id: a\0b".into()),
                Item::Retry(5),
                Item::Ignored("retry: -5".into()),
                Item::Ignored("foo: x".into()),
                Item::Comment("c".into()),
            ],
        ),
        ("\n", vec![blank("", None)]),
    ] {
        assert_eq!(parse(wire.as_bytes()), items, "{wire:?}");
    }
}

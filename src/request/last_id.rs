//! LastId: the client's Last-Event-ID.

use super::meta::Value;
use super::query::fields;
use crate::event::EventId;

/// The last event id that a client sends. It is untrusted, and an invalid one is not an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LastId {
    /// The client connects for the first time.
    None,
    /// A well-formed id. The source decides whether it is one of its positions.
    Given(EventId<'static>),
    /// An id that was sent twice, is too long, or contains a byte that is in none of our ids.
    /// The client gets a `gap`, and then what a first-time client gets.
    Malformed,
}

impl LastId {
    /// The names of the query's field, tried in this order: Yaffle's polyfill and most
    /// hand-written clients, the same in snake case, amvtek's polyfill, the Mercure protocol
    /// (`lastEventID`), and its older versions (`Last-Event-ID`).
    pub const QUERY_NAMES: [&'static str; 5] = [
        "lastEventId",
        "last_event_id",
        "evs_last_event_id",
        "lastEventID",
        "Last-Event-ID",
    ];

    pub(super) fn from_header_or_query(header: &Value<'_>, query: &[u8]) -> Self {
        match header {
            Value::One(id) => return Self::from_bytes(id),
            Value::Repeated(_) => return Self::Malformed,
            Value::Absent => {}
        }
        for name in Self::QUERY_NAMES {
            let mut values = fields(query)
                .filter(|(n, v)| **n == *name.as_bytes() && !v.is_empty())
                .map(|(_, v)| v);
            if let Some(id) = values.next() {
                return match values.next() {
                    None => Self::from_bytes(&id),
                    Some(_) => Self::Malformed,
                };
            }
        }
        Self::None
    }

    fn from_bytes(id: &[u8]) -> Self {
        EventId::from_bytes(id).map_or(Self::Malformed, Self::Given)
    }
}

#[cfg(test)]
mod tests {
    use crate::event::EventId;
    use crate::request::{LastId, MetaVariables, Request};

    fn check(pairs: &[(&str, &str)], expected: &LastId) {
        assert_eq!(
            &Request::from_meta(&MetaVariables::of(pairs)).last_id,
            expected,
            "{pairs:?}"
        );
    }

    fn given(id: &'static str) -> LastId {
        LastId::Given(EventId::new(id).unwrap())
    }

    #[test]
    fn the_header_wins_over_the_query_and_the_names_have_an_order() {
        check(&[], &LastId::None);
        check(&[("HTTP_LAST_EVENT_ID", "")], &LastId::None);
        check(
            &[
                ("HTTP_LAST_EVENT_ID", "7"),
                ("QUERY_STRING", "lastEventId=8"),
            ],
            &given("7"),
        );
        check(
            &[
                ("HTTP_LAST_EVENT_ID", ""),
                ("QUERY_STRING", "lastEventId=8"),
            ],
            &given("8"),
        );
        check(
            &[(
                "QUERY_STRING",
                "evs_last_event_id=1&last_event_id=2&lastEventId=3",
            )],
            &given("3"),
        );
        check(
            &[("QUERY_STRING", "evs_last_event_id=1&last_event_id=2")],
            &given("2"),
        );
        check(&[("QUERY_STRING", "evs_last_event_id=1")], &given("1"));
        check(
            &[("QUERY_STRING", "lastEventId=&evs_last_event_id=1")],
            &given("1"),
        );
        check(&[("QUERY_STRING", "lastEventId=a%2Db")], &given("a-b"));
    }

    #[test]
    fn every_name_of_the_query_s_last_id_is_accepted() {
        for name in LastId::QUERY_NAMES {
            let query = format!("x=1&{name}=7-a&lastEventid=9");
            check(&[("QUERY_STRING", &query)], &given("7-a"));
            let doubled = format!("{name}=7&{name}=7");
            check(&[("QUERY_STRING", &doubled)], &LastId::Malformed);
            let header = ("HTTP_LAST_EVENT_ID", "8");
            check(&[header, ("QUERY_STRING", &query)], &given("8"));
        }
        let all = "Last-Event-ID=5&lastEventID=4&evs_last_event_id=3";
        check(&[("QUERY_STRING", all)], &given("3"));
        check(
            &[("QUERY_STRING", "Last-Event-ID=5&lastEventID=4")],
            &given("4"),
        );
    }

    #[test]
    fn a_doubled_or_unreadable_id_is_malformed() {
        check(&[("HTTP_LAST_EVENT_ID", "5, 6")], &LastId::Malformed);
        check(
            &[("HTTP_LAST_EVENT_ID", "5"), ("HTTP_LAST_EVENT_ID", "6")],
            &LastId::Malformed,
        );
        check(&[("HTTP_LAST_EVENT_ID", "é")], &LastId::Malformed);
        check(
            &[("QUERY_STRING", "lastEventId=1&lastEventId=1")],
            &LastId::Malformed,
        );
        check(&[("QUERY_STRING", "lastEventId=%00")], &LastId::Malformed);
        check(
            &[("HTTP_LAST_EVENT_ID", &"x".repeat(257))],
            &LastId::Malformed,
        );
    }
}

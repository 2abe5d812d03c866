//! The FastCGI state machine with requests of an independent encoder, and with arbitrary bytes:
//! splitting them must not change the result.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use sse_cgi::gateway::fastcgi::{After, Connection, Incoming, Limits, Malformed};
use sse_cgi::request::{MetaVariables, Value};

const BEGIN: u8 = 1;
const ABORT: u8 = 2;
const END: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const GET_VALUES: u8 = 9;
const GET_VALUES_RESULT: u8 = 10;

/// Small, so that random input reaches them.
const SMALL: Limits = Limits {
    params_bytes: 600,
    pairs: 12,
    connections_max: 4_000_000_000,
};

/// One record, as a web server may send it: the reserved byte has any value.
fn record(kind: u8, id: u16, content: &[u8], padding: u8) -> Vec<u8> {
    let [id1, id0] = id.to_be_bytes();
    let [bytes1, bytes0] = u16::try_from(content.len()).unwrap().to_be_bytes();
    let mut wire = vec![1, kind, id1, id0, bytes1, bytes0, padding, 0xAA];
    wire.extend(content);
    wire.extend(std::iter::repeat_n(0xBB, padding.into()));
    wire
}

/// One record, as the responder sends it.
fn ours(kind: u8, id: u16, content: &[u8]) -> Vec<u8> {
    let mut wire = record(kind, id, content, 0);
    wire[7] = 0;
    wire
}

/// The pairs of PARAMS; `long` has each length in four bytes.
fn pairs(pairs: &[(Vec<u8>, Vec<u8>, bool)]) -> Vec<u8> {
    let mut wire = Vec::new();
    for (name, value, long) in pairs {
        for bytes in [name, value] {
            match u8::try_from(bytes.len()) {
                Ok(length @ ..0x80) if !long => wire.push(length),
                _ => wire.extend((bytes.len() as u32 | 0x8000_0000).to_be_bytes()),
            }
        }
        wire.extend(name);
        wire.extend(value);
    }
    wire
}

/// `content` as a stream: cut into records of the given sizes, repeatedly, and ended.
fn stream(kind: u8, id: u16, content: &[u8], sizes: &[(u16, u8)]) -> Vec<u8> {
    let mut wire = Vec::new();
    let mut rest = content;
    for (size, padding) in sizes.iter().cycle() {
        if rest.is_empty() {
            wire.extend(record(kind, id, b"", *padding));
            break;
        }
        let (piece, after) = rest.split_at(rest.len().min((*size).into()));
        wire.extend(record(kind, id, piece, *padding));
        rest = after;
    }
    wire
}

/// What the server receives; the pieces of a body are joined, since their number is random.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// Names, and values where the name is text and not empty.
    Request(Vec<(Vec<u8>, Option<Vec<u8>>)>),
    Stdin(Vec<u8>),
    StdinEnd,
    Abort,
    Refused(After),
    Finished(After),
}

/// The event after which the server ends a request; after an abort it always does.
#[derive(Clone, Copy, Debug)]
enum Ends {
    Request,
    StdinEnd,
    Abort,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    seen: Vec<Seen>,
    reply: Vec<u8>,
    end: Result<(Option<u16>, bool), Malformed>,
}

fn request(meta: &MetaVariables) -> Seen {
    let value = |name: &[u8]| {
        let name = std::str::from_utf8(name).ok().filter(|n| !n.is_empty())?;
        match meta.get(name) {
            Value::Absent => Some(vec![]),
            Value::One(value) => Some(value.to_vec()),
            Value::Repeated(values) => Some(values.concat()),
        }
    };
    Seen::Request(meta.names().map(|n| (n.to_vec(), value(n))).collect())
}

/// Feeds `pieces` and acts according to `ends`.
fn outcome<'a>(limits: Limits, pieces: impl Iterator<Item = &'a [u8]>, ends: Ends) -> Outcome {
    let mut connection = Connection::new(limits);
    let (mut seen, mut reply) = (Vec::new(), Vec::new());
    for mut input in pieces {
        loop {
            let incoming = match connection.take(&mut input, &mut reply) {
                Ok(incoming) => incoming,
                Err(malformed) => {
                    let end = Err(malformed);
                    return Outcome { seen, reply, end };
                }
            };
            let Some(incoming) = incoming else {
                assert!(input.is_empty(), "{} bytes are left", input.len());
                break;
            };
            let finishes = matches!(
                (&incoming, ends),
                (Incoming::Request(_), Ends::Request)
                    | (Incoming::StdinEnd, Ends::StdinEnd)
                    | (Incoming::Abort, _)
            );
            match incoming {
                Incoming::Request(meta) => seen.push(request(&meta)),
                Incoming::Stdin(piece) => {
                    assert!(!piece.is_empty());
                    match seen.last_mut() {
                        Some(Seen::Stdin(before)) => before.extend(piece),
                        _ => seen.push(Seen::Stdin(piece.to_vec())),
                    }
                }
                Incoming::StdinEnd => seen.push(Seen::StdinEnd),
                Incoming::Abort => seen.push(Seen::Abort),
                Incoming::Refused(after) => seen.push(Seen::Refused(after)),
            }
            if finishes {
                assert!(connection.request_id().is_some());
                seen.push(Seen::Finished(connection.finish(7, &mut reply)));
                assert_eq!(connection.request_id(), None);
            }
        }
    }
    let end = Ok((connection.request_id(), connection.is_incomplete()));
    Outcome { seen, reply, end }
}

/// Pieces of the given sizes, repeatedly.
fn split<'a>(wire: &'a [u8], sizes: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = wire;
    sizes.iter().cycle().map_while(move |size| {
        let (piece, after) = rest.split_at(rest.len().min(*size));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Feeds `wire` whole, byte by byte and split by `sizes`; the results must be equal.
fn same_for_all_splits(wire: &[u8], sizes: &[usize], ends: Ends) -> Outcome {
    let whole = outcome(SMALL, std::iter::once(wire), ends);
    assert_eq!(outcome(SMALL, wire.chunks(1), ends), whole, "byte by byte");
    assert_eq!(outcome(SMALL, split(wire, sizes), ends), whole, "{sizes:?}");
    // Complete records, and at most twice the length of the requests and of each end.
    let mut reply = &whole.reply[..];
    let mut ended = 0;
    while !reply.is_empty() {
        assert_eq!(reply[0], 1);
        ended += usize::from(reply[1] == STDOUT);
        let content = usize::from(u16::from_be_bytes([reply[4], reply[5]]));
        reply = &reply[8 + content + usize::from(reply[6])..];
    }
    assert!(whole.reply.len() <= 2 * wire.len() + 24 * ended);
    whole
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![1..4_usize, 1..30_usize, 1..3000_usize], 1..20)
}

fn ends() -> impl Strategy<Value = Ends> {
    select(vec![Ends::Request, Ends::StdinEnd, Ends::Abort])
}

/// A record that is valid with a probability of one half.
fn any_record() -> impl Strategy<Value = Vec<u8>> {
    let id = select(vec![0_u16, 1, 1, 1, 1, 2, 0x0100]);
    let pair = (
        vec(any::<u8>(), 0..9),
        vec(any::<u8>(), 0..140),
        any::<bool>(),
    );
    let content = prop_oneof![
        2 => Just(vec![]),
        2 => vec(pair, 0..6).prop_map(|p| pairs(&p)),
        2 => vec(any::<u8>(), 0..20),
        1 => Just(b"\x0E\x00FCGI_MAX_CONNS\x0F\x00FCGI_MPXS_CONNS".to_vec()),
        1 => Just(b"\x0D\x00FCGI_MAX_REQS".repeat(3)),
    ];
    let begin = (select(vec![0_u8, 1, 1, 1, 2]), 0..3_u8)
        .prop_map(|(role, flags)| vec![0, role, flags, 0, 0, 0, 0, 0]);
    let padding = prop_oneof![3 => Just(0_u8), 1 => any::<u8>()];
    prop_oneof![
        3 => (id.clone(), begin, padding.clone())
            .prop_map(|(id, body, padding)| record(BEGIN, id, &body, padding)),
        3 => (id.clone(), padding.clone())
            .prop_map(|(id, padding)| record(PARAMS, id, b"", padding)),
        1 => (id.clone(), padding.clone())
            .prop_map(|(id, padding)| record(ABORT, id, b"", padding)),
        5 => (prop_oneof![4 => 1..13_u8, 1 => any::<u8>()], id, content, padding)
            .prop_map(|(kind, id, content, padding)| record(kind, id, &content, padding)),
        1 => vec(any::<u8>(), 0..12),
    ]
}

proptest! {
    #[test]
    fn arbitrary_bytes_mean_the_same_however_they_are_split(
        wire in vec(any::<u8>(), 0..300), sizes in sizes(), ends in ends(),
    ) {
        same_for_all_splits(&wire, &sizes, ends);
    }

    #[test]
    fn arbitrary_records_mean_the_same_however_they_are_split(
        records in vec(any_record(), 0..30), sizes in sizes(), ends in ends(),
    ) {
        same_for_all_splits(&records.concat(), &sizes, ends);
    }

    #[test]
    fn a_request_that_loses_or_changes_a_byte_never_panics(
        at in any::<prop::sample::Index>(), to in any::<Option<u8>>(), sizes in sizes(),
    ) {
        let params = pairs(&[(b"A".to_vec(), vec![b'x'; 200], false)]);
        let mut wire = [
            record(BEGIN, 1, &[0, 1, 1, 0, 0, 0, 0, 0], 0),
            stream(PARAMS, 1, &params, &[(50, 3)]),
            stream(STDIN, 1, b"body", &[(3, 0)]),
        ].concat();
        let at = at.index(wire.len());
        match to {
            Some(byte) => wire[at] = byte,
            None => { wire.remove(at); }
        }
        same_for_all_splits(&wire.repeat(2), &sizes, Ends::StdinEnd);
    }

    #[test]
    fn requests_arrive_as_they_were_sent_one_after_the_other(
        requests in vec((
            1..=u16::MAX,
            vec((vec(any::<u8>(), 0..9), vec(any::<u8>(), 0..40), any::<bool>()), 0..10),
            vec(any::<u8>(), 0..500),
        ), 1..4),
        records in vec((1..200_u16, any::<u8>()), 1..8),
        asks in any::<bool>(),
        sizes in sizes(),
    ) {
        let (mut wire, mut expected) = (Vec::new(), Vec::new());
        for (id, params, body) in &requests {
            wire.extend(record(BEGIN, *id, &[0, 1, 1, 9, 9, 9, 9, 9], records[0].1));
            if asks {
                wire.extend(record(GET_VALUES, 0, b"\x01\x00x", records[0].1));
            }
            wire.extend(stream(PARAMS, *id, &pairs(params), &records));
            wire.extend(stream(STDIN, *id, body, &records));
            let owned = params.iter().map(|(n, v, _)| (n.clone(), v.clone()));
            expected.push(request(&MetaVariables::new(owned.collect())));
            if !body.is_empty() {
                expected.push(Seen::Stdin(body.clone()));
            }
            expected.extend([Seen::StdinEnd, Seen::Finished(After::Keep)]);
        }
        let outcome = same_for_all_splits(&wire, &sizes, Ends::StdinEnd);
        prop_assert_eq!(outcome.seen, expected);
        prop_assert_eq!(outcome.end, Ok((None, false)));
        let mut reply = Vec::new();
        for (id, _, _) in &requests {
            if asks {
                reply.extend(ours(GET_VALUES_RESULT, 0, b""));
            }
            reply.extend(ours(STDOUT, *id, b""));
            reply.extend(ours(END, *id, &[0, 0, 0, 7, 0, 0, 0, 0]));
        }
        prop_assert_eq!(outcome.reply, reply);
    }
}

/// The result of one request with `params` as its PARAMS, in reads of 4096 bytes.
fn of_params(limits: Limits, params: &[u8]) -> Outcome {
    let wire = [
        record(BEGIN, 1, &[0, 1, 0, 0, 0, 0, 0, 0], 0),
        stream(PARAMS, 1, params, &[(u16::MAX, 0)]),
        record(STDIN, 1, b"", 0),
    ];
    outcome(limits, wire.concat().chunks(4096), Ends::StdinEnd)
}

#[test]
fn ten_thousand_empty_pairs_are_too_many_unless_they_are_allowed() {
    let found = of_params(Limits::default(), &[0; 20_000]);
    assert_eq!(
        (found.seen, found.end),
        (vec![], Err(Malformed::TooManyPairs(2000)))
    );
    let limits = Limits {
        pairs: 10_000,
        ..Limits::default()
    };
    let found = of_params(limits, &[0; 20_000]);
    let empty = Seen::Request(vec![(vec![], None); 10_000]);
    assert_eq!(found.seen[..2], [empty, Seen::StdinEnd]);
    let found = of_params(limits, &[0; 20_001]);
    assert_eq!(found.end, Err(Malformed::TooManyPairs(10_000)));
}

#[test]
fn the_limits_are_what_is_allowed_and_not_a_byte_more() {
    let limits = Limits::default();
    let two_thousand = vec![(b"A".to_vec(), b"1".to_vec(), false); 2000];
    let found = of_params(limits, &pairs(&two_thousand));
    assert_eq!(found.end, Ok((None, false)));

    let of_bytes = |bytes: usize| pairs(&[(b"LARGE".to_vec(), vec![b'x'; bytes - 10], false)]);
    // A name's length of one byte, a value's of four.
    assert_eq!(of_bytes(limits.params_bytes).len(), limits.params_bytes);
    let found = of_params(limits, &of_bytes(limits.params_bytes));
    assert_eq!(found.end, Ok((None, false)));
    let found = of_params(limits, &of_bytes(limits.params_bytes + 1));
    assert_eq!(
        found.end,
        Err(Malformed::ParamsTooLong(limits.params_bytes))
    );
    assert_eq!(found.seen, []);
}

#[test]
fn lengths_of_two_gibibytes_are_refused_where_they_stand() {
    let too_long = Err(Malformed::ParamsTooLong(Limits::default().params_bytes));
    for lengths in [
        &b"\xFF\xFF\xFF\xFF"[..],
        b"\x01\xFF\xFF\xFF\xFF",
        b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
        b"\x80\x04\x00\x00",
    ] {
        assert_eq!(of_params(Limits::default(), lengths).end, too_long);
        let asked = record(GET_VALUES, 0, lengths, 0);
        let found = outcome(Limits::default(), asked.chunks(1), Ends::Request);
        assert_eq!(found.end, too_long);
    }
}

#[test]
fn everything_may_have_no_length() {
    let zeros: Vec<Vec<u8>> = (2..=255).map(|kind| record(kind, 1, b"", 0)).collect();
    same_for_all_splits(&zeros.concat(), &[5], Ends::StdinEnd);
    let begin = record(BEGIN, 1, &[0, 1, 0, 0, 0, 0, 0, 0], 0);
    let found = same_for_all_splits(
        &[begin, zeros[2].clone(), zeros[3].clone()].concat(),
        &[5],
        Ends::StdinEnd,
    );
    let finished = Seen::Finished(After::Close);
    assert_eq!(
        found.seen,
        [Seen::Request(vec![]), Seen::StdinEnd, finished]
    );
    let nothing: [&[u8]; 3] = [b"", b"", b""];
    let found = outcome(SMALL, nothing.into_iter(), Ends::Request);
    assert_eq!((found.seen, found.end), (vec![], Ok((None, false))));
    // An empty read within a record does not end anything.
    let begin: [&[u8]; 4] = [
        b"\x01\x01\x00\x01\x00\x08\x00\x00\x00",
        b"",
        b"\x01\x00",
        b"",
    ];
    let found = outcome(SMALL, begin.into_iter(), Ends::Request);
    assert_eq!((found.seen, found.end), (vec![], Ok((None, true))));
}

#[test]
fn names_and_values_that_are_no_text_are_kept() {
    let params = [
        (
            b"HTTP_LAST_EVENT_ID".to_vec(),
            b"\xFF\xFE\x00".to_vec(),
            false,
        ),
        (b"\xC3\x28".to_vec(), b"x".to_vec(), true),
        (b"AFTER".to_vec(), b"is there".to_vec(), false),
    ];
    let owned = params.iter().map(|(n, v, _)| (n.clone(), v.clone()));
    let expected = request(&MetaVariables::new(owned.collect()));
    assert_eq!(of_params(SMALL, &pairs(&params)).seen[0], expected);
}

//! The machine against hostile, ordinary and arbitrary bytes: however they are split, they
//! mean the same.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use sse_cgi::gateway::After;
use sse_cgi::gateway::http::Limits;

use crate::hostile::cases;
use crate::machine::{Answers, DATE, Outcome, Seen, outcome, same_for_all_splits};

/// Feeds it whole, byte by byte and by seven bytes.
#[track_caller]
fn fed(wire: &[u8], answers: Answers) -> Outcome {
    same_for_all_splits(Limits::default(), wire, &[7], answers)
}

/// How many responses there are.
fn responses(reply: &[u8]) -> usize {
    String::from_utf8_lossy(reply).matches(DATE).count()
}

#[test]
fn each_hostile_request_is_rejected_and_nothing_after_it_is_served() {
    let cases = cases();
    assert!(cases.len() >= 120, "{}", cases.len());
    for (name, bytes, status) in cases {
        let outcome = fed(&bytes, Answers::AtBodyEnd);
        match outcome.seen.last() {
            Some(Seen::Rejected(line)) => assert!(line.starts_with(status), "{name}: {line}"),
            other => panic!("{name}: {other:?}"),
        }
        assert_eq!(responses(&outcome.reply), 1, "{name}");
        let has_finished = (outcome.seen.iter()).any(|seen| matches!(seen, Seen::Finished(_)));
        assert!(!has_finished, "{name}: {:?}", outcome.seen);
        let reply = String::from_utf8(outcome.reply).expect("text");
        assert!(
            reply.contains("\r\nConnection: close\r\n"),
            "{name}: {reply}"
        );
    }
}

#[test]
fn a_server_that_has_answered_at_the_head_answers_no_second_time() {
    for (name, bytes, _) in cases() {
        let outcome = fed(&bytes, Answers::AtHead);
        assert_eq!(responses(&outcome.reply), 1, "{name}");
        let requests = (outcome.seen.iter()).filter(|seen| matches!(seen, Seen::Request(_)));
        assert!(requests.count() <= 1, "{name}: {:?}", outcome.seen);
    }
}

#[test]
fn a_hostile_request_that_is_cut_at_any_byte_gets_one_response_or_none() {
    for (name, bytes, _) in cases() {
        // Longer ones repeat one byte.
        for cut in 0..bytes.len().min(300) {
            for answers in [Answers::AtHead, Answers::AtBodyEnd] {
                let pieces = std::iter::once(&bytes[..cut]);
                let outcome = outcome(Limits::default(), pieces, answers);
                assert!(responses(&outcome.reply) <= 1, "{name} to {cut}");
                let is_smuggled =
                    |seen: &Seen| matches!(seen, Seen::Request(meta) if meta.contains("smuggled"));
                assert!(!outcome.seen.iter().any(is_smuggled), "{name} to {cut}");
            }
        }
    }
}

/// Requests of every kind that is served, one after the other.
const GOOD: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /a%20b?c=d HTTP/1.1\r\nhost:\tA.example:8080 \r\nAccept: text/event-stream\r\n\r\n",
    "\r\nHEAD / HTTP/1.1\r\nHost:\r\nX-Y: \r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET http://a/x HTTP/1.1\r\nHost: a:80\r\nA: \u{e9}\r\n\r\n",
    "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello",
    "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n\
     5\r\nhello\r\n3;a=\"b\"\r\n wo\r\n0\r\nA: b\r\n\r\n",
    "POST /p HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\nhello",
];

#[test]
fn no_request_that_is_cut_at_any_byte_is_seen_before_it_is_whole() {
    for text in GOOD {
        let whole = fed(text.as_bytes(), Answers::AtBodyEnd);
        assert!(
            matches!(whole.seen.last(), Some(Seen::Finished(After::Keep))),
            "{text}"
        );
        assert!(!whole.is_incomplete, "{text}");
        let head_bytes = text.trim_start().find("\r\n\r\n").expect("a head") + 4;
        let head_bytes = text.len() - text.trim_start().len() + head_bytes;
        for cut in 0..text.len() {
            let outcome = fed(&text.as_bytes()[..cut], Answers::AtBodyEnd);
            let has_finished = (outcome.seen.iter()).any(|seen| matches!(seen, Seen::Finished(_)));
            assert!(!has_finished, "{text} to {cut}");
            assert_eq!(responses(&outcome.reply), 0, "{text} to {cut}");
            let is_seen = !outcome.seen.is_empty();
            assert_eq!(is_seen, cut >= head_bytes, "{text} to {cut}");
        }
    }
}

#[test]
fn requests_that_are_sent_together_are_answered_in_order() {
    let wire = GOOD.concat();
    for answers in [Answers::AtBodyEnd, Answers::AtHead] {
        // A client that waits to be told to go on is not told, and the connection is closed.
        let outcome = fed(wire.as_bytes(), answers);
        let finished = (outcome.seen.iter()).filter(|seen| matches!(seen, Seen::Finished(_)));
        assert_eq!(finished.count(), GOOD.len());
        assert_eq!(responses(&outcome.reply), GOOD.len());
        assert!(!outcome.is_incomplete);
    }
}

fn request(text: &str) -> String {
    match &fed(text.as_bytes(), Answers::AtBodyEnd).seen[0] {
        Seen::Request(meta) => meta.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_is_handed_on_as_a_gateway_would() {
    let text = "POST /a%20b/c?x=%20 HTTP/1.1\r\nHost: Example.org:8080\r\nContent-Length: 2\r\n\
                Content-Type: text/plain\r\nLast-Event-ID: 7\r\nAccept: a\r\nAccept: b\r\n\
                Last_Event_ID: 9\r\nProxy: evil\r\nA.B: c\r\nAuthorization: Bearer x\r\n\r\nhi";
    assert_eq!(
        request(text),
        "GATEWAY_INTERFACE=CGI/1.1\nSERVER_PROTOCOL=HTTP/1.1\nREQUEST_METHOD=POST\n\
         REQUEST_URI=/a%20b/c?x=%20\nPATH_INFO=/a b/c\nQUERY_STRING=x=%20\n\
         REQUEST_SCHEME=http\nREMOTE_ADDR=192.0.2.1\nSERVER_ADDR=192.0.2.2\nSERVER_NAME=Example.org\n\
         SERVER_PORT=8080\nCONTENT_LENGTH=2\nHTTP_HOST=Example.org:8080\n\
         CONTENT_TYPE=text/plain\nHTTP_LAST_EVENT_ID=7\nHTTP_ACCEPT=a, b\nHTTP_ACCEPT=a, b\n\
         HTTP_AUTHORIZATION=Bearer x\n"
    );
    let absolute = request("GET http://a/x?y HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(absolute.contains("REQUEST_URI=/x?y\nPATH_INFO=/x\nQUERY_STRING=y\n"));
}

/// The response to `text`, answered with `ok` at its end.
fn reply(text: &str) -> String {
    String::from_utf8(fed(text.as_bytes(), Answers::AtBodyEnd).reply).expect("text")
}

#[test]
fn a_response_says_how_long_it_is_and_whether_the_connection_is_kept() {
    let with = |fields: &str, body: &str| {
        format!("HTTP/1.1 200 OK\r\nDate: {DATE}\r\nContent-Type: text/plain\r\n{fields}\r\n{body}")
    };
    let kept = with("Content-Length: 2\r\n", "ok");
    let closed = with("Content-Length: 2\r\nConnection: close\r\n", "ok");
    let kept_1_0 = with("Content-Length: 2\r\nConnection: keep-alive\r\n", "ok");
    for (text, expected) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", &kept),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: TE, Close\r\n\r\n",
            &closed,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
            &kept,
        ),
        ("GET / HTTP/1.0\r\n\r\n", &closed),
        (
            "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
            &kept_1_0,
        ),
        ("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", &with("", "")),
    ] {
        assert_eq!(reply(text), *expected, "{text}");
    }
}

#[test]
fn a_client_that_waits_is_told_to_go_on() {
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let pieces = [&head[..], b"hi"];
    let found = outcome(Limits::default(), pieces.into_iter(), Answers::AtBodyEnd);
    let reply = String::from_utf8(found.reply).expect("text");
    assert!(
        reply.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"),
        "{reply}"
    );
    // One that does not wait need not be told.
    let found = outcome(
        Limits::default(),
        std::iter::once(&pieces.concat()[..]),
        Answers::AtBodyEnd,
    );
    assert_eq!(found.reply.windows(4).filter(|w| w == b" 100").count(), 0);
    // One that is refused may send the body or not: the connection cannot go on.
    let found = outcome(
        Limits::default(),
        std::iter::once(&head[..]),
        Answers::AtHead,
    );
    assert_eq!(found.seen.last(), Some(&Seen::Finished(After::Close)));
}

#[test]
fn a_body_that_nobody_wanted_is_read_up_to_a_limit() {
    let next = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
    let of = |bytes: usize| {
        let body = "x".repeat(bytes);
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {bytes}\r\n\r\n{body}{next}")
    };
    let chunked = |bytes: usize| {
        let body = "x".repeat(bytes);
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
             {bytes:x}\r\n{body}\r\n0\r\n\r\n{next}"
        )
    };
    let sizes = [1000];
    let served = |text: String| {
        let limits = Limits::default();
        let outcome = same_for_all_splits(limits, text.as_bytes(), &sizes, Answers::AtHead);
        responses(&outcome.reply)
    };
    assert_eq!(served(of(65_536)), 2);
    assert_eq!(served(of(65_537)), 1);
    assert_eq!(served(chunked(65_536)), 2);
    assert_eq!(served(chunked(65_537)), 1);
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![1..4_usize, 1..30_usize, 1..3000_usize], 1..20)
}

fn answers() -> impl Strategy<Value = Answers> {
    select(vec![Answers::AtHead, Answers::AtBodyEnd])
}

/// Small, so that chance reaches them.
const SMALL: Limits = Limits {
    head_bytes: 200,
    fields: 4,
    unwanted_bytes: 20,
    proxy_header_bytes: 100,
};

/// A line or a piece of one that is as likely to fit as not.
fn word() -> impl Strategy<Value = Vec<u8>> {
    let known = select(vec![
        "GET / HTTP/1.1\r\n",
        "POST /a HTTP/1.1\r\n",
        "HEAD / HTTP/1.0\r\n",
        "Host: a\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Expect: 100-continue\r\n",
        "Connection: close\r\n",
        "\r\n",
        "\n",
        "\r",
        "hello",
        "5\r\nhello\r\n",
        "0\r\n\r\n",
        " ",
    ]);
    prop_oneof![
        8 => known.prop_map(|text| text.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..12),
    ]
}

proptest! {
    #[test]
    fn arbitrary_bytes_mean_the_same_however_they_are_split(
        wire in vec(any::<u8>(), 0..300), sizes in sizes(), answers in answers(),
    ) {
        same_for_all_splits(SMALL, &wire, &sizes, answers);
    }

    #[test]
    fn arbitrary_lines_mean_the_same_however_they_are_split(
        words in vec(word(), 0..30), sizes in sizes(), answers in answers(),
    ) {
        let found = same_for_all_splits(SMALL, &words.concat(), &sizes, answers);
        let requests = (found.seen.iter()).filter(|seen| matches!(seen, Seen::Request(_)));
        prop_assert!(responses(&found.reply) <= requests.count() + 1);
    }

    #[test]
    fn a_request_that_loses_or_changes_a_byte_never_panics(
        which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(),
        to in any::<Option<u8>>(), sizes in sizes(), answers in answers(),
    ) {
        let mut wire = GOOD[which.index(GOOD.len())].as_bytes().to_vec();
        let at = at.index(wire.len());
        match to {
            Some(byte) => wire[at] = byte,
            None => { wire.remove(at); }
        }
        same_for_all_splits(Limits::default(), &wire.repeat(2), &sizes, answers);
    }
}

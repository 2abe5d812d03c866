//! The requests of the probe, and what each brought.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::super::super::endpoint::Endpoint;
use super::super::connection::{Connection, Unreachable};
use super::super::exchange::{Exchange, Step, request};
use super::super::message::{Expect, Head};
use super::super::observation::StreamSeen;
use super::super::observe::{lock, read_until};

/// How long a short question waits for a head, and then for some of the body.
const HEAD_WAIT: Duration = Duration::from_secs(5);
const BODY_WAIT: Duration = Duration::from_millis(1500);

/// What is ready at once arrives within this time after the first bytes.
const BURST: Duration = Duration::from_millis(300);

/// The origin that no site has (RFC 2606 §2).
pub(super) const ORIGIN: &str = "https://sse-doctor.invalid";

/// What was asked, and what came.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// The stream, read for some time.
    pub(super) stream: StreamSeen,
    /// HEAD, and the bytes that followed the head.
    pub(super) head: Option<Head>,
    pub(super) bytes_after_head: usize,
    /// With the id of the first event, if there was one.
    pub(super) resumed: Option<StreamSeen>,
    /// With a Last-Event-ID that nobody sent: words, UTF-8, 2000 bytes.
    pub(super) unknown_id: StreamSeen,
    pub(super) utf8_id: StreamSeen,
    pub(super) long_id: StreamSeen,
    /// As a page of another origin.
    pub(super) foreign: StreamSeen,
    /// Without any Accept field; with one that excludes an event stream.
    pub(super) no_accept: StreamSeen,
    pub(super) other_accept: StreamSeen,
    /// With a query that means nothing.
    pub(super) query: StreamSeen,
    /// Accepting compression.
    pub(super) compressed: StreamSeen,
}

/// Asks all questions, one after the other.
pub(super) fn ask(endpoint: &Endpoint, time: Duration) -> Result<Answers, Unreachable> {
    const STREAM: (&str, &str) = ("Accept", "text/event-stream");
    let mut answers = Answers {
        stream: get(endpoint, &[STREAM, ("Cache-Control", "no-store")], time)?,
        ..Answers::default()
    };
    (answers.head, answers.bytes_after_head) = head(endpoint)?;
    let first = answers
        .stream
        .record
        .events
        .iter()
        .find(|event| !event.id.is_empty());
    let id = first.map(|event| event.id.to_string());
    if let Some(id) = id.filter(|id| id.bytes().all(|byte| byte >= b' ' && byte != 0x7f)) {
        let mut resumed = get(endpoint, &[STREAM, ("Last-Event-ID", &id)], BODY_WAIT)?;
        resumed.sent_id = Some(id);
        answers.resumed = Some(resumed);
    }
    let with_id = |id: &str| get(endpoint, &[STREAM, ("Last-Event-ID", id)], BODY_WAIT);
    answers.unknown_id = with_id("sse-doctor-was-here")?;
    answers.utf8_id = with_id("\u{17e}lu\u{165}ou\u{10d}k\u{fd} k\u{16f}\u{148} \u{1f40e}")?;
    answers.long_id = with_id(&"x".repeat(2000))?;
    answers.foreign = get(endpoint, &[STREAM, ("Origin", ORIGIN)], BODY_WAIT)?;
    answers.no_accept = get(endpoint, &[], BODY_WAIT)?;
    answers.other_accept = get(endpoint, &[("Accept", "image/png")], BODY_WAIT)?;
    answers.compressed = get(
        endpoint,
        &[STREAM, ("Accept-Encoding", "gzip, deflate, br")],
        BODY_WAIT,
    )?;
    let mut with_query = Endpoint::to(&query_of(endpoint)).unwrap_or_else(|_| same(endpoint));
    with_query.copy_fields(endpoint);
    answers.query = get(&with_query, &[STREAM], BODY_WAIT)?;
    Ok(answers)
}

fn same(endpoint: &Endpoint) -> Endpoint {
    Endpoint::to(&endpoint.url.to_string()).expect("it was a URL before")
}

fn query_of(endpoint: &Endpoint) -> String {
    let url = endpoint.url.to_string();
    let mark = if url.contains('?') { '&' } else { '?' };
    format!("{url}{mark}sse-doctor=1")
}

/// One GET, read for `time` after its head.
fn get(
    endpoint: &Endpoint,
    fields: &[(&str, &str)],
    time: Duration,
) -> Result<StreamSeen, Unreachable> {
    let connection = Connection::open(&endpoint.url, &["http/1.1"])?;
    let text = request("GET", &endpoint.url, endpoint, fields, b"");
    let mut exchange = Exchange::begin(connection, &text, Expect::Body);
    let seen = Mutex::new(StreamSeen::default());
    let started = Instant::now();
    let until = started + HEAD_WAIT;
    // The time of the head, while the response goes on.
    let head_after = || {
        let seen = lock(&seen);
        (seen.head.is_some() && seen.end.is_none()).then_some(seen.head_after)
    };
    let has_ended = || lock(&seen).end.is_some();
    // Slices, so that the time of the body begins at the head.
    while head_after().is_none() && !has_ended() && Instant::now() < until {
        let slice = Instant::now() + Duration::from_millis(50);
        read_until(&mut exchange, started, slice.min(until), &seen);
    }
    if let Some(after) = head_after() {
        let until = started + after + time;
        // A short question is answered when the first bytes, and what comes with them, are there.
        let is_answered = || {
            let seen = lock(&seen);
            let first = seen.record.pieces.first().map(|piece| piece.at);
            time == BODY_WAIT && first.is_some_and(|at| started.elapsed() > at + BURST)
        };
        while Instant::now() < until && !has_ended() && !is_answered() {
            let slice = Instant::now() + Duration::from_millis(50);
            read_until(&mut exchange, started, slice.min(until), &seen);
        }
    }
    Ok(seen.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// HEAD, and how many bytes follow.
fn head(endpoint: &Endpoint) -> Result<(Option<Head>, usize), Unreachable> {
    let connection = Connection::open(&endpoint.url, &["http/1.1"])?;
    let fields = [("Accept", "text/event-stream"), ("Connection", "close")];
    let text = request("HEAD", &endpoint.url, endpoint, &fields, b"");
    // Read as if a body followed, to see one.
    let mut exchange = Exchange::begin(connection, &text, Expect::Body);
    let mut deadline = Instant::now() + HEAD_WAIT;
    let mut bytes = 0;
    loop {
        match exchange.step(deadline) {
            Step::Head => deadline = Instant::now() + BODY_WAIT,
            Step::Bytes(more) => bytes += more.len(),
            Step::Late | Step::Ended(_) => return Ok((exchange.head.take(), bytes)),
        }
    }
}

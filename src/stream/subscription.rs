//! A subscription: a source, a cursor in it, and what its client is owed.

use std::rc::Rc;
use std::time::Duration;

use crate::event::{Batch, EventId, Gap};
use crate::request::{Heartbeat, Request, Settings};
use crate::source::{Changes, Next, Now, Source};

/// What a stream promises its client, fixed when it opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamParams {
    /// What is sent as `retry:`, in milliseconds, jitter included.
    pub retry_ms: u64,
    /// A sign of life after this much silence.
    pub heartbeat: Duration,
    /// Which one.
    pub heartbeat_form: Heartbeat,
    /// The stream ends at the first event boundary after this, jitter included.
    pub max_age: Option<Duration>,
    /// Bytes of comment that come first, for clients that ask for them.
    pub preamble_bytes: u16,
    /// The stream ends after the event with which it reaches so many bytes.
    pub size_limit_bytes: Option<u64>,
    /// Whether the gateway passes on what is written.
    pub delivery: Delivery,
}

/// Whether what is written reaches the client at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It does.
    Immediate,
    /// It is held back until the stream ends (Apache with an nph program over
    /// HTTP/2): the stream ends as soon as it has something to say, and after one
    /// heartbeat when it has nothing, so that the client polls.
    HeldBack,
}

impl StreamParams {
    /// The shortest reconnection time that is ever sent.
    const RETRY_MIN_MS: u64 = 1_000;

    /// The terms of a stream. `jitter` is a random number from 0 to 1: reconnections
    /// of many clients must not fall on one moment.
    #[must_use]
    pub fn new(request: &Request, settings: &Settings, delivery: Delivery, jitter: f64) -> Self {
        let jitter = jitter.clamp(0.0, 1.0);
        let retry_ms = settings.retry.mul_f64(0.75 + 0.75 * jitter).as_millis() as u64;
        Self {
            retry_ms: retry_ms.max(Self::RETRY_MIN_MS),
            heartbeat: settings.heartbeat,
            heartbeat_form: request.query.heartbeat,
            // Never later than what is set: the limit may be that of a gateway.
            max_age: settings.max_age.map(|age| age.mul_f64(1.0 - 0.1 * jitter)),
            // It is 4096 at most.
            preamble_bytes: u16::try_from(request.query.preamble_bytes).unwrap_or(u16::MAX),
            size_limit_bytes: request.query.size_limit_bytes,
            delivery,
        }
    }
}

/// Why a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The source said its last word, `close`.
    Finished,
    /// It reached its maximum age.
    Aged,
    /// It reached the size that its client asked for.
    Full,
    /// The gateway holds output back, and there is something to deliver.
    HeldBack,
}

/// What to do after a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Send the batch and poll again at once.
    More,
    /// Send the batch and poll again at this moment, or when something outside
    /// changes.
    Until(Duration),
    /// Send the batch and end.
    End(Ended),
}

/// How long a stream may have had nothing to read before its client is told. A rotation
/// leaves no file until the daemon reopens it, mostly within a second or two.
const NOTICE_AFTER: Duration = Duration::from_secs(5);

/// One client's stream.
///
/// Poll it only when all that it appended before has been sent: then a slow reader
/// costs a place in the source, and no memory.
pub struct Subscription {
    source: Box<dyn Source>,
    terms: StreamParams,
    opened_at: Duration,
    /// When bytes were sent last; heartbeats count from here.
    last_sent_at: Duration,
    /// When the client was sent an event last, heartbeats included.
    last_event_at: Duration,
    /// When the client knew the place last.
    placed_at: Duration,
    /// When to tell the client that there is nothing to read, if that is still so; `None`
    /// once it was told or there was something.
    notice_at: Option<Duration>,
    sent_bytes: u64,
    /// What to say first, until it has been said.
    opening: Option<Opening>,
}

enum Opening {
    /// What every stream begins with, and a gap if there is one.
    First { gap: Option<Gap> },
    /// A stream that has been open for a while: something of it is lost.
    Again { gap: Gap },
}

impl Subscription {
    /// A stream that opens at `now`, and begins with `gap` if there is one.
    #[must_use]
    pub fn new(source: Box<dyn Source>, gap: Option<Gap>, terms: StreamParams, now: Now) -> Self {
        let notice_after = match terms.delivery {
            Delivery::Immediate => NOTICE_AFTER,
            // Its client hears nothing before the stream ends.
            Delivery::HeldBack => terms.heartbeat,
        };
        Self {
            source,
            terms,
            opened_at: now.monotonic,
            last_sent_at: now.monotonic,
            last_event_at: now.monotonic,
            placed_at: now.monotonic,
            notice_at: Some(now.monotonic + notice_after),
            sent_bytes: 0,
            opening: Some(Opening::First { gap }),
        }
    }

    /// A stream that goes on with another source, at the place that its client knows.
    #[must_use]
    pub fn resumed(
        source: Box<dyn Source>,
        gap: Option<Gap>,
        terms: StreamParams,
        opened_at: Duration,
        now: Now,
    ) -> Self {
        Self {
            opened_at,
            opening: gap.map(|gap| Opening::Again { gap }),
            // Its client has been connected, and a file that is gone will come again.
            notice_at: None,
            ..Self::new(source, None, terms, now)
        }
    }

    /// Where the source is.
    #[must_use]
    pub fn position(&self) -> Option<EventId<'static>> {
        self.source.position()
    }

    /// Whether its source can: see [`Source::can_go_back`].
    #[must_use]
    pub fn can_go_back(&self) -> bool {
        self.source.can_go_back()
    }

    /// When its client was sent an event last.
    pub(super) fn last_event_at(&self) -> Duration {
        self.last_event_at
    }

    /// When to tell its client that there is nothing to read, if that is still so.
    pub(super) fn notice_at(&self) -> Option<Duration> {
        self.notice_at
    }

    /// The same stream for a client that was sent an event last at this moment.
    #[must_use]
    pub(super) fn with_last_event_at(mut self, last_event_at: Duration) -> Self {
        self.last_event_at = last_event_at;
        self
    }

    /// When a sign of life is due.
    fn silent_at(&self) -> Duration {
        let since = match self.terms.heartbeat_form {
            Heartbeat::Comment => self.last_sent_at,
            // Its page sees events only.
            Heartbeat::Event => self.last_event_at,
        };
        since + self.terms.heartbeat
    }

    /// How changes of what it reads are noticed: see [`Source::changes`].
    #[must_use]
    pub fn changes(&self) -> Option<Rc<dyn Changes>> {
        self.source.changes()
    }

    /// Whether a client decides how much a poll costs: see [`Source::is_costly`].
    #[must_use]
    pub fn is_costly(&self) -> bool {
        self.source.is_costly()
    }

    /// Its source, for others to share.
    #[must_use]
    pub fn into_source(self) -> Box<dyn Source> {
        self.source
    }

    /// What it has promised.
    #[must_use]
    pub fn terms(&self) -> StreamParams {
        self.terms
    }

    /// Appends what is due at `now` to `out`, which must hold nothing but what leaves
    /// before it, such as a response head.
    pub fn poll(&mut self, now: Now, out: &mut Batch) -> Turn {
        let opening = self.opening.take();
        let is_opening = matches!(opening, Some(Opening::First { .. }));
        if let Some(opening) = opening {
            self.open(opening, now, out);
        }
        if let Some(limit) = self.terms.size_limit_bytes {
            let used = self.sent_bytes + out.as_bytes().len() as u64;
            out.limit(limit.saturating_sub(used));
        }
        let (bytes_before, events_before) = (out.as_bytes().len(), out.events());
        let next = self.source.poll(now, out);
        let brought_nothing = out.as_bytes().len() == bytes_before;
        let is_silent = now.monotonic >= self.silent_at()
            && (brought_nothing || self.terms.heartbeat_form == Heartbeat::Event);
        let misplaced_at = self.placed_at + self.terms.heartbeat;
        if out.events() > events_before {
            self.placed_at = now.monotonic;
            self.last_event_at = now.monotonic;
        } else if is_silent {
            self.beat(now, out);
            self.placed_at = now.monotonic;
        } else if (is_opening && out.events() == 0)
            || (!brought_nothing && now.monotonic >= misplaced_at)
        {
            // Comments break the silence, but tell no place.
            self.move_id(out);
            self.placed_at = now.monotonic;
        }
        self.notice(now, out);
        let turn = self.turn(now, next, out);
        if let Turn::End(Ended::Aged | Ended::HeldBack) = turn {
            self.move_id(out);
        }
        turn
    }

    /// Tells that the batch has been sent, `bytes` long, at `now`.
    pub fn sent(&mut self, now: Now, bytes: usize) {
        self.last_sent_at = now.monotonic;
        self.sent_bytes += bytes as u64;
    }

    /// It has been quiet for a while: memory that a burst took is given back.
    pub fn rest(&mut self) {
        self.source.rest();
    }

    fn open(&mut self, opening: Opening, now: Now, out: &mut Batch) {
        let gap = match opening {
            Opening::First { gap } => {
                if self.terms.preamble_bytes > 0 {
                    out.padding(self.terms.preamble_bytes.into());
                }
                out.retry(self.terms.retry_ms);
                out.comment(b"sse-cgi");
                if self.terms.heartbeat_form == Heartbeat::Event {
                    // The page learns from the first one that there will be others.
                    out.heartbeat(self.terms.heartbeat);
                    self.last_event_at = now.monotonic;
                }
                gap
            }
            Opening::Again { gap } => Some(gap),
        };
        if let Some(gap) = gap {
            out.gap(&gap, self.source.position());
        }
    }

    /// Silence has lasted long enough.
    fn beat(&mut self, now: Now, out: &mut Batch) {
        // Records that were passed over have moved the place: the client learns it, and
        // will not have them looked through again when it returns.
        let has_moved = self.move_id(out);
        match self.terms.heartbeat_form {
            Heartbeat::Comment if has_moved => {}
            Heartbeat::Comment => out.comment(b""),
            Heartbeat::Event => {
                out.heartbeat(self.terms.heartbeat);
                self.last_event_at = now.monotonic;
            }
        }
    }

    /// Tells the client once that there is nothing to read, if that has lasted.
    fn notice(&mut self, now: Now, out: &mut Batch) {
        let Some(at) = self.notice_at else { return };
        let reason = self.source.unavailable();
        if reason.is_some() && now.monotonic < at {
            return;
        }
        self.notice_at = None;
        if let Some(reason) = reason {
            out.unavailable(reason);
            self.last_event_at = now.monotonic;
        }
    }

    /// Sends the place as an event of its own, if the client does not have it already.
    fn move_id(&self, out: &mut Batch) -> bool {
        let unknown = |id: &EventId<'_>| !out.ends_at(id);
        let Some(id) = self.source.position().filter(unknown) else {
            return false;
        };
        out.place(&id);
        true
    }

    fn turn(&self, now: Now, next: Next, out: &Batch) -> Turn {
        if next == Next::End {
            return Turn::End(Ended::Finished);
        }
        let aged_at = self.terms.max_age.map(|age| self.opened_at + age);
        if aged_at.is_some_and(|at| now.monotonic >= at) {
            return Turn::End(Ended::Aged);
        }
        let bytes = self.sent_bytes + out.as_bytes().len() as u64;
        let full = self
            .terms
            .size_limit_bytes
            .is_some_and(|limit| bytes >= limit);
        // A limit smaller than the first comment must not end a stream that has said
        // nothing: its client would come back for nothing for ever.
        if full && out.events() > 0 {
            return Turn::End(Ended::Full);
        }
        if next == Next::More {
            return Turn::More;
        }
        let silent_at = self.silent_at();
        if self.terms.delivery == Delivery::HeldBack && self.source.can_go_back() {
            let waited = now.monotonic >= self.opened_at + self.terms.heartbeat;
            if out.events() > 0 || waited {
                return Turn::End(Ended::HeldBack);
            }
        }
        // What is in the batch is about to be sent, and silence counts from then.
        let silent_at = if out.is_empty() || self.terms.heartbeat_form == Heartbeat::Event {
            silent_at
        } else {
            now.monotonic + self.terms.heartbeat
        };
        let source_at = match next {
            Next::At(at) => Some(at),
            _ => None,
        };
        let wake = [source_at, aged_at, self.notice_at]
            .into_iter()
            .flatten()
            .fold(silent_at, Duration::min);
        Turn::Until(wake)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, Reason};

    /// Says each of its events at its second, then waits or ends.
    struct Scripted {
        events: Vec<(u64, &'static str)>,
        position: u64,
        ends: bool,
        missing: bool,
    }

    impl Source for Scripted {
        fn poll(&mut self, now: Now, out: &mut Batch) -> Next {
            while let Some(&(at, data)) = self.events.first() {
                if now.monotonic < Duration::from_secs(at) {
                    return Next::At(Duration::from_secs(at));
                }
                self.events.remove(0);
                self.position += 1;
                if data != "filtered" {
                    out.event(&Event {
                        id: self.position(),
                        name: None,
                        data: data.as_bytes(),
                    });
                }
            }
            if self.ends {
                out.close(self.position());
                return Next::End;
            }
            Next::Change
        }

        fn unavailable(&self) -> Option<crate::event::Unavailable> {
            let is_missing = self.missing && self.position == 0;
            is_missing.then_some(crate::event::Unavailable::Missing)
        }

        fn position(&self) -> Option<EventId<'static>> {
            EventId::new(self.position.to_string()).ok()
        }
    }

    const TERMS: StreamParams = StreamParams {
        retry_ms: 3000,
        heartbeat: Duration::from_secs(15),
        heartbeat_form: Heartbeat::Comment,
        max_age: None,
        preamble_bytes: 0,
        size_limit_bytes: None,
        delivery: Delivery::Immediate,
    };

    /// Runs a stream on a fake clock for at most 100 s and writes down what left when.
    fn check(
        terms: StreamParams,
        gap: Option<Gap>,
        source: Scripted,
        expected: &[(u64, &str)],
        end: &str,
    ) {
        let at = |s: u64| Now {
            monotonic: Duration::from_secs(s),
            unix_ms: s * 1000,
        };
        let mut subscription = Subscription::new(Box::new(source), gap, terms, at(0));
        let (mut got, mut out, mut second) = (Vec::new(), Batch::new(), 0);
        let ended = loop {
            let turn = subscription.poll(at(second), &mut out);
            if !out.is_empty() {
                got.push((second, String::from_utf8(out.as_bytes().to_vec()).unwrap()));
                subscription.sent(at(second), out.as_bytes().len());
                out.clear();
            }
            match turn {
                Turn::End(ended) => break format!("{second} {ended:?}"),
                Turn::Until(wake) if wake > Duration::from_secs(100) => break "runs".into(),
                Turn::Until(wake) => {
                    assert!(
                        wake > Duration::from_secs(second),
                        "a wait that does not wait"
                    );
                    second = wake.as_secs();
                }
                Turn::More => {}
            }
        };
        let got: Vec<(u64, &str)> = got.iter().map(|(s, t)| (*s, t.as_str())).collect();
        assert_eq!((&got[..], ended.as_str()), (expected, end));
    }

    fn says(events: &[(u64, &'static str)]) -> Scripted {
        Scripted {
            events: events.to_vec(),
            position: 0,
            ends: false,
            missing: false,
        }
    }

    const OPENING: &str = "retry: 3000\n: sse-cgi\n";

    #[test]
    fn a_stream_opens_with_retry_and_comment_and_then_its_events() {
        let source = Scripted {
            events: vec![(0, "a")],
            position: 0,
            ends: true,
            missing: false,
        };
        let expected = format!("{OPENING}id: 1\ndata: a\n\nid: 1\nevent: close\ndata:\n\n");
        check(TERMS, None, source, &[(0, &expected)], "0 Finished");
    }

    #[test]
    fn a_stream_with_nothing_to_send_opens_with_its_place() {
        let opening = format!("{OPENING}id: 0\nevent: place\ndata: {{}}\n\n");
        let terms = StreamParams {
            max_age: Some(Duration::from_secs(10)),
            ..TERMS
        };
        check(terms, None, says(&[]), &[(0, &opening)], "10 Aged");
    }

    #[test]
    fn a_heartbeat_comes_after_silence_and_counts_from_the_last_byte() {
        let opening = format!("{OPENING}id: 0\nevent: place\ndata: {{}}\n\n");
        let terms = StreamParams {
            max_age: Some(Duration::from_secs(40)),
            ..TERMS
        };
        let expected = [
            (0, opening.as_str()),
            (10, "id: 1\ndata: a\n\n"),
            (25, ":\n"),
            (40, ":\n"),
        ];
        check(terms, None, says(&[(10, "a")]), &expected, "40 Aged");
    }

    #[test]
    fn a_page_that_asked_for_it_sees_a_heartbeat_after_silence_without_events() {
        let beat = "event: heartbeat\ndata: {\"interval_ms\":15000}\n\n";
        let opening = format!("{OPENING}{beat}id: 0\nevent: place\ndata: {{}}\n\n");
        let terms = StreamParams {
            heartbeat_form: Heartbeat::Event,
            max_age: Some(Duration::from_secs(51)),
            ..TERMS
        };
        let moved = format!("id: 2\nevent: place\ndata: {{}}\n\n{beat}");
        // The place that was passed over would break the silence for a comment.
        let expected = [
            (0, opening.as_str()),
            (10, "id: 1\ndata: a\n\n"),
            (25, &moved),
            (40, beat),
        ];
        let source = says(&[(10, "a"), (20, "filtered")]);
        check(terms, None, source, &expected, "51 Aged");
    }

    #[test]
    fn a_file_that_stays_missing_is_reported_once_and_a_rotation_is_not() {
        let opening = format!("{OPENING}id: 0\nevent: place\ndata: {{}}\n\n");
        let notice = "event: unavailable\ndata: {\"reason\":\"the file does not exist yet\"}\n\n";
        let terms = StreamParams {
            max_age: Some(Duration::from_secs(10)),
            ..TERMS
        };
        let missing = |events: &[(u64, &'static str)]| Scripted {
            missing: true,
            ..says(events)
        };
        let event = (8, "id: 1\ndata: a\n\n");
        let expected = [(0, opening.as_str()), (5, notice), event];
        check(terms, None, missing(&[(8, "a")]), &expected, "10 Aged");
        let expected = [(0, opening.as_str()), (1, "id: 1\ndata: a\n\n")];
        check(terms, None, missing(&[(1, "a")]), &expected, "10 Aged");
        // A client that polls is told at the end of its poll.
        let held = StreamParams {
            delivery: Delivery::HeldBack,
            ..TERMS
        };
        let last = format!(":\n{notice}");
        let expected = [(0, opening.as_str()), (15, &last)];
        check(held, None, missing(&[]), &expected, "15 HeldBack");
    }

    #[test]
    fn what_was_filtered_moves_the_id_at_the_next_heartbeat() {
        let opening = format!("{OPENING}id: 0\nevent: place\ndata: {{}}\n\n");
        let terms = StreamParams {
            max_age: Some(Duration::from_secs(31)),
            ..TERMS
        };
        let expected = [
            (0, opening.as_str()),
            (15, "id: 1\nevent: place\ndata: {}\n\n"),
            (30, ":\n"),
        ];
        check(terms, None, says(&[(3, "filtered")]), &expected, "31 Aged");
    }

    #[test]
    fn a_gap_comes_first_with_the_place_where_the_stream_goes_on() {
        let opening = format!(
            "{OPENING}id: 0\nevent: gap\ndata: {{\"reason\":\"bad-id\"}}\n\nid: 1\ndata: a\n\n"
        );
        let terms = StreamParams {
            max_age: Some(Duration::from_secs(10)),
            ..TERMS
        };
        check(
            terms,
            Some(Gap::new(Reason::BadId)),
            says(&[(0, "a")]),
            &[(0, &opening)],
            "10 Aged",
        );
    }

    #[test]
    fn a_held_back_stream_ends_when_it_has_something_to_say_or_after_a_heartbeat() {
        let held = StreamParams {
            delivery: Delivery::HeldBack,
            ..TERMS
        };
        let both = format!("{OPENING}id: 1\ndata: a\n\nid: 2\ndata: b\n\n");
        check(
            held,
            None,
            says(&[(0, "a"), (0, "b"), (9, "c")]),
            &[(0, &both)],
            "0 HeldBack",
        );
        let opening = format!("{OPENING}id: 0\nevent: place\ndata: {{}}\n\n");
        let later = [(0, opening.as_str()), (4, "id: 1\ndata: a\n\n")];
        check(held, None, says(&[(4, "a")]), &later, "4 HeldBack");
        check(
            held,
            None,
            says(&[]),
            &[(0, &opening), (15, ":\n")],
            "15 HeldBack",
        );
    }

    #[test]
    fn a_client_s_size_limit_ends_the_stream_at_an_event_boundary() {
        let limited = StreamParams {
            size_limit_bytes: Some(30),
            ..TERMS
        };
        let opening = format!("{OPENING}id: 0\nevent: place\ndata: {{}}\n\n");
        let expected = [(0, opening.as_str()), (1, "id: 1\ndata: a\n\n")];
        check(
            limited,
            None,
            says(&[(1, "a"), (2, "b")]),
            &expected,
            "1 Full",
        );
        let padded = StreamParams {
            preamble_bytes: 4,
            size_limit_bytes: Some(0),
            ..TERMS
        };
        let opening = format!(":  \n{OPENING}id: 1\ndata: a\n\n");
        check(padded, None, says(&[(0, "a")]), &[(0, &opening)], "0 Full");
    }

    #[test]
    fn terms_are_jittered_within_their_bounds() {
        use crate::request::{Lifetime, MetaVariables, Request, Settings};
        let meta = MetaVariables::of(&[("SSE_RETRY", "1s"), ("SSE_MAX_AGE", "100s")]);
        let settings = Settings::parse(&meta, Lifetime::Hour).unwrap().0;
        let request = Request::from_meta(&meta);
        let terms = |jitter| StreamParams::new(&request, &settings, Delivery::Immediate, jitter);
        assert_eq!((terms(0.0).retry_ms, terms(1.0).retry_ms), (1000, 1500));
        assert_eq!(terms(0.0).max_age, Some(Duration::from_secs(100)));
        assert_eq!(terms(1.0).max_age, Some(Duration::from_secs(90)));
    }
}

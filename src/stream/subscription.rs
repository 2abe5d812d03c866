//! Subscription: a source and what a stream adds to it: the opening, heartbeats and the end.

use std::rc::Rc;
use std::time::Duration;

use super::Expiry;
use crate::event::{Batch, EventId, Gap};
use crate::request::{Admission, Heartbeat, Request, Settings};
use crate::source::{Changes, Next, Now, Source};

/// The parameters of a stream, fixed when it opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamParams {
    /// The value of `retry:`, in milliseconds, including jitter.
    pub retry_ms: u32,
    /// A heartbeat is sent after a silence of this length.
    pub heartbeat: Duration,
    /// The form of the heartbeat.
    pub heartbeat_form: Heartbeat,
    /// The stream ends at the first event boundary after this time, including jitter.
    pub max_age: Option<Duration>,
    /// The length of the comment at the beginning, for clients that ask for one.
    pub preamble_bytes: u16,
    /// The stream ends after the event with which it reaches this many bytes. (A small type, as
    /// every subscriber contains it.)
    pub size_limit_bytes: Option<u32>,
    /// Whether the gateway forwards output at once.
    pub delivery: Delivery,
    /// When the client's access ends, if it ends.
    pub expiry: Option<Expiry>,
}

/// Whether output reaches the client at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It does.
    Immediate,
    /// The gateway holds output back until the stream ends (Apache with an nph program over
    /// HTTP/2). So the stream ends as soon as it has sent an event, or after one heartbeat
    /// interval without any, and the client polls.
    HeldBack,
}

impl StreamParams {
    /// The shortest reconnection time that is sent.
    const RETRY_MIN_MS: u32 = 1_000;

    /// The parameters of a stream. `jitter` is a random number from 0 to 1: many clients must
    /// not reconnect at the same moment.
    #[must_use]
    pub fn new(request: &Request, settings: &Settings, delivery: Delivery, jitter: f64) -> Self {
        let jitter = jitter.clamp(0.0, 1.0);
        let retry_ms = settings.retry.mul_f64(0.75 + 0.75 * jitter).as_millis();
        let retry_ms = u32::try_from(retry_ms).unwrap_or(u32::MAX);
        Self {
            retry_ms: retry_ms.max(Self::RETRY_MIN_MS),
            heartbeat: settings.heartbeat,
            heartbeat_form: request.query.heartbeat,
            // Never later than the setting says: it may be the time limit of a gateway.
            max_age: settings.max_age.map(|age| age.mul_f64(1.0 - 0.1 * jitter)),
            // It is 4096 at most.
            preamble_bytes: u16::try_from(request.query.preamble_bytes).unwrap_or(u16::MAX),
            size_limit_bytes: (request.query.size_limit_bytes)
                .map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX)),
            delivery,
            expiry: None,
        }
    }

    /// The same for a client whose access ends. `jitter` is as of [`StreamParams::new`].
    #[must_use]
    pub fn ending(self, admission: Option<Admission>, jitter: f64, now: Now) -> Self {
        let expiry = admission
            .map(|admission| Expiry::new(admission.until_unix_s, self.delivery, jitter, now));
        Self { expiry, ..self }
    }

    /// Tells a client once, in time, that its access ends. Returns whether that was now.
    pub(super) fn tell_expiry(&mut self, now: Now, out: &mut Batch) -> bool {
        let Some(expiry) = self.expiry.as_mut().filter(|one| one.is_to_be_told(now)) else {
            return false;
        };
        let (left, retry_ms) = expiry.tell(self.retry_ms.into(), now);
        out.expired(left, retry_ms);
        true
    }

    /// Whether the client's access has ended.
    pub(super) fn has_expired(&self, now: Now) -> bool {
        self.expiry.is_some_and(|expiry| expiry.is_over(now))
    }
}

/// Why a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The source has ended with the event `close`.
    Finished,
    /// It reached its maximum age.
    Aged,
    /// Its client's access has ended.
    Expired,
    /// It reached the size limit that its client asked for.
    Full,
    /// The gateway holds output back until the end, and there is an event to deliver.
    HeldBack,
}

/// What the caller does after a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Send the batch and poll again at once.
    More,
    /// Send the batch and poll again at this time, or when the source reports a change.
    Until(Duration),
    /// Send the batch and end.
    End(Ended),
}

/// How long a stream may have nothing to read before its client is told. After a rotation the
/// file is missing until the daemon reopens it, mostly for a second or two.
const NOTICE_AFTER: Duration = Duration::from_secs(5);

/// One client's stream.
///
/// Poll it only when everything that it appended before has been sent: then a slow reader costs
/// a position in the source, and no memory.
pub struct Subscription {
    source: Box<dyn Source>,
    params: StreamParams,
    opened_at: Duration,
    /// When bytes were sent last; heartbeats count from here.
    last_sent_at: Duration,
    /// When the client was sent an event last, heartbeats included.
    last_event_at: Duration,
    /// When the client had received the current position last.
    position_sent_at: Duration,
    /// When to tell the client that there is nothing to read, if that is still the case; `None`
    /// once it was told or there was something to read.
    notice_at: Option<Duration>,
    sent_bytes: u64,
    /// The beginning of the stream, until it has been sent.
    opening: Option<Start>,
}

enum Start {
    /// The first lines of every stream, and a gap if there is one.
    New { gap: Option<Gap> },
    /// A gap in a stream that has been open for a while.
    Resumed { gap: Gap },
}

impl Subscription {
    /// A stream that opens at `now`, and begins with `gap` if there is one.
    #[must_use]
    pub fn new(source: Box<dyn Source>, gap: Option<Gap>, params: StreamParams, now: Now) -> Self {
        let notice_after = match params.delivery {
            Delivery::Immediate => NOTICE_AFTER,
            // Its client receives nothing before the stream ends.
            Delivery::HeldBack => params.heartbeat,
        };
        Self {
            source,
            params,
            opened_at: now.monotonic,
            last_sent_at: now.monotonic,
            last_event_at: now.monotonic,
            position_sent_at: now.monotonic,
            notice_at: Some(now.monotonic + notice_after),
            sent_bytes: 0,
            opening: Some(Start::New { gap }),
        }
    }

    /// A stream that continues with another source, at the position that its client has.
    #[must_use]
    pub fn resumed(
        source: Box<dyn Source>,
        gap: Option<Gap>,
        params: StreamParams,
        opened_at: Duration,
        now: Now,
    ) -> Self {
        Self {
            opened_at,
            opening: gap.map(|gap| Start::Resumed { gap }),
            // Its client has been connected, and a missing file is expected to return.
            notice_at: None,
            ..Self::new(source, None, params, now)
        }
    }

    /// The position of the source.
    #[must_use]
    pub fn position(&self) -> Option<EventId<'static>> {
        self.source.position()
    }

    /// See [`Source::aim`].
    pub(super) fn aim(&mut self, at: &EventId<'_>) {
        self.source.aim(at);
    }

    /// See [`Source::can_go_back`].
    #[must_use]
    pub fn can_go_back(&self) -> bool {
        self.source.can_go_back()
    }

    /// When its client was sent an event last.
    pub(super) fn last_event_at(&self) -> Duration {
        self.last_event_at
    }

    /// When to tell its client that there is nothing to read, if that is still the case.
    pub(super) fn notice_at(&self) -> Option<Duration> {
        self.notice_at
    }

    /// The same stream for a client that was sent an event last at this moment.
    #[must_use]
    pub(super) fn with_last_event_at(mut self, last_event_at: Duration) -> Self {
        self.last_event_at = last_event_at;
        self
    }

    /// When a heartbeat is due.
    fn silent_at(&self) -> Duration {
        let since = match self.params.heartbeat_form {
            Heartbeat::Comment => self.last_sent_at,
            // Its page sees only events, not comments.
            Heartbeat::Event => self.last_event_at,
        };
        since + self.params.heartbeat
    }

    /// Reports changes of its source: see [`Source::changes`].
    #[must_use]
    pub fn changes(&self) -> Option<Rc<dyn Changes>> {
        self.source.changes()
    }

    /// Whether a client determines how much a poll costs: see [`Source::is_costly`].
    #[must_use]
    pub fn is_costly(&self) -> bool {
        self.source.is_costly()
    }

    /// Its source, for a channel.
    #[must_use]
    pub fn into_source(self) -> Box<dyn Source> {
        self.source
    }

    /// Its parameters.
    #[must_use]
    pub fn params(&self) -> StreamParams {
        self.params
    }

    /// Appends what is due at `now` to `out`. `out` must be empty, or contain only what is sent
    /// before it, such as a response head.
    pub fn poll(&mut self, now: Now, out: &mut Batch) -> Turn {
        let opening = self.opening.take();
        let is_opening = matches!(opening, Some(Start::New { .. }));
        if let Some(opening) = opening {
            self.open(opening, now, out);
        }
        if let Some(limit) = self.params.size_limit_bytes {
            let used = self.sent_bytes + out.as_bytes().len() as u64;
            out.limit(u64::from(limit).saturating_sub(used));
        }
        let (bytes_before, events_before) = (out.as_bytes().len(), out.events());
        let next = self.source.poll(now, out);
        let brought_nothing = out.as_bytes().len() == bytes_before;
        let is_silent = now.monotonic >= self.silent_at()
            && (brought_nothing || self.params.heartbeat_form == Heartbeat::Event);
        let position_due_at = self.position_sent_at + self.params.heartbeat;
        if out.events() > events_before {
            self.position_sent_at = now.monotonic;
            self.last_event_at = now.monotonic;
        } else if is_silent {
            self.end_silence(now, out);
            self.position_sent_at = now.monotonic;
        } else if (is_opening && out.events() == 0)
            || (!brought_nothing && now.monotonic >= position_due_at)
        {
            // A comment ends a silence, but does not contain the position.
            self.append_position(out);
            self.position_sent_at = now.monotonic;
        }
        self.notice(now, out);
        if self.params.tell_expiry(now, out) {
            self.last_event_at = now.monotonic;
        }
        let turn = self.turn(now, next, out);
        if let Turn::End(Ended::Aged | Ended::Expired | Ended::HeldBack) = turn {
            self.append_position(out);
        }
        turn
    }

    /// Notes that the batch of this many bytes has been sent at `now`.
    pub fn sent(&mut self, now: Now, bytes: usize) {
        self.last_sent_at = now.monotonic;
        self.sent_bytes += bytes as u64;
    }

    /// Releases the memory of a burst, after a quiet time.
    pub fn rest(&mut self) {
        self.source.rest();
    }

    fn open(&mut self, opening: Start, now: Now, out: &mut Batch) {
        let gap = match opening {
            Start::New { gap } => {
                if self.params.preamble_bytes > 0 {
                    out.padding(self.params.preamble_bytes.into());
                }
                out.retry(self.params.retry_ms.into());
                out.comment(b"sse-cgi");
                if self.params.heartbeat_form == Heartbeat::Event {
                    // The first heartbeat tells the page to expect others.
                    out.heartbeat(self.params.heartbeat);
                    self.last_event_at = now.monotonic;
                }
                gap
            }
            Start::Resumed { gap } => Some(gap),
        };
        if let Some(gap) = gap {
            out.gap(&gap, self.source.position());
        }
    }

    /// Whether its client has been told of something unavailable that still is; see
    /// [`Source::has_told`].
    #[must_use]
    pub(super) fn has_told(&self) -> bool {
        self.source.has_told()
    }

    /// Appends what ends a silence: the position if it has moved, and a heartbeat.
    fn end_silence(&mut self, now: Now, out: &mut Batch) {
        // Filtered records have moved the position. The client gets the new id, so that the
        // same records are not filtered again when it reconnects.
        let has_moved = self.append_position(out);
        match self.params.heartbeat_form {
            Heartbeat::Comment if has_moved => {}
            Heartbeat::Comment => out.comment(b""),
            Heartbeat::Event => {
                out.heartbeat(self.params.heartbeat);
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
        if reason.is_some() {
            self.source.report_unavailable(out);
            self.last_event_at = now.monotonic;
        }
    }

    /// Sends the position as an event of its own, if the client does not have it.
    fn append_position(&self, out: &mut Batch) -> bool {
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
        if self.params.has_expired(now) {
            return Turn::End(Ended::Expired);
        }
        let aged_at = self.params.max_age.map(|age| self.opened_at + age);
        if aged_at.is_some_and(|at| now.monotonic >= at) {
            return Turn::End(Ended::Aged);
        }
        let bytes = self.sent_bytes + out.as_bytes().len() as u64;
        let full = self
            .params
            .size_limit_bytes
            .is_some_and(|limit| bytes >= limit.into());
        // A limit smaller than the opening must not end a stream that has sent no event: its
        // client would reconnect for ever without receiving one.
        if full && out.events() > 0 {
            return Turn::End(Ended::Full);
        }
        if next == Next::More {
            return Turn::More;
        }
        let silent_at = self.silent_at();
        if self.params.delivery == Delivery::HeldBack && self.source.can_go_back() {
            let waited = now.monotonic >= self.opened_at + self.params.heartbeat;
            if out.events() > 0 || waited {
                return Turn::End(Ended::HeldBack);
            }
        }
        // The batch is about to be sent, so the silence begins now.
        let silent_at = if out.is_empty() || self.params.heartbeat_form == Heartbeat::Event {
            silent_at
        } else {
            now.monotonic + self.params.heartbeat
        };
        let source_at = match next {
            Next::At(at) => Some(at),
            _ => None,
        };
        let expiry_at = self.params.expiry.map(|expiry| expiry.next_at());
        let wake = [source_at, aged_at, expiry_at, self.notice_at]
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

    /// Emits each of its events at its second, then waits or ends.
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

    const PARAMS: StreamParams = StreamParams {
        retry_ms: 3000,
        heartbeat: Duration::from_secs(15),
        heartbeat_form: Heartbeat::Comment,
        max_age: None,
        preamble_bytes: 0,
        size_limit_bytes: None,
        delivery: Delivery::Immediate,
        expiry: None,
    };

    /// Runs a stream on a fake clock for at most 100 s and records what is sent when.
    fn check(
        params: StreamParams,
        gap: Option<Gap>,
        source: Scripted,
        expected: &[(u64, &str)],
        end: &str,
    ) {
        let at = |s: u64| Now {
            monotonic: Duration::from_secs(s),
            unix_ms: s * 1000,
        };
        let mut subscription = Subscription::new(Box::new(source), gap, params, at(0));
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
                        "the wait has no duration"
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
        check(PARAMS, None, source, &[(0, &expected)], "0 Finished");
    }

    #[test]
    fn a_stream_with_nothing_to_send_opens_with_its_position() {
        let opening = format!("{OPENING}id: 0\nevent: place\ndata: {{}}\n\n");
        let params = StreamParams {
            max_age: Some(Duration::from_secs(10)),
            ..PARAMS
        };
        check(params, None, says(&[]), &[(0, &opening)], "10 Aged");
    }

    #[test]
    fn a_heartbeat_comes_after_silence_and_counts_from_the_last_byte() {
        let opening = format!("{OPENING}id: 0\nevent: place\ndata: {{}}\n\n");
        let params = StreamParams {
            max_age: Some(Duration::from_secs(40)),
            ..PARAMS
        };
        let expected = [
            (0, opening.as_str()),
            (10, "id: 1\ndata: a\n\n"),
            (25, ":\n"),
            (40, ":\n"),
        ];
        check(params, None, says(&[(10, "a")]), &expected, "40 Aged");
    }

    #[test]
    fn a_page_that_asked_for_it_sees_a_heartbeat_after_silence_without_events() {
        let heartbeat = "event: heartbeat\ndata: {\"interval_ms\":15000}\n\n";
        let opening = format!("{OPENING}{heartbeat}id: 0\nevent: place\ndata: {{}}\n\n");
        let params = StreamParams {
            heartbeat_form: Heartbeat::Event,
            max_age: Some(Duration::from_secs(51)),
            ..PARAMS
        };
        let moved = format!("id: 2\nevent: place\ndata: {{}}\n\n{heartbeat}");
        // The skipped position would end the silence if heartbeats were comments.
        let expected = [
            (0, opening.as_str()),
            (10, "id: 1\ndata: a\n\n"),
            (25, &moved),
            (40, heartbeat),
        ];
        let source = says(&[(10, "a"), (20, "filtered")]);
        check(params, None, source, &expected, "51 Aged");
    }

    #[test]
    fn a_file_that_stays_missing_is_reported_once_and_a_rotation_is_not() {
        let opening = format!("{OPENING}id: 0\nevent: place\ndata: {{}}\n\n");
        let notice = "event: unavailable\ndata: {\"reason\":\"the file does not exist yet\"}\n\n";
        let params = StreamParams {
            max_age: Some(Duration::from_secs(10)),
            ..PARAMS
        };
        let missing = |events: &[(u64, &'static str)]| Scripted {
            missing: true,
            ..says(events)
        };
        let event = (8, "id: 1\ndata: a\n\n");
        let expected = [(0, opening.as_str()), (5, notice), event];
        check(params, None, missing(&[(8, "a")]), &expected, "10 Aged");
        let expected = [(0, opening.as_str()), (1, "id: 1\ndata: a\n\n")];
        check(params, None, missing(&[(1, "a")]), &expected, "10 Aged");
        // A client that polls is told at the end of its poll.
        let held = StreamParams {
            delivery: Delivery::HeldBack,
            ..PARAMS
        };
        let last = format!(":\n{notice}");
        let expected = [(0, opening.as_str()), (15, &last)];
        check(held, None, missing(&[]), &expected, "15 HeldBack");
    }

    #[test]
    fn what_was_filtered_moves_the_id_at_the_next_heartbeat() {
        let opening = format!("{OPENING}id: 0\nevent: place\ndata: {{}}\n\n");
        let params = StreamParams {
            max_age: Some(Duration::from_secs(31)),
            ..PARAMS
        };
        let expected = [
            (0, opening.as_str()),
            (15, "id: 1\nevent: place\ndata: {}\n\n"),
            (30, ":\n"),
        ];
        check(params, None, says(&[(3, "filtered")]), &expected, "31 Aged");
    }

    #[test]
    fn a_gap_comes_first_with_the_position_at_which_the_stream_continues() {
        let opening = format!(
            "{OPENING}id: 0\nevent: gap\ndata: {{\"reason\":\"bad-id\"}}\n\nid: 1\ndata: a\n\n"
        );
        let params = StreamParams {
            max_age: Some(Duration::from_secs(10)),
            ..PARAMS
        };
        check(
            params,
            Some(Gap::new(Reason::BadId)),
            says(&[(0, "a")]),
            &[(0, &opening)],
            "10 Aged",
        );
    }

    #[test]
    fn a_held_back_stream_ends_when_it_has_sent_an_event_or_after_a_heartbeat() {
        let held = StreamParams {
            delivery: Delivery::HeldBack,
            ..PARAMS
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
            ..PARAMS
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
            ..PARAMS
        };
        let opening = format!(":  \n{OPENING}id: 1\ndata: a\n\n");
        check(padded, None, says(&[(0, "a")]), &[(0, &opening)], "0 Full");
    }

    fn ending_at(seconds: u64) -> StreamParams {
        let admission = Admission {
            carrier: crate::request::Carrier::Query,
            until_unix_s: seconds,
        };
        let now = Now {
            monotonic: Duration::ZERO,
            unix_ms: 0,
        };
        PARAMS.ending(Some(admission), 0.0, now)
    }

    #[test]
    fn a_client_whose_access_ends_is_told_before_and_its_stream_ends_at_an_event_boundary() {
        let opening = format!("{OPENING}id: 1\ndata: a\n\n");
        let expected = [
            (0, opening.as_str()),
            (15, ":\n"),
            (30, ":\n"),
            (45, ":\n"),
            (60, ":\n"),
            (
                70,
                "event: expired\ndata: {\"ends_in_ms\":10000}\nretry: 8000\n\n",
            ),
            (75, "id: 2\ndata: b\n\n"),
        ];
        let source = says(&[(0, "a"), (75, "b"), (81, "c")]);
        check(ending_at(80), None, source, &expected, "80 Expired");
    }

    #[test]
    fn a_clock_that_is_set_forward_ends_a_stream_and_its_client_is_told_then() {
        let at = |seconds, unix_ms| Now {
            monotonic: Duration::from_secs(seconds),
            unix_ms,
        };
        let source = Box::new(says(&[(0, "a")]));
        let mut stream = Subscription::new(source, None, ending_at(80), at(0, 0));
        let mut out = Batch::new();
        let _ = stream.poll(at(0, 0), &mut out);
        out.clear();
        assert_eq!(
            stream.poll(at(1, 3_600_000), &mut out),
            Turn::End(Ended::Expired)
        );
        assert_eq!(
            out.as_bytes(),
            b"event: expired\ndata: {\"ends_in_ms\":0}\nretry: 8000\n\n"
        );
    }

    #[test]
    fn params_are_jittered_within_their_bounds() {
        use crate::request::{Lifetime, MetaVariables, Request, Settings};
        let meta = MetaVariables::of(&[("SSE_RETRY", "1s"), ("SSE_MAX_AGE", "100s")]);
        let settings = Settings::parse(&meta, Lifetime::Hour).unwrap().0;
        let request = Request::from_meta(&meta);
        let params = |jitter| StreamParams::new(&request, &settings, Delivery::Immediate, jitter);
        assert_eq!((params(0.0).retry_ms, params(1.0).retry_ms), (1000, 1500));
        assert_eq!(params(0.0).max_age, Some(Duration::from_secs(100)));
        assert_eq!(params(1.0).max_age, Some(Duration::from_secs(90)));
    }
}

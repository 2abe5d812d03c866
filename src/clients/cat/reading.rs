//! Reading: connects again and again, until there is a reason to end.
//!
//! ```text
//!   connect ──200──► read ──its end──► wait `retry` ──► connect
//!      │  └─204, close, --count ──► over
//!      ├─3xx ─► the next URL; secrets go to the first one's origin only
//!      ├─4xx, no stream ──────────► refused
//!      └─5xx, no connection ──────► wait, longer each time ──► connect
//! ```

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::http::{HeaderValue, Response, Uri};
use ureq::{Agent, Body};

use super::super::endpoint::{FailureKind, agent, describe, retry_after};
use super::super::exit::Exit;
use super::super::pace::{self, RETRY_DEFAULT};
use super::super::sign::{LinkPurpose, shown};
use super::super::{Failure, note};
use super::answer::{ResponseKind, judge, mistaken_for_a_stream};
use super::delivery::{Delivery, DeliveryOutcome};
use super::ending::{Shutdown, Why};
use super::gap;
use super::options::Options;
use super::parser::{Event, Item, Parser};
use super::redirect::{is_redirect, is_same_origin, resolve};
use super::state::State;

/// Browsers follow twenty.
const REDIRECTS_MAX: u32 = 10;

/// How it ended without a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The stream has ended, or the requested number of events was read.
    Over,
    /// A signal, or the closing of stdout.
    Outside(Why),
}

/// The result of one connection.
enum ConnectionOutcome {
    End(End),
    /// It was a stream, which ended, or broke for this reason.
    Ended(Option<String>),
    /// It was not a stream: the reason, and the time to wait if the server sent one.
    Failed(String, Option<Duration>),
}

/// Reads until the end.
pub(super) fn run(options: &Options) -> Result<End, Failure> {
    let state = options.state.as_deref().map(State::open).transpose()?;
    let agent = agent(options.silence, 0);
    let shut = agent.clone();
    let ending = Shutdown::watch(move || shut.shutdown())
        .map_err(|error| Failure::new(Exit::System, format!("watch for signals: {error}")))?;
    let kept = state.as_ref().map_or("", State::id);
    let mut reading = Reader {
        last_id: if kept.is_empty() {
            &*options.last_id
        } else {
            kept
        }
        .into(),
        unavailable: None,
        delivery: Delivery::new(options),
        deadline: options.timeout.map(|timeout| Instant::now() + timeout),
        retry: RETRY_DEFAULT,
        delivered: 0,
        has_been_answered: false,
        is_renewing: false,
        options,
        agent,
        ending,
        state,
    };
    reading.run()
}

struct Reader<'a> {
    options: &'a Options,
    agent: Agent,
    ending: Shutdown,
    state: Option<State>,
    delivery: Delivery<'a>,
    /// The id of the last event that was delivered.
    last_id: Arc<str>,
    /// The last reason that the server reported for having nothing to send.
    unavailable: Option<String>,
    retry: Duration,
    /// How many events were delivered.
    delivered: u64,
    deadline: Option<Instant>,
    has_been_answered: bool,
    /// The link of this connection expires soon: the next one begins at once.
    is_renewing: bool,
}

impl Reader<'_> {
    fn run(&mut self) -> Result<End, Failure> {
        let mut failures = 0;
        loop {
            let attempt = self.attempt()?;
            if let ConnectionOutcome::End(end) = attempt {
                return Ok(end);
            }
            if let Some(why) = self.ending.why() {
                return Ok(End::Outside(why));
            }
            let (trouble, wish) = match attempt {
                ConnectionOutcome::Failed(trouble, wish) => {
                    failures += 1;
                    (Some(trouble), wish)
                }
                ConnectionOutcome::Ended(trouble) => {
                    failures = 0;
                    (trouble, None)
                }
                ConnectionOutcome::End(end) => return Ok(end),
            };
            let now = Instant::now();
            let wait = match std::mem::take(&mut self.is_renewing) {
                true if failures == 0 => Duration::ZERO,
                _ => pace::wait(self.retry, failures, wish, fastrand::f64()),
            };
            let next = now + wait;
            let is_last = self.deadline.is_some_and(|deadline| deadline <= next);
            if let Some(trouble) = trouble {
                if !self.is_late(now) {
                    let again = if is_last {
                        String::new()
                    } else {
                        format!("; again in {:.1} s", wait.as_secs_f64())
                    };
                    note(
                        "sse-cat",
                        &format!("{}: {trouble}{again}", self.options.endpoint.shown()),
                    );
                }
            }
            let until = self.deadline.map_or(next, |deadline| deadline.min(next));
            if let Some(why) = self.ending.wait_until(until) {
                return Ok(End::Outside(why));
            }
            if is_last {
                return self.late();
            }
        }
    }

    fn is_late(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// The time limit was reached.
    fn late(&self) -> Result<End, Failure> {
        let failure = |exit, text: &str| Err(Failure::new(exit, text));
        if !self.has_been_answered {
            return failure(Exit::System, "the time was up before the server answered");
        }
        match self.options.count {
            Some(count) if self.delivered < count => {
                let text = format!("the time was up after {} of {count} events", self.delivered);
                failure(Exit::TimedOut, &text)
            }
            _ => Ok(End::Over),
        }
    }

    fn attempt(&mut self) -> Result<ConnectionOutcome, Failure> {
        let (mut response, url) = match self.request()? {
            Ok(answered) => answered,
            Err(failed) => return Ok(failed),
        };
        let asked = &self.options.endpoint.url;
        let name = self.options.endpoint.shown();
        let refused = |text: String| Failure::new(Exit::Refused, format!("{name}: {text}"));
        self.has_been_answered = true;
        let content_type = response.headers().get("content-type");
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let status = response.status();
        match judge(status.as_u16(), content_type) {
            ResponseKind::Stream => self.read(&mut response),
            ResponseKind::Finished => Ok(ConnectionOutcome::End(End::Over)),
            ResponseKind::Later => {
                let wish = retry_after(response.headers());
                Ok(ConnectionOutcome::Failed(format!("HTTP {status}"), wish))
            }
            ResponseKind::Refused if status == 200 => {
                let moved_to = (url != *asked).then(|| shown(&url));
                Err(refused(mistaken_for_a_stream(
                    content_type,
                    moved_to.as_deref(),
                )))
            }
            ResponseKind::Refused => Err(refused(format!("HTTP {status}"))),
        }
    }

    /// Sends the request and follows redirects. Returns the response and its URL.
    fn request(&self) -> Result<Result<(Response<Body>, Uri), ConnectionOutcome>, Failure> {
        let asked = &self.options.endpoint.url;
        let name = self.options.endpoint.shown();
        let refused = |text: &str| Failure::new(Exit::Refused, format!("{name}: {text}"));
        let mut url = asked.clone();
        // A redirect back to the first origin does not make it trusted again: another server
        // chose the path.
        let mut has_left = false;
        for _ in 0..=REDIRECTS_MAX {
            let response = match self.call(&url, has_left) {
                Ok(response) => response,
                Err(error) if FailureKind::of(&error) == FailureKind::Lasting => {
                    return Err(refused(&describe(&error)));
                }
                Err(error) if FailureKind::of(&error) == FailureKind::Insecure => {
                    let text = format!("{}: {}", shown(&url), describe(&error));
                    return Err(Failure::new(Exit::System, text));
                }
                Err(error) => return Ok(Err(ConnectionOutcome::Failed(describe(&error), None))),
            };
            if !is_redirect(response.status().as_u16()) {
                return Ok(Ok((response, url)));
            }
            let location = response.headers().get("location");
            let Some(location) = location.and_then(|value| value.to_str().ok()) else {
                return Ok(Ok((response, url)));
            };
            url = resolve(&url, location).map_err(|wrong| refused(wrong.0))?;
            has_left |= !is_same_origin(&url, asked);
        }
        let text = format!(
            "more than {REDIRECTS_MAX} redirects, the last one to {}",
            shown(&url)
        );
        Err(refused(&text))
    }

    fn call(&self, url: &Uri, has_left: bool) -> Result<Response<Body>, ureq::Error> {
        let endpoint = &self.options.endpoint;
        // Only the server that was named gets a link.
        let mut request = match !has_left && *url == endpoint.url {
            true => self.agent.get(endpoint.address(LinkPurpose::Read)),
            false => self.agent.get(url),
        };
        if !has_left {
            request = endpoint.apply(request);
        }
        request = request.header("Accept", "text/event-stream");
        request = request.header("Cache-Control", "no-cache");
        // An id that a header field cannot contain is not sent; then the stream begins as for a
        // new client.
        if !self.last_id.is_empty() {
            if let Ok(id) = HeaderValue::from_str(&self.last_id)
                .or_else(|_| HeaderValue::from_bytes(self.last_id.as_bytes()))
            {
                request = request.header("Last-Event-ID", id);
            }
        }
        let left = self
            .deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()));
        request
            .config()
            .timeout_global(left.map(|left| left.max(Duration::from_millis(1))))
            .build()
            .call()
    }

    fn read(&mut self, response: &mut Response<Body>) -> Result<ConnectionOutcome, Failure> {
        let mut parser = Parser::after(&self.last_id);
        let mut body = response.body_mut().as_reader();
        let mut piece = vec![0; 64 * 1024];
        let mut items = Vec::new();
        let mut has_long_id = false;
        loop {
            let count = match body.read(&mut piece) {
                // The shutdown of the agent looks like the end of the stream; the caller checks
                // for it.
                Ok(0) => return Ok(ConnectionOutcome::Ended(None)),
                Ok(count) => count,
                Err(error) => {
                    let error = ureq::Error::from(error);
                    return Ok(ConnectionOutcome::Ended(Some(describe(&error))));
                }
            };
            let fed = parser.feed(&piece[..count], &mut items);
            for item in items.drain(..) {
                let end = match item {
                    Item::Retry(retry) => {
                        self.retry = retry;
                        None
                    }
                    Item::Position(id) => {
                        self.last_id = id;
                        None
                    }
                    Item::LongId(bytes) => {
                        if !std::mem::replace(&mut has_long_id, true) {
                            let text = format!("ids of {bytes} bytes are ignored: too long");
                            note("sse-cat", &text);
                        }
                        None
                    }
                    Item::Event(event) => self.take(event)?,
                };
                if end.is_none() && self.delivery.is_immediate() && self.is_late(Instant::now()) {
                    return Ok(ConnectionOutcome::Ended(None));
                }
                if let Some(end) = end {
                    let end = self.settle()?.unwrap_or(end);
                    return Ok(ConnectionOutcome::End(end));
                }
            }
            if let Some(end) = self.settle()? {
                return Ok(ConnectionOutcome::End(end));
            }
            if self.is_renewing || self.is_late(Instant::now()) {
                return Ok(ConnectionOutcome::Ended(None));
            }
            if fed.is_err() {
                let text = format!("an event of more than {} bytes", Parser::EVENT_MAX_BYTES);
                return Err(Failure::new(Exit::Refused, text));
            }
        }
    }

    /// Delivers an event; returns the end if it was the last one.
    fn take(&mut self, event: Event) -> Result<Option<End>, Failure> {
        match &*event.name {
            "gap" => note("sse-cat", &format!("gap: {}", gap::describe(&event.data))),
            "unavailable" => self.note_unavailable(&event.data),
            "expired" => self.note_expired(),
            "heartbeat" | "place" => {}
            _ => self.unavailable = None,
        }
        match self.delivery.deliver(&event) {
            // It is not an event of the stream's content: `--count` does not count it.
            Ok(DeliveryOutcome::Yes) if event.name == "unavailable" || event.name == "expired" => {}
            Ok(DeliveryOutcome::Yes) => self.delivered += 1,
            Ok(DeliveryOutcome::NotWanted) => {}
            Ok(DeliveryOutcome::ReaderLeft) => return Ok(Some(End::Outside(Why::ReaderLeft))),
            Err(failure) => {
                // The events before it are delivered, and the id is kept.
                self.settle()?;
                return Err(failure);
            }
        }
        self.last_id = event.id;
        if event.name == "close" || self.options.count == Some(self.delivered) {
            return Ok(Some(End::Over));
        }
        if self.delivery.is_immediate() {
            return self.settle();
        }
        Ok(None)
    }

    /// The server has nothing to send now, and the connection ends or waits. A reason that is
    /// repeated at each attempt is reported once.
    fn note_unavailable(&mut self, data: &str) {
        let reason = gap::describe(data);
        if self.unavailable.as_deref() != Some(&*reason) {
            let url = self.options.endpoint.shown();
            note("sse-cat", &format!("{url}: unavailable: {reason}"));
            self.unavailable = Some(reason);
        }
    }

    /// The access ends soon: another link is signed at once, and other access may be renewed by
    /// somebody else.
    fn note_expired(&mut self) {
        match self.options.endpoint.signs() {
            true => self.is_renewing = true,
            false => {
                let url = self.options.endpoint.shown();
                note("sse-cat", &format!("{url}: the access to it expires soon"));
            }
        }
    }

    /// Writes what was printed, and only then keeps the id.
    fn settle(&mut self) -> Result<Option<End>, Failure> {
        if self.delivery.flush()? == DeliveryOutcome::ReaderLeft {
            return Ok(Some(End::Outside(Why::ReaderLeft)));
        }
        if let Some(state) = &mut self.state {
            state.keep(&self.last_id)?;
        }
        // A backlog may take long.
        Ok(self.ending.why().map(End::Outside))
    }
}

//! Observe: opens the connections of a diagnosis, at most [`Budget::MAX`], and notes what happens.
//!
//! ```text
//!   HEAD ──► GET, for the whole time ───────────────► the client closes its side
//!              ├─► GET without compression, if that one is compressed or silent
//!              ├─► GET again, with Last-Event-ID
//!              ├─► GET over HTTP/2, with TLS
//!              └─► POST, only with --publish
//! ```

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ureq::http::Uri;

use super::super::cat::redirect::{is_redirect, resolve};
use super::super::endpoint::Endpoint;
use super::super::sign::shown;
use super::connection::{Budget, Connection};
use super::exchange::{Exchange, Step, request};
use super::message::Expect;
use super::observation::{
    Departure, EndKind, Ended, HeadSeen, Observations, Published, StreamSeen, Subscribers,
};
use super::options::Plan;
use super::second::{get_again, get_over_http2};
use super::servers::recognise;

/// How long HEAD may take.
const HEAD_WAIT: Duration = Duration::from_secs(5);

/// How long to wait for the head of a GET. A server that holds the response may never send one.
const RESPONSE_WAIT: Duration = Duration::from_secs(12);

/// How long the second stream is read.
pub(super) const AGAIN: Duration = Duration::from_secs(8);

/// How long a server may take to close a connection whose client has closed its side.
const DEPARTURE_WAIT: Duration = Duration::from_millis(1500);

/// How long a departed client may count as a subscriber: two heartbeats and some patience.
const SUBSCRIBER_WAIT: Duration = Duration::from_secs(55);

/// How long to wait for the published event.
const PUBLISHED_WAIT: Duration = Duration::from_secs(10);

/// The largest status page that is read.
const PAGE_MAX_BYTES: usize = 1 << 20;

/// How long to wait for the head of a GET that accepts compression, before one that does not.
const BROWSER_WAIT: Duration = Duration::from_secs(4);

/// Which codings a GET accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AcceptEncoding {
    AsBrowsers,
    None,
}

/// The stream while it is read.
pub(super) type Shared = Mutex<StreamSeen>;

pub(super) fn lock(shared: &Shared) -> MutexGuard<'_, StreamSeen> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Observer<'a> {
    plan: &'a Plan,
    budget: Budget,
    /// The URL after redirects.
    url: Uri,
    /// A connection on which another request may follow.
    kept: Option<Connection>,
    seen: Observations,
}

/// Observes.
pub(super) fn observe(plan: &Plan) -> Observations {
    let mut observer = Observer {
        plan,
        budget: Budget::new(),
        url: plan.endpoint.url.clone(),
        kept: None,
        seen: Observations {
            origin: plan.origin.clone(),
            ..Observations::default()
        },
    };
    observer.run();
    let mut seen = observer.seen;
    seen.connections = Budget::MAX - observer.budget.left();
    seen.url = shown(&observer.url);
    seen.is_secure = observer.url.scheme_str() == Some("https");
    seen.name = observer
        .url
        .path()
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_owned();
    seen
}

impl Observer<'_> {
    fn endpoint(&self) -> &Endpoint {
        &self.plan.endpoint
    }

    fn open(&mut self, url: &Uri) -> Option<Connection> {
        if !self.budget.take() {
            return None;
        }
        match Connection::open(url, &["http/1.1"]) {
            Ok(connection) => Some(connection),
            Err(unreachable) => {
                self.seen.unreachable.get_or_insert(unreachable);
                None
            }
        }
    }

    fn run(&mut self) {
        self.head();
        self.neighbour();
        if self.seen.unreachable.is_some() {
            return;
        }
        // As a browser asks. What is compressed cannot be read here, and what holds a compressed
        // response back may pass a plain one on: then the stream is requested without it, too.
        let Some(mut exchange) = self.get(AcceptEncoding::AsBrowsers) else {
            return;
        };
        let mut started = Instant::now();
        let mut shared: Shared = Mutex::default();
        let wait = BROWSER_WAIT.min(self.plan.duration);
        let mut is_stream = self.wait_for_head(&mut exchange, started, wait, &shared);
        let head = exchange.head.as_ref();
        let is_encoded = head.is_some_and(|head| head.field("content-encoding").is_some());
        let is_silent = head.is_none() && lock(&shared).end.is_none();
        let mut compressed = None;
        if (is_stream && is_encoded) || is_silent {
            if let Some(plain) = self.get(AcceptEncoding::None) {
                compressed = Some((std::mem::replace(&mut exchange, plain), shared));
                (started, shared) = (Instant::now(), Mutex::default());
                let wait = RESPONSE_WAIT.min(self.plan.duration);
                is_stream = self.wait_for_head(&mut exchange, started, wait, &shared);
            }
        }
        if is_stream {
            self.watch(exchange, compressed, started, &shared);
        }
        self.seen.stream = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    }

    /// Reads the stream for the whole time, and what else is to be read meanwhile.
    fn watch(
        &mut self,
        mut exchange: Exchange,
        compressed: Option<(Exchange, Shared)>,
        started: Instant,
        stream: &Shared,
    ) {
        let until = started + self.plan.duration;
        let departure = Mutex::new(None);
        let departed = &departure;
        let before = self.plan.status.clone().map(|page| self.subscribers(&page));
        thread::scope(|scope| {
            let wants_status = self.plan.status.is_some();
            scope.spawn(move || {
                read_until(&mut exchange, started, until, stream);
                if lock(stream).end.is_none() {
                    let seen = leave(exchange, wants_status);
                    *departed.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
                }
            });
            let compressed = compressed.map(|(mut exchange, seen)| {
                let until = until.min(started + AGAIN);
                scope.spawn(move || {
                    read_until(&mut exchange, started, until, &seen);
                    seen.into_inner().unwrap_or_else(PoisonError::into_inner)
                })
            });
            if let Some(url) = self.plan.publish.clone() {
                self.seen.published = Some(self.publish(&url, stream, started));
            }
            let first = self.budget.take();
            let wants_http2 = self.url.scheme_str() == Some("https") || self.plan.http2;
            let second = wants_http2 && self.budget.take();
            let (plan, url) = (self.plan, self.url.clone());
            let http2 = second.then(|| {
                let url = url.clone();
                scope.spawn(move || get_over_http2(plan, &url, started, until, stream))
            });
            let again = first.then(|| {
                let url = url.clone();
                scope.spawn(move || get_again(plan, &url, started, until, stream))
            });
            self.seen.compressed = compressed.and_then(|thread| thread.join().ok());
            self.seen.again = again.and_then(|thread| thread.join().ok().flatten());
            self.seen.http2 = http2.and_then(|thread| thread.join().ok().flatten());
        });
        self.seen.departure = departure
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        if let (Some(page), Some(before)) = (self.plan.status.clone(), before) {
            self.seen.subscribers = Some(match before {
                Ok(before) => self.wait_until_fewer(&page, before),
                Err(why) => Subscribers::Unknown(why),
            });
        }
    }

    /// The head of the site's first page, where the stream's own says nothing about the server
    /// (an nph- program's does not), if a connection can be spared.
    fn neighbour(&mut self) {
        let shows_server = match &self.seen.head {
            Some(HeadSeen::Answered(head, _)) => !recognise([head]).is_empty(),
            _ => false,
        };
        let needed = 2
            + u32::from(self.plan.publish.is_some())
            + u32::from(self.plan.status.is_some())
            + u32::from(self.plan.http2 || self.url.scheme_str() == Some("https"));
        if shows_server || self.budget.left() <= needed {
            return;
        }
        let scheme = self.url.scheme_str().unwrap_or("http");
        let authority = self
            .url
            .authority()
            .map_or("", |authority| authority.as_str());
        let Ok(root) = format!("{scheme}://{authority}/").parse::<Uri>() else {
            return;
        };
        let Some(connection) = self.kept.take().or_else(|| self.open(&root)) else {
            return;
        };
        let text = request("HEAD", &root, self.endpoint(), &[("Accept", "*/*")], b"");
        let mut exchange = Exchange::begin(connection, &text, Expect::HeadOnly);
        let _ = exchange.step(Instant::now() + HEAD_WAIT);
        self.seen.neighbour = exchange.head.take();
    }

    /// HEAD, and the redirects that it shows.
    fn head(&mut self) {
        loop {
            let url = self.url.clone();
            let Some(connection) = self.open(&url) else {
                return;
            };
            let started = Instant::now();
            let accept = [("Accept", "text/event-stream")];
            let text = request("HEAD", &url, self.endpoint(), &accept, b"");
            let mut exchange = Exchange::begin(connection, &text, Expect::HeadOnly);
            let step = exchange.step(started + HEAD_WAIT);
            let after = started.elapsed();
            self.seen.head = Some(match (step, &exchange.head) {
                (Step::Head, Some(head)) => HeadSeen::Answered(head.clone(), after),
                (Step::Late, _) => HeadSeen::Late(after),
                _ => HeadSeen::Closed,
            });
            let target = self.redirect_of(&exchange);
            self.kept = exchange.kept();
            match target {
                // Enough must be left for the streams.
                Some(target) if self.budget.left() > 2 => {
                    self.kept = None;
                    self.url = target;
                }
                _ => return,
            }
        }
    }

    /// Notes a redirect and returns its target.
    fn redirect_of(&mut self, exchange: &Exchange) -> Option<Uri> {
        let head = exchange
            .head
            .as_ref()
            .filter(|head| is_redirect(head.status))?;
        let location = head.field("location")?;
        self.seen.redirects.push((head.status, location.to_owned()));
        resolve(&self.url, location).ok()
    }

    /// Sends the first GET, and returns its exchange when the head has to be waited for.
    fn get(&mut self, encoding: AcceptEncoding) -> Option<Exchange> {
        let url = self.url.clone();
        let connection = self.open(&url)?;
        let mut fields = vec![
            ("Accept", "text/event-stream"),
            ("Cache-Control", "no-cache"),
        ];
        if encoding == AcceptEncoding::AsBrowsers {
            fields.push(("Accept-Encoding", "gzip, deflate, br"));
        }
        if let Some(origin) = &self.plan.origin {
            fields.push(("Origin", origin));
        }
        let text = request("GET", &url, self.endpoint(), &fields, b"");
        Some(Exchange::begin(connection, &text, Expect::Body))
    }

    /// Waits for the head, and follows the redirects of a server that redirects GET only. Returns
    /// whether a stream follows.
    fn wait_for_head(
        &mut self,
        exchange: &mut Exchange,
        started: Instant,
        wait: Duration,
        shared: &Shared,
    ) -> bool {
        loop {
            let step = exchange.step(started + wait);
            let at = started.elapsed();
            let mut stream = lock(shared);
            stream.watched = at;
            stream.head.clone_from(&exchange.head);
            stream.head_after = at;
            match step {
                Step::Head => {}
                Step::Ended(kind) => {
                    stream.end = Some(Ended { at, kind });
                    stream.malformed.clone_from(&exchange.malformed);
                    return false;
                }
                Step::Late | Step::Bytes(_) => return false,
            }
            if stream
                .head
                .as_ref()
                .is_some_and(super::message::Head::is_stream)
            {
                return true;
            }
            drop(stream);
            let Some(target) = self.redirect_of(exchange) else {
                return false;
            };
            self.url = target;
            if self.budget.left() == 0 {
                return false;
            }
            match self.get(AcceptEncoding::AsBrowsers) {
                Some(next) => *exchange = next,
                None => return false,
            }
        }
    }

    /// Posts one text, and waits until it is an event.
    fn publish(&mut self, url: &Uri, shared: &Shared, started: Instant) -> Published {
        let Some(connection) = self.open(url) else {
            return Published::Refused("no connection".into());
        };
        let text = format!("sse-doctor {:016x}", fastrand::u64(..));
        let length = text.len().to_string();
        let fields = [("Content-Type", "text/plain"), ("Content-Length", &*length)];
        let bytes = request("POST", url, self.endpoint(), &fields, text.as_bytes());
        let posted = Instant::now();
        let mut exchange = Exchange::begin(connection, &bytes, Expect::Body);
        match (exchange.step(posted + PUBLISHED_WAIT), &exchange.head) {
            (Step::Head, Some(head)) if (200..300).contains(&head.status) => {}
            (Step::Head, Some(head)) => {
                return Published::Refused(format!("status {}", head.status));
            }
            _ => return Published::Refused("no response".into()),
        }
        loop {
            let arrived = {
                let stream = lock(shared);
                let mut events = stream.record.events.iter();
                events
                    .find(|event| event.data.contains(&text))
                    .map(|event| event.at)
            };
            if let Some(at) = arrived {
                return Published::Arrived(at.saturating_sub(posted - started));
            }
            if posted.elapsed() > PUBLISHED_WAIT || lock(shared).end.is_some() {
                return Published::Missing(posted.elapsed());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The figure `subscribers` of a status page.
    fn subscribers(&mut self, page: &Uri) -> Result<u64, String> {
        let connection = match self.kept.take() {
            Some(kept) => kept,
            None => self
                .open(page)
                .ok_or("no connection is left for the status page")?,
        };
        let text = request(
            "GET",
            page,
            self.endpoint(),
            &[("Accept", "application/json")],
            b"",
        );
        let deadline = Instant::now() + HEAD_WAIT;
        let mut exchange = Exchange::begin(connection, &text, Expect::Body);
        let mut body = Vec::new();
        loop {
            match exchange.step(deadline) {
                Step::Head => {}
                Step::Bytes(bytes) if body.len() < PAGE_MAX_BYTES => body.extend(bytes),
                Step::Ended(EndKind::Complete) => break,
                _ => return Err("the status page did not arrive".into()),
            }
        }
        let status = exchange.head.as_ref().map_or(0, |head| head.status);
        self.kept = exchange.kept();
        let page: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
        let count = page
            .as_ref()
            .and_then(|page| page.get("subscribers")?.as_u64());
        count.ok_or_else(|| format!("{status}, without a number of subscribers"))
    }

    fn wait_until_fewer(&mut self, page: &Uri, before: u64) -> Subscribers {
        let left = Instant::now();
        loop {
            match self.subscribers(page) {
                Ok(now) if now < before => return Subscribers::Fewer(left.elapsed()),
                Ok(_) if left.elapsed() > SUBSCRIBER_WAIT => {
                    return Subscribers::Same(left.elapsed());
                }
                Ok(_) => thread::sleep(Duration::from_millis(500)),
                Err(why) => return Subscribers::Unknown(why),
            }
        }
    }
}

/// Reads a stream and notes what arrives.
pub(super) fn read_until(
    exchange: &mut Exchange,
    started: Instant,
    until: Instant,
    shared: &Shared,
) {
    loop {
        let step = exchange.step(until);
        let at = started.elapsed();
        let mut stream = lock(shared);
        stream.watched = at;
        match step {
            Step::Head => {
                stream.head.clone_from(&exchange.head);
                stream.head_after = at;
            }
            Step::Bytes(bytes) => stream.record.take(at, &bytes),
            Step::Late => return,
            Step::Ended(kind) => {
                stream.end = Some(Ended { at, kind });
                stream.malformed.clone_from(&exchange.malformed);
                return;
            }
        }
    }
}

/// Closes the client's side, and waits for the server's. With `wants_status` the status page shows
/// the rest, so nothing is waited for.
fn leave(mut exchange: Exchange, wants_status: bool) -> Departure {
    exchange.connection.shut_sending();
    let left = Instant::now();
    if wants_status {
        return Departure::NotClosed(Duration::ZERO);
    }
    loop {
        match exchange.step(left + DEPARTURE_WAIT) {
            Step::Ended(_) => return Departure::Closed(left.elapsed()),
            Step::Late => return Departure::NotClosed(left.elapsed()),
            Step::Head | Step::Bytes(_) => {}
        }
    }
}

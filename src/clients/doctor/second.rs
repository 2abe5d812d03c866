//! The second connections of a diagnosis, while the first one is read: a client that returns, and
//! one that uses HTTP/2.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ureq::http::Uri;

use super::connection::Connection;
use super::exchange::{Exchange, request};
use super::http2;
use super::message::Expect;
use super::observation::{Http2Seen, StreamSeen};
use super::observe::{AGAIN, Shared, lock, read_until};
use super::options::Plan;

/// Waits until the first stream has shown an id and something after it, or some time is over.
fn wait_for_an_id(shared: &Shared, started: Instant, until: Instant) -> Option<String> {
    let enough = (until - started).mul_f64(0.4).min(Duration::from_secs(12));
    loop {
        let stream = lock(shared);
        let first = stream
            .record
            .events
            .iter()
            .find(|event| !event.id.is_empty());
        let id = first.map(|event| event.id.to_string());
        let is_enough = stream.record.events.len() >= 2 && id.is_some();
        if is_enough || stream.end.is_some() || started.elapsed() >= enough {
            return id;
        }
        drop(stream);
        thread::sleep(Duration::from_millis(10));
    }
}

/// The time for a second connection, and whether it has shown enough: some arrivals on the first
/// one in the meantime.
fn is_enough(shared: &Shared, began: Duration, elapsed: Duration) -> bool {
    let stream = lock(shared);
    let pieces = stream
        .record
        .pieces
        .iter()
        .filter(|piece| piece.at >= began)
        .count();
    elapsed >= Duration::from_secs(2) && (pieces >= 4 || stream.end.is_some())
}

/// GET as a client that returns: it names the id of an event.
pub(super) fn get_again(
    plan: &Plan,
    url: &Uri,
    started: Instant,
    until: Instant,
    first: &Shared,
) -> Option<StreamSeen> {
    let id = wait_for_an_id(first, started, until);
    let id = id.filter(|id| id.bytes().all(|byte| byte >= b' ' && byte != 0x7f));
    let connection = Connection::open(url, &["http/1.1"]).ok()?;
    let mut fields = vec![
        ("Accept", "text/event-stream"),
        ("Cache-Control", "no-cache"),
    ];
    if let Some(id) = &id {
        fields.push(("Last-Event-ID", id));
    }
    let text = request("GET", url, &plan.endpoint, &fields, b"");
    let own = Instant::now();
    let began = own - started;
    let seen: Shared = Mutex::new(StreamSeen {
        sent_id: id.clone(),
        began,
        ..StreamSeen::default()
    });
    let mut exchange = Exchange::begin(connection, &text, Expect::Body);
    let last = until.min(own + AGAIN);
    while own.elapsed() < last - own && lock(&seen).end.is_none() {
        let slice = last.min(Instant::now() + Duration::from_millis(100));
        read_until(&mut exchange, own, slice, &seen);
        if is_enough(first, began, own.elapsed()) {
            break;
        }
    }
    Some(seen.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// GET over HTTP/2.
pub(super) fn get_over_http2(
    plan: &Plan,
    url: &Uri,
    started: Instant,
    until: Instant,
    first: &Shared,
) -> Option<Http2Seen> {
    let connection = Connection::open(url, &["h2", "http/1.1"]).ok()?;
    let own = Instant::now();
    let began = own - started;
    let mut seen = Http2Seen {
        is_offered: plan.http2 || connection.protocol.as_deref() == Some("h2"),
        began,
        ..Http2Seen::default()
    };
    if seen.is_offered {
        let last = until.min(own + AGAIN);
        let enough = |elapsed| is_enough(first, began, elapsed);
        http2::read(connection, url, &plan.endpoint, last, enough, &mut seen);
    }
    seen.watched = own.elapsed();
    Some(seen)
}

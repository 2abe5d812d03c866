//! Whether events arrive when they were sent.

use std::time::Duration;

use super::super::observation::{HeadSeen, Observations, Published, StreamSeen};
use super::super::record::{Record, SeenEvent};
use super::super::servers::{Cause, Server};
use super::{Check, names, seconds};

/// Reads that are closer together are one arrival: a network splits a write.
const TOGETHER: Duration = Duration::from_millis(40);

/// A delay that people notice.
const LATE: Duration = Duration::from_secs(1);

/// A head that takes longer was held.
const HEAD_LATE: Duration = Duration::from_secs(3);

/// What is said of the arrivals.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// By the server's clock in the events: the largest delay against the fastest event.
    OnTime { events: usize, largest: Duration },
    /// Events that were made at different times arrived together, this late.
    Together { events: usize, late: Duration },
    /// So many heartbeats arrived together.
    HeartbeatsTogether(usize),
    /// By the pattern alone: several lumps of several events, with silence in between.
    Lumps { lumps: usize, events: usize },
    /// Events came one by one.
    Single(usize),
    /// Not enough arrived to tell.
    Unknown,
    /// Nothing arrived.
    Nothing,
}

/// Events or comments that arrived together.
#[derive(Clone, Copy, Debug, Default)]
struct Lump {
    at: Duration,
    events: usize,
    comments: usize,
}

fn lumps(record: &Record) -> Vec<Lump> {
    let mut lumps: Vec<Lump> = Vec::new();
    let mut last_at = None;
    for piece in &record.pieces {
        let is_new = last_at.is_none_or(|last| piece.at - last > TOGETHER);
        if is_new {
            lumps.push(Lump {
                at: piece.at,
                ..Lump::default()
            });
        }
        if let Some(lump) = lumps.last_mut() {
            lump.events += piece.events;
            lump.comments += piece.comments;
        }
        last_at = Some(piece.at);
    }
    lumps
}

/// Judges the arrivals of a stream.
pub(super) fn arrival(record: &Record) -> Arrival {
    if record.byte_count == 0 {
        return Arrival::Nothing;
    }
    let timed: Vec<(&SeenEvent, u64)> = record
        .events
        .iter()
        .filter_map(|event| Some((event, event.made_ms?)))
        .collect();
    let lumps = lumps(record);
    if timed.len() >= 3 {
        // The clocks of both machines may differ: the fastest event is the zero.
        let delay = |(event, made): &(&SeenEvent, u64)| {
            i128::try_from(event.at.as_millis()).unwrap_or(i128::MAX) - i128::from(*made)
        };
        let fastest = timed.iter().map(delay).min().unwrap_or_default();
        let late = |timed: &(&SeenEvent, u64)| {
            Duration::from_millis(u64::try_from(delay(timed) - fastest).unwrap_or(u64::MAX))
        };
        let held: Vec<Duration> = timed
            .windows(2)
            .filter(|pair| pair[1].0.at - pair[0].0.at <= TOGETHER)
            .filter(|pair| pair[1].1.saturating_sub(pair[0].1) >= 80)
            .map(|pair| late(&pair[0]))
            .collect();
        let largest = timed.iter().map(late).max().unwrap_or_default();
        let held_late = held.iter().max().copied().unwrap_or_default();
        return if held_late >= LATE || (held.len() >= 4 && held_late >= LATE / 2) {
            Arrival::Together {
                events: held.len() + 1,
                late: held_late,
            }
        } else {
            Arrival::OnTime {
                events: timed.len(),
                largest,
            }
        };
    }
    // The first bytes may contain several comments: the head of the stream.
    let later = lumps.iter().skip(1);
    let heartbeats = later.clone().filter(|lump| lump.events == 0);
    let most = heartbeats.map(|lump| lump.comments).max().unwrap_or(0);
    if most >= 2 {
        return Arrival::HeartbeatsTogether(most);
    }
    let with_events: Vec<&Lump> = later.filter(|lump| lump.events > 0).collect();
    let large = with_events.iter().filter(|lump| lump.events >= 3).count();
    let is_apart = with_events
        .windows(2)
        .all(|pair| pair[1].at - pair[0].at >= Duration::from_secs(2));
    let events = with_events.iter().map(|lump| lump.events).sum();
    match with_events.len() {
        0 => Arrival::Unknown,
        count if count >= 2 && large == count && is_apart => Arrival::Lumps {
            lumps: count,
            events,
        },
        _ => Arrival::Single(events),
    }
}

fn remedies(causes: &'static [Cause]) -> Vec<String> {
    causes
        .iter()
        .map(|cause| format!("{} — against {}", cause.fix, cause.what))
        .collect()
}

fn held(text: String, chain: &[&'static Server]) -> Check {
    let check = Check::fault("delivery", text).blame(chain, |server| remedies(server.holds));
    if check.culprit.is_some() {
        return check;
    }
    check
        .by(format!(
            "{}, or the program, which does not flush",
            names(chain)
        ))
        .fix("X-Accel-Buffering: no, and no buffering or compression for text/event-stream")
}

/// Whether events arrive when they were sent.
pub(super) fn delivery(seen: &Observations, chain: &[&'static Server], checks: &mut Vec<Check>) {
    let stream = &seen.stream;
    let is_late = stream.head_after >= HEAD_LATE;
    let arrival = arrival(&stream.record);
    checks.push(match arrival {
        Arrival::Together { events, late } => held(
            format!("{events} events arrived together although they were sent at different times, up to {} late", seconds(late)),
            chain,
        ),
        Arrival::HeartbeatsTogether(count) => {
            held(format!("{count} heartbeats arrived together: something collects output"), chain)
        }
        _ if is_late && stream.record.event_count > 1 => held(
            format!("the head came after {}, together with {} events: something collects output", seconds(stream.head_after), stream.record.event_count),
            chain,
        ),
        Arrival::OnTime { events, largest } => Check::good(
            "delivery",
            format!("{events} events arrived when they were sent (largest difference {} ms)", largest.as_millis()),
        ),
        Arrival::Lumps { lumps, events } => {
            let mut check = held(format!("{events} events arrived in {lumps} lumps: either they were sent so, or something collects output"), chain);
            check.verdict = super::Verdict::Warning;
            check.fix("to be certain: --publish URL, or a clock (SSE_STREAM=clock) at the same location")
        }
        Arrival::Single(events) => Check::good(
            "delivery",
            format!("{events} events arrived one by one; whether at once, only --publish or a clock shows"),
        ),
        Arrival::Nothing if stream.end.is_none() => {
            let mut check = held(format!("no byte of the stream arrived in {}: either the program sends nothing, or something collects output", seconds(stream.watched)), chain);
            check.verdict = super::Verdict::Warning;
            check
        }
        Arrival::Nothing => Check::warning("delivery", "the stream ended without a byte"),
        Arrival::Unknown => Check::unknown(
            "delivery",
            format!("no event after the first bytes in {}; --publish URL, or a clock (SSE_STREAM=clock) at the same location, shows whether events arrive at once", seconds(stream.watched)),
        ),
    });
}

/// There is no head at all.
pub(super) fn no_response(seen: &Observations, chain: &[&'static Server], checks: &mut Vec<Check>) {
    let stream = &seen.stream;
    if let Some(end) = stream.end {
        checks.push(
            Check::fault(
                "status",
                format!(
                    "the connection was closed after {} without a response",
                    seconds(end.at)
                ),
            )
            .by(names(chain))
            .fix("the server's log says why (limits of connections, a crash)"),
        );
        return;
    }
    let answers_head = matches!(&seen.head, Some(HeadSeen::Answered(head, _)) if head.is_stream());
    if answers_head {
        checks.push(held(
            format!("HEAD was answered, and GET had no response in {}: something collects the whole response", seconds(stream.watched)),
            chain,
        ));
        return;
    }
    checks.push(
        Check::fault("status", format!("no response in {}", seconds(stream.watched)))
            .by(format!("{}: every worker is busy, or the program hangs", names(chain)))
            .fix("Apache: MaxRequestWorkers (one worker for each stream); nginx: worker_connections (two for each stream)"),
    );
}

/// The event of `--publish`.
pub(super) fn published(seen: &Observations, checks: &mut Vec<Check>) {
    let Some(published) = &seen.published else {
        return;
    };
    checks.push(match published {
        Published::Arrived(time) if *time >= LATE => {
            Check::fault("publish", format!("the published event arrived {} after its POST", seconds(*time)))
        }
        Published::Arrived(time) => {
            Check::good("publish", format!("the published event arrived {} ms after its POST", time.as_millis()))
        }
        Published::Missing(time) => Check::fault(
            "publish",
            format!("the published event did not arrive within {}: it is held back, or of another stream", seconds(*time)),
        ),
        Published::Refused(why) => Check::unknown("publish", format!("the POST failed: {why}")),
    });
}

/// How many pieces of `stream` arrived in a span counted from the first GET.
fn pieces_between(stream: &StreamSeen, from: Duration, until: Duration) -> usize {
    let times = stream
        .record
        .pieces
        .iter()
        .map(|piece| piece.at + stream.began);
    times.filter(|at| *at >= from && *at < until).count()
}

/// Whether a browser, which accepts compression, gets the same stream.
pub(super) fn compression(seen: &Observations, chain: &[&'static Server], checks: &mut Vec<Check>) {
    let Some(compressed) = &seen.compressed else {
        checks.push(Check::good(
            "compression",
            "none, although the client accepts it",
        ));
        return;
    };
    let plain = pieces_between(&seen.stream, Duration::ZERO, compressed.watched);
    let pieces = compressed.record.pieces.len();
    let head = compressed.head.as_ref();
    let encoding = head.and_then(|head| head.field("content-encoding"));
    let blame = |check: Check| check.blame(chain, |server| remedies(server.compresses));
    checks.push(match encoding {
        Some(encoding) if plain >= 2 && pieces <= plain / 2 => blame(Check::fault(
            "compression",
            format!("compressed ({encoding}) for browsers, and held back: {pieces} arrivals, against {plain} without compression"),
        )),
        Some(encoding) => blame(Check::note(
            "compression",
            format!("compressed ({encoding}), {pieces} arrivals against {plain} without: it costs memory for each stream, and small events do not get smaller"),
        )),
        None if plain >= 2 && head.is_none() => blame(Check::fault(
            "compression",
            format!("a client that accepts compression, as browsers do, got no response; one that does not got {plain} arrivals in {}", seconds(compressed.watched)),
        )),
        None => Check::good("compression", "none, although the client accepts it"),
    });
}

/// The protocol of the browser.
pub(super) fn http2(seen: &Observations, chain: &[&'static Server], checks: &mut Vec<Check>) {
    let six = "browsers open six connections to a host over HTTP/1.1, for all tabs together";
    let how = |server: &'static Server| vec![server.http2.to_owned()];
    let Some(http2) = &seen.http2 else {
        if !seen.is_secure {
            checks.push(Check::note(
                "protocol",
                format!("HTTP/1.1 without TLS; {six}"),
            ));
        }
        return;
    };
    if !http2.is_offered {
        let mut check = Check::note("protocol", format!("HTTP/1.1 only; {six}")).blame(chain, how);
        check.culprit = None;
        checks.push(check);
        return;
    }
    let until = http2.began + http2.watched;
    let plain = pieces_between(&seen.stream, http2.began, until);
    let over_2 = http2.data.len();
    if plain >= 2 && over_2 <= plain / 3 {
        let is_nph = seen.name.starts_with("nph-");
        let text = format!(
            "over HTTP/2 events are held back: {over_2} arrivals, against {plain} over HTTP/1.1"
        );
        let check = Check::fault("http2", text);
        checks.push(if is_nph {
            check
                .by("Apache, which holds the output of nph- programs back over HTTP/2")
                .fix(format!(
                    "use the name {}",
                    seen.name.trim_start_matches("nph-")
                ))
                .fix("or Protocols http/1.1 for that host")
        } else {
            check.blame(chain, |server| remedies(server.holds))
        });
    } else if http2.has_ended && seen.stream.end.is_none() {
        let text = format!(
            "over HTTP/2 the stream is short ({over_2} arrivals), over HTTP/1.1 it goes on: long polling"
        );
        let check = Check::warning("http2", text);
        checks.push(match seen.name.strip_prefix("nph-") {
            Some(plain_name) => check
                .by("Apache holds the output of nph- programs back over HTTP/2; the program sends short answers instead")
                .fix(format!("use the name {plain_name}")),
            None => check,
        });
    } else {
        checks.push(Check::good(
            "protocol",
            format!("HTTP/2, {over_2} arrivals against {plain} over HTTP/1.1"),
        ));
    }
}

//! The server's time, every interval.

use std::rc::Rc;
use std::time::Duration;

use chrono::{DateTime, FixedOffset, Offset as _, SecondsFormat, Utc};

use super::{Host, Next, Now, OpenError, Opened, Opening, Source, Stream, digits, resume_point};
use crate::event::{Batch, Event, EventId};

/// The stream `clock`.
pub static STREAM: Stream = Stream {
    name: "clock",
    summary: "the server's time, every interval",
    open,
    settings: settings_of!("clock"),
    argument: None,
    shared: None,
};

/// Sends `{"time":"2026-11-21T09:00:00.123+01:00","epoch_ms":…,"zone":"+01:00"}` every
/// `SSE_INTERVAL`, the first at once. With `SSE_COUNT` it ends after that many.
///
/// The id is the time in milliseconds, followed by `-n` if the stream is finite and this is its
/// n-th event. Nothing is replayed: past times are of no use. A slow reader gets fewer events, each
/// with the time at which it was made.
pub struct Clock {
    interval: Duration,
    count: Option<u64>,
    sent: u64,
    next_at: Duration,
    shown_unix_ms: u64,
    host: Rc<dyn Host>,
}

fn open(opening: &Opening<'_>) -> Result<Opened, OpenError> {
    let (point, gap) = resume_point(&opening.request.last_id, parse);
    let count = opening.settings.count;
    let sent = point.flatten().filter(|_| count.is_some()).unwrap_or(0);
    if point.is_some() && count.is_some_and(|count| sent >= count) {
        return Ok(Opened::Finished);
    }
    let clock = Clock {
        interval: opening.settings.interval,
        count,
        sent,
        next_at: opening.now.monotonic,
        shown_unix_ms: opening.now.unix_ms,
        host: Rc::clone(opening.host),
    };
    Ok(Opened::Stream(Box::new(clock), gap))
}

/// Reads `<milliseconds>` or `<milliseconds>-<events sent>`.
fn parse(id: &str) -> Option<Option<u64>> {
    match id.split_once('-') {
        None => digits(id).map(|_| None),
        Some((ms, sent)) => digits(ms).and(digits(sent)).map(Some),
    }
}

impl Source for Clock {
    fn poll(&mut self, now: Now, out: &mut Batch) -> Next {
        let finished = |sent| self.count.is_some_and(|count| sent >= count);
        if now.monotonic < self.next_at && !finished(self.sent) {
            return Next::At(self.next_at);
        }
        if !finished(self.sent) {
            self.sent += 1;
            self.shown_unix_ms = now.unix_ms;
            // Ticks that a slow reader missed are skipped; the schedule does not shift.
            let late = now.monotonic - self.next_at;
            let beats = late.as_nanos() / self.interval.as_nanos() + 1;
            self.next_at += self
                .interval
                .saturating_mul(u32::try_from(beats).unwrap_or(u32::MAX));
            let data = show(now.unix_ms, self.host.utc_offset_seconds(now.unix_ms));
            out.event(&Event {
                id: self.position(),
                name: None,
                data: data.as_bytes(),
            });
        }
        if finished(self.sent) {
            out.close(self.position());
            return Next::End;
        }
        Next::At(self.next_at)
    }

    fn position(&self) -> Option<EventId<'static>> {
        let ms = self.shown_unix_ms;
        let id = match self.count {
            Some(_) => format!("{ms}-{}", self.sent),
            None => ms.to_string(),
        };
        EventId::new(id).ok()
    }
}

/// The data of one tick.
fn show(unix_ms: u64, utc_offset_seconds: i32) -> String {
    let utc = i64::try_from(unix_ms)
        .ok()
        .and_then(DateTime::from_timestamp_millis);
    let utc = utc.unwrap_or_default();
    let utc_zone = Utc.fix();
    let zone = FixedOffset::east_opt(utc_offset_seconds).unwrap_or(utc_zone);
    let time = utc
        .with_timezone(&zone)
        .to_rfc3339_opts(SecondsFormat::Millis, false);
    format!(r#"{{"time":"{time}","epoch_ms":{unix_ms},"zone":"{zone}"}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_shows_local_time_epoch_and_zone() {
        assert_eq!(
            show(1_763_712_000_123, 3600),
            r#"{"time":"2025-11-21T09:00:00.123+01:00","epoch_ms":1763712000123,"zone":"+01:00"}"#
        );
    }
}

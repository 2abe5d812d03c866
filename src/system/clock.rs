//! The clocks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chrono::{Local, Offset, TimeZone, Utc};

use crate::source::Now;

/// The clocks of this process.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
        }
    }

    pub(crate) fn now(&self) -> Now {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Now {
            monotonic: self.started.elapsed(),
            unix_ms: since_epoch.as_millis() as u64,
        }
    }
}

/// The monotonic clock of the system, which all processes share, in milliseconds.
pub(crate) fn system_ms() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    now.map_or(0, |now| Duration::from(now).as_millis() as u64)
}

/// The value of a `Date` field (RFC 9110 §5.6.7, IMF-fixdate).
pub(crate) fn http_date() -> String {
    Utc::now().format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// The time for a line of a log.
pub(crate) fn log_time() -> String {
    Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// How far local time is ahead of UTC at `unix_ms`, in seconds.
pub(crate) fn utc_offset_seconds(unix_ms: u64) -> i32 {
    let moment = i64::try_from(unix_ms)
        .ok()
        .and_then(|ms| Utc.timestamp_millis_opt(ms).single());
    let moment = moment.unwrap_or_default();
    Local
        .offset_from_utc_datetime(&moment.naive_utc())
        .fix()
        .local_minus_utc()
}

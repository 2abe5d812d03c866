//! The clocks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Datelike as _, Local, Offset, TimeZone, Timelike as _, Utc};

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
    imf_fixdate(&Utc::now())
}

/// Without chrono's `format`, which interprets a format string at run time: that is a hundredth of
/// a program.
fn imf_fixdate(time: &DateTime<Utc>) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    format!(
        "{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
        time.weekday(),
        time.day(),
        MONTHS[time.month0() as usize],
        time.year(),
        time.hour(),
        time.minute(),
        time.second()
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_field_has_the_form_of_rfc_9110() {
        for (unix, expected) in [
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (1_798_761_599, "Thu, 31 Dec 2026 23:59:59 GMT"),
        ] {
            let time = DateTime::from_timestamp(unix, 999_000_000).unwrap();
            assert_eq!(imf_fixdate(&time), expected);
        }
    }
}

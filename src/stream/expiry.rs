//! Expiry: the end of a client's access, and with it of its stream.

use std::time::Duration;

use super::Delivery;
use crate::source::Now;

/// When a client's access ends. The client is told a little before with the event `expired`, so
/// that it can get a new link and reconnect without a pause.
///
/// The end is fixed on both clocks when the stream opens, and the earlier one counts: a wall
/// clock that is set back lengthens no access, and one that is set forward ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// On the monotonic clock. A small number, as a subscriber contains it.
    ends_at_ms: u64,
    /// On the wall clock, in seconds since 1970; `u32::MAX` for any later time.
    ends_at_unix_s: u32,
    /// How long before the end the client is told.
    lead_ms: u16,
    /// Whether the client has been told.
    is_told: bool,
}

impl Expiry {
    /// The longest time before the end at which a client is told. It is enough for a page to
    /// get a new link even if the first attempt fails; and links that end at the same time,
    /// such as a full hour, cause requests for new ones over three quarters of it.
    const LEAD_MAX: Duration = Duration::from_secs(40);

    /// The end of access that lasts until `until_unix_s`. `jitter` is a number from 0 to 1.
    #[must_use]
    pub fn new(until_unix_s: u64, delivery: Delivery, jitter: f64, now: Now) -> Self {
        let until_ms = until_unix_s.saturating_mul(1000);
        let left_ms = until_ms.saturating_sub(now.unix_ms);
        let window = match delivery {
            // A link that lasts for seconds still serves for half of them.
            Delivery::Immediate => Self::LEAD_MAX.min(Duration::from_millis(left_ms / 2)),
            // The client reconnects again and again: each stream is short, not its access.
            Delivery::HeldBack => Self::LEAD_MAX,
        };
        let lead = window.mul_f64(0.25 + 0.75 * jitter.clamp(0.0, 1.0));
        Self {
            ends_at_ms: (now.monotonic.as_millis() as u64).saturating_add(left_ms),
            ends_at_unix_s: u32::try_from(until_unix_s).unwrap_or(u32::MAX),
            lead_ms: u16::try_from(lead.as_millis()).unwrap_or(u16::MAX),
            is_told: false,
        }
    }

    /// Whether access has ended.
    #[must_use]
    pub fn is_over(&self, now: Now) -> bool {
        self.left(now).is_zero()
    }

    /// Whether the client is to be told now.
    #[must_use]
    pub fn is_to_be_told(&self, now: Now) -> bool {
        !self.is_told && self.left(now) <= self.lead()
    }

    /// The next time on the monotonic clock at which something is due.
    #[must_use]
    pub fn next_at(&self) -> Duration {
        let end = Duration::from_millis(self.ends_at_ms);
        match self.is_told {
            true => end,
            false => end.saturating_sub(self.lead()),
        }
    }

    /// Notes that the client is told, and returns what it is told: how long its access lasts
    /// yet, and how many milliseconds it waits before it reconnects by itself.
    ///
    /// All streams whose links end together end together, so that time is spread by half of the
    /// lead, which is random: by 5 to 20 s.
    #[must_use]
    pub fn tell(&mut self, retry_ms: u64, now: Now) -> (Duration, u64) {
        self.is_told = true;
        let retry_ms = retry_ms.saturating_add(u64::from(self.lead_ms) / 2);
        (self.left(now), retry_ms)
    }

    /// How long access lasts yet.
    fn left(&self, now: Now) -> Duration {
        let by_monotonic = Duration::from_millis(self.ends_at_ms).saturating_sub(now.monotonic);
        if self.ends_at_unix_s == u32::MAX {
            return by_monotonic;
        }
        let until_ms = u64::from(self.ends_at_unix_s) * 1000;
        by_monotonic.min(Duration::from_millis(until_ms.saturating_sub(now.unix_ms)))
    }

    fn lead(&self) -> Duration {
        Duration::from_millis(self.lead_ms.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 1_800_000_000;

    fn at(monotonic_ms: u64, unix_ms: u64) -> Now {
        Now {
            monotonic: Duration::from_millis(monotonic_ms),
            unix_ms,
        }
    }

    fn opened(seconds_left: u64, jitter: f64) -> Expiry {
        let now = at(5_000, (NOON - seconds_left) * 1000);
        Expiry::new(NOON, Delivery::Immediate, jitter, now)
    }

    #[test]
    fn a_client_is_told_10_to_40_s_before_and_earlier_in_a_short_access() {
        for (seconds_left, jitter, lead_ms) in [
            (3600, 0.0, 10_000),
            (3600, 1.0, 40_000),
            (3600, 0.5, 25_000),
            (80, 1.0, 40_000),
            (8, 0.0, 1_000),
            (8, 1.0, 4_000),
            (0, 1.0, 0),
        ] {
            let expiry = opened(seconds_left, jitter);
            let expected = 5_000 + seconds_left * 1000 - lead_ms;
            assert_eq!(
                expiry.next_at(),
                Duration::from_millis(expected),
                "{seconds_left}"
            );
        }
    }

    #[test]
    fn it_is_told_once_with_a_time_that_differs_from_client_to_client() {
        let mut expiry = opened(3600, 0.0);
        let before = at(5_000 + 3_589_999, NOON * 1000 - 10_001);
        assert!(!expiry.is_to_be_told(before) && !expiry.is_over(before));
        let due = at(5_000 + 3_590_000, NOON * 1000 - 10_000);
        assert!(expiry.is_to_be_told(due) && !expiry.is_over(due));
        assert_eq!(expiry.tell(3_000, due), (Duration::from_secs(10), 8_000));
        assert!(!expiry.is_to_be_told(due));
        assert_eq!(expiry.next_at(), Duration::from_millis(5_000 + 3_600_000));
        assert!(expiry.is_over(at(5_000 + 3_600_000, NOON * 1000)));
        let mut latest = opened(3600, 1.0);
        assert_eq!(latest.tell(3_000, due).1, 23_000);
    }

    #[test]
    fn a_clock_that_is_set_back_lengthens_no_access() {
        let expiry = opened(3600, 0.0);
        let hour = 3_600_000;
        assert!(!expiry.is_over(at(5_000 + hour - 1, 0)));
        assert!(expiry.is_over(at(5_000 + hour, 0)));
        assert!(expiry.is_to_be_told(at(5_000 + hour - 10_000, 0)));
    }

    #[test]
    fn a_clock_that_is_set_forward_ends_the_access() {
        let expiry = opened(3600, 0.0);
        assert!(!expiry.is_to_be_told(at(6_000, NOON * 1000 - 10_001)));
        assert!(expiry.is_to_be_told(at(6_000, NOON * 1000 - 10_000)));
        assert!(expiry.is_over(at(6_000, NOON * 1000)));
        assert!(expiry.is_over(at(6_000, u64::MAX)));
    }

    #[test]
    fn an_end_in_the_distant_future_is_none_of_this_process() {
        let now = at(5_000, NOON * 1000);
        for until in [u64::from(u32::MAX), 99_999_999_999_999, u64::MAX] {
            let expiry = Expiry::new(until, Delivery::Immediate, 1.0, now);
            assert!(!expiry.is_over(at(6_000, NOON * 1000 + 1_000)), "{until}");
            assert!(
                !expiry.is_to_be_told(at(6_000, NOON * 1000 + 1_000)),
                "{until}"
            );
        }
    }

    #[test]
    fn behind_a_gateway_that_holds_back_the_whole_lead_counts() {
        let now = at(0, (NOON - 20) * 1000);
        let expiry = Expiry::new(NOON, Delivery::HeldBack, 1.0, now);
        assert!(expiry.is_to_be_told(now));
    }
}

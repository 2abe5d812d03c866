//! Pace: how long to wait before the next attempt.

use std::time::Duration;

/// "A few seconds" (WHATWG HTML §9.2.2), if the server has sent no `retry:`.
pub(super) const RETRY_DEFAULT: Duration = Duration::from_secs(3);

/// The shortest wait: `retry: 0` is a mistake or an attack.
const RETRY_MIN: Duration = Duration::from_millis(100);

/// The longest back-off: readers return within a minute after a server is repaired.
const BACK_OFF_MAX: Duration = Duration::from_secs(60);

/// The longest `Retry-After` that is obeyed.
const WISH_MAX: Duration = Duration::from_secs(3600);

/// The longest time that is added to a `Retry-After`.
const WISH_SPREAD_MAX: Duration = Duration::from_secs(60);

/// The wait before the next attempt.
/// `retry` is the stream's `retry:`. `failures` counts the failed attempts since the last
/// stream. `random` is between 0 and 1 and makes the wait 0.75 to 1.5 times as long, so that
/// the clients of a restarted server do not all return at once. `wish` is a `Retry-After`: the
/// wait is never shorter, and up to half of it longer (at most a minute), since many clients
/// may have received the same one.
pub(super) fn wait(
    retry: Duration,
    failures: u32,
    wish: Option<Duration>,
    random: f64,
) -> Duration {
    let retry = retry.clamp(RETRY_MIN, WISH_MAX);
    let doublings = failures.saturating_sub(1).min(16);
    let backed_off = retry.saturating_mul(1 << doublings);
    let base = backed_off.min(BACK_OFF_MAX.max(retry));
    let jittered = base.mul_f64(0.75 + 0.75 * random);
    let wish = wish.unwrap_or_default().min(WISH_MAX);
    let spread = (wish / 2).min(WISH_SPREAD_MAX);
    jittered.max(wish + spread.mul_f64(random))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(retry_ms: u64, failures: u32, wish_s: Option<u64>, expected_ms: [u64; 2]) {
        let retry = Duration::from_millis(retry_ms);
        let wish = wish_s.map(Duration::from_secs);
        let waits = [0.0, 1.0].map(|random| wait(retry, failures, wish, random));
        assert_eq!(waits, expected_ms.map(Duration::from_millis));
    }

    #[test]
    fn after_a_stream_it_is_what_the_stream_said_more_or_less() {
        check(2000, 0, None, [1500, 3000]);
        check(2000, 1, None, [1500, 3000]);
        check(0, 0, None, [75, 150]);
        check(u64::MAX, 0, None, [2_700_000, 5_400_000]);
    }

    #[test]
    fn failure_after_failure_it_grows_to_a_minute() {
        check(2000, 2, None, [3000, 6000]);
        check(2000, 4, None, [12_000, 24_000]);
        check(2000, 100, None, [45_000, 90_000]);
        check(2000, u32::MAX, None, [45_000, 90_000]);
        check(300_000, 9, None, [225_000, 450_000]);
    }

    #[test]
    fn a_server_may_wish_for_more_and_not_for_less() {
        check(2000, 1, Some(10), [10_000, 15_000]);
        check(2000, 1, Some(2), [2000, 3000]);
        check(2000, 1, Some(u64::MAX), [3_600_000, 3_660_000]);
    }

    #[test]
    fn clients_that_were_given_the_same_retry_after_do_not_return_together() {
        let wish = Some(Duration::from_secs(30));
        let wait_of = |random| wait(RETRY_DEFAULT, 1, wish, random);
        let waits = [0.0, 0.25, 0.5, 0.75].map(wait_of);
        assert!(
            waits
                .windows(2)
                .all(|pair| pair[0] + Duration::from_secs(3) < pair[1])
        );
        assert!(waits[0] >= Duration::from_secs(30));
    }
}

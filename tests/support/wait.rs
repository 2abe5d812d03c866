//! Waiting for a condition with a deadline; never for a fixed time.

use std::time::{Duration, Instant};

/// More than a slow machine needs: reaching it is a failure.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// How long a test waits for what a server should do at once, on a machine that is busy with
/// other tests.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The interval of checking a condition.
const INTERVAL: Duration = Duration::from_millis(2);

/// The same for an expensive check, which reads many files of /proc or sends a request.
const LONG_INTERVAL: Duration = Duration::from_millis(20);

/// Waits until `condition` returns a value.
///
/// # Panics
/// At the deadline; the message says `what` was awaited.
#[track_caller]
pub fn wait_for<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    poll(what, DEADLINE, INTERVAL, condition)
}

/// Waits until `condition` holds and returns how long that took.
///
/// # Panics
/// When `limit` has passed; the message says `what` was awaited.
#[track_caller]
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    poll(what, limit, LONG_INTERVAL, || condition().then_some(()));
    started.elapsed()
}

#[track_caller]
fn poll<T>(
    what: &str,
    limit: Duration,
    interval: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(started.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(interval);
    }
}

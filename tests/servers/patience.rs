//! Waiting for a condition with a deadline; never for a fixed time.

use std::time::{Duration, Instant};

/// How long a test waits for what should happen at once, on a machine that is
/// busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How often a condition is looked at that cannot be waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Waits until `condition` holds and returns how long that took.
///
/// # Panics
/// When `limit` has passed; the message says `what` was awaited.
#[track_caller]
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(LOOK_AGAIN);
    }
    started.elapsed()
}

//! Moments to wait for.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Who is woken: a number that the loop gives.
pub(super) type Whom = u64;

/// A heap of moments. An entry is not removed when its moment has become meaningless: who
/// is woken compares it with what it waits for.
#[derive(Default)]
pub(super) struct Timers {
    /// In nanoseconds, which last for 584 years, and take half the room of a `Duration`.
    heap: BinaryHeap<Reverse<(u64, Whom)>>,
}

impl Timers {
    pub(super) fn set(&mut self, at: Duration, whom: Whom) {
        let nanoseconds = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        self.heap.push(Reverse((nanoseconds, whom)));
    }

    /// The first moment of all.
    pub(super) fn first(&self) -> Option<Duration> {
        let Reverse((at, _)) = self.heap.peek()?;
        Some(Duration::from_nanos(*at))
    }

    /// The next one that has come by `now`.
    pub(super) fn due(&mut self, now: Duration) -> Option<(Duration, Whom)> {
        let at = self.first().filter(|at| *at <= now)?;
        let Reverse((_, whom)) = self.heap.pop()?;
        Some((at, whom))
    }
}

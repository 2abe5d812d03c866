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
    heap: BinaryHeap<Reverse<(Duration, Whom)>>,
}

impl Timers {
    pub(super) fn set(&mut self, at: Duration, whom: Whom) {
        self.heap.push(Reverse((at, whom)));
    }

    /// The first moment of all.
    pub(super) fn first(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// The next one that has come by `now`.
    pub(super) fn due(&mut self, now: Duration) -> Option<(Duration, Whom)> {
        self.first().filter(|at| *at <= now)?;
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}

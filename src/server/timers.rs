//! Timers: a heap of deadlines.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::token::Token;

/// A heap of deadlines. Cancellation is lazy: an owner ignores a deadline that is no longer its
/// own.
#[derive(Default)]
pub(super) struct Timers {
    /// In nanoseconds, which suffice for 584 years and need half the memory of a `Duration`.
    heap: BinaryHeap<Reverse<(u64, u64)>>,
}

impl Timers {
    /// Wakes `token` at `at`.
    pub(super) fn set(&mut self, at: Duration, token: Token) {
        let nanoseconds = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        self.heap.push(Reverse((nanoseconds, token.to_u64())));
    }

    /// The first deadline.
    pub(super) fn first(&self) -> Option<Duration> {
        let Reverse((at, _)) = self.heap.peek()?;
        Some(Duration::from_nanos(*at))
    }

    /// The next deadline that has been reached by `now`.
    pub(super) fn due(&mut self, now: Duration) -> Option<(Duration, Token)> {
        let at = self.first().filter(|at| *at <= now)?;
        let Reverse((_, token)) = self.heap.pop()?;
        Some((at, Token::from_u64(token)))
    }
}

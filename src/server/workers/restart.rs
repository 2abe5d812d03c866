//! Restart: when a worker that has ended is replaced.

use std::time::Duration;

/// One that has run for so long is replaced at once.
const LONG: Duration = Duration::from_secs(5);

/// The first pause, which doubles each time that it ends soon again.
const PAUSE_MIN: Duration = Duration::from_millis(100);

const PAUSE_MAX: Duration = Duration::from_secs(10);

/// The ends of one worker.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Restart {
    /// How often it has ended soon, one time after the other.
    times: u32,
}

impl Restart {
    /// It has ended after this time: returns how long to wait before the next one is started.
    pub(super) fn pause_after(&mut self, ran: Duration) -> Duration {
        if ran >= LONG {
            self.times = 0;
            return Duration::ZERO;
        }
        self.times += 1;
        // The first one may be killed at any time.
        match self.times {
            1 => Duration::ZERO,
            times => (PAUSE_MIN * 2u32.pow(times.min(12) - 2)).min(PAUSE_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_ends_again_and_again_is_started_less_and_less_often() {
        let mut restart = Restart::default();
        let mut pause = |ran_ms| {
            let pause = restart.pause_after(Duration::from_millis(ran_ms));
            pause.as_millis()
        };
        assert_eq!(
            [pause(10), pause(10), pause(10), pause(10)],
            [0, 100, 200, 400]
        );
        for _ in 0..100 {
            pause(0);
        }
        assert_eq!(pause(0), 10_000);
        assert_eq!([pause(5_000), pause(10), pause(10)], [0, 0, 100]);
    }
}

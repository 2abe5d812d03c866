//! A file that grows steadily, and the delays of its lines at the readers.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::crowd::{Crowd, Delays};

/// How a file grows.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How many lines are written at once.
    pub lines: u64,
    /// How often.
    pub every: Duration,
}

impl Pace {
    /// So much a second, in lines of `line_bytes`, in so many writes a second.
    pub fn of(bytes_per_second: u64, line_bytes: u64, writes_per_second: u64) -> Self {
        Self {
            lines: bytes_per_second / line_bytes / writes_per_second,
            every: Duration::from_secs(1) / writes_per_second as u32,
        }
    }

    /// Writes for so long with `write`, which takes a number of lines and returns how many
    /// there are then, while the crowd reads. `look` is called after each write. Returns
    /// the delays of the clients `of`, in microseconds.
    pub fn keep(
        self,
        crowd: &mut Crowd,
        of: Range<usize>,
        span: Duration,
        mut write: impl FnMut(u64) -> u64,
        mut look: impl FnMut(&mut Crowd),
    ) -> Taken {
        let started = Instant::now();
        let mut due = started;
        while started.elapsed() < span {
            let now = Instant::now();
            let goal = write(self.lines);
            let delays = crowd.delays.get_or_insert_with(|| Delays {
                first: goal - self.lines,
                of: of.clone(),
                ..Delays::default()
            });
            delays.written.resize((goal - delays.first) as usize, now);
            look(crowd);
            due += self.every;
            loop {
                let left = due.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                crowd.turn(left);
            }
        }
        let delays = crowd.delays.take().unwrap_or_default();
        Taken::from(delays.taken_us)
    }
}

/// How long lines took, in order.
#[derive(Debug)]
pub struct Taken(Vec<u32>);

impl From<Vec<u32>> for Taken {
    fn from(mut taken_us: Vec<u32>) -> Self {
        taken_us.sort_unstable();
        Self(taken_us)
    }
}

impl Taken {
    /// The delay that this percentage did not exceed.
    pub fn percentile(&self, of_hundred: usize) -> Duration {
        let at = (self.0.len() * of_hundred / 100).min(self.0.len().saturating_sub(1));
        Duration::from_micros(u64::from(self.0.get(at).copied().unwrap_or(0)))
    }
}

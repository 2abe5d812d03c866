//! Countdown: N, N-1 … 0, then `close`.

use std::time::Duration;

use super::{
    CLOCK_SKEW_MS, Next, Now, OpenError, Opened, Opening, Source, Stream, digits, moment,
    resume_point,
};
use crate::event::{Batch, Event, EventId, Gap, Reason};

/// The stream `countdown`.
pub static STREAM: Stream = Stream {
    name: "countdown",
    summary: "N, N-1 ... 0, then close",
    open,
    settings: settings_of!("countdown"),
    argument: Some("SSE_COUNT"),
    shared: None,
};

/// The start of a countdown if `SSE_COUNT` is not set.
const DEFAULT_COUNT: u64 = 10;

/// Counts from `SSE_COUNT` (10) to 0, one number every `SSE_INTERVAL`, and ends with `close`.
///
/// An id is `<start>-<number>`: the start of this countdown, in milliseconds since 1970, and the
/// number that was sent; the last one is `<start>-end`. So any process can resume it: a client that
/// reconnects gets each number that it missed once, at once, and the rest when they are due.
pub struct Countdown {
    start_unix_ms: u64,
    count: u64,
    interval: Duration,
    /// The last number that was sent; `count + 1` before the first.
    shown: u64,
}

enum Point {
    Shown { start_unix_ms: u64, number: u64 },
    End,
}

fn parse(id: &str) -> Option<Point> {
    let (start, number) = id.split_once('-')?;
    let start_unix_ms = digits(start)?;
    match number {
        "end" => Some(Point::End),
        _ => Some(Point::Shown {
            start_unix_ms,
            number: digits(number)?,
        }),
    }
}

fn open(opening: &Opening<'_>) -> Result<Opened, OpenError> {
    let count = opening.settings.count.unwrap_or(DEFAULT_COUNT);
    let interval = opening.settings.interval;
    let (point, mut gap) = resume_point(&opening.request.last_id, parse);
    let now_unix_ms = opening.now.unix_ms;
    let fresh = Countdown {
        start_unix_ms: now_unix_ms,
        count,
        interval,
        shown: count + 1,
    };
    let countdown = match point {
        Some(Point::End) => return Ok(Opened::Finished),
        Some(Point::Shown {
            start_unix_ms,
            number,
        }) if number <= count + 1 && start_unix_ms <= now_unix_ms + CLOCK_SKEW_MS => Countdown {
            start_unix_ms,
            shown: number,
            ..fresh
        },
        Some(Point::Shown { .. }) => {
            gap = Some(Gap::new(Reason::UnknownId));
            fresh
        }
        None => fresh,
    };
    Ok(Opened::Stream(Box::new(countdown), gap))
}

impl Source for Countdown {
    fn poll(&mut self, now: Now, out: &mut Batch) -> Next {
        while self.shown > 0 {
            let number = self.shown - 1;
            let steps = self.count - number;
            let interval_ms = self.interval.as_millis() as u64;
            let due = self
                .start_unix_ms
                .saturating_add(interval_ms.saturating_mul(steps));
            if due > now.unix_ms {
                return Next::At(moment(now, due));
            }
            if out.is_full() {
                return Next::More;
            }
            self.shown = number;
            let data = number.to_string();
            out.event(&Event {
                id: self.position(),
                name: None,
                data: data.as_bytes(),
            });
        }
        out.close(EventId::new(format!("{}-end", self.start_unix_ms)).ok());
        Next::End
    }

    fn position(&self) -> Option<EventId<'static>> {
        EventId::new(format!("{}-{}", self.start_unix_ms, self.shown)).ok()
    }
}

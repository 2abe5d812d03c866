//! What a server serves, and all workers together.

use std::time::Duration;

use super::{Row, STREAMS_MAX};
use crate::server::event_loop::{Counters, Server};
use crate::server::token::Token;
use crate::source::Now;
use crate::stream::StatusReport;
use crate::system::clock;

/// How often the figures are counted that need a look at every connection.
const COUNT_EVERY: Duration = Duration::from_secs(1);

impl Counters {
    /// Continues those of a worker that has ended.
    pub(in crate::server) fn continue_from(&mut self, row: &Row) {
        self.events = row.events;
        self.bytes = row.bytes;
        self.dropped = row.dropped;
        self.accept_errors = row.accept_errors;
        self.ended = row.ended;
    }
}

impl Server {
    /// A stream of this name has been opened, or has ended.
    pub(in crate::server) fn count_stream(&mut self, name: &str, change: i64) {
        let at = self.streams.iter().position(|stream| stream.name == name);
        if let Some(open) = at.and_then(|at| self.open.get_mut(at)) {
            *open = open.saturating_add_signed(change);
        }
    }

    /// Whether SSE_MAX_SUBSCRIBERS allows all workers together one more stream, which then counts
    /// already.
    pub(in crate::server) fn take_place(&self) -> bool {
        let most = self.configuration.subscribers_max() as u64;
        (self.worker.as_ref()).is_none_or(|worker| {
            (worker.figures).take_place(worker.index, self.subscribers as u64, most)
        })
    }

    /// Writes this worker's figures to the table that all workers share.
    pub(in crate::server) fn publish_figures(&mut self, now: Now) {
        let Some(worker) = &self.worker else { return };
        let written = worker.written;
        let mut row = self.row(written.catching_up, written.oldest_ms);
        let is_stale = worker.is_stale || row != written;
        let due_at = worker
            .counted_at
            .map_or(Duration::ZERO, |at| at + COUNT_EVERY);
        let is_due = now.monotonic >= due_at;
        if is_stale && is_due {
            (row.catching_up, row.oldest_ms) = self.count_connections(now);
        }
        let Some(worker) = &mut self.worker else {
            return;
        };
        worker.is_stale = is_stale && !is_due;
        if is_stale && is_due {
            worker.counted_at = Some(now.monotonic);
            // Whoever catches up stops doing so without any other change.
            worker.is_stale = row.catching_up > 0;
        }
        if worker.is_stale && !worker.awaits_count {
            worker.awaits_count = true;
            let at = due_at.max(now.monotonic + COUNT_EVERY / 2);
            self.schedule.set(at, Token::Upkeep);
        }
        // A place that was taken for a stream that was not opened is free again.
        worker.figures.set_row(worker.index, &row);
        worker.written = row;
    }

    fn row(&self, catching_up: u64, oldest_ms: u64) -> Row {
        Row {
            events: self.counters.events,
            bytes: self.counters.bytes,
            dropped: self.counters.dropped,
            accept_errors: self.counters.accept_errors,
            ended: self.counters.ended,
            catching_up,
            oldest_ms,
            open: self.open,
        }
    }

    /// How many subscribers read by themselves what others share, and when the oldest stream
    /// began.
    fn count_connections(&self, now: Now) -> (u64, u64) {
        let (mut catching_up, mut oldest) = (0, None::<Duration>);
        for (_, connection) in self.connections.iter() {
            let Some(subscriber) = connection.subscriber() else {
                continue;
            };
            catching_up += u64::from(subscriber.is_catching_up());
            let age = now.monotonic.saturating_sub(subscriber.opened_at());
            oldest = oldest.max(Some(age));
        }
        let since = |age: Duration| clock::system_ms().saturating_sub(age.as_millis() as u64);
        (catching_up, oldest.map_or(0, since))
    }

    /// The figures of this process, or of all workers.
    pub(in crate::server) fn status(&self, now: Now) -> StatusReport {
        let (catching_up, oldest_ms) = self.count_connections(now);
        let mut row = self.row(catching_up, oldest_ms);
        let mut uptime = (now.monotonic - self.started.monotonic).as_secs();
        let system_ms = clock::system_ms();
        if let Some(worker) = &self.worker {
            row.add(&worker.figures.others(worker.index));
            uptime = system_ms.saturating_sub(worker.figures.started_ms()) / 1000;
        }
        let names = self.streams.iter().map(|stream| stream.name);
        let oldest_seconds = match row.oldest_ms {
            0 => 0,
            oldest => system_ms.saturating_sub(oldest) / 1000,
        };
        debug_assert!(self.streams.len() <= STREAMS_MAX);
        StatusReport {
            subscribers: names.zip(row.open).collect(),
            catching_up: row.catching_up,
            events: row.events,
            bytes: row.bytes,
            dropped: row.dropped,
            accept_errors: row.accept_errors,
            oldest_seconds,
            // Those of this process: its peers reach the same ones.
            engines: {
                let engines = self.host.engines.figures().into_iter();
                engines.map(|engine| (engine.name, engine.is_up)).collect()
            },
            uptime_seconds: uptime,
        }
    }
}

//! Figures: what all workers together serve, in a file in memory that they share.
//!
//! ```text
//! 0      open streams of each worker, which SSE_MAX_SUBSCRIBERS limits together
//! 512    when the supervisor was started
//! 4096   a row for each worker
//! ```
//!
//! Each worker writes its own part, and reads those of the others. When a worker has ended, the
//! supervisor removes its open streams. The worker that replaces it continues its counters, so
//! that none goes down.
//!
//! No memory is mapped, since that needs unsafe code: a read or a write costs less than 1 µs.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt as _;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::WORKERS_MAX;
use crate::system::clock;

/// How many streams a row distinguishes.
pub(in crate::server) const STREAMS_MAX: usize = 24;

/// The figures of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::server) struct Row {
    pub(in crate::server) events: u64,
    pub(in crate::server) bytes: u64,
    pub(in crate::server) dropped: u64,
    pub(in crate::server) accept_errors: u64,
    pub(in crate::server) ended: u64,
    pub(in crate::server) catching_up: u64,
    /// When the oldest open stream began, in milliseconds of the monotonic clock; 0: there is
    /// none.
    pub(in crate::server) oldest_ms: u64,
    /// Open streams, by the number of the stream.
    pub(in crate::server) open: [u64; STREAMS_MAX],
}

const FIELDS: usize = 7;
const ROW_BYTES: usize = (FIELDS + STREAMS_MAX) * 8;
const ROWS_AT: u64 = 4096;
const STARTED_AT: u64 = 512;
const COUNTS_BYTES: usize = WORKERS_MAX * 8;

/// How often the lock is tried. A worker that was stopped while it has the lock must not stop
/// the others: then the limit may be exceeded by some streams.
const LOCK_ATTEMPTS: usize = 1000;

impl Row {
    fn to_bytes(self) -> [u8; ROW_BYTES] {
        let first = [
            self.events,
            self.bytes,
            self.dropped,
            self.accept_errors,
            self.ended,
            self.catching_up,
            self.oldest_ms,
        ];
        let mut bytes = [0; ROW_BYTES];
        let values = first.iter().chain(&self.open);
        for (place, value) in bytes.chunks_exact_mut(8).zip(values) {
            place.copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8; ROW_BYTES]) -> Self {
        let mut values = bytes.chunks_exact(8).map(number);
        let mut next = || values.next().unwrap_or_default();
        Self {
            events: next(),
            bytes: next(),
            dropped: next(),
            accept_errors: next(),
            ended: next(),
            catching_up: next(),
            oldest_ms: next(),
            open: std::array::from_fn(|_| next()),
        }
    }

    /// The same figures of a process in which no stream is open.
    fn without_streams(self) -> Self {
        Self {
            // They ended with the process.
            ended: self.ended + self.open.iter().sum::<u64>(),
            catching_up: 0,
            oldest_ms: 0,
            open: [0; STREAMS_MAX],
            ..self
        }
    }

    /// Adds those of another worker.
    pub(in crate::server) fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.bytes += other.bytes;
        self.dropped += other.dropped;
        self.accept_errors += other.accept_errors;
        self.ended += other.ended;
        self.catching_up += other.catching_up;
        self.oldest_ms = match (self.oldest_ms, other.oldest_ms) {
            (0, oldest) | (oldest, 0) => oldest,
            (own, other) => own.min(other),
        };
        for (own, other) in self.open.iter_mut().zip(other.open) {
            *own += other;
        }
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

/// The file.
pub(in crate::server) struct Figures {
    file: File,
}

impl Figures {
    /// A new file.
    pub(super) fn create() -> io::Result<Self> {
        let file = File::from(memfd_create(c"sse-figures", MFdFlags::MFD_CLOEXEC)?);
        file.set_len(ROWS_AT + (WORKERS_MAX * ROW_BYTES) as u64)?;
        file.write_all_at(&clock::system_ms().to_le_bytes(), STARTED_AT)?;
        Ok(Self { file })
    }

    /// The one that was inherited.
    pub(super) fn of(file: File) -> Self {
        Self { file }
    }

    /// When the supervisor was started, in milliseconds of the monotonic clock.
    pub(in crate::server) fn started_ms(&self) -> u64 {
        let mut bytes = [0; 8];
        let read = self.file.read_exact_at(&mut bytes, STARTED_AT);
        read.map_or(0, |()| number(&bytes))
    }

    /// The row of a worker.
    pub(in crate::server) fn row(&self, worker: usize) -> Row {
        let mut bytes = [0; ROW_BYTES];
        let read = self.file.read_exact_at(&mut bytes, row_at(worker));
        read.map_or_else(|_| Row::default(), |()| Row::from_bytes(&bytes))
    }

    /// The rows of all other workers together.
    pub(in crate::server) fn others(&self, worker: usize) -> Row {
        let mut sum = Row::default();
        for other in (0..WORKERS_MAX).filter(|other| *other != worker) {
            sum.add(&self.row(other));
        }
        sum
    }

    /// Writes the row of a worker, and how many streams it has open.
    pub(in crate::server) fn set_row(&self, worker: usize, row: &Row) {
        let _ = self.file.write_all_at(&row.to_bytes(), row_at(worker));
        self.set_count(worker, row.open.iter().sum());
    }

    /// A worker has ended.
    pub(super) fn remove_streams(&self, worker: usize) {
        self.set_row(worker, &self.row(worker).without_streams());
    }

    fn set_count(&self, worker: usize, count: u64) {
        let _ = (self.file).write_all_at(&count.to_le_bytes(), worker as u64 * 8);
    }

    /// Counts one more stream of a worker that has so many, unless all workers together have
    /// `most` already.
    pub(in crate::server) fn take_place(&self, worker: usize, own: u64, most: u64) -> bool {
        // Two workers must not take the last place both, nor each leave it to the other.
        let is_locked = self.lock();
        let mut bytes = [0; COUNTS_BYTES];
        let read = self.file.read_exact_at(&mut bytes, 0);
        let counts = bytes.chunks_exact(8).map(number).enumerate();
        let others: u64 = counts
            .filter(|(other, _)| *other != worker)
            .map(|(_, count)| count)
            .sum();
        let has_place = read.is_err() || own + others < most;
        if has_place {
            self.set_count(worker, own + 1);
        }
        if is_locked {
            self.set_lock(libc::F_UNLCK);
        }
        has_place
    }

    /// The end of a process removes its lock.
    fn lock(&self) -> bool {
        for _ in 0..LOCK_ATTEMPTS {
            if self.set_lock(libc::F_WRLCK) {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }

    fn set_lock(&self, kind: i32) -> bool {
        let lock = libc::flock {
            l_type: kind as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 1,
            l_pid: 0,
        };
        fcntl(&self.file, FcntlArg::F_SETLK(&lock)).is_ok()
    }
}

impl AsFd for Figures {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn row_at(worker: usize) -> u64 {
    ROWS_AT + (worker * ROW_BYTES) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: u64) -> Row {
        let mut row = Row {
            events: number,
            bytes: 2 * number,
            dropped: 3,
            accept_errors: 4,
            ended: 5,
            catching_up: 6,
            oldest_ms: 100 - number,
            open: [0; STREAMS_MAX],
        };
        row.open[1] = 7;
        row.open[STREAMS_MAX - 1] = 1;
        row
    }

    #[test]
    fn rows_add_up_and_a_worker_that_has_ended_keeps_only_its_counters() {
        let figures = Figures::create().unwrap();
        figures.set_row(0, &row(10));
        figures.set_row(63, &row(20));
        assert_eq!(figures.row(0), row(10));
        let mut all = figures.others(0);
        assert_eq!(all, row(20));
        all.add(&figures.row(0));
        assert_eq!((all.events, all.bytes, all.oldest_ms), (30, 60, 80));
        assert_eq!((all.open[1], all.open[STREAMS_MAX - 1]), (14, 2));
        figures.remove_streams(63);
        let left = figures.row(63);
        assert_eq!((left.events, left.ended, left.catching_up), (20, 13, 0));
        assert_eq!(left.open, [0; STREAMS_MAX]);
    }

    #[test]
    fn all_workers_together_have_no_more_places_than_there_are() {
        let figures = Figures::create().unwrap();
        assert!(figures.take_place(0, 0, 3));
        assert!(figures.take_place(0, 1, 3));
        assert!(figures.take_place(1, 0, 3));
        assert!(!figures.take_place(1, 1, 3));
        assert!(!figures.take_place(0, 2, 3));
        figures.remove_streams(0);
        assert!(figures.take_place(1, 1, 3));
        assert!(figures.take_place(2, 0, 3));
        assert!(!figures.take_place(0, 0, 3));
    }
}

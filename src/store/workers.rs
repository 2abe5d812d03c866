//! Workers: a small pool of threads for work that waits for a disk or for another process.
//!
//! ```text
//! event loop ── submit ──► queue ──► thread ──► results ── eventfd ──► event loop
//! ```
//!
//! A thread starts when there is work and no thread is idle, and ends after a while without
//! work. The descriptor is written once for all available results, so a burst wakes the loop
//! once.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};

/// The maximum number of threads.
const THREADS_MAX: usize = 4;

/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(10);

/// The size of a thread's stack.
const STACK_BYTES: usize = 256 * 1024;

/// Work that returns a result.
pub(crate) type Job<T> = Box<dyn FnOnce() -> T + Send>;

/// The pool.
pub(crate) struct Workers<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    has_work: Condvar,
    has_results: EventFd,
}

struct State<T> {
    jobs: VecDeque<Job<T>>,
    results: Vec<T>,
    threads: usize,
    /// How many threads wait for work.
    idle: usize,
    is_closed: bool,
}

impl<T: Send + 'static> Workers<T> {
    /// A pool without threads.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    jobs: VecDeque::new(),
                    results: Vec::new(),
                    threads: 0,
                    idle: 0,
                    is_closed: false,
                }),
                has_work: Condvar::new(),
                has_results: EventFd::from_value_and_flags(0, flags)?,
            }),
        })
    }

    /// Queues a job.
    ///
    /// # Errors
    /// There is no thread, and none can be started: the job is returned.
    pub(crate) fn submit(&self, job: Job<T>) -> Result<(), Job<T>> {
        let mut state = self.shared.lock();
        if state.idle <= state.jobs.len() && state.threads < THREADS_MAX {
            let shared = Arc::clone(&self.shared);
            let builder = thread::Builder::new()
                .name("sse-worker".into())
                .stack_size(STACK_BYTES);
            match builder.spawn(move || shared.work()) {
                Ok(_) => state.threads += 1,
                Err(_) if state.threads == 0 => return Err(job),
                Err(_) => {}
            }
        }
        state.jobs.push_back(job);
        drop(state);
        self.shared.has_work.notify_one();
        Ok(())
    }

    /// The results of jobs since the last call.
    pub(crate) fn results(&self) -> Vec<T> {
        let _ = self.shared.has_results.read();
        std::mem::take(&mut self.shared.lock().results)
    }
}

impl<T> AsFd for Workers<T> {
    /// Readable when there are results.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.has_results.as_fd()
    }
}

impl<T> Drop for Workers<T> {
    /// Threads end after their present job. Nobody waits for them, because the disk may not
    /// respond.
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.has_work.notify_all();
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Between any two statements under the lock the state is valid.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The function of a thread.
    fn work(&self) {
        let mut state = self.lock();
        while !state.is_closed {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                let result = job();
                state = self.lock();
                state.results.push(result);
                if state.results.len() == 1 {
                    let _ = self.has_results.write(1);
                }
                continue;
            }
            state.idle += 1;
            let waited = self.has_work.wait_timeout(state, IDLE);
            let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if timeout.timed_out() && state.jobs.is_empty() {
                break;
            }
        }
        state.threads -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Instant;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    fn wait_for_results(workers: &Workers<usize>, count: usize) -> Vec<usize> {
        let mut results = Vec::new();
        let start = Instant::now();
        while results.len() < count {
            assert!(start.elapsed() < Duration::from_secs(20), "{results:?}");
            let mut readable = [PollFd::new(workers.as_fd(), PollFlags::POLLIN)];
            poll(&mut readable, PollTimeout::from(1000u16)).unwrap();
            results.extend(workers.results());
        }
        results.sort_unstable();
        results
    }

    #[test]
    fn a_job_that_waits_delays_no_other_one() {
        let workers = Workers::new().unwrap();
        let (release, waits) = mpsc::channel::<()>();
        let waiting = Box::new(move || waits.recv().map_or(1000, |()| 1001));
        assert!(workers.submit(waiting).is_ok());
        for number in 0..100 {
            assert!(workers.submit(Box::new(move || number)).is_ok());
        }
        let expected: Vec<usize> = (0..100).collect();
        assert_eq!(wait_for_results(&workers, 100), expected);
        release.send(()).unwrap();
        assert_eq!(wait_for_results(&workers, 1), [1001]);
        assert!(workers.shared.lock().threads <= THREADS_MAX);
    }
}

//! PublishQueue: appends a server's records to files without waiting for a disk.
//!
//! ```text
//! Addition ──┬─ waits for nothing ──► added at once
//!            └─ waits (disk, command) ──► queue of its file ──► worker ──► results
//! ```
//!
//! A record that must survive a power cut waits for the disk, and a session's command for a
//! process: a worker does both. Anything else is a write into the page cache, which costs less
//! than handing it to a worker; while such writes are slow, workers do them as well.
//!
//! One worker at a time appends to a file. The records that arrive meanwhile are the next
//! batch, with one wait for the disk.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::answering::AnswerCommand;
use super::append::{Added, AppendError, AppendOptions, Target, TargetKey, Unconfirmed};
use super::workers::{Job, Workers};
use crate::publish::Record;
use crate::source::tail::TailId;

/// A write into the page cache of this duration waits for a disk.
const SLOW: Duration = Duration::from_millis(5);

/// For how long workers do all writes after a slow one.
const SLOW_FOR: Duration = Duration::from_secs(10);

/// The maximum number of records in a batch.
const BATCH_MAX: usize = 64;

/// A record that must be appended to a file. A worker does it only while its owner keeps it.
pub(crate) struct Addition {
    pub(crate) target: Arc<Target>,
    pub(crate) record: Record,
    pub(crate) options: AppendOptions,
    /// The session's command, which responds to it.
    pub(crate) command: Option<AnswerCommand>,
}

/// The result of an addition.
pub(crate) struct Outcome {
    pub(crate) place: Result<TailId, AppendError>,
    /// A line for the log.
    pub(crate) warning: Option<String>,
}

impl Addition {
    /// Performs it now; this may wait for a disk, and for the start of a process.
    pub(crate) fn run(&self) -> Outcome {
        let place = self.target.append(&self.record, &self.options);
        self.answered(place)
    }

    fn answered(&self, place: Result<TailId, AppendError>) -> Outcome {
        let warning = match (&place, &self.command) {
            (Ok(_), Some(command)) => command.answer(&self.target, &self.record),
            _ => None,
        };
        Outcome { place, warning }
    }

    /// Whether it always waits.
    fn waits(&self) -> bool {
        self.options.wait_for_disk() || self.command.is_some()
    }
}

/// The additions to one file, each with its number.
type Batch = Vec<(u64, Weak<Addition>)>;

struct Finished {
    file: TargetKey,
    outcomes: Vec<(u64, Outcome)>,
    /// The duration of the slowest write.
    slowest: Duration,
}

/// The queue of all files.
pub(crate) struct PublishQueue {
    workers: Option<Workers<Finished>>,
    /// The next batch of each file to which a worker is appending.
    files: BTreeMap<TargetKey, Batch>,
    /// Writes into the page cache have been slow: workers do them until this time.
    slow_until: Option<Instant>,
}

impl PublishQueue {
    pub(crate) fn new() -> Self {
        Self {
            workers: None,
            files: BTreeMap::new(),
            slow_until: None,
        }
    }

    /// Appends a record, or lets a worker do it: then [`Self::results`] returns the result with
    /// `number`. The first time, `register` gets the descriptor to wait on.
    ///
    /// If there is no worker, this waits.
    pub(crate) fn add(
        &mut self,
        number: u64,
        addition: &Arc<Addition>,
        register: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>,
    ) -> Option<Outcome> {
        if !addition.waits() && !self.is_slow() {
            let start = Instant::now();
            let outcome = addition.run();
            self.note(start.elapsed());
            return Some(outcome);
        }
        let (Ok(file), Ok(())) = (addition.target.key(), self.start(register)) else {
            return Some(addition.run());
        };
        let entry = (number, Arc::downgrade(addition));
        if let Some(next) = self.files.get_mut(&file) {
            next.push(entry);
            return None;
        }
        self.files.insert(file.clone(), Vec::new());
        let finished = self.submit(file, vec![entry])?;
        self.files.remove(&finished.file);
        let mut outcomes = finished.outcomes.into_iter();
        outcomes.next().map(|(_, outcome)| outcome)
    }

    fn start(&mut self, register: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>) -> io::Result<()> {
        if self.workers.is_none() {
            let workers = Workers::new()?;
            register(workers.as_fd())?;
            self.workers = Some(workers);
        }
        Ok(())
    }

    /// Lets a worker append a batch to a file. If there is none, this appends it and returns
    /// the results.
    fn submit(&self, file: TargetKey, batch: Batch) -> Option<Finished> {
        let job: Job<Finished> = Box::new(move || add_all(file, batch));
        match &self.workers {
            Some(workers) => workers.submit(job).err().map(|job| job()),
            None => Some(job()),
        }
    }

    /// The results since the last call, with their numbers.
    pub(crate) fn results(&mut self) -> Vec<(u64, Outcome)> {
        let Some(workers) = &self.workers else {
            return Vec::new();
        };
        let mut all = Vec::new();
        let mut finished = workers.results();
        while let Some(Finished {
            file,
            outcomes,
            slowest,
        }) = finished.pop()
        {
            self.note(slowest);
            all.extend(outcomes);
            let Some(next) = self.files.get_mut(&file) else {
                continue;
            };
            if next.is_empty() {
                self.files.remove(&file);
                continue;
            }
            let batch = next.drain(..next.len().min(BATCH_MAX)).collect();
            finished.extend(self.submit(file, batch));
        }
        all
    }

    fn is_slow(&self) -> bool {
        self.slow_until.is_some_and(|until| Instant::now() < until)
    }

    /// Records the duration of a write into the page cache.
    fn note(&mut self, took: Duration) {
        if took >= SLOW {
            self.slow_until = Some(Instant::now() + SLOW_FOR);
        }
    }
}

/// Records of a batch that the disk has not confirmed: all are in one file.
#[derive(Default)]
struct Group {
    file: Option<Unconfirmed>,
    added: Vec<(u64, Arc<Addition>, TailId)>,
}

impl Group {
    /// Waits until they are on the disk.
    fn confirm(self, outcomes: &mut Vec<(u64, Outcome)>) {
        let (Some(file), Some((_, first, _))) = (self.file, self.added.first()) else {
            return;
        };
        let error = file.confirm(&first.target).err();
        for (number, addition, id) in self.added {
            let place = match &error {
                Some(error) => Err(AppendError::System(same(error))),
                None => Ok(id),
            };
            outcomes.push((number, addition.answered(place)));
        }
    }
}

/// Appends all records of a batch to their file, and waits for the disk once.
fn add_all(file: TargetKey, batch: Batch) -> Finished {
    let mut slowest = Duration::ZERO;
    let mut outcomes = Vec::new();
    let mut group = Group::default();
    for (number, addition) in batch {
        // The client that posted it has disconnected.
        let Some(addition) = addition.upgrade() else {
            continue;
        };
        let start = Instant::now();
        let added = addition.target.add(&addition.record, &addition.options);
        slowest = slowest.max(start.elapsed());
        let (id, unconfirmed) = match added {
            Err(error) => {
                outcomes.push((number, addition.answered(Err(error))));
                continue;
            }
            Ok(Added { id, unconfirmed }) => (id, unconfirmed),
        };
        let Some(own) = unconfirmed else {
            outcomes.push((number, addition.answered(Ok(id))));
            continue;
        };
        let other = match &mut group.file {
            Some(file) => file.merge(own),
            None => Some(own),
        };
        // The first one, or one after a rotation.
        if let Some(own) = other {
            std::mem::take(&mut group).confirm(&mut outcomes);
            group.file = Some(own);
        }
        group.added.push((number, addition, id));
    }
    group.confirm(&mut outcomes);
    Finished {
        file,
        outcomes,
        slowest,
    }
}

fn same(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::other(error.to_string()),
    }
}

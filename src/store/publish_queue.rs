//! Records that a server adds to files, without waiting for a disk.
//!
//! ```text
//! Addition ──┬─ waits for nothing ──► added at once
//!            └─ waits (disk, command) ──► queue of its file ──► worker ──► results
//! ```
//!
//! A record that is to survive a power cut waits for the disk, and a session's command for a
//! process: both are done by a worker. Anything else is a write into the page cache, which costs
//! less than handing it over; while such writes are slow, workers do them as well.
//!
//! One worker at a time adds to a file. What is posted meanwhile is its next batch, for which
//! the disk is waited for once.

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

/// A write into the page cache that takes so long waits for a disk.
const SLOW: Duration = Duration::from_millis(5);

/// For how long workers do all writes after a slow one.
const SLOW_FOR: Duration = Duration::from_secs(10);

/// How many records one batch has, at most.
const BATCH_MAX: usize = 64;

/// A record that is to be added to a file. A worker does it only while its owner keeps it.
pub(crate) struct Addition {
    pub(crate) target: Arc<Target>,
    pub(crate) record: Record,
    pub(crate) options: AppendOptions,
    /// What answers it.
    pub(crate) command: Option<AnswerCommand>,
}

/// What became of an addition.
pub(crate) struct Outcome {
    pub(crate) place: Result<TailId, AppendError>,
    /// A line for the log.
    pub(crate) warning: Option<String>,
}

impl Addition {
    /// Adds it now; this may wait for a disk, and for a process to start.
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

/// Those who post to one file: each is known by a number.
type Batch = Vec<(u64, Weak<Addition>)>;

struct Finished {
    file: TargetKey,
    outcomes: Vec<(u64, Outcome)>,
    /// How long the slowest write took.
    slowest: Duration,
}

/// The queue of all files.
pub(crate) struct PublishQueue {
    workers: Option<Workers<Finished>>,
    /// The next batch of each file to which a worker adds.
    files: BTreeMap<TargetKey, Batch>,
    /// Writes into the page cache have been slow: workers do them until then.
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

    /// Adds a record, or has a worker do it: then [`Self::results`] tells what became of it,
    /// by `number`. The first time, `register` is given the descriptor to wait on.
    ///
    /// Where there can be no worker, this waits.
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

    /// Has a worker add a batch to a file. Where there is none, it is done already.
    fn submit(&self, file: TargetKey, batch: Batch) -> Option<Finished> {
        let job: Job<Finished> = Box::new(move || add_all(file, batch));
        match &self.workers {
            Some(workers) => workers.submit(job).err().map(|job| job()),
            None => Some(job()),
        }
    }

    /// What became of additions since this was called last, by their numbers.
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

    /// A write into the page cache took so long.
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
    /// Waits until the disk has them.
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

/// Adds all records of a batch to their file, and waits for the disk once.
fn add_all(file: TargetKey, batch: Batch) -> Finished {
    let mut slowest = Duration::ZERO;
    let mut outcomes = Vec::new();
    let mut group = Group::default();
    for (number, addition) in batch {
        // Whoever posted it has left.
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

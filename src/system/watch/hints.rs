//! Hints: the reported changes of one followed path.

use std::cell::Cell;
use std::time::Duration;

use super::Coverage;
use crate::source::Changes;

/// The hints for one followed path, shared by its source's disk and the watcher.
pub(crate) struct Hints {
    /// The number of the owner that polls the source when a hint arrives; the event loop
    /// assigns it.
    owner: Cell<u64>,
    hinted: Cell<bool>,
    /// How well the path is watched.
    coverage: Cell<Coverage>,
    /// The number of hints about more than writes to an open file.
    moves: Cell<u64>,
    /// The number of hints about writes only.
    writes: Cell<u64>,
    /// Changes whenever the folder, or one above it, was moved or removed.
    generation: Cell<u64>,
    moved_in: Cell<bool>,
}

impl Hints {
    pub(crate) fn new() -> Self {
        Self {
            owner: Cell::new(0),
            hinted: Cell::new(false),
            coverage: Cell::new(Coverage::None),
            moves: Cell::new(0),
            writes: Cell::new(0),
            generation: Cell::new(0),
            moved_in: Cell::new(false),
        }
    }

    pub(crate) fn owner(&self) -> u64 {
        self.owner.get()
    }

    pub(crate) fn coverage(&self) -> Coverage {
        self.coverage.get()
    }

    pub(crate) fn set_coverage(&self, coverage: Coverage) {
        self.coverage.set(coverage);
    }

    /// While it is unchanged and the coverage is whole, the path still names the same file.
    pub(crate) fn moves(&self) -> u64 {
        self.moves.get()
    }

    pub(crate) fn writes(&self) -> u64 {
        self.writes.get()
    }

    /// While it is unchanged, watches need not be renewed.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// Whether the file was renamed into its place since the last call.
    pub(crate) fn take_moved_in(&self) -> bool {
        self.moved_in.replace(false)
    }

    pub(super) fn moved_in(&self) {
        self.moved_in.set(true);
    }

    pub(super) fn written(&self) {
        self.writes.set(self.writes.get() + 1);
    }

    pub(super) fn moved(&self) {
        self.moves.set(self.moves.get() + 1);
    }

    pub(super) fn folder_moved(&self) {
        self.generation.set(self.generation.get() + 1);
    }

    /// Records that the source must be polled; returns whether that is new.
    pub(super) fn hint(&self) -> bool {
        !self.hinted.replace(true)
    }

    /// The source is about to be polled.
    pub(super) fn take(&self) {
        self.hinted.set(false);
    }
}

impl Changes for Hints {
    fn set_owner(&self, owner: u64) {
        self.owner.set(owner);
    }

    fn look_again_after(&self) -> Option<Duration> {
        self.coverage.get().look_again_after()
    }

    fn reported(&self) -> Option<u64> {
        let are_all = self.coverage.get().look_again_after().is_none();
        are_all.then(|| self.moves.get() + self.writes.get())
    }
}

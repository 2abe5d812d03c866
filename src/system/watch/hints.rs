//! What one followed path has been told.

use std::cell::Cell;
use std::time::Duration;

use super::Coverage;
use crate::source::Changes;

/// The hints for one followed path, kept by whoever follows it and by the watcher.
pub(crate) struct Hints {
    /// Who is to look when a hint comes: a number that the caller gives.
    owner: Cell<u64>,
    hinted: Cell<bool>,
    /// How well the path is watched.
    coverage: Cell<Coverage>,
    /// How many hints have told of more than writing into an open file.
    moves: Cell<u64>,
    /// How many hints have told of writing only.
    writes: Cell<u64>,
    /// Changes whenever the folder, or one above it, has been moved or removed.
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

    /// While it stays the same, a path that is watched wholly names what it named.
    pub(crate) fn moves(&self) -> u64 {
        self.moves.get()
    }

    pub(crate) fn writes(&self) -> u64 {
        self.writes.get()
    }

    /// While it stays the same, watches need not be set anew.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// Whether the file was renamed into its place since this was asked last.
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

    pub(super) fn uprooted(&self) {
        self.generation.set(self.generation.get() + 1);
    }

    /// Notes that there is something to look at; says whether that is new.
    pub(super) fn hint(&self) -> bool {
        !self.hinted.replace(true)
    }

    /// Who follows is about to look.
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
}

//! Owners: one owner of several feeds.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use crate::source::Changes;

/// The owner of several feeds, of which some are opened later.
#[derive(Default)]
pub(super) struct Owners {
    owner: Cell<u64>,
    all: RefCell<Vec<Rc<dyn Changes>>>,
}

impl Owners {
    /// Adds a feed.
    pub(super) fn add(&self, changes: Rc<dyn Changes>) {
        changes.set_owner(self.owner.get());
        self.all.borrow_mut().push(changes);
    }
}

impl Changes for Owners {
    fn set_owner(&self, owner: u64) {
        self.owner.set(owner);
        for changes in &*self.all.borrow() {
            changes.set_owner(owner);
        }
    }

    fn look_again_after(&self) -> Option<Duration> {
        None
    }
}

//! Changes: how a source learns that its data may have changed.

use std::os::fd::BorrowedFd;
use std::time::Duration;

/// Reports changes of one source's data. The host implements it, and the event loop waits for
/// its reports.
///
/// A change is only a reason to poll the source: there may be no new event.
pub trait Changes {
    /// Sets the number of the source's owner, which the event loop assigns and gets back with
    /// each change.
    fn set_owner(&self, owner: u64);

    /// The longest time between two polls if some changes are not reported; `None` if all are
    /// reported.
    fn look_again_after(&self) -> Option<Duration>;

    /// How many changes have been reported so far; `None` (the default) if some may not be
    /// reported. While the number stays, there is nothing new.
    fn reported(&self) -> Option<u64> {
        None
    }

    /// A descriptor of the source that becomes readable when there is a change, and that
    /// polling the source makes unreadable again. `None` (the default) if the host reports
    /// changes by itself.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

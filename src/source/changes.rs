//! How a source learns that what it reads may have changed.

use std::os::fd::BorrowedFd;
use std::time::Duration;

/// The changes of what one source reads. The host implements it, and an event loop waits
/// for them.
///
/// A change is a reason to poll the source, never news by itself.
pub trait Changes {
    /// Names who polls the source: a number that the event loop gives, and gets back when
    /// there is a change.
    fn set_owner(&self, owner: u64);

    /// The longest time between two polls, where a change may come without notice;
    /// `None` where every change is noticed.
    fn look_again_after(&self) -> Option<Duration>;

    /// A descriptor of the source's own that becomes readable when there is a change, and
    /// that polling the source makes unreadable again. `None` (the default) where the host
    /// tells of changes itself.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

//! Watcher: reports that a file may have changed.
//!
//! ```text
//!   inotify ──(no instance left)──► dnotify ──(not in this kernel)──► looking
//! ```
//!
//! A report is only a hint, a reason to poll: the follower compares the file that the path
//! names now with the one that it reads. So there may be too many hints. Where hints are not
//! reliable, the source polls every second.

mod dnotify;
#[forbid(unsafe_code)]
mod hints;
#[forbid(unsafe_code)]
mod inotify;

use std::cell::RefCell;
use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use dnotify::Dnotify;
pub(crate) use hints::Hints;
use inotify::Inotify;
use nix::sys::inotify::WatchDescriptor;

/// The interval of polling if there are no hints at all.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The interval of polling if some changes give no hint: a path with symbolic links, a network
/// file system, an overlay, dnotify.
const SAFETY_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Which changes of a path give a hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Coverage {
    /// Nothing.
    None,
    /// Something.
    Part,
    /// Everything that matters.
    Whole,
}

/// The watches of this process.
pub(crate) struct Watcher {
    backend: RefCell<Backend>,
    /// The hints of all followed paths.
    followers: RefCell<Vec<Rc<Hints>>>,
    /// The paths with hints that were read early: see [`Watcher::collect`].
    collected: RefCell<Vec<Rc<Hints>>>,
}

enum Backend {
    /// Nothing has been watched yet.
    Unused,
    Inotify(Inotify),
    Dnotify(Dnotify),
    /// Neither is available.
    Polling,
}

impl Watcher {
    pub(crate) fn new() -> Self {
        Self {
            backend: RefCell::new(Backend::Unused),
            followers: RefCell::new(Vec::new()),
            collected: RefCell::new(Vec::new()),
        }
    }

    /// A watcher that watches nothing: all sources poll.
    pub(crate) fn blind() -> Self {
        Self {
            backend: RefCell::new(Backend::Polling),
            followers: RefCell::new(Vec::new()),
            collected: RefCell::new(Vec::new()),
        }
    }

    /// Adds a path that is followed.
    pub(crate) fn follow(&self) -> Rc<Hints> {
        let hints = Rc::new(Hints::new());
        self.followers.borrow_mut().push(Rc::clone(&hints));
        hints
    }

    /// Removes a path that is followed.
    pub(crate) fn forget(&self, hints: &Rc<Hints>) {
        let mut followers = self.followers.borrow_mut();
        if let Some(place) = followers.iter().position(|own| Rc::ptr_eq(own, hints)) {
            followers.swap_remove(place);
        }
        let mut collected = self.collected.borrow_mut();
        collected.retain(|own| !Rc::ptr_eq(own, hints));
        if let Backend::Inotify(inotify) = &mut *self.backend.borrow_mut() {
            inotify.forget_all(hints);
        }
    }

    /// Watches the folder of a path and the names in it that begin with `name`; returns the
    /// coverage.
    pub(crate) fn watch_folder(&self, folder: &Path, name: &OsStr, hints: &Rc<Hints>) -> Coverage {
        let mut backend = self.backend.borrow_mut();
        if matches!(*backend, Backend::Unused) {
            *backend = Backend::choose();
        }
        match &mut *backend {
            Backend::Inotify(inotify) => inotify.watch_folder(folder, name, hints),
            Backend::Dnotify(dnotify) => dnotify.watch_folder(folder),
            Backend::Unused | Backend::Polling => Coverage::None,
        }
    }

    /// Watches writes to an open file, even if it is renamed, until the watch is dropped;
    /// returns the coverage.
    pub(crate) fn watch_file(
        self: &Rc<Self>,
        file: BorrowedFd<'_>,
        hints: &Rc<Hints>,
    ) -> (Coverage, FileWatch) {
        let mut own = None;
        let coverage = match &mut *self.backend.borrow_mut() {
            Backend::Inotify(inotify) => {
                own = inotify.watch_file(file, hints);
                own.map_or(Coverage::None, |_| Coverage::Whole)
            }
            // The watch of its folder covers the writes.
            Backend::Dnotify(_) => Coverage::Part,
            Backend::Unused | Backend::Polling => Coverage::None,
        };
        let watch = own.map(|own| (Rc::clone(self), own, Rc::clone(hints)));
        (coverage, FileWatch(watch))
    }

    /// The descriptor to wait on; `None` if there will be no hints.
    pub(crate) fn with_descriptor<T>(&self, use_it: impl FnOnce(Option<BorrowedFd<'_>>) -> T) -> T {
        match &*self.backend.borrow() {
            Backend::Inotify(inotify) => use_it(Some(inotify.descriptor())),
            Backend::Dnotify(dnotify) => use_it(Some(dnotify.descriptor())),
            Backend::Unused | Backend::Polling => use_it(None),
        }
    }

    /// Reads the hints that have arrived, for a follower that has seen a change and needs
    /// them now. [`Watcher::drain`] must follow, even though the descriptor is no longer
    /// readable: it reports them to the other followers.
    pub(crate) fn collect(&self) {
        if let Backend::Inotify(inotify) = &mut *self.backend.borrow_mut() {
            let mut collected = self.collected.borrow_mut();
            inotify.drain(&mut |hints| {
                if hints.hint() {
                    collected.push(Rc::clone(hints));
                }
            });
        }
    }

    /// Whether [`Watcher::drain`] has hints to report, whatever the descriptor says.
    pub(crate) fn has_collected(&self) -> bool {
        !self.collected.borrow().is_empty()
    }

    /// Reads the hints that have arrived, and calls `told` once for each path that they
    /// concern.
    pub(crate) fn drain(&self, mut told: impl FnMut(&Hints)) {
        self.collect();
        let mut hinted = self.collected.take();
        if let Backend::Dnotify(dnotify) = &mut *self.backend.borrow_mut() {
            dnotify.drain();
            // dnotify does not report the folder.
            hinted = self.followers.borrow().clone();
        }
        for hints in hinted {
            hints.take();
            told(&hints);
        }
    }
}

/// The watch of an open file, which ends when this is dropped.
pub(crate) struct FileWatch(Option<(Rc<Watcher>, WatchDescriptor, Rc<Hints>)>);

impl Drop for FileWatch {
    fn drop(&mut self) {
        if let Some((watcher, own, hints)) = &self.0 {
            if let Backend::Inotify(inotify) = &mut *watcher.backend.borrow_mut() {
                inotify.unwatch_file(*own, hints);
            }
        }
    }
}

impl Backend {
    fn choose() -> Self {
        if let Some(inotify) = Inotify::new() {
            return Self::Inotify(inotify);
        }
        Dnotify::new().map_or(Self::Polling, Self::Dnotify)
    }
}

impl Coverage {
    /// How long a path with this coverage may stay unpolled.
    pub(crate) fn look_again_after(self) -> Option<Duration> {
        match self {
            Self::None => Some(POLL_INTERVAL),
            Self::Part => Some(SAFETY_POLL_INTERVAL),
            Self::Whole => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A path is seen to name another file as soon as it does, which may be sooner than the hint
    /// is read.
    #[test]
    fn that_a_file_was_renamed_to_its_place_is_known_before_its_hint_was_passed_on() {
        let folder = std::env::temp_dir().join(format!("sse-moved-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let watcher = Watcher::new();
        let followed: Vec<Rc<Hints>> = ["a", "b"].map(|_| watcher.follow()).into();
        for (hints, name) in followed.iter().zip(["a", "b"]) {
            watcher.watch_folder(&folder, OsStr::new(name), hints);
        }
        fs::write(folder.join("new"), "").unwrap();
        fs::rename(folder.join("new"), folder.join("a")).unwrap();
        fs::write(folder.join("b"), "").unwrap();
        assert!(!followed[0].take_moved_in());
        watcher.collect();
        assert!(followed[0].take_moved_in());
        assert!(!followed[1].take_moved_in());
        // Nobody else misses what was taken early, and nobody is told twice.
        assert!(watcher.has_collected());
        let mut told = 0;
        watcher.drain(|_| told += 1);
        assert_eq!(told, 2);
        assert!(!watcher.has_collected());
        watcher.drain(|_| told += 1);
        assert_eq!(told, 2);
        // Whoever has gone is not told.
        fs::remove_file(folder.join("a")).unwrap();
        watcher.collect();
        watcher.forget(&followed[0]);
        watcher.drain(|_| told += 1);
        assert_eq!(told, 2);
        fs::remove_dir_all(&folder).unwrap();
    }
}

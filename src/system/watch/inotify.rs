//! Hints from inotify(7): one instance for the process.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};
use std::rc::Rc;

use nix::sys::inotify::{
    AddWatchFlags, InitFlags, Inotify as Instance, InotifyEvent, WatchDescriptor,
};
use nix::sys::statfs::statfs;

use super::{Coverage, Hints};

/// An inotify instance. There are 128 for all processes of one user together.
pub(super) struct Inotify {
    instance: Instance,
    /// Who is told what, for every watch. One watch can serve many: a folder is watched
    /// for each of its files, and can be above another one.
    watches: BTreeMap<WatchDescriptor, Vec<Interest>>,
}

/// What somebody who follows a path wants to know of a watch.
struct Interest {
    hints: Rc<Hints>,
    about: About,
}

#[derive(PartialEq, Eq)]
enum About {
    /// Writes into an open file.
    File,
    /// What becomes of names that begin with this one, and of the folder itself.
    Folder(OsString),
    /// The removal of this folder in it, and what becomes of itself.
    Above(OsString),
}

/// Adds to what is watched already: a folder can be above another one. (nix has no name
/// for it.)
const MASK_ADD: AddWatchFlags = AddWatchFlags::from_bits_retain(libc::IN_MASK_ADD);

/// File systems of this machine, whose every change passes through its kernel. Others
/// (NFS, FUSE, an overlay whose lower layer somebody writes to) can change unseen.
const LOCAL_FILE_SYSTEMS: [i128; 7] = [
    0xEF53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683E, // Btrfs
    0x0102_1994, // tmpfs
    0x8584_58F6, // ramfs
    0xF2F5_2010, // F2FS
    0x2FC1_2FC1, // ZFS
];

impl Inotify {
    /// `None` when the user has no instance left.
    pub(super) fn new() -> Option<Self> {
        let instance = Instance::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok()?;
        Some(Self {
            instance,
            watches: BTreeMap::new(),
        })
    }

    /// Watches names coming and going in the folder, and the folder and those above it
    /// being moved away. Called again, it adds and removes only the watches that differ
    /// from those of the last call: the kernel reports each removal (IN_IGNORED), which
    /// would wake the caller again and again while a path stays unreadable.
    pub(super) fn watch_folder(
        &mut self,
        folder: &Path,
        name: &OsStr,
        hints: &Rc<Hints>,
    ) -> Coverage {
        let mut needed = Vec::new();
        let coverage = self.add_folder(folder, name, &mut needed);
        self.forget(hints, |watch, about| {
            *about != About::File
                && !needed
                    .iter()
                    .any(|(own, what)| own == watch && what == about)
        });
        for (watch, about) in needed {
            self.interest(watch, hints, about);
        }
        coverage
    }

    /// Adds the watches that a folder needs; lists them in `needed`.
    fn add_folder(
        &self,
        folder: &Path,
        name: &OsStr,
        needed: &mut Vec<(WatchDescriptor, About)>,
    ) -> Coverage {
        // IN_ATTRIB: a file that could not be read may be readable now.
        let names = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_MOVED_TO;
        let itself = AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_DELETE_SELF;
        let no_links = AddWatchFlags::IN_DONT_FOLLOW;
        let mut add = |folder: &Path, what: AddWatchFlags, about: About| -> bool {
            let how = AddWatchFlags::IN_ONLYDIR | MASK_ADD;
            let watch = self.instance.add_watch(folder, what | how);
            needed.extend(watch.map(|watch| (watch, about)));
            watch.is_ok()
        };
        // Fails at a component that is a symbolic link, which could be pointed elsewhere
        // without a hint.
        let is_no_link = add(
            folder,
            names | itself | no_links,
            About::Folder(name.to_owned()),
        );
        // Nothing in a folder above concerns us but that it goes.
        let mut above = folder.ancestors().skip(1);
        let is_covered = is_no_link
            && is_plain(folder)
            && is_local(folder)
            && above.all(|dir| add(dir, itself | no_links, About::Above(OsString::new())));
        if !is_no_link && !add(folder, names | itself, About::Folder(name.to_owned())) {
            return Coverage::None;
        }
        // As long as anybody has the folder open, or a file that was in it, as we do, its
        // removal is told to nobody but the folder above.
        if let (Some(parent), Some(own)) = (folder.parent(), folder.file_name()) {
            add(
                parent,
                AddWatchFlags::IN_DELETE,
                About::Above(own.to_owned()),
            );
        }
        if is_covered {
            Coverage::Whole
        } else {
            Coverage::Part
        }
    }

    /// Notes who is told of a watch, and of what; once, however often it is called.
    fn interest(&mut self, watch: WatchDescriptor, hints: &Rc<Hints>, about: About) {
        let interests = self.watches.entry(watch).or_default();
        let is_known = about != About::File
            && interests
                .iter()
                .any(|own| Rc::ptr_eq(&own.hints, hints) && own.about == about);
        if !is_known {
            let hints = Rc::clone(hints);
            interests.push(Interest { hints, about });
        }
    }

    /// Ends what somebody wanted to know, and the watches that nobody needs any more.
    fn forget(&mut self, hints: &Rc<Hints>, which: impl Fn(&WatchDescriptor, &About) -> bool) {
        let instance = &self.instance;
        self.watches.retain(|watch, interests| {
            let had_interests = !interests.is_empty();
            interests.retain(|own| !(Rc::ptr_eq(&own.hints, hints) && which(watch, &own.about)));
            if had_interests && interests.is_empty() {
                // Fails where the kernel has removed it with what it watched.
                let _ = instance.rm_watch(*watch);
            }
            !interests.is_empty()
        });
    }

    /// Ends everything that somebody wanted to know.
    pub(super) fn forget_all(&mut self, hints: &Rc<Hints>) {
        self.forget(hints, |_, _| true);
    }

    /// Watches writes to an open file, by its descriptor: the name may be another's by
    /// now. `None` when the user's watches are used up (ENOSPC), or there is no /proc.
    pub(super) fn watch_file(
        &mut self,
        file: BorrowedFd<'_>,
        hints: &Rc<Hints>,
    ) -> Option<WatchDescriptor> {
        let link = format!("/proc/self/fd/{}", file.as_raw_fd());
        let watch = self
            .instance
            .add_watch(link.as_str(), AddWatchFlags::IN_MODIFY)
            .ok()?;
        self.interest(watch, hints, About::File);
        Some(watch)
    }

    /// Ends what [`Inotify::watch_file`] began, once for each time.
    pub(super) fn unwatch_file(&mut self, watch: WatchDescriptor, hints: &Rc<Hints>) {
        let Some(interests) = self.watches.get_mut(&watch) else {
            return;
        };
        let is_it = |own: &Interest| Rc::ptr_eq(&own.hints, hints) && own.about == About::File;
        if let Some(place) = interests.iter().position(is_it) {
            interests.swap_remove(place);
        }
        if interests.is_empty() {
            self.watches.remove(&watch);
            // Gone by itself when the file is.
            let _ = self.instance.rm_watch(watch);
        }
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.instance.as_fd()
    }

    /// Takes all hints that have come, and tells each to whom it concerns.
    pub(super) fn drain(&mut self, told: &mut dyn FnMut(&Rc<Hints>)) {
        loop {
            let hints = self.instance.read_events().unwrap_or_default();
            let bytes: usize = hints.iter().map(length_bytes).sum();
            hints.iter().for_each(|hint| self.take(hint, told));
            // More are left only where the next one did not fit.
            if bytes < READ_BYTES - HINT_MAX_BYTES {
                return;
            }
        }
    }

    fn take(&mut self, hint: &InotifyEvent, told: &mut dyn FnMut(&Rc<Hints>)) {
        if hint.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            // Anything may have happened to anybody.
            for own in self.watches.values().flatten() {
                own.hints.uprooted();
                own.hints.moved();
                told(&own.hints);
            }
            return;
        }
        for own in self.watches.get(&hint.wd).into_iter().flatten() {
            if own.about.concerns(hint, &own.hints) {
                told(&own.hints);
            }
        }
        if hint.mask.contains(AddWatchFlags::IN_IGNORED) {
            self.watches.remove(&hint.wd);
        }
    }
}

impl About {
    /// Notes what a hint tells; says whether it is worth a look.
    fn concerns(&self, hint: &InotifyEvent, hints: &Hints) -> bool {
        let gone = AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_IGNORED
            | AddWatchFlags::IN_UNMOUNT;
        match (self, &hint.name) {
            (Self::File, _) => {
                if hint.mask == AddWatchFlags::IN_MODIFY {
                    hints.written();
                } else {
                    hints.moved();
                }
                return true;
            }
            // Of a rotated file the name begins with the file's own.
            (Self::Folder(own), Some(name)) => {
                if !name.as_bytes().starts_with(own.as_bytes()) {
                    return false;
                }
                if hint.mask.contains(AddWatchFlags::IN_MOVED_TO) && name == own {
                    hints.moved_in();
                }
            }
            (Self::Above(own), Some(name)) => {
                if !hint.mask.contains(AddWatchFlags::IN_DELETE) || name != own {
                    return false;
                }
                hints.uprooted();
            }
            (Self::Folder(_), None) => {
                if hint.mask.intersects(gone) {
                    hints.uprooted();
                }
            }
            (Self::Above(_), None) => {
                if !hint.mask.intersects(gone) {
                    return false;
                }
                hints.uprooted();
            }
        }
        hints.moved();
        true
    }
}

/// What nix reads at once.
const READ_BYTES: usize = 4096;

/// The longest hint: 16 bytes, and a name of 255 with its NUL.
const HINT_MAX_BYTES: usize = 16 + 256;

/// What a hint took: the kernel fills up the name and its NUL to a multiple of 16.
fn length_bytes(hint: &InotifyEvent) -> usize {
    let name = hint.name.as_ref();
    16 + name.map_or(0, |name| (name.len() + 1).next_multiple_of(16))
}

/// Whether a path is absolute and goes only down.
fn is_plain(path: &Path) -> bool {
    path.is_absolute()
        && path
            .components()
            .all(|c| matches!(c, Component::RootDir | Component::Normal(_)))
}

fn is_local(folder: &Path) -> bool {
    statfs(folder).is_ok_and(|fs| LOCAL_FILE_SYSTEMS.contains(&i128::from(fs.filesystem_type().0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left is not told of again.
    #[test]
    fn all_hints_are_taken_at_once_however_long_their_names_are() {
        let folder = std::env::temp_dir().join(format!("sse-hints-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for length in [1, 14, 15, 16, 100, 255] {
            let mut inotify = Inotify::new().unwrap();
            let hints = Rc::new(Hints::new());
            inotify.watch_folder(&folder, OsStr::new(""), &hints);
            for number in 0..500 {
                let name = format!("{number:03}{:x<1$}", "", length);
                let name = &name[name.len() - length..];
                let made = folder.join(name);
                std::fs::write(&made, "").unwrap();
                std::fs::remove_file(&made).unwrap();
            }
            inotify.drain(&mut |_| {});
            let left = inotify.instance.read_events().unwrap_or_default();
            assert_eq!(left.len(), 0, "names of {length} bytes");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

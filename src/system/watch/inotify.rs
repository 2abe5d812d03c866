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

/// An inotify instance. All processes of one user together can have 128.
pub(super) struct Inotify {
    instance: Instance,
    /// The interests in each watch. One watch can serve many: a folder is watched for each of
    /// its files, and can be above another one.
    watches: BTreeMap<WatchDescriptor, Vec<Interest>>,
}

/// What the follower of a path needs to know from a watch.
struct Interest {
    hints: Rc<Hints>,
    about: About,
}

#[derive(PartialEq, Eq)]
enum About {
    /// Writes to an open file.
    File,
    /// Changes of names that begin with this one, and of the folder itself.
    Folder(OsString),
    /// The removal of this folder from it, and changes of the watched folder itself.
    Above(OsString),
}

/// Adds to an existing watch: a folder can be above another one. (nix has no name for it.)
const MASK_ADD: AddWatchFlags = AddWatchFlags::from_bits_retain(libc::IN_MASK_ADD);

/// Local file systems, whose every change passes through this kernel. Others (NFS, FUSE, an
/// overlay whose lower layer is written directly) can change without a report.
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

    /// Watches names that appear and disappear in the folder, and whether the folder and those
    /// above it are moved. A second call adds and removes only the watches that differ from
    /// those of the last call: the kernel reports each removal (IN_IGNORED), which would wake
    /// the caller repeatedly while a path stays unreadable.
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

    /// Adds the watches for a folder, and lists them in `needed`.
    fn add_folder(
        &self,
        folder: &Path,
        name: &OsStr,
        needed: &mut Vec<(WatchDescriptor, About)>,
    ) -> Coverage {
        // IN_ATTRIB: an unreadable file may have become readable.
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
        // Fails at a component that is a symbolic link, whose target could be changed without a
        // report.
        let is_no_link = add(
            folder,
            names | itself | no_links,
            About::Folder(name.to_owned()),
        );
        // Of a folder above, only its removal matters.
        let mut above = folder.ancestors().skip(1);
        let is_covered = is_no_link
            && is_plain(folder)
            && is_local(folder)
            && above.all(|dir| add(dir, itself | no_links, About::Above(OsString::new())));
        if !is_no_link && !add(folder, names | itself, About::Folder(name.to_owned())) {
            return Coverage::None;
        }
        // While any process has the folder open, or a file that was in it, as this one does,
        // only the folder above reports its removal.
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

    /// Adds an interest in a watch, unless it exists already.
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

    /// Removes interests, and the watches in which no interest is left.
    fn forget(&mut self, hints: &Rc<Hints>, which: impl Fn(&WatchDescriptor, &About) -> bool) {
        let instance = &self.instance;
        self.watches.retain(|watch, interests| {
            let had_interests = !interests.is_empty();
            interests.retain(|own| !(Rc::ptr_eq(&own.hints, hints) && which(watch, &own.about)));
            if had_interests && interests.is_empty() {
                // Fails if the kernel has removed the watch together with the watched file.
                let _ = instance.rm_watch(*watch);
            }
            !interests.is_empty()
        });
    }

    /// Removes all interests of a path.
    pub(super) fn forget_all(&mut self, hints: &Rc<Hints>) {
        self.forget(hints, |_, _| true);
    }

    /// Watches writes to an open file by its descriptor, because its name may belong to another
    /// file by now. `None` when the user's watches are used up (ENOSPC), or there is no /proc.
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

    /// Reverses one call of [`Inotify::watch_file`].
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
            // Removed already if the file is gone.
            let _ = self.instance.rm_watch(watch);
        }
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.instance.as_fd()
    }

    /// Reads all reports, and notifies the paths that each concerns.
    pub(super) fn drain(&mut self, told: &mut dyn FnMut(&Rc<Hints>)) {
        loop {
            let hints = self.instance.read_events().unwrap_or_default();
            let bytes: usize = hints.iter().map(length_bytes).sum();
            hints.iter().for_each(|hint| self.take(hint, told));
            // More can be left only if the next one did not fit.
            if bytes < READ_BYTES - HINT_MAX_BYTES {
                return;
            }
        }
    }

    fn take(&mut self, hint: &InotifyEvent, told: &mut dyn FnMut(&Rc<Hints>)) {
        if hint.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            // The queue overflowed: any path may have changed.
            for own in self.watches.values().flatten() {
                own.hints.folder_moved();
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
    /// Records a report; returns whether it is a reason to poll.
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
            // The name of a rotated file begins with the file's own name.
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
                hints.folder_moved();
            }
            (Self::Folder(_), None) => {
                if hint.mask.intersects(gone) {
                    hints.folder_moved();
                }
            }
            (Self::Above(_), None) => {
                if !hint.mask.intersects(gone) {
                    return false;
                }
                hints.folder_moved();
            }
        }
        hints.moved();
        true
    }
}

/// The size of one read of nix, in bytes.
const READ_BYTES: usize = 4096;

/// The longest report: 16 bytes, and a name of 255 bytes with its NUL.
const HINT_MAX_BYTES: usize = 16 + 256;

/// The length of a report: the kernel pads the name and its NUL to a multiple of 16.
fn length_bytes(hint: &InotifyEvent) -> usize {
    let name = hint.name.as_ref();
    16 + name.map_or(0, |name| (name.len() + 1).next_multiple_of(16))
}

/// Whether a path is absolute and contains no `..`.
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

    /// An unread rest is not reported again.
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

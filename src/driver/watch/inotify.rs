//! Hints from inotify(7): one instance for the process.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Component, Path};

use nix::sys::inotify::{
    AddWatchFlags, InitFlags, Inotify as Instance, InotifyEvent, WatchDescriptor,
};
use nix::sys::statfs::statfs;

use super::Coverage;

/// An inotify instance. There are 128 for all processes of one user together.
pub(super) struct Inotify {
    instance: Instance,
    generation: u64,
    /// The names of the folders that are watched.
    folders: BTreeSet<OsString>,
    /// How many open files stand behind the watch of each: one file can be open twice.
    files: BTreeMap<WatchDescriptor, usize>,
    /// Names that files have been renamed to, at most [`MOVED_IN_MAX`].
    moved_in: BTreeSet<OsString>,
    moves: u64,
    writes: u64,
}

/// More are forgotten: then a file that was renamed into its place is taken for one that
/// was written there, and waited for a little longer.
const MOVED_IN_MAX: usize = 64;

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
            generation: 0,
            folders: BTreeSet::new(),
            files: BTreeMap::new(),
            moved_in: BTreeSet::new(),
            moves: 0,
            writes: 0,
        })
    }

    /// Watches names coming and going in the folder, and the folder and those above it
    /// being moved away.
    pub(super) fn watch_folder(&mut self, folder: &Path) -> Coverage {
        // IN_ATTRIB: a file that could not be read may be readable now.
        let names = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_MOVED_TO;
        let itself = AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_DELETE_SELF;
        let how = AddWatchFlags::IN_ONLYDIR | MASK_ADD;
        // Fails at a component that is a symbolic link, which could be pointed elsewhere
        // without a hint.
        let add = |dir: &Path, what| {
            let no_links = AddWatchFlags::IN_DONT_FOLLOW;
            self.instance.add_watch(dir, what | how | no_links).is_ok()
        };
        let mut above = folder.ancestors().skip(1);
        let is_no_link = add(folder, names | itself);
        let is_covered =
            is_no_link && is_plain(folder) && is_local(folder) && above.all(|dir| add(dir, itself));
        if !is_no_link {
            let followed = self.instance.add_watch(folder, names | itself | how);
            if followed.is_err() {
                return Coverage::None;
            }
        }
        // As long as anybody has the folder open, or a file that was in it, as we do, its
        // removal is told to nobody but the folder above.
        if let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) {
            self.folders.insert(name.to_owned());
            let _ = self
                .instance
                .add_watch(parent, AddWatchFlags::IN_DELETE | how);
        }
        if is_covered {
            Coverage::Whole
        } else {
            Coverage::Part
        }
    }

    /// Watches writes to an open file, by its descriptor: the name may be another's by
    /// now. `None` when the user's watches are used up (ENOSPC), or there is no /proc.
    pub(super) fn watch_file(&mut self, file: BorrowedFd<'_>) -> Option<WatchDescriptor> {
        let link = format!("/proc/self/fd/{}", file.as_raw_fd());
        let watch = self
            .instance
            .add_watch(link.as_str(), AddWatchFlags::IN_MODIFY)
            .ok()?;
        *self.files.entry(watch).or_default() += 1;
        Some(watch)
    }

    /// Ends what [`Inotify::watch_file`] began, once for each time.
    pub(super) fn unwatch_file(&mut self, watch: WatchDescriptor) {
        if let Some(count) = self.files.get_mut(&watch) {
            *count -= 1;
            if *count == 0 {
                self.files.remove(&watch);
                // Gone by itself when the file is.
                let _ = self.instance.rm_watch(watch);
            }
        }
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.instance.as_fd()
    }

    /// Takes all hints that have come.
    pub(super) fn drain(&mut self) {
        loop {
            let hints = self.instance.read_events().unwrap_or_default();
            let bytes: usize = hints.iter().map(length_bytes).sum();
            hints.into_iter().for_each(|hint| self.take(hint));
            // More are left only where the next one did not fit.
            if bytes < READ_BYTES - HINT_MAX_BYTES {
                return;
            }
        }
    }

    fn take(&mut self, hint: InotifyEvent) {
        let gone = AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_UNMOUNT
            | AddWatchFlags::IN_Q_OVERFLOW;
        if hint.mask == AddWatchFlags::IN_MODIFY {
            self.writes += 1;
        } else {
            self.moves += 1;
        }
        let is_removal = hint.mask.contains(AddWatchFlags::IN_DELETE)
            && hint
                .name
                .as_ref()
                .is_some_and(|name| self.folders.contains(name));
        if hint.mask.intersects(gone) || is_removal {
            self.generation += 1;
        }
        if hint.mask.contains(AddWatchFlags::IN_MOVED_TO)
            && self.moved_in.len() < MOVED_IN_MAX
            && let Some(name) = hint.name
        {
            self.moved_in.insert(name);
        }
    }

    pub(super) fn take_moved_in(&mut self, name: &OsStr) -> bool {
        let was = self.moved_in.contains(name);
        self.moved_in.clear();
        was
    }

    pub(super) fn moves(&self) -> u64 {
        self.moves
    }

    pub(super) fn writes(&self) -> u64 {
        self.writes
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
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
            inotify.watch_folder(&folder);
            for number in 0..500 {
                let name = format!("{number:03}{:x<1$}", "", length);
                let name = &name[name.len() - length..];
                let made = folder.join(name);
                std::fs::write(&made, "").unwrap();
                std::fs::remove_file(&made).unwrap();
            }
            inotify.drain();
            let left = inotify.instance.read_events().unwrap_or_default();
            assert_eq!(left.len(), 0, "names of {length} bytes");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

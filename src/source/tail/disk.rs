//! What a follower sees of a disk.
//!
//! The follower decides; whoever implements these traits only looks and reads. The
//! `store::disk` does it with system calls, the model test with a disk in memory.

use std::io;
use std::rc::Rc;

use super::siblings::Form;
use crate::source::Changes;

/// One path, the file it names now, and the rotated files beside it.
pub trait Disk {
    /// How changes of the path and its file are noticed; `None` (the default) where they
    /// are not.
    fn changes(&self) -> Option<Rc<dyn Changes>> {
        None
    }

    /// What the path names now, links followed.
    ///
    /// # Errors
    /// What the system says, `NotFound` being the usual state of a file to come; and
    /// `InvalidInput` when it is no regular file.
    fn stat(&mut self) -> io::Result<Stat>;

    /// Which file the path names now. A disk that would have been told if that had
    /// changed need not look.
    ///
    /// # Errors
    /// As [`Disk::stat`].
    fn identity(&mut self) -> io::Result<Identity> {
        self.stat().map(|stat| stat.identity)
    }

    /// Opens what the path names now.
    ///
    /// # Errors
    /// As [`Disk::stat`].
    fn open(&mut self) -> io::Result<Rc<dyn DiskFile>>;

    /// The rotated files beside the path, in any order; none where the folder cannot be
    /// read.
    ///
    /// # Errors
    /// What the system lacks now, such as descriptors.
    fn siblings(&mut self) -> io::Result<Vec<Sibling>>;

    /// Opens one of them, by the name that [`Disk::siblings`] gave.
    ///
    /// # Errors
    /// As [`Disk::open`]; `NotFound` when it has been rotated on since.
    fn open_sibling(&mut self, name: &str) -> io::Result<Rc<dyn DiskFile>>;

    /// Whether a file was renamed to the path since this was asked last, as far as is
    /// known. Such a file is complete: nobody writes to it in place.
    fn was_moved_in(&mut self) -> bool {
        false
    }
}

/// An open file. It stays readable however its name is moved or removed.
pub trait DiskFile {
    /// Its state.
    ///
    /// # Errors
    /// What the system says.
    fn stat(&self) -> io::Result<Stat>;

    /// Which file it is.
    ///
    /// # Errors
    /// As [`DiskFile::stat`].
    fn identity(&self) -> io::Result<Identity> {
        self.stat().map(|stat| stat.identity)
    }

    /// Where the file is now, compared with where it was opened.
    fn whereabouts(&self) -> Whereabouts {
        match self.stat() {
            Ok(stat) if stat.links == 0 => Whereabouts::Removed,
            _ => Whereabouts::Renamed,
        }
    }

    /// Reads at `offset` into `buffer`; fewer bytes than asked for only at the end.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// The first piece of the file at or after `offset` that is in no hole: its start,
    /// and an end behind which a hole may begin. `None` when nothing but a hole follows.
    /// A disk that cannot tell says that all is data.
    ///
    /// # Errors
    /// What the system says.
    fn next_data(&self, offset: u64) -> io::Result<Option<(u64, u64)>> {
        Ok(Some((offset, u64::MAX)))
    }
}

/// What became of the name by which a file was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// Nothing: a link was pointed at another file, or the folder was moved with it.
    Unmoved,
    /// It was renamed.
    Renamed,
    /// It was removed, or replaced by another file.
    Removed,
}

/// Device and inode. Two of them are comparable only while one of the files is held
/// open: inodes are used again at once.
pub type Identity = (u64, u64);

/// The state of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Which file it is.
    pub identity: Identity,
    /// Length in bytes.
    pub size_bytes: u64,
    /// When it was written last, in nanoseconds since 1970.
    pub modified_ns: i128,
    /// How many names it has; none once it was removed or replaced.
    pub links: u64,
    /// When it was created, in nanoseconds since 1970, where the file system knows.
    pub born_ns: Option<i128>,
}

/// A rotated file beside the one that is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sibling {
    /// Its base name, such as `app.log.1`.
    pub name: String,
    /// Its number or date, see [`Mark`](super::Mark).
    pub mark: String,
    /// Where in the name that stands.
    pub form: Form,
    /// Its state.
    pub stat: Stat,
}

//! One open file of a follower: reading, and where it is now.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

use super::stat;
use crate::source::tail::{DiskFile, Identity, Mark, Stat, Whereabouts};
use crate::system::watch::FileWatch;

/// An open file.
pub(super) struct RealFile {
    file: File,
    /// Dropped with the file.
    _watch: FileWatch,
    identity: Identity,
    /// Its location when it was opened, with links resolved.
    opened_at: Option<Location>,
}

impl RealFile {
    pub(super) fn new(file: File, metadata: &Metadata, watch: FileWatch) -> Self {
        Self {
            opened_at: Location::of(&file),
            file,
            identity: stat(metadata).identity,
            _watch: watch,
        }
    }
}

impl DiskFile for RealFile {
    fn stat(&self) -> io::Result<Stat> {
        self.file.metadata().map(|metadata| stat(&metadata))
    }

    fn identity(&self) -> io::Result<Identity> {
        Ok(self.identity)
    }

    fn whereabouts(&self) -> Whereabouts {
        let is_removed = |stat: &Stat| stat.links == 0;
        match (&self.opened_at, Location::of(&self.file)) {
            (Some(then), Some(now)) if now == *then => Whereabouts::Unmoved,
            // The target of a link was rotated within its folder.
            (Some(then), Some(now)) if now.is_rotated(then) => Whereabouts::Unmoved,
            (Some(_), Some(now)) if now.folder.is_some() => Whereabouts::Renamed,
            _ if self.stat().as_ref().is_ok_and(is_removed) => Whereabouts::Removed,
            // It has another name elsewhere: the file that replaced it has its old name.
            (Some(_), Some(_)) => Whereabouts::Removed,
            _ => Whereabouts::Renamed,
        }
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| i64::try_from(end).is_err()) {
            // An id can name an offset beyond every file; the kernel would return EINVAL.
            return Ok(0);
        }
        loop {
            match self.file.read_at(buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<(u64, u64)>> {
        let Ok(from) = i64::try_from(offset) else {
            return Ok(None);
        };
        match lseek(&self.file, from, Whence::SeekData) {
            Ok(start) => {
                let end = lseek(&self.file, start, Whence::SeekHole).unwrap_or(i64::MAX);
                Ok(Some((start as u64, end as u64)))
            }
            // There is no data after it.
            Err(Errno::ENXIO) => Ok(None),
            // If the file system cannot report holes, everything is read.
            Err(_) => Ok(Some((offset, u64::MAX))),
        }
    }
}

/// The location of an open file: its name and its folder. A rename of the folder does not
/// change it.
#[derive(PartialEq, Eq)]
struct Location {
    name: OsString,
    /// `None` if the file no longer exists.
    folder: Option<Identity>,
}

impl Location {
    /// Whether a file that was at `then` has been rotated to this location.
    fn is_rotated(&self, then: &Self) -> bool {
        let names = then.name.to_str().zip(self.name.to_str());
        self.folder.is_some()
            && self.folder == then.folder
            && names.is_some_and(|(then, now)| Mark::of(then, now).is_some())
    }

    /// `None` if there is no /proc.
    fn of(file: &File) -> Option<Self> {
        let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
        let own = file.metadata().map(|metadata| stat(&metadata).identity);
        let named = fs::symlink_metadata(&path).map(|metadata| stat(&metadata).identity);
        // For a removed file the kernel shows its former name with a remark.
        let is_there = own.is_ok_and(|own| named.is_ok_and(|named| named == own));
        let folder = path.parent().filter(|_| is_there).map(fs::metadata);
        Some(Self {
            name: path.file_name()?.to_owned(),
            folder: folder.and_then(|found| Some(stat(&found.ok()?).identity)),
        })
    }
}

//! Reports of dnotify (fcntl(2), F_NOTIFY). It is old and coarse, but has no limit on
//! instances, so it is used when no inotify instance is left.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use signal_hook::consts::SIGIO;
use signal_hook::low_level::pipe;

use super::Coverage;

/// Folders watched by dnotify, which reports a change by SIGIO.
pub(super) struct Dnotify {
    signals: UnixStream,
    /// A folder is watched as long as it is open.
    folders: HashMap<PathBuf, File>,
}

impl Dnotify {
    /// `None` when no descriptor is left.
    pub(super) fn new() -> Option<Self> {
        let (signals, sender) = UnixStream::pair().ok()?;
        signals.set_nonblocking(true).ok()?;
        // This precedes the first watch: SIGIO ends a process that does not handle it.
        pipe::register(SIGIO, sender).ok()?;
        Some(Self {
            signals,
            folders: HashMap::new(),
        })
    }

    pub(super) fn watch_folder(&mut self, folder: &Path) -> Coverage {
        // A source that waits for a missing file calls this repeatedly.
        if let Some(watched) = self.folders.get(folder) {
            if is_same(watched.metadata(), folder.metadata()) {
                return Coverage::Part;
            }
        }
        let watched = File::open(folder).and_then(|opened| {
            notify::watch(opened.as_fd())?;
            Ok(opened)
        });
        match watched {
            Ok(opened) => {
                self.folders.insert(folder.to_owned(), opened);
                Coverage::Part
            }
            Err(_) => {
                self.folders.remove(folder);
                Coverage::None
            }
        }
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    pub(super) fn drain(&mut self) {
        let mut bytes = [0; 64];
        while (&self.signals)
            .read(&mut bytes)
            .is_ok_and(|read| read == bytes.len())
        {}
    }
}

fn is_same(one: io::Result<Metadata>, other: io::Result<Metadata>) -> bool {
    let identity = |of: Metadata| (of.dev(), of.ino());
    one.is_ok_and(|one| other.is_ok_and(|other| identity(one) == identity(other)))
}

/// The only unsafe block in this crate. Neither the standard library nor nix has F_NOTIFY, and
/// without it the 129th stream of a user would have to poll.
#[allow(unsafe_code)]
mod notify {
    use super::{BorrowedFd, io};
    use std::os::fd::AsRawFd;

    /// Requests SIGIO for every change in the open folder, as long as it is open.
    ///
    /// # Errors
    /// `ENOTDIR`, or `EINVAL` from a kernel without dnotify.
    pub(super) fn watch(folder: BorrowedFd<'_>) -> io::Result<()> {
        let events: libc::c_int = DN_MODIFY | DN_CREATE | DN_DELETE | DN_RENAME | DN_ATTRIB;
        // SAFETY: F_NOTIFY takes an int by value and accesses no memory of this process. The
        // descriptor is open, because it is borrowed. The resulting signal is handled: Dnotify
        // registers SIGIO before it opens a folder.
        let result =
            unsafe { libc::fcntl(folder.as_raw_fd(), libc::F_NOTIFY, events | DN_MULTISHOT) };
        if result == -1 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    // From <fcntl.h>; the libc crate has F_NOTIFY, but not these.
    const DN_MODIFY: libc::c_int = 0x0000_0002;
    const DN_CREATE: libc::c_int = 0x0000_0004;
    const DN_DELETE: libc::c_int = 0x0000_0008;
    const DN_RENAME: libc::c_int = 0x0000_0010;
    const DN_ATTRIB: libc::c_int = 0x0000_0020;
    const DN_MULTISHOT: libc::c_int = 0x8000_0000_u32 as libc::c_int;
}

//! The rotation of a stream's file that is full.

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};

use nix::errno::Errno;
use nix::fcntl::{OFlag, renameat};

use super::{AppendError, Target};

impl Target {
    /// Renames the full file and creates an empty one in its place, with the same mode and
    /// group: every user who could append to the old one can append to the new one.
    ///
    /// Its lock is held all the time, and it is renamed last, so no other process finds a full
    /// file meanwhile. If a rotation was killed, a number in the chain is free, and the next
    /// rotation uses it.
    pub(super) fn rotate(&self, full: &File, keep: u32) -> Result<(), AppendError> {
        let is_free = |number: &u32| matches!(self.state(&self.nth(*number)), Err(Errno::ENOENT));
        let free = (1..keep).find(is_free).unwrap_or(keep);
        for number in (1..free).rev() {
            self.rename(&self.nth(number), &self.nth(number + 1))?;
        }
        self.rename(&self.name, &self.nth(1))?;
        let old = full.metadata()?;
        match self.open(&self.name, OFlag::O_CREAT | OFlag::O_EXCL) {
            Ok(new) => {
                // If the group cannot be set, it gets no permissions either.
                let group = fchown(&new, None, Some(old.gid()));
                let mode = if group.is_ok() { 0o777 } else { 0o707 };
                let _ = new.set_permissions(Permissions::from_mode(old.mode() & mode));
            }
            // A process without the lock was faster.
            Err(Errno::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn rename(&self, from: &OsStr, to: &OsStr) -> nix::Result<()> {
        renameat(&self.folder, from, &self.folder, to)
    }
}

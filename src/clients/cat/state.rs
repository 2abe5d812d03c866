//! State: a file that holds the last id, so that the next run goes on after it.
//!
//! It is replaced by a rename, so that whoever reads it, and whoever starts after a crash,
//! finds the old id or the new one and never half of one. It is locked (flock) by whoever
//! uses it: a job of cron that takes longer than its interval would otherwise do the same
//! events twice. The new file is locked before it takes the old one's place, so that there
//! is no moment without a lock.
//!
//! It is not forced to the disk: after a power cut the id may be an older one, and events
//! come again. That a program did what it did is no more durable than that.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::super::Failure;
use super::super::exit::Exit;

/// A server takes no longer ones; a larger file is somebody else's.
const ID_MAX_BYTES: u64 = 64 * 1024;

/// The file, for as long as this lives ours alone.
#[derive(Debug)]
pub(super) struct State {
    path: PathBuf,
    /// What stands there until it is renamed.
    draft: PathBuf,
    id: String,
    lock: Flock<File>,
}

impl State {
    /// Opens it, or makes it with no id in it.
    ///
    /// A symbolic link is followed now, so that a rename replaces the file and not the link.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let wrong = |error: &dyn std::fmt::Display| {
            let text = format!("--state {}: {error}", path.display());
            Failure::new(Exit::System, text)
        };
        let lock = loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(path)
                .map_err(|error| wrong(&error))?;
            let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock);
            let lock = lock.map_err(|(_, errno)| match errno {
                Errno::EWOULDBLOCK => wrong(&"another sse-cat is using it"),
                errno => wrong(&errno.desc()),
            })?;
            // Between our opening and our locking another may have put a new one there.
            if is_at(&lock, path) {
                break lock;
            }
        };
        let path = fs::canonicalize(path).map_err(|error| wrong(&error))?;
        let mut text = String::new();
        let read = (&*lock).take(ID_MAX_BYTES + 1).read_to_string(&mut text);
        read.map_err(|error| wrong(&error))?;
        let id = text.strip_suffix('\n').unwrap_or(&text);
        if id.len() as u64 > ID_MAX_BYTES || id.contains(['\n', '\r', '\0']) {
            return Err(wrong(&"this is not a file of sse-cat's: want one id"));
        }
        let mut draft = OsString::from(".");
        draft.push(path.file_name().unwrap_or_default());
        draft.push(".new");
        Ok(Self {
            draft: path.with_file_name(draft),
            id: id.to_owned(),
            path,
            lock,
        })
    }

    /// The id in it; '' for none.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Puts `id` there, if it is another one.
    pub(super) fn keep(&mut self, id: &str) -> Result<(), Failure> {
        if id == self.id {
            return Ok(());
        }
        let lock = self.replace(id).map_err(|error| {
            let text = format!("--state {}: {error}", self.path.display());
            Failure::new(Exit::System, text)
        })?;
        self.lock = lock;
        id.clone_into(&mut self.id);
        Ok(())
    }

    fn replace(&self, id: &str) -> io::Result<Flock<File>> {
        let mode = self.lock.metadata()?.mode() & 0o777;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&self.draft)?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| io::Error::from(errno))?;
        (&*lock).write_all(format!("{id}\n").as_bytes())?;
        fs::rename(&self.draft, &self.path)?;
        Ok(lock)
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(theirs)) => (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()),
        _ => false,
    }
}

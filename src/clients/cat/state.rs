//! State: a file with the last id, so that the next run continues after it.
//!
//! It is replaced by a rename, so that a reader, or the next run after a crash, finds the old
//! id or the new one and never a part of one. The process that uses it holds a lock (flock):
//! otherwise a cron job that takes longer than its interval would process the same events
//! twice. The new file is locked before it replaces the old one, so that the lock is never free
//! in between. The new file has a name that cannot be guessed, and is created, never opened
//! (O_EXCL): in a folder that others can write to, they cannot have put a link or a FIFO there.
//!
//! It is not forced to the disk: after a power cut the id may be an older one, and events are
//! repeated. The effects of the command on the disk are no more durable.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};

use super::super::Failure;
use super::super::exit::Exit;
use super::parser::Parser;

/// A larger file was not written by this program.
const ID_MAX_BYTES: u64 = Parser::ID_MAX_BYTES as u64;

/// The file, locked as long as this exists.
#[derive(Debug)]
pub(super) struct State {
    path: PathBuf,
    id: String,
    lock: Flock<File>,
}

impl State {
    /// Opens it, or creates it without an id.
    ///
    /// A symbolic link is followed now, so that a rename replaces the file and not the link.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let wrong = |error: &dyn std::fmt::Display| {
            let text = format!("--state {}: {error}", path.display());
            Failure::new(Exit::System, text)
        };
        // This is checked before it is opened: opening a device can have effects, and a FIFO or
        // a folder must never be replaced.
        let refuse_others = |metadata: io::Result<fs::Metadata>| match metadata {
            Ok(metadata) if !metadata.is_file() => Err(wrong(&"want a regular file")),
            _ => Ok(()),
        };
        refuse_others(fs::metadata(path))?;
        let lock = loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                // A FIFO that was created after the check must not block.
                .custom_flags(OFlag::O_NONBLOCK.bits())
                .open(path)
                .map_err(|error| wrong(&error))?;
            refuse_others(file.metadata())?;
            let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock);
            let lock = lock.map_err(|(_, errno)| match errno {
                Errno::EWOULDBLOCK => wrong(&"another sse-cat is using it"),
                errno => wrong(&errno.desc()),
            })?;
            // Between opening and locking it, another process may have replaced it.
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
        let state = Self {
            id: id.to_owned(),
            path,
            lock,
        };
        // If a new file cannot be created in the folder, this is reported now, and not after
        // the first event, which would then be processed again at each run.
        let draft = state.draft().map_err(|error| {
            let folder = state.path.parent().unwrap_or(&state.path).display();
            wrong(&format!("create a file in {folder}: {error}"))
        })?;
        let _ = fs::remove_file(draft.1);
        Ok(state)
    }

    /// The id in it; '' for none.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Stores `id`, if it has changed.
    pub(super) fn keep(&mut self, id: &str) -> Result<(), Failure> {
        // (The parser returns no longer one; `--last-id` may.)
        if id == self.id || id.len() as u64 > ID_MAX_BYTES {
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
        let (mut file, draft) = self.draft()?;
        let write = || {
            file.write_all(format!("{id}\n").as_bytes())?;
            let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
                .map_err(|(_, errno)| io::Error::from(errno))?;
            fs::rename(&draft, &self.path)?;
            Ok(lock)
        };
        write().inspect_err(|_| {
            let _ = fs::remove_file(&draft);
        })
    }

    /// A new file in the same folder, and its path.
    fn draft(&self) -> io::Result<(File, PathBuf)> {
        let mode = self.lock.metadata()?.mode() & 0o777;
        let mut tries = 0;
        loop {
            // Independent of the state's own name, which may have the maximum length.
            let name = format!(".sse-cat.{:016x}.new", fastrand::u64(..));
            let path = self.path.with_file_name(name);
            let file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(&path);
            tries += 1;
            match file {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < 8 => {}
                file => return Ok((file?, path)),
            }
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(theirs)) => (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()),
        _ => false,
    }
}

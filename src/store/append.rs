//! Appends a record to a stream's file.
//!
//! ```text
//! open ──► lock ──► still the one of that name? ──► full? ──► write ──► read back ──► id
//!   ▲        │              │ no                      │ yes               │ torn
//!   └────────┴── busy       └────────► open           └─► rotate ─► open  └─► write
//! ```
//!
//! Publishers take turns by `flock`. Other writers (`echo >>`) do not use the lock. So every
//! record is one write in append mode, which the kernel does not mix with another; no byte of
//! others is ever truncated or overwritten; and the record is read back before success is
//! reported. This never waits for a lock: if it is held, the result is [`AppendError::Busy`],
//! and the caller tries again.
//!
//! On NFS, appending is not atomic: there, all publishers must run on one machine.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};
use xxhash_rust::xxh3::xxh3_64;

use crate::publish::Record;
use crate::request::{BelowRoot, Durability, Settings};
use crate::source::tail::TailId;
use crate::system::below::{self, Links};
use crate::system::beneath;

mod rotation;
mod write;

use write::write;

/// The permissions of a new file: the group can read it (a web server, an administrator), and
/// only its owner can write it.
const NEW_FILE: Mode = Mode::from_bits_truncate(0o640);

/// How often in one attempt the file may be replaced, or be full again.
const TURNS: u32 = 16;

/// The file for records: a name in a folder.
pub(crate) struct Target {
    folder: OwnedFd,
    name: OsString,
    missing: MissingFile,
    named_by: NamedBy,
}

/// Who chose the name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NamedBy {
    Administrator,
    /// Then anything that is not a file counts as missing.
    Client,
    /// The program: a file in a session's folder.
    Ourselves,
}

/// Whether a target's file exists.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    There,
    /// It does not: the first record creates it.
    ToCome,
}

/// What to do if the file is missing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum MissingFile {
    /// The first record creates it.
    Create,
    /// It is an error.
    Report,
}

/// How records are appended.
pub(crate) struct AppendOptions {
    file_max_bytes: Option<u64>,
    file_keep: u32,
    durability: Durability,
}

impl AppendOptions {
    /// Whether appending a record waits for the disk.
    pub(crate) fn wait_for_disk(&self) -> bool {
        self.durability == Durability::Power
    }
}

/// The device and number of a folder, and a name in it.
pub(crate) type TargetKey = (libc::dev_t, libc::ino_t, OsString);

/// A record that has been appended.
pub(crate) struct Added {
    pub(crate) id: TailId,
    /// What remains to be done if the record must survive a power cut.
    pub(crate) unconfirmed: Option<Unconfirmed>,
}

/// A file with records that the disk has not confirmed.
pub(crate) struct Unconfirmed {
    file: File,
    /// The file was empty: its directory entry may not be on the disk yet.
    is_new: bool,
}

impl Unconfirmed {
    /// Waits until the file is on the disk.
    pub(crate) fn confirm(&self, target: &Target) -> io::Result<()> {
        self.file.sync_data()?;
        if self.is_new {
            target.sync_folder()?;
        }
        Ok(())
    }

    /// Merges two that are of the same file; otherwise returns the other one.
    pub(crate) fn merge(&mut self, other: Self) -> Option<Self> {
        let number = |file: &File| file.metadata().map(|own| (own.dev(), own.ino())).ok();
        let own = number(&self.file);
        if own.is_none() || own != number(&other.file) {
            return Some(other);
        }
        self.is_new |= other.is_new;
        None
    }
}

/// Why a record was not appended.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// Another process is appending one now.
    Busy,
    /// There is no such file, and it must not be created or be disclosed.
    NotFound,
    /// The same for the client; the error is for the administrator's log.
    Hidden(io::Error),
    /// An error of the system. The file may contain nothing, a torn part, or, if only the disk
    /// did not confirm it, all of the record.
    System(io::Error),
}

impl From<io::Error> for AppendError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl From<Errno> for AppendError {
    fn from(error: Errno) -> Self {
        Self::System(error.into())
    }
}

impl AppendOptions {
    /// `durability` is for published records: joins and leaves need not survive a power cut.
    pub(crate) fn of(settings: &Settings, durability: Durability) -> Self {
        Self {
            file_max_bytes: settings.file_max_bytes,
            file_keep: settings.file_keep,
            durability,
        }
    }
}

impl Target {
    /// A path of the administrator. Links are followed, so that rotation moves the file itself,
    /// and not a link to it.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        let path = match fs::canonicalize(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => std::path::absolute(path)?,
            found => found?,
        };
        let folder = open_folder(path.parent().unwrap_or(Path::new("/")))?;
        let name = path.file_name().unwrap_or_default().to_owned();
        Ok(Self {
            folder,
            name,
            missing: MissingFile::Create,
            named_by: NamedBy::Administrator,
        })
    }

    /// A name from a client, below a root that it cannot leave.
    pub(crate) fn below(
        root: &Path,
        name: &BelowRoot,
        missing: MissingFile,
    ) -> Result<Self, AppendError> {
        let root = open_folder(root)?;
        let path = name.as_path();
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => {
                let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
                open_beneath(&root, parent, flags, Mode::empty()).map_err(hidden)?
            }
            _ => root,
        };
        Ok(Self {
            folder,
            name: path.file_name().unwrap_or_default().to_owned(),
            missing,
            named_by: NamedBy::Client,
        })
    }

    /// A name of the program in an open folder; it must not be a link.
    pub(crate) fn within(folder: OwnedFd, name: &str) -> Self {
        Self {
            folder,
            name: name.into(),
            missing: MissingFile::Report,
            named_by: NamedBy::Ourselves,
        }
    }

    /// Appends a record as a line of its own, and returns the id that its event has in the
    /// stream. If the record must survive a power cut, this waits for the disk.
    pub(crate) fn append(
        &self,
        record: &Record,
        options: &AppendOptions,
    ) -> Result<TailId, AppendError> {
        let added = self.add(record, options)?;
        if let Some(unconfirmed) = added.unconfirmed {
            unconfirmed.confirm(self)?;
        }
        Ok(added.id)
    }

    /// The same, without waiting for the disk: [`Unconfirmed::confirm`] does that.
    pub(crate) fn add(
        &self,
        record: &Record,
        options: &AppendOptions,
    ) -> Result<Added, AppendError> {
        for _ in 0..TURNS {
            let Some((file, size_bytes)) = self.open_locked()? else {
                continue;
            };
            let grown_bytes = size_bytes + record.as_bytes().len() as u64 + 1;
            let is_full = options
                .file_max_bytes
                .is_some_and(|most| grown_bytes > most);
            if is_full && size_bytes > 0 {
                self.rotate(&file, options.file_keep)?;
                continue;
            }
            let id = write(&file, size_bytes, record)?;
            // It is in the file, so others need not wait for the disk.
            let file = file.unlock().map_err(|(_, error)| error)?;
            let unconfirmed = (options.durability == Durability::Power).then_some(Unconfirmed {
                file,
                is_new: size_bytes == 0,
            });
            return Ok(Added { id, unconfirmed });
        }
        Err(AppendError::Busy)
    }

    /// Equal for targets that name the same file.
    pub(crate) fn key(&self) -> nix::Result<TargetKey> {
        let folder = fstat(&self.folder)?;
        Ok((folder.st_dev, folder.st_ino, self.name.clone()))
    }

    /// Whether the file exists.
    ///
    /// # Errors
    /// [`AppendError::NotFound`] if the file must not be created, or if a client named
    /// something that is not a file.
    pub(crate) fn presence(&self) -> Result<Presence, AppendError> {
        match self.state(&self.name) {
            Ok(state) if self.named_by == NamedBy::Administrator || is_file(&state) => {
                Ok(Presence::There)
            }
            Ok(_) => Err(AppendError::NotFound),
            // Between two steps of a rotation the file is missing for a moment.
            Err(Errno::ENOENT) if self.state(&self.nth(1)).is_ok() => Ok(Presence::There),
            Err(Errno::ENOENT) => match self.missing {
                MissingFile::Create => Ok(Presence::ToCome),
                MissingFile::Report => Err(AppendError::NotFound),
            },
            Err(error) => Err(self.no_file(error)),
        }
    }

    /// The file, locked, and its size; `None` if another file has got its name meanwhile.
    fn open_locked(&self) -> Result<Option<(Flock<File>, u64)>, AppendError> {
        let file = match self.open(&self.name, OFlag::empty()) {
            Err(Errno::ENOENT) => {
                // Between two steps of a rotation the file is missing for a moment.
                let may_make =
                    self.missing == MissingFile::Create || self.state(&self.nth(1)).is_ok();
                if !may_make {
                    return Err(AppendError::NotFound);
                }
                match self.open(&self.name, OFlag::O_CREAT) {
                    Err(Errno::ENOENT) => return Err(AppendError::NotFound),
                    opened => opened.map_err(|error| self.no_file(error))?,
                }
            }
            opened => opened.map_err(|error| self.no_file(error))?,
        };
        let file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((_, Errno::EWOULDBLOCK)) => return Err(AppendError::Busy),
            Err((_, error)) => return Err(error.into()),
        };
        let own = file.metadata()?;
        if !own.is_file() {
            return Err(self.no_file(Errno::ENXIO));
        }
        let is_named = match self.state(&self.name) {
            Ok(named) => (named.st_dev, named.st_ino) == (own.dev(), own.ino()),
            Err(Errno::ENOENT) => false,
            Err(error) => return Err(error.into()),
        };
        Ok(is_named.then_some((file, own.len())))
    }

    /// Why the name cannot be opened. Links are not followed: they may lead to a file that is
    /// not a stream.
    fn no_file(&self, error: Errno) -> AppendError {
        match error {
            Errno::EISDIR | Errno::ENXIO if self.named_by != NamedBy::Administrator => {
                AppendError::NotFound
            }
            _ if self.named_by != NamedBy::Administrator => hidden(error),
            Errno::ENXIO => {
                let kind = io::ErrorKind::InvalidInput;
                AppendError::System(io::Error::new(kind, "no regular file"))
            }
            _ => error.into(),
        }
    }

    fn sync_folder(&self) -> io::Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let folder = open_beneath(&self.folder, Path::new("."), flags, Mode::empty())?;
        File::from(folder).sync_all()
    }

    /// The name of the rotated file with this number.
    fn nth(&self, number: u32) -> OsString {
        let mut name = self.name.clone();
        name.push(format!(".{number}"));
        name
    }

    fn state(&self, name: &OsStr) -> nix::Result<FileStat> {
        fstatat(&self.folder, name, AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    fn open(&self, name: &OsStr, flags: OFlag) -> nix::Result<File> {
        // Without O_NONBLOCK, opening a FIFO would block until its other end is opened.
        let always = OFlag::O_RDWR
            | OFlag::O_APPEND
            | OFlag::O_NOFOLLOW
            | OFlag::O_NONBLOCK
            | OFlag::O_NOCTTY;
        let mode = if flags.contains(OFlag::O_CREAT) {
            NEW_FILE
        } else {
            Mode::empty()
        };
        open_beneath(&self.folder, Path::new(name), always | flags, mode).map(File::from)
    }

    /// Its path, as long as nothing is renamed.
    ///
    /// # Errors
    /// If there is no /proc.
    pub(crate) fn path(&self) -> io::Result<PathBuf> {
        let folder = fs::read_link(format!("/proc/self/fd/{}", self.folder.as_raw_fd()))?;
        Ok(folder.join(&self.name))
    }

    /// Its path, or its name if the path is unknown, for the log. The folder's name of a
    /// session is a secret: it permits others to post to the session.
    pub(crate) fn display(&self) -> String {
        if self.named_by == NamedBy::Ourselves {
            return format!("{} of a session", Path::new(&self.name).display());
        }
        let path = self.path().unwrap_or_else(|_| self.name.clone().into());
        path.display().to_string()
    }

    /// Opens a small file beside the stream's file, locked. Its name is that of the stream's
    /// file with a dot before it and `suffix` after it.
    pub(crate) fn open_beside(&self, suffix: &str) -> Result<Flock<File>, AppendError> {
        let mut name = OsString::from(".");
        if self.name.len() + name.len() + suffix.len() <= BelowRoot::PART_MAX_BYTES {
            name.push(&self.name);
        } else {
            // No file name can be so long; its hash replaces it.
            name.push(format!("{:016x}", xxh3_64(self.name.as_encoded_bytes())));
        }
        name.push(suffix);
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let file = open_beneath(&self.folder, Path::new(&name), flags, mode)?;
        match Flock::lock(File::from(file), FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(file),
            Err((_, Errno::EWOULDBLOCK)) => Err(AppendError::Busy),
            Err((_, error)) => Err(error.into()),
        }
    }
}

pub(crate) fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    beneath::open(path, OFlag::O_PATH | OFlag::O_DIRECTORY).map(OwnedFd::from)
}

/// Opens a path below `folder`, and nothing outside of it.
pub(crate) fn open_beneath(
    folder: &OwnedFd,
    name: &Path,
    flags: OFlag,
    mode: Mode,
) -> nix::Result<OwnedFd> {
    below::open_below(folder, name, flags, mode, Links::Followed)
}

fn is_file(state: &FileStat) -> bool {
    state.st_mode & libc::S_IFMT == libc::S_IFREG
}

/// A path that leads out of a root, is not a folder, or must not be opened counts as missing.
/// Any other error shows nothing about the name: EIO, ESTALE, no memory or descriptor left.
fn hidden(error: Errno) -> AppendError {
    match error {
        Errno::ENOENT | Errno::ENOTDIR | Errno::EXDEV | Errno::ELOOP | Errno::ENAMETOOLONG => {
            AppendError::NotFound
        }
        Errno::EACCES | Errno::EPERM => AppendError::Hidden(error.into()),
        _ => error.into(),
    }
}

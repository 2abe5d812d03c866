//! Adding a record to a stream's file.
//!
//! ```text
//! open ──► lock ──► still the one of that name? ──► full? ──► write ──► read back ──► id
//!   ▲        │              │ no                      │ yes               │ torn
//!   └────────┴── busy       └────────► open           └─► rotate ─► open  └─► write
//! ```
//!
//! Publishers of ours take turns by `flock`. Others (`echo >>`) know no lock, so every
//! record is one write in append mode, which the kernel does not mix with another; no
//! byte of theirs is ever truncated or overwritten; and what stands in the file is read
//! back before it is said to stand there. This never waits for a lock: one that somebody else
//! has is [`AppendError::Busy`], and whoever asked comes again.
//!
//! On NFS, appending is not one step: there, publishers belong on one machine.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io::{self, Seek as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, FallocateFlags, Flock, FlockArg, OFlag, fallocate, renameat};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};
use xxhash_rust::xxh3::xxh3_64;

use crate::publish::Record;
use crate::request::{BelowRoot, Durability, Settings};
use crate::source::tail::TailId;
use crate::system::below::{self, Links};
use crate::system::beneath;

/// What a new file may be done with by whom: read by the group (a web server, a person
/// who looks), written by nobody else.
const NEW_FILE: Mode = Mode::from_bits_truncate(0o640);

/// How often the file may turn out to be another one, or full again, in one attempt.
const TURNS: u32 = 16;

/// Where records go: a name in a folder.
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
    /// Then what is no file looks like what is not there.
    Client,
    /// The same, for a file in a session's folder.
    Ourselves,
}

/// What a target's name stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    There,
    /// Nothing yet: the first record makes it.
    ToCome,
}

/// What to do where there is no such file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum MissingFile {
    /// Make it.
    Made,
    /// Say so.
    Told,
}

/// How records are added.
pub(crate) struct AppendOptions {
    file_max_bytes: Option<u64>,
    file_keep: u32,
    durability: Durability,
}

impl AppendOptions {
    /// Whether adding a record waits until the disk has it.
    pub(crate) fn wait_for_disk(&self) -> bool {
        self.durability == Durability::Power
    }
}

/// The device and number of a folder, and a name in it.
pub(crate) type TargetKey = (libc::dev_t, libc::ino_t, OsString);

/// A record that stands in the file.
pub(crate) struct Added {
    pub(crate) id: TailId,
    /// What is still to be done where the record is to survive a power cut.
    pub(crate) unconfirmed: Option<Unconfirmed>,
}

/// A file with records that the disk has not confirmed.
pub(crate) struct Unconfirmed {
    file: File,
    /// The file was empty: as far as the disk knows, it may have no name yet.
    is_new: bool,
}

impl Unconfirmed {
    /// Waits until the disk has the file.
    pub(crate) fn confirm(&self, target: &Target) -> io::Result<()> {
        self.file.sync_data()?;
        if self.is_new {
            target.sync_folder()?;
        }
        Ok(())
    }

    /// Makes one of two if they are of the same file; else returns the other one.
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

/// Why a record is not in the file.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// Somebody else is adding one now.
    Busy,
    /// There is no such file, and none is to be made; or no file that may be known of.
    NotFound,
    /// The same for the client; the administrator can learn what is wrong with the file.
    Hidden(io::Error),
    /// The system refuses. Of the record, nothing, a torn part, or, where the disk did not
    /// confirm it, all may be in the file.
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
    /// `durability` is that of what is posted: who comes and goes need not survive a power
    /// cut.
    pub(crate) fn of(settings: &Settings, durability: Durability) -> Self {
        Self {
            file_max_bytes: settings.file_max_bytes,
            file_keep: settings.file_keep,
            durability,
        }
    }
}

impl Target {
    /// The administrator's path, links followed: what is rotated is the file itself, and
    /// not a link to it.
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
            missing: MissingFile::Made,
            named_by: NamedBy::Administrator,
        })
    }

    /// A name that a client gave, below a root that it cannot leave.
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

    /// A name of our own in an open folder, which is no link.
    pub(crate) fn within(folder: OwnedFd, name: &str) -> Self {
        Self {
            folder,
            name: name.into(),
            missing: MissingFile::Told,
            named_by: NamedBy::Ourselves,
        }
    }

    /// Adds a record as a line of its own, and says which id its event has on the way
    /// down. Where the record is to survive a power cut, this waits for the disk.
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

    /// The same, without waiting for the disk: that is left to [`Unconfirmed::confirm`].
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
            // It is in the file: others need not wait for the disk as well.
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

    /// Whether the file is there.
    ///
    /// # Errors
    /// [`AppendError::NotFound`] where no file of that name is to be made, or a client named
    /// what is no file.
    pub(crate) fn presence(&self) -> Result<Presence, AppendError> {
        match self.state(&self.name) {
            Ok(state) if self.named_by == NamedBy::Administrator || is_file(&state) => {
                Ok(Presence::There)
            }
            Ok(_) => Err(AppendError::NotFound),
            // Between two steps of a rotation there is no file for a moment.
            Err(Errno::ENOENT) if self.state(&self.nth(1)).is_ok() => Ok(Presence::There),
            Err(Errno::ENOENT) => match self.missing {
                MissingFile::Made => Ok(Presence::ToCome),
                MissingFile::Told => Err(AppendError::NotFound),
            },
            Err(error) => Err(self.no_file(error)),
        }
    }

    /// The file, locked, and its size; `None` when it lost its name to another one on the
    /// way.
    fn open_locked(&self) -> Result<Option<(Flock<File>, u64)>, AppendError> {
        let file = match self.open(&self.name, OFlag::empty()) {
            Err(Errno::ENOENT) => {
                // Between two steps of a rotation there is no file for a moment.
                let may_make =
                    self.missing == MissingFile::Made || self.state(&self.nth(1)).is_ok();
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

    /// What it means that the name cannot be opened. Links are not followed: they may lead
    /// to what is no stream.
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

    /// Moves the full file aside and puts an empty one in its place, with the same mode
    /// and group: whoever could append to the old one can to the new.
    ///
    /// Its lock is held all along, and the file is the last that moves: so nobody else
    /// finds a full one meanwhile. What a rotation that was killed left undone is a free
    /// place in the chain, which the next one fills.
    fn rotate(&self, full: &File, keep: u32) -> Result<(), AppendError> {
        let is_free = |number: &u32| matches!(self.state(&self.nth(*number)), Err(Errno::ENOENT));
        let free = (1..keep).find(is_free).unwrap_or(keep);
        for number in (1..free).rev() {
            self.rename(&self.nth(number), &self.nth(number + 1))?;
        }
        self.rename(&self.name, &self.nth(1))?;
        let old = full.metadata()?;
        match self.open(&self.name, OFlag::O_CREAT | OFlag::O_EXCL) {
            Ok(new) => {
                // Where the group cannot be given, what it may do is not given either.
                let group = fchown(&new, None, Some(old.gid()));
                let mode = if group.is_ok() { 0o777 } else { 0o707 };
                let _ = new.set_permissions(Permissions::from_mode(old.mode() & mode));
            }
            // Somebody who holds no lock was quicker.
            Err(Errno::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let folder = open_beneath(&self.folder, Path::new("."), flags, Mode::empty())?;
        File::from(folder).sync_all()
    }

    /// The name of the rotated file of a number.
    fn nth(&self, number: u32) -> OsString {
        let mut name = self.name.clone();
        name.push(format!(".{number}"));
        name
    }

    fn rename(&self, from: &OsStr, to: &OsStr) -> nix::Result<()> {
        renameat(&self.folder, from, &self.folder, to)
    }

    fn state(&self, name: &OsStr) -> nix::Result<FileStat> {
        fstatat(&self.folder, name, AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    fn open(&self, name: &OsStr, flags: OFlag) -> nix::Result<File> {
        // Without O_NONBLOCK, opening a FIFO would wait for somebody at its other end.
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
    /// Where there is no /proc.
    pub(crate) fn path(&self) -> io::Result<PathBuf> {
        let folder = fs::read_link(format!("/proc/self/fd/{}", self.folder.as_raw_fd()))?;
        Ok(folder.join(&self.name))
    }

    /// The file's name, for the log.
    /// Its path, or its name where that cannot be told, for the log.
    /// A session's is a secret: the name of its folder lets others post to it.
    pub(crate) fn display(&self) -> String {
        if self.named_by == NamedBy::Ourselves {
            return format!("{} of a session", self.name.display());
        }
        let path = self.path().unwrap_or_else(|_| self.name.clone().into());
        path.display().to_string()
    }

    /// Opens a small file of ours that lies beside the stream's, locked: its name is that
    /// of the stream's file, made a hidden one, and `suffix`.
    pub(crate) fn open_beside(&self, suffix: &str) -> Result<Flock<File>, AppendError> {
        let mut name = OsString::from(".");
        if self.name.len() + name.len() + suffix.len() <= BelowRoot::PART_MAX_BYTES {
            name.push(&self.name);
        } else {
            // No name of a file can be so long; the hash of it stands for it.
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

/// Opens what lies below `folder`, wherever links lead.
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

/// What is outside of a root, no folder, or not for us to open looks like what is missing.
/// Any other error says nothing of the name: EIO, ESTALE, no memory or descriptor left.
fn hidden(error: Errno) -> AppendError {
    match error {
        Errno::ENOENT | Errno::ENOTDIR | Errno::EXDEV | Errno::ELOOP | Errno::ENAMETOOLONG => {
            AppendError::NotFound
        }
        Errno::EACCES | Errno::EPERM => AppendError::Hidden(error.into()),
        _ => error.into(),
    }
}

/// Writes a record into the locked file, as a line of its own, and proves it.
fn write(file: &File, size_bytes: u64, record: &Record) -> Result<TailId, AppendError> {
    let mut begin = match size_bytes.checked_sub(1) {
        None => Begin::AtOnce,
        Some(last) => match bytes_at(file, last, 1)?[..] {
            [b'\n'] => Begin::AtOnce,
            _ => Begin::OnANewLine,
        },
    };
    reserve(file, size_bytes, record.as_bytes().len() as u64 + 1)?;
    for _ in 0..TURNS {
        match write_once(file, record, begin)? {
            Written::Whole(id) => return Ok(id),
            // Somebody without a lock left a line unfinished between our look and our
            // write: the record hangs on to it. It stands there again, then.
            Written::Torn => begin = Begin::OnANewLine,
        }
    }
    Err(AppendError::Busy)
}

/// Within a block a write is whole or nothing: what is there has its place.
const BLOCK_BYTES: u64 = 4096;

/// Reserves the space for what is to be appended, so that a disk that becomes full refuses
/// the record as a whole, and not after half of it. The file's size stays. Where the file
/// system cannot do this, nothing is reserved.
fn reserve(file: &File, size_bytes: u64, length_bytes: u64) -> Result<(), AppendError> {
    let end = size_bytes + length_bytes;
    // A limit on the size is one of writing, which not every file system tells of here.
    if end > getrlimit(Resource::RLIMIT_FSIZE).map_or(u64::MAX, |(soft, _)| soft) {
        return Err(Errno::EFBIG.into());
    }
    let last_block = |size: u64| size.saturating_sub(1) / BLOCK_BYTES;
    if size_bytes > 0 && last_block(size_bytes) == last_block(end) {
        return Ok(());
    }
    let (Ok(offset), Ok(length)) = (size_bytes.try_into(), length_bytes.try_into()) else {
        return Err(Errno::EFBIG.into());
    };
    loop {
        let flags = FallocateFlags::FALLOC_FL_KEEP_SIZE;
        return match fallocate(file, flags, offset, length) {
            Err(Errno::EINTR) => continue,
            Err(error @ (Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG | Errno::EIO)) => {
                Err(error.into())
            }
            _ => Ok(()),
        };
    }
}

/// How a record begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begin {
    AtOnce,
    /// The file does not end in a newline. An empty line is nothing to a reader.
    OnANewLine,
}

enum Written {
    /// It stands in the file as a line of its own.
    Whole(TailId),
    /// It is part of another line.
    Torn,
}

fn write_once(mut file: &File, record: &Record, begin: Begin) -> Result<Written, AppendError> {
    let mut bytes = Vec::with_capacity(record.as_bytes().len() + 1);
    if begin == Begin::OnANewLine {
        bytes.push(b'\n');
    }
    bytes.extend_from_slice(record.as_bytes());
    let written = uninterrupted(|| file.write(&bytes))?;
    if written < bytes.len() {
        // The disk is full, or a limit is reached. If the rest goes in now, and nobody
        // came in between, nothing is lost; else what is there is made a line of its
        // own, if it can be. If not, the next publisher begins with a new line.
        if let Err(error) = file.write_all(&bytes[written..]) {
            let _ = file.write(b"\n");
            return Err(error.into());
        }
    }
    // In append mode the kernel leaves the position at the end of what it wrote, so it
    // tells our place whoever has written since.
    let end = uninterrupted(|| file.stream_position())?;
    let length = record.as_bytes().len() as u64;
    let Some(start) = end.checked_sub(length) else {
        return Ok(Written::Torn);
    };
    let before = start.min(1);
    let found = bytes_at(file, start - before, length + before)?;
    let (newline, found) = found.split_at(found.len().min(before as usize));
    if found != record.as_bytes() || newline.iter().any(|&b| b != b'\n') {
        return Ok(Written::Torn);
    }
    let window = end.min(TailId::WINDOW_BYTES as u64);
    let head = bytes_at(file, 0, end.min(TailId::HEAD_BYTES as u64))?;
    let window = bytes_at(file, end - window, window)?;
    Ok(Written::Whole(TailId::at(end, &head, &window)))
}

/// What stands at `offset`; less only at the end of the file.
fn bytes_at(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length as usize];
    let mut filled = 0;
    while filled < bytes.len() {
        let at = offset + filled as u64;
        match uninterrupted(|| file.read_at(&mut bytes[filled..], at))? {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

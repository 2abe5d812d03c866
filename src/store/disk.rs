//! The files of the system for a follower.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::UNIX_EPOCH;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::listing::Listings;
use crate::request::BelowRoot;
use crate::source::Changes;
use crate::source::tail::{Disk, DiskFile, Identity, Sibling, Stat};
use crate::system::below::{self, Links};
use crate::system::beneath;
use crate::system::log::{Level, Log};
use crate::system::watch::{Coverage, Hints, Watcher};

mod file;
mod trouble;

use file::RealFile;
use trouble::Trouble;

/// A path, watched as long as it is followed.
pub(crate) struct RealDisk {
    resolution: NameResolution,
    /// The folder's path, for the watcher.
    folder: PathBuf,
    name: OsString,
    surroundings: Surroundings,
    /// The coverage of the folder's watch, and the generation of watches at that time.
    folder_coverage: Coverage,
    generation: u64,
    /// The watches have been renewed, and nothing has been opened since.
    is_fresh: bool,
    /// The lowest coverage of its files.
    files_coverage: Cell<Coverage>,
    /// The file that the path named at the last check.
    looked: Option<Looked>,
    trouble: Trouble,
}

/// How names are resolved.
enum NameResolution {
    /// By the administrator's path, following links.
    Path,
    /// Below a root, which no name and no link leads out of; `folder` is relative.
    Below { root: PathBuf, folder: PathBuf },
}

/// The watcher, the changes and the log that a disk uses.
pub(crate) struct Surroundings {
    pub(crate) watcher: Rc<Watcher>,
    /// The reported changes of this path, and its coverage.
    pub(crate) hints: Rc<Hints>,
    pub(crate) log: Rc<Log>,
    pub(crate) listings: Rc<Listings>,
}

/// The result of a check, which is used as long as no change is reported.
struct Looked {
    identity: Identity,
    /// The watcher's count of moves at that time.
    moves: u64,
    /// The count of writes when this was used last. If it is unchanged, a heartbeat caused the
    /// poll, and the path is checked in any case.
    writes: u64,
    /// How many more times it may be used.
    uses: u32,
}

/// A result is used so often at most: a busy file is checked now and then in any case.
const LOOKED_HOLDS: u32 = 256;

impl RealDisk {
    pub(crate) fn at(path: &Path, surroundings: Surroundings) -> Self {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
        let name = path.file_name().unwrap_or_default().to_owned();
        Self::new(NameResolution::Path, folder, name, surroundings)
    }

    pub(crate) fn below(
        root: &Path,
        name: &BelowRoot,
        surroundings: Surroundings,
    ) -> io::Result<Self> {
        open_root(root)?;
        let folder = name.as_path().parent().unwrap_or(Path::new("")).to_owned();
        let base = name.as_path().file_name().unwrap_or_default().to_owned();
        let watched = std::path::absolute(root)?.join(&folder);
        let resolution = NameResolution::Below {
            root: root.to_owned(),
            folder,
        };
        Ok(Self::new(resolution, watched, base, surroundings))
    }

    fn new(
        resolution: NameResolution,
        folder: PathBuf,
        name: OsString,
        surroundings: Surroundings,
    ) -> Self {
        let mut disk = Self {
            resolution,
            folder,
            name,
            surroundings,
            folder_coverage: Coverage::None,
            generation: 0,
            is_fresh: true,
            files_coverage: Cell::new(Coverage::Whole),
            looked: None,
            trouble: Trouble::default(),
        };
        disk.watch();
        disk
    }

    /// Watches the folder, if it exists by now.
    fn watch(&mut self) {
        let generation = self.surroundings.hints.generation();
        if self.folder_coverage == Coverage::None || generation != self.generation {
            self.watch_anew();
        }
        self.surroundings
            .hints
            .set_coverage(self.folder_coverage.min(self.files_coverage.get()));
    }

    /// Watches the folder that has the name now.
    fn watch_anew(&mut self) {
        self.generation = self.surroundings.hints.generation();
        let watcher = &self.surroundings.watcher;
        self.folder_coverage =
            watcher.watch_folder(&self.folder, &self.name, &self.surroundings.hints);
    }

    /// The folder may have been replaced: while a process has one of its files open, as this
    /// one does, its removal is not reported.
    fn doubt_the_folder(&mut self) {
        self.folder_coverage = Coverage::None;
    }

    /// The file that the path named at the last check, if it certainly still does.
    fn still_named(&mut self) -> Option<Identity> {
        let looked = self.looked.as_mut()?;
        let is_certain = self.surroundings.hints.coverage() == Coverage::Whole
            && self.surroundings.hints.moves() == looked.moves
            && self.surroundings.hints.writes() != looked.writes;
        looked.writes = self.surroundings.hints.writes();
        looked.uses = looked.uses.saturating_sub(1);
        (is_certain && looked.uses > 0).then_some(looked.identity)
    }

    /// Some changes of this path are not reported.
    fn is_partly_blind(&self) {
        let hints = &self.surroundings.hints;
        hints.set_coverage(hints.coverage().min(Coverage::Part));
    }

    fn open_named(&self, name: &OsStr) -> io::Result<Rc<dyn DiskFile>> {
        let (file, metadata) = match &self.resolution {
            NameResolution::Path => open_regular(&self.folder.join(name))?,
            NameResolution::Below { root, folder } => {
                regular(open_below(root, &folder.join(name), TO_READ)?.into())?
            }
        };
        let (covered, watch) = self
            .surroundings
            .watcher
            .watch_file(file.as_fd(), &self.surroundings.hints);
        self.files_coverage
            .set(self.files_coverage.get().min(covered));
        Ok(Rc::new(RealFile::new(file, &metadata, watch)))
    }

    /// Stores the error of the path, and logs it if it is new. A name from a client below a root
    /// is not logged.
    fn note(&mut self, error: &io::Error) {
        let Some(news) = self.trouble.note(error) else {
            return;
        };
        if matches!(self.resolution, NameResolution::Path) {
            let path = self.folder.join(&self.name);
            let line = format!("{}: {news}", path.display());
            self.surroundings.log.line(Level::Warning, &line);
        }
    }

    /// The status of the file at the path.
    fn look(&self) -> io::Result<Stat> {
        let metadata = match &self.resolution {
            NameResolution::Path => {
                let path = self.folder.join(&self.name);
                let metadata = fs::symlink_metadata(&path)?;
                if metadata.is_symlink() {
                    self.is_partly_blind();
                    fs::metadata(&path)?
                } else {
                    metadata
                }
            }
            NameResolution::Below { root, folder } => {
                self.is_partly_blind();
                let name = folder.join(&self.name);
                File::from(open_below(root, &name, OFlag::O_PATH)?).metadata()?
            }
        };
        check_regular(&metadata)?;
        Ok(stat(&metadata))
    }

    /// Calls `list` with a path of the folder.
    fn with_folder<T>(&self, list: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
        match &self.resolution {
            NameResolution::Path => {
                beneath::may_list(&self.folder)?;
                list(&self.folder)
            }
            NameResolution::Below { root, folder } => {
                let here = if folder.as_os_str().is_empty() {
                    Path::new(".")
                } else {
                    folder
                };
                let opened = open_below(root, here, OFlag::O_DIRECTORY)?;
                // Once it is open, its name below the root does not matter.
                list(Path::new(&format!("/proc/self/fd/{}", opened.as_raw_fd())))
            }
        }
    }
}

/// A path through something that is not a folder counts as missing.
fn not_there(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::NotADirectory => io::Error::from(io::ErrorKind::NotFound),
        _ => error,
    }
}

/// Without O_NONBLOCK, opening a FIFO would block until it has a writer.
const TO_READ: OFlag = OFlag::O_NONBLOCK.union(OFlag::O_NOCTTY);

fn open_root(root: &Path) -> io::Result<File> {
    beneath::open(root, OFlag::O_PATH | OFlag::O_DIRECTORY)
}

/// Opens `name` below `root`, which is the folder that has this path now: it can be replaced,
/// or be a link that a deployment changes. Below it, links are followed as long as they stay
/// below it.
fn open_below(root: &Path, name: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    let root = open_root(root)?;
    let opened = below::open_below(&root, name, flags, Mode::empty(), Links::Followed);
    opened.map_err(|error| match error {
        // A loop of links and a socket are not files; the standard library has no error kind
        // for them.
        Errno::ELOOP => no_file("a loop of symbolic links"),
        Errno::ENXIO => no_file("no regular file"),
        error => error.into(),
    })
}

impl Drop for RealDisk {
    fn drop(&mut self) {
        self.surroundings.watcher.forget(&self.surroundings.hints);
    }
}

impl Disk for RealDisk {
    fn changes(&self) -> Option<Rc<dyn Changes>> {
        Some(Rc::clone(&self.surroundings.hints) as Rc<dyn Changes>)
    }

    fn stat(&mut self) -> io::Result<Stat> {
        self.watch();
        let moves = self.surroundings.hints.moves();
        let looked = self.look();
        self.looked = None;
        match &looked {
            Ok(stat) if self.surroundings.hints.coverage() == Coverage::Whole => {
                self.looked = Some(Looked {
                    identity: stat.identity,
                    moves,
                    writes: self.surroundings.hints.writes(),
                    uses: LOOKED_HOLDS,
                });
            }
            Ok(_) => {}
            Err(_) => {
                self.is_partly_blind();
                self.doubt_the_folder();
            }
        }
        let looked = looked.map_err(not_there);
        if let Err(error) = &looked {
            self.note(error);
        }
        looked
    }

    fn identity(&mut self) -> io::Result<Identity> {
        self.watch();
        match self.still_named() {
            Some(identity) => Ok(identity),
            None => self.stat().map(|stat| stat.identity),
        }
    }

    fn open(&mut self) -> io::Result<Rc<dyn DiskFile>> {
        if !std::mem::replace(&mut self.is_fresh, false) {
            // It is another file than before. The folder may also have been replaced without a
            // report, by a mount.
            self.watch_anew();
        }
        let opened = self.stat().and_then(|_| self.open_named(&self.name));
        match &opened {
            Ok(_) => self.trouble.opened(),
            Err(error) => self.note(error),
        }
        opened
    }

    fn siblings(&mut self) -> io::Result<Vec<Sibling>> {
        let Some(base) = self.name.to_str() else {
            return Ok(Vec::new());
        };
        let listings = &self.surroundings.listings;
        let listed = self.with_folder(|folder| listings.rotated(folder, base));
        match listed {
            Err(error) if is_shortage(&error) || error.kind() == io::ErrorKind::Other => Err(error),
            // There is nothing that may be disclosed.
            Err(_) => Ok(Vec::new()),
            listed => listed,
        }
    }

    fn open_sibling(&mut self, name: &str) -> io::Result<Rc<dyn DiskFile>> {
        self.open_named(OsStr::new(name))
    }

    fn was_moved_in(&mut self) -> bool {
        // A rename is seen in the path before its hint has been read. (The hint is there once
        // the folder could be listed.)
        self.surroundings.watcher.collect();
        self.surroundings.hints.take_moved_in()
    }
}

/// Whether an error concerns the system's resources, and not the path.
fn is_shortage(error: &io::Error) -> bool {
    let lacks = [
        Errno::EMFILE,
        Errno::ENFILE,
        Errno::ENOMEM,
        Errno::EIO,
        Errno::ESTALE,
    ];
    let number = error.raw_os_error();
    lacks.into_iter().any(|lack| number == Some(lack as i32))
}

/// Opens a regular file for reading, and nothing else.
pub(crate) fn open_regular(path: &Path) -> io::Result<(File, Metadata)> {
    let opened = beneath::open(path, TO_READ);
    regular(opened.map_err(|error| match error.raw_os_error() {
        // A socket, or a missing device.
        Some(libc::ENXIO) => no_file("no regular file"),
        _ => error,
    })?)
}

fn regular(file: File) -> io::Result<(File, Metadata)> {
    let metadata = file.metadata()?;
    check_regular(&metadata)?;
    Ok((file, metadata))
}

fn check_regular(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    Err(no_file(if metadata.is_dir() {
        "a folder"
    } else {
        "no regular file"
    }))
}

fn no_file(kind: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, kind)
}

pub(super) fn stat(metadata: &Metadata) -> Stat {
    let seconds = i128::from(metadata.mtime());
    Stat {
        identity: (metadata.dev(), metadata.ino()),
        size_bytes: metadata.len(),
        modified_ns: seconds * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
        links: metadata.nlink(),
        born_ns: born_ns(metadata),
    }
}

fn born_ns(metadata: &Metadata) -> Option<i128> {
    let since_epoch = metadata.created().ok()?.duration_since(UNIX_EPOCH).ok()?;
    i128::try_from(since_epoch.as_nanos()).ok()
}

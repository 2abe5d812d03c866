//! Sessions as folders.
//!
//! ```text
//! SPOOL/                      ours alone may write in it
//!   .sweep                    whose turn it is to sweep, and where
//!   3f/                       private sessions, by their first two digits
//!     3f0c…/events.jsonl
//!   room-0123456789abcdef/    the members of a room
//!     .sweep
//!     77ab…/member.json
//! ```
//!
//! A session's folder has two times: its modification time is when its stream was open last,
//! and its access time is when its grace ends. Locations can share a spool and have different
//! graces: the longer of the session's and the sweeper's counts. Setting the times takes a
//! shared lock on the folder; removing the folder takes an exclusive one and reads the times
//! again, so a session in use is not removed. The locks are held for a moment, and nobody waits
//! for one.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat, futimens, mkdirat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, Whence, lseek, unlinkat};

use super::append::{Target, open_beneath, open_folder};
use super::listing::FolderState;
use super::roster::{RoomKey, Rosters};
use crate::source::{Author, Members, Now, SessionId, SessionKind, Spool};
use crate::system::beneath;

/// The mode of private files and folders.
const OURS: Mode = Mode::S_IRWXU;

/// A spool must not be writable for others, who could put folders there.
const OTHERS_WRITE: u32 = 0o022;

/// The number of sessions after which a sweep stops. It checks up to some hundred more: those
/// that the system returned together with the last one.
const LOOKED_MAX: usize = 2_048;

/// The maximum number that it removes, which takes a few milliseconds. 10 000 abandoned
/// sessions are removed after forty sweeps.
const REMOVED_MAX: usize = 256;

/// The number of folders with private sessions.
const SHARDS: usize = 256;

/// How long the members of a room need not be checked again: if each of a thousand sweeps every
/// few seconds, one sweep is enough.
const ROOM_HOLDS: Duration = Duration::from_secs(1);

/// The same where a sweep checks a part: private sessions, and a large room. With a hundred
/// thousand, all are checked well within the shortest grace, and this takes a few hundredths of a
/// processor at any rate of connections and POSTs.
const PART_HOLDS: Duration = Duration::from_millis(100);

/// The result of the last sweep: it left nothing that it could have removed.
const SWEPT: u8 = 0;
const UNSWEPT: u8 = 1;

/// The longest session file that describes a member, which is read whole.
const MEMBER_MAX_BYTES: u64 = 4 << 10;

/// The sessions of one kind.
pub(crate) struct SpoolFolder {
    root: OwnedFd,
    path: PathBuf,
    kind: SessionKind,
    /// How long the sessions of this location outlive their streams.
    grace: Duration,
    rosters: Rc<Rosters>,
}

/// The longest grace that a session's times can express: the longest permitted setting.
const GRACE_MAX_MS: i128 = 24 * 3600 * 1_000;

impl SpoolFolder {
    /// Opens the folder, and creates it if it is missing.
    pub(crate) fn open(path: &Path, kind: SessionKind, grace: Duration) -> io::Result<Self> {
        let root = match open_folder(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match beneath::make_folder(path, Mode::S_IRWXU) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(error);
                    }
                    _ => open_folder(path)?,
                }
            }
            opened => opened?,
        };
        let mode = File::from(root.try_clone()?).metadata()?.mode();
        if mode & OTHERS_WRITE != 0 {
            let text = "others may write in it";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        Ok(Self {
            root,
            path: path.to_owned(),
            kind,
            grace,
            rosters: Rc::default(),
        })
    }

    /// The same, with the members of rooms that the process knows.
    pub(crate) fn with_rosters(self, rosters: &Rc<Rosters>) -> Self {
        Self {
            rosters: Rc::clone(rosters),
            ..self
        }
    }

    /// The key of the room in [`Rosters`].
    fn room_key(&self) -> Option<RoomKey> {
        let SessionKind::Member { room } = self.kind else {
            return None;
        };
        let root = fstat(&self.root).ok()?;
        Some((root.st_dev, root.st_ino, room))
    }

    /// The name of the folder that contains a session.
    fn shard(&self, first_byte: u8) -> String {
        match self.kind {
            SessionKind::Private => format!("{first_byte:02x}"),
            SessionKind::Member { room } => format!("room-{room:016x}"),
        }
    }

    fn shard_of(&self, id: SessionId) -> String {
        self.shard(id.first_byte())
    }

    /// A session's folder below the spool.
    fn place(&self, id: SessionId) -> PathBuf {
        Path::new(&self.shard_of(id)).join(id.to_string())
    }

    /// Opens a session's folder.
    pub(crate) fn session(&self, id: SessionId) -> io::Result<OwnedFd> {
        Ok(self.open_below(&self.place(id))?)
    }

    /// A name in the spool beside which POSTs are counted.
    pub(crate) fn counted(&self, name: &str) -> io::Result<Target> {
        Ok(Target::within(self.root.try_clone()?, name))
    }

    fn open_below(&self, place: &Path) -> nix::Result<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        open_beneath(&self.root, place, flags, Mode::empty())
    }

    /// A session's folder, locked. `NotFound` also if it was removed meanwhile, `WouldBlock` if
    /// another lock excludes this one.
    fn locked(&self, place: &Path, how: FlockArg) -> io::Result<Flock<File>> {
        let folder = File::from(self.open_below(place)?);
        let folder = match Flock::lock(folder, how) {
            Ok(folder) => folder,
            Err((_, error)) => return Err(error.into()),
        };
        let own = folder.metadata()?;
        let named = self.state(place)?;
        if (named.st_dev, named.st_ino) != (own.dev(), own.ino()) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(folder)
    }

    fn state(&self, place: &Path) -> nix::Result<FileStat> {
        fstatat(&self.root, place, AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    /// The sessions in a folder, in any order.
    fn ids(&self, shard: &str) -> io::Result<Vec<SessionId>> {
        let mut ids = Vec::new();
        for entry in Dir::from_fd(self.open_below(Path::new(shard))?)?.iter() {
            ids.extend(SessionId::parse(entry?.file_name().to_bytes()));
        }
        Ok(ids)
    }

    /// What a member's file holds.
    fn read_member(&self, id: SessionId) -> io::Result<Vec<u8>> {
        self.read_below(&self.root, &self.place(id).join(self.kind.file_name()))
    }

    /// Whether the stream of a session has been away for longer than its grace, and than this
    /// location's.
    fn has_ended(&self, place: &Path, now: Now) -> bool {
        self.state(place).is_ok_and(|state| {
            let ms = |seconds: i64, nanoseconds: i64| {
                i128::from(seconds) * 1_000 + i128::from(nanoseconds) / 1_000_000
            };
            let touched_ms = ms(state.st_mtime, state.st_mtime_nsec);
            let own_end_ms = ms(state.st_atime, state.st_atime_nsec);
            // The kernel and readers of the folder may set the access time too, but never to
            // less than the time of a visit.
            let own_end_ms = own_end_ms.min(touched_ms + GRACE_MAX_MS);
            let end_ms = own_end_ms.max(touched_ms + self.grace.as_millis() as i128);
            i128::from(now.unix_ms) > end_ms
        })
    }

    /// Sets a session's times: its stream is open now.
    fn set_times(&self, folder: &File) -> io::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let end = TimeSpec::from_duration(now.unwrap_or_default() + self.grace);
        Ok(futimens(folder, &end, &TimeSpec::UTIME_NOW)?)
    }

    /// Fills a session's folder after its creation.
    fn fill(&self, id: SessionId, content: &[u8]) -> io::Result<()> {
        let folder = self.session(id)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let name = Path::new(self.kind.file_name());
        let file = open_beneath(&folder, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
        File::from(file).write_all(content)?;
        self.set_times(&File::from(folder))
    }

    /// Sweeps one folder from a position of its listing; returns where the next sweep is to go
    /// on, which is 0 at its end.
    fn sweep_shard(&self, shard: &str, from: i64, sweep: &mut Sweep<'_>) -> io::Result<i64> {
        let folder = match self.open_below(Path::new(shard)) {
            Err(Errno::ENOENT) => return Ok(0),
            opened => opened?,
        };
        // Both descriptors have one position: that up to which the system has listed.
        let position = folder.try_clone()?;
        let mut listed_to = match lseek(&position, from, Whence::SeekSet) {
            Ok(from) => from,
            // It is of another file system.
            Err(_) => lseek(&position, 0, Whence::SeekSet)?,
        };
        let mut part_at = listed_to;
        for entry in Dir::from_fd(folder)?.iter() {
            let now_at = lseek(&position, 0, Whence::SeekCur)?;
            if now_at != listed_to {
                part_at = std::mem::replace(&mut listed_to, now_at);
                if sweep.looked >= LOOKED_MAX || sweep.left >= REMOVED_MAX {
                    return Ok(part_at);
                }
            }
            if sweep.removed >= REMOVED_MAX {
                return Ok(part_at);
            }
            let entry = entry?;
            let Some(id) = SessionId::parse(entry.file_name().to_bytes()) else {
                continue;
            };
            sweep.looked += 1;
            let place = Path::new(shard).join(id.to_string());
            if !self.has_ended(&place, sweep.now) {
                continue;
            }
            let folder = match self.locked(&place, FlockArg::LockExclusiveNonblock) {
                Ok(folder) => folder,
                // Its stream is being opened, or another process sweeps it.
                Err(_) => continue,
            };
            if !self.has_ended(&place, sweep.now) {
                continue;
            }
            let stored = self.read_at(&folder).unwrap_or_default();
            match (sweep.ended)(&stored) {
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                    sweep.left += 1;
                    continue;
                }
                told => told?,
            }
            sweep.removed += 1;
            // A folder with files of others must not prevent the removal of the rest.
            let _ = self.remove(&place, &folder);
            if let Some(room) = self.room_key() {
                self.rosters.remove(room, id);
            }
        }
        Ok(0)
    }

    /// Removes a session's folder, which is locked, with its content.
    fn remove(&self, place: &Path, folder: &File) -> io::Result<()> {
        for entry in fs::read_dir(self.path.join(place))? {
            unlinkat(folder, &*entry?.file_name(), UnlinkatFlags::NoRemoveDir)?;
        }
        Ok(unlinkat(&self.root, place, UnlinkatFlags::RemoveDir)?)
    }

    /// The content of the file in a session's folder.
    fn read_at(&self, folder: &File) -> io::Result<Vec<u8>> {
        let folder = folder.as_fd().try_clone_to_owned()?;
        self.read_below(&folder, Path::new(self.kind.file_name()))
    }

    fn read_below(&self, folder: &OwnedFd, name: &Path) -> io::Result<Vec<u8>> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let file = open_beneath(folder, name, flags, Mode::empty())?;
        let mut bytes = Vec::with_capacity(256);
        File::from(file)
            .take(MEMBER_MAX_BYTES)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The file whose lock permits sweeping; `None` while another process holds it.
    fn turn(&self) -> io::Result<Option<Flock<File>>> {
        let place = match self.kind {
            SessionKind::Private => PathBuf::from(".sweep"),
            SessionKind::Member { .. } => Path::new(&self.shard(0)).join(".sweep"),
        };
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW;
        let file = match open_beneath(&self.root, &place, flags, Mode::S_IRUSR | Mode::S_IWUSR) {
            // The room has had no member yet.
            Err(Errno::ENOENT) => return Ok(None),
            opened => File::from(opened?),
        };
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(turn) => Ok(Some(turn)),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, error)) => Err(error.into()),
        }
    }

    /// Sweeps the folders of private sessions, beginning where the last sweep ended; at once if
    /// that left sessions that it could have removed.
    fn sweep_on(&self, turn: &File, sweep: &mut Sweep<'_>) -> io::Result<()> {
        let mut progress = Progress::read(turn)?;
        if progress.rest == SWEPT && was_swept(turn, sweep.now, PART_HOLDS)? {
            return Ok(());
        }
        for _ in 0..SHARDS {
            let shard = self.shard(progress.shard);
            progress.position = self.sweep_shard(&shard, progress.position, sweep)?;
            if progress.position != 0 || sweep.removed >= REMOVED_MAX {
                break;
            }
            progress.shard = progress.shard.wrapping_add(1);
            if sweep.looked >= LOOKED_MAX {
                break;
            }
        }
        progress.write(turn, sweep)
    }

    /// Sweeps a room from where the last sweep ended, unless that was just now.
    fn sweep_room(&self, turn: &File, sweep: &mut Sweep<'_>) -> io::Result<()> {
        let mut progress = Progress::read(turn)?;
        let is_part = progress.position != 0 || progress.rest == UNSWEPT;
        let holds = if is_part { PART_HOLDS } else { ROOM_HOLDS };
        if was_swept(turn, sweep.now, holds)? {
            return Ok(());
        }
        progress.position = self.sweep_shard(&self.shard(0), progress.position, sweep)?;
        progress.write(turn, sweep)
    }
}

/// How far sweeps have come.
struct Progress {
    shard: u8,
    /// [`SWEPT`] or [`UNSWEPT`].
    rest: u8,
    /// Where the listing of the folder goes on.
    position: i64,
}

impl Progress {
    fn read(turn: &File) -> io::Result<Self> {
        let mut bytes = [0; 10];
        turn.read_at(&mut bytes, 0)?;
        let [shard, rest, position @ ..] = bytes;
        Ok(Self {
            shard,
            rest,
            position: i64::from_le_bytes(position),
        })
    }

    fn write(&self, turn: &File, sweep: &Sweep<'_>) -> io::Result<()> {
        let rest = match sweep.removed >= REMOVED_MAX {
            true => UNSWEPT,
            false => SWEPT,
        };
        let mut bytes = [0; 10];
        bytes[..2].copy_from_slice(&[self.shard, rest]);
        bytes[2..].copy_from_slice(&self.position.to_le_bytes());
        turn.write_all_at(&bytes, 0)
    }
}

/// Whether a sweep was completed less than `holds` ago.
fn was_swept(turn: &File, now: Now, holds: Duration) -> io::Result<bool> {
    let metadata = turn.metadata()?;
    let swept_ms = metadata.mtime() * 1_000 + metadata.mtime_nsec() / 1_000_000;
    let since_ms = i128::from(now.unix_ms) - i128::from(swept_ms);
    // An empty file was created a moment ago.
    Ok(metadata.len() > 0 && (0..holds.as_millis() as i128).contains(&since_ms))
}

struct Sweep<'a> {
    now: Now,
    ended: &'a mut dyn FnMut(&[u8]) -> io::Result<()>,
    looked: usize,
    removed: usize,
    /// How many have ended and are not to be removed here.
    left: usize,
}

impl Spool for SpoolFolder {
    fn make(&self, id: SessionId, content: &[u8]) -> io::Result<()> {
        match mkdirat(&self.root, Path::new(&self.shard_of(id)), OURS) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        mkdirat(&self.root, &self.place(id), OURS)?;
        self.fill(id, content).inspect_err(|_| {
            // On a full disk, no session with an incomplete file may remain.
            if let Ok(folder) = self.session(id) {
                let _ = self.remove(&self.place(id), &File::from(folder));
            }
        })?;
        if let Some(room) = self.room_key() {
            self.rosters.add(room, id, Author::parse(content));
        }
        Ok(())
    }

    fn touch(&self, id: SessionId) -> io::Result<()> {
        let folder = self.locked(&self.place(id), FlockArg::LockSharedNonblock)?;
        self.set_times(&folder)
    }

    fn file(&self, id: SessionId) -> PathBuf {
        self.path.join(self.place(id)).join(self.kind.file_name())
    }

    fn read(&self, id: SessionId) -> io::Result<Vec<u8>> {
        self.read_at(&File::from(self.session(id)?))
    }

    fn members(&self, most: usize) -> io::Result<Members> {
        let Some(room) = self.room_key() else {
            return Ok(Members::default());
        };
        let shard = self.shard(0);
        let state = match fs::metadata(self.path.join(&shard)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Members::default()),
            found => FolderState::of(&found?),
        };
        let list = || self.ids(&shard);
        let read = |id| Author::parse(&self.read_member(id).ok()?);
        self.rosters.members(room, &state, most, list, read)
    }

    fn sweep(&self, now: Now, ended: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let Some(turn) = self.turn()? else {
            return Ok(());
        };
        let mut sweep = Sweep {
            now,
            ended,
            looked: 0,
            removed: 0,
            left: 0,
        };
        match self.kind {
            SessionKind::Private => self.sweep_on(&turn, &mut sweep),
            SessionKind::Member { .. } => self.sweep_room(&turn, &mut sweep),
        }
    }
}

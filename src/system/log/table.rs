//! The storage of the table of repeated lines: memory, or a file that all CGI processes of a
//! user share, since each request is a separate process.
//!
//! The file is in a folder that only this user may write to. Other users can write to the
//! folder above it, so a link or a file of theirs is not used. Nothing here blocks: if the
//! table is not available, every line is written.

use std::cell::RefCell;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::geteuid;

use super::repeats::{Admission, BUCKETS, Bucket, Key};

/// The parent folders to try, memory first.
const PARENTS: [&str; 2] = ["/dev/shm", "/tmp"];

const NAME: &str = "log-lines";

const BUCKET_BYTES: u64 = size_of::<Bucket>() as u64;

/// How often a lock is tried that another process holds for microseconds.
const LOCK_TRIES: u32 = 10;

const LOCK_PAUSE: Duration = Duration::from_micros(200);

/// A table.
pub(super) enum Table {
    /// Of this process only.
    Memory(RefCell<Vec<Bucket>>),
    /// Of all processes of this user.
    File,
}

impl Table {
    pub(super) fn in_memory() -> Self {
        Self::Memory(RefCell::new(Vec::new()))
    }

    /// Applies `judge` to the bucket of `key`, and stores the bucket.
    pub(super) fn judge(
        &self,
        key: Key,
        judge: impl FnOnce(&mut Bucket) -> Admission,
    ) -> Admission {
        match self {
            Self::Memory(buckets) => {
                let mut buckets = buckets.borrow_mut();
                if buckets.is_empty() {
                    // Most programs have nothing to log.
                    buckets.resize(BUCKETS as usize, [0; size_of::<Bucket>()]);
                }
                judge(&mut buckets[key.bucket() as usize])
            }
            Self::File => match open() {
                Ok(file) => judge_in(&file, key, judge),
                Err(_) => Admission::Write { suppressed: 0 },
            },
        }
    }
}

fn judge_in(file: &File, key: Key, judge: impl FnOnce(&mut Bucket) -> Admission) -> Admission {
    let mut bucket: Bucket = [0; size_of::<Bucket>()];
    let place = key.bucket() * BUCKET_BYTES;
    // A table that ends before this bucket has no entry in it.
    let mut filled = 0;
    while filled < bucket.len() {
        match file.read_at(&mut bucket[filled..], place + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    bucket[filled..].fill(0);
    let admission = judge(&mut bucket);
    match file.write_all_at(&bucket, place) {
        Ok(()) => admission,
        // A line is written if its suppression cannot be counted.
        Err(_) => Admission::Write { suppressed: 0 },
    }
}

/// Opens the table, locked.
fn open() -> io::Result<Flock<File>> {
    let mut result = Err(io::ErrorKind::NotFound.into());
    for parent in PARENTS {
        let name = format!("sse-cgi-{}", geteuid());
        result = open_in(&Path::new(parent).join(name));
        // (A locked table is the right one.)
        if !matches!(&result, Err(error) if error.kind() != io::ErrorKind::WouldBlock) {
            break;
        }
    }
    result
}

fn open_in(folder: &Path) -> io::Result<Flock<File>> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    let mut how = OpenOptions::new();
    let folder = how.read(true).custom_flags(flags.bits()).open(folder)?;
    let metadata = folder.metadata()?;
    if metadata.uid() != geteuid().as_raw() || metadata.mode() & 0o077 != 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    // Without O_NONBLOCK, opening a FIFO would block.
    let flags =
        OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    let mut file = File::from(openat(folder.as_fd(), NAME, flags, mode)?);
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.uid() != geteuid().as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    for _ in 0..LOCK_TRIES {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => return Ok(locked),
            Err((file, Errno::EWOULDBLOCK)) => file,
            Err((_, error)) => return Err(error.into()),
        };
        std::thread::sleep(LOCK_PAUSE);
    }
    Err(io::ErrorKind::WouldBlock.into())
}

#[cfg(test)]
mod tests {
    use super::super::repeats::repeat;
    use super::*;

    fn folder(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("sse-log-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        let _ = std::fs::remove_file(&path);
        path
    }

    #[test]
    fn the_next_process_finds_what_the_one_before_wrote() {
        let folder = folder("next");
        let key = Key::of(&[b"a"]);
        let now_ms = 1_800_000_000_000;
        let judged = || {
            let file = open_in(&folder).unwrap();
            judge_in(&file, key, |bucket| repeat(bucket, key, now_ms))
        };
        assert_eq!(judged(), Admission::Write { suppressed: 0 });
        assert_eq!(judged(), Admission::Suppress);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_others_may_have_planted_is_not_used_and_nothing_hangs() {
        use std::fs::Permissions;
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let elsewhere = folder("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        let link = folder("link");
        symlink(&elsewhere, &link).unwrap();
        assert!(open_in(&link).is_err());
        std::fs::remove_file(&link).unwrap();
        // A folder in which other users may write.
        std::fs::set_permissions(&elsewhere, Permissions::from_mode(0o770)).unwrap();
        assert!(open_in(&elsewhere).is_err());
        std::fs::set_permissions(&elsewhere, Permissions::from_mode(0o700)).unwrap();
        let file = elsewhere.join(NAME);
        symlink("/etc/passwd", &file).unwrap();
        assert!(open_in(&elsewhere).is_err());
        std::fs::remove_file(&file).unwrap();
        nix::unistd::mkfifo(&file, Mode::S_IRWXU).unwrap();
        assert!(open_in(&elsewhere).is_err());
        std::fs::remove_file(&file).unwrap();
        let held = open_in(&elsewhere).unwrap();
        assert!(open_in(&elsewhere).is_err());
        drop(held);
        assert!(open_in(&elsewhere).is_ok());
        std::fs::remove_dir_all(elsewhere).unwrap();
    }
}

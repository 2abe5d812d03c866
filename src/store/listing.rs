//! The rotated files beside followed ones, without listing a large folder for each request.
//!
//! The names of a large folder are kept. They are used as long as the folder's times say that it
//! has not changed. A folder that was changed while it was listed, or shortly before, is listed
//! again: its times may be the same after another change.
//!
//! A large folder that changes all the time has to be listed each time. A tenth of the time at most
//! is spent on that, since clients decide how often it is asked for.

use std::cell::{Cell, RefCell};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::disk::stat;
use crate::source::tail::{Mark, Sibling};

/// A folder with fewer files is listed in about a millisecond, and not kept.
const KEPT_MIN_FILES: usize = 1000;

/// The names of a folder that has more bytes of them are not kept.
const KEPT_MAX_BYTES: usize = 16 << 20;

/// How many folders are kept.
const KEPT_MAX_FOLDERS: usize = 4;

/// How long they are kept, at most. The times of a remote folder are not reliable.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// A change within so long of another one may leave the folder's times as they are.
const GRANULARITY: Duration = Duration::from_millis(100);

/// How much time listings may take at once, before they wait for their share.
const BURST: Duration = Duration::from_millis(500);

/// One part in so many of the time is for listings.
const SHARE: u32 = 10;

/// The listings of a process.
pub(crate) struct Listings {
    kept: RefCell<Vec<Kept>>,
    burst: Duration,
    /// The time that listings took, less their share of the time since.
    spent: Cell<Duration>,
    spent_at: Cell<Instant>,
    /// How many folders have been listed, for tests.
    count: Cell<u64>,
}

struct Kept {
    folder: FolderState,
    listed_at: Instant,
    names: Rc<Names>,
}

/// What tells whether a folder has changed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct FolderState {
    identity: (u64, u64),
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FolderState {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            identity: (metadata.dev(), metadata.ino()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// That of a folder that changes all the time.
    #[cfg(test)]
    pub(crate) fn changing() -> Self {
        Self {
            identity: (1, 2),
            modified: (i64::MAX, 0),
            changed: (i64::MAX, 0),
        }
    }

    /// Whether a change now would show in its times.
    pub(super) fn is_at_rest(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_ns = now.map_or(0, |now| now.as_nanos() as i128);
        let ns = |(seconds, ns): (i64, i64)| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
        ns(self.modified.max(self.changed)) + (GRANULARITY.as_nanos() as i128) < now_ns
    }
}

/// The names of a folder, in order, in one piece of memory.
#[derive(Default)]
struct Names {
    text: String,
    /// Where each begins.
    starts: Vec<u32>,
}

impl Names {
    fn push(&mut self, name: &str) {
        // (The length is limited far below this.)
        self.starts.push(self.text.len() as u32);
        self.text.push_str(name);
        self.text.push('\0');
    }

    fn at(&self, start: u32) -> &str {
        let rest = &self.text[start as usize..];
        rest.split_once('\0').map_or(rest, |(name, _)| name)
    }

    fn sort(&mut self) {
        let mut starts = std::mem::take(&mut self.starts);
        starts.sort_unstable_by(|one, other| self.at(*one).cmp(self.at(*other)));
        self.starts = starts;
    }

    /// The names of rotated files of `base`, each once.
    fn rotated<'n>(&'n self, base: &str) -> Vec<&'n str> {
        // A number, a date or `old` comes after the name, or before its extension.
        let stem = match base.rfind('.') {
            Some(at) if at > 0 => &base[..at],
            _ => base,
        };
        let mut found = Vec::new();
        for before in [base, stem] {
            for separator in [".", "-", "_"] {
                for (from, to) in [("0", ":"), ("old", "ole")] {
                    let bound = |end: &str| {
                        let bound = [before, separator, end].concat();
                        self.starts
                            .partition_point(|start| self.at(*start) < bound.as_str())
                    };
                    let between = self.starts.get(bound(from)..bound(to));
                    let names = between.unwrap_or_default().iter();
                    found.extend(
                        names
                            .map(|start| self.at(*start))
                            .filter(|name| Mark::of(base, name).is_some()),
                    );
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

impl Listings {
    pub(crate) fn new() -> Self {
        Self::with_burst(BURST)
    }

    fn with_burst(burst: Duration) -> Self {
        Self {
            kept: RefCell::new(Vec::new()),
            burst,
            spent: Cell::new(Duration::ZERO),
            spent_at: Cell::new(Instant::now()),
            count: Cell::new(0),
        }
    }

    /// The rotated files of `base` in a folder, in any order.
    ///
    /// # Errors
    /// What the system says, and that too much time was spent on listings.
    pub(crate) fn rotated(&self, folder: &Path, base: &str) -> io::Result<Vec<Sibling>> {
        let before = FolderState::of(&fs::metadata(folder)?);
        if let Some(names) = self.kept(&before) {
            let names = names.rotated(base).into_iter();
            return Ok(names
                .filter_map(|name| {
                    let metadata = fs::symlink_metadata(folder.join(name)).ok()?;
                    sibling(base, name, &metadata)
                })
                .collect());
        }
        self.pass_time();
        if self.spent.get() > self.burst {
            return Err(io::Error::other(
                "its folder is large and changes all the time, so it is not listed for each \
                 request; keep the stream's file in a folder of its own",
            ));
        }
        self.list(folder, base, &before)
    }

    /// Reads the folder, and keeps its names if that is worth it.
    fn list(&self, folder: &Path, base: &str, before: &FolderState) -> io::Result<Vec<Sibling>> {
        self.count.set(self.count.get() + 1);
        let (start, mut files) = (Instant::now(), 0);
        let is_at_rest = before.is_at_rest();
        let mut siblings = Vec::new();
        let mut names = Names::default();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            files += 1;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if is_at_rest && names.text.len() < KEPT_MAX_BYTES {
                names.push(&name);
            }
            if Mark::of(base, &name).is_some() {
                if let Ok(metadata) = entry.metadata() {
                    siblings.extend(sibling(base, &name, &metadata));
                }
            }
        }
        let is_whole = is_at_rest && names.text.len() < KEPT_MAX_BYTES;
        if is_whole
            && names.starts.len() >= KEPT_MIN_FILES
            && fs::metadata(folder).is_ok_and(|after| FolderState::of(&after) == *before)
        {
            names.sort();
            self.keep(*before, names);
        }
        // A small one takes little of the processor, whatever the clock says.
        if files >= KEPT_MIN_FILES {
            self.spent.set(self.spent.get() + start.elapsed());
        }
        Ok(siblings)
    }

    fn keep(&self, folder: FolderState, names: Names) {
        let mut kept = self.kept.borrow_mut();
        kept.retain(|kept| {
            kept.listed_at.elapsed() < KEPT_FOR && kept.folder.identity != folder.identity
        });
        if kept.len() >= KEPT_MAX_FOLDERS {
            kept.remove(0);
        }
        kept.push(Kept {
            folder,
            listed_at: Instant::now(),
            names: Rc::new(names),
        });
    }

    fn kept(&self, folder: &FolderState) -> Option<Rc<Names>> {
        let kept = self.kept.borrow();
        let found = kept.iter().find(|kept| kept.folder == *folder)?;
        (found.listed_at.elapsed() < KEPT_FOR).then(|| Rc::clone(&found.names))
    }

    fn pass_time(&self) {
        let share = self.spent_at.replace(Instant::now()).elapsed() / SHARE;
        self.spent.set(self.spent.get().saturating_sub(share));
    }
}

fn sibling(base: &str, name: &str, metadata: &Metadata) -> Option<Sibling> {
    let mark = Mark::of(base, name)?;
    metadata.is_file().then(|| Sibling {
        mark: mark.text.into(),
        form: mark.form,
        name: name.into(),
        stat: stat(metadata),
    })
}

#[cfg(test)]
mod tests {
    use std::fs::FileTimes;
    use std::path::PathBuf;

    use super::*;

    /// A folder with so many files, removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn with(files: usize) -> Self {
            let name = format!("sse-cgi-listing-{}-{files}", std::process::id());
            let folder = Self(std::env::temp_dir().join(name));
            let _ = fs::remove_dir_all(&folder.0);
            fs::create_dir(&folder.0).unwrap();
            (0..files).for_each(|number| folder.make(&format!("event-{number}.txt")));
            folder
        }

        fn make(&self, name: &str) {
            fs::write(self.0.join(name), "").unwrap();
        }

        /// Waits until a change would show in the folder's times.
        fn rest(&self) {
            while !FolderState::of(&fs::metadata(&self.0).unwrap()).is_at_rest() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn names(listings: &Listings, folder: &Folder, base: &str) -> Vec<String> {
        let found = listings.rotated(&folder.0, base).unwrap();
        let mut names: Vec<String> = found.into_iter().map(|sibling| sibling.name).collect();
        names.sort();
        names
    }

    #[test]
    fn a_large_folder_at_rest_is_listed_once_for_all_names() {
        let folder = Folder::with(1200);
        let rotated = ["a.log.1", "a.log.old", "a-2.log", "a_20260101.log.gz"];
        rotated.iter().for_each(|name| folder.make(name));
        ["a.log", "a.log.bak", "a-x.log", "ab.log.1", "a.logs"]
            .iter()
            .for_each(|name| folder.make(name));
        folder.rest();
        let listings = Listings::new();
        let mut expected: Vec<String> = rotated.map(str::to_owned).to_vec();
        expected.sort();
        for _ in 0..20 {
            assert_eq!(names(&listings, &folder, "a.log"), expected);
            assert_eq!(names(&listings, &folder, "none.log"), [""; 0]);
        }
        assert_eq!(names(&listings, &folder, "event.txt").len(), 1200);
        assert_eq!(listings.count.get(), 1);
        // What is new or gone is seen at once.
        folder.make("none.log.1");
        assert_eq!(names(&listings, &folder, "none.log"), ["none.log.1"]);
        fs::remove_file(folder.0.join("none.log.1")).unwrap();
        assert_eq!(names(&listings, &folder, "none.log"), [""; 0]);
        // Nothing is kept as long as another change might not show.
        assert_eq!(listings.count.get(), 3);
    }

    #[test]
    fn a_file_that_has_changed_in_a_folder_at_rest_is_seen_as_it_is() {
        let folder = Folder::with(1000);
        folder.make("a.log.1");
        folder.rest();
        let listings = Listings::new();
        let size = |listings: &Listings| {
            let found = listings.rotated(&folder.0, "a.log").unwrap();
            (found[0].stat.size_bytes, found[0].stat.modified_ns)
        };
        size(&listings);
        let file = fs::File::options()
            .write(true)
            .open(folder.0.join("a.log.1"));
        let file = file.unwrap();
        file.set_len(7).unwrap();
        let at = UNIX_EPOCH + Duration::from_secs(5);
        file.set_times(FileTimes::new().set_modified(at)).unwrap();
        assert_eq!(size(&listings), (7, 5_000_000_000));
        assert_eq!(listings.count.get(), 1);
    }

    #[test]
    fn a_small_folder_is_not_kept() {
        let folder = Folder::with(10);
        folder.rest();
        let listings = Listings::new();
        for _ in 0..3 {
            assert_eq!(names(&listings, &folder, "event.txt").len(), 10);
        }
        assert_eq!(listings.count.get(), 3);
    }

    #[test]
    fn a_large_folder_that_changes_all_the_time_takes_a_tenth_of_the_time() {
        let folder = Folder::with(3000);
        let listings = Listings::with_burst(Duration::ZERO);
        let start = Instant::now();
        let mut refused = 0;
        for number in 0..200 {
            folder.make(&format!("new-{number}"));
            refused += usize::from(listings.rotated(&folder.0, "a.log").is_err());
        }
        let listed = listings.count.get() as usize;
        assert_eq!(listed + refused, 200);
        assert!(refused > 20, "{listed} in {:?}", start.elapsed());
    }
}

//! A temporary folder that another user's server can read.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::stat::{Mode, umask};

use super::wait::wait_for;

/// A folder of a test's own; removed when dropped.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    /// In memory, where inotify reports every change and no overlay hides any, so every event
    /// results from a notification.
    pub fn in_memory() -> Self {
        Self::below(Path::new("/dev/shm"))
    }

    fn below(parent: &Path) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // With a private umask no server that changes its user could read the test's files.
        umask(Mode::from_bits_truncate(0o022));
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let parent = parent
            .canonicalize()
            .unwrap_or_else(|error| panic!("{}: {error}", parent.display()));
        let path = parent.join(format!("sse-cgi-test-{}-{number}", std::process::id()));
        // A killed process with the same id may have left it.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(path)
    }

    /// The path of `name` inside.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    #[track_caller]
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    #[track_caller]
    pub fn append(&self, name: &str, bytes: impl AsRef<[u8]>) {
        append_bytes(&self.path(name), bytes.as_ref());
    }

    /// The file's text; empty while it does not exist.
    pub fn read(&self, name: &str) -> String {
        read(&self.path(name))
    }

    #[track_caller]
    pub fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// Waits until files that are created or written get another time than those before: the
    /// time of files moves on by ticks of some milliseconds.
    #[track_caller]
    pub fn tick(&self) {
        let probe = |name: &str| {
            let path = self.write(name, "x");
            fs::metadata(path).unwrap().modified().unwrap()
        };
        let before = probe("tick-before");
        wait_for("the next tick", || (probe("tick") > before).then_some(()));
        fs::remove_file(self.path("tick-before")).unwrap();
        fs::remove_file(self.path("tick")).unwrap();
    }

    /// Creates the folder `name` inside.
    #[track_caller]
    pub fn make(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Creates the folder `name`, in which any user may create files.
    #[track_caller]
    pub fn make_public(&self, name: &str) -> PathBuf {
        let path = self.make(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o1777))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }
}

impl Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl AsRef<Path> for Folder {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Appends in one write, as `echo … >> file` does.
#[track_caller]
pub fn append(path: &Path, text: &str) {
    append_bytes(path, text.as_bytes());
}

#[track_caller]
fn append_bytes(path: &Path, bytes: &[u8]) {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// The file's text; empty while it does not exist.
pub fn read(path: &Path) -> String {
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

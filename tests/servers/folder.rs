//! A temporary folder that another user's server can read.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::stat::{Mode, umask};

/// A folder of a test's own; removed when dropped.
pub struct Folder(PathBuf);

impl Folder {
    /// Makes a folder that everybody may enter, since a server that root
    /// started goes on as another user.
    pub fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // A private umask would make every file of the test unreadable there.
        umask(Mode::from_bits_truncate(0o022));
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("sse-cgi-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir()
            .canonicalize()
            .expect("the folder for temporary files exists")
            .join(name);
        // Left over by a process of the same number that was killed.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of `name` inside.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    /// Makes the folder `name` inside.
    pub fn make(&self, name: &str) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Makes the folder `name`, in which any user may make files.
    pub fn make_public(&self, name: &str) -> PathBuf {
        let path = self.make(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o1777))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
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
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// The file's text, or nothing while it does not exist.
pub fn read(path: &Path) -> String {
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

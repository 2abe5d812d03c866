//! Standard input as a file that is followed: `sse-httpd -`.
//!
//! A thread copies it to a file in a folder of its own, so that a client that returns finds
//! what it missed. The file is rotated, since input may never end.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, chown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::system::accounts::Account;

/// The size at which the file is rotated, at the next end of a line. One rotated file is kept.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The pause before a write that failed is tried again. Meanwhile nothing is read, so that the
/// program that writes to us waits, and nothing is lost.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The folder and the file; removed when it is dropped.
#[derive(Debug)]
pub(in crate::server) struct StdinFile {
    folder: PathBuf,
    /// The supervisor of this worker has made it.
    is_given: bool,
}

impl StdinFile {
    /// Makes the folder.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn make() -> io::Result<Self> {
        let name = format!("sse-httpd-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let folder = std::env::temp_dir().join(name);
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        File::create(folder.join("stdin"))?;
        Ok(Self {
            folder,
            is_given: false,
        })
    }

    /// The one that the supervisor of this worker fills and removes.
    pub(super) fn given(folder: PathBuf) -> Self {
        Self {
            folder,
            is_given: true,
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.join("stdin")
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes it the property of a user, whom this process becomes later.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn give_to(&self, user: &Account) -> io::Result<()> {
        if self.is_given {
            return Ok(());
        }
        let (uid, gid) = (Some(user.uid), Some(user.gid));
        chown(self.path(), uid, gid)?;
        chown(&self.folder, uid, gid)
    }

    /// Copies in a thread of its own, until the input ends. The log gets an error of the input.
    pub(super) fn fill(&self) {
        let path = self.path();
        thread::spawn(move || {
            if let Err(error) = copy(io::stdin().lock(), &path) {
                report(format_args!("stdin: {error}; the stream gets nothing more"));
            }
        });
    }
}

impl Drop for StdinFile {
    fn drop(&mut self) {
        if !self.is_given {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Tries until it succeeds; the first failure is reported.
fn until_done<T>(path: &Path, mut attempt: impl FnMut() -> io::Result<T>) -> T {
    let mut is_reported = false;
    loop {
        match attempt() {
            Ok(done) => return done,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                if !is_reported {
                    let path = path.display();
                    report(format_args!(
                        "{path}: {error}; standard input waits; free space there, or set TMPDIR"
                    ));
                    is_reported = true;
                }
                thread::sleep(RETRY_AFTER);
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Writes an error to stderr. (The log belongs to the thread of the event loop.)
fn report(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "sse-httpd: error: {text}");
}

fn copy(mut input: impl Read, path: &Path) -> io::Result<()> {
    let mut file = until_done(path, || open(path));
    let (mut buffer, mut bytes) = (vec![0; 64 * 1024], 0);
    let mut ends_line = true;
    loop {
        let count = match input.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        // A line that never ends must not fill the disk: it is longer than SSE_MAX_LINE anyway.
        if bytes > FILE_BYTES_MAX && (ends_line || bytes > 2 * FILE_BYTES_MAX) {
            until_done(path, || fs::rename(path, path.with_extension("1")));
            file = until_done(path, || open(path));
            bytes = 0;
        }
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            let written = until_done(path, || file.write(rest));
            rest = &rest[written..];
        }
        bytes += count as u64;
        ends_line = buffer[count - 1] == b'\n';
    }
}

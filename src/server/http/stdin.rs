//! Standard input as a file that is followed: `sse-httpd -`.
//!
//! A thread copies it to a file in a folder of its own, so that a client that returns finds
//! what it missed. The file is rotated, since input may never end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::thread;

/// How large the file may become before it is rotated once.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The folder and the file; removed when it is dropped.
#[derive(Debug)]
pub(in crate::server) struct StdinFile {
    folder: PathBuf,
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
        Ok(Self { folder })
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.join("stdin")
    }

    /// Copies in a thread of its own, until the input ends.
    pub(super) fn fill(&self) {
        let path = self.path();
        thread::spawn(move || {
            let _ = copy(&path);
        });
    }
}

impl Drop for StdinFile {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

fn copy(path: &Path) -> io::Result<()> {
    let mut input = io::stdin().lock();
    let mut file = open(path)?;
    let (mut buffer, mut bytes) = (vec![0; 64 * 1024], 0);
    let mut ends_line = true;
    loop {
        let count = match input.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if bytes > FILE_BYTES_MAX && ends_line {
            fs::rename(path, path.with_extension("1"))?;
            file = open(path)?;
            bytes = 0;
        }
        file.write_all(&buffer[..count])?;
        bytes += count as u64;
        ends_line = buffer[count - 1] == b'\n';
    }
}

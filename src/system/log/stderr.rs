//! Descriptor 2, written without blocking, because its reader may not read.

use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::MetadataExt as _;
use std::time::UNIX_EPOCH;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{FileStat, SFlag, fstat};

/// A longer line is cut: POLLOUT of a pipe guarantees room for this many bytes.
pub(super) const LINE_MAX_BYTES: usize = 4096;

/// Writes a line; the part that does not fit without blocking is lost.
pub(super) fn write(line: &str) {
    let mut line = line.as_bytes();
    let cut;
    if line.len() > LINE_MAX_BYTES {
        cut = [&line[..LINE_MAX_BYTES - 1], b"\n"].concat();
        line = &cut;
    }
    let stderr = io::stderr();
    let Ok(stat) = fstat(&stderr) else { return };
    match kind(&stat) {
        SFlag::S_IFSOCK => {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            let _ = send(stderr.as_raw_fd(), line, flags);
        }
        SFlag::S_IFREG => {
            let _ = io::stderr().write_all(line);
        }
        _ => {
            let mut waits = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
            let is_ready = poll(&mut waits, PollTimeout::ZERO).is_ok()
                && waits[0]
                    .revents()
                    .is_some_and(|ready| ready.contains(PollFlags::POLLOUT));
            if is_ready {
                let _ = nix::unistd::write(&stderr, line);
            }
        }
    }
}

/// Whether a CGI program's stderr is its client, as under mini-httpd and thttpd: the same
/// socket or pipe as stdout. The same file or terminal is a log.
pub(super) fn is_the_client() -> bool {
    let (Ok(out), Ok(err)) = (fstat(io::stdout()), fstat(io::stderr())) else {
        return false;
    };
    (out.st_dev, out.st_ino) == (err.st_dev, err.st_ino)
        && matches!(kind(&err), SFlag::S_IFSOCK | SFlag::S_IFIFO)
}

/// Identifies the file of stderr. After a rotation it is a different one, even if that reuses
/// the inode number.
pub(super) fn identity() -> Vec<u8> {
    let Ok(metadata) = std::fs::metadata("/proc/self/fd/2") else {
        return Vec::new();
    };
    if !metadata.is_file() {
        return Vec::new();
    }
    let born = metadata.created().ok();
    let born = born.and_then(|born| born.duration_since(UNIX_EPOCH).ok());
    let born_ns = born.map_or(0, |born| born.as_nanos() as u64);
    [metadata.dev(), metadata.ino(), born_ns]
        .map(u64::to_le_bytes)
        .concat()
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

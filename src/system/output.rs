//! Output: descriptor 1, written without blocking.

use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::process::ExitCode;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{SFlag, fstat};

use super::exit;

/// The output of the stream.
pub(crate) struct Output {
    stdout: io::Stdout,
    kind: Kind,
}

enum Kind {
    /// A socket (Apache's mod_cgid, mini-httpd). Each call is non-blocking by a flag, since
    /// stdin may be the same socket and other processes may share it.
    Socket,
    /// A pipe, written in non-blocking mode, which is reset at the end.
    Pipe { flags_before: OFlag },
    /// A file or a terminal: a write to these is complete.
    Other,
}

impl Output {
    pub(crate) fn stdout() -> io::Result<Self> {
        let stdout = io::stdout();
        let mode = SFlag::from_bits_truncate(fstat(&stdout)?.st_mode) & SFlag::S_IFMT;
        let kind = match mode {
            SFlag::S_IFSOCK => Kind::Socket,
            SFlag::S_IFIFO => {
                let flags_before = OFlag::from_bits_retain(fcntl(&stdout, FcntlArg::F_GETFL)?);
                fcntl(&stdout, FcntlArg::F_SETFL(flags_before | OFlag::O_NONBLOCK))?;
                Kind::Pipe { flags_before }
            }
            _ => Kind::Other,
        };
        Ok(Self { stdout, kind })
    }

    /// Writes as much as possible without blocking; `WouldBlock` when nothing is possible.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.kind {
            Kind::Socket => {
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                Ok(send(self.stdout.as_raw_fd(), bytes, flags)?)
            }
            Kind::Pipe { .. } => Ok(nix::unistd::write(&self.stdout, bytes)?),
            Kind::Other => {
                let mut locked = self.stdout.lock();
                locked.write_all(bytes)?;
                locked.flush()?;
                Ok(bytes.len())
            }
        }
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stdout.as_fd()
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Kind::Pipe { flags_before } = self.kind {
            let _ = fcntl(&self.stdout, FcntlArg::F_SETFL(flags_before));
        }
    }
}

/// Whether a failed write shows that the reader has disconnected, which is a normal end.
pub(crate) fn has_left(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected
    )
}

/// Prints a text in a terminal. (`print!` panics on an error.)
pub(crate) fn print(text: &str) -> io::Result<ExitCode> {
    let mut stdout = io::stdout();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if !has_left(&error) => Err(error),
        _ => Ok(exit::done()),
    }
}

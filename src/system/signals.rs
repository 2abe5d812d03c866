//! Signals, turned into something to wait for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::alarm;

/// Tells when the process has been asked to end.
pub(crate) struct Signals {
    ended: SignalFd,
}

impl Signals {
    /// Takes over SIGTERM, SIGINT and SIGHUP (Apache's restart sends both), and undoes
    /// what a server leaves behind across an exec: mini-httpd an alarm after 300 s,
    /// others a signal mask. SIGPIPE is ignored by Rust's runtime.
    ///
    /// They are blocked and read from a descriptor, which takes two system calls where
    /// handlers and a pipe take thirty: a process is started for every connection. A
    /// signal that is blocked is queued even if the server had it ignored.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub(crate) fn take() -> io::Result<Self> {
        alarm::cancel();
        let mut taken = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            taken.add(signal);
        }
        // A limit on the size of files is to be an error of the write that passes it, and
        // not the end of everybody's streams.
        let mut blocked = taken;
        blocked.add(Signal::SIGXFSZ);
        blocked.thread_set_mask()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let ended = SignalFd::with_flags(&taken, flags)?;
        Ok(Self { ended })
    }

    /// The next signal that has come.
    pub(crate) fn next(&self) -> Option<Signal> {
        let read = self.ended.read_signal().ok()??;
        Signal::try_from(read.ssi_signo as i32).ok()
    }

    /// Whether the process has been asked to end.
    pub(crate) fn asked_to_end(&self) -> bool {
        self.ended
            .read_signal()
            .is_ok_and(|signal| signal.is_some())
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }
}

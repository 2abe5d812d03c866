//! Signals: signals as a descriptor to wait on.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::alarm;

/// Reports that the process must end.
pub(crate) struct Signals {
    ended: SignalFd,
}

impl Signals {
    /// Takes over SIGTERM, SIGINT and SIGHUP (Apache's restart sends both), and resets what a
    /// server leaves behind across an exec: mini-httpd an alarm after 300 s, others a signal
    /// mask. Rust's runtime ignores SIGPIPE.
    ///
    /// They are blocked and read from a descriptor, which takes two system calls instead of
    /// thirty for handlers and a pipe; this matters because a process is started for every
    /// connection. A blocked signal is queued even if the server had it ignored.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub(crate) fn take() -> io::Result<Self> {
        Self::take_those(&[Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP])
    }

    /// The same, and SIGCHLD.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub(crate) fn take_with_children() -> io::Result<Self> {
        let ends = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];
        Self::take_those(&[&ends[..], &[Signal::SIGCHLD]].concat())
    }

    /// Keeps SIGTERM, SIGINT and SIGHUP waiting until they are taken over, so that none ends a
    /// process that already has its listening socket.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn hold() -> io::Result<()> {
        let mut held = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            held.add(signal);
        }
        Ok(held.thread_block()?)
    }

    fn take_those(signals: &[Signal]) -> io::Result<Self> {
        alarm::cancel();
        let mut taken = SigSet::empty();
        for signal in signals {
            taken.add(*signal);
        }
        // Exceeding a limit on the size of files must be an error of the write, and not end the
        // process with all streams.
        let mut blocked = taken;
        blocked.add(Signal::SIGXFSZ);
        blocked.thread_set_mask()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let ended = SignalFd::with_flags(&taken, flags)?;
        Ok(Self { ended })
    }

    /// The next signal that has arrived.
    pub(crate) fn next(&self) -> Option<Signal> {
        let read = self.ended.read_signal().ok()??;
        Signal::try_from(read.ssi_signo as i32).ok()
    }

    /// Whether a signal told the process to end.
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

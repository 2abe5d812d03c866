//! Ending: what ends the program from outside, and whoever waits for it.
//!
//! Reading blocks, so a second thread watches for signals and for a reader of our stdout
//! that left. It wakes the first one, which finishes the event in hand.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Why to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// SIGINT or SIGTERM.
    Signal(Signal),
    /// Nobody reads our stdout any more.
    ReaderLeft,
}

/// Tells when there is a reason to end.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    shared: Arc<(Mutex<Option<Why>>, Condvar)>,
}

impl Ending {
    /// Begins to watch; `wake` is called once, when a reason has come.
    ///
    /// # Errors
    /// When the system has no descriptor or no thread left.
    pub(super) fn watch(wake: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGINT);
        signals.add(Signal::SIGTERM);
        // Threads inherit this; a child of std's Command does not.
        signals.thread_block()?;
        let queue = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC)?;
        let ending = Self {
            shared: Arc::default(),
        };
        let told = ending.clone();
        thread::Builder::new()
            .name("ending".into())
            .spawn(move || {
                let why = wait(&queue);
                told.set(why);
                wake();
                // The second signal: whatever holds the other thread up is given up.
                if let Ok(Some(signal)) = queue.read_signal() {
                    die(Signal::try_from(signal.ssi_signo as i32).unwrap_or(Signal::SIGTERM));
                }
            })?;
        Ok(ending)
    }

    fn set(&self, why: Why) {
        let (reason, changed) = &*self.shared;
        *reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        changed.notify_all();
    }

    /// The reason that has come.
    pub(super) fn why(&self) -> Option<Why> {
        *self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until then, or until a reason comes.
    pub(super) fn wait_until(&self, time: Instant) -> Option<Why> {
        let (reason, changed) = &*self.shared;
        let reason = reason.lock().unwrap_or_else(PoisonError::into_inner);
        let left = time.saturating_duration_since(Instant::now());
        let waited = changed.wait_timeout_while(reason, left, |reason| reason.is_none());
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

fn wait(queue: &SignalFd) -> Why {
    let stdout = io::stdout();
    loop {
        // No event is asked of stdout: it tells of its end only.
        let mut watched = [
            PollFd::new(queue.as_fd(), PollFlags::POLLIN),
            PollFd::new(stdout.as_fd(), PollFlags::empty()),
        ];
        match poll(&mut watched, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return Why::ReaderLeft,
        }
        let gone = PollFlags::POLLERR | PollFlags::POLLHUP;
        if watched[1].revents().is_some_and(|r| r.intersects(gone)) {
            return Why::ReaderLeft;
        }
        if watched[0].any() == Some(true)
            && let Ok(Some(signal)) = queue.read_signal()
            && let Ok(signal) = Signal::try_from(signal.ssi_signo as i32)
        {
            return Why::Signal(signal);
        }
    }
}

/// Ends by the signal, so that whoever started us sees that it was one: a shell's script
/// then ends too.
pub(super) fn die(signal: Signal) -> ! {
    let _ = raise(signal);
    let mut signals = SigSet::empty();
    signals.add(signal);
    let _ = signals.thread_unblock();
    // Only where whoever started us had the signal ignored.
    std::process::exit(128 + signal as i32)
}

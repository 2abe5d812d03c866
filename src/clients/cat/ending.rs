//! Shutdown: the signals and conditions that end the program, and how a thread waits for them.
//!
//! Reading blocks, so a second thread waits for signals and for the reader of stdout to close
//! it. It wakes the first thread, which finishes the current event.

use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use signal_hook::low_level::{emulate_default_handler, pipe};

/// The reason of a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// SIGINT or SIGTERM.
    Signal(Signal),
    /// The reader of stdout has closed it.
    ReaderLeft,
}

/// Reports the reason to end.
#[derive(Clone, Debug)]
pub(super) struct Shutdown {
    shared: Arc<(Mutex<Option<Why>>, Condvar)>,
}

impl Shutdown {
    /// Begins to watch; `wake` is called once, when there is a reason to end.
    ///
    /// # Errors
    /// When the system has no descriptor or thread left.
    pub(super) fn watch(wake: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let signals = Signals::take()?;
        let ending = Self {
            shared: Arc::default(),
        };
        let told = ending.clone();
        thread::Builder::new()
            .name("ending".into())
            .spawn(move || {
                let why = signals.wait(Stdout::Watched);
                told.set(why);
                wake();
                // A second signal ends the program at once, even if the other thread is
                // blocked.
                if let Why::Signal(signal) = signals.wait(Stdout::Left) {
                    die(signal);
                }
            })?;
        Ok(ending)
    }

    fn set(&self, why: Why) {
        let (reason, changed) = &*self.shared;
        *reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        changed.notify_all();
    }

    /// The reason to end, if there is one.
    pub(super) fn why(&self) -> Option<Why> {
        *self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `time`, or until there is a reason to end.
    pub(super) fn wait_until(&self, time: Instant) -> Option<Why> {
        let (reason, changed) = &*self.shared;
        let reason = reason.lock().unwrap_or_else(PoisonError::into_inner);
        let left = time.saturating_duration_since(Instant::now());
        let waited = changed.wait_timeout_while(reason, left, |reason| reason.is_none());
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Whether the closing of stdout is a reason to end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stdout {
    Watched,
    Left,
}

/// For each signal a socket with one byte to read. Handlers are used instead of a mask: a
/// command would inherit the mask, and could then not be ended by a signal.
struct Signals([(Signal, UnixStream); 2]);

impl Signals {
    fn take() -> io::Result<Self> {
        let take = |signal: Signal| {
            let (ours, theirs) = UnixStream::pair()?;
            pipe::register(signal as i32, theirs)?;
            io::Result::Ok((signal, ours))
        };
        Ok(Self([take(Signal::SIGINT)?, take(Signal::SIGTERM)?]))
    }

    fn wait(&self, stdout: Stdout) -> Why {
        let Self([(first, ours), (second, others)]) = self;
        let out = io::stdout();
        // No event is requested for stdout: poll always reports its end.
        let mut watched = vec![
            PollFd::new(ours.as_fd(), PollFlags::POLLIN),
            PollFd::new(others.as_fd(), PollFlags::POLLIN),
        ];
        if stdout == Stdout::Watched {
            watched.push(PollFd::new(out.as_fd(), PollFlags::empty()));
        }
        loop {
            match poll(&mut watched, PollTimeout::NONE) {
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                // Without `poll` no signal can be received, so the failure is a reason to end.
                Err(_) => return Why::ReaderLeft,
            }
            for (at, (signal, mut bytes)) in
                [(*first, ours), (*second, others)].into_iter().enumerate()
            {
                if watched[at].any() == Some(true) && bytes.read(&mut [0]).is_ok() {
                    return Why::Signal(signal);
                }
            }
            let gone = PollFlags::POLLERR | PollFlags::POLLHUP;
            let revents = watched.get(2).and_then(PollFd::revents);
            if revents.is_some_and(|revents| revents.intersects(gone)) {
                return Why::ReaderLeft;
            }
        }
    }
}

/// Ends by the signal, so that the parent process knows it: a shell script then ends too.
pub(super) fn die(signal: Signal) -> ! {
    let _ = emulate_default_handler(signal as i32);
    std::process::exit(128 + signal as i32)
}

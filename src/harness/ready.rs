//! Ready: waits until a descriptor can be read or written, until a client has disconnected, or
//! until the server stops.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe2;

/// Waits until one of these descriptors is ready, and returns their events in the same order;
/// `None` at `until`.
pub fn ready<const COUNT: usize>(
    of: [(BorrowedFd<'_>, PollFlags); COUNT],
    until: Option<Instant>,
) -> io::Result<Option<[PollFlags; COUNT]>> {
    let mut polled = of.map(|(descriptor, events)| PollFd::new(descriptor, events));
    loop {
        let timeout = match until {
            None => PollTimeout::NONE,
            Some(until) => {
                // Rounded up, because poll counts in milliseconds.
                let left = until.saturating_duration_since(Instant::now()).as_micros();
                let milliseconds = i32::try_from(left.div_ceil(1000)).unwrap_or(i32::MAX);
                PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)
            }
        };
        match poll(&mut polled, timeout) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let events = polled.map(|polled| polled.revents().unwrap_or(PollFlags::POLLERR));
    Ok(Some(events))
}

/// Whether these events say that a read would not wait.
pub fn is_readable(events: PollFlags) -> bool {
    events.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR)
}

/// The event of a peer that has closed at least its sending side. A client that does so counts
/// as disconnected, as under nginx.
pub fn departure() -> PollFlags {
    PollFlags::from_bits_retain(nix::libc::POLLRDHUP)
}

/// Whether these events say that a peer has disconnected.
pub fn has_departed(events: PollFlags) -> bool {
    events.intersects(departure() | PollFlags::POLLHUP | PollFlags::POLLERR)
}

/// Is ready for reading once the server stops.
#[derive(Debug, Clone)]
pub struct Stop(Arc<OwnedFd>);

/// Dropping it stops the server.
#[derive(Debug)]
pub struct Stopper {
    _writer: OwnedFd,
}

/// A pair of both.
pub fn stop() -> io::Result<(Stopper, Stop)> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    Ok((Stopper { _writer: writer }, Stop(Arc::new(reader))))
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

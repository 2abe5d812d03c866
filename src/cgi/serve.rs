//! The event loop for one subscriber on descriptor 1.

use std::io;
use std::os::fd::AsFd as _;
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::event::Batch;
use crate::source::{Changes, Now};
use crate::store::host::SystemHost;
use crate::stream::{Subscription, Turn};
use crate::system::clock::Clock;
use crate::system::output::{Output, has_left};
use crate::system::signals::Signals;

/// The user data of epoll, which tells what is ready.
const SIGNALS: u64 = 0;
const READER: u64 = 1;
const WATCHER: u64 = 2;
const PROGRAMS: u64 = 3;

/// After a signal to end: how long the reader may take to receive the rest of an event whose
/// beginning it has.
const FAREWELL: Duration = Duration::from_millis(500);

/// How long the stream must have been quiet before it releases the memory of a burst.
const LULL: Duration = Duration::from_millis(100);

/// Everything that is needed to serve one stream.
pub(crate) struct Server<'a> {
    pub(crate) clock: Clock,
    pub(crate) signals: &'a Signals,
    pub(crate) output: &'a Output,
    pub(crate) host: &'a SystemHost,
    /// Reports changes of the stream's source.
    pub(crate) changes: Option<Rc<dyn Changes>>,
    /// A reader that accepts nothing for so long is disconnected.
    pub(crate) send_timeout: Duration,
}

/// What has become ready.
#[derive(Default)]
struct Woken {
    by_time: bool,
    asked_to_end: bool,
    reader_gone: bool,
    reader_ready: bool,
}

impl Server<'_> {
    /// Serves until the stream ends, the reader disconnects, or a signal arrives. `batch`
    /// contains the response head, which is sent with the first comment in one write.
    ///
    /// # Errors
    /// The system's error. A reader that disconnects is not an error.
    pub(crate) fn serve(&self, mut stream: Subscription, mut batch: Batch) -> io::Result<()> {
        let mut poller = Poller::new(self)?;
        let mut at_rest = true;
        loop {
            let now = self.clock.now();
            poller.hinted = false;
            let turn = stream.poll(now, &mut batch);
            let Some(now) = self.send(&mut poller, batch.as_bytes(), now)? else {
                return Ok(());
            };
            if !batch.is_empty() {
                let bytes = batch.as_bytes().len();
                at_rest &= bytes <= Batch::IDLE_BYTES;
                stream.sent(now, bytes);
                batch.clear();
            }
            let mut until = match turn {
                Turn::End(_) => return Ok(()),
                // A change that was reported while the output was full has been consumed, and
                // will not be reported again.
                Turn::Until(_) if poller.hinted => continue,
                Turn::More => now.monotonic,
                Turn::Until(at) => self.look_before(at, now),
            };
            let lull_at = now.monotonic + LULL;
            let may_rest = !at_rest && turn != Turn::More && lull_at < until;
            if may_rest {
                until = lull_at;
            }
            poller.watch_files(self)?;
            let woken = poller.wait_for_news(self, until, now)?;
            if woken.asked_to_end || woken.reader_gone {
                return Ok(());
            }
            if may_rest && woken.by_time {
                stream.rest();
                batch.rest();
                at_rest = true;
            }
        }
    }

    /// The time `at`, or an earlier one at which files must be checked although no change was
    /// reported.
    fn look_before(&self, at: Duration, now: Now) -> Duration {
        let changes = self.changes.as_ref();
        let look_after = changes.and_then(|changes| changes.look_again_after());
        look_after.map_or(at, |after| at.min(now.monotonic + after))
    }

    /// Sends all of `bytes` and returns the time after it; `None` if the reader has
    /// disconnected or accepts nothing, or after a signal to end.
    fn send(&self, poller: &mut Poller, bytes: &[u8], now: Now) -> io::Result<Option<Now>> {
        // A write that does not block takes no time worth measuring.
        let mut now = now;
        let mut rest = bytes;
        let mut give_up_at = None;
        let mut farewell_ends_at = None;
        while !rest.is_empty() {
            match self.output.write(rest) {
                Ok(taken) => {
                    rest = &rest[taken..];
                    give_up_at = None;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if has_left(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
            now = self.clock.now();
            let patient_until = *give_up_at.get_or_insert(now.monotonic + self.send_timeout);
            // A reader that accepts a little now and then must not delay the end after a
            // signal.
            let deadline = farewell_ends_at.map_or(patient_until, |at| patient_until.min(at));
            if now.monotonic >= deadline {
                return Ok(None);
            }
            let woken = poller.wait(self, Interest::Room, deadline, now)?;
            now = self.clock.now();
            if woken.reader_gone && !woken.reader_ready {
                return Ok(None);
            }
            if woken.asked_to_end && farewell_ends_at.is_none() {
                // The event that is being sent may be completed.
                farewell_ends_at = Some(now.monotonic + FAREWELL);
            }
        }
        Ok(farewell_ends_at.is_none().then_some(now))
    }
}

/// The readiness that epoll reports for the reader.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Interest {
    /// Only that it has disconnected, by ERR and HUP: under mod_cgid the socket shows RDHUP,
    /// and stdin its end, from the first millisecond.
    Errors,
    /// Also that it accepts more bytes.
    Room,
}

struct Poller {
    epoll: Epoll,
    /// The reader's registration; `None` for a regular file, which is always ready.
    interest: Option<Interest>,
    watching_files: bool,
    /// A file may have changed since the last poll of the stream.
    hinted: bool,
}

impl Poller {
    fn new(server: &Server<'_>) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(
            server.signals,
            EpollEvent::new(EpollFlags::EPOLLIN, SIGNALS),
        )?;
        let reader = EpollEvent::new(EpollFlags::empty(), READER);
        let interest = match epoll.add(server.output, reader) {
            Ok(()) => Some(Interest::Errors),
            // A regular file cannot be registered, and is always ready.
            Err(Errno::EPERM) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(Self {
            epoll,
            interest,
            watching_files: false,
            hinted: false,
        })
    }

    /// Registers the watcher as soon as it watches something.
    fn watch_files(&mut self, server: &Server<'_>) -> io::Result<()> {
        if self.watching_files {
            return Ok(());
        }
        server.host.programs.with_descriptor(|pipes| {
            if let Some(pipes) = pipes {
                let output = EpollEvent::new(EpollFlags::EPOLLIN, PROGRAMS);
                self.epoll.add(pipes, output)?;
                self.watching_files = true;
            }
            Ok::<(), Errno>(())
        })?;
        server.host.watcher.with_descriptor(|descriptor| {
            if let Some(descriptor) = descriptor {
                // All reports are read at once. Without EPOLLET the next wait would first check
                // again whether there are more, for each event.
                let hints = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
                self.epoll
                    .add(descriptor, EpollEvent::new(hints, WATCHER))?;
                self.watching_files = true;
            }
            Ok(())
        })
    }

    /// Waits until there is a reason to poll the stream. Some reports do not concern a followed
    /// file, for example that a watch was removed.
    fn wait_for_news(
        &mut self,
        server: &Server<'_>,
        until: Duration,
        now: Now,
    ) -> io::Result<Woken> {
        let mut now = now;
        loop {
            // Taken early, they have not made the descriptor readable.
            let until = match server.host.watcher.has_collected() {
                true => now.monotonic,
                false => until,
            };
            let woken = self.wait(server, Interest::Errors, until, now)?;
            if server.host.watcher.has_collected() {
                server.host.watcher.drain(|_| self.hinted = true);
            }
            if self.hinted || woken.by_time || woken.asked_to_end || woken.reader_gone {
                return Ok(woken);
            }
            now = server.clock.now();
        }
    }

    fn wait(
        &mut self,
        server: &Server<'_>,
        interest: Interest,
        until: Duration,
        now: Now,
    ) -> io::Result<Woken> {
        if self.interest.is_some_and(|known| known != interest) {
            let flags = match interest {
                Interest::Errors => EpollFlags::empty(),
                Interest::Room => EpollFlags::EPOLLOUT,
            };
            self.epoll
                .modify(server.output.as_fd(), &mut EpollEvent::new(flags, READER))?;
            self.interest = Some(interest);
        }
        let mut events = [EpollEvent::empty(); 4];
        let count = match self.epoll.wait(&mut events, timeout(until, now.monotonic)) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let mut woken = Woken {
            by_time: count == 0,
            ..Woken::default()
        };
        for event in &events[..count] {
            match event.data() {
                SIGNALS => woken.asked_to_end = server.signals.asked_to_end(),
                PROGRAMS => {
                    server.host.programs.drain(|_| self.hinted = true);
                }
                WATCHER => {
                    server.host.watcher.drain(|_| self.hinted = true);
                }
                _ => {
                    let gone = EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP;
                    woken.reader_gone = event.events().intersects(gone);
                    woken.reader_ready = event.events().contains(EpollFlags::EPOLLOUT);
                }
            }
        }
        Ok(woken)
    }
}

/// The timeout until a deadline, rounded up to epoll's milliseconds: rounded down, the loop
/// would spin through the last one.
fn timeout(until: Duration, now: Duration) -> EpollTimeout {
    let wait = until.saturating_sub(now);
    let milliseconds = wait.as_micros().div_ceil(1000);
    EpollTimeout::try_from(milliseconds.min(3_600_000) as i32).unwrap_or(EpollTimeout::MAX)
}

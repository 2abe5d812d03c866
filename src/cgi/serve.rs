//! The loop: one subscriber on descriptor 1.

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

/// What the loop waits for, as epoll's user data.
const SIGNALS: u64 = 0;
const READER: u64 = 1;
const WATCHER: u64 = 2;
const PROGRAMS: u64 = 3;

/// How long a reader may take, after we were asked to end, to take the rest of what it
/// has been sent the first part of.
const FAREWELL: Duration = Duration::from_millis(500);

/// How long it must have been quiet before the memory that a burst took is given back.
const LULL: Duration = Duration::from_millis(100);

/// Everything that one stream is served with.
pub(crate) struct Server<'a> {
    pub(crate) clock: Clock,
    pub(crate) signals: &'a Signals,
    pub(crate) output: &'a Output,
    pub(crate) host: &'a SystemHost,
    /// How changes of what the stream reads are noticed.
    pub(crate) changes: Option<Rc<dyn Changes>>,
    /// A reader that takes nothing for so long is left.
    pub(crate) send_timeout: Duration,
}

/// What woke the loop.
#[derive(Default)]
struct Woken {
    by_time: bool,
    asked_to_end: bool,
    reader_gone: bool,
    reader_ready: bool,
}

impl Server<'_> {
    /// Serves until the stream ends, the reader leaves, or a signal comes. `batch`
    /// holds the response head, which leaves with the first comment in one write.
    ///
    /// # Errors
    /// What the system says; a reader that left is no error.
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
                // A hint that came while the reader had no room has been taken in, and
                // nothing else tells of it.
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

    /// The moment `at`, or before it the one at which files have to be looked at
    /// although no hint came.
    fn look_before(&self, at: Duration, now: Now) -> Duration {
        let changes = self.changes.as_ref();
        let look_after = changes.and_then(|changes| changes.look_again_after());
        look_after.map_or(at, |after| at.min(now.monotonic + after))
    }

    /// Sends all of `bytes` and tells the time after it; `None` when the reader is gone
    /// or takes nothing, or when we were asked to end.
    fn send(&self, poller: &mut Poller, bytes: &[u8], now: Now) -> io::Result<Option<Now>> {
        // What is taken without waiting takes no time worth asking for.
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
            // A reader that takes a little now and then must not put off the end that we
            // were asked for.
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
                // The event that is on its way may still end as a whole.
                farewell_ends_at = Some(now.monotonic + FAREWELL);
            }
        }
        Ok(farewell_ends_at.is_none().then_some(now))
    }
}

/// What of the reader is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Interest {
    /// That it goes away. Only ERR and HUP tell: under mod_cgid the socket shows RDHUP,
    /// and stdin its end, from the first millisecond.
    Errors,
    /// That too, and that it can take more.
    Room,
}

struct Poller {
    epoll: Epoll,
    /// What the reader is registered for; `None` for a file, which is never waited for.
    interest: Option<Interest>,
    watching_files: bool,
    /// A file may have changed since the stream was polled last.
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
            // A regular file cannot be waited for, and need not be.
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

    /// Registers the watcher once it has something to wait for.
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
                // All hints are taken whenever there are some. Without EPOLLET the next
                // wait would begin by asking whether there are more, event for event.
                let hints = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
                self.epoll
                    .add(descriptor, EpollEvent::new(hints, WATCHER))?;
                self.watching_files = true;
            }
            Ok(())
        })
    }

    /// Waits until there is a reason to poll the stream. What the watcher has to say
    /// may concern nothing that is followed, such as the removal of a watch.
    fn wait_for_news(
        &mut self,
        server: &Server<'_>,
        until: Duration,
        now: Now,
    ) -> io::Result<Woken> {
        let mut now = now;
        loop {
            let woken = self.wait(server, Interest::Errors, until, now)?;
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

/// Until a moment, rounded up to epoll's milliseconds: rounded down it would spin
/// through the last one.
fn timeout(until: Duration, now: Duration) -> EpollTimeout {
    let wait = until.saturating_sub(now);
    let milliseconds = wait.as_micros().div_ceil(1000);
    EpollTimeout::try_from(milliseconds.min(3_600_000) as i32).unwrap_or(EpollTimeout::MAX)
}

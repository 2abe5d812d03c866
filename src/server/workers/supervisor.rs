//! Supervisor: the process that starts the workers, and replaces those that have ended.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt as _, FdMapping};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::control::{Control, Received};
use super::restart::Restart;
use super::{Assignment, Figures, Order};
use crate::server::listen::{Listener, Sockets};
use crate::server::notify::Notify;
use crate::system::children;
use crate::system::exit;
use crate::system::log::{Level, Log};
use crate::system::signals::Signals;

/// How much longer than `--drain` a worker may take before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// How often workers that drain are looked after, at least.
const TICK: Duration = Duration::from_millis(100);

/// What the supervisor needs.
pub(in crate::server) struct Supervisor<'a> {
    pub(in crate::server) log: &'a Log,
    pub(in crate::server) workers: usize,
    pub(in crate::server) sockets: Sockets,
    pub(in crate::server) drain: Duration,
    /// The settings file that workers use.
    pub(in crate::server) file: Option<Vec<u8>>,
    pub(in crate::server) has_web_server_s_stderr: bool,
    pub(in crate::server) stdin_folder: Option<PathBuf>,
    /// Reads the settings file again after SIGHUP, and says in the log what came of that: the
    /// file, if it is to be used.
    pub(in crate::server) reload: &'a dyn Fn() -> Option<Vec<u8>>,
}

/// A place for a worker.
#[derive(Default)]
struct Place {
    running: Option<Running>,
    restart: Restart,
    /// When the next one is to be started.
    start_at: Option<Instant>,
}

struct Running {
    child: Child,
    control: Control,
    started: Instant,
    is_ready: bool,
}

/// Starts and supervises the worker processes until a signal. `started` is called when all of them
/// accept connections.
pub(in crate::server) fn supervise(
    parts: Supervisor<'_>,
    started: impl FnOnce(&[&Listener]),
) -> ExitCode {
    let log = parts.log;
    let result = Supervision::new(parts).and_then(|supervision| supervision.run(started));
    result.unwrap_or_else(|error| {
        log.startup_error(&format!("workers: {error}"));
        exit::system()
    })
}

struct Supervision<'a> {
    parts: Supervisor<'a>,
    figures: Figures,
    signals: Signals,
    notify: Notify,
    places: Vec<Place>,
    started: Instant,
    /// Whether all workers have been ready once.
    has_served: bool,
    /// After the signal to end: it, and when workers are killed.
    ending: Option<(Signal, Instant)>,
    /// The exit code of a worker that could not start.
    failed: Option<u8>,
}

impl<'a> Supervision<'a> {
    fn new(parts: Supervisor<'a>) -> io::Result<Self> {
        let signals = Signals::take_with_children()?;
        let figures = Figures::create()?;
        let places = (0..parts.workers).map(|_| Place::default()).collect();
        Ok(Self {
            parts,
            figures,
            signals,
            notify: Notify::from_environment(),
            places,
            started: Instant::now(),
            has_served: false,
            ending: None,
            failed: None,
        })
    }

    fn run(mut self, started: impl FnOnce(&[&Listener])) -> io::Result<ExitCode> {
        let log = self.parts.log;
        let addresses: Vec<String> = (self.parts.sockets.of_worker(0))
            .map(Listener::address)
            .collect();
        log.line(
            Level::Info,
            &format!(
                "sse-cgi {} listens on {}; workers: {}",
                env!("CARGO_PKG_VERSION"),
                addresses.join(", "),
                self.parts.workers
            ),
        );
        let mut started = Some(started);
        for index in 0..self.places.len() {
            self.start(index)?;
        }
        loop {
            self.wait()?;
            while let Some(signal) = self.signals.next() {
                match signal {
                    Signal::SIGCHLD => {}
                    Signal::SIGHUP => self.reload(),
                    signal => self.end(signal),
                }
            }
            self.note_ready();
            if !self.has_served && self.places.iter().all(Place::is_ready) {
                self.has_served = true;
                if let Some(started) = started.take() {
                    let listeners: Vec<&Listener> = self.parts.sockets.of_worker(0).collect();
                    started(&listeners);
                }
                self.notify.say("READY=1");
            }
            self.reap();
            if self.ending.is_none() {
                self.start_due();
            } else if self.places.iter().all(|place| place.running.is_none()) {
                return Ok(self.finish());
            } else {
                self.kill_if_late();
            }
        }
    }

    /// Waits for a signal, a worker, or the time when one is to be started.
    fn wait(&self) -> io::Result<()> {
        let now = Instant::now();
        let starts = self.places.iter().filter_map(|place| place.start_at);
        let mut wait = starts.map(|at| at.saturating_duration_since(now)).min();
        if self.ending.is_some() {
            wait = Some(wait.map_or(TICK, |wait| wait.min(TICK)));
        }
        let timeout = wait.map_or(PollTimeout::NONE, |wait| {
            // Rounded up, so as not to wake before the time.
            let ms = u16::try_from(wait.as_millis() + 1).unwrap_or(u16::MAX);
            PollTimeout::from(ms)
        });
        let mut waits = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        for place in &self.places {
            // After that, a worker says nothing more; SIGCHLD shows its end.
            if let Some(running) = place.running.as_ref().filter(|running| !running.is_ready) {
                waits.push(PollFd::new(running.control.as_fd(), PollFlags::POLLIN));
            }
        }
        match poll(&mut waits, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn start(&mut self, index: usize) -> io::Result<()> {
        let (control, worker_s) = Control::pair()?;
        let mut descriptors: Vec<OwnedFd> = vec![worker_s];
        for listener in self.parts.sockets.of_worker(index) {
            descriptors.push(listener.as_fd().try_clone_to_owned()?);
        }
        let count = descriptors.len().to_string();
        let mappings = descriptors.into_iter().zip(3..);
        let mappings = mappings.map(|(parent_fd, child_fd)| FdMapping {
            parent_fd,
            child_fd,
        });
        let assignment = Assignment {
            index,
            has_web_server_s_stderr: self.parts.has_web_server_s_stderr,
            stdin_folder: self.parts.stdin_folder.clone(),
        };
        let mut arguments = std::env::args_os();
        // The name of the program in messages.
        let name: OsString = arguments.next().unwrap_or_default();
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0(name)
            .arg(assignment.argument())
            .args(arguments);
        command.stdin(self.figures.as_fd().try_clone_to_owned()?);
        for variable in ["LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET"] {
            command.env_remove(variable);
        }
        command
            .env("LISTEN_FDS", count)
            .env("LISTEN_FDS_FIRST_FD", "3");
        let mapped = command.fd_mappings(mappings.collect());
        mapped.map_err(|error| io::Error::other(error.to_string()))?;
        let child = command.spawn()?;
        control.order(&Order::Configure(self.parts.file.clone()))?;
        let place = &mut self.places[index];
        place.start_at = None;
        place.running = Some(Running {
            child,
            control,
            started: Instant::now(),
            is_ready: false,
        });
        Ok(())
    }

    /// Starts the workers whose time has come.
    fn start_due(&mut self) {
        let now = Instant::now();
        for index in 0..self.places.len() {
            if self.places[index].start_at.is_none_or(|at| at > now) {
                continue;
            }
            if let Err(error) = self.start(index) {
                let place = &mut self.places[index];
                let pause = place.restart.pause_after(Duration::ZERO);
                place.start_at = Some(now + pause.max(TICK));
                let text = format!("start worker {index}: {error}; tried again");
                let log = self.parts.log;
                log.rate_limited(Level::Error, "start of a worker", &text);
            }
        }
    }

    fn note_ready(&mut self) {
        for place in &mut self.places {
            if let Some(running) = &mut place.running {
                if !running.is_ready
                    && matches!(running.control.take_ready(), Received::Message(()))
                {
                    running.is_ready = true;
                }
            }
        }
    }

    /// Notes the ends of workers.
    fn reap(&mut self) {
        for index in 0..self.places.len() {
            let place = &mut self.places[index];
            let Some(running) = &mut place.running else {
                continue;
            };
            let Ok(Some(status)) = running.child.try_wait() else {
                continue;
            };
            let (pid, ran) = (running.child.id(), running.started.elapsed());
            let could_start = running.is_ready;
            place.running = None;
            self.figures.remove_streams(index);
            if self.ending.is_some() {
                continue;
            }
            if let Some(code) = status.code() {
                if !could_start && !self.has_served {
                    // It has said why.
                    self.failed = Some(u8::try_from(code).unwrap_or(111));
                    self.end(Signal::SIGTERM);
                    continue;
                }
            }
            let pause = place.restart.pause_after(ran);
            place.start_at = Some(Instant::now() + pause);
            let when = match pause.as_millis() {
                0 => "it is replaced".to_owned(),
                ms => format!("it is replaced in {ms} ms, since it ended soon before"),
            };
            let how = ended(status);
            let text = format!("worker {index} (process {pid}) ended {how}; {when}");
            self.parts.log.line(Level::Warning, &text);
        }
        if children::inherits_orphans() {
            let own: Vec<u32> = self.places.iter().filter_map(Place::pid).collect();
            children::reap_orphans(|pid| own.contains(&(pid.as_raw() as u32)));
        }
    }

    fn order(&mut self, order: &Order) {
        for (index, place) in self.places.iter_mut().enumerate() {
            let Some(running) = &mut place.running else {
                continue;
            };
            if let Err(error) = running.control.order(order) {
                let text = format!("worker {index} takes no orders: {error}");
                let log = self.parts.log;
                log.rate_limited(Level::Warning, "orders", &text);
            }
        }
    }

    fn reload(&mut self) {
        self.parts.log.reopen();
        match (self.parts.reload)() {
            Some(file) => {
                self.parts.file = Some(file);
                let order = Order::Configure(self.parts.file.clone());
                self.order(&order);
            }
            None => self.order(&Order::Reopen),
        }
    }

    /// A signal asks for the end; a second one, for the end at once.
    fn end(&mut self, signal: Signal) {
        if self.ending.is_some() {
            return self.order(&Order::End);
        }
        self.notify.say("STOPPING=1");
        let until = Instant::now() + self.parts.drain + GRACE;
        self.ending = Some((signal, until));
        // Nobody may connect any more, and another server may bind.
        self.parts.sockets.close();
        self.order(&Order::Drain);
    }

    fn kill_if_late(&mut self) {
        if self
            .ending
            .is_some_and(|(_, until)| Instant::now() >= until)
        {
            for running in self.places.iter_mut().filter_map(|p| p.running.as_mut()) {
                let _ = running.child.kill();
            }
        }
    }

    fn finish(&self) -> ExitCode {
        if let Some(code) = self.failed {
            return ExitCode::from(code);
        }
        if let Some((signal, _)) = self.ending {
            let rows = (0..self.parts.workers).map(|index| self.figures.row(index));
            let ended: u64 = rows.map(|row| row.ended).sum();
            let seconds = self.started.elapsed().as_secs_f64();
            let text = format!("ended by {signal} after {seconds:.1} s; {ended} streams ended");
            self.parts.log.line(Level::Info, &text);
        }
        exit::done()
    }
}

impl Place {
    fn is_ready(&self) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.is_ready)
    }

    fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.child.id())
    }
}

/// How a process has ended.
fn ended(status: ExitStatus) -> String {
    let signal = status
        .signal()
        .and_then(|number| Signal::try_from(number).ok());
    match signal {
        Some(signal) => format!("by {signal}"),
        None => format!("with code {}", status.code().unwrap_or_default()),
    }
}

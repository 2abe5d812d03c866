//! Programs: starts programs, reads their output and ends them.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, killpg, raise};
use nix::unistd::Pid;

use super::children::{self, GRACE, group_of};
use super::environment;
use super::log::Log;
use super::watch::{Coverage, Hints};
use crate::source::Changes;
use crate::source::command::Process;

/// How often orphans are reaped.
const REAP_EVERY: Duration = Duration::from_secs(1);

/// The part of a line of a program's stderr that is logged.
const ERROR_LINE_MAX_BYTES: usize = 1024;

/// The number of the descriptor that is no program's.
const OTHERS: u64 = 0;

/// The pipes of all programs, behind one descriptor, and the programs that are ending.
pub(crate) struct Programs {
    epoll: RefCell<Option<Epoll>>,
    /// Who is notified when a pipe is readable, by the number with which it is registered.
    readers: RefCell<BTreeMap<u64, Rc<Hints>>>,
    next: RefCell<u64>,
    ending: RefCell<Vec<Ending>>,
    /// The programs that have been started and not been reaped.
    own: RefCell<BTreeSet<Pid>>,
    /// Whether this process must reap orphans. It is determined when it matters first: most
    /// programs of this crate start no other.
    inherits_orphans: OnceCell<bool>,
    /// When orphans were reaped last.
    reaped_at: Cell<Option<Instant>>,
    /// How many programs may run at once.
    limit: Cell<usize>,
    /// The signals that arrived while they were not blocked.
    arrived: RefCell<Vec<(Signal, Arc<AtomicBool>)>>,
}

/// A program that has been told to end.
struct Ending {
    child: Child,
    /// When its group gets SIGKILL.
    until: Instant,
}

impl Ending {
    /// Whether no process of it is left that could be ended.
    fn is_over(&mut self) -> bool {
        let now = Instant::now();
        // After SIGKILL, a group that still exists consists of zombies that nobody has waited
        // for, or of processes that this user may not kill. Neither counts as a running
        // program.
        let is_killed = now >= self.until + GRACE;
        if now >= self.until {
            end_group(&self.child, Signal::SIGKILL);
        }
        // (`try_wait` remembers the result.) A group outlives its leader, and keeps its number
        // as long as it has members. A free number is reused only after all others, which takes
        // longer than the grace.
        !matches!(self.child.try_wait(), Ok(None))
            && (is_killed || killpg(group_of(&self.child), None) == Err(Errno::ESRCH))
    }
}

/// The signals that are read from a descriptor.
const SIGNALS: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];

impl Programs {
    pub(crate) fn new() -> Self {
        Self {
            epoll: RefCell::new(None),
            readers: RefCell::new(BTreeMap::new()),
            next: RefCell::new(0),
            ending: RefCell::new(Vec::new()),
            own: RefCell::new(BTreeSet::new()),
            inherits_orphans: OnceCell::new(),
            reaped_at: Cell::new(None),
            limit: Cell::new(usize::MAX),
            arrived: RefCell::new(Vec::new()),
        }
    }

    /// The descriptor to wait on; `None` while there has been no program.
    pub(crate) fn with_descriptor<T>(&self, use_it: impl FnOnce(Option<BorrowedFd<'_>>) -> T) -> T {
        let epoll = self.epoll.borrow();
        use_it(epoll.as_ref().map(|epoll| epoll.0.as_fd()))
    }

    /// Calls `told` for each program that has written something.
    pub(crate) fn drain(&self, mut told: impl FnMut(&Hints)) {
        let mut events = [EpollEvent::empty(); 64];
        let count = self
            .epoll
            .borrow()
            .as_ref()
            .and_then(|epoll| epoll.wait(&mut events, EpollTimeout::ZERO).ok())
            .unwrap_or(0);
        let mut hinted: Vec<Rc<Hints>> = Vec::new();
        for event in &events[..count] {
            hinted.extend(self.readers.borrow().get(&event.data()).cloned());
        }
        for hints in hinted {
            told(&hints);
        }
    }

    /// Adds a descriptor that is no program's. `hints` is told while it is readable.
    pub(crate) fn add(&self, descriptor: BorrowedFd<'_>, hints: Rc<Hints>) -> io::Result<()> {
        let mut epoll = self.epoll.borrow_mut();
        let epoll = match &mut *epoll {
            Some(epoll) => epoll,
            none => none.insert(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?),
        };
        epoll.add(descriptor, EpollEvent::new(EpollFlags::EPOLLIN, OTHERS))?;
        self.readers.borrow_mut().insert(OTHERS, hints);
        Ok(())
    }

    /// Sets how many programs may run at once.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.set(limit);
    }

    /// Starts a program in a process group of its own.
    pub(crate) fn start(
        self: &Rc<Self>,
        words: &[String],
        hints: Rc<Hints>,
        log: Rc<Log>,
    ) -> io::Result<Running> {
        self.reap();
        let running =
            self.readers.borrow().range(OTHERS + 1..).count() + self.ending.borrow().len();
        if running >= self.limit.get() {
            let text = format!("{running} programs run already; raise SSE_COMMAND_MAX");
            return Err(io::Error::other(text));
        }
        let (program, arguments) = words.split_first().ok_or(ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().process_group(0);
        command.envs(environment::for_programs());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let spawned = self.with_signals_unblocked(|| command.spawn());
        let mut child = spawned.map_err(|error| match error.raw_os_error() {
            // The standard library has no error kind for it.
            Some(libc::ENOEXEC) => {
                let text = "no program, and a script begins with #! and its interpreter";
                io::Error::new(ErrorKind::InvalidData, text)
            }
            _ => error,
        })?;
        self.own.borrow_mut().insert(group_of(&child));
        let stdout = child.stdout.take();
        let stderr = child.stderr.take();
        hints.set_coverage(Coverage::Whole);
        let mut running = Running {
            programs: Rc::clone(self),
            hints: Rc::clone(&hints),
            number: 0,
            name: program.clone(),
            child: Some(child),
            stdout,
            stderr,
            error_line: Vec::new(),
            log,
        };
        // (After this, dropping it ends the program.)
        running.number = self.register(&running, hints)?;
        Ok(running)
    }

    /// A program inherits the blocked signals. This process reads its signals from a
    /// descriptor, for which they are blocked, so the program could not be ended by a signal.
    /// Signals that arrive while they are not blocked are raised again.
    fn with_signals_unblocked<T>(&self, spawn: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let mut arrived = self.arrived.borrow_mut();
        if arrived.is_empty() {
            for signal in SIGNALS {
                let flag = Arc::new(AtomicBool::new(false));
                signal_hook::flag::register(signal as i32, Arc::clone(&flag))?;
                arrived.push((signal, flag));
            }
        }
        let before = SigSet::empty().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let spawned = spawn();
        before.thread_set_mask()?;
        for (signal, flag) in &*arrived {
            if flag.swap(false, Ordering::Relaxed) {
                raise(*signal)?;
            }
        }
        spawned
    }

    fn register(&self, running: &Running, hints: Rc<Hints>) -> io::Result<u64> {
        let mut epoll = self.epoll.borrow_mut();
        let epoll = match &mut *epoll {
            Some(epoll) => epoll,
            none => none.insert(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?),
        };
        let number = *self.next.borrow() + 1;
        *self.next.borrow_mut() = number;
        // A pipe whose reader cannot continue stays readable: it is reported once.
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, number);
        if let Some(stdout) = &running.stdout {
            never_wait(stdout.as_fd())?;
            epoll.add(stdout, event)?;
        }
        if let Some(stderr) = &running.stderr {
            never_wait(stderr.as_fd())?;
            epoll.add(stderr, event)?;
        }
        self.readers.borrow_mut().insert(number, hints);
        Ok(number)
    }

    /// Continues to end the programs that are ending; returns when to call it again.
    pub(crate) fn reap(&self) -> Option<Duration> {
        let mut ending = self.ending.borrow_mut();
        self.reap_orphans(!ending.is_empty());
        ending.retain_mut(|ending| {
            let is_over = ending.is_over();
            if is_over {
                self.own.borrow_mut().remove(&group_of(&ending.child));
            }
            !is_over
        });
        (!ending.is_empty()).then_some(Duration::from_millis(50))
    }

    /// As process 1 of a container, or as a subreaper, this process inherits the orphans of
    /// programs. As zombies they would keep their groups alive and fill the process table.
    fn reap_orphans(&self, at_once: bool) {
        if !self
            .inherits_orphans
            .get_or_init(children::inherits_orphans)
        {
            return;
        }
        let reaped_at = self.reaped_at.get();
        if at_once || reaped_at.is_none_or(|at| at.elapsed() >= REAP_EVERY) {
            children::reap_orphans(|pid| self.own.borrow().contains(&pid));
            self.reaped_at.set(Some(Instant::now()));
        }
    }

    /// Ends the programs that are ending, and waits for them, because this process is about to
    /// end. A process that the kernel cannot kill, because it waits for a disk, is not awaited.
    fn reap_all(&self) {
        if self.ending.borrow().is_empty() {
            return;
        }
        let give_up_at = Instant::now() + 2 * GRACE;
        while let Some(pause) = self.reap() {
            if Instant::now() >= give_up_at {
                break;
            }
            std::thread::sleep(pause.min(Duration::from_millis(5)));
        }
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        self.reap_all();
    }
}

fn never_wait(pipe: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(pipe, FcntlArg::F_GETFL)?);
    fcntl(pipe, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

fn end_group(leader: &Child, signal: Signal) {
    // An empty group is not an error.
    let _ = killpg(group_of(leader), signal);
}

/// A running program.
pub(crate) struct Running {
    programs: Rc<Programs>,
    hints: Rc<Hints>,
    number: u64,
    name: String,
    child: Option<Child>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    /// The beginning of a line on stderr.
    error_line: Vec<u8>,
    log: Rc<Log>,
}

impl Running {
    /// Logs the program's stderr.
    fn read_errors(&mut self) {
        let mut buffer = [0; 4096];
        // At most 64 KiB, the size of a pipe: what is written meanwhile is reported again. A
        // program that writes without end must not keep the loop from serving others.
        for _ in 0..16 {
            let Some(stderr) = &mut self.stderr else {
                return;
            };
            match stderr.read(&mut buffer) {
                Ok(0) => {
                    self.stderr = None;
                    if !self.error_line.is_empty() {
                        self.log_error_line();
                    }
                    self.log.said_all(&self.name);
                }
                Ok(count) => buffer[..count]
                    .iter()
                    .for_each(|byte| self.push_error_byte(*byte)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    fn push_error_byte(&mut self, byte: u8) {
        if byte == b'\n' || self.error_line.len() >= ERROR_LINE_MAX_BYTES {
            self.log_error_line();
        }
        if byte != b'\n' {
            self.error_line.push(byte);
        }
    }

    fn log_error_line(&mut self) {
        let line = std::mem::take(&mut self.error_line);
        let text = String::from_utf8_lossy(&line);
        self.log.child_stderr(&self.name, &text);
    }
}

impl Process for Running {
    fn changes(&self) -> Option<Rc<dyn Changes>> {
        Some(Rc::clone(&self.hints) as Rc<dyn Changes>)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_errors();
        let Some(stdout) = &mut self.stdout else {
            return Ok(0);
        };
        loop {
            match stdout.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn exit_code(&mut self) -> Option<i32> {
        self.read_errors();
        children::exit_code(self.child.as_ref()?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.read_errors();
        if self.stderr.is_some() {
            self.log.said_all(&self.name);
        }
        self.programs.readers.borrow_mut().remove(&self.number);
        // Its processes in the background end with it.
        if let Some(child) = self.child.take() {
            end_group(&child, Signal::SIGTERM);
            let until = Instant::now() + GRACE;
            let mut ending = self.programs.ending.borrow_mut();
            ending.push(Ending { child, until });
        }
    }
}

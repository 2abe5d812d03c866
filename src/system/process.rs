//! Programs whose output is a stream.

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

/// How often orphans are looked for.
const REAP_EVERY: Duration = Duration::from_secs(1);

/// What of a program's errors is kept for one line of the log.
const ERROR_LINE_MAX_BYTES: usize = 1024;

/// The pipes of all programs, as one descriptor to wait on; and the programs that are
/// ending.
pub(crate) struct Programs {
    epoll: RefCell<Option<Epoll>>,
    /// Who is told when a pipe has something, by the number it is registered with.
    readers: RefCell<BTreeMap<u64, Rc<Hints>>>,
    next: RefCell<u64>,
    ending: RefCell<Vec<Ending>>,
    /// The programs that have been started and not been reaped.
    own: RefCell<BTreeSet<Pid>>,
    /// Whether orphans are ours to reap. It is found out when it matters first: most
    /// programs of this crate start no other.
    inherits_orphans: OnceCell<bool>,
    /// When orphans were reaped last.
    reaped_at: Cell<Option<Instant>>,
    /// How many may run at once.
    limit: Cell<usize>,
    /// What has come while signals were not blocked.
    heard: RefCell<Vec<(Signal, Arc<AtomicBool>)>>,
}

/// A program that has been asked to end.
struct Ending {
    child: Child,
    /// When its group is killed.
    until: Instant,
}

impl Ending {
    /// Whether nothing of it is left that could be ended.
    fn is_over(&mut self) -> bool {
        let now = Instant::now();
        // A group that was killed and is still there consists of zombies that nobody has
        // waited for, or of what we may not kill: neither counts as a running program.
        let is_killed = now >= self.until + GRACE;
        if now >= self.until {
            end_group(&self.child, Signal::SIGKILL);
        }
        // (`try_wait` remembers.) A group outlives its leader, and keeps its number as long
        // as it has members; numbers that are free come round again only after all others,
        // which takes longer than the grace.
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
            heard: RefCell::new(Vec::new()),
        }
    }

    /// What to wait on; `None` while there has been no program.
    pub(crate) fn with_descriptor<T>(&self, use_it: impl FnOnce(Option<BorrowedFd<'_>>) -> T) -> T {
        let epoll = self.epoll.borrow();
        use_it(epoll.as_ref().map(|epoll| epoll.0.as_fd()))
    }

    /// Tells whose program has said something.
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

    /// How many may run at once from now on.
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
        let running = self.readers.borrow().len() + self.ending.borrow().len();
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
        let spawned = self.with_signals_open(|| command.spawn());
        let mut child = spawned.map_err(|error| match error.raw_os_error() {
            // No kind of its own.
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
        // (From here on it is ended when something fails.)
        running.number = self.register(&running, hints)?;
        Ok(running)
    }

    /// A program inherits which signals are blocked, and ours come by a descriptor, which
    /// has them blocked: it could not be ended. What comes while they are not is raised
    /// again.
    fn with_signals_open<T>(&self, spawn: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let mut heard = self.heard.borrow_mut();
        if heard.is_empty() {
            for signal in SIGNALS {
                let flag = Arc::new(AtomicBool::new(false));
                signal_hook::flag::register(signal as i32, Arc::clone(&flag))?;
                heard.push((signal, flag));
            }
        }
        let before = SigSet::empty().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let spawned = spawn();
        before.thread_set_mask()?;
        for (signal, flag) in &*heard {
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
        // A pipe whose reader has no room stays readable: it is told once.
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

    /// Sees to the programs that are ending; says when to do so again.
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

    /// As process 1 of a container, or as a subreaper, we inherit what programs leave
    /// behind. As zombies they would keep their groups alive, and the table of processes
    /// would fill up.
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

    /// Ends what is ending, and waits for it: this process is about to end as well. What
    /// the kernel cannot kill, because it waits for a disk, is not waited for.
    fn bury_all(&self) {
        if self.ending.borrow().is_empty() {
            return;
        }
        let give_up_at = Instant::now() + 2 * GRACE;
        while let Some(pause) = self.reap()
            && Instant::now() < give_up_at
        {
            std::thread::sleep(pause.min(Duration::from_millis(5)));
        }
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        self.bury_all();
    }
}

fn never_wait(pipe: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(pipe, FcntlArg::F_GETFL)?);
    fcntl(pipe, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

fn end_group(leader: &Child, signal: Signal) {
    // That nobody is left is no error.
    let _ = killpg(group_of(leader), signal);
}

/// A program that runs.
pub(crate) struct Running {
    programs: Rc<Programs>,
    hints: Rc<Hints>,
    number: u64,
    name: String,
    child: Option<Child>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    /// What has come of a line on stderr.
    error_line: Vec<u8>,
    log: Rc<Log>,
}

impl Running {
    /// Passes on to the log what the program says on stderr.
    fn read_errors(&mut self) {
        let mut buffer = [0; 4096];
        // All that a pipe holds, 64 KiB: what comes while it is read is told anew. Not
        // more: whatever it writes, there are others to see to.
        for _ in 0..16 {
            let Some(stderr) = &mut self.stderr else {
                return;
            };
            match stderr.read(&mut buffer) {
                Ok(0) => {
                    self.stderr = None;
                    if !self.error_line.is_empty() {
                        self.say_error_line();
                    }
                }
                Ok(count) => buffer[..count].iter().for_each(|byte| self.hear(*byte)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    fn hear(&mut self, byte: u8) {
        if byte == b'\n' || self.error_line.len() >= ERROR_LINE_MAX_BYTES {
            self.say_error_line();
        }
        if byte != b'\n' {
            self.error_line.push(byte);
        }
    }

    fn say_error_line(&mut self) {
        let line = std::mem::take(&mut self.error_line);
        let text = String::from_utf8_lossy(&line);
        self.log.said(&self.name, &text);
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
        self.programs.readers.borrow_mut().remove(&self.number);
        // What it has left running in the background ends with it.
        if let Some(child) = self.child.take() {
            end_group(&child, Signal::SIGTERM);
            let until = Instant::now() + GRACE;
            let mut ending = self.programs.ending.borrow_mut();
            ending.push(Ending { child, until });
        }
    }
}

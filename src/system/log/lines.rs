//! LineFile: a file or stdout to which a thread appends lines, so that a slow or full disk, or a
//! pipe that nobody reads, delays nobody else.
//!
//! ```text
//! push ──► buffer (1 MiB) ──► thread ──► one write of whole lines
//!             └─ full: the line is lost, and counted
//! ```
//!
//! Several processes can append to one file: a write contains whole lines only (O_APPEND), and
//! one to a pipe at most PIPE_BUF bytes. A write that fails is tried again each second. A line
//! of which a full disk took a part is written again, after an end for that part.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::write;

/// How many bytes wait for the thread at most, and are in one write.
const BUFFER_BYTES: usize = 1 << 20;

/// How many bytes a pipe takes in one piece (POSIX allows 512; Linux has 4096).
const PIPE_BUF_BYTES: usize = 4096;

/// The pause before a write that failed is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Where the lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LineTarget {
    Stdout,
    File(PathBuf),
}

impl LineTarget {
    /// Whether it can be opened.
    ///
    /// # Errors
    /// When it cannot.
    pub(crate) fn check(&self) -> io::Result<()> {
        Sink::open(self).map(|_| ())
    }
}

/// See the module.
pub(crate) struct LineFile {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something for the thread to do.
    wanted: Condvar,
    /// The thread has written everything.
    done: Condvar,
}

#[derive(Default)]
struct State {
    pending: Vec<u8>,
    is_writing: bool,
    wants_reopen: bool,
    is_closing: bool,
    /// Lines that found no room since [`LineFile::take_trouble`].
    lost: u64,
    /// The last error since then.
    error: Option<String>,
}

/// What went wrong since the last time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// The error; `None` if writing is only slow.
    pub(crate) error: Option<String>,
    /// How many lines were lost.
    pub(crate) lost: u64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LineFile {
    /// Opens the file, and starts the thread. Signals that the thread must not get are to be
    /// blocked already.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub(crate) fn open(target: LineTarget) -> io::Result<Self> {
        let sink = Sink::open(&target)?;
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        let mut writer = Writer {
            target,
            sink,
            shared: own,
            batch: Vec::new(),
            from: 0,
        };
        let builder = thread::Builder::new().name("lines".into());
        builder.spawn(move || writer.run())?;
        Ok(Self { shared })
    }

    /// Appends a line, which ends with LF.
    pub(crate) fn push(&self, line: &str) {
        let mut state = self.shared.lock();
        if state.pending.len() + line.len() > BUFFER_BYTES {
            state.lost += 1;
            return;
        }
        let was_empty = state.pending.is_empty();
        state.pending.extend_from_slice(line.as_bytes());
        drop(state);
        if was_empty {
            self.shared.wanted.notify_one();
        }
    }

    /// Opens the file anew: it may have been rotated.
    pub(crate) fn reopen(&self) {
        self.shared.lock().wants_reopen = true;
        self.shared.wanted.notify_one();
    }

    /// What went wrong since the last call.
    pub(crate) fn take_trouble(&self) -> Option<Trouble> {
        let mut state = self.shared.lock();
        if state.error.is_none() && state.lost == 0 {
            return None;
        }
        Some(Trouble {
            error: state.error.take(),
            lost: std::mem::take(&mut state.lost),
        })
    }

    /// Waits until everything is written, for so long at most.
    pub(crate) fn close(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut state = self.shared.lock();
        state.is_closing = true;
        self.shared.wanted.notify_one();
        while state.is_writing || !state.pending.is_empty() {
            let Some(left) = until.checked_duration_since(Instant::now()) else {
                // What nobody takes any more is lost.
                let lines = state.pending.iter().filter(|b| **b == b'\n').count();
                state.lost += lines as u64;
                return;
            };
            let waited = self.shared.done.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// What is written to.
struct Sink {
    file: Option<File>,
    kind: SFlag,
}

impl Sink {
    fn open(target: &LineTarget) -> io::Result<Self> {
        let file = match target {
            LineTarget::Stdout => None,
            LineTarget::File(path) => {
                // Without O_NONBLOCK, opening a FIFO would block until it has a reader.
                let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
                let mut how = OpenOptions::new();
                let how = how.append(true).create(true).custom_flags(flags.bits());
                let file = how.open(path)?;
                fcntl(&file, FcntlArg::F_SETFL(OFlag::O_APPEND))?;
                Some(file)
            }
        };
        let mut sink = Self {
            file,
            kind: SFlag::S_IFREG,
        };
        let mode = SFlag::from_bits_truncate(fstat(sink.descriptor(&io::stdout()))?.st_mode);
        sink.kind = mode & SFlag::S_IFMT;
        Ok(sink)
    }

    fn descriptor<'a>(&'a self, stdout: &'a io::Stdout) -> BorrowedFd<'a> {
        match &self.file {
            Some(file) => file.as_fd(),
            None => stdout.as_fd(),
        }
    }

    /// Writes once; waits, if need be.
    fn write(&self, bytes: &[u8]) -> nix::Result<usize> {
        let stdout = io::stdout();
        let descriptor = self.descriptor(&stdout);
        loop {
            match write(descriptor, bytes) {
                Err(Errno::EINTR) => {}
                // Somebody has made stdout non-blocking.
                Err(Errno::EAGAIN) => {
                    let mut room = [PollFd::new(descriptor, PollFlags::POLLOUT)];
                    let _ = poll(&mut room, PollTimeout::from(1000u16));
                }
                result => return result,
            }
        }
    }

    /// The end of the next write, which contains whole lines.
    fn end_of_write(&self, bytes: &[u8]) -> usize {
        if self.kind == SFlag::S_IFREG || bytes.len() <= PIPE_BUF_BYTES {
            return bytes.len();
        }
        let most = &bytes[..PIPE_BUF_BYTES];
        let end = memchr::memrchr(b'\n', most);
        end.map_or(PIPE_BUF_BYTES, |end| end + 1)
    }
}

/// The thread.
struct Writer {
    target: LineTarget,
    sink: Sink,
    shared: Arc<Shared>,
    /// What is being written, from this byte on.
    batch: Vec<u8>,
    from: usize,
}

impl Writer {
    fn run(&mut self) {
        let shared = Arc::clone(&self.shared);
        loop {
            let mut state = shared.lock();
            while state.pending.is_empty() && !state.wants_reopen {
                state.is_writing = false;
                shared.done.notify_all();
                let woken = shared.wanted.wait(state);
                state = woken.unwrap_or_else(PoisonError::into_inner);
            }
            state.is_writing = true;
            std::mem::swap(&mut self.batch, &mut state.pending);
            self.from = 0;
            drop(state);
            self.reopen_if_asked();
            self.write_batch();
            self.batch.clear();
            // A burst must not keep its memory.
            self.batch.shrink_to(64 * 1024);
        }
    }

    fn reopen_if_asked(&mut self) {
        if !std::mem::take(&mut self.shared.lock().wants_reopen) {
            return;
        }
        match Sink::open(&self.target) {
            Ok(sink) => self.sink = sink,
            Err(error) => {
                let text = format!("open it again: {error}; the file from before is used");
                self.shared.lock().error = Some(text);
            }
        }
    }

    fn write_batch(&mut self) {
        while self.from < self.batch.len() {
            let rest = &self.batch[self.from..];
            let end = self.sink.end_of_write(rest);
            match self.sink.write(&rest[..end]) {
                Ok(count) => self.advance(count, end),
                Err(error) => {
                    if !self.pause(&error.to_string()) {
                        // The process ends.
                        let lines = memchr::memchr_iter(b'\n', &self.batch[self.from..]).count();
                        self.shared.lock().lost += lines as u64;
                        return;
                    }
                }
            }
        }
    }

    /// So many bytes of a write have been taken.
    fn advance(&mut self, count: usize, wanted: usize) {
        let taken = &self.batch[self.from..self.from + count];
        let is_torn = count < wanted && taken.last().is_some_and(|b| *b != b'\n');
        if !is_torn || self.sink.kind != SFlag::S_IFREG {
            self.from += count;
            return;
        }
        // Another process may append in between. So the line comes again, as a whole, and what
        // precedes it is ended. There is a byte for that: one of the line's own was taken.
        let begin = memchr::memrchr(b'\n', taken).map_or(0, |end| end + 1);
        let whole = self.from + begin;
        if whole == 0 {
            self.batch.insert(0, b'\n');
            self.from = 0;
        } else {
            self.batch[whole - 1] = b'\n';
            self.from = whole - 1;
        }
    }

    /// Waits before the next attempt; returns whether there is to be one.
    fn pause(&mut self, error: &str) -> bool {
        let mut state = self.shared.lock();
        state.error = Some(error.to_owned());
        let until = Instant::now() + RETRY_AFTER;
        while !state.is_closing && !state.wants_reopen {
            let Some(left) = until.checked_duration_since(Instant::now()) else {
                break;
            };
            let waited = self.shared.wanted.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let goes_on = !state.is_closing;
        drop(state);
        self.reopen_if_asked();
        goes_on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("sse-lines-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn several_writers_append_whole_lines_and_a_rotated_file_is_left() {
        let folder = folder("rotated");
        let path = folder.join("log");
        let open = || LineFile::open(LineTarget::File(path.clone())).unwrap();
        let files = [open(), open(), open()];
        for number in 0..3000 {
            files[number % 3].push(&format!("{number} {}\n", "x".repeat(number % 200)));
        }
        for file in &files {
            file.close(Duration::from_secs(10));
            assert_eq!(file.take_trouble(), None);
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let mut numbers: Vec<usize> = text
            .lines()
            .map(|line| {
                let (number, rest) = line.split_once(' ').unwrap();
                let number = number.parse().unwrap();
                assert_eq!(rest.len(), number % 200);
                number
            })
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..3000).collect::<Vec<_>>());
        std::fs::rename(&path, folder.join("log.1")).unwrap();
        let file = open();
        std::fs::rename(&path, folder.join("log.2")).unwrap();
        file.reopen();
        file.push("new\n");
        file.close(Duration::from_secs(10));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new\n");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_full_disk_costs_only_the_lines_that_find_no_room() {
        let file = LineFile::open(LineTarget::File("/dev/full".into())).unwrap();
        let line = format!("{}\n", "x".repeat(1023));
        for _ in 0..3000 {
            file.push(&line);
        }
        let mut trouble = (None, 0);
        let began = Instant::now();
        while trouble.0.is_none() && began.elapsed() < Duration::from_secs(20) {
            if let Some(more) = file.take_trouble() {
                trouble = (more.error.or(trouble.0), trouble.1 + more.lost);
            }
        }
        assert!(trouble.0.unwrap().contains("ENOSPC"));
        assert!(trouble.1 >= 3000 - 2 * 1024, "{}", trouble.1);
        file.close(Duration::from_secs(10));
        assert!(began.elapsed() < Duration::from_secs(5));
        let rest = file.take_trouble().unwrap().lost;
        assert_eq!(trouble.1 + rest, 3000);
    }

    #[test]
    fn a_line_of_which_a_part_was_taken_is_written_again_as_a_whole() {
        let mut writer = Writer {
            target: LineTarget::Stdout,
            sink: Sink {
                file: None,
                kind: SFlag::S_IFREG,
            },
            shared: Arc::default(),
            batch: b"one\ntwo\nthree\n".to_vec(),
            from: 0,
        };
        writer.advance(6, 14);
        assert_eq!(&writer.batch[writer.from..], b"\ntwo\nthree\n");
        writer.advance(1, 11);
        assert_eq!(&writer.batch[writer.from..], b"two\nthree\n");
        writer.batch = b"one\ntwo\n".to_vec();
        writer.from = 0;
        writer.advance(2, 8);
        assert_eq!(&writer.batch[writer.from..], b"\none\ntwo\n");
    }
}

//! Stage: a folder for one test, started programs, and their readers.
//!
//! Every wait has a deadline, and dropping the stage ends and removes everything.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub use crate::support::event_stream::shown;
use crate::support::event_stream::{Event, Item, Parser};
pub use crate::support::folder::Folder;
use crate::support::pipe::pipe;
use crate::support::process;
pub use crate::support::wait::{DEADLINE, wait_for};

/// The time in which a process must end (a second), on a machine with other work.
pub const ONE_SECOND: Duration = Duration::from_millis(1_000);

/// The descriptor of a program's output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// One socket for stdin and stdout, whose other side has been shut for writing, as in
    /// mod_cgid.
    Socket,
    /// Two pipes, the one on stdin at its end, as in mod_cgi.
    Pipe,
    /// The client's own connection, as in mini-httpd.
    Tcp,
}

pub const EVERY_WAY: [Over; 3] = [Over::Socket, Over::Pipe, Over::Tcp];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Errors {
    Kept,
    ToTheReader,
}

/// A program before its start.
pub struct Program {
    name: &'static str,
    binary: PathBuf,
    gateway: bool,
    over: Over,
    errors: Errors,
    before: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    arguments: Vec<OsString>,
}

fn binary(name: &str) -> &'static str {
    match name {
        "clock" => env!("CARGO_BIN_EXE_nph-clock"),
        "countdown" => env!("CARGO_BIN_EXE_nph-countdown"),
        "room" => env!("CARGO_BIN_EXE_nph-room"),
        "script" => env!("CARGO_BIN_EXE_nph-script"),
        "session" => env!("CARGO_BIN_EXE_nph-session"),
        "command" => env!("CARGO_BIN_EXE_nph-command"),
        "tail" => env!("CARGO_BIN_EXE_nph-tail"),
        _ => panic!("no program {name}"),
    }
}

impl Program {
    fn of(name: &'static str, gateway: bool) -> Self {
        Self {
            name,
            binary: binary(name).into(),
            gateway,
            over: Over::Socket,
            errors: Errors::Kept,
            before: Vec::new(),
            variables: Vec::new(),
            arguments: Vec::new(),
        }
    }

    /// Under a gateway, as `nph-NAME.cgi`.
    pub fn nph(name: &'static str) -> Self {
        let file = format!("/usr/lib/cgi-bin/nph-{name}.cgi");
        Self::cgi(name, &file)
    }

    /// Under a gateway, as `NAME.cgi`.
    pub fn plain(name: &'static str) -> Self {
        let file = format!("/usr/lib/cgi-bin/{name}.cgi");
        Self::cgi(name, &file)
    }

    fn cgi(name: &'static str, file: &str) -> Self {
        Self::of(name, true)
            .set("GATEWAY_INTERFACE", "CGI/1.1")
            .set("REQUEST_METHOD", "GET")
            .set("SERVER_PROTOCOL", "HTTP/1.1")
            .set("SCRIPT_FILENAME", file)
            .set("SCRIPT_NAME", file.trim_start_matches("/usr/lib"))
            .set("QUERY_STRING", "")
            .set("REMOTE_ADDR", "127.0.0.1")
    }

    /// In a terminal, with its output in a pipe.
    pub fn typed(name: &'static str, arguments: &[&str]) -> Self {
        Self::of(name, false).over(Over::Pipe).arguments(arguments)
    }

    /// `nph-tail.cgi` following `file`. It also polls the file at every heartbeat, so
    /// heartbeats are later than the deadline: an event arrives because of a notification.
    pub fn tail(file: &Path) -> Self {
        let program = Self::nph("tail").set("SSE_HEARTBEAT", "25s");
        program.set("SSE_FILE", file)
    }

    pub fn set(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.into(), value.as_ref().into()));
        self
    }

    pub fn last_id(self, id: &str) -> Self {
        self.set("HTTP_LAST_EVENT_ID", id)
    }

    pub fn query(self, query: &str) -> Self {
        self.set("QUERY_STRING", query)
    }

    pub fn over(mut self, over: Over) -> Self {
        self.over = over;
        self
    }

    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(OsString::from));
        self
    }

    /// Starts it by another program, such as `env`, that ends in an exec of it.
    pub fn by(mut self, command: &[&str]) -> Self {
        self.before = command.iter().map(OsString::from).collect();
        self
    }

    /// Starts it only when the gate is opened.
    pub fn behind_a_gate(self, folder: &Folder) -> (Self, Gate) {
        let path = folder.path("gate");
        let _ = fs::remove_file(&path);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let script = "read go <\"$0\"; exec \"$@\"";
        (
            self.by(&["sh", "-c", script, path.to_str().unwrap()]),
            Gate(path),
        )
    }

    /// As a user for whom permissions matter, from a folder that every user can reach.
    pub fn by_user(mut self, id: u32, folder: &Folder) -> Self {
        let copy = folder.path(self.name);
        if !copy.exists() {
            // By another process: while this one has a program open for writing, a fork in
            // another test could keep it busy (ETXTBSY).
            let mut cp = Command::new("cp");
            let status = cp.arg(binary(self.name)).arg(&copy).status().unwrap();
            assert!(status.success());
        }
        self.binary = copy;
        if !nix::unistd::geteuid().is_root() {
            return self;
        }
        let (user, group) = (format!("--reuid={id}"), format!("--regid={id}"));
        self.by(&["setpriv", &user, &group, "--clear-groups"])
    }

    /// By the link `name` in `folder`, which is created if it is missing: this is the server's
    /// name of the program.
    pub fn installed_as(mut self, folder: &Path, name: &str) -> Self {
        let link = folder.join(name);
        if !link.exists() {
            std::os::unix::fs::symlink(binary(self.name), &link).unwrap();
        }
        self.binary = link.clone();
        self.set("SCRIPT_FILENAME", link)
            .set("SCRIPT_NAME", format!("/cgi-bin/{name}"))
    }

    /// stderr is the client, as under mini-httpd.
    pub fn stderr_is_the_reader(mut self) -> Self {
        self.errors = Errors::ToTheReader;
        self
    }

    pub fn start(self) -> Running {
        let own = Folder::new();
        let mut words = self.before.clone();
        words.push(self.binary.clone().into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(&self.arguments).env_clear();
        command
            .env("PATH", "/usr/bin:/bin")
            .envs(self.variables.iter().cloned());
        let (reader, input, output) = ends(self.over);
        let stderr = match self.errors {
            Errors::Kept => fs::File::create(own.path("stderr")).unwrap().into(),
            Errors::ToTheReader => output.try_clone().unwrap(),
        };
        command.stdin(input).stdout(output).stderr(stderr);
        let child = command.spawn().unwrap();
        Running {
            child,
            status: None,
            reader: Some(reader),
            own,
            unread_head: self.gateway.then(Vec::new),
            head: String::new(),
            body: Vec::new(),
            parser: Parser::default(),
            items: VecDeque::new(),
        }
    }

    /// Starts it and reads everything to the end: exit code, head, items.
    pub fn run(self) -> (i32, String, Vec<Item>) {
        let mut running = self.start();
        let items = std::iter::from_fn(|| running.next()).collect();
        (running.code(), running.head.clone(), items)
    }
}

/// What a program waits for before it starts.
pub struct Gate(PathBuf);

impl Gate {
    pub fn open(self) {
        fs::write(self.0, "go\n").unwrap();
    }
}

/// The reader's end, and stdin and stdout of the program.
fn ends(over: Over) -> (OwnedFd, Stdio, OwnedFd) {
    match over {
        Over::Socket => {
            let (ours, theirs) = UnixStream::pair().unwrap();
            ours.shutdown(Shutdown::Write).unwrap();
            let theirs = OwnedFd::from(theirs);
            (ours.into(), theirs.try_clone().unwrap().into(), theirs)
        }
        Over::Pipe => {
            let (ours, theirs) = pipe();
            let (ended, _) = pipe();
            (ours.into(), ended.into(), theirs.into())
        }
        Over::Tcp => {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let theirs = OwnedFd::from(listener.accept().unwrap().0);
            (ours.into(), theirs.try_clone().unwrap().into(), theirs)
        }
    }
}

/// A started program and its reader.
pub struct Running {
    child: Child,
    status: Option<ExitStatus>,
    reader: Option<OwnedFd>,
    own: Folder,
    /// The received part of the head, until it is complete.
    unread_head: Option<Vec<u8>>,
    head: String,
    /// The body of a response that is not a stream.
    body: Vec<u8>,
    parser: Parser,
    items: VecDeque<Item>,
}

impl Running {
    /// One read, of at most `most` bytes; none at the end of the stream.
    pub fn read(&mut self, most: usize) -> Vec<u8> {
        let reader = self.reader.as_ref().expect("a reader that has not left");
        let mut waits = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut waits, PollTimeout::try_from(DEADLINE).unwrap()).unwrap();
        assert!(ready > 0, "waited in vain; last: {:?}", self.parser.last_id);
        let mut bytes = vec![0; most];
        let count = nix::unistd::read(reader, &mut bytes).unwrap_or(0);
        bytes.truncate(count);
        bytes
    }

    /// Processes the bytes of a read.
    pub fn take(&mut self, bytes: &[u8]) {
        match &mut self.unread_head {
            None => self.take_body(bytes),
            Some(unread) => {
                unread.extend_from_slice(bytes);
                if let Some(end) = unread.windows(4).position(|four| four == b"\r\n\r\n") {
                    let body = unread.split_off(end + 4);
                    self.head = String::from_utf8(std::mem::take(unread)).unwrap();
                    self.unread_head = None;
                    self.take_body(&body);
                }
            }
        }
        self.items.extend(std::iter::from_fn(|| self.parser.next()));
    }

    /// Only a 200 is a stream.
    fn take_body(&mut self, bytes: &[u8]) {
        let status = self.head.lines().next().unwrap_or_default();
        if self.head.is_empty() || status.contains(" 200 ") {
            self.parser.feed(bytes);
        } else {
            self.body.extend_from_slice(bytes);
        }
    }

    /// The complete body of a response that is not a stream.
    pub fn rest_as_text(&mut self) -> String {
        assert_eq!(self.next(), None);
        String::from_utf8(std::mem::take(&mut self.body)).unwrap()
    }

    /// The response head, when it has been received.
    pub fn head(&mut self) -> String {
        while self.unread_head.is_some() {
            let bytes = self.read(65_536);
            assert!(!bytes.is_empty(), "the end in the head; {}", self.stderr());
            self.take(&bytes);
        }
        self.head.clone()
    }

    /// The next item; `None` at the end of the stream.
    pub fn next(&mut self) -> Option<Item> {
        while self.items.is_empty() {
            let bytes = self.read(65_536);
            if bytes.is_empty() {
                assert!(!self.parser.is_in_the_middle(), "an end in mid-event");
                return None;
            }
            self.take(&bytes);
        }
        self.items.pop_front()
    }

    /// The next event; other items are skipped, but there must be an event.
    pub fn event(&mut self) -> Event {
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < DEADLINE, "nothing but heartbeats");
            match self.next() {
                Some(Item::Event(event)) => return event,
                Some(Item::Ignored(line)) => panic!("no field: {line:?}"),
                Some(_) => {}
                None => panic!("the end instead of an event; {}", self.stderr()),
            }
        }
    }

    pub fn events(&mut self, count: usize) -> Vec<Event> {
        (0..count).map(|_| self.event()).collect()
    }

    /// Names and data of the next events, as `name: data`, or `data` without a name.
    pub fn says(&mut self, expected: &[&str]) {
        let got: Vec<String> = self.events(expected.len()).iter().map(shown).collect();
        assert_eq!(got, expected);
    }

    /// All events up to the end of the stream.
    pub fn rest(&mut self) -> Vec<Event> {
        let start = Instant::now();
        let mut events = Vec::new();
        while let Some(item) = self.next() {
            assert!(start.elapsed() < DEADLINE, "no end");
            if let Item::Event(event) = item {
                events.push(event);
            }
        }
        events
    }

    /// Reads the opening: `retry:` and the first comment.
    pub fn opened(mut self) -> Self {
        loop {
            match self.next() {
                Some(Item::Comment(text)) if text == " sse-cgi" => return self,
                Some(_) => {}
                None => panic!("the end instead of an opening; {}", self.stderr()),
            }
        }
    }

    /// Waits for a heartbeat: a comment without text. No event may come before.
    pub fn beat(&mut self) {
        loop {
            match self.next() {
                Some(Item::Comment(text)) if text.is_empty() => return,
                Some(Item::Comment(_) | Item::Retry(_) | Item::Blank { .. }) => {}
                other => panic!("no heartbeat but {other:?}"),
            }
        }
    }

    pub fn last_id(&self) -> &str {
        &self.parser.last_id
    }

    /// The reader disconnects.
    pub fn leave(&mut self) {
        self.reader = None;
    }

    /// The reader's connection breaks.
    pub fn reset(&mut self) {
        let reader = self.reader.take().expect("a reader that has not left");
        let at_once = nix::libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        nix::sys::socket::setsockopt(&reader, nix::sys::socket::sockopt::Linger, &at_once).unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid() as i32), signal).unwrap();
    }

    /// The exit code of a program that ends by itself.
    pub fn code(&mut self) -> i32 {
        let status = self.wait();
        status
            .code()
            .unwrap_or_else(|| panic!("ended by signal {:?}", status.signal()))
    }

    fn wait(&mut self) -> ExitStatus {
        if let Some(status) = self.status {
            return status;
        }
        let child = &mut self.child;
        let status = wait_for("the end of a program", || child.try_wait().unwrap());
        self.status = Some(status);
        status
    }

    /// Checks that it ends with code 0 within `limit` of `cause`.
    pub fn ends_within(&mut self, limit: Duration, cause: impl FnOnce(&mut Self)) {
        let start = Instant::now();
        cause(self);
        let code = self.code();
        let took = start.elapsed();
        assert_eq!(code, 0, "{}", self.stderr());
        assert!(took <= limit, "took {took:?}");
    }

    /// Its stderr.
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.own.path("stderr")).unwrap_or_default()
    }

    /// Processor time that it has used, in ticks of 10 ms.
    pub fn processor_ticks(&self) -> u64 {
        process::processor_ticks(self.pid())
    }

    /// A field of /proc/PID/status, such as `VmHWM`, as a number.
    pub fn status(&self, field: &str) -> u64 {
        process::field(self.pid(), "status", field)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let said = self.stderr();
        if std::thread::panicking() && !said.is_empty() {
            eprintln!("--- stderr of the program\n{said}");
        }
        if self.status.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

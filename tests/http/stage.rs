//! A folder for one test, and an `sse-httpd` that serves it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub use crate::support::folder::Folder;
pub use crate::support::wait::{DEADLINE, wait_for};

/// An `sse-httpd` that is about to be started.
pub struct Start {
    arguments: Vec<OsString>,
    variables: Vec<(String, OsString)>,
    stdin: Stdio,
    stderr: std::path::PathBuf,
    before: Vec<OsString>,
}

impl Start {
    /// It listens at a free port.
    pub fn new(folder: &Folder) -> Self {
        let start = Self::bare(folder);
        start.argument("--listen").argument("127.0.0.1:0")
    }

    /// Where it listens, the arguments are to say.
    pub fn bare(folder: &Folder) -> Self {
        Self {
            arguments: vec!["--allow-root".into()],
            variables: Vec::new(),
            stdin: Stdio::null(),
            stderr: folder.path("stderr"),
            before: Vec::new(),
        }
    }

    pub fn argument(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().into());
        self
    }

    pub fn set(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.into(), value.as_ref().into()));
        self
    }

    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.stdin = stdin.into();
        self
    }

    /// With so many descriptors.
    pub fn descriptors(mut self, most: u32) -> Self {
        let script = format!("ulimit -n {most}; exec \"$@\"");
        self.before = ["sh", "-c", &script, "sh"].map(OsString::from).to_vec();
        self
    }

    pub fn spawn(self) -> Httpd {
        let mut words = self.before;
        words.push(env!("CARGO_BIN_EXE_sse-httpd").into());
        words.extend(self.arguments);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env_clear();
        command.env("PATH", "/usr/bin:/bin").envs(self.variables);
        let errors = fs::File::create(&self.stderr).unwrap();
        command
            .stdin(self.stdin)
            .stdout(Stdio::piped())
            .stderr(errors);
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Httpd {
            child,
            stdout,
            stderr: self.stderr,
            address: None,
        }
    }

    /// Starts it, and waits until it has said where it listens.
    #[track_caller]
    pub fn start(self) -> Httpd {
        let mut httpd = self.spawn();
        let line = httpd.line();
        let address = line.trim().strip_prefix("http://");
        let address = address.and_then(|text| text.strip_suffix('/')?.parse().ok());
        assert!(address.is_some(), "{line:?}; {}", httpd.stderr());
        httpd.address = address;
        httpd
    }
}

/// A started one.
pub struct Httpd {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
    stderr: std::path::PathBuf,
    address: Option<SocketAddr>,
}

impl Httpd {
    /// Serves the files of these names in the folder.
    pub fn of(folder: &Folder, names: &[&str]) -> Self {
        let start = Start::new(folder);
        let start = names
            .iter()
            .fold(start, |start, name| start.argument(folder.path(name)));
        start.start()
    }

    pub fn address(&self) -> SocketAddr {
        self.address.expect("it listens on TCP")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid() as i32), signal).unwrap();
    }

    /// The next line of its stdout; empty at the end.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// The exit code of one that is about to end by itself.
    #[track_caller]
    pub fn code(&mut self) -> i32 {
        let status = wait_for("the end of sse-httpd", || self.child.try_wait().unwrap());
        status.code().expect("an exit code")
    }

    #[track_caller]
    pub fn connect(&self) -> Client {
        let socket = TcpStream::connect(self.address()).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Client {
            socket,
            unread: Vec::new(),
        }
    }

    /// A client that has sent this.
    #[track_caller]
    pub fn ask(&self, request: impl AsRef<[u8]>) -> Client {
        let mut client = self.connect();
        client.send(request);
        client
    }

    /// What becomes of one GET, whose connection is closed by the server.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        let mut client = self.ask(get(path));
        client.response()
    }
}

impl Drop for Httpd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- stderr of sse-httpd\n{}", self.stderr());
        }
        // Asked first, since only then does it end what it has started.
        let pid = Pid::from_raw(self.pid() as i32);
        for _ in 0..2 {
            if self.child.try_wait().is_ok_and(|status| status.is_none()) {
                let _ = kill(pid, Signal::SIGTERM);
            }
        }
        for _ in 0..500 {
            if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A GET of this path.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// A connection.
pub struct Client {
    pub socket: TcpStream,
    unread: Vec<u8>,
}

/// What came as one response.
#[derive(Debug)]
pub struct Response {
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn status(&self) -> u16 {
        let word = self.head.split(' ').nth(1).unwrap_or_default();
        word.parse().unwrap_or_default()
    }

    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (own, value) = line.split_once(": ")?;
            own.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    /// Sends it; who has closed need not take it.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.socket.write_all(bytes.as_ref());
    }

    fn fill(&mut self) -> usize {
        let mut buffer = [0; 4096];
        let count = match self.socket.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("{error} after {}", self.unread.escape_ascii()),
        };
        self.unread.extend_from_slice(&buffer[..count]);
        count
    }

    /// Reads on until `end` is there, and takes what came up to and with it.
    #[track_caller]
    pub fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = memchr::memmem::find(&self.unread, end.as_bytes()) {
                let taken: Vec<u8> = self.unread.drain(..at + end.len()).collect();
                return String::from_utf8_lossy(&taken).into_owned();
            }
            let count = self.fill();
            assert!(count > 0, "closed after {}", self.unread.escape_ascii());
        }
    }

    /// The next response, which has a length, or ends with the connection.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        let head = self.until("\r\n\r\n");
        let mut response = Response {
            head,
            body: Vec::new(),
        };
        let length = response
            .field("Content-Length")
            .map(|text| text.parse().unwrap());
        match length {
            Some(length) => {
                while self.unread.len() < length {
                    assert!(self.fill() > 0, "closed within a body");
                }
                response.body = self.unread.drain(..length).collect();
            }
            None if response.status() == 204 => {}
            None => response.body = self.rest(),
        }
        response
    }

    /// All that comes until the server closes.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.fill() > 0 {}
        std::mem::take(&mut self.unread)
    }
}

//! Stage: a folder of pages and programs, a running `sse-harness`, and its clients. Every wait
//! has a deadline, and dropping the stage ends and removes everything.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub use crate::support::wait::{DEADLINE, wait_for};

pub fn is_alive(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_ok()
}

pub fn wait_until_gone(pid: i32) {
    wait_for("the end of a process", || (!is_alive(pid)).then_some(()));
}

/// A folder with `web` and `cgi-bin`.
pub struct Stage {
    pub folder: PathBuf,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
}

impl Stage {
    pub fn new() -> Stage {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("sse-harness-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        for part in ["web", "cgi-bin"] {
            std::fs::create_dir_all(folder.join(part)).unwrap();
        }
        Stage {
            folder: folder.canonicalize().unwrap(),
            arguments: Vec::new(),
            variables: Vec::new(),
        }
    }

    /// Written by another process: while this one has a program open for writing, a fork in
    /// another test's thread could keep it busy (ETXTBSY).
    pub fn program(self, name: &str, text: &str) -> Stage {
        let mut writer = Command::new("/bin/sh")
            .args(["-c", "cat >\"$1\" && chmod 755 \"$1\"", "sh"])
            .arg(self.folder.join("cgi-bin").join(name))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let text = text.replace("$STAGE", self.folder.to_str().unwrap());
        let mut stdin = writer.stdin.take().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        drop(stdin);
        assert!(writer.wait().unwrap().success());
        self
    }

    pub fn page(self, name: &str, bytes: impl AsRef<[u8]>) -> Stage {
        std::fs::write(self.folder.join("web").join(name), bytes).unwrap();
        self
    }

    /// A named pipe on which a program waits until the test opens it.
    pub fn gate(self, name: &str) -> Stage {
        let mode = nix::sys::stat::Mode::S_IRWXU;
        nix::unistd::mkfifo(&self.folder.join(name), mode).unwrap();
        self
    }

    pub fn options(mut self, options: &[&str]) -> Stage {
        self.arguments.extend(options.iter().map(|o| o.to_string()));
        self
    }

    pub fn variable(mut self, name: &str, value: &str) -> Stage {
        self.variables.push((name.to_string(), value.to_string()));
        self
    }

    pub fn start(self) -> Harness {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sse-harness"))
            .args(["--listen", "127.0.0.1:0", "--web"])
            .arg(self.folder.join("web"))
            .arg("--cgi-bin")
            .arg(self.folder.join("cgi-bin"))
            .args(&self.arguments)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .envs(self.variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(self.folder.join("log")).unwrap())
            .spawn()
            .unwrap();
        let line = first_line(child.stdout.take().unwrap());
        let address = line
            .strip_prefix("sse-harness: listening on http://")
            .and_then(|rest| rest.strip_suffix("/\n"))
            .unwrap_or_else(|| panic!("no address in {line:?}"));
        Harness {
            address: address.parse().unwrap(),
            child,
            stage: self,
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub fn first_line(stream: impl Read + Send + 'static) -> String {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let _ = BufReader::new(stream).read_line(&mut line);
        let _ = sender.send(line);
    });
    receiver.recv_timeout(DEADLINE).expect("a line in time")
}

/// A running server.
pub struct Harness {
    pub address: SocketAddr,
    child: Child,
    stage: Stage,
}

impl Harness {
    pub fn folder(&self) -> &Path {
        &self.stage.folder
    }

    /// Sends bytes on a new connection.
    pub fn send(&self, bytes: impl AsRef<[u8]>) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        let mut client = Client {
            stream,
            unread: Vec::new(),
        };
        client.send(bytes);
        client
    }

    pub fn get(&self, target: &str) -> Client {
        self.send(format!(
            "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        ))
    }

    /// The status of a GET.
    pub fn status(&self, target: &str) -> u16 {
        let head = self.get(target).until("\r\n");
        head[9..12].parse().unwrap()
    }

    /// Opens a gate, which lets the program that waits on it continue.
    pub fn open(&self, gate: &str) {
        std::fs::write(self.folder().join(gate), "\n").unwrap();
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder().join("log")).unwrap()
    }

    pub fn wait_for_log(&self, text: &str) {
        wait_for(text, || self.log().contains(text).then_some(()));
    }

    /// The content of a file that a program wrote in the stage's folder.
    pub fn wait_for_file(&self, name: &str) -> String {
        let path = self.folder().join(name);
        wait_for(name, || {
            std::fs::read_to_string(&path)
                .ok()
                .filter(|text| text.ends_with('\n'))
        })
    }

    /// Sends the server a signal that does not end it.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Ends the server and returns how it ended.
    pub fn end(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        wait_for("the end of the server", || self.child.try_wait().unwrap())
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.end(Signal::SIGTERM);
        }
        if std::thread::panicking() {
            eprintln!("--- log of the server\n{}", self.log());
        }
    }
}

/// One connection.
pub struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Client {
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Ends the sending side.
    pub fn finish(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Reads up to and including `end`.
    pub fn until(&mut self, end: &str) -> String {
        loop {
            let found = self
                .unread
                .windows(end.len())
                .position(|w| w == end.as_bytes());
            if let Some(at) = found {
                let rest = self.unread.split_off(at + end.len());
                let read = std::mem::replace(&mut self.unread, rest);
                return String::from_utf8(read).unwrap();
            }
            let mut chunk = [0; 4096];
            let count = self.stream.read(&mut chunk).expect(end);
            let so_far = String::from_utf8_lossy(&self.unread);
            assert!(count > 0, "the end before {end:?}, after {so_far:?}");
            self.unread.extend_from_slice(&chunk[..count]);
        }
    }

    /// Reads to the end of the connection.
    pub fn rest(mut self) -> Vec<u8> {
        self.stream.read_to_end(&mut self.unread).unwrap();
        self.unread
    }

    /// Reads an answer without chunks to its end: its head, and its body.
    pub fn answer(self) -> (String, String) {
        let text = String::from_utf8(self.rest()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        (head.to_string(), body.to_string())
    }
}

/// Runs the server with an error at its start: its exit code and its output.
pub fn refused(arguments: &[&OsStr]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sse-harness"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.stdout.is_empty());
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said)
}

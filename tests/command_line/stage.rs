//! Stage: a folder for one test, and the programs under test, run like by a user.
//!
//! Every wait has a deadline, and dropping the stage ends and removes everything.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::ops::Deref;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support;
pub use crate::support::wait::{DEADLINE, wait_for};

/// A folder whose paths are text, as arguments are.
pub struct Folder(support::folder::Folder);

impl Folder {
    pub fn new() -> Self {
        Self(support::folder::Folder::new())
    }

    pub fn file(&self, name: &str) -> String {
        self.0.path(name).to_str().unwrap().to_owned()
    }

    pub fn write(&self, name: &str, text: &str) -> String {
        self.0.write(name, text);
        self.file(name)
    }
}

impl Deref for Folder {
    type Target = support::folder::Folder;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// `sse-cat` with these arguments.
pub fn cat<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Program {
    Program::start(env!("CARGO_BIN_EXE_sse-cat"), arguments)
}

/// `sse-cat` with these arguments, which trusts the certificates in a file.
pub fn cat_trusting<A: AsRef<OsStr>>(
    certificates: &str,
    arguments: impl IntoIterator<Item = A>,
) -> Program {
    let trust = [
        ("SSL_CERT_FILE", certificates),
        ("SSL_CERT_DIR", "/nonexistent"),
    ];
    Program::start_with(env!("CARGO_BIN_EXE_sse-cat"), arguments, &trust)
}

/// `sse-publish` with these arguments.
pub fn publish<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Program {
    Program::start(env!("CARGO_BIN_EXE_sse-publish"), arguments)
}

/// A running program, whose output is collected as it comes.
pub struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    output: Arc<Mutex<Vec<u8>>>,
    errors: Arc<Mutex<Vec<u8>>>,
    readers: Vec<thread::JoinHandle<()>>,
}

/// Its exit status and its output.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub output: String,
    pub errors: String,
}

impl Ended {
    /// Its output, if it ended with this code.
    #[track_caller]
    pub fn with(self, code: i32) -> String {
        assert_eq!(self.status.code(), Some(code), "{self:?}");
        self.output
    }

    /// Its stderr, if it ended with this code and without output.
    #[track_caller]
    pub fn failed(self, code: i32) -> String {
        assert_eq!(self.status.code(), Some(code), "{self:?}");
        assert_eq!(self.output, "");
        self.errors
    }
}

impl Program {
    fn start<A: AsRef<OsStr>>(path: &str, arguments: impl IntoIterator<Item = A>) -> Self {
        Self::start_with(path, arguments, &[])
    }

    fn start_with<A: AsRef<OsStr>>(
        path: &str,
        arguments: impl IntoIterator<Item = A>,
        variables: &[(&str, &str)],
    ) -> Self {
        let mut child = Command::new(path)
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (output, reader) = collect(child.stdout.take().unwrap());
        let (errors, other) = collect(child.stderr.take().unwrap());
        Self {
            stdin: child.stdin.take(),
            child,
            output,
            errors,
            readers: vec![reader, other],
        }
    }

    /// Writes this to its stdin, which stays open.
    pub fn say(&mut self, text: impl AsRef<[u8]>) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        stdin.write_all(text.as_ref()).unwrap();
    }

    /// Writes this to its stdin and closes it.
    pub fn told(mut self, text: impl AsRef<[u8]>) -> Self {
        self.say(text);
        self.stdin = None;
        self
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    pub fn output(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().unwrap()).into_owned()
    }

    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.errors.lock().unwrap()).into_owned()
    }

    #[track_caller]
    pub fn wait_for_output(&self, text: &str) {
        wait_for(&format!("{text:?} in the output"), || {
            self.output().contains(text).then_some(())
        });
    }

    #[track_caller]
    pub fn wait_for_errors(&self, text: &str) {
        wait_for(&format!("{text:?} among the errors"), || {
            self.errors().contains(text).then_some(())
        });
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        self.stdin = None;
        let status = wait_for("the program's end", || self.child.try_wait().unwrap());
        // A child of its own may hold the pipes open; its own output is complete.
        wait_for("the end of its output", || {
            self.readers
                .iter()
                .all(thread::JoinHandle::is_finished)
                .then_some(())
        });
        Ended {
            status,
            output: self.output(),
            errors: self.errors(),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

type Collected = (Arc<Mutex<Vec<u8>>>, thread::JoinHandle<()>);

fn collect(mut pipe: impl Read + Send + 'static) -> Collected {
    let all = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&all);
    let reader = thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = pipe.read(&mut piece) {
            into.lock().unwrap().extend_from_slice(&piece[..count]);
        }
    });
    (all, reader)
}

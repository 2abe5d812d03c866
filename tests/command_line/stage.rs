//! Stage: a folder for one test, and the programs under test as somebody runs them.
//!
//! Everything is waited for with a deadline, and everything is gone when it is dropped.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Far beyond what a slow machine needs: reaching it is a failure.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Waits until `condition` gives something.
#[track_caller]
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A folder that is removed at the end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("sse-command-line-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path.canonicalize().unwrap())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.file(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// What is in the file; nothing where there is none.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
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

/// How it ended, and what it wrote.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub output: String,
    pub errors: String,
}

impl Ended {
    /// Its output, where it ended with this code.
    #[track_caller]
    pub fn with(self, code: i32) -> String {
        assert_eq!(self.status.code(), Some(code), "{self:?}");
        self.output
    }

    /// What it said, where it ended with this code and without output.
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

    /// Gives it this on stdin, which goes on.
    pub fn say(&mut self, text: impl AsRef<[u8]>) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        stdin.write_all(text.as_ref()).unwrap();
    }

    /// Gives it this as all of its stdin.
    pub fn told(mut self, text: impl AsRef<[u8]>) -> Self {
        self.say(text);
        self.stdin = None;
        self
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
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
        // A child of its own may hold the pipes; what it wrote itself is there.
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

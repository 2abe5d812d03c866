//! The program under test, which listens in the folder of a test.
//!
//! Every wait has a deadline, and dropping the stage ends and removes everything.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::client::Client;
use super::protocol::Protocol;
use super::request::Request;
use crate::support::folder::{Folder, read};
use crate::support::process;
use crate::support::wait::wait_for;

/// A responder before its start: `sse-fcgi`, or `sse-httpd`.
pub struct Start<P: Protocol> {
    spoken: PhantomData<P>,
    folder: PathBuf,
    before: Vec<OsString>,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    stdin: Stdio,
    stderr: PathBuf,
    place: Place,
}

/// The address of a responder.
#[derive(Clone)]
pub enum Place {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

impl<P: Protocol> Start<P> {
    /// It listens at `socket` in the folder.
    pub fn at_socket(folder: &Folder) -> Self {
        let path = folder.path("socket");
        let start = Self::bare(folder, Place::Unix(path.clone()));
        let listen = P::listen(&path);
        listen.iter().fold(start, Self::argument)
    }

    /// The arguments and the environment determine where it listens.
    pub fn bare(folder: &Folder, place: Place) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self {
            spoken: PhantomData,
            folder: folder.path(""),
            before: Vec::new(),
            // Tests also run as root.
            arguments: vec!["--allow-root".into()],
            variables: Vec::new(),
            stdin: Stdio::null(),
            stderr: folder.path(&format!("stderr-{number}")),
            place,
        }
    }

    pub fn argument(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().into());
        self
    }

    /// Without `--allow-root`.
    pub fn refusing_root(mut self) -> Self {
        self.arguments.retain(|argument| argument != "--allow-root");
        self
    }

    /// Running the programs that requests name.
    pub fn allowing_commands(self) -> Self {
        match P::allows_commands() {
            Some(argument) => self.argument(argument),
            None => self,
        }
    }

    pub fn set(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.into(), value.as_ref().into()));
        self
    }

    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.stdin = stdin.into();
        self
    }

    /// By another program that ends in an exec of it.
    pub fn by(mut self, command: &[&str]) -> Self {
        self.before = command.iter().map(OsString::from).collect();
        self
    }

    /// With this limit on descriptors.
    pub fn descriptors(self, most: u32) -> Self {
        let script = format!("ulimit -n {most}; exec \"$@\"");
        self.by(&["sh", "-c", &script, "sh"])
    }

    /// Starts it, and does not wait until it listens.
    pub fn spawn(mut self) -> Responder<P> {
        let mut variables = self.variables.iter();
        let log = variables.find(|(name, _)| name == "SSE_LOG");
        let log = log.map_or(self.stderr.clone(), |(_, path)| path.into());
        let shared = P::shared(&mut self.arguments, &self.folder, log.clone());
        let mut words = self.before;
        words.push(P::PROGRAM.into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(&self.arguments).env_clear();
        command.env("PATH", "/usr/bin:/bin").envs(self.variables);
        let errors = fs::File::create(&self.stderr).unwrap();
        command
            .stdin(self.stdin)
            .stdout(Stdio::null())
            .stderr(errors);
        let child = command.spawn().unwrap();
        P::started(&shared, child.id());
        Responder {
            child,
            shared,
            status: None,
            place: self.place,
            stderr: self.stderr,
            log,
        }
    }

    /// Starts it, and waits until it responds.
    #[track_caller]
    pub fn start(self) -> Responder<P> {
        let mut responder = self.spawn();
        wait_for("a responder that listens", || {
            assert!(!responder.has_ended(), "ended: {}", responder.stderr());
            responder.try_connect().ok()
        });
        responder
    }

    /// Runs it to its end: exit code and output.
    pub fn run(self) -> (i32, String) {
        let mut responder = self.spawn();
        let code = responder.code();
        (code, responder.stderr())
    }
}

/// A started responder.
pub struct Responder<P: Protocol> {
    child: Child,
    shared: P::Shared,
    status: Option<ExitStatus>,
    pub place: Place,
    stderr: PathBuf,
    /// Where it writes its log.
    log: PathBuf,
}

impl<P: Protocol> Responder<P> {
    pub fn start(folder: &Folder) -> Self {
        Start::at_socket(folder).start()
    }

    pub fn try_connect(&self) -> std::io::Result<Client<P>> {
        static SEED: AtomicU64 = AtomicU64::new(1);
        let seed = SEED.fetch_add(1, Ordering::Relaxed);
        let peer = P::new(&self.shared);
        match &self.place {
            Place::Unix(path) => Client::unix(path, peer, seed),
            Place::Tcp(address) => Client::tcp(*address, peer, seed),
        }
    }

    #[track_caller]
    pub fn connect(&self) -> Client<P> {
        self.try_connect()
            .unwrap_or_else(|error| panic!("{error}; {}", self.stderr()))
    }

    /// A client that has sent its request.
    #[track_caller]
    pub fn ask(&self, request: &Request) -> Client<P> {
        let mut client = self.connect();
        client.ask(request);
        client
    }

    /// Requests like this one can be sent from now on without another file to be read.
    pub fn know(&self, request: &Request) {
        P::new(&self.shared).head(request, &mut fastrand::Rng::new());
    }

    /// The status page's figures.
    #[track_caller]
    pub fn figures(&self) -> Value {
        let mut client = self.ask(&Request::of("status"));
        client.whole();
        serde_json::from_slice(&client.body).expect("figures")
    }

    /// The same as Prometheus reads them, by name and labels.
    #[track_caller]
    pub fn metrics(&self, request: &Request) -> BTreeMap<String, u64> {
        let mut client = self.ask(request);
        client.whole();
        let head = client.head();
        assert!(head.contains("Content-Type: text/plain"), "{head}");
        let text = std::str::from_utf8(&client.body).expect("text");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let metric = |line: &str| {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            (name.to_owned(), value.parse().expect("a number"))
        };
        lines.map(metric).collect()
    }

    #[track_caller]
    pub fn figure(&self, name: &str) -> u64 {
        self.figures()[name].as_u64().expect("a figure")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid() as i32), signal).unwrap();
    }

    pub fn has_ended(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().unwrap();
        }
        self.status.is_some()
    }

    /// The exit code of a responder that ends by itself.
    #[track_caller]
    pub fn code(&mut self) -> i32 {
        wait_for("the end of a responder", || self.has_ended().then_some(()));
        let status = self.status.expect("it has ended");
        status
            .code()
            .unwrap_or_else(|| panic!("ended by signal {:?}", status.signal()))
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        self.status = self.child.wait().ok();
    }

    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Its lines on stderr about problems.
    pub fn warnings(&self) -> Vec<String> {
        let is_info = |line: &&str| line.contains(": info: ");
        let said = self.stderr();
        let lines = said.lines().filter(|line| !is_info(line));
        lines.map(str::to_owned).collect()
    }

    /// A field of /proc/PID/status, such as `VmRSS`, as a number.
    pub fn proc_status(&self, field: &str) -> u64 {
        process::field(self.pid(), "status", field)
    }

    /// Waits until it has slept for a while: it is idle.
    pub fn is_asleep(&self) {
        process::wait_until_asleep(self.pid(), Duration::from_millis(150));
    }

    /// What an administrator can read about a request: the web server's log, where it has one.
    pub fn said_of(&self, client: &Client<P>) -> String {
        match P::HAS_NO_WEB_SERVER {
            true => read(&self.log),
            false => client.stderr.clone(),
        }
    }

    /// The targets of its descriptors.
    pub fn descriptors(&self) -> Vec<PathBuf> {
        let folder = fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap();
        let links = folder.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        links.collect()
    }
}

impl<P: Protocol> Drop for Responder<P> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = self.stderr();
            if !said.is_empty() {
                eprintln!("--- stderr of the responder\n{said}");
            }
            if self.has_ended() {
                eprintln!("--- the responder had ended: {:?}", self.status);
            }
        }
        // Its children end only if it gets a signal to end; at once at the second signal.
        if !self.has_ended() {
            for _ in 0..2 {
                let _ = kill(Pid::from_raw(self.pid() as i32), Signal::SIGTERM);
            }
            let end = Instant::now() + Duration::from_secs(1);
            while !self.has_ended() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        if self.status.is_none() {
            self.kill();
        }
    }
}

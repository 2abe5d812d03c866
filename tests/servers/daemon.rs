//! A process that a test started and that ends with it.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, Uid, User};

use super::request::Request;
use crate::support::folder::{Folder, read};
use crate::support::wait::{PATIENCE, wait_until};

/// The user that Debian's web servers serve as.
pub const SERVER_USER: &str = "www-data";

/// How long a server may take to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(1);

/// A running process and its group; ended when dropped.
pub struct Daemon {
    name: String,
    child: Child,
}

impl Daemon {
    /// Starts `command`, written as in a shell, with `stdin` as descriptor 0 and its terminal
    /// output in `logs/terminal.log`.
    #[track_caller]
    pub fn start(
        folder: &Folder,
        command: &[&str],
        stdin: Option<OwnedFd>,
        environment: &[(String, String)],
    ) -> Daemon {
        folder.make("logs");
        let output = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join("logs/terminal.log"))
            .expect("the new folder can be written");
        // It ends with the thread that started it, even if that is killed.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM"])
            .args(command)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(stdin.map_or_else(Stdio::null, Stdio::from))
            .stdout(
                output
                    .try_clone()
                    .expect("a file's descriptor can be copied"),
            )
            .stderr(output)
            // A group of its own, so that all of it can be ended at once.
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("setpriv: {error}: apt-get install util-linux"));
        let name = command[0].to_owned();
        Daemon { name, child }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a process id fits"))
    }

    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn wait_until_ended(&mut self, limit: Duration) {
        let what = format!("{} has ended", self.name);
        wait_until(&what, limit, || self.ended().is_some());
    }

    /// Ends it: first by SIGTERM, so that it reaps its children, then by SIGKILL.
    pub fn end(&mut self) {
        let deadline = Instant::now() + GRACE;
        if self.ended().is_none() {
            let _ = kill(self.pid(), Signal::SIGTERM);
        }
        while self.ended().is_none() {
            if Instant::now() > deadline {
                let _ = killpg(self.pid(), Signal::SIGKILL);
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}

/// Names the package to install when a file is missing.
#[track_caller]
pub fn require(file: &str, package: &str) {
    assert!(
        Path::new(file).exists(),
        "{file} is missing: apt-get install {package}"
    );
}

/// Whether a server that is started from here must become [`SERVER_USER`].
#[track_caller]
pub fn becomes_server_user() -> bool {
    let is_root = Uid::effective().is_root();
    if is_root {
        let user = User::from_name(SERVER_USER).ok().flatten();
        assert!(
            user.is_some(),
            "no user {SERVER_USER}: apt-get install base-passwd"
        );
    }
    is_root
}

/// Starts a web server on a free port and waits until its identity is certain: it must serve a
/// page that was just written to `folder`/pages.
#[track_caller]
pub fn start_on_free_port(
    folder: &Folder,
    environment: &[(String, String)],
    configure: impl FnMut(u16) -> Vec<String>,
) -> (Daemon, u16) {
    let mark = format!("{}-{:?}", std::process::id(), Instant::now());
    fs::write(folder.make("pages").join("mark.txt"), &mark).expect("the folder can be written");
    start_until(folder, environment, configure, |port| {
        let request = Request::new(port, "GET", "/mark.txt").field("Connection", "close");
        request.send().text() == mark
    })
}

/// Starts a web server on a free port and waits until what answers there is this server.
#[track_caller]
pub fn start_until(
    folder: &Folder,
    environment: &[(String, String)],
    mut configure: impl FnMut(u16) -> Vec<String>,
    is_it: impl Fn(u16) -> bool,
) -> (Daemon, u16) {
    // Another process may take the free port before the server does.
    for _ in 0..5 {
        let port = free_port();
        let command = configure(port);
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let mut daemon = Daemon::start(folder, &words, None, environment);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = daemon.ended() {
                let log = all_logs(folder);
                let taken = log.to_lowercase().contains("address already in use");
                assert!(taken, "{}: {status}\n{log}", words[0]);
                break;
            }
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() && is_it(port) {
                return (daemon, port);
            }
            assert!(
                Instant::now() < deadline,
                "{} does not answer\n{}",
                words[0],
                all_logs(folder)
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    panic!("five free ports were taken by others");
}

/// Everything that was logged in `folder`/logs, and on terminals.
pub fn all_logs(folder: &Folder) -> String {
    let entries = fs::read_dir(folder.join("logs")).into_iter().flatten();
    let mut paths: Vec<_> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("this machine has a free port")
        .port()
}

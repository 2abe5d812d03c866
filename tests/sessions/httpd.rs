//! A session and a room without a web server: `sse-httpd` and its settings file.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::servers::daemon::free_port;
use crate::stage::Folder;
use crate::support::redis::Redis;
use crate::support::wait::wait_for;

/// The server; it ends with this.
pub struct Httpd {
    pub port: u16,
    child: Child,
    folder: Folder,
}

impl Httpd {
    /// `command` responds to messages to a session; empty: none does.
    #[track_caller]
    pub fn start(command: &str) -> Self {
        let folder = Folder::new();
        folder.make("data");
        let root = folder.path("");
        let root = root.display();
        let text = format!(
            "SSE_PUBLISH_ALLOW = anyone\nSSE_SPOOL = {root}/data/spool\n\
             [/events/session]\nSSE_COMMAND = {command}\n\
             [/events/room]\nSSE_FILE = {root}/data/room.jsonl\n"
        );
        Self::with(folder, &text)
    }

    /// A node whose sessions and rooms are in this Redis.
    #[track_caller]
    pub fn node(redis: &Redis) -> Self {
        let folder = Folder::new();
        folder.write("password", Redis::PASSWORD);
        let (address, root) = (redis.address(), folder.path(""));
        let root = root.display();
        let text = format!(
            "SSE_PUBLISH_ALLOW = anyone\nSSE_REDIS = {address}\nSSE_REDIS_USER = sse\n\
             SSE_REDIS_PASSWORD_FILE = {root}/password\n\
             [/events/session]\nSSE_STREAM_KEY = live:session\n\
             [/events/room]\nSSE_STREAM_KEY = live:room\n"
        );
        Self::with(folder, &text)
    }

    #[track_caller]
    fn with(folder: Folder, settings: &str) -> Self {
        folder.write("streams.conf", settings);
        // Another process may take the free port first.
        for _ in 0..5 {
            let port = free_port();
            let mut child = spawn(&folder, port);
            let listens = wait_for("sse-httpd that listens", || {
                let has_ended = child.try_wait().unwrap().is_some();
                let connects = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
                (has_ended || connects).then_some(!has_ended)
            });
            if listens {
                return Self {
                    port,
                    child,
                    folder,
                };
            }
        }
        panic!("{}", folder.read("log"));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path(name)
    }

    /// Ends it with every stream, and starts it again at the same port.
    #[track_caller]
    pub fn restart(&mut self) {
        self.end();
        self.child = spawn(&self.folder, self.port);
        wait_for("sse-httpd that listens again", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok()
        });
    }

    fn end(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        wait_for("the end of sse-httpd", || self.child.try_wait().unwrap());
    }
}

impl Drop for Httpd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- stderr of sse-httpd\n{}", self.folder.read("log"));
            let _ = self.child.kill();
        }
        self.end();
    }
}

fn spawn(folder: &Folder, port: u16) -> Child {
    let path = folder.path("log");
    let log = fs::File::options().create(true).append(true).open(path);
    Command::new(env!("CARGO_BIN_EXE_sse-httpd"))
        .args(["--allow-root", "--listen", &format!("127.0.0.1:{port}")])
        .arg("--config")
        .arg(folder.path("streams.conf"))
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log.unwrap())
        .spawn()
        .unwrap()
}

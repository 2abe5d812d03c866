//! nginx and a responder behind it, for thousands of clients.
//!
//! The settings for streams come from the project's own snippet. The others suit large numbers:
//! one process, so that its memory and CPU are one figure, and as many connections as there are
//! descriptors.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::crowd::{AtTheEnd, Crowd, descriptors};
use super::numbered::Numbered;
use super::usage::Usage;
use crate::support::folder::{Folder, read};
use crate::support::wait::{PATIENCE, wait_until};

const NGINX: &str = "/usr/sbin/nginx";

/// The URL of the stream.
pub const TARGET: &str = "/events/tail";

/// A file and its servers, which end when this is dropped.
pub struct Site {
    nginx: Child,
    pub port: u16,
    responder: Child,
    lines: Numbered,
    written: u64,
    // This is dropped last, because the others use it.
    folder: Folder,
}

impl Site {
    /// A file with one line, number 0, and servers that answer.
    #[track_caller]
    pub fn start(lines: Numbered) -> Self {
        let most = descriptors();
        let folder = Folder::new();
        let responder = start_responder(&folder);
        let (nginx, port) = start_nginx(&folder, most);
        let mut site = Self {
            nginx,
            port,
            responder,
            lines,
            written: 0,
            folder,
        };
        site.write(1);
        site
    }

    /// The file that is followed.
    pub fn file(&self) -> PathBuf {
        self.folder.join("lines.txt")
    }

    /// How many lines have been written.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Appends so many lines in one write, and returns the new number of lines.
    #[track_caller]
    pub fn write(&mut self, count: u64) -> u64 {
        let lines = self.lines.lines(self.written, self.written + count);
        let text = String::from_utf8(lines).expect("they are ASCII");
        crate::support::folder::append(&self.file(), &text);
        self.written += count;
        self.written
    }

    /// Renames the file; the next line creates a new one.
    pub fn rotate(&self, number: u32) {
        let rotated = self.folder.join(format!("lines.txt.{number}"));
        fs::rename(self.file(), rotated).expect("the file is there");
    }

    /// A crowd of clients of this site.
    pub fn crowd(&self, at_the_end: AtTheEnd) -> Crowd {
        Crowd::new(self.port, TARGET, self.lines.clone(), at_the_end)
    }

    /// The responder's usage.
    pub fn responder(&self) -> Usage {
        Usage::of(self.responder.id())
    }

    /// Its process id.
    pub fn responder_pid(&self) -> u32 {
        self.responder.id()
    }

    /// nginx's usage.
    pub fn nginx(&self) -> Usage {
        Usage::of(self.nginx.id())
    }

    /// Kills the responder, like a crash.
    pub fn kill_responder(&mut self) {
        self.responder.kill().expect("it is ours");
        self.responder.wait().expect("it was started here");
    }

    /// Starts it again, on the socket that the killed one has left behind.
    #[track_caller]
    pub fn start_responder(&mut self) {
        self.responder = start_responder(&self.folder);
    }

    /// Whether the servers' logs contain only the lines about their own start.
    #[track_caller]
    pub fn has_logged_no_trouble(&self) {
        let logs = self.logs();
        let trouble: Vec<&str> = logs
            .lines()
            .filter(|line| !line.contains(": info: "))
            .collect();
        assert!(trouble.is_empty(), "{trouble:?}");
    }

    /// The servers' logs.
    pub fn logs(&self) -> String {
        ["responder.log", "nginx.log"]
            .map(|name| read(&self.folder.join(name)))
            .concat()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        for child in [&mut self.nginx, &mut self.responder] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A program that ends with the thread that started it, also when that is killed.
fn tied(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]);
    command.stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SSE_") {
            command.env_remove(name);
        }
    }
    command
}

fn log(path: &Path) -> File {
    let opened = File::options().create(true).append(true).open(path);
    opened.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[track_caller]
fn start_responder(folder: &Folder) -> Child {
    let socket = folder.join("responder.sock");
    let child = tied(env!("CARGO_BIN_EXE_sse-fcgi"))
        .args(["--allow-root", "--socket"])
        .arg(&socket)
        .stdout(Stdio::null())
        .stderr(log(&folder.join("responder.log")))
        .spawn()
        .unwrap_or_else(|error| panic!("setpriv: {error}: apt-get install util-linux"));
    wait_until("the responder listens", PATIENCE, || {
        UnixStream::connect(&socket).is_ok()
    });
    child
}

#[track_caller]
fn start_nginx(folder: &Folder, most: usize) -> (Child, u16) {
    assert!(
        Path::new(NGINX).exists(),
        "{NGINX} is missing: apt-get install nginx-light"
    );
    fs::copy("/etc/nginx/fastcgi_params", folder.join("fastcgi_params"))
        .unwrap_or_else(|error| panic!("/etc/nginx/fastcgi_params: {error}"));
    // Another process may take the free port before nginx does.
    for _ in 0..5 {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .expect("this machine has a free port")
            .port();
        let path = folder.join("nginx.conf");
        fs::write(&path, configuration(folder, port, most)).expect("the folder can be written");
        let mut child = tied(NGINX)
            .args(["-p", &folder.display().to_string(), "-c"])
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(log(&folder.join("nginx.log")))
            .spawn()
            .unwrap_or_else(|error| panic!("setpriv: {error}: apt-get install util-linux"));
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait().expect("it is ours").is_none() {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return (child, port);
            }
            assert!(Instant::now() < deadline, "nginx does not listen");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let log = read(&folder.join("nginx.log"));
        assert!(log.contains("Address already in use"), "nginx: {log}");
    }
    panic!("five free ports were taken by others");
}

fn configuration(folder: &Folder, port: u16, most: usize) -> String {
    let root = folder.display();
    let project = env!("CARGO_MANIFEST_DIR");
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("    {name}_temp_path {root}/{name};\n"))
        .concat();
    // A minute of a fast file is more than the 16 MB that a client which returns may be
    // behind by default, and who takes nothing for half of that returns.
    // nginx reserves a descriptor for each connection, and needs a few besides.
    let connections = most - 100;
    format!(
        "daemon off;\n\
         master_process off;\n\
         pid {root}/nginx.pid;\n\
         error_log {root}/nginx.log warn;\n\
         worker_rlimit_nofile {most};\n\
         events {{ worker_connections {connections}; }}\n\
         http {{\n\
         {temporary}    \
         access_log off;\n    \
         upstream sse_fcgi {{ server unix:{root}/responder.sock; }}\n    \
         server {{\n        \
         listen 127.0.0.1:{port} backlog=4096;\n        \
         location = {TARGET} {{\n            \
         include {project}/nginx/snippets/sse-cgi.conf;\n            \
         fastcgi_param SSE_STREAM tail;\n            \
         fastcgi_param SSE_REPLAY 1G;\n            \
             fastcgi_param SSE_FILE {root}/lines.txt;\n        \
         }}\n        \
         location @sse_later {{\n            \
         return 503;\n        \
         }}\n    \
         }}\n\
         }}\n"
    )
}

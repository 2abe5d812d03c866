//! A redis-server of a test's own, on a Unix socket, with the ACL user of docs/many-machines.md.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::folder::Folder;
use super::wait::wait_for;

/// The commands of a user that only reads, as docs/many-machines.md lists them.
pub const RIGHTS: &str = "+multi +exec +xinfo|stream +xrange +xrevrange +xread +select \
                      +client|id +client|unblock +role +asking";

/// The commands of a user that only publishes, as that page lists them.
pub const RIGHTS_OF_PUBLISHERS: &str = "+xadd +wait +eval +time +get +set +select +role +asking";

/// The commands that rooms and sessions need besides.
pub const RIGHTS_OF_ROOMS: &str = "+xadd +wait +eval +time +info +exists +pexpire +pttl +persist +zadd +zrem \
                               +zscore +zcard +zrange +zrangebyscore +hset +hget +hmget +hdel +get +set";

/// A running server. It is killed when it is dropped.
pub struct Redis {
    child: Child,
    pub socket: PathBuf,
    options: Vec<String>,
    admin: Option<UnixStream>,
}

impl Redis {
    /// The password of the user `sse`, which the nodes are, of `reader`, as which they only read,
    /// and of `publisher`, as which they only publish; the tests are the user `default`.
    pub const PASSWORD: &str = "correct-horse";

    /// Starts it in a folder, with more options such as `--appendonly yes`.
    #[track_caller]
    pub fn start(folder: &Folder, options: &[&str]) -> Self {
        let socket = folder.path("redis.sock");
        let acl = format!(
            "user default on nopass ~* &* +@all\n\
             user sse on >{password} resetkeys ~live:* ~{{live:* resetchannels -@all \
             {RIGHTS} {RIGHTS_OF_ROOMS}\n\
             user reader on >{password} resetkeys ~live:* resetchannels -@all {RIGHTS}\n\
             user publisher on >{password} resetkeys ~live:* resetchannels -@all \
             {RIGHTS_OF_PUBLISHERS}\n",
            password = Self::PASSWORD
        );
        let acl = folder.write("users.acl", acl);
        folder.write("password", format!("{}\n", Self::PASSWORD));
        let mut all: Vec<String> = ["--port", "0", "--save", "", "--unixsocket"]
            .map(str::to_owned)
            .into();
        all.push(socket.display().to_string());
        all.extend(["--dir".into(), folder.path("").display().to_string()]);
        all.extend(["--aclfile".into(), acl.display().to_string()]);
        all.extend(options.iter().map(|option| (*option).to_owned()));
        let mut redis = Self {
            child: spawn(&all),
            socket,
            options: all,
            admin: None,
        };
        redis.await_answer();
        redis
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The address for `SSE_REDIS`.
    pub fn address(&self) -> String {
        format!("unix:{}", self.socket.display())
    }

    #[track_caller]
    fn await_answer(&mut self) {
        self.admin = Some(wait_for("redis-server", || {
            let mut stream = UnixStream::connect(&self.socket).ok()?;
            let limit = Some(Duration::from_secs(10));
            stream.set_read_timeout(limit).expect("a timeout");
            let reply = ask(&mut stream, &["PING"]);
            (reply.as_deref() == Some("PONG")).then_some(stream)
        }));
    }

    /// Executes a command, and returns its reply as text: items one a line, errors with their
    /// hyphen.
    #[track_caller]
    pub fn run(&mut self, words: &[&str]) -> String {
        let stream = self.admin.as_mut().expect("a running server");
        ask(stream, words).unwrap_or_else(|| panic!("no reply to {words:?}"))
    }

    /// The same; `None` if the server closes the connection.
    pub fn try_run(&mut self, words: &[&str]) -> Option<String> {
        ask(self.admin.as_mut()?, words)
    }

    /// Connects again.
    #[track_caller]
    pub fn connect_again(&mut self) {
        self.await_answer();
    }

    /// Adds an event, and returns its id.
    #[track_caller]
    pub fn add(&mut self, key: &str, data: &str) -> String {
        self.run(&["XADD", key, "*", "data", data])
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        self.admin = None;
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    /// Starts it again after [`Self::kill`].
    #[track_caller]
    pub fn start_again(&mut self) {
        self.child = spawn(&self.options);
        self.await_answer();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody listens on now.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

#[track_caller]
fn spawn(options: &[String]) -> Child {
    assert!(
        Path::new("/usr/bin/redis-server").exists(),
        "redis-server is missing; install redis-server"
    );
    Command::new("/usr/bin/redis-server")
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server")
}

fn ask(stream: &mut UnixStream, words: &[&str]) -> Option<String> {
    let mut out = format!("*{}\r\n", words.len());
    for word in words {
        out.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    stream.write_all(out.as_bytes()).ok()?;
    let mut lines = Vec::new();
    read_item(stream, &mut lines)?;
    Some(lines.join("\n"))
}

fn read_item(stream: &mut UnixStream, lines: &mut Vec<String>) -> Option<()> {
    let line = read_line(stream)?;
    let number = || line[1..].parse::<i64>().ok();
    match line.as_bytes().first()? {
        b'*' => {
            for _ in 0..number()? {
                read_item(stream, lines)?;
            }
        }
        b'$' => {
            let Ok(length) = usize::try_from(number()?) else {
                lines.push("nil".into());
                return Some(());
            };
            let mut bytes = vec![0; length + 2];
            stream.read_exact(&mut bytes).ok()?;
            bytes.truncate(length);
            lines.push(String::from_utf8_lossy(&bytes).into_owned());
        }
        b'-' => lines.push(line),
        _ => lines.push(line[1..].to_owned()),
    }
    Some(())
}

fn read_line(stream: &mut UnixStream) -> Option<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        line.push(byte[0]);
    }
    line.truncate(line.len() - 2);
    String::from_utf8(line).ok()
}

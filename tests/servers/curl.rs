//! curl as a peer that speaks HTTP/2, TLS and gzip.

use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::answer::{Answer, Expect, Peer};

/// curl's output, and curl itself, ended when dropped.
struct Curl {
    output: UnixStream,
    child: Child,
}

impl Read for Curl {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.output.read(buffer)
    }
}

impl Peer for Curl {
    fn limit_read(&mut self, limit: Duration) {
        self.output
            .set_read_timeout(Some(limit))
            .expect("a time limit that is not zero is accepted");
    }

    fn about(&mut self) -> String {
        format!("(curl, {:?})", self.child.try_wait())
    }
}

impl Drop for Curl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks for `target` over HTTP/2 with prior knowledge; each field is
/// `Name: value`.
#[track_caller]
pub fn get_over_http2(port: u16, target: &str, fields: &[&str]) -> Answer {
    let mut arguments = vec!["--http2-prior-knowledge"];
    for field in fields {
        arguments.extend(["--header", field]);
    }
    curl(&arguments, &format!("http://127.0.0.1:{port}{target}"))
}

/// Requests `url`. Over HTTP/1.1, use `--raw`: curl removes the chunk framing, but not the
/// field that announces it.
#[track_caller]
pub fn curl(arguments: &[&str], url: &str) -> Answer {
    // A socket instead of a pipe, because its reads can be limited in time.
    let (output, theirs) = UnixStream::pair().expect("a pair of sockets can be made");
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--no-buffer", "--include"]);
    command.args(arguments);
    let child = command
        .arg(url)
        .stdin(Stdio::null())
        .stdout(OwnedFd::from(theirs))
        .spawn()
        .unwrap_or_else(|error| match error.kind() {
            ErrorKind::NotFound => panic!("curl is missing: apt-get install curl"),
            _ => panic!("curl: {error}"),
        });
    // The command has a copy of their end, which would keep it open.
    drop(command);
    Answer::read(Box::new(Curl { output, child }), Expect::Body)
}

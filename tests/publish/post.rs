//! Post: one request to `publish`, and the response.
//!
//! Every wait has a deadline, and dropping it ends everything.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::stage::{DEADLINE, wait_for};

/// A request before it is sent.
#[derive(Clone)]
pub struct Post {
    before: Vec<OsString>,
    binary: PathBuf,
    variables: BTreeMap<OsString, OsString>,
    body: Vec<u8>,
}

impl Post {
    /// A POST to `publish.cgi` that anyone may send, without a file, type and body yet.
    pub fn new() -> Self {
        let empty = Self {
            before: Vec::new(),
            binary: env!("CARGO_BIN_EXE_publish").into(),
            variables: BTreeMap::new(),
            body: Vec::new(),
        };
        empty
            .set("PATH", "/usr/bin:/bin")
            .set("GATEWAY_INTERFACE", "CGI/1.1")
            .set("REQUEST_METHOD", "POST")
            .set("SERVER_PROTOCOL", "HTTP/1.1")
            .set("SCRIPT_FILENAME", "/usr/lib/cgi-bin/publish.cgi")
            .set("REMOTE_ADDR", "127.0.0.1")
            .set("HTTP_HOST", "example.org")
            .set("SSE_PUBLISH_ALLOW", "anyone")
    }

    /// A POST of text to `file`.
    pub fn text(file: &Path, text: &str) -> Self {
        Self::new().file(file).body("text/plain", text)
    }

    /// A POST of JSON to `file`.
    pub fn json(file: &Path, json: &str) -> Self {
        Self::new().file(file).body("application/json", json)
    }

    pub fn file(self, file: &Path) -> Self {
        self.set("SSE_FILE", file)
    }

    /// A body with its length.
    pub fn body(self, media: &str, body: impl AsRef<[u8]>) -> Self {
        let length = body.as_ref().len().to_string();
        self.chunked(media, body).set("CONTENT_LENGTH", length)
    }

    /// A body that the server has decoded, so that its length is unknown.
    pub fn chunked(mut self, media: &str, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self.set("CONTENT_TYPE", media)
    }

    pub fn set(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.variables.insert(name.into(), value.as_ref().into());
        self
    }

    pub fn unset(mut self, name: &str) -> Self {
        self.variables.remove(OsStr::new(name));
        self
    }

    /// Starts it by another program that ends in an exec of it.
    pub fn by(mut self, command: &[&str]) -> Self {
        self.before = command.iter().map(OsString::from).collect();
        self
    }

    /// Runs this file instead.
    pub fn binary(mut self, path: PathBuf) -> Self {
        self.binary = path;
        self
    }

    /// Names and values, for another gateway.
    pub fn variables(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let pairs = self.variables.iter();
        pairs.map(|(name, value)| (name.as_encoded_bytes(), value.as_encoded_bytes()))
    }

    /// The body, for another gateway.
    pub fn body_bytes(&self) -> &[u8] {
        &self.body
    }

    /// Starts it, its body not sent yet. Standard input and output are one socket, as
    /// under mod_cgid.
    pub fn start(&self) -> Posting {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let theirs = OwnedFd::from(theirs);
        let mut words = self.before.clone();
        words.push(self.binary.clone().into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env_clear().envs(&self.variables);
        command
            .stdin(theirs.try_clone().unwrap())
            .stdout(theirs)
            .stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        ours.set_read_timeout(Some(DEADLINE)).unwrap();
        ours.set_write_timeout(Some(DEADLINE)).unwrap();
        Posting { child, ours }
    }

    /// Sends it.
    pub fn send(&self) -> Answer {
        let mut posting = self.start();
        // If its head is refused, the program may have disconnected already.
        let _ = posting.ours.write_all(&self.body);
        posting.answer()
    }

    /// Sends it, and expects 201: the id.
    #[track_caller]
    pub fn created(&self) -> String {
        self.send().id()
    }
}

/// A request that is being sent.
pub struct Posting {
    child: Child,
    pub ours: UnixStream,
}

impl Posting {
    pub fn kill(&mut self) {
        let _ = self.child.kill();
    }

    /// Ends the body and waits for the answer.
    pub fn answer(self) -> Answer {
        let _ = self.ours.shutdown(Shutdown::Write);
        self.answer_meanwhile()
    }

    /// Waits for the answer, while the body may still be sent.
    pub fn answer_meanwhile(mut self) -> Answer {
        let start = Instant::now();
        let mut bytes = Vec::new();
        // A program that was killed leaves its unread input behind.
        let _ = self.ours.read_to_end(&mut bytes);
        assert!(start.elapsed() < DEADLINE, "no answer");
        let code = self.code();
        let mut errors = String::new();
        let stderr = self.child.stderr.as_mut().unwrap();
        stderr.read_to_string(&mut errors).unwrap();
        Answer::of(&String::from_utf8(bytes).unwrap(), code, errors)
    }

    fn code(&mut self) -> Option<i32> {
        let child = &mut self.child;
        wait_for("the end of publish", || child.try_wait().unwrap()).code()
    }
}

impl Drop for Posting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// All of it, unchanged.
    pub text: String,
    /// From `Status:`; empty when there was no response.
    pub status: String,
    pub body: String,
    /// Of the program; `None` when it was killed.
    pub code: Option<i32>,
    /// For the server's log.
    pub errors: String,
}

impl Answer {
    pub fn of(text: &str, code: Option<i32>, errors: String) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let line = head.lines().next().unwrap_or_default();
        let status = line.strip_prefix("Status: ").unwrap_or(line);
        Self {
            text: text.into(),
            status: status.into(),
            body: body.into(),
            code,
            errors,
        }
    }

    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        let (head, _) = self.text.split_once("\r\n\r\n")?;
        let mut fields = head.lines().filter_map(|line| line.split_once(": "));
        fields.find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// The id of a record that was created.
    #[track_caller]
    pub fn id(&self) -> String {
        assert_eq!(self.status, "201 Created", "{self:?}");
        let body: BTreeMap<String, String> = serde_json::from_str(&self.body).unwrap();
        assert_eq!(body.len(), 1);
        body["id"].clone()
    }

    /// Checks that it has this status, and only an error in JSON in its body.
    #[track_caller]
    pub fn is_error(&self, status: &str) -> &Self {
        assert_eq!(self.status, status, "{self:?}");
        let body: BTreeMap<String, String> = serde_json::from_str(&self.body).unwrap();
        assert_eq!(body.keys().collect::<Vec<_>>(), ["error"]);
        assert_eq!(self.field("Content-Type"), Some("application/json"));
        let length = self.body.len().to_string();
        assert_eq!(self.field("Content-Length"), Some(&length[..]));
        self
    }
}

/// The duration of a call.
pub fn timed<T>(action: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let value = action();
    (value, start.elapsed())
}

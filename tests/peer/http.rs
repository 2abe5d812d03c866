//! A client that speaks HTTP/1.1.
//!
//! Over HTTP a request passes no setting. So the settings of a test's request become a section
//! of the settings file, at a path of its own below the request's, and the program reads the
//! file again (SIGHUP) before the first request for that path is sent.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fastrand::Rng;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::client::{COMPLETE, End, Piece};
use super::protocol::Protocol;
use super::request::Request;
use crate::support::folder::read;
use crate::support::wait::wait_for;

/// One connection.
pub struct Http {
    locations: Option<Arc<Locations>>,
    part: Part,
    /// The response has no body, whatever its head says.
    is_head: bool,
}

/// Where in a response it is.
enum Part {
    Nothing,
    Head,
    /// So many bytes are still to come.
    Length(usize),
    ToTheEnd,
}

/// The sections of the settings file.
pub struct Locations {
    file: PathBuf,
    /// Where the program writes its log.
    log: PathBuf,
    pid: AtomicU32,
    /// The settings of each.
    sections: Mutex<Vec<String>>,
}

impl Locations {
    /// The number of the section with these settings, which the program knows from now on.
    fn section(&self, settings: &str) -> usize {
        let mut sections = self.sections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = sections.iter().position(|own| own == settings) {
            return number;
        }
        sections.push(settings.to_owned());
        let mut text = String::new();
        for (number, settings) in sections.iter().enumerate() {
            // Requests for `/events` and for other paths have the same settings.
            writeln!(text, "[/{number}]\n{settings}").expect("memory");
        }
        let new = self.file.with_extension("new");
        fs::write(&new, text).expect("the folder can be written");
        fs::set_permissions(&new, fs::Permissions::from_mode(0o644)).expect("ours");
        fs::rename(&new, &self.file).expect("the folder can be written");
        let count = sections.len();
        let words = format!("read again; sections: {count}");
        // Before that, the signal would end it.
        wait_for("a program that has begun", || {
            read(&self.log).contains(" listens on ").then_some(())
        });
        let pid = self.pid.load(Ordering::Relaxed) as i32;
        kill(Pid::from_raw(pid), Signal::SIGHUP).expect("the program runs");
        wait_for(&words, || {
            let log = read(&self.log);
            assert!(!log.contains(": not used; the"), "{log}");
            log.contains(&words).then_some(())
        });
        count - 1
    }
}

/// The settings of a request, as lines of a section; empty without any.
fn settings_of(request: &Request) -> String {
    let mut lines = String::new();
    for (name, value) in &request.params {
        let (name, value) = (text(name), text(value));
        if name.starts_with("SSE_") && !value.is_empty() {
            assert!(!value.contains('\n'), "{name}: {value:?}");
            writeln!(lines, "{name} = {value}").expect("memory");
        }
    }
    lines
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

/// A path with everything encoded that a target cannot contain.
fn encoded(path: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for byte in path {
        match byte {
            b'!'..=b'~' if !b"%?#".contains(byte) => bytes.push(*byte),
            byte => bytes.extend(format!("%{byte:02X}").bytes()),
        }
    }
    bytes
}

impl Protocol for Http {
    /// `None`: the test has a settings file of its own.
    type Shared = Option<Arc<Locations>>;

    const PROGRAM: &'static str = env!("CARGO_BIN_EXE_sse-httpd");

    const HAS_NO_WEB_SERVER: bool = true;

    fn listen(path: &Path) -> [OsString; 2] {
        let mut address = OsString::from("unix:");
        address.push(path);
        ["--listen".into(), address]
    }

    fn allows_commands() -> Option<&'static str> {
        None
    }

    fn shared(arguments: &mut Vec<OsString>, folder: &Path, log: PathBuf) -> Self::Shared {
        if arguments.iter().any(|argument| argument == "--config") {
            return None;
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let file = folder.join(format!("locations-{number}.conf"));
        fs::write(&file, "").expect("the folder can be written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("ours");
        arguments.push("--config".into());
        arguments.push(file.clone().into());
        Some(Arc::new(Locations {
            file,
            log,
            pid: AtomicU32::new(0),
            sections: Mutex::default(),
        }))
    }

    fn started(shared: &Self::Shared, pid: u32) {
        if let Some(locations) = shared {
            locations.pid.store(pid, Ordering::Relaxed);
        }
    }

    fn new(shared: &Self::Shared) -> Self {
        Self {
            locations: shared.clone(),
            part: Part::Nothing,
            is_head: false,
        }
    }

    fn head(&mut self, request: &Request, _: &mut Rng) -> Vec<u8> {
        let settings = settings_of(request);
        let mut path = Vec::new();
        match &self.locations {
            Some(locations) if !settings.is_empty() => {
                path.extend(format!("/{}", locations.section(&settings)).bytes());
            }
            _ => {
                assert!(settings.is_empty(), "a client passes no settings");
                path.extend(request.param("SCRIPT_NAME"));
            }
        }
        path.extend(request.param("PATH_INFO"));
        let method = request.param("REQUEST_METHOD");
        let mut head = [method, b" ", &encoded(&path)].concat();
        let query = request.param("QUERY_STRING");
        if !query.is_empty() {
            head.push(b'?');
            head.extend(query);
        }
        head.extend(b" HTTP/1.1\r\n");
        if request.param("HTTP_HOST").is_empty() {
            head.extend(b"Host: localhost\r\n");
        }
        if !request.is_kept {
            head.extend(b"Connection: close\r\n");
        }
        let mut has_length = false;
        for (name, value) in &request.params {
            let field = match &name[..] {
                b"CONTENT_TYPE" => "Content-Type".into(),
                b"CONTENT_LENGTH" => {
                    has_length = true;
                    "Content-Length".into()
                }
                name => match text(name).strip_prefix("HTTP_") {
                    Some(name) => name.replace('_', "-"),
                    None => continue,
                },
            };
            head.extend(field.bytes());
            head.extend(b": ");
            head.extend(value);
            head.extend(b"\r\n");
        }
        if !has_length && method == b"POST" {
            head.extend(format!("Content-Length: {}\r\n", request.body.len()).bytes());
        }
        head.extend(b"\r\n");
        head
    }

    fn unfinished_head(_: &mut Rng) -> Vec<u8> {
        format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(16_300)).into_bytes()
    }

    fn body(&mut self, request: &Request, _: &mut Rng) -> Vec<u8> {
        request.body.clone()
    }

    fn piece_of_body(&mut self, content: &[u8], _: &mut Rng) -> Vec<u8> {
        content.to_vec()
    }

    /// Its length is known.
    fn end_of_body(&mut self, _: &mut Rng) -> Vec<u8> {
        Vec::new()
    }

    /// Without what only HTTP needs.
    fn head_as_cgi(head: &str) -> String {
        let head = head.replacen("HTTP/1.1", "Status:", 1);
        let is_of_http = |line: &&str| {
            let is_length = *line == "Content-Length: 0\r\n";
            is_length || line.starts_with("Date: ") || line.starts_with("Connection: ")
        };
        head.split_inclusive('\n')
            .filter(|line| !is_of_http(line))
            .collect()
    }

    fn abort(_: &mut Rng) -> Option<Vec<u8>> {
        None
    }

    fn expect(&mut self, request: &Request) {
        self.part = Part::Head;
        self.is_head = request.param("REQUEST_METHOD") == b"HEAD";
    }

    fn take(&mut self, unread: &mut Vec<u8>) -> Option<Piece> {
        match self.part {
            Part::Nothing => {
                assert!(
                    unread.is_empty(),
                    "after the end: {}",
                    unread.escape_ascii()
                );
                None
            }
            Part::Head => {
                let end = memchr::memmem::find(unread, b"\r\n\r\n")? + 4;
                let head: Vec<u8> = unread.drain(..end).collect();
                let lines = text(&head);
                let length = lines.lines().find_map(|line| {
                    let length = line.strip_prefix("Content-Length: ")?;
                    Some(length.parse().expect("a length"))
                });
                let status = Self::status(lines);
                assert!(status >= 200, "{lines}");
                self.part = match length {
                    _ if self.is_head || status == 204 => Part::Length(0),
                    Some(length) => Part::Length(length),
                    None => Part::ToTheEnd,
                };
                Some(Piece::Response(head))
            }
            Part::Length(0) => {
                self.part = Part::Nothing;
                Some(Piece::End(COMPLETE))
            }
            Part::Length(left) => {
                let count = left.min(unread.len());
                self.part = Part::Length(left - count);
                (count > 0).then(|| Piece::Response(unread.drain(..count).collect()))
            }
            Part::ToTheEnd => (!unread.is_empty()).then(|| Piece::Response(std::mem::take(unread))),
        }
    }

    fn end_of_input(&mut self) -> Option<End> {
        match std::mem::replace(&mut self.part, Part::Nothing) {
            Part::ToTheEnd => Some(COMPLETE),
            _ => None,
        }
    }

    fn status(head: &str) -> u16 {
        let word = head.strip_prefix("HTTP/1.1 ").expect("a status line");
        word[..3].parse().expect("a code")
    }
}

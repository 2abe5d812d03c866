//! The way up, as a CGI program.
//!
//! The pure machine decides; this reads the body, adds the record and writes the reply.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::alarm;

use super::program::run_with;
use crate::gateway::Framing;
use crate::publish::{Post, Replies, Reply};
use crate::request::{
    Label, Lifetime, MetaVariables, Method, Publishing, Request, Settings, Status,
};
use crate::source::{Stream, WayUp};
use crate::store::answering;
use crate::store::host::Capabilities;
use crate::store::posting::{Posting, Rest, Step};
use crate::store::site::PublishLocation;
use crate::system::body;
use crate::system::clock::{self, Clock};
use crate::system::exit;
use crate::system::log::{Level, Log, Style};
use crate::system::output::{Output, has_left};

/// Runs `publish`: one POST, as nph-CGI or as plain CGI, or standard input in a terminal.
/// It is all that its `main` has to call.
///
/// The exit code is 0 when a gateway was answered or a record published, 100 for a wrong
/// option or setting, 111 when the system refused something.
#[must_use]
pub fn run_publish() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    let owned = |(name, value): (OsString, OsString)| (name.into_vec(), value.into_vec());
    let mut meta = MetaVariables::new(std::env::vars_os().map(owned).collect());
    let framing = Framing::of(&meta, &program);
    let style = match framing {
        Framing::Bare => Style::Terminal,
        _ => Style::Gateway,
    };
    let name = Path::new(&program).file_name().unwrap_or(&program);
    let log = Log::new(&name.to_string_lossy(), style);
    let mut input = Input::Gateway;
    // Under a gateway the arguments are the client's.
    if framing == Framing::Bare {
        match typed(arguments) {
            Ok(Typed::Post(settings, body)) => {
                log.call_settings(vec![("SSE_FILE", "FILE".into())]);
                for (name, value) in settings {
                    meta.push(name, &value);
                }
                input = Input::Typed(body);
            }
            Ok(Typed::Help) => {
                return match io::stdout().write_all(HELP.as_bytes()) {
                    Err(error) if !has_left(&error) => exit::system(),
                    _ => exit::done(),
                };
            }
            Err(problem) => {
                log.line(Level::Error, &format!("{problem} (--help tells more)"));
                return exit::usage();
            }
        }
    }
    Program::new(framing, &log, &meta, None).finish(&meta, input)
}

/// Runs a program whose stream has a way up: a POST is taken as [`run_publish`] takes it,
/// and anything else is what [`crate::run_cgi`] does.
#[must_use]
pub fn run_two_way(stream: &'static Stream) -> ExitCode {
    if let Some(code) = answering::run_if_asked() {
        return code;
    }
    let owned = |(name, value): (OsString, OsString)| (name.into_vec(), value.into_vec());
    let meta = MetaVariables::new(std::env::vars_os().map(owned).collect());
    let program = std::env::args_os().next().unwrap_or_default();
    let framing = Framing::of(&meta, &program);
    let is_post = framing != Framing::Bare && Request::from_meta(&meta).method == Method::Post;
    match WayUp::of(stream) {
        Some(way) if is_post => {
            let name = Path::new(&program).file_name().unwrap_or(&program);
            let log = Log::new(&name.to_string_lossy(), Style::Gateway);
            Program::new(framing, &log, &meta, Some(way)).finish(&meta, Input::Gateway)
        }
        _ => {
            // Its stream writes as well: who comes and goes.
            let _ = SigSet::from(Signal::SIGXFSZ).thread_block();
            run_with(stream, Capabilities::SESSIONS)
        }
    }
}

const HELP: &str = "usage: publish [--json] FILE

Adds what comes on standard input to a stream's file as one record, and prints the id
that its event has. FILE ends in .jsonl.

  --json   the input is an object with event, a name, and data, anything.
           Default: it is text, and all of it but a last newline is the data

Under a web server it takes the same from a POST: see SSE_PUBLISH_ALLOW.
Exit codes: 0 done, 100 wrong option, setting or input, 111 the system refused.
";

enum Typed {
    /// Meta-variables, and a body.
    Post(Vec<(&'static str, Vec<u8>)>, Vec<u8>),
    Help,
}

/// The most that is read of what is typed: more than any limit on a body.
const TYPED_MAX_BYTES: u64 = 17 << 20;

/// What is typed, as a POST. Whoever can type it can write the file.
fn typed(arguments: std::env::ArgsOs) -> Result<Typed, lexopt::Error> {
    use lexopt::prelude::{Long, Short, Value};
    let mut parser = lexopt::Parser::from_args(arguments);
    let (mut file, mut media) = (None, "text/plain");
    while let Some(argument) = parser.next()? {
        match argument {
            Long("json") => media = "application/json",
            Long("help") | Short('h') => return Ok(Typed::Help),
            Value(path) if file.is_none() => file = Some(path),
            other => return Err(other.unexpected()),
        }
    }
    let file = file.ok_or("no file is named")?;
    let mut body = Vec::new();
    let input = io::stdin().lock();
    input
        .take(TYPED_MAX_BYTES)
        .read_to_end(&mut body)
        .map_err(|error| format!("standard input: {error}"))?;
    // What `echo` ends with belongs to the line, and not to what it says.
    if body.ends_with(b"\n") {
        body.pop();
    }
    let settings = vec![
        ("REQUEST_METHOD", b"POST".to_vec()),
        ("CONTENT_TYPE", media.into()),
        ("SSE_PUBLISH_ALLOW", b"anyone".to_vec()),
        ("SSE_FILE", file.into_vec()),
    ];
    Ok(Typed::Post(settings, body))
}

/// Where the body comes from.
enum Input {
    /// From a gateway, for as long as it takes.
    Gateway,
    /// From whoever typed it; all of it is here.
    Typed(Vec<u8>),
}

struct Program {
    framing: Framing,
    log: Rc<Log>,
    clock: Clock,
    /// What a post is for; `None`: the stream's file.
    way: Option<WayUp>,
}

impl Program {
    fn new(framing: Framing, log: &Log, meta: &MetaVariables, way: Option<WayUp>) -> Self {
        let label = match framing {
            Framing::Bare => Label::default(),
            _ => Label::of(meta),
        };
        Self {
            framing,
            log: Rc::new(log.for_request(&label)),
            clock: Clock::start(),
            way,
        }
    }

    fn finish(&self, meta: &MetaVariables, input: Input) -> ExitCode {
        self.run(meta, input).unwrap_or_else(|error| {
            self.log.line(Level::Error, &error.to_string());
            exit::system()
        })
    }

    fn run(&self, meta: &MetaVariables, input: Input) -> io::Result<ExitCode> {
        // mini-httpd leaves one running.
        alarm::cancel();
        // A limit on the size of files is to be an error of the write that passes it.
        SigSet::from(Signal::SIGXFSZ).thread_block()?;
        let output = Output::stdout()?;
        if let Some(path) = Settings::log(meta) {
            self.log.open(&path);
        }
        let request = Request::from_meta(meta);
        let parsed = Settings::parse(meta, Lifetime::Hour)
            .and_then(|read| Ok((read, Publishing::parse(meta)?)));
        let ((settings, notices), (publishing, more)) = match parsed {
            Ok(parsed) => parsed,
            Err(error) => {
                self.log.line(Level::Error, &error.to_string());
                let reply = Replies::without_settings(&request).misconfigured();
                self.write(&output, &reply)?;
                body::discard(meta);
                return Ok(exit::usage());
            }
        };
        for notice in notices.iter().chain(&more) {
            self.log.line(Level::Warning, &notice.to_string());
        }
        let site = Rc::new(PublishLocation {
            settings,
            publishing,
            way: self.way,
        });
        let post = Post::from_meta(meta);
        let (reply, rest) = self.answer(&site, &request, &post, input);
        self.write(&output, &reply)?;
        if rest == Rest::Unwanted {
            body::discard(meta);
        }
        Ok(self.exit_code(reply.head.status))
    }

    fn exit_code(&self, status: Status) -> ExitCode {
        match status {
            Status::InternalServerError => exit::usage(),
            _ if self.framing != Framing::Bare => exit::done(),
            Status::Created => exit::done(),
            Status::ServiceUnavailable | Status::TooManyRequests => exit::system(),
            _ => exit::usage(),
        }
    }

    fn answer(
        &self,
        site: &Rc<PublishLocation>,
        request: &Request,
        post: &Post,
        input: Input,
    ) -> (Reply, Rest) {
        let mut posting = match Posting::begin(site, request, post, self.clock.now(), &self.log) {
            Ok(posting) => posting,
            Err(reply) => return (reply, Rest::Unwanted),
        };
        if let Input::Typed(body) = &input {
            posting.take(body);
            posting.end();
        }
        loop {
            match posting.at(self.clock.now()) {
                Step::Reply(reply) => return (reply, posting.rest()),
                Step::Again { at } => {
                    std::thread::sleep(at.saturating_sub(self.clock.now().monotonic));
                }
                Step::Bytes { until } => self.receive(&mut posting, until),
            }
        }
    }

    /// Waits for bytes of the body on standard input, and reads no more than are wanted.
    fn receive(&self, posting: &mut Posting, until: Duration) {
        let stdin = io::stdin();
        let left = until.saturating_sub(self.clock.now().monotonic);
        // Rounded up: a wait that ends before its time would be one of many.
        let left_ms = left.as_micros().div_ceil(1_000).min(i32::MAX as u128) as i32;
        let timeout = PollTimeout::try_from(left_ms).unwrap_or(PollTimeout::ZERO);
        let mut readable = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        if matches!(poll(&mut readable, timeout), Ok(0) | Err(Errno::EINTR)) {
            return;
        }
        let mut buffer = vec![0; posting.wanted_bytes().min(64 << 10)];
        match nix::unistd::read(&stdin, &mut buffer) {
            Ok(count) if count > 0 => posting.take(&buffer[..count]),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // What cannot be read has ended.
            _ => posting.end(),
        }
    }

    fn write(&self, output: &Output, reply: &Reply) -> io::Result<()> {
        let mut bytes = self.framing.write(&reply.head, &clock::http_date());
        bytes.extend_from_slice(&reply.body);
        // Too short to find no room: the client has been sent nothing yet.
        match output.write(&bytes) {
            Err(error) if !has_left(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

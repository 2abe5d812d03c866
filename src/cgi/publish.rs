//! Publishing by a CGI program and in a terminal.
//!
//! `publish` decides without any I/O; this module reads the body, appends the record and writes
//! the response.

use std::ffi::OsString;
use std::io::{self, Read as _};
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

use super::program::{keep_secrets, run_with};
use super::terminal::{options_of, setting_of};
use crate::gateway::Framing;
use crate::publish::{PostFields, Replies, Reply};
use crate::request::settings::{COMMON, FileError, Rows, count, options_help, select};
use crate::request::{
    Label, Lifetime, MetaVariables, Method, Publishing, Purpose, Request, Setting, Settings, Status,
};
use crate::source::{Recipients, Stream};
use crate::store::answering;
use crate::store::host::{Capabilities, SystemHost};
use crate::store::key_file::{AccessError, KeyFiles};
use crate::store::post::{PostHandler, Rest, Step};
use crate::store::publish_location::{Engines, OpenEntries, PublishLocation};
use crate::store::settings_file;
use crate::system::body;
use crate::system::clock::{self, Clock};
use crate::system::exit;
use crate::system::log::{Level, Log, Style};
use crate::system::output::{self, Output, has_left};

type OpenEngines = fn(&Rc<Log>) -> Rc<dyn OpenEntries>;

/// What a program publishes to.
struct Kind {
    /// The settings that only it and a few others read.
    settings: &'static [&'static Setting],
    /// The setting that a terminal's argument sets, and its placeholder.
    argument: (&'static str, &'static str),
    /// The beginning of its help.
    usage: &'static str,
    /// A function, so that other programs do not contain engines.
    engines: Option<OpenEngines>,
}

static FILE: Kind = Kind {
    settings: &select::<{ count(Rows::Own("publish")) }>(Rows::Own("publish")),
    argument: ("SSE_FILE", "FILE"),
    usage: "usage: publish [--json] [OPTIONS] FILE

Appends standard input to a stream's file as one record, and prints the id of its event.
FILE ends in .jsonl.
",
    engines: None,
};

static ENGINE: Kind = Kind {
    settings: &select::<{ count(Rows::Own("publish-redis")) }>(Rows::Own("publish-redis")),
    argument: ("SSE_STREAM_KEY", "KEY"),
    usage: "usage: publish-redis [--json] [OPTIONS] KEY

Appends standard input to a Redis Stream as one entry, and prints the id of its event.
SSE_REDIS or --redis names the engine.
",
    engines: Some(|log| Rc::new(SystemHost::new(Rc::clone(log), Capabilities::ENGINES))),
};

/// Runs `publish`: one POST by nph-CGI or plain CGI, or standard input in a terminal. It is all
/// that the program's `main` calls.
///
/// The exit code is 0 when a gateway got a response or a record was published, 100 for a wrong
/// option or setting, and 111 for an error of the system.
#[must_use]
pub fn run_publish() -> ExitCode {
    run_kind(&FILE)
}

/// Runs `publish-redis`: the same as [`run_publish`], to a Redis Stream.
#[must_use]
pub fn run_publish_to_engine() -> ExitCode {
    run_kind(&ENGINE)
}

fn run_kind(kind: &'static Kind) -> ExitCode {
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
    // Under a gateway, a query without `=` becomes arguments (RFC 3875 §4.4).
    if framing == Framing::Bare {
        match read_arguments(kind, arguments).and_then(Invocation::with_input) {
            Ok(Invocation::Post { settings, body }) => {
                let mut options = options_of(kind.all_settings(), &settings, &meta);
                options.insert(0, (kind.argument.0, kind.argument.1.into()));
                log.call_settings(options);
                for (name, value) in settings {
                    meta.push(&name, &value);
                }
                input = Input::Terminal(body);
            }
            Ok(Invocation::Print(text)) => {
                return output::print(&text).unwrap_or_else(|_| exit::system());
            }
            Err(problem) => {
                log.line(Level::Error, &format!("{problem} (--help tells more)"));
                return exit::usage();
            }
        }
    }
    let completed = match framing {
        Framing::Bare => Ok(()),
        _ => settings_file::complete(&mut meta, &program),
    };
    let mut program = Program::new(framing, &log, &meta, None);
    if let Some(engines) = kind.engines {
        program.engines = Engines::Only(engines(&program.log));
    }
    program.finish(&meta, completed, input)
}

/// Runs a program for a stream that accepts POST: a POST is handled as by [`run_publish`], any
/// other request as by [`crate::run_cgi`].
#[must_use]
pub fn run_two_way(stream: &'static Stream) -> ExitCode {
    if let Some(code) = answering::run_if_asked() {
        return code;
    }
    let owned = |(name, value): (OsString, OsString)| (name.into_vec(), value.into_vec());
    let mut meta = MetaVariables::new(std::env::vars_os().map(owned).collect());
    let program = std::env::args_os().next().unwrap_or_default();
    let framing = Framing::of(&meta, &program);
    let is_post = framing != Framing::Bare && Request::from_meta(&meta).method == Method::Post;
    match Recipients::of(stream) {
        Some(recipients) if is_post => {
            let name = Path::new(&program).file_name().unwrap_or(&program);
            let log = Log::new(&name.to_string_lossy(), Style::Gateway);
            let completed = settings_file::complete(&mut meta, &program);
            let program = Program::new(framing, &log, &meta, Some(recipients));
            program.finish(&meta, completed, Input::Gateway)
        }
        _ => {
            // The stream also writes to a file (joins and leaves). Exceeding the limit on the
            // size of files must be an error of that write, not a signal.
            let _ = SigSet::from(Signal::SIGXFSZ).thread_block();
            run_with(stream, Capabilities::SESSIONS)
        }
    }
}

impl Kind {
    /// Every setting that it reads.
    fn all_settings(&self) -> impl Iterator<Item = &'static Setting> {
        self.settings.iter().chain(COMMON).copied()
    }

    fn help(&self) -> String {
        format!(
            "{}
  --json   the input is a JSON object with event, a name, and data, any value.
           Default: the input is text; without a newline at its end it is the data

Under a web server the input is a POST: see SSE_PUBLISH_ALLOW.
Its settings are options too:
{}  -V, --version
  -h, --help

Exit codes: 0 done, 100 wrong option, setting or input, 111 error of the system.
",
            self.usage,
            options_help(self.all_settings())
        )
    }
}

/// The meaning of a command line.
enum Invocation {
    /// To publish.
    Post {
        /// Names and values of meta-variables.
        settings: Vec<(String, Vec<u8>)>,
        body: Vec<u8>,
    },
    /// To print a text.
    Print(String),
}

impl Invocation {
    /// The same with standard input as the body.
    fn with_input(self) -> Result<Self, lexopt::Error> {
        let Self::Post { settings, .. } = self else {
            return Ok(self);
        };
        let mut body = Vec::new();
        io::stdin()
            .lock()
            .take(TERMINAL_MAX_BYTES)
            .read_to_end(&mut body)
            .map_err(|error| format!("standard input: {error}"))?;
        // The newline that `echo` appends does not belong to the text.
        if body.ends_with(b"\n") {
            body.pop();
        }
        Ok(Self::Post { settings, body })
    }
}

/// The maximum that is read from standard input: more than any limit on a body.
const TERMINAL_MAX_BYTES: u64 = 17 << 20;

/// Reads a command line as a POST. Its user can write the file anyway, so anyone may publish
/// unless an option says otherwise.
fn read_arguments(
    kind: &Kind,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Invocation, lexopt::Error> {
    use lexopt::prelude::{Long, Short, Value};
    let mut parser = lexopt::Parser::from_args(arguments);
    let (mut place, mut media) = (None, "text/plain");
    let (argument_name, placeholder) = kind.argument;
    let mut settings = vec![
        ("REQUEST_METHOD".to_owned(), b"POST".to_vec()),
        ("SSE_PUBLISH_ALLOW".to_owned(), b"anyone".to_vec()),
    ];
    while let Some(argument) = parser.next()? {
        match argument {
            Long("json") => media = "application/json",
            Long("help") | Short('h') => return Ok(Invocation::Print(kind.help())),
            Long("version") | Short('V') => {
                let version = format!("sse-cgi {}\n", env!("CARGO_PKG_VERSION"));
                return Ok(Invocation::Print(version));
            }
            Long(name) => match setting_of(kind.all_settings(), name) {
                Some(setting) if setting.spec.name != argument_name => {
                    settings.push((setting.spec.name.to_owned(), parser.value()?.into_vec()));
                }
                Some(_) if place.is_none() => place = Some(parser.value()?),
                _ => return Err(argument.unexpected()),
            },
            Value(value) if place.is_none() => place = Some(value),
            other => return Err(other.unexpected()),
        }
    }
    let place = place.ok_or_else(|| format!("no {placeholder} is named"))?;
    settings.push((argument_name.to_owned(), place.into_vec()));
    settings.push(("CONTENT_TYPE".to_owned(), media.into()));
    Ok(Invocation::Post {
        settings,
        body: Vec::new(),
    })
}

/// The source of the body.
enum Input {
    /// A gateway; the body is read as it arrives.
    Gateway,
    /// Standard input of a terminal; it has been read whole.
    Terminal(Vec<u8>),
}

struct Program {
    framing: Framing,
    log: Rc<Log>,
    clock: Clock,
    /// The recipients of a POST; `None`: the stream's file.
    recipients: Option<Recipients>,
    engines: Engines,
}

impl Program {
    fn new(
        framing: Framing,
        log: &Log,
        meta: &MetaVariables,
        recipients: Option<Recipients>,
    ) -> Self {
        let label = match framing {
            Framing::Bare => Label::default(),
            _ => Label::of(meta),
        };
        keep_secrets(log, meta);
        Self {
            framing,
            log: Rc::new(log.for_request(&label)),
            clock: Clock::start(),
            recipients,
            engines: Engines::Absent,
        }
    }

    /// `completed`: the problem of the settings file, if there is one.
    fn finish(
        &self,
        meta: &MetaVariables,
        completed: Result<(), FileError>,
        input: Input,
    ) -> ExitCode {
        self.run(meta, completed, input).unwrap_or_else(|error| {
            self.log.line(Level::Error, &error.to_string());
            exit::system()
        })
    }

    fn run(
        &self,
        meta: &MetaVariables,
        completed: Result<(), FileError>,
        input: Input,
    ) -> io::Result<ExitCode> {
        // mini-httpd leaves an alarm set.
        alarm::cancel();
        // Exceeding a limit on the size of files must be an error of the write, not a signal.
        SigSet::from(Signal::SIGXFSZ).thread_block()?;
        let output = Output::stdout()?;
        if let Some(path) = Settings::log(meta) {
            self.log.open(&path);
        }
        let mut request = Request::from_meta(meta);
        let parsed = completed.map_err(|error| error.to_string()).and_then(|()| {
            let read = Settings::parse(meta, Lifetime::Hour);
            read.and_then(|read| Ok((read, Publishing::parse(meta)?)))
                .map_err(|error| error.to_string())
        });
        let ((settings, notices), (publishing, more)) = match parsed {
            Ok(parsed) => parsed,
            Err(error) => {
                self.log.line(Level::Error, &error);
                let reply = Replies::without_settings(&request).misconfigured();
                self.write(&output, &reply)?;
                body::discard(meta);
                return Ok(exit::usage());
            }
        };
        for notice in notices.iter().chain(&more) {
            self.log.line(Level::Warning, &notice.to_string());
        }
        if let Err(reply) = self.admit(meta, &mut request, &settings) {
            self.write(&output, &reply)?;
            body::discard(meta);
            return Ok(self.exit_code(reply.head.status));
        }
        let location = Rc::new(PublishLocation {
            settings,
            publishing,
            recipients: self.recipients,
            engines: self.engines.clone(),
            owner: 0,
        });
        let post = PostFields::from_meta(meta);
        let (reply, rest) = self.answer(&location, &request, &post, input);
        self.write(&output, &reply)?;
        if rest == Rest::Unwanted {
            body::discard(meta);
        }
        Ok(self.exit_code(reply.head.status))
    }

    /// Checks whether the client has access, if that is required.
    fn admit(
        &self,
        meta: &MetaVariables,
        request: &mut Request,
        settings: &Settings,
    ) -> Result<(), Reply> {
        // In a terminal there is no client, and a preflight cannot bring a link.
        if self.framing == Framing::Bare || request.method == Method::Options {
            return Ok(());
        }
        let now = self.clock.now();
        let replies = Replies::to(request, settings);
        match KeyFiles::default().admit(meta, &settings.access, Purpose::Publish, now) {
            Ok(admission) => {
                request.admission = admission;
                Ok(())
            }
            Err(AccessError::Refused(refusal)) => {
                self.log.line(Level::Warning, refusal.as_str());
                Err(replies.forbidden())
            }
            Err(AccessError::Setting(error)) => {
                self.log.line(Level::Error, &error.to_string());
                Err(replies.misconfigured())
            }
            Err(AccessError::Temporary(text)) => {
                self.log.line(Level::Warning, &text);
                Err(replies.unavailable())
            }
        }
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
        location: &Rc<PublishLocation>,
        request: &Request,
        post: &PostFields,
        input: Input,
    ) -> (Reply, Rest) {
        let mut handler =
            match PostHandler::begin(location, request, post, self.clock.now(), &self.log) {
                Ok(handler) => handler,
                Err(reply) => return (reply, Rest::Unwanted),
            };
        if let Input::Terminal(body) = &input {
            handler.take(body);
            handler.end();
        }
        let mut step = handler.at(self.clock.now());
        loop {
            match step {
                Step::Reply(reply) => return (reply, handler.rest()),
                Step::Add(addition) => {
                    step = handler.added(addition.run(), self.clock.now());
                    continue;
                }
                Step::Again { at } => {
                    std::thread::sleep(at.saturating_sub(self.clock.now().monotonic));
                }
                Step::Bytes { until } => self.receive(&mut handler, until),
                Step::Answer { until } => {
                    if let Engines::Only(entries) = &location.engines {
                        entries.wait(until.saturating_sub(self.clock.now().monotonic));
                    }
                }
                Step::Adding => {}
            }
            step = handler.at(self.clock.now());
        }
    }

    /// Waits for bytes of the body on standard input, and does not read beyond its end.
    fn receive(&self, handler: &mut PostHandler, until: Duration) {
        let stdin = io::stdin();
        let left = until.saturating_sub(self.clock.now().monotonic);
        // Rounded up: a wait that ends before the deadline would be repeated.
        let left_ms = left.as_micros().div_ceil(1_000).min(i32::MAX as u128) as i32;
        let timeout = PollTimeout::try_from(left_ms).unwrap_or(PollTimeout::ZERO);
        let mut readable = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        if matches!(poll(&mut readable, timeout), Ok(0) | Err(Errno::EINTR)) {
            return;
        }
        let mut buffer = vec![0; handler.wanted_bytes().min(64 << 10)];
        match nix::unistd::read(&stdin, &mut buffer) {
            Ok(count) if count > 0 => handler.take(&buffer[..count]),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // An input that cannot be read counts as ended.
            _ => handler.end(),
        }
    }

    fn write(&self, output: &Output, reply: &Reply) -> io::Result<()> {
        let mut bytes = self.framing.write(&reply.head, &clock::http_date());
        bytes.extend_from_slice(&reply.body);
        // The first bytes of a response always fit into the output's buffer.
        match output.write(&bytes) {
            Err(error) if !has_left(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::settings::TABLE;

    #[test]
    fn every_setting_of_publishing_is_an_option() {
        for (kind, stream) in [(&FILE, "publish"), (&ENGINE, "publish-redis")] {
            for setting in TABLE.iter().filter(|setting| setting.is_for(stream)) {
                let option = setting.option();
                let arguments = [&option, "value", "a.jsonl"].map(OsString::from);
                let arguments = match setting.spec.name {
                    name if name == kind.argument.0 => &arguments[..2],
                    _ => &arguments[..],
                };
                let read = read_arguments(kind, arguments.to_vec());
                let Ok(Invocation::Post { settings, .. }) = read else {
                    panic!("{option} is no option");
                };
                let is_pushed = settings
                    .iter()
                    .any(|(name, value)| name == setting.spec.name && value == b"value");
                assert!(is_pushed, "{option}");
                assert!(kind.help().contains(&format!("\n  {option} ")), "{option}");
            }
        }
    }
}

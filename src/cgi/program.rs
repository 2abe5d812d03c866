//! From `main` to a stream: the same for every program and every gateway.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

use super::check;
use super::serve::Server;
use super::streams;
use super::terminal::{self, Checking, CommandLine};
use crate::event::{Batch, Unavailable};
use crate::gateway::Framing;
use crate::request::settings::{FileError, SettingsFile};
use crate::request::{
    Decision, Head, Label, Lifetime, MetaVariables, Method, Purpose, Request, Settings, Status,
    WRONG_SETTING, carries_secret, decide, refuse_access,
};
use crate::source::{Host, Now, Opening, Stream};
use crate::store::host::{Capabilities, SystemHost};
use crate::store::key_file::{AccessError, KeyFiles};
use crate::store::settings_file;
use crate::stream::open::{Answered, open};
use crate::stream::{Delivery, StreamParams, Subscription};
use crate::system::body;
use crate::system::clock::{self, Clock};
use crate::system::exit;
use crate::system::log::{Level, Log, Style};
use crate::system::output::{self, Output, has_left};
use crate::system::signals::Signals;

/// The same for a stream of files or of time, and without FastCGI. Such a program is smaller by
/// a quarter, which matters because a server starts one for every connection. Its host has
/// neither programs nor sessions: `Host::start`, `Host::spool` and `Host::append` fail with
/// `Unsupported`.
#[must_use]
pub fn run_cgi(stream: &'static Stream) -> ExitCode {
    run_with(stream, Capabilities::FILES)
}

/// The same as [`run_cgi`], with the option `--check`. One program is enough to check the folder
/// of all: the check reads the table of every stream's settings, and is a fiftieth of a program.
#[must_use]
pub fn run_cgi_with_check(stream: &'static Stream) -> ExitCode {
    run(stream, Capabilities::FILES, Some(check::report), None)
}

/// The same as [`run_cgi`] for a stream that starts programs.
#[must_use]
pub fn run_cgi_with_programs(stream: &'static Stream) -> ExitCode {
    run_with(stream, Capabilities::PROGRAMS)
}

/// The same as [`run_cgi`] for a stream that an engine keeps.
#[must_use]
pub fn run_cgi_with_engines(stream: &'static Stream) -> ExitCode {
    run_with(stream, Capabilities::ENGINES)
}

/// The same as [`run_cgi`] for the stream of several streams, each of which is a section of the
/// settings file.
#[must_use]
pub fn run_cgi_with_streams(stream: &'static Stream) -> ExitCode {
    run(stream, Capabilities::FILES, None, Some(streams::select))
}

pub(crate) fn run_with(stream: &'static Stream, capabilities: Capabilities) -> ExitCode {
    run(stream, capabilities, None, None)
}

/// Checks a folder, by default the one of the program with this path, in this environment.
type Check = fn(&OsStr, Option<OsString>, &MetaVariables) -> io::Result<ExitCode>;

/// Chooses the streams of a request.
type Select = fn(&Given<'_>, &Settings, &mut Request, Now) -> Result<(), AccessError>;

/// What the streams of a request are chosen from.
pub(super) struct Given<'a> {
    pub(super) meta: &'a MetaVariables,
    /// Without the settings of the file.
    pub(super) environment: &'a MetaVariables,
    pub(super) file: Option<&'a SettingsFile>,
    /// Whether there is a client.
    pub(super) has_client: bool,
}

/// `check` and `select` are functions, so that programs without them do not link them.
fn run(
    stream: &'static Stream,
    capabilities: Capabilities,
    check: Option<Check>,
    select: Option<Select>,
) -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    let owned = |(name, value): (OsString, OsString)| (name.into_vec(), value.into_vec());
    let mut meta = MetaVariables::new(std::env::vars_os().map(owned).collect());
    let framing = Framing::of(&meta, &program);
    let name = Path::new(&program)
        .file_name()
        .unwrap_or(program.as_os_str());
    let style = if framing == Framing::Bare {
        Style::Terminal
    } else {
        Style::Gateway
    };
    let log = Log::new(&name.to_string_lossy(), style);
    // Under a gateway the client determines the arguments: a query without `=` becomes
    // arguments (RFC 3875 §4.4). So they are not read.
    if framing == Framing::Bare {
        let checking = match check {
            Some(_) => Checking::Offered,
            None => Checking::Absent,
        };
        match terminal::read(stream, checking, arguments) {
            CommandLine::Run(settings) => {
                let options = terminal::options_of(stream.all_settings(), &settings, &meta);
                log.call_settings(options);
                for (name, value) in settings {
                    meta.push(&name, &value);
                }
            }
            CommandLine::Print(text) => return finish(&log, output::print(&text)),
            CommandLine::Check(folder) => {
                let check = check.expect("`--check` is read only if it is offered");
                return finish(&log, check(&program, folder, &meta));
            }
            CommandLine::Wrong(problem) => {
                log.line(Level::Error, &problem);
                return exit::usage();
            }
        }
    }
    let clock = Clock::start();
    let environment = select.map(|_| meta.clone()).unwrap_or_default();
    let (completed, label) = match framing {
        Framing::Bare => (Ok(None), Label::default()),
        _ => {
            let completed = settings_file::complete_from(&mut meta, &program);
            (completed, Label::of(&meta))
        }
    };
    keep_secrets(&log, &meta);
    let log = Rc::new(log.for_request(&label));
    let program = Program {
        stream,
        framing,
        log: Rc::clone(&log),
        clock,
        capabilities,
        select,
        environment,
    };
    let code = finish(&log, program.answer(&meta, completed));
    if framing != Framing::Bare {
        body::discard(&meta);
    }
    code
}

/// fcgiwrap passes a program's stderr to nginx, which writes the whole request beside each line; so
/// do the servers that are made from it.
pub(super) fn keep_secrets(log: &Log, meta: &MetaVariables) {
    let server = meta.get("SERVER_SOFTWARE").last().unwrap_or_default();
    let is_nginx = ["nginx", "openresty", "tengine", "angie", "freenginx"]
        .iter()
        .any(|name| {
            let start = server.get(..name.len()).unwrap_or_default();
            start.eq_ignore_ascii_case(name.as_bytes())
        });
    if is_nginx && carries_secret(meta) {
        log.keep_from_stderr();
    }
}

/// The exit code of a result.
fn finish(log: &Log, result: io::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        log.line(Level::Error, &error.to_string());
        exit::system()
    })
}

struct Program {
    stream: &'static Stream,
    framing: Framing,
    log: Rc<Log>,
    clock: Clock,
    capabilities: Capabilities,
    select: Option<Select>,
    /// Without the settings of the file; for `select` only.
    environment: MetaVariables,
}

impl Program {
    /// `completed`: the settings file, if there is one, or its problem.
    fn answer(
        &self,
        meta: &MetaVariables,
        completed: Result<Option<SettingsFile>, FileError>,
    ) -> io::Result<ExitCode> {
        let signals = Signals::take()?;
        let output = Output::stdout()?;
        let lifetime = match self.framing {
            Framing::Bare => Lifetime::Unlimited,
            _ => Lifetime::Hour,
        };
        // The first setting that is read, so that problems with others go to this log.
        if let Some(path) = Settings::log(meta) {
            self.log.open(&path);
        }
        let file = match completed {
            Ok(file) => file,
            Err(error) => return Ok(self.refuse_setting(&output, meta, &error.to_string())),
        };
        let (settings, notices) = match Settings::parse(meta, lifetime) {
            Ok(parsed) => parsed,
            Err(error) => return Ok(self.refuse_setting(&output, meta, &error.to_string())),
        };
        for notice in notices {
            self.log.line(Level::Warning, &notice.to_string());
        }
        let mut request = Request::from_meta(meta);
        let delivery = self.delivery(&request);
        // In a terminal there is no client, and a preflight cannot bring a link.
        let has_client = self.framing != Framing::Bare;
        let now = self.clock.now();
        let admitted = match self.select {
            Some(select) => {
                let given = Given {
                    meta,
                    environment: &self.environment,
                    file: file.as_ref(),
                    has_client,
                };
                select(&given, &settings, &mut request, now)
            }
            None if has_client && request.method != Method::Options => KeyFiles::default()
                .admit(meta, &settings.access, Purpose::Read, now)
                .map(|admission| request.admission = admission),
            None => Ok(()),
        };
        if let Err(error) = admitted {
            match error {
                AccessError::Refused(refusal) => {
                    self.log.line(Level::Warning, refusal.as_str());
                    return self.end_with(&output, &refuse_access(&request, &settings));
                }
                AccessError::Setting(error) => {
                    return Ok(self.refuse_setting(&output, meta, &error.to_string()));
                }
                AccessError::Temporary(text) => {
                    self.log.line(Level::Warning, &text);
                    let Decision::Stream(head) = decide(&request, &settings) else {
                        let head = Head::new(Status::ServiceUnavailable);
                        return self.end_with(&output, &head);
                    };
                    let params = StreamParams::new(&request, &settings, delivery, fastrand::f64());
                    let reason = Unavailable::Restarting;
                    return self.come_back_later(&output, &head, params, reason);
                }
            }
        }
        let host = Rc::new(SystemHost::new(Rc::clone(&self.log), self.capabilities));
        let now = self.clock.now();
        let shared = Rc::clone(&host) as Rc<dyn Host>;
        let opening = Opening {
            settings: &settings,
            request: &request,
            now,
            host: &shared,
            live: None,
        };
        let answered = open(self.stream, &opening, delivery, fastrand::f64());
        let (head, source, gap, params) = match answered {
            Answered::Stream {
                head,
                source,
                gap,
                params,
            } => (head, source, gap, params),
            Answered::End(head) => return self.end_with(&output, &head),
            Answered::Mistaken(error) => {
                let problem = self.without_settings(meta, error.to_string());
                return Ok(self.refuse_setting(&output, meta, &problem));
            }
            Answered::Later {
                head,
                params,
                reason,
                trouble,
            } => {
                self.log.line(Level::Warning, &trouble);
                return self.come_back_later(&output, &head, params, reason);
            }
            Answered::HeadLater { head, trouble } => {
                self.log.line(Level::Warning, &trouble);
                return self.end_with(&output, &head);
            }
        };
        let mut batch = Batch::new();
        batch.head(&self.framing.write(&head, &clock::http_date()));
        let subscription = Subscription::new(source, gap, params, now);
        let server = Server {
            clock: self.clock,
            signals: &signals,
            output: &output,
            host: &host,
            changes: subscription.changes(),
            send_timeout: settings.send_timeout,
        };
        server.serve(subscription, batch)?;
        Ok(exit::done())
    }

    /// Adds the remedy for a server that passes no setting to its programs.
    fn without_settings(&self, meta: &MetaVariables, problem: String) -> String {
        let has_setting = meta.names().any(|name| name.starts_with(b"SSE_"));
        if has_setting || self.framing == Framing::Bare {
            return problem;
        }
        format!(
            "{problem}; the server passes no setting (suEXEC, for example), so write it into \
             .htsse beside this program"
        )
    }

    /// Apache passes an nph program's output to its HTTP/2 layer in blocks of about 40 kB, or
    /// when the program ends.
    fn delivery(&self, request: &Request) -> Delivery {
        match self.framing {
            Framing::NonParsed if request.multiplexed => Delivery::HeldBack,
            _ => Delivery::Immediate,
        }
    }

    fn end_with(&self, output: &Output, head: &Head) -> io::Result<ExitCode> {
        // It always fits: nothing else has been written to the output.
        match output.write(&self.framing.write(head, &clock::http_date())) {
            Ok(_) => Ok(exit::done()),
            Err(error) if has_left(&error) => Ok(exit::done()),
            Err(error) => Err(error),
        }
    }

    /// The client gets a 500, and the log the problem.
    fn refuse_setting(&self, output: &Output, meta: &MetaVariables, problem: &str) -> ExitCode {
        self.log.line(Level::Error, problem);
        let mut bytes = self
            .framing
            .write(&Head::wrong_setting(), &clock::http_date());
        let has_body = Request::from_meta(meta).method != Method::Head;
        if has_body && self.framing != Framing::Bare {
            bytes.extend_from_slice(WRONG_SETTING.as_bytes());
        }
        let _ = output.write(&bytes);
        exit::usage()
    }

    /// A temporary error. A status would end the client's `EventSource` permanently; so the
    /// response is a stream that reports the error and asks the client to reconnect.
    fn come_back_later(
        &self,
        output: &Output,
        head: &Head,
        params: StreamParams,
        reason: Unavailable,
    ) -> io::Result<ExitCode> {
        let mut batch = Batch::new();
        batch.head(&self.framing.write(head, &clock::http_date()));
        batch.come_again(reason, params.retry_ms.into());
        output.write(batch.as_bytes())?;
        Ok(match self.framing {
            Framing::Bare => exit::system(),
            _ => exit::done(),
        })
    }
}

//! From `main` to a stream: the same for every program and every gateway.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

use super::answering;
use super::body;
use super::clock::{self, Clock};
use super::exit;
use super::log::{Level, Log, Style};
use super::open::{Answered, open};
use super::output::{Output, has_left};
use super::serve::Server;
use super::server;
use super::signals::Signals;
use super::terminal::{self, Typed};
use super::world::{Abilities, Machine};
use crate::event::{Batch, Unavailable};
use crate::gateway::Framing;
use crate::request::{
    Head, Label, Lifetime, MetaVariables, Method, Request, Settings, WRONG_SETTING,
};
use crate::source::{Stream, World};
use crate::stream::{Delivery, Subscription, Terms};

/// Runs a program that serves one stream, in whichever way it was started: as nph-CGI,
/// as plain CGI, typed in a terminal, or as a FastCGI responder (with `--socket` or
/// `--listen`, or where descriptor 0 is a listening socket). It is all that a `main` has to
/// call.
///
/// The exit code is 0 when the stream ended or its reader left, 100 for a wrong option
/// or setting, 111 when the system refused something.
#[must_use]
pub fn run(stream: &'static Stream) -> ExitCode {
    // A responder of this program that serves sessions starts it with an option of its own.
    if let Some(code) = answering::run_if_asked() {
        return code;
    }
    let is_typed = std::env::var_os("GATEWAY_INTERFACE").is_none();
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if is_typed && (server::asks_for_one(&arguments) || server::is_inherited()) {
        let only: &'static Stream = stream;
        return server::run_responder(Vec::leak(vec![only]));
    }
    run_with(stream, Abilities::ALL)
}

/// The same for a stream that follows files or time, and without FastCGI, which makes a
/// program smaller by a quarter: what a server starts for every connection should be small.
/// Its world has neither programs nor sessions: `World::start`, `World::spool` and
/// `World::append` fail with `Unsupported`.
#[must_use]
pub fn run_cgi(stream: &'static Stream) -> ExitCode {
    run_with(stream, Abilities::FILES)
}

/// The same as [`run_cgi`] for a stream that runs programs.
#[must_use]
pub fn run_cgi_with_programs(stream: &'static Stream) -> ExitCode {
    run_with(stream, Abilities::PROGRAMS)
}

pub(super) fn run_with(stream: &'static Stream, abilities: Abilities) -> ExitCode {
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
    // Under a gateway the arguments are the client's: a query without `=` becomes
    // arguments (RFC 3875 §4.4), so they are not even looked at.
    if framing == Framing::Bare {
        match terminal::read(stream, arguments) {
            Typed::Settings(settings) => {
                log.call_settings(terminal::options_of(stream, &settings, &meta));
                for (name, value) in settings {
                    meta.push(&name, &value);
                }
            }
            Typed::Question { answer } => return finish(&log, print(&answer)),
            Typed::Wrong(problem) => {
                log.line(Level::Error, &problem);
                return exit::usage();
            }
        }
    }
    let clock = Clock::start();
    let label = match framing {
        Framing::Bare => Label::default(),
        _ => Label::of(&meta),
    };
    let log = Rc::new(log.for_request(&label));
    let program = Program {
        stream,
        framing,
        log: Rc::clone(&log),
        clock,
        abilities,
    };
    let code = finish(&log, program.answer(&meta));
    if framing != Framing::Bare {
        body::discard(&meta);
    }
    code
}

/// The exit code of what was done.
fn finish(log: &Log, result: io::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        log.line(Level::Error, &error.to_string());
        exit::system()
    })
}

/// Answers a question in a terminal. (`print!` panics when it cannot.)
pub(super) fn print(text: &str) -> io::Result<ExitCode> {
    let mut stdout = io::stdout();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if !has_left(&error) => Err(error),
        _ => Ok(exit::done()),
    }
}

struct Program {
    stream: &'static Stream,
    framing: Framing,
    log: Rc<Log>,
    clock: Clock,
    abilities: Abilities,
}

impl Program {
    fn answer(&self, meta: &MetaVariables) -> io::Result<ExitCode> {
        let signals = Signals::take()?;
        let output = Output::stdout()?;
        let lifetime = match self.framing {
            Framing::Bare => Lifetime::Unlimited,
            _ => Lifetime::Hour,
        };
        // First of all settings, so that it is said there what is wrong with another.
        if let Some(path) = Settings::log(meta) {
            self.log.open(&path);
        }
        let (settings, notices) = match Settings::parse(meta, lifetime) {
            Ok(parsed) => parsed,
            Err(error) => return Ok(self.refuse_setting(&output, meta, &error.to_string())),
        };
        for notice in notices {
            self.log.line(Level::Warning, &notice.to_string());
        }
        let request = Request::from_meta(meta);
        let machine = Rc::new(Machine::new(Rc::clone(&self.log), self.abilities));
        let now = self.clock.now();
        let world = Rc::clone(&machine) as Rc<dyn World>;
        let delivery = self.delivery(&request);
        let answered = open(
            self.stream,
            &request,
            &settings,
            delivery,
            now,
            &world,
            None,
        );
        let (head, source, gap, terms) = match answered {
            Answered::Stream {
                head,
                source,
                gap,
                terms,
            } => (head, source, gap, terms),
            Answered::End(head) => return self.end_with(&output, &head),
            Answered::Mistaken(error) => {
                return Ok(self.refuse_setting(&output, meta, &error.to_string()));
            }
            Answered::Later {
                head,
                terms,
                reason,
                trouble,
            } => {
                self.log.line(Level::Warning, &trouble);
                return self.come_back_later(&output, &head, terms, reason);
            }
            Answered::HeadLater { head, trouble } => {
                self.log.line(Level::Warning, &trouble);
                return self.end_with(&output, &head);
            }
        };
        let mut batch = Batch::new();
        batch.head(&self.framing.write(&head, &clock::http_date()));
        let subscription = Subscription::new(source, gap, terms, now);
        let server = Server {
            clock: self.clock,
            signals: &signals,
            output: &output,
            machine: &machine,
            changes: subscription.changes(),
            send_timeout: settings.send_timeout,
        };
        server.serve(subscription, batch)?;
        Ok(exit::done())
    }

    /// Apache hands an nph program's output to its HTTP/2 layer in blocks of about
    /// 40 kB, or when the program ends.
    fn delivery(&self, request: &Request) -> Delivery {
        match self.framing {
            Framing::NonParsed if request.multiplexed => Delivery::HeldBack,
            _ => Delivery::Immediate,
        }
    }

    fn end_with(&self, output: &Output, head: &Head) -> io::Result<ExitCode> {
        // Too short to find no room: the reader has been sent nothing yet.
        match output.write(&self.framing.write(head, &clock::http_date())) {
            Ok(_) => Ok(exit::done()),
            Err(error) if has_left(&error) => Ok(exit::done()),
            Err(error) => Err(error),
        }
    }

    /// The client learns that something is wrong, and the log what.
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

    /// Trouble that passes is no status, which would end the client's `EventSource` for
    /// good: it is a stream that says so and asks to be opened again.
    fn come_back_later(
        &self,
        output: &Output,
        head: &Head,
        terms: Terms,
        reason: Unavailable,
    ) -> io::Result<ExitCode> {
        let mut batch = Batch::new();
        batch.head(&self.framing.write(head, &clock::http_date()));
        batch.come_again(reason, terms.retry_ms);
        output.write(batch.as_bytes())?;
        Ok(match self.framing {
            Framing::Bare => exit::system(),
            _ => exit::done(),
        })
    }
}

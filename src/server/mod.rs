//! The server for many subscribers: one process, one epoll loop.
//!
//! ```text
//!  accept ─► receive ─► request ─► catch_up ⇄ fan_out ─► lifecycle
//!                          └─────► post ───────────────────┘
//! ```
//!
//! [`event_loop`] waits and executes actions; it decides nothing. [`connection`] is one
//! peer, with its protocol behind [`crate::gateway::Protocol`]: nothing here names a
//! protocol but [`accept`], which creates it. Channels and subscribers are in
//! [`crate::stream`], without descriptors.

mod accept;
mod catch_up;
mod configuration;
mod connection;
mod connections;
mod event_loop;
mod fan_out;
mod http;
mod lifecycle;
mod listen;
mod notify;
mod options;
mod poller;
mod post;
mod receive;
mod request;
mod schedule;
mod shared_pages;
mod shutdown;
mod timers;
mod token;
mod workers;

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

use crate::request::{MetaVariables, Settings};
use crate::source::Stream;
use crate::store::{answering, settings_file};
use crate::system::beneath;
use crate::system::environment;
use crate::system::exit;
use crate::system::log::{Level, Log, Style};
use crate::system::output::print;
use crate::system::privilege;
use crate::system::signals::Signals;
use configuration::{Configuration, Remarks};
use event_loop::{Parts, Server};
use listen::{ListenError, Listener, Sockets};
use options::{CommandsOption, Invocation, ListenAddress, Options};
use workers::{Assignment, Supervisor, Worker};

pub use http::run_httpd;
pub(crate) use listen::is_inherited;
pub(crate) use options::asks_for_one;

/// Serves these streams to web servers over FastCGI, as the command line specifies. It is all
/// that a `main` has to call.
///
/// The settings of a location select its stream: `SSE_STREAM`, or the base name of
/// `SCRIPT_NAME`. A program with one stream serves that everywhere.
///
/// The exit code is 0 after a signal to end, 100 for a wrong option or setting, 111 for an
/// error of the system.
#[must_use]
pub fn run_responder(streams: &'static [&'static Stream]) -> ExitCode {
    if let Some(code) = answering::run_if_asked() {
        return code;
    }
    let (name, mut arguments) = command_line("sse-fcgi");
    let assignment = Assignment::take(&mut arguments);
    let log = Rc::new(Log::new(&name, Style::Process));
    let options = match options::read(&name, arguments) {
        Invocation::Serve(mut options) => {
            options.assignment = assignment;
            options
        }
        Invocation::Print(text) => {
            return print(&text).unwrap_or_else(|_| exit::system());
        }
        Invocation::Check(path) => return check(streams, &path, CommandsOption::Absent),
        Invocation::Wrong(problem) => {
            log.startup_error(&problem);
            return exit::usage();
        }
    };
    serve(streams, &log, *options, None, |_| ())
}

/// The name of this program, and its arguments.
fn command_line(usual_name: &str) -> (String, Vec<OsString>) {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    let name = std::path::Path::new(&program).file_name().map_or_else(
        || usual_name.into(),
        |name| name.to_string_lossy().into_owned(),
    );
    (name, arguments.collect())
}

/// Serves until a signal asks for the end. `started` is called once it listens, and signals
/// are blocked for threads that it starts. Workers find standard input in `stdin_folder`.
fn serve(
    streams: &'static [&'static Stream],
    log: &Rc<Log>,
    mut options: Options,
    stdin_folder: Option<&Path>,
    started: impl FnOnce(&[&Listener]),
) -> ExitCode {
    if let Err(problem) = privilege::check(options.user.as_ref(), options.may_be_root) {
        log.startup_error(&problem);
        return exit::usage();
    }
    if let Some(assignment) = options.assignment.take() {
        return serve_as_worker(streams, log, options, &assignment);
    }
    // What has to be read again at SIGHUP is read as the user who will do that.
    let read = || {
        let file = options.config.as_deref();
        let bytes = file.map(settings_file::read_bytes).transpose();
        let bytes = bytes.map_err(|error| vec![error.to_string()])?;
        let bytes = bytes.map(|(_, bytes)| bytes);
        let read = configure(streams, log, &options, bytes.as_deref())?;
        Ok((read, bytes))
    };
    let wrong = |problems: Vec<String>| {
        for problem in problems {
            log.startup_error(&problem);
        }
        exit::usage()
    };
    let mut configured = match options.user.is_none().then(read).transpose() {
        Ok(configured) => configured,
        Err(problems) => return wrong(problems),
    };
    if let Err(error) = Signals::hold() {
        log.startup_error(&format!("signals: {error}"));
        return exit::system();
    }
    let is_systemd_s = std::env::var_os("LISTEN_FDS").is_some();
    let sockets = match Sockets::open(&options.places, options.workers) {
        Ok(sockets) => sockets,
        Err(ListenError::Usage(problem)) => {
            log.startup_error(&problem);
            return exit::usage();
        }
        Err(ListenError::System(problem)) => {
            log.startup_error(&problem);
            return exit::system();
        }
    };
    if options.site.is_none() && sockets.count() > 1 {
        // Whoever connected to the others would wait for ever.
        let text = "LISTEN_FDS: more than one socket; write one ListenStream= for a service";
        log.startup_error(text);
        return exit::usage();
    }
    if let Some(user) = &options.user {
        if let Err(problem) = privilege::become_account(user) {
            log.startup_error(&problem);
            return exit::system();
        }
        environment::belongs_to(user);
        configured = match read() {
            Ok(configured) => Some(configured),
            Err(problems) => return wrong(problems),
        };
    }
    if let Err(problem) = beneath::confine(&options.beneath) {
        log.startup_error(&problem);
        return exit::usage();
    }
    let is_inherited = matches!(options.places[..], [ListenAddress::Inherited]);
    let has_web_server_s_stderr = is_inherited && !is_systemd_s;
    if has_web_server_s_stderr {
        log.stderr_is_the_web_server_s();
    }
    let Some(((configuration, remarks), file)) = configured else {
        return exit::system();
    };
    for remark in &remarks.0 {
        log.line(Level::Warning, remark);
    }
    if options.workers > 1 {
        // Each worker opens it, and would say the same.
        let access_log = options.access_log.as_ref();
        if let Err(error) = access_log.map_or(Ok(()), http::AccessLog::check) {
            return finish(log, Err(error));
        }
        let configuration = RefCell::new(configuration);
        return workers::supervise(
            Supervisor {
                log,
                workers: options.workers,
                sockets,
                drain: options.drain,
                file,
                has_web_server_s_stderr,
                stdin_folder: stdin_folder.map(Path::to_owned),
                reload: &|| shutdown::read_for_workers(&configuration, log, streams),
            },
            started,
        );
    }
    let parts = Parts {
        streams,
        options,
        configuration,
        listeners: sockets.into_shared(),
        log: Rc::clone(log),
        worker: None,
    };
    let result = Server::new(parts).and_then(|server| {
        let listeners: Vec<&Listener> = server.acceptor.listeners().iter().collect();
        started(&listeners);
        server.run()
    });
    finish(log, result)
}

/// Checks the settings, and opens the log that they name.
fn configure(
    streams: &'static [&'static Stream],
    log: &Log,
    options: &Options,
    file: Option<&[u8]>,
) -> Result<(Configuration, Remarks), Vec<String>> {
    let environment = own_environment();
    let own_log = Settings::log(&environment);
    if let Some(path) = &own_log {
        log.open(path);
    }
    let path = options.config.as_deref();
    let read = Configuration::of_bytes(environment, path, file, streams, options.commands)?;
    match Settings::log(read.0.process()) {
        Some(path) if own_log.as_ref() != Some(&path) => log.open(&path),
        _ => {}
    }
    Ok(read)
}

/// Serves as one of several processes: the supervisor has bound the sockets, become the user of
/// `--user`, and checked the settings.
fn serve_as_worker(
    streams: &'static [&'static Stream],
    log: &Rc<Log>,
    options: Options,
    assignment: &Assignment,
) -> ExitCode {
    if let Some(user) = &options.user {
        environment::belongs_to(user);
    }
    if let Err(problem) = beneath::confine(&options.beneath) {
        log.startup_error(&problem);
        return exit::usage();
    }
    if assignment.has_web_server_s_stderr {
        log.stderr_is_the_web_server_s();
    }
    let (worker, listeners, file) = match Worker::inherit(assignment) {
        Ok(inherited) => inherited,
        Err(error) => {
            log.startup_error(&error.to_string());
            return exit::usage();
        }
    };
    let configuration = match configure(streams, log, &options, file.as_deref()) {
        Ok((configuration, _)) => configuration,
        Err(problems) => {
            for problem in problems {
                log.startup_error(&problem);
            }
            return exit::usage();
        }
    };
    let parts = Parts {
        streams,
        options,
        configuration,
        listeners,
        log: Rc::clone(log),
        worker: Some(worker),
    };
    finish(log, Server::new(parts).and_then(Server::run))
}

fn own_environment() -> MetaVariables {
    let owned = |(name, value): (OsString, OsString)| (name.into_vec(), value.into_vec());
    MetaVariables::new(std::env::vars_os().map(owned).collect())
}

/// Says what is wrong with a settings file, for scripts and service managers.
fn check(streams: &[&'static Stream], file: &Path, option: CommandsOption) -> ExitCode {
    let name = file.display();
    let read = Configuration::read(own_environment(), Some(file), streams, option);
    let (said, code) = match read {
        Ok((configuration, remarks)) => {
            for remark in remarks.0 {
                let _ = writeln!(io::stderr(), "warning: {remark}");
            }
            let sections = configuration.sections();
            (
                format!("{name}: no mistake; sections: {sections}\n"),
                exit::done(),
            )
        }
        Err(problems) => {
            for problem in &problems {
                let _ = writeln!(io::stderr(), "error: {problem}");
            }
            (
                format!("{name}: mistakes: {}\n", problems.len()),
                exit::usage(),
            )
        }
    };
    print(&said).map_or_else(|_| exit::system(), |_| code)
}

fn finish(log: &Log, result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => exit::done(),
        Err(error) => {
            log.startup_error(&error.to_string());
            exit::system()
        }
    }
}

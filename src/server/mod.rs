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
mod connection;
mod connections;
mod event_loop;
mod fan_out;
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

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::process::ExitCode;
use std::rc::Rc;

use crate::request::{
    Commands, Lifetime, MetaVariables, Notice, Publishing, Settings, subscribers_max,
};
use crate::source::Stream;
use crate::store::answering;
use crate::system::beneath;
use crate::system::environment;
use crate::system::exit;
use crate::system::log::{Level, Log, Style};
use crate::system::output::print;
use crate::system::privilege;
use event_loop::{Parts, Server};
use listen::{ListenError, Listener};
use options::{CommandsOption, Invocation, ListenAddress};

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
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    let name = std::path::Path::new(&program).file_name().map_or_else(
        || "sse-fcgi".into(),
        |name| name.to_string_lossy().into_owned(),
    );
    let log = Rc::new(Log::new(&name, Style::Process));
    let options = match options::read(&name, arguments.collect()) {
        Invocation::Serve(options) => options,
        Invocation::Print(text) => {
            return print(&text).unwrap_or_else(|_| exit::system());
        }
        Invocation::Wrong(problem) => {
            log.startup_error(&problem);
            return exit::usage();
        }
    };
    if let Err(problem) = privilege::check(options.user.as_ref(), options.may_be_root) {
        log.startup_error(&problem);
        return exit::usage();
    }
    let owned = |(name, value): (OsString, OsString)| (name.into_vec(), value.into_vec());
    let defaults = MetaVariables::new(std::env::vars_os().map(owned).collect());
    let open_log = || {
        if let Some(path) = Settings::log(&defaults) {
            log.open(&path);
        }
    };
    if options.user.is_none() {
        open_log();
    }
    let commands = match Commands::of_process(&defaults) {
        Ok(_) if options.commands == CommandsOption::Allowed => Commands::Any,
        Ok(commands) => commands,
        Err(error) => {
            log.startup_error(&error.to_string());
            return exit::usage();
        }
    };
    let (subscribers_max, mut notices) = match subscribers_max(&defaults) {
        Ok(read) => read,
        Err(error) => {
            log.startup_error(&error.to_string());
            return exit::usage();
        }
    };
    let is_systemd_s = std::env::var_os("LISTEN_FDS").is_some();
    let listener = match Listener::open(&options.place) {
        Ok(listener) => listener,
        Err(ListenError::Usage(problem)) => {
            log.startup_error(&problem);
            return exit::usage();
        }
        Err(ListenError::System(problem)) => {
            log.startup_error(&problem);
            return exit::system();
        }
    };
    if let Some(user) = &options.user {
        if let Err(problem) = privilege::become_account(user) {
            log.startup_error(&problem);
            return exit::system();
        }
        environment::belongs_to(user);
        // It is opened as the user who will reopen it.
        open_log();
    }
    if let Err(problem) = beneath::confine(&options.beneath) {
        log.startup_error(&problem);
        return exit::usage();
    }
    if matches!(options.place, ListenAddress::Inherited) && !is_systemd_s {
        log.stderr_is_the_web_server_s();
    }
    notices.extend(notices_of(&defaults, &log));
    for notice in &notices {
        log.line(Level::Warning, &notice.to_string());
    }
    let parts = Parts {
        streams,
        options,
        commands,
        defaults,
        notices,
        subscribers_max,
        listener,
        log: Rc::clone(&log),
    };
    finish(&log, Server::new(parts).and_then(Server::run))
}

/// The notices about the settings of the environment, which apply to all locations. An invalid
/// one does not end the process: a location may override it.
fn notices_of(defaults: &MetaVariables, log: &Log) -> Vec<Notice> {
    let settings = Settings::parse(defaults, Lifetime::Unlimited);
    let publishing = Publishing::parse(defaults);
    let mut notices = Vec::new();
    for read in [
        settings.map(|(_, notices)| notices),
        publishing.map(|(_, notices)| notices),
    ] {
        match read {
            Ok(read) => notices.extend(read),
            Err(error) => log.line(
                Level::Warning,
                &format!("{error}; requests get a 500 unless their location sets it"),
            ),
        }
    }
    notices
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

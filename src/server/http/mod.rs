//! Serving without a web server: `sse-httpd`. The loop is the one of the responder; here is
//! what else it needs: its command line, what is served at which path, and the page.

mod access_log;
mod hosts;
mod options;
mod page;
mod site;
mod stdin;

use std::process::ExitCode;
use std::rc::Rc;

use crate::source::Stream;
use crate::store::answering;
use crate::system::exit;
use crate::system::log::{Level, Log, Style};
use crate::system::output::print;
use options::Invocation;
use stdin::StdinFile;

use super::options::CommandsOption;
use super::workers::Assignment;

pub(super) use access_log::AccessLog;
pub(super) use site::{Routed, Site, no_such_stream};

/// Serves these streams over HTTP/1.1, as the command line says. It is all that a `main` has
/// to call.
///
/// The exit code is 0 when a signal asked for the end, 100 for a wrong option or setting,
/// 111 when the system refused something.
#[must_use]
pub fn run_httpd(streams: &'static [&'static Stream]) -> ExitCode {
    if let Some(code) = answering::run_if_asked() {
        return code;
    }
    let (name, mut arguments) = super::command_line("sse-httpd");
    let assignment = Assignment::take(&mut arguments);
    let is_worker = assignment.is_some();
    let log = Rc::new(Log::new(&name, Style::Process));
    let serving = match options::read(&name, arguments, assignment) {
        Invocation::Serve(serving) => *serving,
        Invocation::Check(path) => {
            return super::check(streams, &path, CommandsOption::Allowed);
        }
        Invocation::Print(text) => return print(&text).unwrap_or_else(|_| exit::system()),
        Invocation::Wrong(problem) => {
            log.startup_error(&problem);
            return exit::usage();
        }
    };
    for name in serving.missing.iter().filter(|_| !is_worker) {
        let text = format!("{name}: no such file; its stream begins when there is one");
        log.line(Level::Warning, &text);
    }
    // Kept until the end: it removes what it has made.
    let stdin = serving.stdin;
    let folder = stdin.as_ref().map(StdinFile::folder);
    super::serve(streams, &log, serving.options, folder, |listeners| {
        if let Some(stdin) = &stdin {
            stdin.fill();
        }
        let addresses = listeners.iter().map(|listener| {
            let address = listener.tcp_address().map(options::url);
            address.unwrap_or_else(|| listener.address())
        });
        let text: String = addresses.map(|address| format!("{address}\n")).collect();
        // Who started us without a stdout knows the address.
        let _ = print(&text);
    })
}

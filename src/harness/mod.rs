//! `sse-harness`: the local server that runs the streams without an installed web server.
//!
//! It serves pages from one folder and runs the programs of another, as Apache's `mod_cgid`
//! does, including its less welcome habits (a query that becomes arguments, one socket for
//! stdin and stdout, SIGTERM to the program of a client that has disconnected). It is for the
//! user's own machine: no TLS, no passwords, no access rules, and no HTTP/2.
//!
//! ```text
//! options ─> server ─> connection ─> exchange ─┬─> page       (a file of --web)
//!                          ▲         (target,  ├─> cgi ─────> environment
//!                          │          route)   │    ├──────> program (one process, its end)
//!                          ├── raw bytes (nph-) ────┘            │
//!                          │                   └─> fastcgi ─> responder (one for all)
//!                          │                         │           │
//!                          └── response <── parsed (head) <──────┘
//! ```
//!
//! A thread serves each connection, and a thread supervises each process: the programs do the
//! work, and there are few clients.
//!
//! Pure: `target`, `route`, `environment`, `head`, `settings`, `options`, and of `fastcgi`
//! `record`. These use the system: `page` (files), `child`, `program` and `responder`
//! (processes), `connection`, `response`, `ready`, `call` and `server` (sockets).
//!
//! It is the counterpart of a gateway. Requests are parsed by [`crate::gateway::http`], as in
//! `sse-httpd`. Its responses are its own, because a program may choose any status and framing,
//! and so is its FastCGI code, so that tests with it find mistakes in that of the layers.

mod access;
mod cgi;
mod child;
mod connection;
mod environment;
mod exchange;
mod fastcgi;
mod head;
mod options;
mod page;
mod parsed;
mod program;
mod ready;
mod response;
mod route;
mod server;
mod settings;
mod site;
mod target;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use options::Command;

/// The name of the server, in `Server:` and in `SERVER_SOFTWARE`.
const SOFTWARE: &str = concat!("sse-harness/", env!("CARGO_PKG_VERSION"));

const EXIT_USAGE: u8 = 100;
const EXIT_SYSTEM: u8 = 111;

/// Runs the server with these arguments (without the program's name) until SIGINT or SIGTERM.
///
/// Exit codes: 0 done, 100 invalid arguments, 111 an error of the system.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match options::parse(arguments) {
        Ok(Command::Help) => print(options::HELP),
        Ok(Command::Version) => print(concat!("sse-harness ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Command::Serve(options)) => match server::run(*options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(EXIT_SYSTEM, &error.to_string()),
        },
        Err(error) => fail(EXIT_USAGE, &format!("{error}\ntry sse-harness --help")),
    }
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(EXIT_SYSTEM),
    }
}

fn fail(code: u8, text: &str) -> ExitCode {
    note(format_args!("{text}"));
    ExitCode::from(code)
}

/// Writes one line to stderr. A closed terminal must not end the server, as `eprintln!` would.
fn note(text: std::fmt::Arguments) {
    // One write: whoever reads the log finds whole lines.
    let line = format!("sse-harness: {text}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

//! `nph-command.cgi`, `command.cgi`, and `nph-command` in a terminal.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    sse_cgi::run_cgi_with_programs(&sse_cgi::source::command::STREAM)
}

//! `nph-countdown.cgi`, `countdown.cgi`, and `nph-countdown` in a terminal.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    sse_cgi::run_cgi(&sse_cgi::source::countdown::STREAM)
}

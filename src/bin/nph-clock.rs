//! `nph-clock.cgi`, `clock.cgi`, and `nph-clock` in a terminal.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    sse_cgi::run_cgi(&sse_cgi::source::clock::STREAM)
}

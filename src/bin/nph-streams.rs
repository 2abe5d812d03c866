//! `nph-streams.cgi`, `streams.cgi`, and `nph-streams` in a terminal.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    sse_cgi::run_cgi_with_streams(&sse_cgi::source::several::FILES)
}

//! `nph-tail.cgi`, `tail.cgi`, and `nph-tail` in a terminal.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    sse_cgi::run_cgi_with_check(&sse_cgi::source::tail::STREAM)
}

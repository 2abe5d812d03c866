//! `nph-script.cgi`, `script.cgi`, and `nph-script` in a terminal.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    sse_cgi::run_cgi(&sse_cgi::source::script::STREAM)
}

//! `publish.cgi`, `nph-publish.cgi`, and `publish` in a terminal.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    sse_cgi::run_publish()
}

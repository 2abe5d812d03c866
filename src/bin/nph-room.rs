//! `nph-room.cgi`, `room.cgi`, and `nph-room` in a terminal.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    sse_cgi::run_two_way(&sse_cgi::source::room::STREAM)
}

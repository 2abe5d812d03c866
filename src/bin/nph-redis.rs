//! `nph-redis.cgi`, `redis.cgi`, and `nph-redis` in a terminal.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    sse_cgi::run_cgi_with_engines(&sse_cgi::source::redis::STREAM)
}

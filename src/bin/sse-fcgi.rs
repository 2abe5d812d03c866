//! `sse-fcgi`: every stream, as one FastCGI responder.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    sse_cgi::run_responder(&sse_cgi::source::STREAMS)
}

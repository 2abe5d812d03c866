//! `sse-httpd`: every stream over HTTP/1.1, without a web server.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    sse_cgi::run_httpd(&sse_cgi::source::STREAMS)
}

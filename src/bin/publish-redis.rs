//! `publish-redis.cgi`, `nph-publish-redis.cgi`, and `publish-redis` in a terminal.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    sse_cgi::run_publish_to_engine()
}

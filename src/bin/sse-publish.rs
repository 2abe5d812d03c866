//! `sse-publish`: publishes from scripts and cron; see `sse_cgi::clients`.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    sse_cgi::clients::publish()
}

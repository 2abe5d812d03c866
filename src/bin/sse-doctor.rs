//! `sse-doctor`: diagnoses a deployment from the client's side; see `sse_cgi::clients`.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    sse_cgi::clients::doctor()
}

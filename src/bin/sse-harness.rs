//! The local server for trying streams out; see `sse_cgi::harness`.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    sse_cgi::harness::main(std::env::args_os().skip(1))
}

//! Runs a command beside an Apache that is set up as in the Apache tests, for checks that are
//! not written in Rust:
//!
//!     cargo test --test with_apache -- COMMAND ARGUMENT...
//!
//! The command finds the server in its environment (tests/browser/site.js documents the
//! variables) and its exit code is used. Apache and every program that it started have ended
//! when this ends.

mod servers;
mod support;

use std::process::{Command, ExitCode};

use servers::apache::{Apache, Mpm};
use support::folder::append;

/// A browser with many tabs holds many streams, and each needs a worker.
const WORKERS: u32 = 100;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("usage: cargo test --test with_apache -- COMMAND [ARGUMENT]...");
        return ExitCode::from(100);
    };
    let apache = Apache::with(Mpm::EventWithCgid)
        .with_pages()
        .workers(WORKERS)
        .start();
    append(&apache.tail_file(), "");
    let status = Command::new(&program)
        .args(arguments)
        .env(
            "SSE_TEST_BASE",
            format!("http://127.0.0.1:{}/", apache.port()),
        )
        .env("SSE_TEST_LOG", apache.tail_file())
        .env("SSE_TEST_CGI_BIN", apache.path("cgi-bin"))
        .status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => {
            eprintln!("{}", apache.logs());
            ExitCode::from(
                status
                    .code()
                    .and_then(|code| u8::try_from(code).ok())
                    .unwrap_or(1),
            )
        }
        Err(error) => {
            eprintln!("{}: {error}", program.display());
            ExitCode::from(111)
        }
    }
}

//! `sse-publish`: publishes messages for scripts and cron.

mod options;
mod record;
mod send;

use std::process::ExitCode;

use super::exit::Exit;
use super::{arguments, note, print};
use options::Command;

/// Runs `sse-publish` with the arguments of the process.
///
/// Exit codes: 0 published, 22 the server refused, 100 wrong usage, 111 an error of the system,
/// the network or the server that may be temporary.
#[must_use]
pub fn main() -> ExitCode {
    let options = match options::parse(arguments()) {
        Ok(Command::Help) => return print(options::HELP).into(),
        Ok(Command::Version) => {
            return print(concat!("sse-publish ", env!("CARGO_PKG_VERSION"), "\n")).into();
        }
        Ok(Command::Publish(options)) => options,
        Err(error) => {
            note("sse-publish", &format!("{error}\ntry sse-publish --help"));
            return Exit::Usage.into();
        }
    };
    match send::run(&options) {
        Ok(()) => Exit::Done.into(),
        Err(failure) => {
            note("sse-publish", &failure.text);
            failure.exit.into()
        }
    }
}

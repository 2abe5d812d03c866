//! `sse-cat`: reads a stream for scripts and cron.

mod answer;
mod delivery;
mod ending;
mod gap;
mod options;
pub(super) mod parser;
mod reading;
pub(super) mod redirect;
mod state;

use std::process::ExitCode;

use super::exit::Exit;
use super::{arguments, note, print};
use ending::Why;
use options::Command;
use reading::End;

/// Runs `sse-cat` with the arguments of the process.
///
/// Exit codes: 0 done, 1 the command failed, 22 the server refused (or sent a login page), 100
/// wrong usage, 111 an error of the system or the network, 124 the time limit was reached
/// before the end. After SIGINT or SIGTERM it ends by that signal.
#[must_use]
pub fn main() -> ExitCode {
    let options = match options::parse(arguments()) {
        Ok(Command::Help) => return print(options::HELP).into(),
        Ok(Command::Version) => {
            return print(concat!("sse-cat ", env!("CARGO_PKG_VERSION"), "\n")).into();
        }
        Ok(Command::Read(options)) => options,
        Err(error) => {
            note("sse-cat", &format!("{error}\ntry sse-cat --help"));
            return Exit::Usage.into();
        }
    };
    match reading::run(&options) {
        Ok(End::Over | End::Outside(Why::ReaderLeft)) => Exit::Done.into(),
        Ok(End::Outside(Why::Signal(signal))) => ending::die(signal),
        Err(failure) => {
            note("sse-cat", &failure.text);
            failure.exit.into()
        }
    }
}

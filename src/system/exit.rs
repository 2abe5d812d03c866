//! Exit codes, in one place: those of D. J. Bernstein's and skarnet's tools.

use std::process::ExitCode;

/// Done, also when the reader left.
pub(crate) fn done() -> ExitCode {
    ExitCode::SUCCESS
}

/// Wrong usage: an option, or a setting.
pub(crate) fn usage() -> ExitCode {
    ExitCode::from(100)
}

/// The system refused something that has to work.
pub(crate) fn system() -> ExitCode {
    ExitCode::from(111)
}

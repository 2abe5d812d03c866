//! Exit codes, in one place: those of D. J. Bernstein's and skarnet's tools.

use std::process::ExitCode;

/// Success, also when the reader has disconnected.
pub(crate) fn done() -> ExitCode {
    ExitCode::SUCCESS
}

/// Wrong usage: an option or a setting.
pub(crate) fn usage() -> ExitCode {
    ExitCode::from(100)
}

/// An error of the system.
pub(crate) fn system() -> ExitCode {
    ExitCode::from(111)
}

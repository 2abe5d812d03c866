//! Exit codes of the two clients, in one place.

use std::process::ExitCode;

/// How a program ended. Codes that the servers' programs use too mean the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// Done, also when the reader left.
    Done,
    /// The command of `--exec` failed.
    CommandFailed,
    /// The server refused, and a retry will not help: 22, as with curl's `--fail`.
    Refused,
    /// Wrong usage.
    Usage,
    /// The system or the network failed; it may succeed later.
    System,
    /// The time limit was reached too early: 124, as with timeout(1).
    TimedOut,
}

impl Exit {
    /// Its number.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::CommandFailed => 1,
            Self::Refused => 22,
            Self::Usage => 100,
            Self::System => 111,
            Self::TimedOut => 124,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

//! Exit codes of the two clients, in one place.

use std::process::ExitCode;

/// How a program ended. Those that the servers' programs have too mean the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// Done, also when the reader left.
    Done,
    /// The command of `--exec` failed.
    CommandFailed,
    /// The server refused, and will again: 22, as curl's `--fail` has it.
    Refused,
    /// Wrong usage.
    Usage,
    /// The system or the network refused something that has to work; later it may.
    System,
    /// The time was up too early: 124, as timeout(1) has it.
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

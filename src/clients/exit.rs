//! Exit codes of the clients, in one place.

use std::process::ExitCode;

/// How a program ended. The codes that are also used by the servers' programs have the same
/// meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// Success, also when the reader has disconnected.
    Done,
    /// The command of `--exec` failed.
    CommandFailed,
    /// A fault was found.
    Faulty,
    /// The server refused, and a retry will not help: 22, like curl's `--fail`.
    Refused,
    /// Wrong usage.
    Usage,
    /// The system or the network failed; it may succeed later.
    System,
    /// The time limit was reached before the end: 124, like timeout(1).
    TimedOut,
}

impl Exit {
    /// Its exit code.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::CommandFailed | Self::Faulty => 1,
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

//! Token: the owner of an event, a deadline or a change.

/// A connection by its index and generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConnectionId(u64);

/// The owner of an event, a deadline or a change. epoll, the timers and
/// [`crate::source::Changes`] store it as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// The socket or a deadline of a connection.
    Connection(ConnectionId),
    /// The source that a connection's subscriber reads by itself has changed.
    Change(ConnectionId),
    /// A channel, by its number: a deadline, or a change of its source.
    Channel(usize),
    Listener,
    Signals,
    /// The watcher of files.
    Watcher,
    /// The pipes of programs.
    Programs,
    /// The engines of streams that are not stored on this machine.
    Engines,
    /// Workers have appended records to files.
    Added,
    /// Programs that have ended must be reaped.
    Reap,
    /// Orders of the supervisor.
    Supervisor,
    /// It is time to look after the access log, or to count figures.
    Upkeep,
    /// Accepting must be resumed, or shutdown must be completed.
    Housekeeping,
}

const CHANGE: u64 = 1 << 61;
const CHANNEL: u64 = 1 << 62;
const OTHER: u64 = 2 << 62;
const LISTENER: u64 = OTHER;
const SIGNALS: u64 = OTHER | 1;
const WATCHER: u64 = OTHER | 2;
const PROGRAMS: u64 = OTHER | 3;
const REAP: u64 = OTHER | 4;
const HOUSEKEEPING: u64 = OTHER | 5;
const ADDED: u64 = OTHER | 6;
const ENGINES: u64 = OTHER | 9;
const UPKEEP: u64 = OTHER | 7;
const SUPERVISOR: u64 = OTHER | 8;

impl ConnectionId {
    /// Generations count up to this number and begin again.
    pub(super) const GENERATION_MAX: u32 = 0x1fff_ffff;

    /// The connection at an index below 2^32, which may be reused. The generation, at most
    /// [`Self::GENERATION_MAX`], distinguishes its users.
    pub(super) fn new(index: usize, generation: u32) -> Self {
        Self(u64::from(generation) << 32 | index as u64)
    }

    pub(super) fn index(self) -> usize {
        (self.0 & 0xffff_ffff) as usize
    }

    pub(super) fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Its number, as channels store it.
    pub(super) fn to_u64(self) -> u64 {
        self.0
    }

    /// The inverse of [`Self::to_u64`].
    pub(super) fn from_u64(number: u64) -> Self {
        Self(number)
    }
}

impl Token {
    pub(super) fn to_u64(self) -> u64 {
        match self {
            Self::Connection(id) => id.0,
            Self::Change(id) => CHANGE | id.0,
            Self::Channel(channel) => CHANNEL | channel as u64,
            Self::Listener => LISTENER,
            Self::Signals => SIGNALS,
            Self::Watcher => WATCHER,
            Self::Programs => PROGRAMS,
            Self::Reap => REAP,
            Self::Upkeep => UPKEEP,
            Self::Supervisor => SUPERVISOR,
            Self::Housekeeping => HOUSEKEEPING,
            Self::Added => ADDED,
            Self::Engines => ENGINES,
        }
    }

    /// The inverse of [`Self::to_u64`].
    pub(super) fn from_u64(number: u64) -> Self {
        match number {
            LISTENER => Self::Listener,
            SIGNALS => Self::Signals,
            WATCHER => Self::Watcher,
            PROGRAMS => Self::Programs,
            REAP => Self::Reap,
            UPKEEP => Self::Upkeep,
            SUPERVISOR => Self::Supervisor,
            HOUSEKEEPING => Self::Housekeeping,
            ADDED => Self::Added,
            ENGINES => Self::Engines,
            channel if channel & CHANNEL != 0 => Self::Channel((channel & !CHANNEL) as usize),
            change if change & CHANGE != 0 => Self::Change(ConnectionId(change & !CHANGE)),
            connection => Self::Connection(ConnectionId(connection)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_its_number() {
        let last = ConnectionId::new(u32::MAX as usize, ConnectionId::GENERATION_MAX);
        assert_eq!(
            (last.index(), last.generation()),
            (u32::MAX as usize, ConnectionId::GENERATION_MAX)
        );
        for token in [
            Token::Connection(ConnectionId::new(0, 0)),
            Token::Connection(last),
            Token::Change(last),
            Token::Channel(0),
            Token::Channel(u32::MAX as usize),
            Token::Listener,
            Token::Signals,
            Token::Watcher,
            Token::Programs,
            Token::Reap,
            Token::Upkeep,
            Token::Supervisor,
            Token::Housekeeping,
            Token::Added,
            Token::Engines,
        ] {
            assert_eq!(Token::from_u64(token.to_u64()), token);
        }
    }
}

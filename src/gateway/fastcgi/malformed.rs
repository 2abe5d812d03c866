//! Malformed: the input that ends a connection.

use std::fmt;

use super::Limits;

/// Why the input is not accepted. The connection must be closed; other connections are not
/// affected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A record of another version than 1 (FastCGI 1.0 §3.3). Often the peer speaks HTTP to
    /// this socket.
    Version(u8),
    /// A BEGIN_REQUEST record of this length instead of 8 (§5.1).
    BeginLength(u16),
    /// BEGIN_REQUEST for the id of the request that is being served.
    BegunTwice(u16),
    /// The pairs of a request or of GET_VALUES are longer than [`Limits::params_bytes`].
    ParamsTooLong(usize),
    /// There are more pairs than [`Limits::pairs`].
    TooManyPairs(usize),
    /// A stream of pairs ends within a pair.
    PairCut,
    /// PARAMS with content after their end, which would change a request that is being served.
    ParamsAfterEnd,
    /// STDIN before the end of PARAMS. The body would have to be stored until then.
    StdinBeforeParams,
    /// STDIN with content after its end.
    StdinAfterEnd,
}

impl Malformed {
    pub(super) fn too_long(limits: &Limits) -> Self {
        Self::ParamsTooLong(limits.params_bytes)
    }

    pub(super) fn too_many(limits: &Limits) -> Self {
        Self::TooManyPairs(limits.pairs)
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "not FastCGI 1.0: a record of version {version}"),
            Self::BeginLength(bytes) => write!(f, "BEGIN_REQUEST of {bytes} bytes, not 8"),
            Self::BegunTwice(id) => write!(f, "BEGIN_REQUEST for request {id}, which is active"),
            Self::ParamsTooLong(limit) => write!(f, "params longer than {limit} bytes"),
            Self::TooManyPairs(limit) => write!(f, "more than {limit} params"),
            Self::PairCut => f.write_str("params end within a name or a value"),
            Self::ParamsAfterEnd => f.write_str("PARAMS after their end"),
            Self::StdinBeforeParams => f.write_str("STDIN before the end of PARAMS"),
            Self::StdinAfterEnd => f.write_str("STDIN after its end"),
        }
    }
}

impl std::error::Error for Malformed {}

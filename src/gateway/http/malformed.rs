//! What ends a connection without a response: one has been sent already, or it is not known
//! whether the peer would understand one.

use std::fmt;

/// Why a connection is closed without a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The rest of a body that nobody wanted is no chunked body.
    Unwanted,
    /// It is longer than [`super::Limits::unwanted_bytes`].
    UnwantedTooLong,
    /// A trusted proxy has to send a PROXY protocol header first, and sent something else.
    NoProxyHeader,
    /// A PROXY protocol header does not follow its specification.
    ProxyHeader,
    /// It is longer than [`super::Limits::proxy_header_bytes`].
    ProxyHeaderTooLong,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unwanted => "a malformed chunk in a body that was answered",
            Self::UnwantedTooLong => "a long body that was answered before its end",
            Self::NoProxyHeader => {
                "no PROXY protocol header; have the proxy send one, or omit --proxy-protocol"
            }
            Self::ProxyHeader => "malformed PROXY protocol header",
            Self::ProxyHeaderTooLong => "a PROXY protocol header that is too long",
        })
    }
}

impl std::error::Error for Malformed {}

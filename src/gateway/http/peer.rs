//! Who is at the other end of a connection.

use core::net::{IpAddr, SocketAddr};

/// The client, and where it has connected to. A socket of the file system has neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// The client's address.
    pub client: Option<SocketAddr>,
    /// Our own.
    pub server: Option<SocketAddr>,
}

/// An address as text; an IPv4 address that came over IPv6 as what it is.
pub(super) fn shown(address: Option<SocketAddr>) -> String {
    address.map_or_else(String::new, |address| canonical(address).to_string())
}

fn canonical(address: SocketAddr) -> IpAddr {
    address.ip().to_canonical()
}

//! The PROXY protocol, versions 1 and 2: what a proxy sends before the first request, to name
//! the client of the connection (HAProxy's proxy-protocol.txt, revision 2020/03/05).
//!
//! ```text
//! PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n                  version 1, a line
//! \r\n\r\n\0\r\nQUIT\n 0x21 0x11 0x00 0x0c addresses TLVs        version 2, binary
//! ```
//!
//! Whether a peer has to send a header is decided before its first byte, never guessed from
//! what it sends (§4 of the specification).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Malformed, Peer};

/// The longest line of version 1, with CRLF (§2.1).
const LINE_BYTES_MAX: usize = 107;

/// How version 1 begins.
const WORD: &[u8] = b"PROXY ";

/// How version 2 begins.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The signature, version and command, family and transport, and the length of what follows.
const PREFIX_BYTES: usize = 16;

/// Two IPv6 addresses and two ports: the longest addresses that are kept.
const ADDRESSES_BYTES_MAX: usize = 36;

/// Two paths of 108 bytes.
const UNIX_BYTES: usize = 216;

/// A header of which a part has been received.
#[derive(Debug, Default)]
pub(super) struct ProxyHeader {
    /// Version 1: the line. Version 2: the prefix and the addresses. At most 107 bytes.
    held: Vec<u8>,
    /// Version 2, after the prefix: the bytes that are still to come.
    left_bytes: usize,
}

/// What a complete header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The client, and the address that it has connected to.
    Addresses(Peer),
    /// Nothing that names a client by an address: `LOCAL` (the proxy's own request, such as a
    /// health check), `UNKNOWN`, or a socket in the proxy's file system. The addresses of the
    /// connection apply.
    Nothing,
}

impl ProxyHeader {
    /// Whether nothing has been received.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Consumes from the front of `input`, no more than the header. `None`: more is needed.
    /// `most_bytes` is the longest header of version 2.
    pub(super) fn take(
        &mut self,
        input: &mut &[u8],
        most_bytes: usize,
    ) -> Result<Option<Said>, Malformed> {
        while let Some((&byte, rest)) = input.split_first() {
            if self.held.len() >= PREFIX_BYTES && self.held[0] == b'\r' {
                // TLVs are skipped; addresses are kept.
                let kept = PREFIX_BYTES + ADDRESSES_BYTES_MAX;
                let count = input.len().min(self.left_bytes);
                let room = kept - self.held.len();
                self.held.extend_from_slice(&input[..count.min(room)]);
                *input = &input[count..];
                self.left_bytes -= count;
            } else {
                *input = rest;
                self.held.push(byte);
            }
            if let Some(said) = self.after_push(most_bytes)? {
                return Ok(Some(said));
            }
        }
        Ok(None)
    }

    /// Judges what is held, which is one byte longer than before, or was skipped.
    fn after_push(&mut self, most_bytes: usize) -> Result<Option<Said>, Malformed> {
        let length = self.held.len();
        match self.held[0] {
            b'P' if length <= WORD.len() => match WORD.starts_with(&self.held) {
                true => Ok(None),
                false => Err(Malformed::NoProxyHeader),
            },
            b'P' => match self.held[WORD.len()..] {
                [.., b'\r', b'\n'] => line(&self.held[WORD.len()..length - 2]).map(Some),
                [.., b'\r', _] | [.., b'\n'] => Err(Malformed::ProxyHeader),
                _ if length == LINE_BYTES_MAX => Err(Malformed::ProxyHeader),
                _ => Ok(None),
            },
            b'\r' if length <= SIGNATURE.len() => match SIGNATURE.starts_with(&self.held) {
                true => Ok(None),
                false => Err(Malformed::NoProxyHeader),
            },
            b'\r' if length < PREFIX_BYTES => Ok(None),
            b'\r' => {
                if length == PREFIX_BYTES && self.left_bytes == 0 {
                    self.left_bytes = self.checked_length(most_bytes)?;
                }
                match self.left_bytes {
                    0 => Ok(Some(self.addresses())),
                    _ => Ok(None),
                }
            }
            _ => Err(Malformed::NoProxyHeader),
        }
    }

    /// The length of what follows the prefix of version 2.
    fn checked_length(&self, most_bytes: usize) -> Result<usize, Malformed> {
        let (command, family) = (self.held[12], self.held[13]);
        let length = usize::from(u16::from_be_bytes([self.held[14], self.held[15]]));
        let least = match (command, family) {
            // LOCAL: the family is to be ignored.
            (0x20, _) | (0x21, 0x00) => 0,
            (0x21, 0x11 | 0x12) => 12,
            (0x21, 0x21 | 0x22) => ADDRESSES_BYTES_MAX,
            (0x21, 0x31 | 0x32) => UNIX_BYTES,
            // §2.2: connections with other values must be dropped.
            _ => return Err(Malformed::ProxyHeader),
        };
        if PREFIX_BYTES + length > most_bytes {
            return Err(Malformed::ProxyHeaderTooLong);
        }
        match length >= least {
            true => Ok(length),
            false => Err(Malformed::ProxyHeader),
        }
    }

    /// The addresses of a complete header of version 2.
    fn addresses(&self) -> Said {
        let port = |bytes: &[u8]| u16::from_be_bytes([bytes[0], bytes[1]]);
        match (self.held[12], self.held[13], &self.held[PREFIX_BYTES..]) {
            (0x21, 0x11 | 0x12, bytes) => {
                let address = |at: usize| -> IpAddr {
                    Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]).into()
                };
                Said::Addresses(Peer {
                    client: Some(SocketAddr::new(address(0), port(&bytes[8..]))),
                    server: Some(SocketAddr::new(address(4), port(&bytes[10..]))),
                })
            }
            (0x21, 0x21 | 0x22, bytes) => {
                let address = |at: usize| -> IpAddr {
                    let mut octets = [0; 16];
                    octets.copy_from_slice(&bytes[at..at + 16]);
                    Ipv6Addr::from(octets).into()
                };
                Said::Addresses(Peer {
                    client: Some(SocketAddr::new(address(0), port(&bytes[32..]))),
                    server: Some(SocketAddr::new(address(16), port(&bytes[34..]))),
                })
            }
            _ => Said::Nothing,
        }
    }
}

/// What a line of version 1 says, without `PROXY ` and CRLF.
fn line(bytes: &[u8]) -> Result<Said, Malformed> {
    if bytes == b"UNKNOWN" || bytes.starts_with(b"UNKNOWN ") {
        return Ok(Said::Nothing);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed::ProxyHeader)?;
    let words: Vec<&str> = text.split(' ').collect();
    let peer = match words[..] {
        ["TCP4", client, server, client_port, server_port] => {
            let address = |text: &str| Some(IpAddr::V4(text.parse().ok()?));
            peer(address, [client, server], [client_port, server_port])
        }
        ["TCP6", client, server, client_port, server_port] => {
            let address = |text: &str| Some(IpAddr::V6(text.parse().ok()?));
            peer(address, [client, server], [client_port, server_port])
        }
        _ => None,
    };
    peer.map(Said::Addresses).ok_or(Malformed::ProxyHeader)
}

fn peer(
    address: impl Fn(&str) -> Option<IpAddr>,
    addresses: [&str; 2],
    ports: [&str; 2],
) -> Option<Peer> {
    Some(Peer {
        client: Some(SocketAddr::new(address(addresses[0])?, port(ports[0])?)),
        server: Some(SocketAddr::new(address(addresses[1])?, port(ports[1])?)),
    })
}

/// A decimal number without leading zeros (§2.1).
fn port(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let has_zeros = text.len() > 1 && text.starts_with('0');
    text.parse().ok().filter(|_| is_number && !has_zeros)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOST: usize = 300;

    /// What a header says and how many bytes follow it; `None` when it is incomplete.
    type Outcome = Result<Option<(Said, usize)>, Malformed>;

    fn outcome<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Outcome {
        let mut header = ProxyHeader::default();
        let (mut said, mut rest) = (None, 0);
        for mut input in pieces {
            if said.is_none() {
                said = header.take(&mut input, MOST)?;
                assert!(said.is_some() || input.is_empty());
                assert!(header.held.len() <= LINE_BYTES_MAX);
            }
            rest += input.len();
        }
        Ok(said.map(|said| (said, rest)))
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: Outcome) {
        for size in [bytes.len().max(1), 1, 3] {
            let found = outcome(bytes.chunks(size));
            assert_eq!(found, expected, "{} by {size}", bytes.escape_ascii());
        }
    }

    fn said(client: &str, server: &str) -> Said {
        Said::Addresses(Peer {
            client: Some(client.parse().unwrap()),
            server: Some(server.parse().unwrap()),
        })
    }

    /// A header of version 2.
    fn binary(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, content].concat()
    }

    #[test]
    fn a_line_names_the_client() {
        let v4 = said("192.0.2.1:56324", "192.0.2.2:443");
        let line = b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n";
        check(line, Ok(Some((v4, 0))));
        check(&[line, &b"GET /"[..]].concat(), Ok(Some((v4, 5))));
        for length in 0..line.len() {
            check(&line[..length], Ok(None));
        }
        let v6 = said("[2001:db8::1]:0", "[::1]:65535");
        let line = b"PROXY TCP6 2001:DB8::1 ::1 0 65535\r\n\r\n";
        check(line, Ok(Some((v6, 2))));
        check(b"PROXY UNKNOWN\r\nG", Ok(Some((Said::Nothing, 1))));
        let longest = b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
                        ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
        assert_eq!(longest.len(), LINE_BYTES_MAX);
        check(longest, Ok(Some((Said::Nothing, 0))));
    }

    #[test]
    fn a_line_that_is_wrong_is_rejected() {
        for line in [
            "PROXY \r\n",
            "PROXY TCP4\r\n",
            "PROXY UNKNOWNX\r\n",
            "PROXY UNKNOWN\n",
            "PROXY UNKNOWN \rx",
            "PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
            "PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1\t192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n",
            "PROXY TCP4 2001:db8::1 192.0.2.2 1 2\r\n",
            "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP6 2001:db8::1%eth0 ::1 1 2\r\n",
            "PROXY TCP6 [2001:db8::1] ::1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 \u{e9}\r\n",
        ] {
            check(line.as_bytes(), Err(Malformed::ProxyHeader));
        }
        let long = [&b"PROXY UNKNOWN "[..], &b"x".repeat(93)].concat();
        check(&long, Err(Malformed::ProxyHeader));
        check(&long[..106], Ok(None));
    }

    #[test]
    fn what_does_not_begin_as_a_header_is_none_at_its_first_such_byte() {
        for bytes in [
            "G",
            "\n",
            "\0",
            "p",
            "PA",
            "PROXY\t",
            "PROXYX",
            "\rG",
            "\r\n\r\nG",
            "\r\n\r\n\0\r\nQUIT\r",
        ] {
            check(bytes.as_bytes(), Err(Malformed::NoProxyHeader));
            let without_last = &bytes.as_bytes()[..bytes.len() - 1];
            check(without_last, Ok(None));
        }
    }

    #[test]
    fn a_binary_header_names_the_client_and_the_rest_is_skipped() {
        let v4 = [192, 0, 2, 1, 192, 0, 2, 2, 0xDC, 0x04, 1, 187];
        let expected = said("192.0.2.1:56324", "192.0.2.2:443");
        let header = binary(0x21, 0x11, &v4);
        check(&header, Ok(Some((expected, 0))));
        for length in 0..header.len() {
            check(&header[..length], Ok(None));
        }
        let mut v6 = [0; 36];
        (v6[0], v6[1], v6[15], v6[31], v6[35]) = (0x20, 0x01, 1, 1, 80);
        let expected_v6 = said("[2001::1]:0", "[::1]:80");
        check(&binary(0x21, 0x21, &v6), Ok(Some((expected_v6, 0))));
        // Datagrams: QUIC at the proxy.
        check(&binary(0x21, 0x12, &v4), Ok(Some((expected, 0))));
        for tlv_bytes in [1, 3, 200, MOST - PREFIX_BYTES - v4.len()] {
            let content = [&v4[..], &vec![0xEE; tlv_bytes]].concat();
            let wire = [&binary(0x21, 0x11, &content)[..], b"GET"].concat();
            check(&wire, Ok(Some((expected, 3))));
            check(&wire[..wire.len() - 4], Ok(None));
        }
        for (command, family, content) in [
            (0x20, 0x00, &[][..]),
            (0x20, 0x11, &v4),
            (0x20, 0xFF, &v4[..5]),
            (0x21, 0x00, &[]),
            (0x21, 0x00, &v4),
            (0x21, 0x31, &[7; UNIX_BYTES]),
            (0x21, 0x32, &[7; UNIX_BYTES + 9]),
        ] {
            let wire = [&binary(command, family, content)[..], b"GET"].concat();
            check(&wire, Ok(Some((Said::Nothing, 3))));
        }
    }

    #[test]
    fn a_binary_header_that_is_wrong_is_rejected() {
        let content = [1; 250];
        for (command, family, length) in [
            (0x11, 0x11, 12),
            (0x31, 0x11, 12),
            (0x22, 0x11, 12),
            (0x2F, 0x00, 0),
            (0x21, 0x11, 11),
            (0x21, 0x11, 0),
            (0x21, 0x21, 35),
            (0x21, 0x31, 215),
            (0x21, 0x10, 12),
            (0x21, 0x01, 12),
            (0x21, 0x13, 12),
            (0x21, 0x41, 36),
        ] {
            let header = binary(command, family, &content[..length]);
            check(&header, Err(Malformed::ProxyHeader));
        }
        let long = [1; MOST];
        check(
            &binary(0x21, 0x11, &long),
            Err(Malformed::ProxyHeaderTooLong),
        );
        check(
            &binary(0x20, 0x00, &long),
            Err(Malformed::ProxyHeaderTooLong),
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_mean_the_same_however_they_are_split(
            start in prop_oneof![
                Just(Vec::new()), Just(WORD.to_vec()), Just(b"PROXY TCP4 ".to_vec()),
                Just(SIGNATURE.to_vec()), Just([SIGNATURE, &[0x21, 0x11, 0]].concat()),
                Just([SIGNATURE, &[0x20]].concat()),
            ],
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
            size in 1..50_usize,
        ) {
            let wire = [start, bytes].concat();
            let whole = outcome(std::iter::once(&wire[..]));
            prop_assert_eq!(outcome(wire.chunks(1)), whole);
            prop_assert_eq!(outcome(wire.chunks(size)), whole);
        }

        #[test]
        fn every_address_is_read_as_it_was_written(
            client in any::<SocketAddr>(), port in any::<u16>(),
        ) {
            // (The text of an IPv6 address with a scope is none.)
            let client = SocketAddr::new(client.ip(), client.port());
            let server = SocketAddr::new(client.ip(), port);
            let expected = Ok(Some((
                Said::Addresses(Peer { client: Some(client), server: Some(server) }), 0,
            )));
            let (word, family) = match client.ip() {
                IpAddr::V4(_) => ("TCP4", 0x11),
                IpAddr::V6(_) => ("TCP6", 0x21),
            };
            let (ip, from) = (client.ip(), client.port());
            let line = format!("PROXY {word} {ip} {ip} {from} {port}\r\n");
            prop_assert_eq!(outcome(std::iter::once(line.as_bytes())), expected);
            let octets = match ip {
                IpAddr::V4(v4) => v4.octets().to_vec(),
                IpAddr::V6(v6) => v6.octets().to_vec(),
            };
            let ports = [from.to_be_bytes(), port.to_be_bytes()].concat();
            let header = binary(0x21, family, &[&octets[..], &octets, &ports].concat());
            prop_assert_eq!(outcome(std::iter::once(&header[..])), expected);
        }
    }
}

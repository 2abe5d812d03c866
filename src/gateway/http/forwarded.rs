//! What trusted proxies say of a request's client: `Forwarded` (RFC 7239), or
//! `X-Forwarded-For`, `-Proto` and `-Host`.

use core::net::IpAddr;

use super::target::{is_host, split_port};
use crate::request::MetaVariables;

/// Addresses with a common beginning, such as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Reads an address with or without a number of bits; `None`: it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) if bits.bytes().all(|b| b.is_ascii_digit()) => {
                (address, Some(bits.parse().ok()?))
            }
            Some(_) => return None,
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Self { address, bits })
    }

    /// Whether an address is one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let bits = u32::from(self.bits);
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                bits == 0 || differing >> (32 - bits) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                bits == 0 || differing >> (128 - bits) == 0
            }
            _ => false,
        }
    }
}

/// One proxy's word: whom the request came from, and how.
#[derive(Debug, Default)]
struct Hop {
    client: Option<IpAddr>,
    scheme: Option<String>,
    host: Option<String>,
}

/// Has `REMOTE_ADDR`, `REQUEST_SCHEME`, `HTTPS` and `HTTP_HOST` say what the proxies between us
/// and the client say, as far as these are trusted. A peer without an address (a socket of the
/// file system) is trusted if there is any network.
///
/// The client is the last address that is not trusted: whatever it says of others is its own
/// word. `Forwarded` takes precedence over `X-Forwarded-For`.
pub fn apply(trusted: &[Network], meta: &mut MetaVariables) {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    if trusted.is_empty() {
        return;
    }
    let text = |name: &str| {
        let value = meta.joined(name).unwrap_or_default();
        String::from_utf8_lossy(&value).into_owned()
    };
    let peer = text("REMOTE_ADDR");
    let mut client: Option<IpAddr> = peer.parse().ok();
    if client.is_some_and(|peer| !is_trusted(peer)) {
        return;
    }
    let forwarded = text("HTTP_FORWARDED");
    let hops = match forwarded.is_empty() {
        false => forwarded_hops(&forwarded),
        true => x_forwarded_hops(
            &text("HTTP_X_FORWARDED_FOR"),
            &text("HTTP_X_FORWARDED_PROTO"),
            &text("HTTP_X_FORWARDED_HOST"),
        ),
    };
    let mut told = Hop::default();
    for hop in hops.into_iter().rev() {
        let next = hop.client;
        told = hop;
        let Some(next) = next else { break };
        client = Some(next);
        if !is_trusted(next) {
            break;
        }
    }
    if let Some(client) = client {
        meta.set("REMOTE_ADDR", client.to_canonical().to_string().as_bytes());
    }
    match told.scheme.as_deref() {
        Some("https") => {
            meta.set("REQUEST_SCHEME", b"https");
            meta.set("HTTPS", b"on");
        }
        Some("http") => meta.set("REQUEST_SCHEME", b"http"),
        _ => {}
    }
    // The client's port is the proxy's and not ours.
    let usual: Option<&[u8]> = match told.scheme.as_deref() {
        Some("https") => Some(b"443"),
        Some("http") => Some(b"80"),
        _ => None,
    };
    let host = told.host.filter(|host| is_host(host.as_bytes()));
    let own = host.as_ref().and_then(|host| split_port(host.as_bytes()).1);
    if let Some(port) = own.or(usual) {
        meta.set("SERVER_PORT", port);
    }
    if let Some(host) = &host {
        meta.set("HTTP_HOST", host.as_bytes());
    }
}

fn forwarded_hops(text: &str) -> Vec<Hop> {
    let hops = divide(text, ',').into_iter().map(|element| {
        let mut hop = Hop::default();
        for pair in divide(element, ';') {
            let Some((name, value)) = pair.split_once('=') else {
                continue;
            };
            let value = value.trim();
            let value = value
                .strip_prefix('"')
                .and_then(|v| v.strip_suffix('"'))
                .unwrap_or(value);
            match name.trim().to_ascii_lowercase().as_str() {
                "for" => hop.client = node(value),
                "proto" => hop.scheme = Some(value.to_ascii_lowercase()),
                "host" => hop.host = Some(value.to_owned()),
                _ => {}
            }
        }
        hop
    });
    hops.collect()
}

fn x_forwarded_hops(addresses: &str, schemes: &str, hosts: &str) -> Vec<Hop> {
    let addresses = divide(addresses, ',');
    let (schemes, hosts) = (divide(schemes, ','), divide(hosts, ','));
    // Proxies that append do so to all; others say it once.
    let of = |words: &[&str], at: usize| {
        let word = match words.len() == addresses.len() {
            true => words.get(at),
            false => words.last(),
        };
        word.filter(|word| !word.is_empty())
            .map(|word| (*word).to_owned())
    };
    let hop = |(at, address): (usize, &&str)| Hop {
        client: node(address),
        scheme: of(&schemes, at).map(|scheme| scheme.to_ascii_lowercase()),
        host: of(&hosts, at),
    };
    addresses.iter().enumerate().map(hop).collect()
}

/// Words between separators that are not within quotes. Where a quote has no end, none counts:
/// else a client that sends one would hide what the proxies append.
fn divide(text: &str, separator: char) -> Vec<&str> {
    let is_balanced = text.matches('"').count() % 2 == 0;
    let (mut words, mut start, mut is_quoted) = (Vec::new(), 0, false);
    for (at, character) in text.char_indices() {
        match character {
            '"' if is_balanced => is_quoted = !is_quoted,
            _ if character == separator && !is_quoted => {
                words.push(text[start..at].trim());
                start = at + character.len_utf8();
            }
            _ => {}
        }
    }
    words.push(text[start..].trim());
    words
}

/// The address of a node (RFC 7239 §6), which may have a port; `None` for `unknown` and for
/// names that hide it.
fn node(text: &str) -> Option<IpAddr> {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    if let Some((address, _)) = bracketed {
        return address.parse().ok();
    }
    text.parse().ok().or_else(|| {
        let (address, _) = text.split_once(':')?;
        address.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(words: &[&str]) -> Vec<Network> {
        words
            .iter()
            .map(|word| Network::parse(word).expect(word))
            .collect()
    }

    /// Client, scheme and host after the fields of the request.
    #[track_caller]
    fn check(trusted: &[&str], fields: &[(&str, &str)], expected: [&str; 3]) {
        let mut meta = MetaVariables::of(&[("REQUEST_SCHEME", "http"), ("HTTP_HOST", "own")]);
        for (name, value) in fields {
            meta.push(name, value.as_bytes());
        }
        apply(&networks(trusted), &mut meta);
        let found = ["REMOTE_ADDR", "REQUEST_SCHEME", "HTTP_HOST"]
            .map(|name| String::from_utf8(meta.joined(name).unwrap_or_default()).unwrap());
        assert_eq!(found, expected, "{fields:?}");
    }

    const PEER: (&str, &str) = ("REMOTE_ADDR", "10.0.0.1");

    #[test]
    fn a_client_that_is_no_proxy_says_nothing_of_others() {
        let fields = [
            ("REMOTE_ADDR", "192.0.2.9"),
            ("HTTP_X_FORWARDED_FOR", "198.51.100.1"),
            ("HTTP_FORWARDED", "for=198.51.100.1;proto=https;host=evil"),
        ];
        check(&["10.0.0.0/8"], &fields, ["192.0.2.9", "http", "own"]);
        check(&[], &fields, ["192.0.2.9", "http", "own"]);
    }

    #[test]
    fn the_client_is_the_last_address_that_is_not_trusted() {
        let of = |list| [PEER, ("HTTP_X_FORWARDED_FOR", list)];
        let any = |list, client| check(&["10.0.0.0/8"], &of(list), [client, "http", "own"]);
        any("192.0.2.9", "192.0.2.9");
        any("198.51.100.1, 192.0.2.9", "192.0.2.9");
        any("198.51.100.1, 192.0.2.9, 10.1.1.1", "192.0.2.9");
        any("10.2.2.2", "10.2.2.2");
        any("192.0.2.9:1234", "192.0.2.9");
        any("[2001:db8::1]:1234", "2001:db8::1");
        any("2001:db8::1", "2001:db8::1");
        any("192.0.2.9, unknown", "10.0.0.1");
        any("", "10.0.0.1");
        any("'; DROP TABLE", "10.0.0.1");
    }

    #[test]
    fn forwarded_takes_precedence_and_may_be_quoted() {
        let x = ("HTTP_X_FORWARDED_FOR", "198.51.100.7");
        let forwarded = |text| [PEER, x, ("HTTP_FORWARDED", text)];
        let any = |text, expected| check(&["10.0.0.0/8"], &forwarded(text), expected);
        any(
            "for=192.0.2.9;proto=https;host=a.example",
            ["192.0.2.9", "https", "a.example"],
        );
        any(
            "for=198.51.100.1;host=evil, For=\"[2001:db8::1]:47011\"; Proto=HTTPS;host=\"a:8443\"",
            ["2001:db8::1", "https", "a:8443"],
        );
        any("for=_hidden;proto=https", ["10.0.0.1", "https", "own"]);
        any("for=192.0.2.9;host=\"a b\"", ["192.0.2.9", "http", "own"]);
        any(
            "for=\", for=192.0.2.9;proto=https",
            ["192.0.2.9", "https", "own"],
        );
        any("for=\"192.0.2.9, 198.51.100.1", ["10.0.0.1", "http", "own"]);
    }

    #[test]
    fn scheme_and_host_come_from_the_proxy_that_names_the_client() {
        let fields = [
            PEER,
            ("HTTP_X_FORWARDED_FOR", "192.0.2.9, 10.1.1.1"),
            ("HTTP_X_FORWARDED_PROTO", "https, http"),
            ("HTTP_X_FORWARDED_HOST", "a.example"),
        ];
        check(
            &["10.0.0.0/8"],
            &fields,
            ["192.0.2.9", "https", "a.example"],
        );
        // A socket of the file system: its peer is the proxy.
        check(
            &["10.0.0.0/8"],
            &fields[1..],
            ["192.0.2.9", "https", "a.example"],
        );
    }

    #[test]
    fn a_network_is_an_address_and_how_many_bits_count() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.1.2.3", "10.1.2.3", "10.1.2.4"),
            ("0.0.0.0/0", "1.2.3.4", "::1"),
            ("::/0", "2001:db8::1", "1.2.3.4"),
            ("2001:db8::/32", "2001:db8:1::1", "2001:db9::"),
            ("127.0.0.1/32", "::ffff:127.0.0.1", "127.0.0.2"),
        ] {
            let parsed = Network::parse(network).expect(network);
            assert!(
                parsed.contains(inside.parse().unwrap()),
                "{network} {inside}"
            );
            assert!(
                !parsed.contains(outside.parse().unwrap()),
                "{network} {outside}"
            );
        }
        for bad in [
            "",
            "a",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/x",
            "10.0.0/8",
            "/8",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
        ] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
    }
}

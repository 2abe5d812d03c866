//! Which names a server answers to on a loopback address.

use std::net::IpAddr;

use crate::request::split_port;

/// The names of `--host`, beside those of the loopback addresses.
///
/// A page of any site can make its own name stand for 127.0.0.1 (DNS rebinding), and would
/// then be of one origin with us, and could read everything. Its requests name its host.
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct Hosts {
    names: Vec<String>,
}

impl Hosts {
    /// Answers to this name, too, with any port; to any name by `*`.
    pub(super) fn add(&mut self, name: &str) {
        let bare = split_port(name).map_or(name, |(name, _)| name);
        self.names.push(plain(bare));
    }

    /// Whether a request with this `Host` that has come to the address `server` is answered. A
    /// client that names no host is no browser.
    pub(super) fn allow(&self, host: Option<&[u8]>, server: Option<IpAddr>) -> bool {
        let is_loopback = server.is_some_and(|address| address.to_canonical().is_loopback());
        let Some(host) = host.filter(|_| is_loopback) else {
            return true;
        };
        let text = std::str::from_utf8(host).unwrap_or_default();
        let Some((name, _)) = split_port(text) else {
            return false;
        };
        let name = plain(name);
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        let is_loopback_address = bare
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback());
        is_loopback_address
            || name == "localhost"
            || name.ends_with(".localhost")
            || self.names.iter().any(|own| *own == name || own == "*")
    }
}

/// A name in lower case, without the dot of a full name.
fn plain(name: &str) -> String {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_a_loopback_address_only_loopback_names_and_ours_are_answered() {
        let mut hosts = Hosts::default();
        hosts.add("Box.example.");
        hosts.add("[2001:DB8::1]:8080");
        let local = Some(IpAddr::from([127, 0, 0, 1]));
        let check = |host: &str, server, expected| {
            assert_eq!(
                hosts.allow(Some(host.as_bytes()), server),
                expected,
                "{host}"
            );
        };
        for good in [
            "localhost",
            "localhost:8080",
            "LOCALHOST.",
            "a.localhost",
            "127.0.0.1:8080",
            "127.1.2.3",
            "[::1]:8080",
            "[::ffff:127.0.0.1]",
            "box.example:80",
            "BOX.EXAMPLE.",
            "[2001:db8::1]",
        ] {
            check(good, local, true);
            check(good, Some("::1".parse().unwrap()), true);
        }
        for bad in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "notlocalhost",
            "sub.box.example",
            "[::2]",
            "xlocalhost:80",
            "localhost..",
            "box.example..",
            "[2001:db8::2]",
            "",
        ] {
            check(bad, local, false);
            check(bad, Some("::ffff:127.0.0.1".parse().unwrap()), false);
            check(bad, Some(IpAddr::from([192, 0, 2, 1])), true);
            check(bad, None, true);
        }
        assert!(hosts.allow(None, local));
        hosts.add("*");
        assert!(hosts.allow(Some(b"evil.example"), local));
    }
}

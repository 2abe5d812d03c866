//! The slots of a cluster: which slot a key belongs to, and where the nodes say that a slot is.

use super::address::Server;
use super::resp::{Item, Reader};

/// The slot of a key: a checksum of what is between its first braces, if there is something,
/// otherwise of the whole key (Redis Cluster specification).
#[must_use]
pub fn slot_of(key: &[u8]) -> u16 {
    let tag = memchr::memchr(b'{', key).and_then(|start| {
        let rest = &key[start + 1..];
        let length = memchr::memchr(b'}', rest)?;
        (length > 0).then(|| &rest[..length])
    });
    // CRC-16/XMODEM.
    let sum = tag.unwrap_or(key).iter().fold(0_u16, |mut sum, byte| {
        sum ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            sum = match sum & 0x8000 {
                0 => sum << 1,
                _ => (sum << 1) ^ 0x1021,
            };
        }
        sum
    });
    sum % 16_384
}

/// What a node says of where a key is, instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// The slot belongs to another node. A host that is empty is that of the node itself.
    Moved(Server),
    /// The slot is being moved to another node, and the key is there already.
    Ask(Server),
    /// The node does not serve now: it may have lost its slots to another.
    Down,
}

/// Whether replies, one after the other, say that nothing was executed because the key is
/// elsewhere.
#[must_use]
pub fn elsewhere(replies: &[u8]) -> Option<Elsewhere> {
    let mut reader = Reader::new(replies);
    loop {
        let text = match reader.next().ok()?? {
            Item::Error(text) => text,
            // `OK` and `QUEUED`.
            Item::Simple(_) => continue,
            // An answer.
            _ => return None,
        };
        let text = std::str::from_utf8(text).ok()?;
        let mut words = text.split(' ');
        let (code, place) = (words.next()?, words.nth(1));
        if code == "CLUSTERDOWN" {
            return Some(Elsewhere::Down);
        }
        if !matches!(code, "MOVED" | "ASK") {
            continue;
        }
        let (host, port) = place?.rsplit_once(':')?;
        let host = match host {
            "?" => "",
            host => host,
        };
        let server = (host.to_owned(), port.parse().ok()?);
        return Some(match code {
            "MOVED" => Elsewhere::Moved(server),
            _ => Elsewhere::Ask(server),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_slots_of_the_specification() {
        for (key, slot) in [
            ("123456789", 0x31c3),
            ("foo", 12_182),
            ("{foo}.a", 12_182),
            ("a{foo}{bar}", 12_182),
            ("{}foo", slot_of(b"{}foo")),
            ("", 0),
        ] {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
        assert_ne!(slot_of(b"{}foo"), slot_of(b"foo"));
    }

    #[test]
    fn an_error_names_another_node() {
        let server = |host: &str, port| (host.to_owned(), port);
        for (replies, expected) in [
            ("+OK\r\n:1\r\n", None),
            ("+OK\r\n-ERR no\r\n-EXECABORT x\r\n", None),
            (
                "+OK\r\n-MOVED 1 10.0.0.1:7000\r\n-EXECABORT x\r\n",
                Some(Elsewhere::Moved(server("10.0.0.1", 7000))),
            ),
            (
                "-ASK 1 ::1:7000\r\n",
                Some(Elsewhere::Ask(server("::1", 7000))),
            ),
            (
                "-MOVED 1 :7000\r\n",
                Some(Elsewhere::Moved(server("", 7000))),
            ),
            (
                "-MOVED 1 ?:7000\r\n",
                Some(Elsewhere::Moved(server("", 7000))),
            ),
            ("-MOVED 1 x\r\n", None),
            ("-MOVED\r\n", None),
            ("-CLUSTERDOWN x\r\n", Some(Elsewhere::Down)),
        ] {
            assert_eq!(elsewhere(replies.as_bytes()), expected, "{replies}");
        }
    }
}

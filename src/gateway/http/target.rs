//! The target of a request, and the host that it is for (RFC 9112 §3.2).

use super::Rejection;

/// A target, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target<'h> {
    /// The path and the query as they were sent, without scheme and host.
    pub(super) uri: &'h str,
    /// The path, decoded: it begins with a slash, or is `*`.
    pub(super) path: Vec<u8>,
    /// What follows the first `?`.
    pub(super) query: &'h str,
    /// The host of an absolute form.
    pub(super) host: Option<&'h str>,
}

impl<'h> Target<'h> {
    /// Reads the target of a request with this method.
    pub(super) fn parse(method: &str, text: &'h str) -> Result<Self, Rejection> {
        if method == "CONNECT" {
            return Err(Rejection::Connect);
        }
        let is_plain = text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if !is_plain {
            return Err(Rejection::Target);
        }
        if text == "*" && method == "OPTIONS" {
            return Ok(Self {
                uri: text,
                path: b"*".to_vec(),
                query: "",
                host: None,
            });
        }
        let (host, uri) = match text.starts_with('/') {
            true => (None, text),
            false => {
                let (host, uri) = absolute(text).ok_or(Rejection::Target)?;
                (Some(host), uri)
            }
        };
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        // `http://host` and `http://host?query` have an empty path, which means `/`.
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self {
            uri: if uri.is_empty() { "/" } else { uri },
            path: decoded(path.as_bytes()).ok_or(Rejection::Target)?,
            query,
            host,
        })
    }
}

/// Host and the rest of an absolute form.
fn absolute(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, uri) = rest.split_at(end);
    is_host(host.as_bytes()).then_some((host, uri))
}

/// Undoes percent-encoding; `None` where it is malformed, or hides a NUL.
fn decoded(path: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (high, low) = (rest.first()?, rest.get(1)?);
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        // Two digits are less than 256.
        let byte = (digit(high)? << 4 | digit(low)?) as u8;
        if byte == 0 {
            return None;
        }
        bytes.push(byte);
        rest = &rest[2..];
    }
    Some(bytes)
}

/// Whether a value of `Host` is a host with an optional port (RFC 9110 §7.2).
pub(super) fn is_host(value: &[u8]) -> bool {
    let (host, port) = split_port(value);
    let is_port = port
        .is_none_or(|port| (1..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit));
    let is_name = match host {
        [b'[', inside @ .., b']'] => std::str::from_utf8(inside)
            .is_ok_and(|text| text.parse::<core::net::Ipv6Addr>().is_ok()),
        _ => {
            !host.is_empty()
                && (host.iter()).all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(byte))
        }
    };
    is_port && is_name
}

/// Whether two hosts are the same, whatever their case, and whether they name the port of
/// `http` or leave it out.
pub(super) fn is_same_host(one: &[u8], other: &[u8]) -> bool {
    let without_80 = |host: &[u8]| match split_port(host) {
        (bare, Some(b"80")) => bare.to_ascii_lowercase(),
        _ => host.to_ascii_lowercase(),
    };
    without_80(one) == without_80(other)
}

/// A host and its port, where it has one.
pub(super) fn split_port(value: &[u8]) -> (&[u8], Option<&[u8]>) {
    let colon = value.iter().rposition(|byte| *byte == b':');
    match colon {
        // A colon within an IPv6 address.
        Some(colon) if !value[colon..].contains(&b']') => {
            (&value[..colon], Some(&value[colon + 1..]))
        }
        _ => (value, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(&str, &str, &str, Option<&str>), Rejection>) {
        let found = Target::parse("GET", text);
        let expected = expected.map(|(uri, path, query, host)| Target {
            uri,
            path: path.as_bytes().to_vec(),
            query,
            host,
        });
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn a_target_is_a_path_or_an_address() {
        check("/", Ok(("/", "/", "", None)));
        check("/a%20b?c=%20", Ok(("/a%20b?c=%20", "/a b", "c=%20", None)));
        check("/a?b?c", Ok(("/a?b?c", "/a", "b?c", None)));
        check("//a/../b", Ok(("//a/../b", "//a/../b", "", None)));
        check("http://h", Ok(("/", "/", "", Some("h"))));
        check("HTTP://h:80/x", Ok(("/x", "/x", "", Some("h:80"))));
        check("https://[::1]:8?y", Ok(("?y", "/", "y", Some("[::1]:8"))));
    }

    #[test]
    fn anything_else_is_rejected() {
        for text in [
            "",
            "*",
            "a",
            "a/b",
            "h:80",
            "http:/h/",
            "ftp://h/",
            "http://",
            "http:///x",
            "http://u@h/",
            "http://u:p@h/",
            "http://h:x/",
            "/a#b",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%+1",
            "/a%00",
            "/\u{e9}",
        ] {
            check(text, Err(Rejection::Target));
        }
        assert_eq!(Target::parse("CONNECT", "h:80"), Err(Rejection::Connect));
        assert_eq!(
            Target::parse("OPTIONS", "*").map(|t| t.path),
            Ok(b"*".to_vec())
        );
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_a_port() {
        for good in [
            "a",
            "a.example:80",
            "127.0.0.1:8080",
            "[::1]",
            "[::1]:80",
            "a_b-c",
        ] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "", ":80", "a:", "a:b", "a:123456", "a b", "a/b", "u@h", "[::1", "::1", "[x]", "a,b",
            "a:80:80", "[::1]x", "a\t", "\u{e9}", "a?b",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
        assert!(is_same_host(b"A.example:80", b"a.example"));
        assert!(is_same_host(b"[::1]:8080", b"[::1]:8080"));
        assert!(!is_same_host(b"a.example:8080", b"a.example"));
        assert!(!is_same_host(b"a.example", b"b.example"));
    }
}

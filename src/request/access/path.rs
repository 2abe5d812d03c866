//! UrlPath: the path of a request, as the prefix of a link or of a token is compared with it.

use crate::request::MetaVariables;

/// The decoded path of a request, of which every reader makes the same: it begins with a slash,
/// and no component of it is empty (except the last), `.` or `..`.
///
/// A web server removes such components before it chooses a location, and gateways differ in
/// what they pass on. So a path that contains one, in whatever encoding, is none: then the path
/// that was checked is always the path that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UrlPath(Vec<u8>);

impl UrlPath {
    /// The longest path, in bytes. Linux's own limit for a path is 4096.
    const MAX_BYTES: usize = 8192;

    /// Reads the path of `REQUEST_URI`, which is what the client asked for, and decodes it once.
    /// Where a gateway does not pass it (mini-httpd), the path is `SCRIPT_NAME` and `PATH_INFO`,
    /// which the gateway has decoded.
    ///
    /// `None` if the path can be read in more than one way.
    pub(super) fn of(meta: &MetaVariables) -> Option<Self> {
        let value = |name: &str| meta.get(name).last().unwrap_or_default();
        let uri = value("REQUEST_URI");
        if uri.is_empty() {
            return Self::plain([value("SCRIPT_NAME"), value("PATH_INFO")].concat());
        }
        let path = without_host(uri)?;
        let end = path.iter().position(|byte| b"?#".contains(byte));
        Self::plain(decoded(&path[..end.unwrap_or(path.len())])?)
    }

    fn plain(path: Vec<u8>) -> Option<Self> {
        let components = path.strip_prefix(b"/")?;
        let last = components.split(|byte| *byte == b'/').count() - 1;
        let is_plain = |(number, component): (usize, &[u8])| {
            (number == last || !component.is_empty())
                && !is_dots(component)
                && !component.iter().any(u8::is_ascii_control)
                && !is_overlong(component)
                // Some servers take a backslash for a slash, and some decode a path twice.
                && !component.contains(&b'\\')
                && !has_escape(component)
        };
        let mut components = components.split(|byte| *byte == b'/').enumerate();
        (path.len() <= Self::MAX_BYTES && components.all(is_plain)).then_some(Self(path))
    }

    /// What has this name below the path; `None` as of [`UrlPath::of`].
    pub(super) fn below(mut self, name: &str) -> Option<Self> {
        if !self.0.ends_with(b"/") {
            self.0.push(b'/');
        }
        self.0.extend_from_slice(name.as_bytes());
        Self::plain(self.0)
    }

    /// Whether one of these is a component of the path.
    pub(super) fn contains_one_of(&self, names: &[String]) -> bool {
        let mut components = self.0.split(|byte| *byte == b'/');
        components.any(|component| names.iter().any(|name| name.as_bytes() == component))
    }

    /// Whether the path ends with these bytes.
    pub(super) fn ends_with(&self, end: &[u8]) -> bool {
        self.0.ends_with(end)
    }

    /// Whether `prefix` covers the path: it equals the path, or the path continues at a slash.
    /// It is the path match of RFC 6265 §5.1.4, so `/a/` covers what is below `/a`, and `/`
    /// everything.
    pub(super) fn is_covered_by(&self, prefix: &[u8]) -> bool {
        prefix.starts_with(b"/")
            && self
                .0
                .strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest[0] == b'/' || prefix.ends_with(b"/"))
    }
}

/// Whether a component names the folder itself or its parent. Some servers ignore what follows
/// a semicolon, and some file systems spaces at the end.
fn is_dots(component: &[u8]) -> bool {
    let name = component.split(|byte| *byte == b';').next();
    matches!(name.map(<[u8]>::trim_ascii_end), Some(b"." | b".."))
}

/// Whether it contains an ASCII character as two bytes, which is not UTF-8 (RFC 3629 §3), and
/// which a careless reader takes for a dot or a slash.
fn is_overlong(component: &[u8]) -> bool {
    (component.windows(2)).any(|pair| matches!(pair, [0xC0 | 0xC1, 0x80..=0xBF]))
}

/// Removes scheme and host of an absolute form (RFC 9112 §3.2.2).
fn without_host(uri: &[u8]) -> Option<&[u8]> {
    if uri.starts_with(b"/") {
        return Some(uri);
    }
    let scheme = [&b"http://"[..], b"https://"];
    let rest = scheme.iter().find_map(|scheme| {
        let (start, rest) = uri.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    })?;
    let slash = rest.iter().position(|byte| b"/?#".contains(byte))?;
    rest[slash..].starts_with(b"/").then(|| &rest[slash..])
}

/// Undoes percent-encoding; `None` where it is malformed.
fn decoded(path: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'%' {
            bytes.push(byte);
            rest = after;
            continue;
        }
        bytes.push(escape(rest)?);
        rest = &rest[3..];
    }
    Some(bytes)
}

/// The byte that `%XX` at the beginning of `text` stands for.
pub(super) fn escape(text: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*text.get(at)?).to_digit(16);
    if text.first() != Some(&b'%') {
        return None;
    }
    // Two digits are less than 256.
    Some((digit(1)? << 4 | digit(2)?) as u8)
}

/// Whether decoding it would change it.
fn has_escape(component: &[u8]) -> bool {
    (0..component.len()).any(|at| escape(&component[at..]).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(pairs: &[(&str, &str)]) -> Option<String> {
        let path = UrlPath::of(&MetaVariables::of(pairs))?;
        Some(String::from_utf8(path.0).unwrap())
    }

    #[track_caller]
    fn check(uri: &str, expected: Option<&str>) {
        let pairs = [
            ("REQUEST_URI", uri),
            // What a web server makes of it does not count.
            ("SCRIPT_NAME", "/cgi-bin/x"),
            ("PATH_INFO", "/y"),
        ];
        assert_eq!(path(&pairs).as_deref(), expected, "{uri}");
    }

    #[test]
    fn the_path_is_what_the_client_asked_for_decoded_once() {
        check("/a", Some("/a"));
        check("/a/?e=1&p=/b", Some("/a/"));
        check("/", Some("/"));
        check("/a%20b/%C3%A9?x", Some("/a b/\u{e9}"));
        check("/a%2Fb", Some("/a/b"));
        check("/%61", Some("/a"));
        check("/a.b/..c/...", Some("/a.b/..c/..."));
        check("/a/..%20b", Some("/a/.. b"));
        check("/100%25", Some("/100%"));
        check("http://h/a?x", Some("/a"));
        check("HTTPS://h:80/a", Some("/a"));
    }

    #[test]
    fn a_path_that_can_be_read_in_two_ways_is_none() {
        for uri in [
            "/a/../b",
            "/a/..",
            "/a/.",
            "/./a",
            "/a/%2e%2e/b",
            "/a/.%2E/b",
            "/a%2f..%2fb",
            "/a%2F%2e%2E/b",
            "/a/..%2fb",
            "/a//b",
            "//a",
            "/a%2f/b",
            "/a/%252e%252e/b",
            "/a%252f..%252fb",
            "/%2561",
            "/a/..\\b",
            "/a\\..\\b",
            "/a%5c..%5cb",
            "/a/..;/b",
            "/a/..;x=1/b",
            "/a/%2e%2e%3b/b",
            "/a/..%20/b",
            "/a/.%20;x/b",
            "/a/..%0d%0a/b",
            "/a%09b",
            "/a%7F",
            "/a/%c0%ae%C0%AE/b",
            "/a..%c0%afb",
            "/a%c1%9cb",
            "/a%00",
            "/a%",
            "/a%2",
            "/a%zz",
            "a",
            "*",
            "http://h",
            "http://h?/a",
            "ftp://h/a",
            "/a/..?x",
            "/a/..#x",
        ] {
            check(uri, None);
        }
        check(
            &format!("/{}", "a".repeat(8191)),
            Some(&format!("/{}", "a".repeat(8191))),
        );
        check(&format!("/{}", "a".repeat(8192)), None);
    }

    #[test]
    fn without_a_request_uri_the_path_is_that_of_the_script_and_what_follows() {
        let of = |script, info| path(&[("SCRIPT_NAME", script), ("PATH_INFO", info)]);
        assert_eq!(of("/cgi-bin/x", "/a b").as_deref(), Some("/cgi-bin/x/a b"));
        assert_eq!(of("/x", "").as_deref(), Some("/x"));
        assert_eq!(of("", "/x").as_deref(), Some("/x"));
        assert_eq!(of("/x", "/../y"), None);
        // The gateway has decoded it already.
        assert_eq!(of("/x", "/%2e%2e/y"), None);
        assert_eq!(of("", ""), None);
    }

    #[test]
    fn a_prefix_covers_whole_components() {
        let covers =
            |prefix: &str, path: &str| UrlPath(path.into()).is_covered_by(prefix.as_bytes());
        for (prefix, path) in [
            ("/a", "/a"),
            ("/a", "/a/"),
            ("/a", "/a/b"),
            ("/a/", "/a/"),
            ("/a/", "/a/b/c"),
            ("/", "/"),
            ("/", "/a"),
        ] {
            assert!(covers(prefix, path), "{prefix} {path}");
        }
        for (prefix, path) in [
            ("/a", "/ab"),
            ("/a", "/A"),
            ("/a", "/"),
            ("/a/", "/a"),
            ("/a/b", "/a"),
            ("", "/a"),
            ("a", "/a"),
            ("/a/.", "/a/b"),
        ] {
            assert!(!covers(prefix, path), "{prefix} {path}");
        }
    }

    proptest! {
        /// Resolved as RFC 3986 §5.2.4 says, after any number of decodings, a path stays below
        /// the prefix that covers it.
        #[test]
        fn no_encoding_leads_out_of_a_prefix(
            parts in proptest::collection::vec("(%2[eEfF]|%252[eEfF]|%5[cC]|[./;\\\\ab]|%00|%6[12]){0,6}", 0..6)
        ) {
            let uri = format!("/a/{}", parts.join("/"));
            let meta = MetaVariables::of(&[("REQUEST_URI", &uri)]);
            let Some(path) = UrlPath::of(&meta) else { return Ok(()) };
            if !path.is_covered_by(b"/a") { return Ok(()) }
            let mut bytes = uri.into_bytes();
            for _ in 0..3 {
                let text = String::from_utf8_lossy(&bytes).replace('\\', "/");
                let mut resolved: Vec<&str> = Vec::new();
                for component in text.split('/') {
                    match component.split(';').next().unwrap_or_default() {
                        "" | "." => {}
                        ".." => { resolved.pop(); }
                        _ => resolved.push(component),
                    }
                }
                prop_assert_eq!(resolved.first().copied(), Some("a"), "{}", text);
                match decoded(&bytes) {
                    Some(next) => bytes = next,
                    None => break,
                }
            }
        }
    }
}

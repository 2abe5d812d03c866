//! Origin: the origin of a page, and the origins that `SSE_ALLOW_ORIGIN` lists.

/// An origin (RFC 6454 §4), normalised: scheme and host are in lower case, and the scheme's
/// default port is omitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: String,
    /// `None` for the scheme's default port, or if the scheme has none.
    port: Option<u16>,
}

impl Origin {
    /// Reads a serialized origin (RFC 6454 §6.2): scheme, host and port and nothing else.
    /// `None` for anything else, such as `null`. So a parsed origin is visible ASCII.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (scheme, authority) = text.split_once("://")?;
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        if !is_scheme {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        let (host, port) = split_port(authority)?;
        let host = host.to_ascii_lowercase();
        if !is_host(&host) {
            return None;
        }
        let port = port.filter(|port| Some(*port) != default_port(&scheme));
        Some(Self { scheme, host, port })
    }

    /// The origin of a URL, such as a `Referer`. A URL with a user name has none.
    #[must_use]
    pub fn of_url(url: &[u8]) -> Option<Self> {
        let start = memchr::memmem::find(url, b"://")? + 3;
        let length = url[start..]
            .iter()
            .position(|b| b"/?#\\".contains(b))
            .unwrap_or(url.len() - start);
        Self::parse(&url[..start + length])
    }

    /// Its scheme, in lower case.
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Its host, in lower case; an IPv6 address in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port, even if that is the scheme's default; `None` if there is none.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port.or_else(|| default_port(&self.scheme))
    }
}

/// One word of `SSE_ALLOW_ORIGIN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedOrigin {
    /// `*`: any origin, without credentials.
    Any,
    /// This one.
    One(Origin),
    /// `https://*.example.org`: any host with at least one label before this one.
    Below(Origin),
}

impl AllowedOrigin {
    /// Reads a word of the setting.
    ///
    /// # Errors
    /// Why it is invalid, and what to write instead.
    pub fn parse(word: &str) -> Result<Self, &'static str> {
        if word == "*" {
            return Ok(Self::Any);
        }
        if word.eq_ignore_ascii_case("null") {
            return Err(
                "every sandboxed page and local file has the origin null, so it names \
                        nobody; leave it out, or write * to let any page read",
            );
        }
        if !word.is_ascii() {
            return Err("not ASCII; write the host as browsers send it, with xn-- \
                        (https://xn--bcher-kva.example)");
        }
        let Some((scheme, authority)) = word.split_once("://") else {
            return Err("no scheme; write https:// or http:// before the host");
        };
        if authority.contains(['/', '?', '#', '\\']) {
            return Err(
                "an origin has no path; write https://host or https://host:port \
                        with nothing after it, not even a slash",
            );
        }
        let other = "not an origin; write https://host, https://host:port, \
                     https://*.host for its subdomains, or *, separated by spaces";
        let below = authority.strip_prefix("*.");
        let host = below.unwrap_or(authority);
        if host.contains('*') {
            return Err("* stands for whole labels at the start only; write \
                        https://*.example.org for all subdomains of example.org");
        }
        let origin = Origin::parse(format!("{scheme}://{host}").as_bytes()).ok_or(other)?;
        match below {
            Some(_) if host.starts_with('[') => Err(other),
            Some(_) => Ok(Self::Below(origin)),
            None => Ok(Self::One(origin)),
        }
    }

    /// Whether it names an origin. [`AllowedOrigin::Any`] does not name one.
    #[must_use]
    pub fn names(&self, origin: &Origin) -> bool {
        match self {
            Self::Any => false,
            Self::One(own) => own == origin,
            Self::Below(parent) => {
                let label = origin.host.strip_suffix(&parent.host);
                parent.scheme == origin.scheme
                    && parent.port == origin.port
                    && label.is_some_and(|label| label.len() > 1 && label.ends_with('.'))
            }
        }
    }
}

/// Splits `host:port`. `None` if what follows the host is not a port.
pub(crate) fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    // The colons of an IPv6 address are inside brackets.
    let after_host = authority.rfind(']').map_or(0, |end| end + 1);
    let Some(colon) = authority[after_host..].find(':') else {
        return Some((authority, None));
    };
    let (host, port) = authority.split_at(after_host + colon);
    let digits = &port[1..];
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((host, Some(digits.parse().ok()?)))
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// Whether it is a host in lower case: labels, none of them empty, or an IPv6 address in
/// brackets.
fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[') {
        return address.strip_suffix(']').is_some_and(|address| {
            !address.is_empty()
                && address
                    .bytes()
                    .all(|b| b.is_ascii_hexdigit() || b":.".contains(&b))
        });
    }
    host.split('.').all(|label| {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
        !label.is_empty() && label.bytes().all(is_plain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(word: &str, origin: &str) -> bool {
        let allowed = AllowedOrigin::parse(word).unwrap();
        Origin::parse(origin.as_bytes()).is_some_and(|origin| allowed.names(&origin))
    }

    #[test]
    fn capitals_and_default_ports_make_no_other_origin() {
        for (word, origin) in [
            ("https://Example.ORG", "https://example.org"),
            ("HTTPS://example.org:443", "https://example.org"),
            ("https://example.org", "https://example.org:443"),
            ("http://example.org:80", "http://example.org"),
            ("https://example.org:8443", "https://EXAMPLE.org:8443"),
            ("http://[::1]:80", "http://[::1]"),
            ("http://[FE80::1]:81", "http://[fe80::1]:81"),
            ("http://10.0.0.1:8080", "http://10.0.0.1:8080"),
            ("http://localhost", "http://localhost"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("chrome-extension://abcd", "chrome-extension://abcd"),
            (
                "https://xn--bcher-kva.example",
                "https://xn--bcher-kva.example",
            ),
        ] {
            assert!(names(word, origin), "{word} {origin}");
        }
        for (word, origin) in [
            ("https://example.org", "http://example.org"),
            ("https://example.org", "https://example.org:80"),
            ("https://example.org:80", "https://example.org"),
            ("https://example.org", "https://www.example.org"),
            ("https://example.org", "https://example.org.evil.example"),
            ("http://[::1]:81", "http://[::1]"),
        ] {
            assert!(!names(word, origin), "{word} {origin}");
        }
    }

    #[test]
    fn a_wildcard_names_subdomains_and_nobody_who_only_looks_like_one() {
        let word = "https://*.Example.org";
        for good in [
            "https://a.example.org",
            "https://a.b.c.example.org",
            "https://A.EXAMPLE.ORG:443",
            "https://xn--bcher-kva.example.org",
        ] {
            assert!(names(word, good), "{good}");
        }
        for bad in [
            "https://example.org",
            "https://.example.org",
            "https://evil-example.org",
            "https://evilexample.org",
            "https://example.org.evil.example",
            "https://a.example.org.evil.example",
            "https://a.example.org:8443",
            "http://a.example.org",
            "https://evil.example/.example.org",
            "https://evil.example#.example.org",
            "https://evil.example?.example.org",
            "https://evil.example\\.example.org",
            "https://evil.example@a.example.org",
            "https://a.example.org@evil.example",
            "https://evil.example:443.example.org",
            "https://a.example.org:",
            "https://a.example.org.",
            "https://a..example.org",
            "https://*.example.org",
            "https://a.example.org, https://b.example.org",
            "https://a.example.org ",
            "https://a.example.org\n",
            "https://\u{e9}.example.org",
            "null",
            "",
        ] {
            assert!(!names(word, bad), "{bad}");
        }
        assert!(names(
            "http://*.example.org:8080",
            "http://a.example.org:8080"
        ));
        assert!(!names("http://*.example.org:8080", "http://a.example.org"));
        assert!(names("http://*.localhost", "http://a.localhost"));
    }

    #[test]
    fn a_word_that_could_never_match_is_refused_with_a_remedy() {
        for (word, remedy) in [
            ("null", "names nobody"),
            ("https://b\u{fc}cher.example", "xn--"),
            ("example.org", "no scheme"),
            ("*.example.org", "no scheme"),
            ("//example.org", "no scheme"),
            ("https://example.org/", "not even a slash"),
            ("https://example.org/a", "not even a slash"),
            ("https://*", "whole labels"),
            ("https://*:8080", "whole labels"),
            ("https://*example.org", "whole labels"),
            ("https://a.*.example.org", "whole labels"),
            ("https://*.*.example.org", "whole labels"),
            ("https://example.org:*", "whole labels"),
            ("*://example.org", "not an origin"),
            ("https://", "not an origin"),
            ("https://*.", "not an origin"),
            ("https://*.[::1]", "not an origin"),
            ("https://user@example.org", "not an origin"),
            ("https://example.org:", "not an origin"),
            ("https://example.org:x", "not an origin"),
            ("https://example.org:+443", "not an origin"),
            ("https://example.org:70000", "not an origin"),
            ("https://a.example,https://b.example", "no path"),
            ("https://a.example,b.example", "not an origin"),
            ("https://[::1", "not an origin"),
        ] {
            let error = AllowedOrigin::parse(word).unwrap_err();
            assert!(error.contains(remedy), "{word}: {error}");
        }
    }

    #[test]
    fn a_url_has_the_origin_of_its_host() {
        let of = |url: &str| Origin::of_url(url.as_bytes());
        let own = Origin::parse(b"https://a.example:8443");
        assert!(own.is_some());
        for url in [
            "https://a.example:8443",
            "https://a.example:8443/",
            "https://A.example:8443/x?y=https://b.example/",
            "https://a.example:8443?x",
        ] {
            assert_eq!(of(url), own, "{url}");
        }
        for url in [
            "",
            "/x",
            "about:blank",
            "https://",
            "https:///x",
            "https://a.example:8443@b.example/",
            "https://u@a.example:8443/",
            "data:text/html,https://a.example:8443",
        ] {
            assert_ne!(of(url), own, "{url}");
        }
    }
}

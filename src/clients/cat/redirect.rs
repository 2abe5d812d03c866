//! Redirect: the target of a `Location`, and whether secrets may be sent there.
//!
//! The HTTP library could follow redirects itself, but it sends custom fields to any host, and
//! `Authorization` to any port of the same host.

use ureq::http::Uri;

/// A redirect that cannot be followed. The text is for people.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::clients) struct BadLocation(pub(super) &'static str);

/// Whether a status asks to continue at its `Location` (RFC 9110 §15.4).
pub(in crate::clients) fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// Whether two URLs have the same scheme, host and port (RFC 6454 §5).
pub(in crate::clients) fn is_same_origin(one: &Uri, other: &Uri) -> bool {
    let origin = |uri: &Uri| {
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let default = if scheme == "https" { 443 } else { 80 };
        let host = uri.host()?.to_ascii_lowercase();
        Some((host, uri.port_u16().unwrap_or(default), scheme))
    };
    let (one, other) = (origin(one), origin(other));
    one.is_some() && one == other
}

/// The URL of `location`, relative to `base` (RFC 3986 §5.2).
///
/// # Errors
/// When it is not an `http` or `https` URL, or contains a user name.
pub(in crate::clients) fn resolve(base: &Uri, location: &str) -> Result<Uri, BadLocation> {
    let location = location.split('#').next().unwrap_or_default().trim();
    let scheme = base.scheme_str().unwrap_or("http");
    let authority = base.authority().map_or("", |authority| authority.as_str());
    let absolute = if has_scheme(location) {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else {
        let target = target(base, location);
        format!("{scheme}://{authority}{target}")
    };
    let uri: Uri = absolute
        .parse()
        .map_err(|_| BadLocation("a redirect to what is not a URL"))?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(authority)) if authority.as_str().contains('@') => {
            Err(BadLocation("a redirect to a URL with a user's name in it"))
        }
        (Some("http" | "https"), Some(_)) => Ok(uri),
        _ => Err(BadLocation("a redirect to neither http nor https")),
    }
}

fn has_scheme(location: &str) -> bool {
    let end = location.find([':', '/', '?']);
    end.is_some_and(|end| end > 0 && location.as_bytes()[end] == b':')
}

/// Path and query of a reference without scheme and host.
fn target(base: &Uri, location: &str) -> String {
    let (path, query) = match location.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (location, None),
    };
    let (path, query) = match path {
        "" => (base.path().to_owned(), query.or_else(|| base.query())),
        path if path.starts_with('/') => (without_dots(path), query),
        path => {
            let folder = base.path().rfind('/').map_or("/", |at| &base.path()[..=at]);
            (without_dots(&format!("{folder}{path}")), query)
        }
    };
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    }
}

/// An absolute path without `.` and `..` (RFC 3986 §5.2.4).
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            other => kept.push(other),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_resolved_as_rfc_3986_says() {
        let base: Uri = "http://a:8080/b/c/d?q".parse().unwrap();
        for (location, expected) in [
            ("https://x/y?z", "https://x/y?z"),
            ("HTTP://x:81", "http://x:81/"),
            ("//x/y", "http://x/y"),
            ("/y#part", "http://a:8080/y"),
            ("y", "http://a:8080/b/c/y"),
            ("./y", "http://a:8080/b/c/y"),
            ("../y?u=http://z/", "http://a:8080/b/y?u=http://z/"),
            ("../../../..", "http://a:8080/"),
            ("?y", "http://a:8080/b/c/d?y"),
            ("", "http://a:8080/b/c/d?q"),
            ("y/..", "http://a:8080/b/c/"),
        ] {
            let resolved = resolve(&base, location).map(|uri| uri.to_string());
            assert_eq!(resolved.as_deref(), Ok(expected), "{location}");
        }
        for bad in [
            "ftp://x/",
            "javascript:alert(1)",
            "http://me:pw@x/",
            "http://",
            "http://a b/",
        ] {
            assert!(resolve(&base, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let is_same =
            |one: &str, other: &str| is_same_origin(&one.parse().unwrap(), &other.parse().unwrap());
        for (one, other) in [
            ("http://a/x", "http://A:80/y"),
            ("https://a/", "https://a:443/"),
            ("http://[::1]:8/", "http://[::1]:8/z"),
        ] {
            assert!(is_same(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("http://a/", "http://a:8080/"),
            ("http://a/", "https://a/"),
            ("http://a:443/", "https://a/"),
            ("http://a/", "http://b/"),
            ("http://a/", "http://a.b/"),
        ] {
            assert!(!is_same(one, other), "{one} {other}");
        }
    }
}

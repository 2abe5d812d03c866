//! The stream and the file name that a request asks for.

use super::meta::MetaVariables;

/// The stream that a request names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestedStream {
    /// By `SSE_STREAM`.
    Set(String),
    /// By the last component of the path, without `nph-` and suffix; `SSE_STREAM` is not set.
    Named(String),
}

impl RequestedStream {
    /// Reads `SSE_STREAM`, or else the base name of `SCRIPT_NAME` (`PATH_INFO` where a
    /// gateway leaves that empty, as h2o does).
    #[must_use]
    pub fn of(meta: &MetaVariables) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if let Some(name) = meta.get("SSE_STREAM").last() {
            return Self::Set(text(name));
        }
        let script = meta.get("SCRIPT_NAME").last();
        let path = script.or(meta.get("PATH_INFO").last()).unwrap_or_default();
        let base = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        let base = base.strip_prefix(b"nph-").unwrap_or(base);
        let stem = match base.iter().position(|b| *b == b'.') {
            Some(dot) => &base[..dot],
            None => base,
        };
        Self::Named(text(stem))
    }
}

/// The name below `SSE_ROOT` in a FastCGI gateway's variables, as a path that begins with a
/// slash.
///
/// It is `PATH_INFO` if `SCRIPT_NAME` separates the location from it. Some gateways do not:
/// with Apache's `mod_proxy_fcgi`, and nginx without `fastcgi_split_path_info`, `SCRIPT_NAME`
/// is the whole path; with h2o `PATH_INFO` is. Then the location's prefix is removed:
/// `SSE_PREFIX` if it is set, otherwise the first component of a path that has more than one.
/// Nothing else is tried: a name must have one meaning, because the server's access rules
/// apply to the path.
#[must_use]
pub fn path_below(meta: &MetaVariables) -> Option<Vec<u8>> {
    let path_info = meta.get("PATH_INFO").last();
    let script = meta.get("SCRIPT_NAME").last();
    let whole = match (path_info, script) {
        (Some(path), Some(_)) => return Some(path.to_vec()),
        (Some(path), None) | (None, Some(path)) => path,
        (None, None) => return None,
    };
    if let Some(prefix) = meta.get("SSE_PREFIX").last() {
        let prefix = prefix.strip_suffix(b"/").unwrap_or(prefix);
        let rest = whole.strip_prefix(prefix)?;
        return rest.starts_with(b"/").then(|| rest.to_vec());
    }
    let second = whole.iter().skip(1).position(|b| *b == b'/');
    Some(second.map_or(whole, |slash| &whole[slash + 1..]).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_named_by_its_setting_or_the_last_part_of_the_path() {
        let check = |pairs: &[(&str, &str)], expected: RequestedStream| {
            assert_eq!(
                RequestedStream::of(&MetaVariables::of(pairs)),
                expected,
                "{pairs:?}"
            );
        };
        let named = |name: &str| RequestedStream::Named(name.into());
        let set = [("SSE_STREAM", "tail"), ("SCRIPT_NAME", "/clock")];
        check(&set, RequestedStream::Set("tail".into()));
        check(&[("SCRIPT_NAME", "/cgi-bin/nph-clock.cgi")], named("clock"));
        check(&[("SCRIPT_NAME", "/events/clock")], named("clock"));
        check(&[("PATH_INFO", "/events/clock")], named("clock"));
        check(&[("SCRIPT_NAME", "/events/")], named(""));
        check(&[], named(""));
    }

    #[test]
    fn every_gateway_names_the_same_file() {
        let check = |pairs: &[(&str, &str)], expected: Option<&str>| {
            let got = path_below(&MetaVariables::of(pairs));
            assert_eq!(got.as_deref(), expected.map(str::as_bytes), "{pairs:?}");
        };
        // nginx with fastcgi_split_path_info, lighttpd, Apache's mod_fcgid.
        let split = [("SCRIPT_NAME", "/events"), ("PATH_INFO", "/a/b.log")];
        check(&split, Some("/a/b.log"));
        // mod_proxy_fcgi, and nginx without it.
        check(&[("SCRIPT_NAME", "/events/a/b.log")], Some("/a/b.log"));
        let empty = [("SCRIPT_NAME", "/events/a.log"), ("PATH_INFO", "")];
        check(&empty, Some("/a.log"));
        // h2o.
        let h2o = [("SCRIPT_NAME", ""), ("PATH_INFO", "/events/a.log")];
        check(&h2o, Some("/a.log"));
        // A location that covers the whole server.
        check(&[("SCRIPT_NAME", "/a.log")], Some("/a.log"));
        check(&[], None);
        let deep = ("SCRIPT_NAME", "/live/events/a/b.log");
        check(&[deep, ("SSE_PREFIX", "/live/events")], Some("/a/b.log"));
        check(&[deep, ("SSE_PREFIX", "/live/events/")], Some("/a/b.log"));
        check(&[deep, ("SSE_PREFIX", "/")], Some("/live/events/a/b.log"));
        check(&[deep, ("SSE_PREFIX", "/other")], None);
        check(&[deep, ("SSE_PREFIX", "/live/ev")], None);
    }
}

//! Presented: what a client presents for access: in its query, in cookies, or as a Bearer
//! token.

use std::borrow::Cow;

use super::Carrier;
use super::path::escape;
use crate::request::MetaVariables;
use crate::request::query::fields;

/// The largest number of cookies of the configured names that are tried. A browser sends one
/// for each path at which it was set.
const COOKIES_MAX: usize = 8;

/// One text that may give access: the fields of a signed link, or a JWT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Presented<'a> {
    pub(super) carrier: Carrier,
    pub(super) text: Cow<'a, [u8]>,
}

/// Collects what a request presents. `cookies` are the names of `SSE_COOKIE`.
pub(super) fn presented<'a>(meta: &'a MetaVariables, cookies: &[String]) -> Vec<Presented<'a>> {
    let query = meta.get("QUERY_STRING").last().unwrap_or_default();
    let mut found = vec![Presented {
        carrier: Carrier::Query,
        text: query.into(),
    }];
    let mut tokens = fields(query).filter(|(name, _)| &**name == b"token");
    // Of two, a server in front may have checked the other one.
    if let (Some((_, token)), None) = (tokens.next(), tokens.next()) {
        found.push(Presented {
            carrier: Carrier::Query,
            text: token,
        });
    }
    if let Some(token) = (meta.get("HTTP_AUTHORIZATION").last()).and_then(bearer) {
        found.push(Presented {
            carrier: Carrier::Bearer,
            text: token.into(),
        });
    }
    if !cookies.is_empty() {
        let field = meta.get("HTTP_COOKIE");
        let values = match field {
            crate::request::Value::Absent => Vec::new(),
            crate::request::Value::One(value) => vec![value],
            // HTTP/2 splits the field (RFC 9113 §8.2.3).
            crate::request::Value::Repeated(values) => values,
        };
        let pairs = (values.into_iter()).flat_map(|value| value.split(|byte| *byte == b';'));
        let texts = pairs.filter_map(|pair| cookie(pair, cookies));
        found.extend(texts.take(COOKIES_MAX).map(|text| Presented {
            carrier: Carrier::Cookie,
            text,
        }));
    }
    found
}

/// Whether the query of a request contains what gives access. Such a query must not get into a
/// log.
#[must_use]
pub fn carries_secret(meta: &MetaVariables) -> bool {
    let query = meta.get("QUERY_STRING").last().unwrap_or_default();
    fields(query).any(|(name, _)| matches!(&*name, b"t" | b"token"))
}

/// The token of `Bearer <token>` (RFC 6750 §2.1).
fn bearer(field: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = field.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}

/// The value of a cookie pair (RFC 6265 §4.2.1) that has one of these names.
fn cookie<'a>(pair: &'a [u8], names: &[String]) -> Option<Cow<'a, [u8]>> {
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    let name = pair[..equals].trim_ascii();
    if !names.iter().any(|own| own.as_bytes() == name) {
        return None;
    }
    let value = pair[equals + 1..].trim_ascii();
    let unquoted = value
        .strip_prefix(b"\"")
        .and_then(|value| value.strip_suffix(b"\""));
    Some(as_set(unquoted.unwrap_or(value)))
}

/// The value that an application set. Many libraries (PHP's `setcookie`, Express) encode it
/// once more: then its `&` are `%26`. A link contains two `&`, so it shows.
fn as_set(value: &[u8]) -> Cow<'_, [u8]> {
    if value.contains(&b'&') || !value.contains(&b'%') {
        return value.into();
    }
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&byte, after)) = rest.split_first() {
        match escape(rest) {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[3..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pairs: &[(&str, &str)], expected: &[(Carrier, &str)]) {
        let meta = MetaVariables::of(pairs);
        let names = ["sse".to_owned(), "other".to_owned()];
        let found = presented(&meta, &names);
        let found: Vec<_> = (found.iter().skip(1))
            .map(|one| (one.carrier, std::str::from_utf8(&one.text).unwrap()))
            .collect();
        assert_eq!(found, expected, "{pairs:?}");
    }

    #[test]
    fn a_query_field_a_cookie_or_a_bearer_token_may_give_access() {
        check(&[], &[]);
        check(
            &[("QUERY_STRING", "token=a.b.c&x")],
            &[(Carrier::Query, "a.b.c")],
        );
        check(&[("QUERY_STRING", "token=a&token=b")], &[]);
        for field in ["Bearer e=1&p=/a", "bearer  e=1&p=/a "] {
            let expected = [(Carrier::Bearer, "e=1&p=/a")];
            check(&[("HTTP_AUTHORIZATION", field)], &expected);
        }
        check(&[("HTTP_AUTHORIZATION", "Basic e=1")], &[]);
    }

    #[test]
    fn a_query_with_a_link_or_a_token_is_secret() {
        let is_secret = |query| carries_secret(&MetaVariables::of(&[("QUERY_STRING", query)]));
        assert!(is_secret("e=1&p=/&t=0") && is_secret("x&token=y") && is_secret("%74=0"));
        assert!(!is_secret("") && !is_secret("tt=1&x=t"));
    }

    #[test]
    fn cookies_are_read_as_libraries_write_them() {
        for value in [
            "sse=e=1&p=/a&t=0",
            "x=y; sse=e=1&p=/a&t=0; z",
            "sse=\"e=1&p=/a&t=0\"",
            "sse=e%3D1%26p%3D/a%26t%3D0",
            "sse=e%3D1%26p%3D%2Fa%26t%3D0",
        ] {
            check(
                &[("HTTP_COOKIE", value)],
                &[(Carrier::Cookie, "e=1&p=/a&t=0")],
            );
        }
        check(
            &[("HTTP_COOKIE", "sse=a; other=b; sse=c; SSE=d; ssex=e; sse")],
            &[
                (Carrier::Cookie, "a"),
                (Carrier::Cookie, "b"),
                (Carrier::Cookie, "c"),
            ],
        );
        check(
            &[("HTTP_COOKIE", "sse=a"), ("HTTP_COOKIE", "sse=b%")],
            &[(Carrier::Cookie, "a"), (Carrier::Cookie, "b%")],
        );
        let many = "sse=a;".repeat(100);
        check(&[("HTTP_COOKIE", &many)], &[(Carrier::Cookie, "a"); 8]);
    }
}

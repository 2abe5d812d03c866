//! Redact: a request's target without the secrets of its query, for logs.

use std::borrow::Cow;

use super::fields;
use crate::request::LastId;

/// The fields of a query whose values are secrets, in lower case. `token`, `t`, `access_token`
/// and `authorization` (the Mercure protocol) are what a client proves with who it is. An id
/// identifies a private session, whose stream any client that knows it can read; the names that
/// it has are those of [`LastId::QUERY_NAMES`], too.
const SECRETS: [&[u8]; 8] = [
    b"token",
    b"t",
    b"access_token",
    b"auth",
    b"authorization",
    b"session",
    b"secret",
    b"password",
];

/// What stands for a value.
const REMOVED: &[u8] = b"***";

/// The same text with the values of secrets replaced by `***`. It may be a target, a URL, or a
/// whole request line, malformed or not: everything between a `?` and the next space or `#` is
/// read as a query.
#[must_use]
pub fn redacted(text: &[u8]) -> Cow<'_, [u8]> {
    let Some(at) = text.iter().position(|b| *b == b'?') else {
        return text.into();
    };
    let (before, query) = text.split_at(at + 1);
    let end = query.iter().position(|b| matches!(b, b' ' | b'#'));
    let (query, after) = query.split_at(end.unwrap_or(query.len()));
    let mut safe = before.to_vec();
    for (number, field) in query.split(|b| *b == b'&').enumerate() {
        if number > 0 {
            safe.push(b'&');
        }
        match field.iter().position(|b| *b == b'=') {
            Some(equals) if is_secret(field) => {
                safe.extend_from_slice(&field[..=equals]);
                safe.extend_from_slice(REMOVED);
            }
            _ => safe.extend_from_slice(field),
        }
    }
    safe.extend_from_slice(after);
    safe.into()
}

/// Whether the name of a field, however it is encoded and in whatever case, is that of a secret,
/// or its value is an address with one, as a page of ours has it in `?stream=`.
fn is_secret(field: &[u8]) -> bool {
    let is_named = |name: &[u8]| {
        let is_id = |own: &&str| own.as_bytes().eq_ignore_ascii_case(name);
        SECRETS.iter().any(|own| own.eq_ignore_ascii_case(name))
            || LastId::QUERY_NAMES.iter().any(is_id)
    };
    fields(field).any(|(name, value)| {
        let query = value.splitn(2, |byte| *byte == b'?').nth(1);
        is_named(&name) || query.is_some_and(|query| fields(query).any(|(name, _)| is_named(&name)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let got = redacted(text.as_bytes()).into_owned();
        assert_eq!(String::from_utf8(got).unwrap(), expected);
    }

    #[test]
    fn the_values_of_secrets_are_left_out_and_nothing_else() {
        check("/events/app.log", "/events/app.log");
        check("/e?filter=x&nick=me", "/e?filter=x&nick=me");
        check("/e?token=abc", "/e?token=***");
        check("/e?a=1&t=abc&b=2", "/e?a=1&t=***&b=2");
        check("/e?%74oken=abc&TOKEN=d", "/e?%74oken=***&TOKEN=***");
        check("/e?session=3f0c=x#y", "/e?session=***#y");
        check("/e?token&token=", "/e?token&token=***");
        check("/e?", "/e?");
        check("/e?&&=&t=1", "/e?&&=&t=***");
        for name in LastId::QUERY_NAMES {
            check(
                &format!("/e?{name}=12-ab&x=1"),
                &format!("/e?{name}=***&x=1"),
            );
        }
        check("GET /e?t=1 HTTP/1.1 x=2", "GET /e?t=*** HTTP/1.1 x=2");
        check("/?stream=/e%3Fe=1%26t%3Dabc&x=1", "/?stream=***&x=1");
        check("/?stream=/e?x=1%26%74=abc", "/?stream=***");
        check("/?stream=/e%3Ffilter%3Dt", "/?stream=/e%3Ffilter%3Dt");
        check("https://h/?a=b&token=c", "https://h/?a=b&token=***");
    }
}

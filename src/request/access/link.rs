//! SignedLink: the three fields of a signed link.

use std::borrow::Cow;

use super::Purpose;
use super::keys::SigningKeys;
use crate::request::query::fields;

/// `e=<unix time>&p=<path prefix>&t=<hex>`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SignedLink<'a> {
    /// The digits as they were sent: they are what is signed.
    expires: Cow<'a, [u8]>,
    prefix: Cow<'a, [u8]>,
    tag: [u8; 32],
}

/// The fields that were found; the second value of a name makes it [`Field::Doubled`].
enum Field<'a> {
    Absent,
    One(Cow<'a, [u8]>),
    Doubled,
}

impl<'a> Field<'a> {
    fn add(&mut self, value: Cow<'a, [u8]>) {
        *self = match self {
            Self::Absent => Self::One(value),
            _ => Self::Doubled,
        };
    }

    fn one(self) -> Option<Cow<'a, [u8]>> {
        match self {
            Self::One(value) => Some(value),
            _ => None,
        }
    }
}

impl<'a> SignedLink<'a> {
    /// The most digits of a time, in seconds: more than a million years.
    const DIGITS_MAX: usize = 14;

    /// Reads the fields of a query. `None` if one is missing, malformed or doubled: of two
    /// values, a server in front may have checked the other one.
    pub(super) fn parse(query: &'a [u8]) -> Option<Self> {
        let (mut expires, mut prefix, mut tag) = (Field::Absent, Field::Absent, Field::Absent);
        for (name, value) in fields(query) {
            match &*name {
                b"e" => expires.add(value),
                b"p" => prefix.add(value),
                b"t" => tag.add(value),
                _ => {}
            }
        }
        let link = Self {
            expires: expires.one()?,
            prefix: prefix.one()?,
            tag: hex(&tag.one()?)?,
        };
        let digits = &link.expires;
        let is_time =
            (1..=Self::DIGITS_MAX).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
        is_time.then_some(link)
    }

    /// Whether one of the keys has signed it for this purpose.
    pub(super) fn is_signed(&self, purpose: Purpose, keys: &SigningKeys) -> bool {
        let text = [purpose.label(), &self.expires, &self.prefix].join(&b'\n');
        keys.verify(&text, &self.tag)
    }

    /// The prefix of the paths that it opens.
    pub(super) fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// When it expires, in seconds since 1970.
    pub(super) fn expires_unix_s(&self) -> u64 {
        self.expires
            .iter()
            .fold(0, |seconds, digit| seconds * 10 + u64::from(digit - b'0'))
    }
}

/// The bytes of 64 hexadecimal digits.
fn hex(text: &[u8]) -> Option<[u8; 32]> {
    if text.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        // Two digits are less than 256.
        *byte = (digit(0)? << 4 | digit(1)?) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TAG: &str = "00112233445566778899aabbccddeeffAABBCCDDEEFF00112233445566778899";

    #[track_caller]
    fn check(query: &str, expected: Option<(u64, &str)>) {
        let link = SignedLink::parse(query.as_bytes());
        let found = link.as_ref().map(|link| {
            let prefix = std::str::from_utf8(&link.prefix).unwrap();
            (link.expires_unix_s(), prefix)
        });
        assert_eq!(found, expected, "{query}");
    }

    #[test]
    fn a_link_has_three_fields_in_any_order_among_others() {
        check(&format!("e=17&p=%2Fa%20b&t={TAG}"), Some((17, "/a b")));
        check(
            &format!("lastEventId=x&t={TAG}&p=/a&&filter=y&e=99999999999999"),
            Some((99_999_999_999_999, "/a")),
        );
    }

    #[test]
    fn a_field_that_is_missing_malformed_or_doubled_makes_no_link() {
        for query in [
            "",
            "e=1&p=/a",
            "p=/a&t=00",
            &format!("e=1&t={TAG}"),
            &format!("e=&p=/a&t={TAG}"),
            &format!("e=-1&p=/a&t={TAG}"),
            &format!("e=1.5&p=/a&t={TAG}"),
            &format!("e=+1&p=/a&t={TAG}"),
            &format!("e=1%0A&p=/a&t={TAG}"),
            &format!("e=999999999999999&p=/a&t={TAG}"),
            &format!("e=1&e=1&p=/a&t={TAG}"),
            &format!("e=1&p=/a&p=/b&t={TAG}"),
            &format!("e=1&p=/a&t={TAG}&t={TAG}"),
            &format!("e=1&p=/a&t={TAG}0"),
            &format!("e=1&p=/a&t={}", &TAG[1..]),
            &format!("e=1&p=/a&t=g{}", &TAG[1..]),
            &format!("e=1&p=/a&t={}%00", &TAG[1..]),
        ] {
            check(query, None);
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(query in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = SignedLink::parse(&query);
            let _ = hex(&query);
        }
    }
}

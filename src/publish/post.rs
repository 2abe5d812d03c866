//! What a POST says of itself before its body.

use core::net::IpAddr;

use crate::request::MetaVariables;

/// The meta-variables that only the way up needs, beside [`crate::request::Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// `CONTENT_TYPE`.
    pub content_type: Option<Vec<u8>>,
    /// `HTTP_CONTENT_ENCODING`: `gzip` and the like, which we do not undo.
    pub content_encoding: Option<Vec<u8>>,
    /// How long the body is.
    pub length: Length,
    /// `HTTP_AUTHORIZATION`. Apache keeps it back unless told `CGIPassAuth On`.
    pub authorization: Option<Vec<u8>>,
    /// `HTTP_SEC_FETCH_SITE`: where the page that asks stands to us. No page can forge
    /// it (Fetch Metadata, W3C).
    pub fetch_site: Option<Vec<u8>>,
    /// `HTTP_REFERER`: the page that asks, where a browser says it no other way.
    pub referer: Option<Vec<u8>>,
    /// `HTTP_HOST`, the last one: nginx passes two where a location adds its own.
    pub host: Option<Vec<u8>>,
    /// `SERVER_PORT`. Debian's nginx leaves the port out of `HTTP_HOST`.
    pub port: Option<u16>,
    /// Whether the server is known to speak TLS itself (`HTTPS` or `REQUEST_SCHEME`);
    /// behind a proxy that does, it is not.
    pub transport: Transport,
    /// `REMOTE_USER`: whom the web server has authenticated. (nginx's `$remote_user` is
    /// what the client says where `auth_basic` is not on; it is not to be passed there.)
    pub user: Option<Vec<u8>>,
    /// `REMOTE_ADDR`.
    pub address: Option<Vec<u8>>,
    /// `HTTP_X_SESSION_ID`: the session that is posted to, or by.
    pub session: Option<Vec<u8>>,
}

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// `CONTENT_LENGTH` bytes.
    Known(u64),
    /// It goes on to the end of the input: chunked in HTTP, decoded by the server.
    ToTheEnd,
    /// `CONTENT_LENGTH` is no number.
    Malformed,
}

/// How the request reached the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Over TLS.
    Tls,
    /// Unencrypted, or over TLS that ended before this server.
    Unknown,
}

impl Post {
    /// Reads what the gateway hands over.
    #[must_use]
    pub fn from_meta(meta: &MetaVariables) -> Self {
        let one = |name: &str| meta.get(name).last().map(<[u8]>::to_vec);
        let is_tls = one("HTTPS").is_some_and(|value| value.eq_ignore_ascii_case(b"on"))
            || one("REQUEST_SCHEME").as_deref() == Some(b"https");
        Self {
            content_type: meta.joined("CONTENT_TYPE"),
            content_encoding: meta.joined("HTTP_CONTENT_ENCODING"),
            length: Length::of(meta),
            authorization: meta.joined("HTTP_AUTHORIZATION"),
            fetch_site: meta.joined("HTTP_SEC_FETCH_SITE"),
            referer: meta.joined("HTTP_REFERER"),
            host: one("HTTP_HOST"),
            port: one("SERVER_PORT")
                .and_then(|port| std::str::from_utf8(&port).ok()?.parse().ok())
                .filter(|port| *port != 0),
            transport: if is_tls {
                Transport::Tls
            } else {
                Transport::Unknown
            },
            user: one("REMOTE_USER"),
            address: one("REMOTE_ADDR"),
            session: meta.joined("HTTP_X_SESSION_ID"),
        }
    }

    /// What a client is known by where it may publish only so often: its name, else its
    /// address, of which the first 64 bits count in IPv6, since they are what one
    /// customer has.
    #[must_use]
    pub fn client(&self) -> Vec<u8> {
        if let Some(user) = &self.user {
            return [b"user ", &user[..]].concat();
        }
        let text = self.address.as_deref().unwrap_or_default();
        let address = std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse::<IpAddr>().ok());
        match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V4(address)) => address.octets().to_vec(),
            Some(IpAddr::V6(address)) => address.octets()[..8].to_vec(),
            None => text.to_vec(),
        }
    }
}

impl Length {
    /// Where both are told, the coding counts: a length that came with it is of the
    /// coded body (RFC 9112 §6.3).
    fn of(meta: &MetaVariables) -> Self {
        let is_coded = meta
            .get("HTTP_TRANSFER_ENCODING")
            .last()
            .is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity"));
        let Some(length) = meta.get("CONTENT_LENGTH").last() else {
            return Self::ToTheEnd;
        };
        if is_coded {
            return Self::ToTheEnd;
        }
        if !length.iter().all(u8::is_ascii_digit) {
            return Self::Malformed;
        }
        // One too large to hold is larger than any limit.
        let text = std::str::from_utf8(length).unwrap_or_default();
        Self::Known(text.parse().unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_a_number_or_the_end_of_the_input() {
        for (pairs, expected) in [
            (&[][..], Length::ToTheEnd),
            (&[("CONTENT_LENGTH", "")], Length::ToTheEnd),
            (&[("CONTENT_LENGTH", "0")], Length::Known(0)),
            (&[("CONTENT_LENGTH", "17")], Length::Known(17)),
            (
                &[("CONTENT_LENGTH", "99999999999999999999")],
                Length::Known(u64::MAX),
            ),
            (&[("CONTENT_LENGTH", "+1")], Length::Malformed),
            (&[("CONTENT_LENGTH", "1 ")], Length::Malformed),
            (
                &[
                    ("CONTENT_LENGTH", "5"),
                    ("HTTP_TRANSFER_ENCODING", "chunked"),
                ],
                Length::ToTheEnd,
            ),
        ] {
            let meta = MetaVariables::of(pairs);
            assert_eq!(Post::from_meta(&meta).length, expected, "{pairs:?}");
        }
    }

    #[test]
    fn a_client_is_its_name_or_its_address() {
        let client = |pairs: &[(&str, &str)]| Post::from_meta(&MetaVariables::of(pairs)).client();
        let at = |address: &str| client(&[("REMOTE_ADDR", address)]);
        assert_eq!(at("192.0.2.7"), [192, 0, 2, 7]);
        assert_eq!(at("::ffff:192.0.2.7"), [192, 0, 2, 7]);
        assert_eq!(at("2001:db8:1:2:3::4"), at("2001:db8:1:2:ffff::1"));
        assert_ne!(at("2001:db8:1:2::"), at("2001:db8:1:3::"));
        assert_eq!(at("unix:"), b"unix:");
        assert_eq!(
            client(&[("REMOTE_ADDR", "::1"), ("REMOTE_USER", "eve")]),
            b"user eve"
        );
    }
}

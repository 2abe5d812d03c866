//! The meta-variables of a POST that concern publishing.

use core::net::IpAddr;

use crate::request::MetaVariables;

/// The meta-variables that only publishing uses, in addition to [`crate::request::Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostFields {
    /// `CONTENT_TYPE`.
    pub content_type: Option<Vec<u8>>,
    /// `HTTP_CONTENT_ENCODING`, such as `gzip`, which is not supported.
    pub content_encoding: Option<Vec<u8>>,
    /// The length of the body.
    pub length: Length,
    /// `HTTP_AUTHORIZATION`. Apache passes it only with `CGIPassAuth On`.
    pub authorization: Option<Vec<u8>>,
    /// `HTTP_SEC_FETCH_SITE`: the relation of the page's origin to the requested one. No page
    /// can forge it (Fetch Metadata, W3C).
    pub fetch_site: Option<Vec<u8>>,
    /// `HTTP_REFERER`: the page that sent the request, for browsers that name it nowhere else.
    pub referer: Option<Vec<u8>>,
    /// `HTTP_HOST`, the last one: nginx passes two if a location adds its own.
    pub host: Option<Vec<u8>>,
    /// `SERVER_PORT`. Debian's nginx omits the port in `HTTP_HOST`.
    pub port: Option<u16>,
    /// Whether the server itself is known to speak TLS (`HTTPS` or `REQUEST_SCHEME`). Behind a
    /// TLS proxy this is unknown.
    pub transport: Transport,
    /// `REMOTE_USER`: the user whom the web server has authenticated. (Where `auth_basic` is
    /// off, nginx's `$remote_user` is an unchecked name that the client sent; a location must
    /// not pass it there.)
    pub user: Option<Vec<u8>>,
    /// `REMOTE_ADDR`.
    pub address: Option<Vec<u8>>,
    /// `HTTP_X_SESSION_ID`: the session that receives the message, or that sends it.
    pub session: Option<Vec<u8>>,
}

/// The length of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// `CONTENT_LENGTH` bytes.
    Known(u64),
    /// It continues to the end of the input: chunked in HTTP, decoded by the server.
    ToTheEnd,
    /// `CONTENT_LENGTH` is not a number.
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

impl PostFields {
    /// Reads the meta-variables.
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

    /// What identifies a client for its rate limit: its user name, otherwise its address. Of an
    /// IPv6 address the first 64 bits count, since one customer has all addresses of such a
    /// network.
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
    /// If both are present, the transfer coding takes precedence: a length beside it is that of
    /// the coded body (RFC 9112 §6.3).
    fn of(meta: &MetaVariables) -> Self {
        let is_coded = meta
            .get("HTTP_TRANSFER_ENCODING")
            .last()
            .is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity"));
        let Some(length) = meta.get("CONTENT_LENGTH").last() else {
            return Self::ToTheEnd;
        };
        // Caddy's -1: it does not know, because the body was chunked.
        if is_coded || length == b"-1" {
            return Self::ToTheEnd;
        }
        if !length.iter().all(u8::is_ascii_digit) {
            return Self::Malformed;
        }
        // A number that does not fit exceeds every limit.
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
            (&[("CONTENT_LENGTH", "-1")], Length::ToTheEnd),
            (&[("CONTENT_LENGTH", "-2")], Length::Malformed),
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
            assert_eq!(PostFields::from_meta(&meta).length, expected, "{pairs:?}");
        }
    }

    #[test]
    fn a_client_is_its_name_or_its_address() {
        let client =
            |pairs: &[(&str, &str)]| PostFields::from_meta(&MetaVariables::of(pairs)).client();
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

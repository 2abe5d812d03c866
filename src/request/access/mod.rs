//! Access: whether a client may open a stream or publish, by a signed link.
//!
//! ```text
//! query, cookies, Bearer ──► presented ──► link ──► signed? for this path? not expired?
//! ```
//!
//! A link is checked without a session and without asking anybody: see docs/signed-links.md.
//! Nothing here reads a file or a clock; `store::key_file` reads the keys.

#[cfg(feature = "jwt")]
mod jwt;
mod keys;
mod link;
mod path;
mod presented;
mod tokens;

use std::path::PathBuf;

use link::SignedLink;
use path::UrlPath;
use presented::presented;

use super::MetaVariables;
use super::settings::{Reader, SettingError, table};

#[cfg(feature = "jwt")]
pub use jwt::read_jwk_set;
pub use keys::{InvalidKeys, SigningKeys};
pub use presented::carries_secret;
pub use tokens::{ReadTokenKeys, Token, TokenKeys, TokenRules};

/// The most signatures of tokens that are checked for a request, however many tokens it has and
/// however many keys fit them. One takes 40 to 160 µs of the event loop, where that of a link takes
/// 1 µs. A browser sends one token, or two with an old cookie; a token without `kid` fits several keys.
const TOKEN_CHECKS_MAX: u32 = 4;

/// The settings of access. Nothing is checked unless a file of keys is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessSettings {
    /// `SSE_KEYS`: the file of the keys of signed links.
    pub keys: Option<PathBuf>,
    /// `SSE_COOKIE`: the names of the cookies that may contain a link.
    pub cookies: Vec<String>,
    /// `SSE_JWT_KEYS`: the file of the keys of JSON Web Tokens.
    pub token_keys: Option<PathBuf>,
    /// What a token must say.
    pub token_rules: TokenRules,
}

/// The keys of a location.
#[derive(Clone, Copy, Default)]
pub struct AccessKeys<'a> {
    /// Those of signed links.
    pub links: Option<&'a SigningKeys>,
    /// Those of tokens.
    pub tokens: Option<&'a dyn TokenKeys>,
}

/// What a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To read a stream.
    Read,
    /// To publish.
    Publish,
}

/// Where a client presented what gave it access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// In the query.
    Query,
    /// In a cookie, which a browser sends by itself, also for a page of another site.
    Cookie,
    /// As a Bearer token.
    Bearer,
}

/// A client has access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// How it showed that.
    pub carrier: Carrier,
    /// When its access ends, in seconds since 1970.
    pub until_unix_s: u64,
}

/// Why a client has no access: for the log. The response is the same for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// It presented nothing, or nothing that is complete.
    Absent,
    /// It presented something that no key has signed for this purpose.
    Unsigned,
    /// The path of the request can be read in more than one way.
    Path,
    /// What it presented is for another path.
    Elsewhere,
    /// What it presented has expired.
    Expired,
}

impl AccessSettings {
    /// Reads the settings.
    pub(super) fn read(read: &mut Reader<'_>) -> Result<Self, SettingError> {
        let text = "not UTF-8; write it as the identity provider does";
        let token_keys = read.path(&table::JWT_KEYS);
        let token_rules = TokenRules {
            audiences: read.words(&table::JWT_AUDIENCE)?,
            issuer: read.string(&table::JWT_ISSUER, text)?,
            claim: read.string(&table::JWT_CLAIM, text)?.unwrap_or_default(),
        };
        if token_keys.is_some() && token_rules.audiences.is_empty() {
            let remedy = "not set, and SSE_JWT_KEYS is set; write the audience (aud) of the \
                          tokens for this site, as the identity provider knows it";
            return Err(SettingError::new(table::JWT_AUDIENCE.name, b"", remedy));
        }
        Ok(Self {
            keys: read.path(&table::KEYS),
            cookies: read.words(&table::COOKIE)?,
            token_keys,
            token_rules,
        })
    }

    /// Whether a client needs access: anything is set that it can be checked with.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.keys.is_some() || self.token_keys.is_some()
    }
}

impl Purpose {
    /// The first line of what is signed.
    fn label(self) -> &'static [u8] {
        match self {
            Self::Read => b"sse1",
            Self::Publish => b"sse1p",
        }
    }
}

impl Refusal {
    /// The line for the log. It contains nothing that the client sent.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => {
                "access: refused (403): the request has no signed link or token, and needs one here"
            }
            Self::Unsigned => {
                "access: refused (403): no key has signed this link for this purpose, or this token \
                 for this audience"
            }
            Self::Path => {
                "access: refused (403): the path contains an empty, . or .. component, a \
                 backslash or a control character, or is encoded twice"
            }
            Self::Elsewhere => "access: refused (403): the link or token is for another path",
            Self::Expired => {
                "access: refused (403): the link or token has expired, or is not valid yet"
            }
        }
    }
}

/// Decides whether a request has access at `unix_ms`. If it presents several links, any one
/// suffices, and the one that ends last counts.
///
/// # Errors
/// The refusal of the link that came closest.
pub fn admit(
    meta: &MetaVariables,
    settings: &AccessSettings,
    keys: AccessKeys<'_>,
    purpose: Purpose,
    unix_ms: u64,
) -> Result<Admission, Refusal> {
    Grants::of(meta, settings, keys, purpose, unix_ms).admit(None)
}

/// What a request presents for access. Signatures are checked once, for whatever paths.
#[derive(Clone, Debug)]
pub struct Grants {
    path: Option<UrlPath>,
    unix_ms: u64,
    checked: Vec<(Carrier, Result<Grant, Refusal>)>,
}

/// A link or token that a key has signed for this purpose.
#[derive(Clone, Debug)]
struct Grant {
    prefixes: Vec<Vec<u8>>,
    until_unix_s: u64,
}

impl Grants {
    /// Checks what a request presents at `unix_ms`.
    #[must_use]
    pub fn of(
        meta: &MetaVariables,
        settings: &AccessSettings,
        keys: AccessKeys<'_>,
        purpose: Purpose,
        unix_ms: u64,
    ) -> Self {
        let mut checks = TOKEN_CHECKS_MAX;
        let mut check = |text: &[u8]| {
            if is_token(text) {
                let token = keys.tokens.ok_or(Refusal::Absent)?;
                let rules = &settings.token_rules;
                let token = token.check(text, rules, purpose, unix_ms, &mut checks)?;
                return Ok(Grant {
                    prefixes: token.prefixes.into_iter().map(String::into_bytes).collect(),
                    until_unix_s: token.until_unix_s,
                });
            }
            let keys = keys.links.ok_or(Refusal::Absent)?;
            let link = SignedLink::parse(text).ok_or(Refusal::Absent)?;
            match link.is_signed(purpose, keys) {
                true => Ok(Grant {
                    prefixes: vec![link.prefix().to_vec()],
                    until_unix_s: link.expires_unix_s(),
                }),
                false => Err(Refusal::Unsigned),
            }
        };
        let presented = presented(meta, &settings.cookies).into_iter();
        Self {
            path: UrlPath::of(meta),
            unix_ms,
            checked: presented
                .map(|one| (one.carrier, check(&one.text)))
                .collect(),
        }
    }

    /// Whether the request's path may be that of a stream instead of that of the location:
    /// what is below it must not be authorised then, for a link for `/a/log` covers
    /// `/a/log/builds`, which is not the stream `builds` of `/a`.
    ///
    /// `names` are the location's streams; `location` is its path, as far as it is known, and it
    /// is known only if nothing follows it in this request.
    #[must_use]
    pub fn may_be_below(&self, names: &[String], location: Option<&[u8]>) -> bool {
        self.path.as_ref().is_some_and(|path| {
            let is_location = location.is_some_and(|location| path.ends_with(location));
            !is_location && path.contains_one_of(names)
        })
    }

    /// Decides whether the request has access: to its path or, with a name, to what has that name
    /// below it, which is one of several streams.
    ///
    /// # Errors
    /// As of [`admit`].
    pub fn admit(&self, name: Option<&str>) -> Result<Admission, Refusal> {
        let path = self.path.clone();
        let path = match name {
            Some(name) => path.and_then(|path| path.below(name)),
            None => path,
        };
        let judge = |grant: &Grant| {
            let path = path.as_ref().ok_or(Refusal::Path)?;
            let mut prefixes = grant.prefixes.iter();
            if !prefixes.any(|prefix| path.is_covered_by(prefix)) {
                return Err(Refusal::Elsewhere);
            }
            match self.unix_ms < grant.until_unix_s.saturating_mul(1000) {
                true => Ok(grant.until_unix_s),
                false => Err(Refusal::Expired),
            }
        };
        let mut best: Result<Admission, Refusal> = Err(Refusal::Absent);
        for (carrier, checked) in &self.checked {
            let judged = checked.as_ref().map_err(|refusal| *refusal).and_then(judge);
            let found = judged.map(|until_unix_s| Admission {
                carrier: *carrier,
                until_unix_s,
            });
            best = match (best, found) {
                (Ok(old), Ok(new)) if new.until_unix_s > old.until_unix_s => Ok(new),
                (Ok(old), _) => Ok(old),
                (Err(_), Ok(new)) => Ok(new),
                (Err(old), Err(new)) => Err(old.max(new)),
            };
        }
        best
    }
}

/// Whether a text has the form of a token: three parts of base64url (RFC 7515 §7.1). A link
/// contains `=`.
fn is_token(text: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    let mut parts = text.split(|byte| *byte == b'.');
    parts.clone().count() == 3 && parts.all(|part| part.iter().all(is_part))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef";
    const OTHER: &str = "another key of at least 32 bytes";

    /// Computed by `printf 'sse1\n2000000000\n/events/a' | openssl dgst -sha256 -hmac KEY`, the
    /// second one of `sse1p`.
    const READ: &str = "e=2000000000&p=/events/a&t=096583dfc8ac2c9ef6e67379d88f4300033e6230f06b885ff0a16c54dc783fe6";
    const PUBLISH: &str = "e=2000000000&p=/events/a&t=dc1987f66a6653bb6361e8fed87358b73a7916de3e0b6d2aace091e6ad6b8ba0";
    const BEFORE: u64 = 1_999_999_999_999;

    fn judge(
        pairs: &[(&str, &str)],
        keys: &str,
        purpose: Purpose,
        unix_ms: u64,
    ) -> Result<Admission, Refusal> {
        let settings = AccessSettings {
            keys: Some("/k".into()),
            cookies: vec!["sse".into()],
            ..AccessSettings::default()
        };
        let keys = SigningKeys::parse(keys.as_bytes()).unwrap();
        let keys = AccessKeys {
            links: Some(&keys),
            tokens: None,
        };
        admit(&MetaVariables::of(pairs), &settings, keys, purpose, unix_ms)
    }

    fn at(path: &str, link: &str) -> Result<Carrier, Refusal> {
        let pairs = [("REQUEST_URI", path), ("QUERY_STRING", link)];
        judge(&pairs, KEY, Purpose::Read, BEFORE).map(|admission| admission.carrier)
    }

    #[test]
    fn a_link_opens_its_path_and_what_is_below_it() {
        assert_eq!(at("/events/a?x", READ), Ok(Carrier::Query));
        assert_eq!(at("/events/a/b", READ), Ok(Carrier::Query));
        assert_eq!(at("/events/%61", READ), Ok(Carrier::Query));
        for path in ["/events/ab", "/events", "/events/A", "/events/a%20"] {
            assert_eq!(at(path, READ), Err(Refusal::Elsewhere), "{path}");
        }
        for path in [
            "/events/a/../b",
            "/events/a/%2e%2e/b",
            "/events//a",
            "/events/a%2f..%2fb",
        ] {
            assert_eq!(at(path, READ), Err(Refusal::Path), "{path}");
        }
    }

    #[test]
    fn any_change_of_a_link_is_refused() {
        assert_eq!(at("/events/a", ""), Err(Refusal::Absent));
        for (from, to) in [
            ("e=2", "e=3"),
            ("e=2", "e=02"),
            ("/events/a", "/events"),
            ("/events/a", "/"),
            ("/events/a", "/events/a/"),
        ] {
            let changed = READ.replace(from, to);
            assert_eq!(
                at("/events/a", &changed),
                Err(Refusal::Unsigned),
                "{changed}"
            );
        }
        for place in READ.len() - 64..READ.len() {
            let mut changed = READ.as_bytes().to_vec();
            changed[place] = if changed[place] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(
                at("/events/a", &changed),
                Err(Refusal::Unsigned),
                "{changed}"
            );
        }
    }

    #[test]
    fn one_of_several_streams_is_below_the_path_of_all() {
        let admit = |uri: &str, name: &str| {
            let settings = AccessSettings {
                keys: Some("/k".into()),
                ..AccessSettings::default()
            };
            let keys = SigningKeys::parse(KEY.as_bytes()).unwrap();
            let keys = AccessKeys {
                links: Some(&keys),
                tokens: None,
            };
            let meta = MetaVariables::of(&[("REQUEST_URI", uri), ("QUERY_STRING", READ)]);
            let read = Purpose::Read;
            let grants = Grants::of(&meta, &settings, keys, read, BEFORE);
            grants.admit(Some(name)).map(|admission| admission.carrier)
        };
        assert_eq!(admit("/events", "a"), Ok(Carrier::Query));
        assert_eq!(admit("/events/", "a"), Ok(Carrier::Query));
        assert_eq!(admit("/events/a", "b"), Ok(Carrier::Query));
        for (uri, name) in [
            ("/events", "ab"),
            ("/events", "b"),
            ("/", "a"),
            ("/events/b", "a"),
        ] {
            assert_eq!(admit(uri, name), Err(Refusal::Elsewhere), "{uri} {name}");
        }
        assert_eq!(admit("/events", ".."), Err(Refusal::Path));
        assert_eq!(admit("/events/../events", "a"), Err(Refusal::Path));
    }

    #[test]
    fn reading_and_publishing_need_links_of_their_own() {
        let judge = |link, purpose| {
            let pairs = [("REQUEST_URI", "/events/a"), ("QUERY_STRING", link)];
            judge(&pairs, KEY, purpose, BEFORE).map(|admission| admission.until_unix_s)
        };
        assert_eq!(judge(READ, Purpose::Read), Ok(2_000_000_000));
        assert_eq!(judge(PUBLISH, Purpose::Publish), Ok(2_000_000_000));
        assert_eq!(judge(READ, Purpose::Publish), Err(Refusal::Unsigned));
        assert_eq!(judge(PUBLISH, Purpose::Read), Err(Refusal::Unsigned));
    }

    #[test]
    fn any_key_of_the_file_signs_and_a_removed_one_does_not() {
        let judge = |keys: &str| {
            let pairs = [("REQUEST_URI", "/events/a"), ("QUERY_STRING", READ)];
            judge(&pairs, keys, Purpose::Read, BEFORE).is_ok()
        };
        assert!(judge(&format!("{KEY}\n{OTHER}")));
        assert!(judge(&format!("{OTHER}\n{KEY}")));
        assert!(!judge(OTHER));
    }

    #[test]
    fn a_link_expires_by_the_wall_clock_wherever_that_jumps() {
        let judge = |unix_ms| {
            let pairs = [("REQUEST_URI", "/events/a"), ("QUERY_STRING", READ)];
            judge(&pairs, KEY, Purpose::Read, unix_ms).map(|_| ())
        };
        assert_eq!(judge(0), Ok(()));
        assert_eq!(judge(BEFORE), Ok(()));
        assert_eq!(judge(BEFORE + 1), Err(Refusal::Expired));
        assert_eq!(judge(u64::MAX), Err(Refusal::Expired));
        assert_eq!(judge(1), Ok(()));
    }

    #[test]
    fn the_link_that_ends_last_counts_wherever_it_is() {
        let bearer = format!("Bearer {READ}");
        let cookie = format!("a=b; sse={READ}");
        let judge = |pairs: &[(&str, &str)]| {
            let pairs = [&[("REQUEST_URI", "/events/a")], pairs].concat();
            judge(&pairs, KEY, Purpose::Read, BEFORE).map(|admission| admission.carrier)
        };
        assert_eq!(
            judge(&[("HTTP_AUTHORIZATION", &bearer)]),
            Ok(Carrier::Bearer)
        );
        assert_eq!(judge(&[("HTTP_COOKIE", &cookie)]), Ok(Carrier::Cookie));
        let wrong = ("QUERY_STRING", "e=1&p=/&t=0");
        assert_eq!(
            judge(&[wrong, ("HTTP_COOKIE", &cookie)]),
            Ok(Carrier::Cookie)
        );
        let doubled = [("QUERY_STRING", READ), ("HTTP_COOKIE", &cookie)];
        assert_eq!(judge(&doubled), Ok(Carrier::Query));
    }

    #[test]
    fn no_message_contains_what_a_client_sent() {
        for refusal in [
            Refusal::Absent,
            Refusal::Unsigned,
            Refusal::Path,
            Refusal::Elsewhere,
            Refusal::Expired,
        ] {
            assert!(refusal.as_str().starts_with("access: refused (403): "));
        }
    }
}

//! SigningKey: signs links for the requests of a program itself (docs/signed-links.md).

use std::fmt::{self, Write as _};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use ureq::http::Uri;

use super::UsageError;

/// How long a link is valid. A stream ends with its link, and the next request signs another.
const VALID: Duration = Duration::from_secs(3600);

/// The servers' limits.
const KEY_MIN_BYTES: usize = 32;
const FILE_MAX_BYTES: u64 = 64 << 10;

/// What a link permits: the first line of what is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkPurpose {
    /// To read a stream.
    Read,
    /// To publish.
    Publish,
}

/// A key, the first one of a file of keys.
pub(super) struct SigningKey(Vec<u8>);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

impl SigningKey {
    /// Reads the first key of a file.
    pub(super) fn read(path: &Path) -> Result<Self, UsageError> {
        let wrong =
            |what: &dyn fmt::Display| UsageError(format!("--sign-key {}: {what}", path.display()));
        let metadata = fs::metadata(path).map_err(|error| wrong(&error))?;
        if metadata.len() > FILE_MAX_BYTES {
            return Err(wrong(&"too large for a file of keys"));
        }
        let file = fs::read(path).map_err(|error| wrong(&error))?;
        Self::parse(&file).map_err(|what| wrong(&what))
    }

    fn parse(file: &[u8]) -> Result<Self, String> {
        let file = file.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(file);
        let mut lines = file.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let key = lines.find(|line| !line.is_empty() && line[0] != b'#');
        match key {
            None => Err("no key is in this file".into()),
            Some(key) if key.len() < KEY_MIN_BYTES => {
                Err(format!("its first key has less than {KEY_MIN_BYTES} bytes"))
            }
            Some(key) => Ok(Self(key.to_vec())),
        }
    }

    /// The same address with a link for its path, which is valid for an hour from now.
    pub(super) fn sign(&self, url: &Uri, purpose: LinkPurpose) -> Uri {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        let expires = since_epoch.unwrap_or_default() + VALID;
        self.sign_until(url, purpose, expires.as_secs())
    }

    fn sign_until(&self, url: &Uri, purpose: LinkPurpose, expires: u64) -> Uri {
        let label = match purpose {
            LinkPurpose::Read => "sse1",
            LinkPurpose::Publish => "sse1p",
        };
        let prefix = decoded(url.path());
        let mut text = format!("{label}\n{expires}\n").into_bytes();
        text.extend_from_slice(&prefix);
        let mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        let tag = mac.chain_update(&text).finalize().into_bytes();
        let mut query = url
            .query()
            .map_or(String::new(), |query| format!("{query}&"));
        let _ = write!(query, "e={expires}&p=");
        for byte in prefix {
            let _ = match byte {
                b'/' | b'-' | b'.' | b'_' | b'~' => write!(query, "{}", char::from(byte)),
                byte if byte.is_ascii_alphanumeric() => write!(query, "{}", char::from(byte)),
                byte => write!(query, "%{byte:02X}"),
            };
        }
        query.push_str("&t=");
        for byte in tag {
            let _ = write!(query, "{byte:02x}");
        }
        with_query(url, &query)
    }
}

/// The same address with another query.
fn with_query(url: &Uri, query: &str) -> Uri {
    let mut parts = url.clone().into_parts();
    parts.path_and_query = format!("{}?{query}", url.path()).parse().ok();
    Uri::from_parts(parts).unwrap_or_else(|_| url.clone())
}

/// Undoes percent-encoding.
fn decoded(path: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::with_capacity(path.len()), path.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| byte == b'%');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                rest = &after[2..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    bytes
}

/// An address for a message: without the query if that gives access.
pub(super) fn shown(url: &Uri) -> String {
    let is_secret = |field: &str| field.starts_with("t=") || field.starts_with("token=");
    match url.query() {
        Some(query) if query.split('&').any(is_secret) => {
            let whole = url.to_string();
            let end = whole.find('?').unwrap_or(whole.len());
            format!("{}?…", &whole[..end])
        }
        _ => url.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_link_is_that_of_the_documents() {
        let key = SigningKey::parse(format!("# new\n{KEY}\nold\n").as_bytes()).unwrap();
        // Computed by openssl.
        let read = "096583dfc8ac2c9ef6e67379d88f4300033e6230f06b885ff0a16c54dc783fe6";
        let publish = "dc1987f66a6653bb6361e8fed87358b73a7916de3e0b6d2aace091e6ad6b8ba0";
        for (url, purpose, query) in [
            (
                "http://h:1/events/a",
                LinkPurpose::Read,
                format!("e=2000000000&p=/events/a&t={read}"),
            ),
            (
                "https://h/events/%61?filter=x",
                LinkPurpose::Publish,
                format!("filter=x&e=2000000000&p=/events/a&t={publish}"),
            ),
        ] {
            let url: Uri = url.parse().unwrap();
            let signed = key.sign_until(&url, purpose, 2_000_000_000);
            assert_eq!(signed.query(), Some(&*query));
            assert_eq!(signed.path(), url.path());
            assert_eq!(signed.authority(), url.authority());
        }
        let odd: Uri = "http://h/a%20b&%C3%A9".parse().unwrap();
        let signed = key.sign_until(&odd, LinkPurpose::Read, 1);
        assert!(
            signed
                .query()
                .unwrap()
                .starts_with("e=1&p=/a%20b%26%C3%A9&t=")
        );
    }

    #[test]
    fn a_file_without_a_long_key_is_refused_and_no_key_is_shown() {
        assert_eq!(
            SigningKey::parse(b"# x\n\n").unwrap_err(),
            "no key is in this file"
        );
        assert_eq!(
            SigningKey::parse(b"secret").unwrap_err(),
            "its first key has less than 32 bytes"
        );
        let key = SigningKey::parse(KEY.as_bytes()).unwrap();
        assert_eq!(format!("{key:?}"), "SigningKey");
    }

    #[test]
    fn a_message_shows_no_link() {
        let check = |url: &str, expected: &str| {
            assert_eq!(shown(&url.parse().unwrap()), expected);
        };
        check("http://h/a?x=1", "http://h/a?x=1");
        check("http://h/a?x=1&e=1&p=/a&t=00", "http://h/a?…");
        check("http://h/a?token=x", "http://h/a?…");
    }
}

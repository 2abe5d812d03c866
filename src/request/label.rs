//! Label: the client, method and path of a request for log lines.

use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;

use super::meta::MetaVariables;
use super::settings::Origin;

/// The longest client address and method, in bytes.
const WORD_MAX_BYTES: usize = 64;

/// The longest path, in bytes. Clients choose it, so a longer one is truncated.
const PATH_MAX_BYTES: usize = 200;

/// Client, method and path of a request, as one line of visible ASCII with two spaces.
///
/// It never contains the query, which may hold secrets. The default, for a program without
/// a request, is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Label {
    text: Rc<str>,
    /// Where its settings stand, of those that a settings file has set. A server keeps a label
    /// for each subscriber, and most have none: so this is one pointer.
    origins: Option<Rc<Vec<(&'static str, Origin)>>>,
}

impl Label {
    /// Reads `REMOTE_ADDR`, `REQUEST_METHOD`, and the path as the client requested it:
    /// `REQUEST_URI` up to its query, else `SCRIPT_NAME` and `PATH_INFO`.
    #[must_use]
    pub fn of(meta: &MetaVariables) -> Self {
        let value = |name: &str| meta.get(name).last().unwrap_or_default();
        let client = visible(value("REMOTE_ADDR"), WORD_MAX_BYTES);
        let method = visible(value("REQUEST_METHOD"), WORD_MAX_BYTES);
        let uri = value("REQUEST_URI");
        let path = match uri.split(|&b| b == b'?' || b == b'#').next() {
            Some(path) if !path.is_empty() => visible(path, PATH_MAX_BYTES),
            _ => {
                let path = [value("SCRIPT_NAME"), value("PATH_INFO")].concat();
                visible(&path, PATH_MAX_BYTES)
            }
        };
        let origins = meta.origins();
        Self {
            text: format!("{client} {method} {path}").into(),
            origins: (!origins.is_empty()).then(|| Rc::new(origins.to_vec())),
        }
    }

    /// Whether there is no request.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// A message about a setting of the request, with the line of the settings file that it
    /// comes from before it. Such messages begin with the setting's name.
    #[must_use]
    pub fn locate<'a>(&self, message: &'a str) -> Cow<'a, str> {
        let origins = self
            .origins
            .as_ref()
            .map_or(&[][..], |origins| &origins[..]);
        let name = message.split(['=', ':']).next();
        match origins.iter().find(|(own, _)| Some(*own) == name) {
            Some((_, origin)) => format!("{origin}: {message}").into(),
            None => message.into(),
        }
    }

    /// The client's address; `-` if the gateway does not provide it.
    #[must_use]
    pub fn client(&self) -> &str {
        self.part(0)
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &str {
        self.part(1)
    }

    /// The path without its query; `-` if the gateway does not provide it.
    #[must_use]
    pub fn path(&self) -> &str {
        self.part(2)
    }

    fn part(&self, number: usize) -> &str {
        self.text.split(' ').nth(number).unwrap_or_default()
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The bytes as visible ASCII without spaces, `-` for none, truncated to `most` bytes.
fn visible(bytes: &[u8], most: usize) -> String {
    let mut text = String::new();
    for &byte in bytes {
        if text.len() >= most {
            text.push_str("...");
            break;
        }
        match byte {
            b'!'..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    if text.is_empty() {
        text.push('-');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: (&str, &str) = ("GATEWAY_INTERFACE", "CGI/1.1");
    const GET: (&str, &str) = ("REQUEST_METHOD", "GET");
    const CLIENT: (&str, &str) = ("REMOTE_ADDR", "192.0.2.1");

    #[track_caller]
    fn check(pairs: &[(&str, &str)], expected: &str) {
        let label = Label::of(&MetaVariables::of(pairs));
        assert_eq!(label.to_string(), expected);
        let parts = [label.client(), label.method(), label.path()];
        assert_eq!(parts.join(" "), expected);
    }

    #[test]
    fn a_request_is_named_by_client_method_and_path() {
        let uri = ("REQUEST_URI", "/events/a%20b?token=secret");
        check(&[GATEWAY, GET, CLIENT, uri], "192.0.2.1 GET /events/a%20b");
        let script = ("SCRIPT_NAME", "/cgi-bin/nph-tail.cgi");
        let below = ("PATH_INFO", "/a b\u{e9}");
        check(
            &[GATEWAY, GET, CLIENT, script, below],
            "192.0.2.1 GET /cgi-bin/nph-tail.cgi/a%20b%C3%A9",
        );
        check(&[GATEWAY, GET], "- GET -");
        check(&[], "- - -");
        assert!(Label::default().is_empty());
    }

    #[test]
    fn a_hostile_request_is_one_short_line_of_visible_text() {
        let uri = ("REQUEST_URI", "/x\r\n\u{1b}[2J \u{0}y");
        check(&[GET, CLIENT, uri], "192.0.2.1 GET /x%0D%0A%1B[2J%20%00y");
        let long = "/".repeat(100_000);
        let pairs = [GET, ("REMOTE_ADDR", &long), ("REQUEST_URI", &long)];
        let label = Label::of(&MetaVariables::of(&pairs)).to_string();
        assert!(label.len() < 300, "{}", label.len());
    }
}

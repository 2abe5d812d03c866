//! The head of a request, parsed and judged (RFC 9112 §3, §5, §6).

use httparse::{EMPTY_HEADER, Error};

use super::target::{Target, is_host, is_same_host, split_port};
use super::{Limits, Peer, Rejection, peer};
use crate::request::MetaVariables;

/// What is known of a request once its head is whole.
#[derive(Debug)]
pub(super) struct RequestHead {
    pub(super) meta: MetaVariables,
    pub(super) version: Version,
    pub(super) framing: Framing,
    /// It is HEAD: the response has no body.
    pub(super) is_head: bool,
    /// The client wants the connection kept.
    pub(super) may_keep: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub(super) expects_continue: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http10,
    Http11,
}

/// How the body of a request is delimited (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none, or one of so many bytes.
    Length(u64),
    Chunked,
}

/// Judges the request line alone, once it is whole: a client that speaks something else is
/// told at its first line.
pub(super) fn check_request_line(line: &[u8]) -> Result<(), Rejection> {
    let mut fields = [EMPTY_HEADER; 1];
    let mut request = httparse::Request::new(&mut fields);
    request
        .parse(line)
        .map_err(|error| match rejection(error) {
            Rejection::Version if !has_version(line) => Rejection::RequestLine,
            rejection => rejection,
        })?;
    Target::parse(
        request.method.unwrap_or_default(),
        request.path.unwrap_or_default(),
    )?;
    Ok(())
}

/// Whether a request line has three words, the last of which is a version of HTTP.
fn has_version(line: &[u8]) -> bool {
    let words: Vec<&[u8]> = line.trim_ascii_end().split(|b| *b == b' ').collect();
    matches!(words[..], [_, _, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]]
        if major.is_ascii_digit() && minor.is_ascii_digit())
}

fn rejection(error: Error) -> Rejection {
    match error {
        Error::TooManyHeaders => Rejection::TooManyFields,
        Error::Version => Rejection::Version,
        Error::HeaderName | Error::HeaderValue => Rejection::Field,
        _ => Rejection::RequestLine,
    }
}

/// Parses a whole head, whose lines [`super::scan`] has found to end in CRLF.
pub(super) fn parse(bytes: &[u8], limits: &Limits, peer: &Peer) -> Result<RequestHead, Rejection> {
    let mut fields = vec![EMPTY_HEADER; limits.fields];
    let mut request = httparse::Request::new(&mut fields);
    let parsed = request.parse(bytes).map_err(rejection)?;
    if parsed != httparse::Status::Complete(bytes.len()) {
        return Err(Rejection::RequestLine);
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Err(Rejection::RequestLine);
    };
    let version = match minor {
        0 => Version::Http10,
        _ => Version::Http11,
    };
    let target = Target::parse(method, target)?;
    let fields = Fields(request.headers);
    let host = fields.host(version, target.host)?;
    let framing = fields.framing(version)?;
    let is_head = method == "HEAD";
    if (is_head || method == "GET") && framing != Framing::Length(0) {
        return Err(Rejection::BodyOfGet);
    }
    let expects_continue = fields.expects_continue(version)? && framing != Framing::Length(0);
    let may_keep = match version {
        Version::Http11 => !fields.has_token("Connection", "close"),
        Version::Http10 => {
            fields.has_token("Connection", "keep-alive") && !fields.has_token("Connection", "close")
        }
    };
    Ok(RequestHead {
        meta: meta(method, version, &target, host, framing, &fields, peer),
        version,
        framing,
        is_head,
        may_keep,
        expects_continue,
    })
}

struct Fields<'h>(&'h [httparse::Header<'h>]);

impl<'h> Fields<'h> {
    fn values(&self, name: &str) -> impl Iterator<Item = &'h [u8]> {
        let of_name = move |field: &&httparse::Header| field.name.eq_ignore_ascii_case(name);
        self.0.iter().filter(of_name).map(|field| field.value)
    }

    fn has(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }

    /// Whether one of the words of a list is this one.
    fn has_token(&self, name: &str, token: &str) -> bool {
        let mut words = self
            .values(name)
            .flat_map(|value| value.split(|b| *b == b','));
        words.any(|word| word.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    /// The host that the request is for; empty where an old client does not say.
    fn host(&self, version: Version, of_target: Option<&'h str>) -> Result<&'h [u8], Rejection> {
        let mut values = self.values("Host");
        let host = match (values.next(), values.next(), version) {
            (Some(host), None, _) => host,
            (None, _, Version::Http10) => of_target.unwrap_or_default().as_bytes(),
            _ => return Err(Rejection::HostCount),
        };
        // "Host:" is what a client says that has no name for us (RFC 9110 §7.2).
        if !host.is_empty() && !is_host(host) {
            return Err(Rejection::Host);
        }
        if of_target.is_some_and(|target| !is_same_host(target.as_bytes(), host)) {
            return Err(Rejection::OtherHost);
        }
        Ok(host)
    }

    fn framing(&self, version: Version) -> Result<Framing, Rejection> {
        let mut lengths = self.values("Content-Length");
        let mut codings = self.values("Transfer-Encoding");
        let length = lengths.next();
        if lengths.next().is_some() {
            return Err(Rejection::Length);
        }
        let Some(coding) = codings.next() else {
            return length.map_or(Ok(0), parse_length).map(Framing::Length);
        };
        if length.is_some() {
            return Err(Rejection::LengthAndCoding);
        }
        if codings.next().is_some() || version == Version::Http10 {
            return Err(Rejection::Coding);
        }
        let mut words = coding.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        let is_chunked = |word: &[u8]| word.eq_ignore_ascii_case(b"chunked");
        match (words.next(), words.next()) {
            (Some(word), None) if is_chunked(word) => Ok(Framing::Chunked),
            (Some(word), None) if is_token(word) => Err(Rejection::UnknownCoding),
            _ => Err(Rejection::Coding),
        }
    }

    fn expects_continue(&self, version: Version) -> Result<bool, Rejection> {
        let mut values = self.values("Expect");
        match (values.next(), values.next()) {
            // RFC 9110 §10.1.1: one in HTTP/1.0 is ignored.
            (None, _) => Ok(false),
            (Some(_), _) if version == Version::Http10 => Ok(false),
            (Some(value), None) if value.eq_ignore_ascii_case(b"100-continue") => Ok(true),
            _ => Err(Rejection::Expectation),
        }
    }
}

fn is_token(word: &[u8]) -> bool {
    !word.is_empty() && (word.iter()).all(|b| b.is_ascii_alphanumeric() || b"-_.+!".contains(b))
}

/// Digits only: no sign, no white space, no list, and nothing that overflows.
fn parse_length(value: &[u8]) -> Result<u64, Rejection> {
    let is_number = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| is_number);
    let length = text.and_then(|text| text.parse().ok());
    length.ok_or(Rejection::Length)
}

/// The request as a gateway would hand it over (RFC 3875 §4.1). The whole path is
/// `PATH_INFO`; who knows the locations divides it.
fn meta(
    method: &str,
    version: Version,
    target: &Target,
    host: &[u8],
    framing: Framing,
    fields: &Fields,
    peer: &Peer,
) -> MetaVariables {
    let protocol = match version {
        Version::Http10 => "HTTP/1.0",
        Version::Http11 => "HTTP/1.1",
    };
    let mut meta = MetaVariables::default();
    meta.push("GATEWAY_INTERFACE", b"CGI/1.1");
    meta.push("SERVER_PROTOCOL", protocol.as_bytes());
    meta.push("REQUEST_METHOD", method.as_bytes());
    meta.push("REQUEST_URI", target.uri.as_bytes());
    meta.push("PATH_INFO", &target.path);
    meta.push("QUERY_STRING", target.query.as_bytes());
    meta.push("REQUEST_SCHEME", b"http");
    meta.push("REMOTE_ADDR", peer::shown(peer.client).as_bytes());
    meta.push("SERVER_ADDR", peer::shown(peer.server).as_bytes());
    meta.push("SERVER_NAME", split_port(host).0);
    if let Some(server) = peer.server {
        meta.push("SERVER_PORT", server.port().to_string().as_bytes());
    }
    if let (Framing::Length(length), true) = (framing, fields.has("Content-Length")) {
        meta.push("CONTENT_LENGTH", length.to_string().as_bytes());
    }
    if let (false, Some(host)) = (fields.has("Host"), target.host) {
        meta.push("HTTP_HOST", host.as_bytes());
    }
    for field in fields.0 {
        let Some(name) = variable(field.name) else {
            continue;
        };
        meta.push(&name, field.value);
    }
    meta
}

/// The name of the meta-variable that a field becomes; `None` for fields that become none.
///
/// A name with anything but letters, digits and hyphens would be the same variable as
/// another field's name (`Last_Event_ID`). `Proxy` would be taken for a setting by programs
/// that we start (CVE-2016-5385).
fn variable(field: &str) -> Option<String> {
    let is_plain = (field.bytes()).all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !is_plain || field.eq_ignore_ascii_case("Proxy") {
        return None;
    }
    let name = field.to_ascii_uppercase().replace('-', "_");
    match name.as_str() {
        "CONTENT_LENGTH" => None,
        "CONTENT_TYPE" => Some(name),
        _ => Some(format!("HTTP_{name}")),
    }
}

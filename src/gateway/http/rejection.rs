//! Why a request is rejected before anybody sees it.

use std::fmt;

use crate::request::{Head, Status};

/// What is wrong with a request. The connection is closed after the response: what follows
/// such a request may begin anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// LF without CR before it. RFC 9112 §2.2 lets a server accept it as a line's end, but a
    /// proxy in front may not, and then the two see different requests.
    BareLineFeed,
    /// CR without LF after it (§2.2).
    BareCarriageReturn,
    /// A line of the head that begins with a space or a tab (§5.2: obs-fold).
    Folded,
    /// NUL, DEL and the like in a head (RFC 9110 §5.5).
    ControlCharacter,
    /// The head is longer than [`super::Limits::head_bytes`].
    HeadTooLong,
    /// It has more fields than [`super::Limits::fields`].
    TooManyFields,
    /// The request line is not `METHOD SP target SP HTTP/1.x`.
    RequestLine,
    /// A version other than 1.0 and 1.1.
    Version,
    /// A field that is not `token: value`.
    Field,
    /// The target is neither a path, nor `http://host/path`, nor `*` for OPTIONS, or it has a
    /// fragment, a byte that is no visible ASCII, or a malformed percent-encoding.
    Target,
    /// A proxy's method.
    Connect,
    /// HTTP/1.1 without `Host`, or more than one (RFC 9112 §3.2).
    HostCount,
    /// `Host` is no host with an optional port.
    Host,
    /// The target names another host than `Host`. (RFC 9112 §3.2.2 has the target win, and a
    /// proxy in front may have taken the other one.)
    OtherHost,
    /// Several `Content-Length`, or one that is no number.
    Length,
    /// `Content-Length` beside `Transfer-Encoding` (RFC 9112 §6.3: an attempt at smuggling).
    LengthAndCoding,
    /// `Transfer-Encoding` with `chunked` and something else, or several, or in HTTP/1.0.
    Coding,
    /// A coding other than `chunked` (RFC 9112 §6.1).
    UnknownCoding,
    /// GET or HEAD with a body, which a proxy in front may have taken for a request (RFC 9110
    /// §9.3.1).
    BodyOfGet,
    /// `Expect` with something other than `100-continue` (RFC 9110 §10.1.1).
    Expectation,
    /// A chunk's line is malformed or too long, or a chunk does not end where it says.
    Chunk,
    /// The trailer section is malformed or too long.
    Trailer,
}

impl Rejection {
    /// The response: a head that says how long the text is, and the text.
    #[must_use]
    pub fn response(self) -> (Head, String) {
        let text = format!("{self}\n");
        let head = Head::new(self.status())
            .with("Content-Type", "text/plain; charset=utf-8")
            .with("Cache-Control", "no-store")
            .with("Content-Length", text.len().to_string());
        (head, text)
    }

    fn status(self) -> Status {
        match self {
            Self::HeadTooLong | Self::TooManyFields => Status::FieldsTooLarge,
            Self::Version => Status::VersionNotSupported,
            Self::UnknownCoding | Self::Connect => Status::NotImplemented,
            Self::Expectation => Status::ExpectationFailed,
            _ => Status::BadRequest,
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BareLineFeed => "a line ends with LF instead of CRLF",
            Self::BareCarriageReturn => "CR without LF",
            Self::Folded => "a line begins with white space",
            Self::ControlCharacter => "a control character in the head",
            Self::HeadTooLong => "the head of the request is too long",
            Self::TooManyFields => "the request has too many fields",
            Self::RequestLine => "malformed request line",
            Self::Version => "not HTTP/1.1 or HTTP/1.0",
            Self::Field => "malformed field",
            Self::Target => "malformed target",
            Self::Connect => "this is no proxy",
            Self::HostCount => "the request needs exactly one Host",
            Self::Host => "malformed Host",
            Self::OtherHost => "the target names another host than Host",
            Self::Length => "malformed or repeated Content-Length",
            Self::LengthAndCoding => "Content-Length beside Transfer-Encoding",
            Self::Coding => "malformed Transfer-Encoding",
            Self::UnknownCoding => "only the transfer coding chunked is known",
            Self::BodyOfGet => "GET and HEAD have no body",
            Self::Expectation => "only the expectation 100-continue is known",
            Self::Chunk => "malformed chunk",
            Self::Trailer => "malformed trailer section",
        })
    }
}

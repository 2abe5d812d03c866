//! The head of a response, before a gateway frames it.

/// The statuses that are used (RFC 9110 §15).
///
/// Every status but 200 ends an `EventSource` permanently. So a temporary error of a stream is
/// not a status, but a 200 stream with `retry:` that ends. A publisher gets any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// A stream follows, or this is the response to HEAD.
    Ok,
    /// The published record is in the file.
    Created,
    /// A finished stream, or the response to a preflight: no content.
    NoContent,
    /// The query's `filter`, or a body, is malformed: no retry would help.
    BadRequest,
    /// A token is missing.
    Unauthorized,
    /// Not allowed, and a token would not permit it.
    Forbidden,
    /// No such stream, or one whose existence must not be revealed.
    NotFound,
    /// `Allow` does not list the method.
    MethodNotAllowed,
    /// The client does not accept `text/event-stream`.
    NotAcceptable,
    /// The body did not arrive in time.
    RequestTimeout,
    /// The body exceeds its limit.
    ContentTooLarge,
    /// The body's media type is not supported.
    UnsupportedMediaType,
    /// The client exceeds its rate.
    TooManyRequests,
    /// The request is for a host that this server does not answer to.
    MisdirectedRequest,
    /// The head of the request exceeds its limits.
    FieldsTooLarge,
    /// An expectation other than `100-continue`.
    ExpectationFailed,
    /// A setting is wrong; the server's log says which.
    InternalServerError,
    /// A transfer coding or a method that the server does not know.
    NotImplemented,
    /// The file cannot be written now.
    ServiceUnavailable,
    /// Not HTTP/1.1.
    VersionNotSupported,
}

/// The body of a 500: without it, a user of `curl` would see nothing. A parser of event streams
/// ignores it as an unknown field.
pub const WRONG_SETTING: &str = "error: see the server's error log\n";

impl Status {
    /// The code.
    #[must_use]
    pub fn code(self) -> u16 {
        let word = self.as_str().split(' ').next();
        word.and_then(|code| code.parse().ok()).unwrap_or_default()
    }

    /// Code and reason phrase, as a status line and `Status:` write them.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::Created => "201 Created",
            Self::NoContent => "204 No Content",
            Self::BadRequest => "400 Bad Request",
            Self::Unauthorized => "401 Unauthorized",
            Self::Forbidden => "403 Forbidden",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::NotAcceptable => "406 Not Acceptable",
            Self::RequestTimeout => "408 Request Timeout",
            Self::ContentTooLarge => "413 Content Too Large",
            Self::UnsupportedMediaType => "415 Unsupported Media Type",
            Self::ExpectationFailed => "417 Expectation Failed",
            Self::MisdirectedRequest => "421 Misdirected Request",
            Self::TooManyRequests => "429 Too Many Requests",
            Self::FieldsTooLarge => "431 Request Header Fields Too Large",
            Self::InternalServerError => "500 Internal Server Error",
            Self::NotImplemented => "501 Not Implemented",
            Self::ServiceUnavailable => "503 Service Unavailable",
            Self::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }
}

/// Status and fields of a response. The gateway adds what its framing needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The status.
    pub status: Status,
    /// Field names and values, in order. Both are visible ASCII and spaces.
    pub fields: Vec<(&'static str, String)>,
}

impl Head {
    /// A head without fields.
    #[must_use]
    pub fn new(status: Status) -> Self {
        Self {
            status,
            fields: Vec::new(),
        }
    }

    /// The head of an event stream, without CORS.
    ///
    /// `X-Accel-Buffering: no` turns off nginx's buffering, whatever `fastcgi_buffering` and
    /// `proxy_buffering` say.
    #[must_use]
    pub fn event_stream() -> Self {
        Self::new(Status::Ok)
            .with("Content-Type", "text/event-stream; charset=utf-8")
            .with("Cache-Control", "no-cache, no-transform")
            .with("X-Accel-Buffering", "no")
    }

    /// The head of [`WRONG_SETTING`]: a setting is invalid. The log says which.
    #[must_use]
    pub fn wrong_setting() -> Self {
        Self::new(Status::InternalServerError)
            .with("Content-Type", "text/plain; charset=utf-8")
            .with("Cache-Control", "no-store")
            .with("Content-Length", WRONG_SETTING.len().to_string())
    }

    /// The same with one more field.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }
}

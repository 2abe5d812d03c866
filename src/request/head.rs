//! The head of an answer, before a gateway frames it.

/// The statuses that we ever answer with (RFC 9110 §15).
///
/// Every one but 200 ends an `EventSource` for good, so temporary trouble is never
/// a status: it is a 200 stream with `retry:` and an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The stream follows, or the head of one.
    Ok,
    /// A finished stream, or an answered preflight: no content.
    NoContent,
    /// The query's `filter` cannot be read: no retry would help.
    BadRequest,
    /// No such stream, or nothing that may be known of it.
    NotFound,
    /// Not GET, HEAD or OPTIONS.
    MethodNotAllowed,
    /// The client excludes `text/event-stream`.
    NotAcceptable,
    /// A setting is wrong; the server's log says which.
    InternalServerError,
}

impl Status {
    /// Code and reason phrase, as a status line and `Status:` write them.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::NoContent => "204 No Content",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::NotAcceptable => "406 Not Acceptable",
            Self::InternalServerError => "500 Internal Server Error",
        }
    }
}

/// Status and fields of an answer. The gateway adds what its framing needs.
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
    /// `X-Accel-Buffering: no` makes nginx pass on what comes at once, whatever
    /// `fastcgi_buffering` and `proxy_buffering` say.
    #[must_use]
    pub fn event_stream() -> Self {
        Self::new(Status::Ok)
            .with("Content-Type", "text/event-stream")
            .with("Cache-Control", "no-cache")
            .with("X-Accel-Buffering", "no")
    }

    /// The same with one more field.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }
}

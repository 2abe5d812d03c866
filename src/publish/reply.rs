//! Reply: the response to a POST.

use std::time::Duration;

use super::message::Media;
use super::record::json_text;
use crate::request::{Head, Method, Operations, Request, Settings, Status, preflight, with_cors};

/// A response to a POST: a head with `Content-Length`, and a body of JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Status and fields, including `Content-Length`.
    pub head: Head,
    /// `{"id":"…"}` or `{"error":"…"}` and a newline; empty for a HEAD or a 204.
    pub body: Vec<u8>,
}

/// The methods of an address that only publishes.
const ALLOW: &str = "POST, OPTIONS";

/// Makes the responses to one request; contains what they have in common.
#[derive(Clone, Debug)]
pub struct Replies {
    /// The CORS fields, which let a page of another origin read the response.
    cors: Vec<(&'static str, String)>,
    method: Method,
}

impl Replies {
    /// The responses to `request`.
    #[must_use]
    pub fn to(request: &Request, settings: &Settings) -> Self {
        let cors = with_cors(Head::new(Status::Ok), request, settings).fields;
        Self {
            cors,
            method: request.method,
        }
    }

    /// The responses if the settings cannot be read.
    #[must_use]
    pub fn without_settings(request: &Request) -> Self {
        Self {
            cors: Vec::new(),
            method: request.method,
        }
    }

    /// The response to a preflight, in which a browser asks whether it may send a POST (Fetch
    /// §4.8).
    pub(super) fn preflight(request: &Request, settings: &Settings) -> Reply {
        Reply {
            head: preflight(request, settings, Operations::Publish),
            body: Vec::new(),
        }
    }

    /// 201: the record is in the file, and its event has the id `id`.
    #[must_use]
    pub fn created(&self, id: &str) -> Reply {
        let body = format!("{{\"id\":{}}}\n", json_text(id));
        self.reply(Head::new(Status::Created), body)
    }

    /// An error without additional fields, with a text for the client.
    #[must_use]
    pub fn error(&self, status: Status, text: &str) -> Reply {
        self.error_with(Head::new(status), text)
    }

    /// 401: a token would permit it. The text does not depend on what was sent.
    #[must_use]
    pub fn unauthorized(&self) -> Reply {
        let head =
            Head::new(Status::Unauthorized).with("WWW-Authenticate", "Bearer realm=\"publish\"");
        self.error_with(head, "a token is needed")
    }

    /// 403. The text is the same for every reason, which is not disclosed.
    #[must_use]
    pub fn forbidden(&self) -> Reply {
        self.error(Status::Forbidden, "not allowed")
    }

    /// 404: there is no such file, or its existence must not be disclosed.
    #[must_use]
    pub fn not_found(&self) -> Reply {
        self.error(Status::NotFound, "no such stream")
    }

    /// 404: there is no such session, or it has ended.
    #[must_use]
    pub fn no_session(&self) -> Reply {
        self.error(Status::NotFound, "no such session")
    }

    /// 405.
    #[must_use]
    pub fn method_not_allowed(&self) -> Reply {
        let head = Head::new(Status::MethodNotAllowed).with("Allow", ALLOW);
        self.error_with(head, "only POST publishes")
    }

    /// 413.
    #[must_use]
    pub fn too_large(&self, limit_bytes: usize) -> Reply {
        let text = format!("larger than {limit_bytes} bytes");
        self.error(Status::ContentTooLarge, &text)
    }

    /// 415: another type or charset.
    #[must_use]
    pub fn unsupported_type(&self) -> Reply {
        let head = Head::new(Status::UnsupportedMediaType).with("Accept-Post", Media::ALL);
        self.error_with(head, "neither JSON, text nor a form, in UTF-8")
    }

    /// 415: a compressed body (RFC 9110 §12.5.3).
    #[must_use]
    pub fn unsupported_coding(&self) -> Reply {
        let head = Head::new(Status::UnsupportedMediaType).with("Accept-Encoding", "identity");
        self.error_with(head, "the body is compressed")
    }

    /// 429: the client exceeds its rate.
    #[must_use]
    pub fn too_many(&self, retry_after: Duration) -> Reply {
        let head = Head::new(Status::TooManyRequests);
        self.error_with(retry_in(head, retry_after), "too many posts")
    }

    /// 503: the file cannot be written now. The reason is only in the log.
    #[must_use]
    pub fn unavailable(&self) -> Reply {
        let head = Head::new(Status::ServiceUnavailable);
        self.error_with(retry_in(head, Duration::from_secs(5)), "cannot write now")
    }

    /// 503: the file cannot be written, and waiting does not help.
    #[must_use]
    pub fn unwritable(&self) -> Reply {
        self.error(Status::ServiceUnavailable, "cannot write")
    }

    /// 500: a setting is wrong. The log says which.
    #[must_use]
    pub fn misconfigured(&self) -> Reply {
        self.error(Status::InternalServerError, "wrong configuration")
    }

    fn error_with(&self, head: Head, text: &str) -> Reply {
        self.reply(head, format!("{{\"error\":{}}}\n", json_text(text)))
    }

    fn reply(&self, head: Head, body: String) -> Reply {
        let mut head = head
            .with("Content-Type", "application/json")
            .with("Cache-Control", "no-store")
            .with("Content-Length", body.len().to_string());
        head.fields.extend(self.cors.iter().cloned());
        let body = match self.method {
            // The fields describe the body that a GET would receive (RFC 9110 §9.3.2).
            Method::Head => Vec::new(),
            _ => body.into_bytes(),
        };
        Reply { head, body }
    }
}

/// In whole seconds, at least one.
fn retry_in(head: Head, time: Duration) -> Head {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    head.with("Retry-After", seconds.max(1).to_string())
}

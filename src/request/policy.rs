//! Policy: what a request is permitted, before any source is opened.

use super::accept::accepts_event_stream;
use super::head::{Head, Status};
use super::origin::{AllowedOrigin, Origin};
use super::{Method, Request, Settings};

/// The response to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Open the source; if that succeeds, send this head and then the stream.
    Stream(Head),
    /// Open the source to find out whether the stream exists, then send this head and end.
    HeadOnly(Head),
    /// Send this head, no body, and end.
    Refuse(Head),
}

/// The operations that an address supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operations {
    /// Events are read from it.
    Read,
    /// Messages are published to it.
    Publish,
    /// Both.
    Both,
}

impl Operations {
    /// The allowed methods.
    fn methods(self) -> &'static str {
        match self {
            Self::Read => "GET, HEAD, OPTIONS",
            Self::Publish => "POST, OPTIONS",
            Self::Both => "GET, HEAD, POST, OPTIONS",
        }
    }

    /// The header fields that a page of another origin may send. amvtek's polyfill sends
    /// X-Requested-With, which needs a preflight; a reader built on fetch may send
    /// Authorization.
    fn fields(self) -> &'static str {
        match self {
            Self::Read | Self::Publish => {
                "Accept, Authorization, Cache-Control, Content-Type, Last-Event-ID, \
                 X-Requested-With"
            }
            Self::Both => {
                "Accept, Authorization, Cache-Control, Content-Type, Last-Event-ID, \
                 X-Requested-With, X-Session-ID"
            }
        }
    }
}

/// Decides by method, `Accept` and `Origin`, for an address that only streams.
#[must_use]
pub fn decide(request: &Request, settings: &Settings) -> Decision {
    decide_among(Operations::Read, request, settings)
}

/// The same for an address with these operations. A POST is refused here, because publishing is
/// decided elsewhere.
#[must_use]
pub fn decide_among(operations: Operations, request: &Request, settings: &Settings) -> Decision {
    match request.method {
        Method::Options => return Decision::Refuse(preflight(request, settings, operations)),
        Method::Post | Method::Other => {
            let head = Head::new(Status::MethodNotAllowed).with("Allow", operations.methods());
            return Decision::Refuse(with_cors(head, request, settings));
        }
        Method::Get | Method::Head => {}
    }
    if request
        .accept
        .as_ref()
        .is_some_and(|field| !accepts_event_stream(field))
    {
        let head = Head::new(Status::NotAcceptable);
        return Decision::Refuse(with_cors(head, request, settings));
    }
    let head = with_cors(Head::event_stream(), request, settings);
    match request.method {
        Method::Head => Decision::HeadOnly(head),
        _ => Decision::Stream(head),
    }
}

/// The response to a client that has no access, whatever the reason. A page of another origin
/// can see it.
#[must_use]
pub fn refuse_access(request: &Request, settings: &Settings) -> Head {
    // A link for the same address may be valid a moment later.
    let head = Head::new(Status::Forbidden).with("Cache-Control", "no-store");
    with_cors(head, request, settings)
}

/// The response to OPTIONS (Fetch §4.8).
pub(crate) fn preflight(request: &Request, settings: &Settings, operations: Operations) -> Head {
    let head = Head::new(Status::NoContent).with("Allow", operations.methods());
    let allowed = with_cors(head, request, settings);
    if granted(request, settings).is_none() {
        return allowed;
    }
    allowed
        .with("Access-Control-Allow-Methods", operations.methods())
        .with("Access-Control-Allow-Headers", operations.fields())
        // Two hours is Chromium's maximum.
        .with("Access-Control-Max-Age", "7200")
}

/// Adds the fields that let an allowed origin read the response. Another origin gets the same
/// stream without them, and its browser refuses it.
pub(crate) fn with_cors(head: Head, request: &Request, settings: &Settings) -> Head {
    if settings.allow_origin.is_empty() {
        return head;
    }
    // The response depends on the origin, even if that is refused or absent: a cache must not
    // give one origin's response to another.
    let head = head.with("Vary", "Origin");
    match granted(request, settings) {
        // `*` never comes with credentials (Fetch §4.9: browsers refuse the pair).
        Some((Granted::ToAny, _)) => head.with("Access-Control-Allow-Origin", "*"),
        Some((Granted::ByName, origin)) => head
            .with("Access-Control-Allow-Origin", origin)
            .with("Access-Control-Allow-Credentials", "true"),
        None => head,
    }
}

/// How the setting allows an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Granted {
    /// It names the origin, itself or by a wildcard.
    ByName,
    /// By `*`, which is for pages that read without credentials.
    ToAny,
}

/// Whether the request's origin is allowed, and the origin as it was sent, since a browser
/// compares it byte by byte. Only a parsed origin is sent back, so no other bytes from a client
/// get into a head.
fn granted<'a>(request: &'a Request, settings: &Settings) -> Option<(Granted, &'a str)> {
    let sent = request.origin.as_ref()?;
    let origin = Origin::parse(sent);
    let text = std::str::from_utf8(sent).unwrap_or_default();
    granted_to(origin.as_ref(), settings).map(|granted| (granted, text))
}

/// Whether an origin is allowed. `None` is an origin that cannot be parsed, such as `null`.
pub(crate) fn granted_to(origin: Option<&Origin>, settings: &Settings) -> Option<Granted> {
    let allowed = &settings.allow_origin;
    let is_named = origin.is_some_and(|origin| allowed.iter().any(|one| one.names(origin)));
    if is_named {
        return Some(Granted::ByName);
    }
    let to_any = allowed.contains(&AllowedOrigin::Any);
    to_any.then_some(Granted::ToAny)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Lifetime, MetaVariables};

    fn check(pairs: &[(&str, &str)], expected: &str) {
        let meta = MetaVariables::of(pairs);
        let settings = Settings::parse(&meta, Lifetime::Hour).unwrap().0;
        let (kind, head) = match decide(&Request::from_meta(&meta), &settings) {
            Decision::Stream(head) => ("stream", head),
            Decision::HeadOnly(head) => ("head", head),
            Decision::Refuse(head) => ("refuse", head),
        };
        let mut got = format!("{kind} {}", head.status.as_str());
        for (name, value) in &head.fields {
            got.push_str(&format!("\n{name}: {value}"));
        }
        assert_eq!(got, expected, "{pairs:?}");
    }

    const STREAM: &str = "stream 200 OK\nContent-Type: text/event-stream; charset=utf-8\n\
                          Cache-Control: no-cache, no-transform\nX-Accel-Buffering: no";

    #[test]
    fn a_get_opens_the_stream_and_a_head_its_head() {
        check(&[], STREAM);
        check(&[("REQUEST_METHOD", "GET")], STREAM);
        check(
            &[("REQUEST_METHOD", "HEAD")],
            &STREAM.replace("stream 200", "head 200"),
        );
    }

    #[test]
    fn other_methods_and_types_are_refused() {
        let refused = "refuse 405 Method Not Allowed\nAllow: GET, HEAD, OPTIONS";
        for method in ["POST", "DELETE", "FOO", "get"] {
            check(&[("REQUEST_METHOD", method)], refused);
        }
        check(&[("HTTP_ACCEPT", "text/html")], "refuse 406 Not Acceptable");
        check(
            &[("HTTP_ACCEPT", "text/html"), ("HTTP_ACCEPT", "*/*")],
            STREAM,
        );
    }

    #[test]
    fn an_allowed_origin_reads_with_credentials_and_any_origin_without() {
        let origins = ("SSE_ALLOW_ORIGIN", "https://a.example https://b.example");
        let granted = format!(
            "{STREAM}\nVary: Origin\nAccess-Control-Allow-Origin: https://b.example\n\
             Access-Control-Allow-Credentials: true"
        );
        check(&[origins, ("HTTP_ORIGIN", "https://b.example")], &granted);
        let denied = format!("{STREAM}\nVary: Origin");
        check(&[origins, ("HTTP_ORIGIN", "https://c.example")], &denied);
        check(
            &[
                origins,
                ("HTTP_ORIGIN", "https://a.example, https://b.example"),
            ],
            &denied,
        );
        check(&[origins], &denied);
        let any = format!("{STREAM}\nVary: Origin\nAccess-Control-Allow-Origin: *");
        check(
            &[
                ("SSE_ALLOW_ORIGIN", "*"),
                ("HTTP_ORIGIN", "https://c.example"),
            ],
            &any,
        );
        check(&[("HTTP_ORIGIN", "https://c.example")], STREAM);
    }

    #[test]
    fn a_subdomain_is_allowed_by_a_wildcard_and_told_its_origin_as_it_was_sent() {
        let allowed = (
            "SSE_ALLOW_ORIGIN",
            "https://*.example.org HTTPS://A.example:443",
        );
        for origin in [
            "https://www.example.org",
            "https://a.b.example.org:443",
            "https://A.example",
        ] {
            check(
                &[allowed, ("HTTP_ORIGIN", origin)],
                &format!(
                    "{STREAM}\nVary: Origin\nAccess-Control-Allow-Origin: {origin}\n\
                     Access-Control-Allow-Credentials: true"
                ),
            );
        }
        for origin in [
            "https://example.org",
            "https://evil-example.org",
            "https://x.example.org.evil.example",
            "http://x.example.org",
            "https://x@www.example.org",
            "https://www.example.org\r\nX: y",
            "null",
        ] {
            let denied = format!("{STREAM}\nVary: Origin");
            check(&[allowed, ("HTTP_ORIGIN", origin)], &denied);
        }
    }

    #[test]
    fn a_preflight_is_answered_without_opening_anything() {
        let options = ("REQUEST_METHOD", "OPTIONS");
        check(
            &[options],
            "refuse 204 No Content\nAllow: GET, HEAD, OPTIONS",
        );
        let allowed = ("SSE_ALLOW_ORIGIN", "https://a.example");
        check(
            &[options, allowed, ("HTTP_ORIGIN", "https://a.example")],
            "refuse 204 No Content\nAllow: GET, HEAD, OPTIONS\nVary: Origin\n\
             Access-Control-Allow-Origin: https://a.example\n\
             Access-Control-Allow-Credentials: true\n\
             Access-Control-Allow-Methods: GET, HEAD, OPTIONS\n\
             Access-Control-Allow-Headers: Accept, Authorization, Cache-Control, \
             Content-Type, Last-Event-ID, X-Requested-With\n\
             Access-Control-Max-Age: 7200",
        );
        check(
            &[options, allowed, ("HTTP_ORIGIN", "https://x.example")],
            "refuse 204 No Content\nAllow: GET, HEAD, OPTIONS\nVary: Origin",
        );
    }
}

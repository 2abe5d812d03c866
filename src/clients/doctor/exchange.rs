//! Exchange: one request and its response on a connection.

use std::time::Instant;

use ureq::http::Uri;

use super::super::cat::redirect::is_same_origin;
use super::super::endpoint::Endpoint;
use super::connection::{Connection, Received};
use super::message::{Body, Expect, Head};
use super::observation::EndKind;

/// What happened next.
#[derive(Debug)]
pub(super) enum Step {
    /// The head is complete; see [`Exchange::head`].
    Head,
    /// Bytes of the body.
    Bytes(Vec<u8>),
    Ended(EndKind),
    /// Nothing until the deadline.
    Late,
}

/// A request that was sent.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) connection: Connection,
    pub(super) head: Option<Head>,
    /// Why what was received is not HTTP.
    pub(super) malformed: Option<String>,
    body: Option<Body>,
    /// Received, and not looked at yet.
    raw: Vec<u8>,
    expect: Expect,
    has_ended: bool,
}

/// The bytes of a request. Secrets and signed links are sent to the first URL's origin only.
pub(super) fn request(
    method: &str,
    url: &Uri,
    endpoint: &Endpoint,
    fields: &[(&str, &str)],
    body: &[u8],
) -> Vec<u8> {
    let is_own = is_same_origin(url, &endpoint.url);
    let signed = match is_own {
        true => endpoint.signed(url, method),
        false => url.clone(),
    };
    let target = signed
        .path_and_query()
        .map_or("/", |target| target.as_str());
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let agent = concat!("sse-doctor/", env!("CARGO_PKG_VERSION"));
    let mut text =
        format!("{method} {target} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: {agent}\r\n");
    for (name, value) in fields {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut bytes = text.into_bytes();
    if is_own {
        for (name, value) in endpoint.fields() {
            bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

impl Exchange {
    /// Sends a request.
    pub(super) fn begin(mut connection: Connection, request: &[u8], expect: Expect) -> Self {
        connection.send(request);
        Self {
            connection,
            head: None,
            malformed: None,
            body: None,
            raw: Vec::new(),
            expect,
            has_ended: false,
        }
    }

    /// Waits for what is next, until `deadline` at most.
    pub(super) fn step(&mut self, deadline: Instant) -> Step {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            if self.has_ended {
                return Step::Ended(EndKind::Complete);
            }
            if let Some(step) = self.look() {
                return step;
            }
            match self.connection.receive(&mut buffer, deadline) {
                Received::Bytes(count) => self.raw.extend_from_slice(&buffer[..count]),
                Received::Late => return Step::Late,
                Received::Closed => {
                    self.has_ended = true;
                    let by_close = self.body.as_ref().is_some_and(Body::ends_with_connection);
                    return Step::Ended(if by_close {
                        EndKind::Complete
                    } else {
                        EndKind::Cut
                    });
                }
                Received::Reset => {
                    self.has_ended = true;
                    return Step::Ended(EndKind::Reset);
                }
            }
        }
    }

    /// What follows from the bytes that were received.
    fn look(&mut self) -> Option<Step> {
        let Some(body) = &mut self.body else {
            return match Head::parse(&self.raw) {
                Ok(None) => None,
                // An interim response (RFC 9110 §15.2).
                Ok(Some((head, length))) if (100..200).contains(&head.status) => {
                    self.raw.drain(..length);
                    self.look()
                }
                Ok(Some((head, length))) => {
                    self.raw.drain(..length);
                    self.body = Some(Body::after(&head, self.expect));
                    self.head = Some(head);
                    Some(Step::Head)
                }
                Err(malformed) => self.fail(malformed.0),
            };
        };
        let mut bytes = Vec::new();
        let fed = body.feed(&std::mem::take(&mut self.raw), &mut bytes);
        if !bytes.is_empty() {
            return Some(Step::Bytes(bytes));
        }
        if let Err(malformed) = fed {
            return self.fail(malformed.0);
        }
        body.is_complete().then(|| {
            self.has_ended = true;
            Step::Ended(EndKind::Complete)
        })
    }

    fn fail(&mut self, why: String) -> Option<Step> {
        self.malformed = Some(why);
        self.has_ended = true;
        Some(Step::Ended(EndKind::Malformed))
    }

    /// The connection, if another request may follow.
    pub(super) fn kept(self) -> Option<Connection> {
        let keeps = self.head.as_ref().is_some_and(Head::keeps_connection);
        let is_complete = self.body.as_ref().is_some_and(Body::is_complete);
        (keeps && is_complete && self.raw.is_empty()).then_some(self.connection)
    }
}

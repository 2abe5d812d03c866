//! Protocol: the protocols that a server for many subscribers speaks with web servers.
//!
//! ```text
//! bytes ──► take ──► Request, Body, BodyEnd, Abort
//! head, body, log line, finish ──► bytes
//! ```
//!
//! A [`Protocol`] is one connection without its socket. The server's code names no protocol: a
//! new one is a variant here and a folder beside this file.

use std::fmt;

use super::{Framing, fastcgi, http};
use crate::request::{Head, MetaVariables};
use crate::stream::Chunk;

pub use fastcgi::After;

/// A received item that requires an action.
#[derive(Clone, Debug)]
pub enum Incoming<'i> {
    /// The complete head of a request, which is served until [`Protocol::finish`].
    Request(MetaVariables),
    /// A piece of the request's body, not empty, borrowed from the input.
    Body(&'i [u8]),
    /// The end of the body. It occurs once, even if there was no body.
    BodyEnd,
    /// The peer aborts the request: call [`Protocol::finish`].
    Abort,
    /// A request that cannot be served was refused; the response is in `reply`. With
    /// [`After::Close`], close the connection after it has been sent.
    Refused(After),
    /// A request that is answered by [`http::Rejection::response`] instead of being served;
    /// then the connection is closed.
    Rejected(http::Rejection),
}

/// A violation of the protocol by the peer: close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// In FastCGI.
    FastCgi(fastcgi::Malformed),
    /// In HTTP.
    Http(http::Malformed),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FastCgi(malformed) => malformed.fmt(f),
            Self::Http(malformed) => malformed.fmt(f),
        }
    }
}

impl std::error::Error for Malformed {}

/// A frame around the bytes of a body that is the same for many connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedFrame {
    /// None: a stream over HTTP is its bytes.
    Bare,
    /// FastCGI STDOUT records with the request id that every web server uses.
    FastCgi,
}

impl SharedFrame {
    /// Its number: 0 or 1.
    #[must_use]
    pub fn number(self) -> usize {
        match self {
            Self::Bare => 0,
            Self::FastCgi => 1,
        }
    }

    /// The function that appends the framed bytes.
    #[must_use]
    pub fn around(self, chunk: &Chunk) -> &[u8] {
        match self {
            Self::Bare => &chunk.bytes,
            Self::FastCgi => chunk.framed(0, |body, out| {
                fastcgi::stdout(COMMON_REQUEST_ID, body, out);
            }),
        }
    }
}

/// The request id that web servers use when they send one request at a time.
const COMMON_REQUEST_ID: u16 = 1;

/// The state of a protocol on one connection.
#[derive(Debug)]
pub enum Protocol {
    /// FastCGI 1.0, as a responder.
    FastCgi(fastcgi::Connection),
    /// HTTP/1.1, as a server.
    Http(http::Connection),
}

impl Protocol {
    /// Consumes `input` from its beginning up to and including the next item that requires an
    /// action. `None`: all of the input has been consumed, and more is needed. Responses that
    /// need no decision are appended to `reply`, to be sent between other output.
    ///
    /// # Errors
    /// [`Malformed`]: close the connection, even if it is serving a request.
    pub fn take<'i>(
        &mut self,
        input: &mut &'i [u8],
        reply: &mut Vec<u8>,
    ) -> Result<Option<Incoming<'i>>, Malformed> {
        match self {
            Self::FastCgi(connection) => {
                let taken = connection.take(input, reply).map_err(Malformed::FastCgi)?;
                Ok(taken.map(|incoming| match incoming {
                    fastcgi::Incoming::Request(meta) => Incoming::Request(meta),
                    fastcgi::Incoming::Stdin(bytes) => Incoming::Body(bytes),
                    fastcgi::Incoming::StdinEnd => Incoming::BodyEnd,
                    fastcgi::Incoming::Abort => Incoming::Abort,
                    fastcgi::Incoming::Refused(after) => Incoming::Refused(after),
                }))
            }
            Self::Http(connection) => {
                let taken = connection.take(input, reply).map_err(Malformed::Http)?;
                Ok(taken.map(|incoming| match incoming {
                    http::Incoming::Request(meta) => Incoming::Request(meta),
                    http::Incoming::Body(bytes) => Incoming::Body(bytes),
                    http::Incoming::BodyEnd => Incoming::BodyEnd,
                    http::Incoming::Rejected(rejection) => Incoming::Rejected(rejection),
                }))
            }
        }
    }

    /// Whether a head or a message is incomplete. A peer that stays in this state for long must
    /// be disconnected.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        match self {
            Self::FastCgi(connection) => connection.is_incomplete(),
            Self::Http(connection) => connection.is_incomplete(),
        }
    }

    /// The approximate memory of an incomplete head.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::FastCgi(connection) => connection.held_bytes(),
            Self::Http(connection) => connection.held_bytes(),
        }
    }

    /// The bytes of a response head, which are sent as the beginning of the body: see
    /// [`Protocol::body`]. `date` is the value of the `Date` field.
    #[must_use]
    pub fn stream_head(&mut self, head: &Head, date: &str) -> Vec<u8> {
        match self {
            Self::FastCgi(_) => Framing::Parsed.write(head, date),
            Self::Http(connection) => connection.stream_head(head, date),
        }
    }

    /// The bytes of a whole response, to be sent as a body: see [`Protocol::body`].
    #[must_use]
    pub fn response(&mut self, head: &Head, date: &str, body: &[u8]) -> Vec<u8> {
        match self {
            Self::FastCgi(_) => {
                let mut bytes = Framing::Parsed.write(head, date);
                bytes.extend_from_slice(body);
                bytes
            }
            Self::Http(connection) => connection.response(head, date, body),
        }
    }

    /// Appends a piece of the response to `out`.
    pub fn body(&self, content: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::FastCgi(connection) => fastcgi::stdout(request_id(connection), content, out),
            Self::Http(_) => out.extend_from_slice(content),
        }
    }

    /// The peer's address, and the first line of the head that was rejected, for a protocol
    /// whose requests have an access log here.
    #[must_use]
    pub fn rejected(&self) -> Option<(String, &[u8])> {
        match self {
            Self::FastCgi(_) => None,
            Self::Http(connection) => Some((connection.client(), connection.rejected_line())),
        }
    }

    /// Whether requests are served one after the other, in the order in which they come.
    #[must_use]
    pub fn is_serial(&self) -> bool {
        matches!(self, Self::Http(_))
    }

    /// The connection is to be closed after the response that has not begun, where the
    /// server may decide that.
    pub fn keep_no_longer(&mut self) {
        match self {
            Self::FastCgi(_) => {}
            Self::Http(connection) => connection.keep_no_longer(),
        }
    }

    /// Whether what comes now is the next request, and has to wait for the end of this one's
    /// response.
    #[must_use]
    pub fn is_served_in_order(&self) -> bool {
        match self {
            Self::FastCgi(_) => false,
            Self::Http(connection) => connection.is_served(),
        }
    }

    /// Whether [`Protocol::log_line`] has a way to send a line for the request being served.
    #[must_use]
    pub fn takes_log_lines(&self) -> bool {
        match self {
            Self::FastCgi(connection) => connection.takes_stderr(),
            Self::Http(_) => false,
        }
    }

    /// Appends a line for the web server's error log, where there is a way to send one: see
    /// [`fastcgi::Connection::takes_stderr`].
    pub fn log_line(&self, line: &str, out: &mut Vec<u8>) {
        match self {
            Self::FastCgi(connection) if !connection.takes_stderr() => {}
            Self::FastCgi(connection) => {
                fastcgi::stderr(request_id(connection), line.as_bytes(), out);
            }
            Self::Http(_) => {}
        }
    }

    /// Ends the response: appends its end to `out`. Returns whether the peer wants to keep the
    /// connection.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> After {
        match self {
            Self::FastCgi(connection) => connection.finish(0, out),
            Self::Http(connection) => connection.finish(),
        }
    }

    /// The frame that this connection shares with others; `None` if its body must be framed for
    /// this connection only, by [`Protocol::body`].
    #[must_use]
    pub fn shared_frame(&self) -> Option<SharedFrame> {
        match self {
            Self::FastCgi(connection) => {
                let is_common = request_id(connection) == COMMON_REQUEST_ID;
                is_common.then_some(SharedFrame::FastCgi)
            }
            Self::Http(_) => Some(SharedFrame::Bare),
        }
    }
}

fn request_id(connection: &fastcgi::Connection) -> u16 {
    connection.request_id().unwrap_or(COMMON_REQUEST_ID)
}

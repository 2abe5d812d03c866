//! HTTP/1.1 for a server of streams (RFC 9110, RFC 9112): one connection as a state machine.
//!
//! Bytes go in, values and bytes come out. A [`Connection`] keeps the rules of the protocol
//! and the limits of what a client may make us hold. Anything that a client can send is a
//! request, a [`Rejection`] or [`Malformed`], never a panic.
//!
//! It does not know sockets, time or streams: reading, writing, deadlines and the closing are
//! the server's. Nor does it know locations: the whole path is `PATH_INFO`.
//!
//! ```text
//!           end of the head              end of the body
//!   Head ────────────────────► Body ────────────────────────► Whole
//!    ▲ │        Request         │ │ Body…                BodyEnd │
//!    │ │                        │ └─ finish() ─► Unwanted ──┐    │ finish()
//!    │ └── Rejected ──► Closing ◄── Rejected                │    │
//!    │                     ▲                                │    │
//!    └─────────────────────┼────────────────────────────────┴────┘
//!                          └── finish(), unless the connection is kept
//! ```
//!
//! Behind a proxy that sends a PROXY protocol header, the first state is that header.
//!
//! Two readers of one connection must never disagree where a request ends. So what RFC 9112
//! lets a server be lenient about is rejected, and after a rejection nothing is read: see
//! [`Rejection`].
//!
//! A response without a length is a stream, and ends with its connection: its bytes have no
//! frame, and so are the same for all who get them.
//!
//! ```
//! use sse_cgi::gateway::After;
//! use sse_cgi::gateway::http::{Connection, Incoming, Limits, Peer};
//! use sse_cgi::request::{Head, Status, Value};
//!
//! let mut connection = Connection::new(Limits::default(), Peer::default());
//! let mut reply = Vec::new();
//! let (first, second) = (&b"GET /a?b HTT"[..], &b"P/1.1\r\nHost: localhost\r\n\r\n"[..]);
//!
//! let mut input = first;
//! assert!(connection.take(&mut input, &mut reply)?.is_none());
//! assert!(input.is_empty() && connection.is_incomplete());
//!
//! let mut input = second;
//! let Some(Incoming::Request(meta)) = connection.take(&mut input, &mut reply)? else {
//!     unreachable!("the head has ended");
//! };
//! assert_eq!(meta.get("PATH_INFO"), Value::One(b"/a"));
//! assert!(matches!(
//!     connection.take(&mut input, &mut reply)?,
//!     Some(Incoming::BodyEnd)
//! ));
//! let head = Head::new(Status::NotFound);
//! let response = connection.response(&head, "Sat, 21 Nov 2026 08:00:00 GMT", b"");
//! assert_eq!(
//!     String::from_utf8_lossy(&response),
//!     "HTTP/1.1 404 Not Found\r\nDate: Sat, 21 Nov 2026 08:00:00 GMT\r\n\
//!      Content-Length: 0\r\n\r\n"
//! );
//! assert_eq!(connection.finish(), After::Keep);
//! # Ok::<(), sse_cgi::gateway::http::Malformed>(())
//! ```

mod access_log;
mod chunked;
mod connection;
mod forwarded;
mod head;
mod limits;
mod malformed;
mod peer;
mod proxy_protocol;
mod rejection;
mod response;
mod scan;
mod target;

pub use access_log::{AccessFormat, AccessRequest, AccessResponse, AccessStream, ReceivedAt};
pub use connection::{Connection, Incoming};
pub use forwarded::{Network, apply as apply_forwarded};
pub use limits::Limits;
pub use malformed::Malformed;
pub use peer::Peer;
pub use rejection::Rejection;

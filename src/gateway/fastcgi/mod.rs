//! FastCGI 1.0 for a responder: its records, and one connection as a state machine.
//!
//! A pure function of bytes. A [`Connection`] enforces the rules of the protocol and limits
//! what a peer can make it store. Any input from a peer leads to a value, a response, or
//! [`Malformed`], never to a panic.
//!
//! It does not know sockets, time or streams: the server reads, writes, closes, and enforces
//! the deadline for an incomplete request. It does not interpret the meta-variables either: the
//! reader of the body compares its bytes with `CONTENT_LENGTH`. And it does not multiplex: no
//! present web server sends a second request before the first has ended, and one that did would
//! be told to use another connection.
//!
//! ```text
//!         BEGIN_REQUEST         end of PARAMS            end of STDIN
//!   none ───────────────► params ────────────► stdin ───────────────────► whole
//!    ▲ │                    │       Request      │ Stdin…      StdinEnd     │
//!    │ └ another role:      │                    │                          │
//!    │   Refused            └── ABORT_REQUEST ───┴──────────────────────────┘
//!    │                                           │ Abort
//!    │                                           ▼
//!    │                                        aborted
//!    │
//!    └── finish(), from each of them: END_REQUEST
//! ```
//!
//! Records of any other request than the active one are ignored, and so is the rest of a
//! request that was ended, refused or aborted. A second BEGIN_REQUEST is refused without an
//! event for the server. After a request has been returned, only its id is kept.
//!
//! An example: a web server sends a request, and the response is a stream of one event.
//!
//! ```
//! use sse_cgi::gateway::fastcgi::{After, Connection, Incoming, Limits, stdout};
//! use sse_cgi::request::Value;
//!
//! let wire = [
//!     &b"\x01\x01\x00\x01\x00\x08\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00"[..], // BEGIN_REQUEST
//!     b"\x01\x04\x00\x01\x00\x13\x05\x00\x0E\x03REQUEST_METHODGET.....", // PARAMS, padded
//!     b"\x01\x04\x00\x01\x00\x00\x00\x00", // their end
//!     b"\x01\x05\x00\x01\x00\x00\x00\x00", // no body
//! ]
//! .concat();
//! let mut connection = Connection::new(Limits::default());
//! let mut out = Vec::new();
//!
//! let (first, second) = wire.split_at(27); // as reads may split it
//! let mut input = first;
//! assert!(connection.take(&mut input, &mut out)?.is_none());
//! assert!(input.is_empty() && connection.is_incomplete());
//!
//! let mut input = second;
//! let Some(Incoming::Request(meta)) = connection.take(&mut input, &mut out)? else {
//!     unreachable!("the params have ended");
//! };
//! assert_eq!(meta.get("REQUEST_METHOD"), Value::One(b"GET"));
//! assert!(matches!(
//!     connection.take(&mut input, &mut out)?,
//!     Some(Incoming::StdinEnd)
//! ));
//! assert!(connection.take(&mut input, &mut out)?.is_none());
//!
//! let id = connection.request_id().expect("a request is being served");
//! stdout(id, b"Content-Type: text/event-stream\n\n", &mut out);
//! stdout(id, b"data: hello\n\n", &mut out);
//! assert_eq!(connection.finish(0, &mut out), After::Close);
//! assert!(out.ends_with(b"\x01\x03\x00\x01\x00\x08\x00\x00\0\0\0\0\0\0\0\0"));
//! # Ok::<(), sse_cgi::gateway::fastcgi::Malformed>(())
//! ```

mod connection;
mod limits;
mod malformed;
mod pairs;
mod record;
mod values;

pub use connection::{After, Connection, Incoming};
pub use limits::Limits;
pub use malformed::Malformed;
pub use record::{stderr, stdout};

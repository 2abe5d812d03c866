//! Layer 1: the request, the settings, and the head of the response.
//!
//! ```text
//! meta-variables (RFC 3875 §4.1) ──► Request  ──┐
//!                                └─► Settings ──┴─► policy ──► Head
//! ```
//!
//! Everything is a function of bytes. Nothing here uses a file, a socket or a clock.

mod accept;
mod access;
mod below;
mod commands;
mod filter;
mod head;
mod label;
mod last_id;
mod meta;
mod nick;
mod origin;
mod policy;
mod publishing;
mod query;
mod requested;
mod selection;
pub mod settings;
mod status_page;
mod units;

use std::rc::Rc;

pub(crate) use query::fields;
pub(crate) use units::{duration, size};

#[cfg(feature = "jwt")]
pub use access::read_jwk_set;
pub use access::{
    AccessKeys, AccessSettings, Admission, Carrier, Grants, InvalidKeys, Purpose, ReadTokenKeys,
    Refusal, SigningKeys, Token, TokenKeys, TokenRules, admit, carries_secret,
};
pub use below::BelowRoot;
pub use commands::Commands;
pub use filter::{Filter, InvalidFilter, Verdict};
pub use head::{Head, Status, WRONG_SETTING};
pub use label::Label;
pub use last_id::LastId;
pub use meta::{MetaVariables, Value};
pub use nick::Nick;
pub(crate) use origin::split_port;
pub use origin::{AllowedOrigin, Origin};
pub use policy::{Decision, Operations, decide, decide_among, refuse_access};
pub(crate) use policy::{Granted, granted_to, preflight, with_cors};
pub use publishing::{Durability, Grant, Publishing, Rate};
pub use query::{Heartbeat, Query, redacted};
pub use requested::{RequestedStream, path_below};
pub use selection::{Chosen, Labelling, NoneServed, Selection, StreamsAsked};
pub use settings::{
    Absent, CommandSharing, Dividing, Format, Lifetime, LineEnd, NamedStream, Notice, Publishers,
    QueryFilter, Setting, SettingError, Settings, SourceId, TextEncoding, misplaced,
    subscribers_max,
};
pub use status_page::{StatusAnswer, StatusFormat, decide_status};

/// The request methods that a stream distinguishes (RFC 9110 §9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Open the stream.
    Get,
    /// Get only its head.
    Head,
    /// A preflight, or a request for the allowed methods.
    Options,
    /// Publish.
    Post,
    /// Any other method.
    Other,
}

/// A request, read from the meta-variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `REQUEST_METHOD`; absent means GET, since a program in a shell has none.
    pub method: Method,
    /// `HTTP_ACCEPT`, if it was sent.
    pub accept: Option<Vec<u8>>,
    /// `HTTP_ORIGIN`, which a browser omits in same-origin GETs.
    pub origin: Option<Vec<u8>>,
    /// The client's Last-Event-ID.
    pub last_id: LastId,
    /// The fields of the query that a stream knows.
    pub query: Query,
    /// `PATH_INFO`, decoded by the gateway: the name of the file below `SSE_ROOT`.
    pub path_info: Option<Vec<u8>>,
    /// Whether `SERVER_PROTOCOL` is HTTP/2 or later, over which Apache buffers an nph program's
    /// output.
    pub multiplexed: bool,
    /// The access that its client has shown, where that is required ([`AccessSettings`]).
    /// Whoever has checked it sets it.
    pub admission: Option<Admission>,
    /// The streams of the connection, where it may bring several. Whoever has checked the access
    /// to each sets it.
    pub selection: Option<Rc<Selection>>,
}

impl Request {
    /// Reads a request. Absent, empty, repeated and unreadable variables all have a meaning;
    /// none is an error.
    #[must_use]
    pub fn from_meta(meta: &MetaVariables) -> Self {
        let method = match meta.get("REQUEST_METHOD").last() {
            None | Some(b"GET") => Method::Get,
            Some(b"HEAD") => Method::Head,
            Some(b"OPTIONS") => Method::Options,
            Some(b"POST") => Method::Post,
            Some(_) => Method::Other,
        };
        let raw_query = meta.get("QUERY_STRING").last().unwrap_or_default();
        let query = Query::parse(raw_query);
        let protocol = meta.get("SERVER_PROTOCOL").last().unwrap_or_default();
        Self {
            method,
            accept: meta.joined("HTTP_ACCEPT"),
            origin: meta.joined("HTTP_ORIGIN"),
            last_id: LastId::from_header_or_query(&meta.get("HTTP_LAST_EVENT_ID"), raw_query),
            query,
            path_info: meta.get("PATH_INFO").last().map(<[u8]>::to_vec),
            multiplexed: protocol.starts_with(b"HTTP/2") || protocol.starts_with(b"HTTP/3"),
            admission: None,
            selection: None,
        }
    }
}

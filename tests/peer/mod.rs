//! A peer of the server for many subscribers: a web server that speaks FastCGI with
//! `sse-fcgi`, or a client that speaks HTTP with `sse-httpd`.
//!
//! The tests in which the protocol does not matter are written once, for a [`Protocol`], and
//! run over both: see `fastcgi.rs` and `http.rs` of the tests of the responder.

// Each test target uses its own part of it.
#![allow(dead_code)]

mod client;
mod crowd;
mod fastcgi;
mod http;
mod protocol;
mod request;
mod stage;
pub mod wire;

pub use client::{COMPLETE, Client};
pub use crowd::{Crowd, Member};
pub use fastcgi::FastCgi;
pub use http::Http;
pub use protocol::Protocol;
pub use request::Request;
pub use stage::{Place, Responder, Start};

/// The names of a protocol's peers, for the tests that are written once.
macro_rules! peers {
    ($protocol:ty) => {
        #[allow(unused_imports, reason = "each list of tests uses its own part")]
        pub use crate::peer::{COMPLETE, Place, Protocol, Request};
        #[allow(unused_imports, reason = "each list of tests uses its own part")]
        pub use crate::support::{
            event_stream::shown,
            folder::Folder,
            wait::{DEADLINE, wait_for},
        };

        /// What they speak.
        pub type Spoken = $protocol;
        pub type Client = crate::peer::Client<$protocol>;
        #[allow(dead_code, reason = "not everybody has one")]
        pub type Crowd = crate::peer::Crowd<$protocol>;
        #[allow(dead_code, reason = "not everybody has one")]
        pub type Member = crate::peer::Member<$protocol>;
        pub type Responder = crate::peer::Responder<$protocol>;
        pub type Start = crate::peer::Start<$protocol>;
    };
}
pub(crate) use peers;

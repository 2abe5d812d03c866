//! Real servers, and the peers that talk to them, for integration tests.
//!
//! A test starts a server of its own in a temporary folder on a port of its own, talks to it
//! with a peer whose every wait has a deadline, and leaves nothing behind: everything that a
//! value here started ends when it is dropped, even if the test panics. Nothing here imports
//! the crate under test, so that the peers stay independent of it.

// Every test target compiles this module and uses only a part of it.
#![allow(dead_code)]

pub mod answer;
pub mod apache;
pub mod apache_base;
pub mod apache_fastcgi;
pub mod caddy;
pub mod configured;
pub mod curl;
pub mod daemon;
pub mod events;
pub mod gateway;
pub mod h2o;
pub mod haproxy;
pub mod lighttpd;
pub mod links;
pub mod nginx;
pub mod processes;
pub mod request;
pub mod responder;

//! Publishing over HTTP.

#![allow(
    clippy::duplicate_mod,
    reason = "the tests in which the protocol does not matter are run over both"
)]

pub mod peer {
    crate::peer::peers!(crate::peer::Http);
}

#[path = "responder.rs"]
mod responder;

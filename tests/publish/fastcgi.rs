//! Publishing over FastCGI.

#![allow(
    clippy::duplicate_mod,
    reason = "the tests in which the protocol does not matter are run over both"
)]

pub mod peer {
    crate::peer::peers!(crate::peer::FastCgi);
}

#[path = "responder.rs"]
mod responder;

//! Layer 4: the framing of a response for its gateway.
//!
//! A gateway converts bytes to bytes: it knows neither sources nor descriptors.

mod cgi;
pub mod fastcgi;
pub mod http;
mod protocol;

pub use cgi::Framing;
pub use protocol::{After, Incoming, Malformed, Protocol, SharedFrame};

//! Layer 4: how an answer is framed for the gateway that asked.
//!
//! Bytes in, bytes out: a gateway knows neither sources nor descriptors.

mod cgi;
pub mod fastcgi;
mod protocol;

pub use cgi::Framing;
pub use protocol::{After, Incoming, Malformed, Protocol, SharedFrame};

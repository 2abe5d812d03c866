//! Layer 4: how an answer is framed for the gateway that asked.
//!
//! Bytes in, bytes out: a gateway knows neither sources nor descriptors.

mod cgi;
pub mod fastcgi;

pub use cgi::Framing;

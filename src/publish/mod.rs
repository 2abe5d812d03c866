//! Layer 3: publishing. A POST becomes one record, or a response that says why not.
//!
//! ```text
//!  Request, PostFields, settings, tokens
//!        │
//!      begin ──► Reply (401, 403, 405, 413, 415, …)
//!        │
//!      Post ◄── bytes, their end, now
//!        │
//!        ├─────► Reply (400, 408, 413)
//!        └─────► Record ──► appended by store ──► Replies::created, …
//! ```
//!
//! Everything is a function of bytes and `now`, and nothing here opens a file: `store` appends
//! the record and then asks for the response. A CGI program and a FastCGI responder use the
//! same state machine.

mod body;
mod denial;
mod fields;
mod message;
mod permit;
mod post;
pub mod rate;
mod record;
mod reply;
mod token;

pub use body::{Body, Progress};
pub use denial::denial;
pub use fields::{Length, PostFields};
pub use message::{Media, Message, Problem};
pub use permit::{Permission, permit};
pub use post::{Post, PostContext, PostStart, PostStep, begin};
pub use record::Record;
pub use reply::{Replies, Reply};
pub use token::Tokens;

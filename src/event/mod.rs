//! Layer 0: events and their text.
//!
//! [`Event`], [`EventId`], [`EventName`], [`Gap`] and [`Unavailable`], and their encoding as
//! `text/event-stream` (WHATWG HTML §9.2.5; [`Batch`]). Ids and names are valid by
//! construction. Every byte string from a file or a client is encoded so that a browser reads
//! it back unchanged, except for what the format cannot represent (bad UTF-8, NUL, the kind of
//! line end).
//!
//! No I/O and no clock here.

mod batch;
mod composite;
mod encode;
mod gap;
mod id;
mod name;
mod unavailable;

pub use batch::Batch;
pub use composite::{CompositeId, Entry, Position, Tag, Unpackable};
pub use encode::Event;
pub use gap::{Gap, Reason};
pub use id::{EventId, InvalidId};
pub use name::{EventName, InvalidName};
pub use unavailable::Unavailable;

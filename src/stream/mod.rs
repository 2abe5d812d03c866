//! Layer 3: the stream of one subscriber, and the channel that many subscribers share.
//!
//! ```text
//! opened ──► events ⇄ silence (heartbeat) ──► ended: finished, aged, full, held
//! ```
//!
//! To the events of the source it adds what every stream contains: the reconnection time,
//! heartbeats, the id of filtered records, and an end at an event boundary. It does not know
//! how the bytes reach the client.

mod channel;
mod channels;
mod expiry;
#[cfg(test)]
mod model;
pub(crate) mod open;
mod reopen;
mod ring;
mod status;
mod subscriber;
mod subscription;

pub use channel::{Channel, Polled, Scheduled};
pub use channels::{CatchUp, CaughtUp, Channels};
pub use expiry::Expiry;
pub use reopen::ReopenParams;
pub use ring::{Chunk, FRAMINGS_MAX, Ring};
pub use status::StatusReport;
pub use subscriber::{Subscriber, Watching};
pub use subscription::{Delivery, Ended, StreamParams, Subscription, Turn};

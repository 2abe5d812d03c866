//! Layer 3: a subscriber's stream, from its first comment to its end, and what many
//! subscribers share.
//!
//! ```text
//! opened ──► events ⇄ silence (heartbeat) ──► ended: finished, aged, full, held
//! ```
//!
//! It joins what the source says with what every stream owes its client: the
//! reconnection time, heartbeats, the id of what was passed over, and an end at an
//! event boundary. It does not know how the bytes reach the client.

mod hub;
mod ring;
mod seat;
mod shared;
mod status;
mod subscription;

pub use hub::{Hub, Joined};
pub use ring::{Chunk, Ring};
pub use seat::{Seat, Spot};
pub use shared::{Frame, Shared};
pub use status::Status;
pub use subscription::{Delivery, Ended, Subscription, Terms, Turn};

//! Layer 3: one subscriber's stream, from its first comment to its end.
//!
//! ```text
//! opened ──► events ⇄ silence (heartbeat) ──► ended: finished, aged, full, held
//! ```
//!
//! It joins what the source says with what every stream owes its client: the
//! reconnection time, heartbeats, the id of what was passed over, and an end at an
//! event boundary. It does not know how the bytes reach the client.

mod subscription;

pub use subscription::{Delivery, Ended, Subscription, Terms, Turn};

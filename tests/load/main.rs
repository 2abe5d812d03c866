//! `sse-fcgi` behind a real nginx, under load: thousands of subscribers, some of whom do
//! not read, files that rotate, a responder that crashes. Every client sees for itself
//! that no line is missing, doubled or out of order.
//!
//! The numbers are what the limit on descriptors allows; each test says which it used.

#[path = "../support/mod.rs"]
mod support;

mod crowd;
mod everybody;
mod killed;
mod numbered;
mod rotated;
mod site;
mod stalled;
mod steady;
mod usage;
mod wire;

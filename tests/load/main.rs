//! `sse-fcgi` behind a real nginx, under load: thousands of subscribers, some of which do not
//! read, files that rotate, a responder that crashes. Every client checks that no line is
//! missing, repeated or out of order.
//!
//! The limit on descriptors determines the numbers; each test prints those that it used.

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

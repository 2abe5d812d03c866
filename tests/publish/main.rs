//! `publish` as a process: posted to as gateways do it, and read by `nph-tail`.

#[path = "../support/mod.rs"]
mod support;

// Made for the streams; here it starts their readers.
#[allow(dead_code)]
#[path = "../process/stage.rs"]
mod stage;

mod post;

mod answers;
mod bodies;
mod crowd;
mod data;
mod files;
mod killed;
mod names;
mod rate;
mod responder;
mod rotation;
mod terminal;

//! Faults of the system, injected: errors of single system calls by strace, and small file
//! systems that become full.
//!
//! Most tests need root; if a fault cannot be injected, the test prints that and passes.

#[path = "../support/mod.rs"]
mod support;

// Made for the streams, for publishing and for sessions; here all are used in part.
#[allow(dead_code)]
#[path = "../process/stage.rs"]
mod stage;

#[allow(dead_code)]
#[path = "../publish/post.rs"]
mod post;

#[allow(dead_code)]
#[path = "../sessions/spool.rs"]
mod spool;

mod errors;
mod full;

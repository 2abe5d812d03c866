//! What the tests of several targets need, each of it once: waiting with a deadline, folders,
//! a reader of event streams, what /proc says of a process, what only root can do.
//!
//! Nothing here imports the crate under test, so that it stays independent of what it judges.

// Each test target compiles this module and uses its own part of it.
#![allow(dead_code)]

pub mod event_stream;
pub mod folder;
pub mod process;
pub mod random;
pub mod root;
pub mod wait;

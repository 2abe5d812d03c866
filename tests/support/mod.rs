//! Helpers for the tests of several targets, each defined once: waiting with a deadline,
//! folders, a parser of event streams, the state of a process, whether the test runs as root.
//!
//! Nothing here imports the crate under test, so that it stays independent of it.

// Each test target compiles this module and uses its own part of it.
#![allow(dead_code)]

pub mod disk;
pub mod event_stream;
pub mod folder;
pub mod pipe;
pub mod process;
pub mod random;
pub mod redis;
pub mod root;
pub mod signed;
pub mod wait;

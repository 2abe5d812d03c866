//! The follower as a program, against real files: every way in which a log is rotated,
//! replaced, cut and moved, every name that a client may try, and every point at which
//! a process may be killed.
//!
//! Wherever it can be had, the thing itself is used: logrotate, file systems, signals.

#[path = "../support/mod.rs"]
mod support;

mod stage;

mod big;
mod by_name;
mod filters;
mod holes;
mod killed;
mod limits;
mod mounts;
mod names;
mod rotation;
mod state;
mod turnover;

//! `sse-harness` as a process: real programs, real sockets.

#[path = "../support/mod.rs"]
mod support;

mod fastcgi;
mod life;
mod programs;
mod site;
mod stage;

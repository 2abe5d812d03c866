//! `sse-harness` as a process: real programs, real sockets.

mod life;
mod programs;
mod site;
mod stage;

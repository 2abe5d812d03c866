//! `sse-harness` as a process: real programs, real sockets.

mod fastcgi;
mod life;
mod programs;
mod site;
mod stage;

//! The FastCGI responder as a process; the tests use its socket like a web server.

#[path = "../support/mod.rs"]
mod support;

mod accounts;
mod chaos;
mod client;
mod crowd;
mod stage;
mod wire;

mod command;
mod configured;
mod container;
mod costly;
mod hub;
mod kept;
mod life;
mod listening;
mod messages;
mod named;
mod permits;
mod protocol;
mod quiet;
mod replaced;
mod scarce;
mod slow;
mod slow_disk;
mod status;
mod streams;
mod unavailable;

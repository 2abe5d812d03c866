//! `sse-cat` and `sse-publish` as processes: against a server that responds as a test tells it,
//! and against the streams themselves behind `sse-harness`.

#[path = "../support/mod.rs"]
mod support;

mod command;
mod end;
mod help;
mod hostile;
mod publish;
mod read;
mod redirect;
mod resume;
mod server;
mod sign;
mod stage;
mod tls;
mod together;

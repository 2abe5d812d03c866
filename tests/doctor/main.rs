//! `sse-doctor` against real servers, deliberately misconfigured: the diagnosis is right, it names
//! the culprit and the directive, and the directive mends the fault.

#[path = "../support/mod.rs"]
mod support;

#[path = "../servers/mod.rs"]
mod servers;

mod cgi;
mod documents;
mod limits;
mod responder;
mod settings;
mod simple;
mod stage;
mod tls;

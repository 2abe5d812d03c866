//! The FastCGI responder as a process, spoken to on its socket as a web server does.

#[path = "../wire/parser.rs"]
mod parser;

mod client;
mod stage;
mod wire;

mod protocol;
mod streams;

//! HTTP/1.1: the machine without a socket, and `sse-httpd` as a process.

#[path = "../support/mod.rs"]
mod support;

#[path = "../servers/mod.rs"]
mod servers;

mod access_log;
mod attack;
mod behind;
mod codec;
mod configured;
mod connections;
mod first_minute;
mod hostile;
mod listening;
mod load;
mod machine;
mod proxy_protocol;
mod signed_links;
mod slow;
mod stage;
mod tokens;
mod workers;

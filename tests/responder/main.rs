//! The server for many subscribers as a process: `sse-fcgi`, whose socket the tests use like a
//! web server, and `sse-httpd`, whose clients they are. See `tests/peer`.

#[path = "../support/mod.rs"]
mod support;

#[path = "../peer/mod.rs"]
mod peer;

mod fastcgi;
mod http;

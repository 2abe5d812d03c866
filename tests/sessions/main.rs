//! Private sessions and rooms: streams and POSTs, by different processes.
//!
//! First as processes, as gateways start them; then behind real servers, Apache with the
//! CGI programs and nginx with the responder, and without one, each started by the test.

#[path = "../support/mod.rs"]
mod support;

// The stages of the streams and of publishing; both are used in part.
#[allow(dead_code)]
#[path = "../process/stage.rs"]
mod stage;

#[allow(dead_code)]
#[path = "../publish/post.rs"]
mod post;

#[path = "../servers/mod.rs"]
mod servers;

mod answer;
mod chat;
mod commands;
mod httpd;
mod members;
mod private;
mod spool;
mod swept;
mod two_way;
mod way;

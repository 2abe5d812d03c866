//! Layer 5: the only place that touches clock, descriptors and signals.
//!
//! ```text
//!  run ──► meta-variables, settings, policy ──► source ──► Subscription
//!   │                                                          │
//!   └── serve: one epoll ◄── signals, the reader, the watcher ─┘
//! ```
//!
//! It does what the layers below have decided, and decides nothing itself. An nph
//! program, a CGI program and a program in a terminal are one subscriber on descriptor
//! 1 and no listener.

#[forbid(unsafe_code)]
mod accounts;
#[forbid(unsafe_code)]
mod answering;
#[forbid(unsafe_code)]
mod append;
#[forbid(unsafe_code)]
mod below;
#[forbid(unsafe_code)]
mod beneath;
#[forbid(unsafe_code)]
mod body;
mod children;
#[forbid(unsafe_code)]
mod clock;
#[forbid(unsafe_code)]
mod disk;
#[forbid(unsafe_code)]
mod environment;
#[forbid(unsafe_code)]
mod exit;
#[forbid(unsafe_code)]
mod log;
#[forbid(unsafe_code)]
mod open;
#[forbid(unsafe_code)]
mod output;
#[forbid(unsafe_code)]
mod posting;
#[forbid(unsafe_code)]
mod privilege;
#[forbid(unsafe_code)]
mod process;
#[forbid(unsafe_code)]
mod publish;
#[forbid(unsafe_code)]
mod serve;
#[forbid(unsafe_code)]
mod server;
#[forbid(unsafe_code)]
mod signals;
#[forbid(unsafe_code)]
mod site;
#[forbid(unsafe_code)]
mod spool;
#[forbid(unsafe_code)]
mod start;
#[forbid(unsafe_code)]
mod terminal;
mod watch;
#[forbid(unsafe_code)]
mod world;

pub use publish::{run_publish, run_two_way};
pub use server::run_responder;
pub use start::{run, run_cgi, run_cgi_with_programs};

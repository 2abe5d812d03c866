//! Layer 7: one subscriber on descriptor 1, in an nph program, a CGI program or a program in a
//! terminal.
//!
//! ```text
//!  program ──► meta-variables, settings, policy ──► source ──► Subscription
//!     │                                                            │
//!     └── serve: one epoll ◄── signals, the reader, the watcher ───┘
//! ```

mod check;
mod program;
mod publish;
mod serve;
mod streams;
mod terminal;

pub(crate) use program::run_with;
pub use program::{
    run_cgi, run_cgi_with_check, run_cgi_with_engines, run_cgi_with_programs, run_cgi_with_streams,
};
pub use publish::{run_publish, run_publish_to_engine, run_two_way};

//! Server-Sent Events for the web server that is already installed.
//!
//! A program that calls [`run`] with a [`source::Stream`] serves that stream under every
//! gateway: as an `nph-` CGI program, as a plain CGI program, by FastCGI, or in a terminal. The
//! streams of this crate are in [`source`]; an application can define its own as a
//! [`source::Source`]:
//!
//! ```no_run
//! use sse_cgi::event::{Batch, Event, EventId};
//! use sse_cgi::source::{Next, Now, Opened, Source, Stream};
//!
//! /// Says hello once and ends.
//! struct Hello;
//!
//! impl Source for Hello {
//!     fn poll(&mut self, _: Now, out: &mut Batch) -> Next {
//!         out.event(&Event { id: None, name: None, data: b"hello" });
//!         out.close(None);
//!         Next::End
//!     }
//!
//!     fn position(&self) -> Option<EventId<'static>> {
//!         None
//!     }
//! }
//!
//! static HELLO: Stream = Stream {
//!     name: "hello",
//!     summary: "says hello",
//!     open: |_| Ok(Opened::Stream(Box::new(Hello), None)),
//!     settings: &[],
//!     argument: None,
//!     shared: None,
//! };
//!
//! fn main() -> std::process::ExitCode {
//!     sse_cgi::run(&HELLO)
//! }
//! ```
//!
//! # Layout
//!
//! The modules are layers, and imports go down only:
//!
//! | layer | module | duty |
//! |---|---|---|
//! | 0 | [`event`] | events and their text |
//! | 1 | [`request`] | the request and the settings; the head of the response |
//! | 2 | [`source`] | the sources of events |
//! | 3 | [`publish`] | publishing: who may append a record, and its content |
//! | 3 | [`stream`] | a subscription, and channels that subscribers share |
//! | 4 | [`gateway`] | framing for nph and CGI |
//! | 5 | `system` | the operating system: clock, descriptors, processes, signals, log |
//! | 6 | `store` | followed files, appended records, sessions |
//! | 7 | `cgi` | one subscriber on descriptor 1; [`run_cgi`] |
//! | 7 | `server` | many subscribers in one process; [`run_responder`] |
//!
//! `harness` (feature `harness`) is a local web server for trying out the streams, and
//! `clients` (feature `clients`) contains `sse-cat`,
//! `sse-publish` and `sse-doctor`.

#![deny(unsafe_code)]
#![warn(missing_docs)]

#[forbid(unsafe_code)]
pub mod event;
#[forbid(unsafe_code)]
pub mod gateway;
#[forbid(unsafe_code)]
pub mod publish;
#[forbid(unsafe_code)]
pub mod request;
#[forbid(unsafe_code)]
pub mod source;
#[forbid(unsafe_code)]
pub mod stream;

#[forbid(unsafe_code)]
mod cgi;
#[forbid(unsafe_code)]
mod run;
#[forbid(unsafe_code)]
mod server;
#[forbid(unsafe_code)]
mod store;
mod system;

#[cfg(feature = "clients")]
#[forbid(unsafe_code)]
pub mod clients;
#[cfg(feature = "harness")]
#[forbid(unsafe_code)]
pub mod harness;

pub use cgi::{
    run_cgi, run_cgi_with_check, run_cgi_with_engines, run_cgi_with_programs, run_cgi_with_streams,
    run_publish, run_publish_to_engine, run_two_way,
};
pub use run::run;
pub use server::{run_httpd, run_responder};

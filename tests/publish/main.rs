//! `publish` as a process: POSTs as gateways send them, read by `nph-tail`.

#[path = "../support/mod.rs"]
mod support;

// The stage of the streams, which starts the readers here.
#[allow(dead_code)]
#[path = "../process/stage.rs"]
mod stage;

#[path = "../peer/mod.rs"]
mod peer;

mod post;

mod fastcgi;
mod http;

mod answers;
mod bodies;
mod crowd;
mod data;
mod files;
mod killed;
mod names;
mod rate;
mod rotation;
mod terminal;

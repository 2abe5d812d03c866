//! The tests in which the protocol does not matter, over HTTP. Those that are missing are
//! explained in `fastcgi.rs`; those of HTTP itself are in `tests/http`. What takes long is here
//! only where the protocol has a part in it: not the costs of a client's expression
//! (`costly.rs`), nor a slow disk (`slow_disk.rs`).

#![allow(
    clippy::duplicate_mod,
    reason = "the tests in which the protocol does not matter are run over both"
)]

pub mod peer {
    crate::peer::peers!(crate::peer::Http);
}

#[path = "chaos.rs"]
mod chaos;
#[path = "command.rs"]
mod command;
#[path = "configured.rs"]
mod configured;
#[path = "confined.rs"]
mod confined;
#[path = "hub.rs"]
mod hub;
#[path = "life.rs"]
mod life;
#[path = "quiet.rs"]
mod quiet;
#[path = "replaced.rs"]
mod replaced;
#[path = "scarce.rs"]
mod scarce;
#[path = "several.rs"]
mod several;
#[path = "several_access.rs"]
mod several_access;
#[path = "slow.rs"]
mod slow;
#[path = "status.rs"]
mod status;
#[path = "streams.rs"]
mod streams;
#[path = "unavailable.rs"]
mod unavailable;

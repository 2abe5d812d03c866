//! The tests in which the protocol does not matter, over HTTP. Those that are missing are
//! explained in `fastcgi.rs`; those of HTTP itself are in `tests/http`.

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
#[path = "costly.rs"]
mod costly;
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
#[path = "slow.rs"]
mod slow;
#[path = "slow_disk.rs"]
mod slow_disk;
#[path = "status.rs"]
mod status;
#[path = "streams.rs"]
mod streams;
#[path = "unavailable.rs"]
mod unavailable;

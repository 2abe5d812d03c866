//! All tests over FastCGI.

#![allow(
    clippy::duplicate_mod,
    reason = "the tests in which the protocol does not matter are run over both"
)]

pub mod peer {
    crate::peer::peers!(crate::peer::FastCgi);
}

// These are about FastCGI, about the options of `sse-fcgi`, about settings that a request
// brings, or about its socket in the file system. Those of a container and of what is logged
// are here only, because the protocol does not matter to them.
mod accounts;
mod container;
mod excess;
mod kept;
mod listening;
mod messages;
mod moves;
mod named;
mod permits;
mod protocol;
mod sections;

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
#[path = "several.rs"]
mod several;
#[path = "several_access.rs"]
mod several_access;
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

//! The stream `command` as a process, with programs that behave well and badly.

#[path = "../support/mod.rs"]
mod support;

#[path = "../process/stage.rs"]
#[allow(
    dead_code,
    reason = "the stage of the other programs; not all of it is used here"
)]
mod stage;

mod end;
mod family;
mod output;
mod settings;

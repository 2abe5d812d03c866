//! Workers: several processes that serve the same (`--workers N`).
//!
//! ```text
//!            ┌─ control socket: settings, drain, reopen ─► worker 0 ─┐
//! supervisor ┼─ listening sockets, open for ever ───────► worker 1 ─┼─► figures, in memory
//!            └─ started again when it has ended ────────► worker 2 ─┘
//! ```
//!
//! A worker is this program, executed anew with `--worker` as its first argument. It shares no
//! state with the others but the figures ([`figures`]): the files are the history. The supervisor
//! keeps every listening socket open, so that connections which wait for a worker that was killed
//! are accepted by the one that replaces it.

mod assignment;
mod control;
mod figures;
mod restart;
mod status;
mod supervisor;
mod worker;

pub(super) use assignment::Assignment;
pub(super) use control::Order;
pub(super) use figures::{Figures, Row, STREAMS_MAX};
pub(super) use supervisor::{Supervisor, supervise};
pub(super) use worker::Worker;

/// The most workers.
pub(super) const WORKERS_MAX: usize = 64;

/// Reads the value of `--workers`: a number, or `auto` for one on each processor.
pub(super) fn count(text: &str) -> Result<usize, String> {
    let read = match text {
        "auto" => std::thread::available_parallelism().map_or(1, |n| n.get().min(WORKERS_MAX)),
        _ => text.parse().unwrap_or(0),
    };
    match (1..=WORKERS_MAX).contains(&read) {
        true => Ok(read),
        false => Err(format!(
            "--workers {text}: write a number from 1 to {WORKERS_MAX}, or auto"
        )),
    }
}

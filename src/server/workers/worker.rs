//! Worker: what one of several processes has from the supervisor.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use listenfd::ListenFd;
use nix::sys::prctl;
use nix::sys::signal::SigSet;
use nix::sys::socket::MsgFlags;
use nix::unistd::dup2_stdin;

use super::control::{Control, Received};
use super::{Assignment, Figures, Order, Row};
use crate::server::listen::Listener;

/// A worker's place among the others.
pub(in crate::server) struct Worker {
    pub(in crate::server) index: usize,
    pub(in crate::server) figures: Figures,
    pub(in crate::server) control: Control,
    /// What it has written last.
    pub(in crate::server) written: Row,
    /// When the figures that need a look at all connections were counted.
    pub(in crate::server) counted_at: Option<std::time::Duration>,
    /// They have changed since.
    pub(in crate::server) is_stale: bool,
    /// A deadline for the next time has been set.
    pub(in crate::server) awaits_count: bool,
}

impl Worker {
    /// Takes what has been inherited: the worker, its sockets, and its settings file.
    pub(in crate::server) fn inherit(
        assignment: &Assignment,
    ) -> io::Result<(Self, Vec<Listener>, Option<Vec<u8>>)> {
        // Otherwise the name would be that of the link by which it was executed.
        let _ = prctl::set_name(c"sse-worker");
        // The supervisor had signals blocked.
        SigSet::empty().thread_set_mask()?;
        let figures = Figures::of(File::from(io::stdin().as_fd().try_clone_to_owned()?));
        dup2_stdin(File::open("/dev/null")?)?;
        let mut passed = ListenFd::from_env();
        let missing = || io::Error::other("--worker: only sse-cgi starts its workers");
        let (family, kind) = (libc::AF_UNIX, libc::SOCK_SEQPACKET);
        let control: Option<OwnedFd> = passed.take_custom(0, family, kind, "control socket")?;
        let control = Control::new(control.ok_or_else(missing)?);
        let mut listeners = Vec::new();
        for index in 1..passed.len() {
            listeners.push(Listener::passed(&mut passed, index).map_err(io::Error::other)?);
        }
        let Received::Message(Order::Configure(file)) = control.next_order(MsgFlags::empty())
        else {
            return Err(missing());
        };
        let written = figures.row(assignment.index);
        let worker = Self {
            index: assignment.index,
            figures,
            control,
            written,
            counted_at: None,
            is_stale: false,
            awaits_count: false,
        };
        Ok((worker, listeners, file))
    }

    /// The orders that have come, and whether the supervisor has ended.
    pub(in crate::server) fn orders(&self) -> (Vec<Order>, bool) {
        let mut orders = Vec::new();
        loop {
            match self.control.next_order(MsgFlags::MSG_DONTWAIT) {
                Received::Message(order) => orders.push(order),
                Received::Nothing => return (orders, false),
                Received::End => return (orders, true),
            }
        }
    }

    /// It accepts connections.
    pub(in crate::server) fn say_ready(&self) {
        let _ = self.control.say_ready();
    }
}

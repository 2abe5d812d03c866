//! Control: the socket between the supervisor and a worker.
//!
//! It keeps messages apart (SOCK_SEQPACKET). Its end shows the end of the other process.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, recv, send, setsockopt, socketpair, sockopt,
};

use crate::request::settings::SettingsFile;

/// What a supervisor tells a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) enum Order {
    /// Use this settings file; `None`: there is none. The first order, and one after SIGHUP.
    Configure(Option<Vec<u8>>),
    /// Open the logs anew.
    Reopen,
    /// End every stream at the end of an event, and exit.
    Drain,
    /// Exit at once.
    End,
}

/// One end of the socket.
pub(in crate::server) struct Control(OwnedFd);

/// What was received.
pub(super) enum Received<T> {
    Message(T),
    Nothing,
    /// The other process has ended.
    End,
}

/// A settings file, and the byte that says what a message is.
const MESSAGE_MAX_BYTES: usize = SettingsFile::MAX_BYTES + 1;

/// Says that a worker accepts connections.
const READY: &[u8] = b"ready";

impl Control {
    /// Both ends: the supervisor's and the worker's.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (own, worker_s) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        // A few messages fit, whatever the system's default is.
        let _ = setsockopt(&own, sockopt::SndBuf, &(4 * MESSAGE_MAX_BYTES));
        Ok((Self(own), worker_s))
    }

    pub(super) fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    pub(super) fn say_ready(&self) -> io::Result<()> {
        send(self.0.as_raw_fd(), READY, MsgFlags::MSG_NOSIGNAL)?;
        Ok(())
    }

    /// Whether the worker has said that it is ready.
    pub(super) fn take_ready(&self) -> Received<()> {
        let mut bytes = [0; 16];
        match recv(self.0.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => Received::End,
            Ok(_) => Received::Message(()),
            Err(Errno::EAGAIN | Errno::EINTR) => Received::Nothing,
            Err(_) => Received::End,
        }
    }

    /// Sends an order without waiting.
    pub(super) fn order(&self, order: &Order) -> io::Result<()> {
        let bytes = match order {
            Order::Configure(None) => b"N".to_vec(),
            Order::Configure(Some(file)) => [b"C", &file[..]].concat(),
            Order::Reopen => b"R".to_vec(),
            Order::Drain => b"D".to_vec(),
            Order::End => b"E".to_vec(),
        };
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        send(self.0.as_raw_fd(), &bytes, flags)?;
        Ok(())
    }

    /// The next order. Waits for it if `flags` do not forbid that.
    pub(super) fn next_order(&self, flags: MsgFlags) -> Received<Order> {
        let mut bytes = vec![0; MESSAGE_MAX_BYTES];
        let count = loop {
            match recv(self.0.as_raw_fd(), &mut bytes, flags) {
                Ok(0) => return Received::End,
                Ok(count) => break count,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Received::Nothing,
                Err(_) => return Received::End,
            }
        };
        bytes.truncate(count);
        match bytes[0] {
            b'N' => Received::Message(Order::Configure(None)),
            b'C' => Received::Message(Order::Configure(Some(bytes.split_off(1)))),
            b'R' => Received::Message(Order::Reopen),
            b'D' => Received::Message(Order::Drain),
            b'E' => Received::Message(Order::End),
            _ => Received::Nothing,
        }
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_arrive_as_they_were_given_and_the_end_is_seen() {
        let (supervisor, worker) = Control::pair().unwrap();
        let worker = Control::new(worker);
        let orders = [
            Order::Configure(None),
            Order::Configure(Some(Vec::new())),
            Order::Configure(Some(vec![b'#'; SettingsFile::MAX_BYTES])),
            Order::Reopen,
            Order::Drain,
            Order::End,
        ];
        for order in &orders {
            supervisor.order(order).unwrap();
        }
        for order in orders {
            match worker.next_order(MsgFlags::empty()) {
                Received::Message(found) => assert_eq!(found, order),
                _ => panic!("no order"),
            }
        }
        let none = worker.next_order(MsgFlags::MSG_DONTWAIT);
        assert!(matches!(none, Received::Nothing));
        worker.say_ready().unwrap();
        assert!(matches!(supervisor.take_ready(), Received::Message(())));
        drop(supervisor);
        let end = worker.next_order(MsgFlags::MSG_DONTWAIT);
        assert!(matches!(end, Received::End));
    }
}

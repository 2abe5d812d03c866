//! Who comes in: the listener, and places for those who connect.

use std::io;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::super::log::Level;
use super::listen::Accepted;
use super::peer::{Peer, Phase};
use super::responder::{HOUSEKEEPING, LISTENER, Responder, number, peer};
use super::timers::Whom;
use crate::gateway::fastcgi::{Connection, Limits};
use crate::source::Now;

/// How many connections are taken at once, at most: who is served already comes first.
const ACCEPTS_MAX: usize = 64;

/// How long nobody is accepted after there was no descriptor left.
const BACK_OFF: Duration = Duration::from_millis(100);

impl Responder {
    /// Listens, or stops to.
    pub(super) fn listen(&mut self, on: bool) -> io::Result<()> {
        let Some(listener) = &self.listener else {
            return Ok(());
        };
        if on != self.is_listening {
            if on {
                let event = EpollEvent::new(EpollFlags::EPOLLIN, LISTENER);
                self.epoll.add(listener, event)?;
            } else {
                self.epoll.delete(listener)?;
            }
            self.is_listening = on;
        }
        Ok(())
    }

    pub(super) fn accept(&mut self, now: Now) {
        for count in 0..ACCEPTS_MAX {
            let Some(listener) = &self.listener else {
                return;
            };
            if self.peers.len() >= self.connections_max {
                // (Whether somebody else waits, the next event tells.)
                if count == 0 {
                    self.cannot_accept(&Errno::EMFILE.into(), now);
                }
                return;
            }
            match listener.accept() {
                Ok(Accepted::Peer(socket)) => self.welcome(socket, now),
                Ok(Accepted::Stranger(address)) => self.log.rate_limited(
                    Level::Warning,
                    "stranger",
                    &format!("{address}: not one of FCGI_WEB_SERVER_ADDRS; refused"),
                ),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return,
                    // It left while it waited.
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => return self.cannot_accept(&error, now),
                },
            }
        }
    }

    /// There are no descriptors left, or no memory. Who knocks waits at the door; places
    /// become free when somebody leaves.
    pub(super) fn cannot_accept(&mut self, error: &io::Error, now: Now) {
        self.counters.accept_errors += 1;
        self.log.rate_limited(
            Level::Error,
            "accept",
            &format!("accept: {error}; raise LimitNOFILE, or ulimit -n"),
        );
        // Who has connected and says nothing makes room for who does.
        let idle = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.phase == Phase::Reading)
            .min_by_key(|(_, peer)| peer.since)
            .filter(|(_, peer)| peer.since + BACK_OFF < now.monotonic)
            .map(|(index, peer)| number(index, peer.generation));
        if let Some(whom) = idle {
            self.remove(whom, "no descriptor left");
        }
        if self.listen(false).is_ok() {
            self.timers.set(now.monotonic + BACK_OFF, HOUSEKEEPING);
        }
    }

    pub(super) fn welcome(&mut self, socket: std::os::fd::OwnedFd, now: Now) {
        self.generation = (self.generation + 1) & 0x3fff_ffff;
        let limits = Limits {
            params_bytes: self.options.params_bytes,
            pairs: self.options.pairs,
            connections_max: u32::try_from(self.subscribers_max).unwrap_or(u32::MAX),
        };
        let peer = Peer::new(socket, Connection::new(limits), self.generation, now);
        let entry = self.peers.vacant_entry();
        let whom = number(entry.key(), self.generation);
        let event = EpollEvent::new(peer.awaited(), whom);
        if let Err(error) = self.epoll.add(&peer, event) {
            self.counters.accept_errors += 1;
            let text = format!("epoll: {error}; raise fs.epoll.max_user_watches");
            return self.log.rate_limited(Level::Error, "epoll", &text);
        }
        entry.insert(peer);
        self.wake_at(whom, now.monotonic + self.options.request_timeout);
        // What it wants has mostly come with it.
        self.read(whom, now);
    }

    /// A connection was kept and serves another request, as a peer of another number: what
    /// is still known of the one before, in lists and among the moments to wait for, is not
    /// this one's.
    pub(super) fn renew(&mut self, whom: Whom, now: Now) -> Whom {
        self.generation = (self.generation + 1) & 0x3fff_ffff;
        let renewed = number((whom & 0xffff_ffff) as usize, self.generation);
        let Some(peer) = peer(&mut self.peers, whom) else {
            return renewed;
        };
        let mut event = EpollEvent::new(peer.awaited(), renewed);
        if self.epoll.modify(&*peer, &mut event).is_err() {
            self.remove(whom, "no memory left");
            return renewed;
        }
        peer.generation = self.generation;
        peer.is_waiting = false;
        peer.is_ready = false;
        peer.due = None;
        if peer.blocked_since.is_some() {
            self.blocked(renewed, now);
        }
        renewed
    }
}

//! Connection: one client, served by one thread. [`http::Connection`] makes requests of its
//! bytes, one after the other; the response is framed by [`super::response`], or an `nph-`
//! program's output is written to the socket unchanged, and the connection is closed at its end.
//!
//! A client that has closed only its sending side still gets its response, as with Apache. The
//! disadvantage is Apache's, too: that a client has disconnected is only noticed at the second
//! write after it.
//!
//! [`http::Connection`]: crate::gateway::http::Connection

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::poll::PollFlags;

use crate::gateway::After;
use crate::gateway::http::{self, Incoming, Limits, Peer, Rejection};
use crate::request::MetaVariables;
use crate::system::clock;

use super::access::AccessLog;
use super::exchange;
use super::note;
use super::parsed::{Outcome, Read};
use super::program::Program;
use super::ready::{Stop, ready};
use super::response::{End, Response, Terms};
use super::site::{Ends, Site};

/// How long a closed connection waits for the client's own end. Otherwise bytes that are still
/// arriving could cause a reset, which would lose the last bytes of the response.
const LINGER: Duration = Duration::from_secs(2);

/// How long a client may take for the head of a request, and how long a connection is kept
/// without one.
const HEAD_TIME: Duration = Duration::from_secs(30);

const READ_BYTES: usize = 64 * 1024;

/// The maximum number of fields of a head.
const MOST_FIELDS: usize = 100;

/// Serves one client until either side ends the connection.
pub fn serve(site: &Site, socket: TcpStream, stop: &Stop) {
    let (Ok(client), Ok(server)) = (socket.peer_addr(), socket.local_addr()) else {
        return; // The client has disconnected already.
    };
    let ends = Ends { client, server };
    // Each event must be sent when it is written.
    let _ = socket.set_nodelay(true);
    let _ = socket.set_write_timeout(Some(site.limits.silence));
    let limits = Limits {
        head_bytes: site.limits.header_bytes,
        fields: MOST_FIELDS,
        ..Limits::default()
    };
    let peer = Peer {
        client: Some(client),
        server: Some(server),
    };
    let mut conversation = Conversation {
        site,
        ends,
        wire: Wire {
            socket,
            machine: http::Connection::new(limits, peer),
            input: Vec::new(),
            taken: 0,
        },
    };
    while conversation.next(stop) {}
}

/// The socket, and the state of the protocol on it.
struct Wire {
    socket: TcpStream,
    machine: http::Connection,
    /// The received bytes, of which the first `taken` have been processed.
    input: Vec<u8>,
    taken: usize,
}

/// What came from a client, and requires an action.
enum Received {
    Request(MetaVariables),
    Body(Vec<u8>),
    BodyEnd,
    Rejected(Rejection),
    /// The client sends nothing more, or nothing that can be understood.
    End,
    /// It sent nothing more in time.
    Late,
    /// The server stops, and no request has begun.
    Stop,
}

impl Wire {
    /// Waits for the next item. `stop` is observed as long as no request has begun.
    fn receive(&mut self, until: Instant, stop: Option<&Stop>) -> Received {
        loop {
            let mut rest = &self.input[self.taken..];
            let mut reply = Vec::new();
            let taken = self.machine.take(&mut rest, &mut reply);
            let received = match taken {
                Ok(None) => None,
                Ok(Some(Incoming::Request(meta))) => Some(Received::Request(meta)),
                Ok(Some(Incoming::Body(bytes))) => Some(Received::Body(bytes.to_vec())),
                Ok(Some(Incoming::BodyEnd)) => Some(Received::BodyEnd),
                Ok(Some(Incoming::Rejected(rejection))) => Some(Received::Rejected(rejection)),
                Err(_) => Some(Received::End),
            };
            self.taken = self.input.len() - rest.len();
            if self.taken == self.input.len() {
                self.input.clear();
                self.taken = 0;
            }
            // 100 Continue.
            if !reply.is_empty() && self.socket.write_all(&reply).is_err() {
                return Received::End;
            }
            if let Some(received) = received {
                return received;
            }
            let stop = stop.filter(|_| !self.machine.is_incomplete());
            if let Some(end) = self.fill(until, stop) {
                return end;
            }
        }
    }

    /// Waits for more bytes; returns why there are none.
    fn fill(&mut self, until: Instant, stop: Option<&Stop>) -> Option<Received> {
        let socket = (self.socket.as_fd(), PollFlags::POLLIN);
        let events = match stop {
            Some(stop) => ready([socket, (stop.as_fd(), PollFlags::POLLIN)], Some(until)),
            None => ready([socket], Some(until)).map(|events| {
                let events = events?;
                Some([events[0], PollFlags::empty()])
            }),
        };
        match events {
            Ok(Some([socket, stop])) if socket.is_empty() && !stop.is_empty() => {
                return Some(Received::Stop);
            }
            Ok(Some(_)) => {}
            Ok(None) => return Some(Received::Late),
            Err(_) => return Some(Received::End),
        }
        let filled = self.input.len();
        self.input.resize(filled + READ_BYTES, 0);
        let read = self.socket.read(&mut self.input[filled..]);
        self.input
            .truncate(filled + read.as_ref().copied().unwrap_or(0));
        match read {
            Ok(0) => Some(Received::End),
            Ok(_) => None,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
            Err(_) => Some(Received::End),
        }
    }

    /// Reads a whole body before its program starts. (Apache starts the program earlier, but
    /// forwards none of its output before the body is complete.)
    fn body(&mut self, announced: Option<usize>, site: &Site) -> Result<Vec<u8>, u16> {
        let most_bytes = site.limits.body_bytes;
        if announced.is_some_and(|length| length > most_bytes) {
            return Err(413);
        }
        let until = Instant::now() + site.limits.silence;
        let mut body = Vec::new();
        loop {
            match self.receive(until, None) {
                Received::Body(bytes) => body.extend(bytes),
                Received::BodyEnd => return Ok(body),
                Received::Late => {
                    self.machine.keep_no_longer();
                    return Err(408);
                }
                _ => {
                    self.machine.keep_no_longer();
                    return Err(400);
                }
            }
            if body.len() > most_bytes {
                return Err(413);
            }
        }
    }

    /// Closes it, so that the client gets everything that was sent.
    fn linger(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Write);
        let until = Instant::now() + LINGER;
        let mut rest = [0; 4096];
        while let Ok(Some(_)) = ready([(self.socket.as_fd(), PollFlags::POLLIN)], Some(until)) {
            if !matches!(self.socket.read(&mut rest), Ok(1..)) {
                return;
            }
        }
    }
}

struct Conversation<'s> {
    site: &'s Site,
    ends: Ends,
    wire: Wire,
}

impl Conversation<'_> {
    /// Serves one request. Returns whether another one may follow.
    fn next(&mut self, stop: &Stop) -> bool {
        let until = Instant::now() + HEAD_TIME;
        let meta = loop {
            match self.wire.receive(until, Some(stop)) {
                Received::Request(meta) => break meta,
                Received::Rejected(rejection) => return self.reject(rejection),
                // The rest of a body that was not read.
                Received::Body(_) | Received::BodyEnd => {}
                Received::End | Received::Late | Received::Stop => {
                    self.wire.linger();
                    return false;
                }
            }
        };
        let access = AccessLog::begin(self.ends.client.ip(), exchange::request_line(&meta));
        match self.decide(&meta) {
            Outcome::Raw(program) => {
                self.relay(program, &access);
                false
            }
            Outcome::Answer(answer) => self.answer(answer, &meta, &access, stop),
            Outcome::Redirect(_) => {
                let answer = Response::refusal(500);
                self.answer(answer, &meta, &access, stop)
            }
        }
    }

    fn decide(&mut self, meta: &MetaVariables) -> Outcome {
        let announced = meta.joined("CONTENT_LENGTH").and_then(|length| {
            let text = String::from_utf8(length).ok()?;
            text.parse().ok()
        });
        let (site, ends) = (self.site, self.ends);
        // Another descriptor, since the body is read by the first one.
        let outcome = match self.wire.socket.try_clone() {
            Ok(client) => {
                let read_body = || self.wire.body(announced, site);
                exchange::decide(site, ends, &client, meta, read_body)
            }
            Err(error) => {
                note(format_args!("no descriptor is left: {error}: 503"));
                Err(503)
            }
        };
        outcome.unwrap_or_else(|status| Outcome::Answer(Response::refusal(status)))
    }

    fn answer(
        &mut self,
        answer: Response,
        meta: &MetaVariables,
        access: &AccessLog,
        stop: &Stop,
    ) -> bool {
        let now = Some(Instant::now());
        let is_stopping = !matches!(ready([(stop.as_fd(), PollFlags::POLLIN)], now), Ok(None));
        let terms = Terms {
            is_http_1_0: meta.joined("SERVER_PROTOCOL").as_deref() == Some(b"HTTP/1.0"),
            is_head: meta.joined("REQUEST_METHOD").as_deref() == Some(b"HEAD"),
            keeps: self.wire.machine.may_keep() && !is_stopping,
            silence: self.site.limits.silence,
        };
        let status = answer.status;
        let (end, sent_bytes) = answer.send(&mut self.wire.socket, terms);
        access.write(Some(status), sent_bytes);
        match end {
            End::Kept => self.wire.machine.finish() == After::Keep,
            End::Close => {
                self.wire.linger();
                false
            }
            End::Gone => false,
        }
    }

    /// Answers a request that is none, and closes the connection.
    fn reject(&mut self, rejection: Rejection) -> bool {
        let client = self.ends.client;
        note(format_args!("client {client}: {rejection}"));
        let (head, text) = rejection.response();
        let date = clock::http_date();
        let response = self.wire.machine.response(&head, &date, text.as_bytes());
        if self.wire.socket.write_all(&response).is_ok() {
            self.wire.linger();
        }
        false
    }

    /// Forwards a program's bytes as they arrive.
    fn relay(&mut self, mut program: Program, access: &AccessLog) {
        let silence = self.site.limits.silence;
        let (mut status, mut sent_bytes) = (None, 0);
        let is_there = loop {
            let piece = match program.read(silence) {
                Ok(Read::Bytes(piece)) => piece,
                Ok(Read::End | Read::Departed) | Err(_) => break true,
                Ok(Read::Late) => {
                    let name = &program.name;
                    note(format_args!("{name}: silent for {silence:?} (--timeout)"));
                    break true;
                }
            };
            if sent_bytes == 0 {
                status = status_of(&piece);
            }
            if self.wire.socket.write_all(&piece).is_err() {
                break false;
            }
            sent_bytes += piece.len() as u64;
        };
        // It ends while the connection is closed.
        drop(program);
        access.write(status, sent_bytes);
        if is_there {
            self.wire.linger();
        }
    }
}

/// The status in the first bytes of a response that is not parsed; for the log only.
fn status_of(answer: &[u8]) -> Option<u16> {
    let rest = answer.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    std::str::from_utf8(rest).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_knows_the_status_of_a_raw_answer() {
        assert_eq!(status_of(b"HTTP/1.1 405 No\r\n"), Some(405));
        assert_eq!(status_of(b"HTTP/1.0 200\r\n"), Some(200));
        for other in [
            &b""[..],
            b"HTTP/1.1 4",
            b"Status: 200 OK",
            b"HTTP/2 200 OK\r\n",
        ] {
            assert_eq!(status_of(other), None);
        }
    }
}

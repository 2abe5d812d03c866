//! Call: one request to a responder, on a connection of its own, which is written and read at
//! the same time. Dropping it closes the connection; this is how a responder learns that the
//! client has disconnected.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::poll::PollFlags;

use super::super::child::Stderr;
use super::super::environment::Variables;
use super::super::parsed::Read;
use super::super::ready::{departure, has_departed, is_readable, ready};
use super::record::{self, Received};

const CHUNK_BYTES: usize = 64 * 1024;

/// A request that is being processed.
#[derive(Debug)]
pub struct Call {
    /// For the log.
    pub name: String,
    stream: UnixStream,
    /// The request, and how much of it has been sent.
    request: Vec<u8>,
    sent: usize,
    /// The received bytes; the last record may be incomplete.
    received: Vec<u8>,
    stderr: Stderr,
    has_ended: bool,
}

impl Call {
    /// Begins a request on a connection that does not block.
    pub fn begin(name: String, stream: UnixStream, variables: &Variables, input: &[u8]) -> Call {
        let params = variables.iter();
        let params = params.map(|(name, value)| (name.as_os_str(), value.as_os_str()));
        Call {
            stderr: Stderr::of(name.clone()),
            name,
            stream,
            request: record::request(params, input),
            sent: 0,
            received: Vec::with_capacity(CHUNK_BYTES),
            has_ended: false,
        }
    }

    /// The next bytes of STDOUT, as soon as there are any.
    ///
    /// # Errors
    /// When the connection ends before the request does, or the bytes are not FastCGI.
    pub fn read(&mut self, client: Option<&TcpStream>, limit: Duration) -> io::Result<Read> {
        let until = Instant::now() + limit;
        loop {
            let content = self.take()?;
            if !content.is_empty() {
                return Ok(Read::Bytes(content));
            }
            if self.has_ended {
                return Ok(Read::End);
            }
            if let Some(end) = self.exchange(client, until)? {
                return Ok(end);
            }
        }
    }

    /// Everything on STDOUT that has arrived in complete records. STDERR goes to the terminal.
    fn take(&mut self) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        let mut taken = 0;
        while !self.has_ended {
            match record::parse(&self.received[taken..]) {
                Ok(Some((record, bytes))) => {
                    match record {
                        Received::Stdout(bytes) => content.extend_from_slice(bytes),
                        Received::Stderr(content) => self.stderr.push(content),
                        Received::End => self.has_ended = true,
                        Received::Other => {}
                    }
                    taken += bytes;
                }
                Ok(None) => break,
                // The records before it are valid; the error is found again after they were
                // forwarded.
                Err(_) if !content.is_empty() => break,
                Err(malformed) => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, malformed));
                }
            }
        }
        self.received.drain(..taken);
        Ok(content)
    }

    /// Waits until bytes could be sent or received; returns why the wait ended without.
    fn exchange(&mut self, client: Option<&TcpStream>, until: Instant) -> io::Result<Option<Read>> {
        let interest = match self.sent == self.request.len() {
            true => PollFlags::POLLIN,
            false => PollFlags::POLLIN | PollFlags::POLLOUT,
        };
        let own = (self.stream.as_fd(), interest);
        let events = match client {
            Some(client) => ready([own, (client.as_fd(), departure())], Some(until))?,
            None => ready([own], Some(until))?.map(|[own]| [own, PollFlags::empty()]),
        };
        let Some([own, client]) = events else {
            return Ok(Some(Read::Late));
        };
        if has_departed(client) {
            return Ok(Some(Read::Departed));
        }
        if own.contains(PollFlags::POLLOUT) && self.sent < self.request.len() {
            match self.stream.write(&self.request[self.sent..]) {
                Ok(sent) => self.sent += sent,
                Err(error) if is_temporary(&error) => {}
                // A responder may respond without reading the whole body.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    self.sent = self.request.len();
                }
                Err(error) => return Err(error),
            }
        }
        if is_readable(own) {
            let filled = self.received.len();
            self.received.resize(filled + CHUNK_BYTES, 0);
            let read = self.stream.read(&mut self.received[filled..]);
            self.received
                .truncate(filled + read.as_ref().copied().unwrap_or(0));
            match read {
                Ok(0) => {
                    let text = "the connection ended before the answer did";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
                }
                Ok(_) => {}
                Err(error) if is_temporary(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

fn is_temporary(error: &io::Error) -> bool {
    [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted].contains(&error.kind())
}

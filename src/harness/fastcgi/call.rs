//! Call: one request to a responder, on a connection of its own. One task writes and reads it,
//! so that dropping it closes the connection at any time; this is how a responder learns that
//! the client has disconnected.

use std::io;

use hyper::body::{Buf, Bytes};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::super::environment::Variables;
use super::super::program::Stderr;
use super::record::{self, Received};

const CHUNK_BYTES: usize = 64 * 1024;

/// A request that is being processed.
#[derive(Debug)]
pub struct Call {
    /// For the log.
    pub name: String,
    stream: UnixStream,
    /// The part of the request that has not been sent yet.
    unsent: Bytes,
    /// The received bytes; the last record may be incomplete.
    received: Vec<u8>,
    stderr: Stderr,
    has_ended: bool,
}

impl Call {
    pub fn begin(name: String, stream: UnixStream, variables: &Variables, input: &[u8]) -> Call {
        let params = variables.iter();
        let params = params.map(|(name, value)| (name.as_os_str(), value.as_os_str()));
        Call {
            stderr: Stderr::of(name.clone()),
            name,
            stream,
            unsent: record::request(params, input).into(),
            received: Vec::with_capacity(CHUNK_BYTES),
            has_ended: false,
        }
    }

    /// The next bytes of STDOUT, as soon as there are any; `None` at the end of the request. If
    /// this future is dropped while it waits, nothing is lost.
    ///
    /// # Errors
    /// When the connection ends before the request does, or the bytes are not FastCGI.
    pub async fn read(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let content = self.take()?;
            if !content.is_empty() {
                return Ok(Some(content.into()));
            }
            if self.has_ended {
                return Ok(None);
            }
            self.exchange().await?;
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

    /// Waits until bytes could be sent or received.
    async fn exchange(&mut self) -> io::Result<()> {
        let interest = match self.unsent.is_empty() {
            true => Interest::READABLE,
            false => Interest::READABLE | Interest::WRITABLE,
        };
        let ready = self.stream.ready(interest).await?;
        if ready.is_writable() && !self.unsent.is_empty() {
            match self.stream.try_write(&self.unsent) {
                Ok(sent) => self.unsent.advance(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // A responder may respond without reading the whole body.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.unsent.clear(),
                Err(error) => return Err(error),
            }
        }
        if ready.is_readable() {
            match self.stream.try_read_buf(&mut self.received) {
                Ok(0) => {
                    let text = "the connection ended before the answer did";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

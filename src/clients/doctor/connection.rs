//! A connection of the doctor: TCP, with TLS for https, and reads that end at a deadline.
//!
//! The number of connections is limited by a [`Budget`], so that a diagnosis cannot burden a
//! server, whatever that answers.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_platform_verifier::BuilderVerifierExt as _;
use ureq::http::Uri;

use super::super::endpoint::{describe_io, describe_tls};

/// Limit of connecting, with TLS.
const CONNECT: Duration = Duration::from_secs(10);

/// How many connections a diagnosis may still open.
#[derive(Debug)]
pub(super) struct Budget {
    left: u32,
}

impl Budget {
    /// The most connections of one diagnosis.
    pub(super) const MAX: u32 = 4;

    pub(super) fn new() -> Self {
        Self { left: Self::MAX }
    }

    /// Takes one connection; false: none is left.
    pub(super) fn take(&mut self) -> bool {
        let has_one = self.left > 0;
        self.left = self.left.saturating_sub(1);
        has_one
    }

    pub(super) fn left(&self) -> u32 {
        self.left
    }
}

/// Why there is no connection. The text is for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unreachable(pub(super) String);

#[derive(Debug)]
enum Socket {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// The result of a read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// So many bytes.
    Bytes(usize),
    /// The peer has closed its side.
    Closed,
    /// The connection was reset.
    Reset,
    /// Nothing until the deadline.
    Late,
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    socket: Socket,
    /// What the server chose of the protocols that were offered (RFC 7301).
    pub(super) protocol: Option<String>,
}

/// The host and the port of a URL.
pub(super) fn host_and_port(url: &Uri) -> (String, u16) {
    let is_secure = url.scheme_str() == Some("https");
    let host = url.host().unwrap_or_default();
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    (
        host,
        url.port_u16().unwrap_or(if is_secure { 443 } else { 80 }),
    )
}

impl Connection {
    /// Connects to the server of `url`; `protocols` are offered in the TLS handshake.
    pub(super) fn open(url: &Uri, protocols: &[&str]) -> Result<Self, Unreachable> {
        let (host, port) = host_and_port(url);
        let failed = |error: &std::io::Error| {
            Unreachable(format!("{host} port {port}: {}", describe_io(error)))
        };
        let deadline = Instant::now() + CONNECT;
        let addresses = (host.as_str(), port)
            .to_socket_addrs()
            .map_err(|error| Unreachable(format!("{host}: no such host ({error})")))?;
        let mut last = Unreachable(format!("{host}: no address"));
        let mut open = None;
        for address in addresses {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            match TcpStream::connect_timeout(&address, left) {
                Ok(stream) => {
                    open = Some(stream);
                    break;
                }
                Err(error) => last = failed(&error),
            }
        }
        let stream = open.ok_or(last)?;
        let limits = stream
            .set_nodelay(true)
            .and_then(|()| stream.set_read_timeout(Some(CONNECT)))
            .and_then(|()| stream.set_write_timeout(Some(CONNECT)));
        limits.map_err(|error| failed(&error))?;
        if url.scheme_str() != Some("https") {
            return Ok(Self {
                socket: Socket::Plain(stream),
                protocol: None,
            });
        }
        let mut tls = StreamOwned::new(handshake_for(&host, protocols)?, stream);
        while tls.conn.is_handshaking() {
            let done = tls.conn.complete_io(&mut tls.sock);
            done.map_err(|error| match tls_error(&error) {
                Some(error) => Unreachable(format!("{host} port {port}: {}", describe_tls(error))),
                None => failed(&error),
            })?;
        }
        let protocol = tls.conn.alpn_protocol();
        Ok(Self {
            protocol: protocol.map(|name| String::from_utf8_lossy(name).into_owned()),
            socket: Socket::Tls(Box::new(tls)),
        })
    }

    /// Sends all of it. A failure shows when the response is read.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        let _ = match &mut self.socket {
            Socket::Plain(stream) => stream.write_all(bytes),
            Socket::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        };
    }

    /// Reads once, until `deadline` at most.
    pub(super) fn receive(&mut self, buffer: &mut [u8], deadline: Instant) -> Received {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Received::Late;
            }
            let stream = match &self.socket {
                Socket::Plain(stream) => stream,
                Socket::Tls(stream) => &stream.sock,
            };
            if stream.set_read_timeout(Some(left)).is_err() {
                return Received::Reset;
            }
            let read = match &mut self.socket {
                Socket::Plain(stream) => stream.read(buffer),
                Socket::Tls(stream) => stream.read(buffer),
            };
            match read {
                Ok(0) => return Received::Closed,
                Ok(count) => return Received::Bytes(count),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut => {}
                    // A TLS connection that ends without close_notify.
                    ErrorKind::UnexpectedEof => return Received::Closed,
                    _ => return Received::Reset,
                },
            }
        }
    }

    /// Ends the sending side, as a client does that leaves.
    pub(super) fn shut_sending(&mut self) {
        let stream = match &mut self.socket {
            Socket::Plain(stream) => stream,
            Socket::Tls(stream) => {
                stream.conn.send_close_notify();
                let _ = stream.conn.write_tls(&mut stream.sock);
                &mut stream.sock
            }
        };
        let _ = stream.shutdown(Shutdown::Write);
    }
}

fn handshake_for(host: &str, protocols: &[&str]) -> Result<ClientConnection, Unreachable> {
    let failed = |what: String| Unreachable(format!("{host}: {what}"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(rustls::ConfigBuilder::with_platform_verifier)
        .map_err(|error| failed(describe_tls(&error)))?
        .with_no_client_auth();
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().into())
        .collect();
    let name = ServerName::try_from(host.to_owned());
    let name = name.map_err(|_| failed("no name for a certificate".into()))?;
    ClientConnection::new(Arc::new(config), name).map_err(|error| failed(describe_tls(&error)))
}

fn tls_error(error: &std::io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref::<rustls::Error>()
}

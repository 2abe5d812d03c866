//! Tls: an encrypted connection to an engine, which never blocks.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::link::Secured;
use crate::source::redis::Certificates;

/// A TCP connection and what TLS keeps of it.
struct Tls {
    connection: ClientConnection,
    socket: TcpStream,
}

/// Begins a handshake over a connection that may not be made yet.
///
/// # Errors
/// When a file of certificates contains none, or the host's name is no name.
pub(super) fn begin(
    socket: TcpStream,
    host: &str,
    certificates: &Certificates,
) -> io::Result<Box<dyn Secured>> {
    let config = recent_configuration(certificates)?;
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
    Ok(Box::new(Tls { connection, socket }))
}

impl Secured for Tls {}

impl Tls {
    /// Sends what is encrypted and can be sent now.
    fn send(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Read for Tls {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.connection.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
            if self.connection.read_tls(&mut self.socket)? == 0 {
                let is_open = self.connection.is_handshaking();
                return match is_open {
                    true => Err(io::Error::new(
                        ErrorKind::ConnectionAborted,
                        "it closed the connection during the TLS handshake",
                    )),
                    false => Ok(0),
                };
            }
            let processed = self.connection.process_new_packets();
            // The peer is told why, if that is possible.
            let sent = self.send();
            processed
                .map_err(|error| io::Error::new(ErrorKind::PermissionDenied, described(&error)))?;
            match sent {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
    }
}

impl Write for Tls {
    /// Keeps as much as rustls does, encrypted; [`Self::send`] sends it. During the handshake, it
    /// keeps nothing: what it has kept counts as sent.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.send();
        if self.connection.is_handshaking() {
            return Err(sent.err().unwrap_or(ErrorKind::WouldBlock.into()));
        }
        match self.connection.writer().write(bytes)? {
            0 => Err(sent.err().unwrap_or(ErrorKind::WouldBlock.into())),
            count => Ok(count),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

impl AsFd for Tls {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// How long a configuration is used: reading the system's certificates takes milliseconds, and
/// they change.
const CONFIGURATION_AGE: Duration = Duration::from_secs(60);

thread_local! {
    static RECENT: RefCell<Option<(Certificates, Instant, Arc<ClientConfig>)>> =
        const { RefCell::new(None) };
}

fn recent_configuration(certificates: &Certificates) -> io::Result<Arc<ClientConfig>> {
    RECENT.with_borrow_mut(|recent| match recent {
        Some((of, made, config)) if of == certificates && made.elapsed() < CONFIGURATION_AGE => {
            Ok(Arc::clone(config))
        }
        _ => {
            let config = Arc::new(configuration(certificates)?);
            *recent = Some((certificates.clone(), Instant::now(), Arc::clone(&config)));
            Ok(config)
        }
    })
}

/// Whose certificates are trusted, and what is shown to the server.
fn configuration(certificates: &Certificates) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match &certificates.authority {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|_| wrong("SSE_REDIS_CA"))?;
                roots.add(certificate).map_err(|_| wrong("SSE_REDIS_CA"))?;
            }
            if roots.is_empty() {
                return Err(wrong("SSE_REDIS_CA"));
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err(io::Error::new(
                    ErrorKind::InvalidInput,
                    "this system has no certificates of authorities; install ca-certificates, \
                     or set SSE_REDIS_CA",
                ));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots);
    let Some(pem) = &certificates.own else {
        return Ok(builder.with_no_client_auth());
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.map_err(|_| wrong("SSE_REDIS_CERT"))?;
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
        io::Error::new(
            ErrorKind::InvalidInput,
            "SSE_REDIS_CERT: it contains no private key in PEM; append the key to the certificate",
        )
    })?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|_| wrong("SSE_REDIS_CERT"))
}

fn wrong(setting: &str) -> io::Error {
    let text = format!("{setting}: it contains no usable certificate in PEM");
    io::Error::new(ErrorKind::InvalidInput, text)
}

/// Why there is no secure connection, and the remedy.
fn described(error: &rustls::Error) -> String {
    use rustls::{AlertDescription, CertificateError as Certificate, Error, InvalidMessage};
    let reason = match error {
        Error::InvalidCertificate(error) => match error {
            Certificate::Expired | Certificate::ExpiredContext { .. } => {
                "its certificate has expired; renew it"
            }
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
                "its certificate is not valid yet; set the clock"
            }
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                "its certificate is for another host; name in SSE_REDIS the host that it is for"
            }
            Certificate::UnknownIssuer => {
                "its certificate is not of an authority that is trusted here; name the \
                 authority's certificate in SSE_REDIS_CA"
            }
            Certificate::Revoked => "its certificate was revoked; renew it",
            _ => return format!("its certificate is not valid ({error}); make another"),
        },
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "it does not speak TLS on this port; name its tls-port, or write redis:"
        }
        Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::HandshakeFailure
            | AlertDescription::UnknownCA
            | AlertDescription::BadCertificate,
        ) => "it does not accept this client's certificate; set SSE_REDIS_CERT",
        error => return format!("the TLS handshake failed ({error})"),
    };
    reason.to_owned()
}

//! Endpoint: a URL, the fields of every request to it, and HTTP.
//!
//! Only this module uses the HTTP library. Certificates are checked against those of the system
//! (`SSL_CERT_FILE` and `SSL_CERT_DIR` are used); `http_proxy`, `https_proxy`, `all_proxy` and
//! `no_proxy` are used too.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};
use ureq::config::RedirectAuthHeaders;
use ureq::http::header::AUTHORIZATION;
use ureq::http::{HeaderName, HeaderValue, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Error};

use super::UsageError;
use super::sign::{LinkPurpose, SigningKey, shown};

/// Limit of name lookup, and of connecting with TLS.
const CONNECT: Duration = Duration::from_secs(20);

/// The longest wait for the head of a response: a silent server has not received the request.
const RESPONSE: Duration = Duration::from_secs(60);

/// A larger file is not a token, and sending it would be a mistake.
const TOKEN_MAX_BYTES: u64 = 8 * 1024;

/// The URL, and the credentials.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// An absolute `http` or `https` URL.
    pub(super) url: Uri,
    fields: Vec<(HeaderName, HeaderValue)>,
    key: Option<SigningKey>,
}

impl Endpoint {
    /// Reads the URL of a command line.
    pub(super) fn to(url: &str) -> Result<Self, UsageError> {
        let wrong = |what: &str| Err(UsageError(format!("{url}: {what}")));
        let Ok(parsed) = url.split('#').next().unwrap_or("").parse::<Uri>() else {
            return wrong("not a URL");
        };
        match (parsed.scheme_str(), parsed.authority()) {
            (Some("http" | "https"), Some(authority)) if authority.as_str().contains('@') => {
                // Every user of this machine could read it in the list of processes.
                Err(UsageError(
                    "no passwords in URLs; use --token-file or --header @FILE".into(),
                ))
            }
            (Some("http" | "https"), Some(_)) => Ok(Self {
                url: parsed,
                fields: Vec::new(),
                key: None,
            }),
            _ => wrong("want a URL that begins with http:// or https://"),
        }
    }

    /// Adds a field `Name: value`, or with `@FILE` each line of a file as one.
    pub(super) fn header(&mut self, text: &str) -> Result<(), UsageError> {
        let Some(file) = text.strip_prefix('@') else {
            return self.field(text);
        };
        let lines = fs::read_to_string(file);
        let lines = lines.map_err(|error| UsageError(format!("--header @{file}: {error}")))?;
        let mut lines = lines.lines().filter(|line| !line.trim().is_empty());
        lines.try_for_each(|line| self.field(line))
    }

    fn field(&mut self, line: &str) -> Result<(), UsageError> {
        // The message does not contain the argument, which may be secret.
        let wrong = || UsageError("--header: want 'Name: value' or @FILE".into());
        let (name, value) = line.split_once(':').ok_or_else(wrong)?;
        let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| wrong())?;
        let value = HeaderValue::from_str(value.trim()).map_err(|_| wrong())?;
        self.fields.push((name, value));
        Ok(())
    }

    /// Reads a token from a file, to send it as `Authorization: Bearer` (RFC 6750 §2.1).
    pub(super) fn token_file(&mut self, path: &Path) -> Result<(), UsageError> {
        let wrong = |what: &dyn std::fmt::Display| {
            UsageError(format!("--token-file {}: {what}", path.display()))
        };
        let metadata = fs::metadata(path).map_err(|error| wrong(&error))?;
        if metadata.len() > TOKEN_MAX_BYTES {
            return Err(wrong(&"too large for a token"));
        }
        let text = fs::read_to_string(path).map_err(|error| wrong(&error))?;
        let token = text.trim();
        if token.is_empty() || token.contains(char::is_whitespace) {
            return Err(wrong(&"want one token and nothing else"));
        }
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| wrong(&"no token can hold these bytes"))?;
        value.set_sensitive(true);
        self.fields.push((AUTHORIZATION, value));
        Ok(())
    }

    /// Signs a link for each request, with the first key of a file.
    pub(super) fn sign_key(&mut self, path: &Path) -> Result<(), UsageError> {
        self.key = Some(SigningKey::read(path)?);
        Ok(())
    }

    /// Whether each request has a link of its own.
    pub(super) fn signs(&self) -> bool {
        self.key.is_some()
    }

    /// The address of a request that is sent now.
    pub(super) fn address(&self, purpose: LinkPurpose) -> Uri {
        match &self.key {
            Some(key) => key.sign(&self.url, purpose),
            None => self.url.clone(),
        }
    }

    /// The address of a request of a program that uses its own HTTP: one that does not read is
    /// one that publishes. The root, which `sse-doctor` looks at beside the stream, has no link: it
    /// would open everything.
    pub(super) fn signed(&self, url: &Uri, method: &str) -> Uri {
        match &self.key {
            Some(key) if url.path() != "/" || self.url.path() == "/" => {
                let purpose = match method {
                    "POST" => LinkPurpose::Publish,
                    _ => LinkPurpose::Read,
                };
                key.sign(url, purpose)
            }
            _ => url.clone(),
        }
    }

    /// The URL for messages.
    pub(super) fn shown(&self) -> String {
        shown(&self.url)
    }

    /// Takes the fields of another endpoint.
    pub(super) fn copy_fields(&mut self, other: &Self) {
        self.fields.clone_from(&other.fields);
    }

    /// The fields of every request.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let fields = self.fields.iter();
        fields.map(|(name, value)| (name.as_str(), value.as_bytes()))
    }

    /// Adds the fields to a request with or without a body.
    pub(super) fn apply<B>(&self, mut request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        for (name, value) in &self.fields {
            request = request.header(name, value);
        }
        request
    }
}

/// The HTTP client that both programs use.
///
/// `silence` is the longest time without a byte in a response's body; `redirects` is the
/// maximum number of redirects that are followed. Secrets are sent to the same host only.
pub(super) fn agent(silence: Duration, redirects: u32) -> Agent {
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier);
    Agent::config_builder()
        .tls_config(tls.build())
        .http_status_as_error(false)
        .max_redirects(redirects)
        .max_redirects_will_error(redirects > 0)
        .redirect_auth_headers(RedirectAuthHeaders::SameHost)
        .user_agent(concat!("sse-cgi/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(CONNECT))
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(RESPONSE))
        .timeout_per_read(Some(silence))
        .timeout_per_write(Some(RESPONSE))
        // Apache closes an idle connection after 5 s.
        .max_idle_age(Duration::from_secs(4))
        .build()
        .new_agent()
}

/// The kind of an error, by which a client decides whether to retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// No retry will succeed: a redirect loop, or a URL that cannot be requested.
    Lasting,
    /// No secure connection: an untrusted certificate, or a server without TLS. Nothing was sent,
    /// and no retry will succeed until somebody changes something.
    Insecure,
    /// The request reached no server, so a retry cannot have its effect twice.
    Unsent,
    /// The connection broke after the request was sent.
    Broken,
}

impl FailureKind {
    /// Classifies an error by how far the request had got.
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::Rustls(_) | Error::Tls(_) => Self::Insecure,
            Error::TooManyRedirects => Self::Lasting,
            Error::BadUri(_) | Error::Http(_) | Error::InvalidProxyUrl => Self::Lasting,
            Error::HostNotFound | Error::ConnectionFailed | Error::ConnectProxyFailed(_) => {
                Self::Unsent
            }
            Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => Self::Unsent,
            Error::Io(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::AddrNotAvailable => Self::Unsent,
                _ if tls_error(error).is_some() => Self::Insecure,
                _ if is_lookup(error) => Self::Unsent,
                _ => Self::Broken,
            },
            _ => Self::Broken,
        }
    }
}

/// An error's text in plain words.
pub(super) fn describe(error: &Error) -> String {
    match error {
        Error::HostNotFound => "no such host".into(),
        Error::Rustls(error) => describe_tls(error),
        Error::Tls(text) => format!("no secure connection: {text}"),
        Error::ConnectionFailed => "the connection failed".into(),
        Error::Timeout(ureq::Timeout::PerRead) => "the server has fallen silent".into(),
        Error::Timeout(what) => format!("took too long ({what:?})"),
        Error::Io(error) => match tls_error(error) {
            Some(error) => describe_tls(error),
            None if is_lookup(error) => format!("no such host, or no name server ({error})"),
            None => describe_io(error),
        },
        error => error.to_string(),
    }
}

pub(super) fn describe_io(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused: nothing listens there".into(),
        _ => error.to_string().to_lowercase(),
    }
}

/// Whether a name lookup failed. The standard library has no error kind for this.
fn is_lookup(error: &io::Error) -> bool {
    let text = error.to_string();
    text.starts_with("failed to lookup address information")
}

/// Rustls's own error: it is wrapped if the handshake did I/O.
fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref::<rustls::Error>()
}

/// Why there is no secure connection, in plain words.
pub(super) fn describe_tls(error: &rustls::Error) -> String {
    use rustls::{AlertDescription, CertificateError as Certificate, Error, InvalidMessage};
    let reason = match error {
        Error::InvalidCertificate(error) => match error {
            Certificate::Expired | Certificate::ExpiredContext { .. } => {
                "the server's certificate has expired"
            }
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
                "the server's certificate is not valid yet; is the clock right?"
            }
            Certificate::NotValidForName => "the server's certificate is for another host name",
            Certificate::NotValidForNameContext { expected, .. } => {
                let name = expected.to_str();
                return format!(
                    "no secure connection: the server's certificate is not valid for name {name}"
                );
            }
            Certificate::UnknownIssuer => {
                "the server's certificate is not trusted: its issuer is unknown here (set \
                 SSL_CERT_FILE to a file of certificates that are)"
            }
            Certificate::BadSignature => {
                "the server's certificate is not trusted: its issuer has the name, but not the \
                 key, of an authority that is (the file in SSL_CERT_FILE may be an old one)"
            }
            Certificate::Revoked => "the server's certificate was revoked",
            _ => "the server's certificate is not valid",
        },
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the server does not speak TLS on this port; is it http://?"
        }
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the server asks for a certificate of the client"
        }
        Error::AlertReceived(_) => "the server refused the TLS handshake",
        Error::PeerIncompatible(_) => "the server and this program share no TLS version or cipher",
        // The text is that of rustls-platform-verifier.
        Error::General(text) if text.starts_with("No CA certificates") => {
            "no certificates of authorities were found here: install ca-certificates, or set \
             SSL_CERT_FILE to a file of them"
        }
        Error::NoCertificatesPresented => "the server presented no certificate",
        error => return format!("no secure connection: the TLS handshake failed ({error})"),
    };
    format!("no secure connection: {reason}")
}

/// How long a `Retry-After` asks the client to wait (RFC 9110 §10.2.3). A date is compared with
/// the response's own `Date`, since the server's clock may differ from ours.
pub(super) fn retry_after(headers: &ureq::http::HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let wish = text("retry-after")?;
    if !wish.is_empty() && wish.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(wish.parse().unwrap_or(u64::MAX)));
    }
    let until = date(wish)?;
    let now = text("date").and_then(date).unwrap_or_else(Utc::now);
    Some((until - now).to_std().unwrap_or_default())
}

/// A date in any form that RFC 9110 §5.6.7 allows.
fn date(text: &str) -> Option<DateTime<Utc>> {
    let text = text.strip_suffix(" GMT").unwrap_or(text);
    let forms = [
        "%a, %d %b %Y %H:%M:%S",
        "%A, %d-%b-%y %H:%M:%S",
        "%a %b %e %H:%M:%S %Y",
    ];
    let parse = |form: &&str| NaiveDateTime::parse_from_str(text, form).ok();
    forms.iter().find_map(parse).map(|date| date.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_absolute_and_holds_no_password() {
        for good in [
            "http://localhost/x",
            "https://example.org:8443/a?b=c#d",
            "HTTP://[::1]/x",
        ] {
            assert!(Endpoint::to(good).is_ok(), "{good}");
        }
        for bad in [
            "localhost/x",
            "/x",
            "ftp://example.org/",
            "http://",
            "http://me:secret@example.org/",
            "http://a b/",
            "",
        ] {
            assert!(Endpoint::to(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_retry_after_is_seconds_or_a_date() {
        let after = |fields: &[(&'static str, &str)]| {
            let mut headers = ureq::http::HeaderMap::new();
            for (name, value) in fields {
                headers.insert(*name, HeaderValue::from_str(value).unwrap());
            }
            retry_after(&headers).map(|wait| wait.as_secs())
        };
        let of = |wish| {
            after(&[
                ("retry-after", wish),
                ("date", "Sun, 06 Nov 1994 08:49:00 GMT"),
            ])
        };
        assert_eq!(of("7"), Some(7));
        assert_eq!(of(" 7 "), Some(7));
        assert_eq!(of("99999999999999999999"), Some(u64::MAX));
        assert_eq!(of("Sun, 06 Nov 1994 08:49:37 GMT"), Some(37));
        assert_eq!(of("Sunday, 06-Nov-94 08:49:37 GMT"), Some(37));
        assert_eq!(of("Sun Nov  6 08:49:37 1994"), Some(37));
        assert_eq!(of("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
        for wrong in ["", "-1", "1.5", "soon", "Sun, 31 Nov 1994 08:49:37 GMT"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        assert_eq!(after(&[]), None);
        // Without a Date, by our own clock.
        let soon = (Utc::now() + chrono::TimeDelta::seconds(100)).to_rfc2822();
        let wait = after(&[("retry-after", &soon.replace("+0000", "GMT"))]);
        assert!(
            wait.is_some_and(|wait| (90..=100).contains(&wait)),
            "{wait:?}"
        );
    }

    #[test]
    fn a_wrong_field_is_refused_and_not_repeated() {
        let mut endpoint = Endpoint::to("http://localhost/").unwrap();
        endpoint.header("Authorization:  Bearer x ").unwrap();
        assert_eq!(endpoint.fields[0].1, "Bearer x");
        for bad in ["secret", "a b: secret", "X: secret\r\nY: z", ": secret"] {
            let error = endpoint.header(bad).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}

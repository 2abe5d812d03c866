//! Address: where an engine is, as `SSE_REDIS` names it.

use std::fmt;
use std::path::PathBuf;

/// An engine, and how a client of it authenticates.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// Where it listens.
    pub place: Place,
    /// The number of its database.
    pub database: u32,
    /// The ACL user; `None`: the user `default`.
    pub user: Option<String>,
    /// The password, if there is one.
    pub password: Option<String>,
    /// The certificates, if the connection is encrypted.
    pub tls: Option<Certificates>,
}

/// What a TLS connection to an engine uses, each the content of a file in PEM.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Certificates {
    /// The authorities that are trusted; `None`: those of the system.
    pub authority: Option<Vec<u8>>,
    /// The certificate of this client and its private key, for an engine that asks for them.
    pub own: Option<Vec<u8>>,
}

/// Where an engine listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A host, as a name or an address, and a port.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

/// The port of Redis.
const PORT: u16 = 6379;

impl Address {
    /// Reads `redis://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE]`, the same with `rediss` for TLS, or
    /// `unix:/PATH[?db=DATABASE]`.
    ///
    /// # Errors
    /// The remedy. It does not contain the value, in which there may be a password.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const REMEDY: &str = "write redis://HOST:PORT, rediss://HOST:PORT or unix:/PATH";
        if let Some(path) = text.strip_prefix("unix:") {
            return Self::parse_unix(path);
        }
        let (scheme, rest) = text.split_once("://").ok_or(REMEDY)?;
        let tls = match scheme {
            "redis" => None,
            "rediss" => Some(Certificates::default()),
            _ => return Err(REMEDY),
        };
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, host) = match authority.rsplit_once('@') {
            Some((login, host)) => (Some(login), host),
            None => (None, authority),
        };
        let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, "")))
        {
            Some((user, password)) => (decoded(user)?, decoded(password)?),
            None => (None, None),
        };
        let (host, port) = host_and_port(host).ok_or(REMEDY)?;
        Ok(Self {
            place: Place::Tcp(host.to_owned(), port),
            database: number(database)?,
            user,
            password,
            tls,
        })
    }

    fn parse_unix(path: &str) -> Result<Self, &'static str> {
        // `unix:///path` is the same path.
        let path = path.strip_prefix("//").unwrap_or(path);
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        if !path.starts_with('/') || path.len() > 107 {
            return Err("write unix: and an absolute path of at most 107 bytes");
        }
        let database = match query {
            "" => "",
            query => query
                .strip_prefix("db=")
                .ok_or("write ?db=NUMBER or nothing after the path")?,
        };
        Ok(Self {
            place: Place::Unix(path.into()),
            database: number(database)?,
            user: None,
            password: None,
            tls: None,
        })
    }
}

fn number(text: &str) -> Result<u32, &'static str> {
    match text {
        "" => Ok(0),
        text if text.bytes().all(|b| b.is_ascii_digit()) => text
            .parse()
            .map_err(|_| "the number of the database is too large"),
        _ => Err("the database is a number"),
    }
}

/// `host`, `host:port`, `[address]:port`.
fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (
                host,
                port.strip_prefix(':').or(port.is_empty().then_some(""))?,
            )
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let is_host = |b: u8| b.is_ascii_alphanumeric() || b".-_:".contains(&b);
    if host.is_empty() || !host.bytes().all(is_host) {
        return None;
    }
    match port {
        "" => Some((host, PORT)),
        port if port.bytes().all(|b| b.is_ascii_digit()) => Some((host, port.parse().ok()?)),
        _ => None,
    }
}

/// Percent-decoded text; `None` if it is empty.
fn decoded(text: &str) -> Result<Option<String>, &'static str> {
    const REMEDY: &str = "write % in a user or password as %25";
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || {
            let byte = rest.next().ok_or(REMEDY)?;
            char::from(byte).to_digit(16).ok_or(REMEDY)
        };
        bytes.push((digit()? * 16 + digit()?) as u8);
    }
    let text = String::from_utf8(bytes).map_err(|_| REMEDY)?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}

impl fmt::Display for Address {
    /// Without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.tls {
            Some(_) => "rediss",
            None => "redis",
        };
        match &self.place {
            Place::Tcp(host, port) if host.contains(':') => {
                write!(f, "{scheme}://[{host}]:{port}")
            }
            Place::Tcp(host, port) => write!(f, "{scheme}://{host}:{port}"),
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, shown: &str, database: u32, user: Option<&str>, password: Option<&str>) {
        let address = Address::parse(text).unwrap();
        assert_eq!(address.to_string(), shown);
        assert_eq!(address.database, database, "{text}");
        assert_eq!(address.user.as_deref(), user, "{text}");
        assert_eq!(address.password.as_deref(), password, "{text}");
    }

    #[test]
    fn an_address_is_a_url_or_a_path() {
        check("redis://10.0.0.1", "redis://10.0.0.1:6379", 0, None, None);
        check("redis://db:7000/3", "redis://db:7000", 3, None, None);
        check("redis://[::1]:7000/", "redis://[::1]:7000", 0, None, None);
        check("rediss://db:7000/1", "rediss://db:7000", 1, None, None);
        check("redis://[::1]", "redis://[::1]:6379", 0, None, None);
        check(
            "redis://sse:a%40b:c@db",
            "redis://db:6379",
            0,
            Some("sse"),
            Some("a@b:c"),
        );
        check("redis://:pw@db", "redis://db:6379", 0, None, Some("pw"));
        check(
            "unix:/run/redis.sock",
            "unix:/run/redis.sock",
            0,
            None,
            None,
        );
        check("unix:///run/r.sock?db=2", "unix:/run/r.sock", 2, None, None);
    }

    #[test]
    fn what_is_no_address_is_refused_without_its_value() {
        for bad in [
            "",
            "db:6379",
            "http://db",
            "redis://",
            "redis://:1",
            "redis://db:x",
            "redis://db:99999",
            "redis://db/x",
            "redis://db/-1",
            "redis://[::1",
            "redis://[::1]x",
            "redis://a b",
            "redis://u:%zz@db",
            "unix:",
            "unix:r.sock",
            "unix:/r?x",
            "rediss:db",
            "rediss+x://db",
        ] {
            let remedy = Address::parse(bad).unwrap_err();
            assert!(!remedy.contains("zz"), "{bad}");
        }
    }
}

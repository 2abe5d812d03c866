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
    /// What the server must be.
    pub role: Role,
}

/// What a server is among those of its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The only one.
    Single,
    /// The primary of those that sentinels watch: it is asked whether it is.
    Primary,
    /// A node of a cluster, which has the keys of some slots.
    Node,
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
    /// Sentinels, and the name of the service whose primary they know.
    Sentinels(Vec<Server>, String),
    /// Some nodes of a cluster.
    Cluster(Vec<Server>),
}

/// A host and its port.
pub type Server = (String, u16);

/// The maximum number of sentinels or nodes in an address.
const SERVERS_MAX: usize = 32;

/// The port of Redis, and of a sentinel.
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

impl Address {
    /// Reads `redis://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE]`,
    /// `redis+sentinel://[USER[:PASSWORD]@]HOST[:PORT],…/SERVICE[/DATABASE]`,
    /// `redis+cluster://[USER[:PASSWORD]@]HOST[:PORT],…`, the same with `rediss` for TLS, or
    /// `unix:/PATH[?db=DATABASE]`.
    ///
    /// # Errors
    /// The remedy. It does not contain the value, in which there may be a password.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const REMEDY: &str = "write redis://HOST:PORT, rediss://HOST:PORT, unix:/PATH, \
                              redis+sentinel://HOST:PORT,HOST:PORT/SERVICE or \
                              redis+cluster://HOST:PORT,HOST:PORT";
        if let Some(path) = text.strip_prefix("unix:") {
            return Self::parse_unix(path);
        }
        let (scheme, rest) = text.split_once("://").ok_or(REMEDY)?;
        let (kind, topology) = scheme.split_once('+').unwrap_or((scheme, ""));
        let tls = match kind {
            "redis" => None,
            "rediss" => Some(Certificates::default()),
            _ => return Err(REMEDY),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, "")))
        {
            Some((user, password)) => (decoded(user)?, decoded(password)?),
            None => (None, None),
        };
        let servers = |port| -> Result<Vec<Server>, &'static str> {
            let servers = hosts.split(',').map(|host| host_and_port(host, port));
            let servers: Option<Vec<Server>> = servers.collect();
            let servers = servers.ok_or(REMEDY)?;
            match servers.len() {
                0..=SERVERS_MAX => Ok(servers),
                _ => Err("name at most 32 hosts"),
            }
        };
        let (place, database) = match topology {
            "" if scheme == kind => {
                let (host, port) = host_and_port(hosts, PORT).ok_or(REMEDY)?;
                (Place::Tcp(host, port), number(path)?)
            }
            "sentinel" => {
                let (service, database) = path.split_once('/').unwrap_or((path, ""));
                let is_name = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
                if service.is_empty() || !service.bytes().all(is_name) {
                    return Err("name the service that the sentinels watch, such as \
                                redis+sentinel://HOST:PORT/mymaster");
                }
                let servers = servers(SENTINEL_PORT)?;
                (Place::Sentinels(servers, service.into()), number(database)?)
            }
            "cluster" if !matches!(path, "" | "0") => {
                return Err("a cluster has no databases; write nothing after the hosts");
            }
            "cluster" => (Place::Cluster(servers(PORT)?), 0),
            _ => return Err(REMEDY),
        };
        Ok(Self {
            place,
            database,
            user,
            password,
            tls,
            role: Role::Single,
        })
    }

    /// A server of this service: the primary that sentinels name, or a node of a cluster.
    #[must_use]
    pub fn server(&self, (host, port): Server) -> Self {
        Self {
            place: Place::Tcp(host, port),
            role: match self.place {
                Place::Sentinels(..) => Role::Primary,
                Place::Cluster(_) => Role::Node,
                Place::Tcp(..) | Place::Unix(_) => self.role,
            },
            ..self.clone()
        }
    }

    /// A sentinel of this service. The user and the password are for the servers only.
    #[must_use]
    pub fn sentinel(&self, (host, port): Server) -> Self {
        Self {
            place: Place::Tcp(host, port),
            database: 0,
            user: None,
            password: None,
            tls: self.tls.clone(),
            role: Role::Single,
        }
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
            role: Role::Single,
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
fn host_and_port(text: &str, default: u16) -> Option<Server> {
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
        "" => Some((host.to_owned(), default)),
        port if port.bytes().all(|b| b.is_ascii_digit()) => {
            Some((host.to_owned(), port.parse().ok()?))
        }
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
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
            Place::Tcp(host, port) => {
                write!(f, "{scheme}://")?;
                show(f, host, *port)
            }
            Place::Sentinels(servers, service) => {
                write!(f, "{scheme}+sentinel://")?;
                show_all(f, servers)?;
                write!(f, "/{service}")
            }
            Place::Cluster(servers) => {
                write!(f, "{scheme}+cluster://")?;
                show_all(f, servers)
            }
        }
    }
}

fn show(f: &mut fmt::Formatter<'_>, host: &str, port: u16) -> fmt::Result {
    match host.contains(':') {
        true => write!(f, "[{host}]:{port}"),
        false => write!(f, "{host}:{port}"),
    }
}

fn show_all(f: &mut fmt::Formatter<'_>, servers: &[Server]) -> fmt::Result {
    for (number, (host, port)) in servers.iter().enumerate() {
        if number > 0 {
            f.write_str(",")?;
        }
        show(f, host, *port)?;
    }
    Ok(())
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
    fn sentinels_and_nodes_are_listed() {
        let text = "redis+sentinel://sse:pw@10.0.0.1,[::1]:7000/mymaster/2";
        let shown = "redis+sentinel://10.0.0.1:26379,[::1]:7000/mymaster";
        check(text, shown, 2, Some("sse"), Some("pw"));
        let address = Address::parse(text).unwrap();
        let primary = address.server(("10.0.0.9".into(), 6379));
        assert_eq!(primary.to_string(), "redis://10.0.0.9:6379");
        assert_eq!(primary.user.as_deref(), Some("sse"));
        assert_eq!((primary.database, primary.role), (2, Role::Primary));
        let sentinel = address.sentinel(("10.0.0.1".into(), 26379));
        assert_eq!((sentinel.user, sentinel.database), (None, 0));
        let text = "rediss+cluster://a:7000,b";
        check(text, "rediss+cluster://a:7000,b:6379", 0, None, None);
        assert!(Address::parse(text).unwrap().tls.is_some());
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
            "redis+://db",
            "redis+sentinel://db",
            "redis+sentinel:///x",
            "redis+sentinel://db/x y",
            "redis+sentinel://db/x/y",
            "redis+cluster://",
            "redis+cluster://a,,b",
            "redis+cluster://a/1",
        ] {
            let remedy = Address::parse(bad).unwrap_err();
            assert!(!remedy.contains("zz"), "{bad}");
        }
    }
}

//! Exchange: one request, from its head to a response or to a program that writes its own.

use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_LENGTH, HOST, HeaderValue, SERVER};
use hyper::http::request::Parts;
use hyper::http::uri::{Authority, PathAndQuery};
use hyper::{Method, Request, Response, StatusCode, Version};

use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::SOFTWARE;
use super::access::AccessLog;
use super::body::{self, Answer, Logged};
use super::cgi;
use super::departure::Departure;
use super::environment::{self, ServerPaths, Variables};
use super::fastcgi;
use super::page;
use super::parsed::{Outcome, Redirect};
use super::program::Program;
use super::route::{Route, Script};
use super::settings::Variable;
use super::site::{Ends, Site};
use super::target::{self, Refusal};

/// The maximum number of local redirects of one request: a loop ends here, as with Apache.
const MOST_REDIRECTS: usize = 10;

/// What the connection sends.
pub enum Outgoing {
    Answer(Response<Logged>),
    Raw(Raw),
}

/// An `nph-` program whose output goes to the client unchanged.
pub struct Raw {
    pub program: Program,
    pub access: AccessLog,
}

/// A request for routing; a local redirect changes it.
pub struct RoutedRequest<'a> {
    pub site: &'a Site,
    pub ends: Ends,
    pub departure: Departure,
    pub parts: &'a Parts,
    pub server_name: String,
    pub server_port: u16,
    pub method: Method,
    pub path: Vec<u8>,
    pub query: Option<String>,
    pub input: Bytes,
    /// `REDIRECT_*`.
    pub inherited: Variables,
}

pub async fn reply(
    site: &Site,
    ends: Ends,
    departure: Departure,
    request: Request<Incoming>,
) -> Outgoing {
    let (parts, incoming) = request.into_parts();
    let line = format!("{} {} {:?}", parts.method, parts.uri, parts.version);
    let access = AccessLog::begin(ends.client.ip(), line);
    let outcome = decide(site, ends, departure, &parts, incoming).await;
    let mut answer = match outcome {
        Ok(Outcome::Raw(program)) => return Outgoing::Raw(Raw { program, access }),
        Ok(Outcome::Answer(answer)) => answer,
        Ok(Outcome::Redirect(_)) => body::refusal(StatusCode::INTERNAL_SERVER_ERROR),
        Err(status) => body::refusal(status),
    };
    let software = HeaderValue::from_static(SOFTWARE);
    answer.headers_mut().insert(SERVER, software);
    Outgoing::Answer(Logged::wrap(answer, access))
}

async fn decide(
    site: &Site,
    ends: Ends,
    departure: Departure,
    parts: &Parts,
    incoming: Incoming,
) -> Result<Outcome, StatusCode> {
    if [Method::TRACE, Method::CONNECT].contains(&parts.method) {
        return Ok(Outcome::Answer(not_allowed("GET, HEAD, POST, OPTIONS")));
    }
    let (server_name, server_port) = server_name(parts, ends)?;
    let mut asked = RoutedRequest {
        site,
        ends,
        departure,
        parts,
        server_name,
        server_port,
        method: parts.method.clone(),
        path: target::decode(parts.uri.path())?,
        query: parts.uri.query().map(String::from),
        input: Bytes::new(),
        inherited: Default::default(),
    };
    let mut incoming = Some(incoming);
    for _ in 0..=MOST_REDIRECTS {
        let found = site.routes.find(&asked.path);
        let (prefix, route) = found.ok_or(StatusCode::NOT_FOUND)?;
        let outcome = match route {
            Route::Pages(folder) => {
                if ![Method::GET, Method::HEAD].contains(&asked.method) {
                    return Ok(Outcome::Answer(not_allowed("GET, HEAD")));
                }
                let answer = page::answer(folder, &asked.path, asked.query.as_deref());
                return Ok(Outcome::Answer(answer));
            }
            Route::Programs(folder) => {
                let script = asked.receive(prefix, &mut incoming).await?;
                cgi::run(&asked, prefix, folder, &script).await?
            }
            Route::Responder(responder) => {
                let script = asked.receive(prefix, &mut incoming).await?;
                fastcgi::run(&asked, prefix, responder, &script).await?
            }
        };
        match outcome {
            Outcome::Redirect(redirect) => asked.go_on(redirect)?,
            outcome => return Ok(outcome),
        }
    }
    let uri = &parts.uri;
    super::note(format_args!("{uri}: more than {MOST_REDIRECTS} redirects"));
    Err(StatusCode::INTERNAL_SERVER_ERROR)
}

impl RoutedRequest<'_> {
    /// The route, and the body unless it was read before the first redirect.
    async fn receive(
        &mut self,
        prefix: &str,
        incoming: &mut Option<Incoming>,
    ) -> Result<Script, StatusCode> {
        let script = Script::split(&self.path[prefix.len()..]);
        let script = script.ok_or(StatusCode::NOT_FOUND)?;
        if let Some(incoming) = incoming.take() {
            self.input = read(incoming, self.site).await?;
        }
        Ok(script)
    }

    /// A local redirect is a GET without a body (RFC 3875 §6.2.2).
    fn go_on(&mut self, redirect: Redirect) -> Result<(), StatusCode> {
        let target: PathAndQuery = redirect
            .location
            .parse()
            .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
        self.path = target::decode(target.path())?;
        self.query = target.query().map(String::from);
        self.method = Method::GET;
        self.input = Bytes::new();
        self.inherited = redirect.variables;
        Ok(())
    }

    /// The whole environment of the program or responder.
    pub fn variables<'s>(
        &self,
        paths: ServerPaths,
        script: &Script,
        settings: impl Iterator<Item = &'s Variable>,
    ) -> Variables {
        let parts = self.parts;
        let mut headers = parts.headers.clone();
        if !self.inherited.is_empty() {
            // A redirect omits the body.
            headers.remove(CONTENT_LENGTH);
        }
        let request = environment::Request {
            method: self.method.as_str(),
            uri: parts.uri.path_and_query().map_or("/", |uri| uri.as_str()),
            query: self.query.as_deref().unwrap_or_default(),
            version: parts.version,
            headers: &headers,
            server_name: &self.server_name,
            server_port: self.server_port,
            client: self.ends.client,
            server: self.ends.server,
        };
        let mut variables = self.inherited.clone();
        variables.extend(environment::variables(request, paths, script, settings));
        variables
    }
}

impl From<Refusal> for StatusCode {
    fn from(refusal: Refusal) -> StatusCode {
        match refusal {
            Refusal::BadPath => StatusCode::BAD_REQUEST,
            Refusal::NoSuchPath => StatusCode::NOT_FOUND,
        }
    }
}

fn not_allowed(methods: &'static str) -> Answer {
    let mut answer = body::refusal(StatusCode::METHOD_NOT_ALLOWED);
    let methods = HeaderValue::from_static(methods);
    answer.headers_mut().insert(ALLOW, methods);
    answer
}

/// The name and port that the client used, as with `UseCanonicalName Off`.
fn server_name(parts: &Parts, ends: Ends) -> Result<(String, u16), StatusCode> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = hosts.next();
    let missing = host.is_none() && parts.version == Version::HTTP_11;
    if missing || hosts.next().is_some() {
        return Err(StatusCode::BAD_REQUEST);
    }
    let authority = match (parts.uri.authority(), host) {
        (Some(authority), _) => Some(authority.clone()),
        (None, Some(host)) if !host.is_empty() => {
            Some(Authority::try_from(host.as_bytes()).map_err(|_| StatusCode::BAD_REQUEST)?)
        }
        _ => None,
    };
    let port = ends.server.port();
    Ok(match authority {
        Some(authority) => (
            authority.host().to_ascii_lowercase(),
            authority.port_u16().unwrap_or(port),
        ),
        None => (ends.server.ip().to_string(), port),
    })
}

/// Reads the whole body before the program starts. Apache starts the program earlier, but
/// forwards none of its output before the body is complete.
async fn read(incoming: Incoming, site: &Site) -> Result<Bytes, StatusCode> {
    let most_bytes = site.limits.body_bytes;
    if incoming.size_hint().lower() > most_bytes as u64 {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let collected = Limited::new(incoming, most_bytes).collect();
    match tokio::time::timeout(site.limits.silence, collected).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Ok(Err(_)) => Err(StatusCode::BAD_REQUEST),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}

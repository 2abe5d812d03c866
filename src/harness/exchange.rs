//! Exchange: one request, from its head to a response or to a program that writes its own.

use std::net::TcpStream;

use crate::request::MetaVariables;

use super::environment::{self, ServerPaths, Variables};
use super::fastcgi;
use super::page;
use super::parsed::{Outcome, Redirect};
use super::response::Response;
use super::route::{Route, Script};
use super::settings::Variable;
use super::site::{Ends, Site};
use super::target::{self, Refusal};
use super::{cgi, note};

/// The maximum number of local redirects of one request: a loop ends here, as with Apache.
const MOST_REDIRECTS: usize = 10;

/// A request for routing; a local redirect changes it.
pub struct RoutedRequest<'a> {
    pub site: &'a Site,
    pub ends: Ends,
    /// Observed, never read.
    pub client: &'a TcpStream,
    pub meta: &'a MetaVariables,
    pub is_head: bool,
    pub path: Vec<u8>,
    pub query: Option<String>,
    pub input: Vec<u8>,
    method: String,
    server_name: String,
    server_port: u16,
    /// `REDIRECT_*`.
    inherited: Variables,
}

/// A request's line, for the log.
pub fn request_line(meta: &MetaVariables) -> String {
    ["REQUEST_METHOD", "REQUEST_URI", "SERVER_PROTOCOL"]
        .map(|name| text(meta, name))
        .join(" ")
}

fn text(meta: &MetaVariables, name: &str) -> String {
    let value = meta.joined(name).unwrap_or_default();
    String::from_utf8_lossy(&value).into_owned()
}

/// What becomes of a request: a response, or a program that writes one. `read_body` reads the
/// body; an error is the status of a refusal.
pub fn decide(
    site: &Site,
    ends: Ends,
    client: &TcpStream,
    meta: &MetaVariables,
    read_body: impl FnOnce() -> Result<Vec<u8>, u16>,
) -> Result<Outcome, u16> {
    let method = text(meta, "REQUEST_METHOD");
    if method == "TRACE" {
        let allowed = not_allowed("GET, HEAD, POST, OPTIONS");
        return Ok(Outcome::Answer(allowed));
    }
    let uri = text(meta, "REQUEST_URI");
    let (path, query) = path_and_query(&uri);
    let (server_name, server_port) = server_name(meta, ends);
    let mut asked = RoutedRequest {
        site,
        ends,
        client,
        meta,
        is_head: method == "HEAD",
        path: target::decode(path)?,
        query: query.map(String::from),
        input: Vec::new(),
        method,
        server_name,
        server_port,
        inherited: Default::default(),
    };
    let mut read_body = Some(read_body);
    for _ in 0..=MOST_REDIRECTS {
        let found = site.routes.find(&asked.path);
        let (prefix, route) = found.ok_or(404_u16)?;
        let outcome = match route {
            Route::Pages(folder) => {
                if !["GET", "HEAD"].contains(&asked.method.as_str()) {
                    return Ok(Outcome::Answer(not_allowed("GET, HEAD")));
                }
                let answer = page::answer(folder, &asked.path, asked.query.as_deref());
                return Ok(Outcome::Answer(answer));
            }
            Route::Programs(folder) => {
                let script = asked.receive(prefix, &mut read_body)?;
                cgi::run(&asked, prefix, folder, &script)?
            }
            Route::Responder(responder) => {
                let script = asked.receive(prefix, &mut read_body)?;
                fastcgi::run(&asked, prefix, responder, &script)?
            }
        };
        match outcome {
            Outcome::Redirect(redirect) => asked.go_on(redirect)?,
            outcome => return Ok(outcome),
        }
    }
    note(format_args!("{uri}: more than {MOST_REDIRECTS} redirects"));
    Err(500)
}

impl RoutedRequest<'_> {
    /// The program or stream that is named, and the body unless it was read before the first
    /// redirect.
    fn receive(
        &mut self,
        prefix: &str,
        read_body: &mut Option<impl FnOnce() -> Result<Vec<u8>, u16>>,
    ) -> Result<Script, u16> {
        let script = Script::split(&self.path[prefix.len()..]).ok_or(404_u16)?;
        if let Some(read_body) = read_body.take() {
            self.input = read_body()?;
        }
        Ok(script)
    }

    /// A local redirect is a GET without a body (RFC 3875 §6.2.2).
    fn go_on(&mut self, redirect: Redirect) -> Result<(), u16> {
        let location = redirect.location.split('#').next().unwrap_or_default();
        let (path, query) = path_and_query(location);
        self.path = target::decode(path)?;
        self.query = query.map(String::from);
        self.method = "GET".into();
        self.input = Vec::new();
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
        let uri = text(self.meta, "REQUEST_URI");
        let request = environment::Request {
            method: &self.method,
            uri: &uri,
            query: self.query.as_deref().unwrap_or_default(),
            meta: self.meta,
            has_body: self.inherited.is_empty(),
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

impl From<Refusal> for u16 {
    fn from(refusal: Refusal) -> u16 {
        match refusal {
            Refusal::BadPath => 400,
            Refusal::NoSuchPath => 404,
        }
    }
}

fn path_and_query(uri: &str) -> (&str, Option<&str>) {
    let (path, query) = match uri.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (uri, None),
    };
    // `http://host?query` has an empty path.
    (if path.is_empty() { "/" } else { path }, query)
}

fn not_allowed(methods: &'static str) -> Response {
    Response::refusal(405).with("Allow", methods)
}

/// The name and port that the client used, as with `UseCanonicalName Off`.
fn server_name(meta: &MetaVariables, ends: Ends) -> (String, u16) {
    let host = text(meta, "HTTP_HOST");
    let port = ends.server.port();
    match crate::request::split_port(&host) {
        Some((name, own)) if !name.is_empty() => (name.to_ascii_lowercase(), own.unwrap_or(port)),
        _ => (ends.server.ip().to_string(), port),
    }
}

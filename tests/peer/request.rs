//! A request as FastCGI passes it: meta-variables, settings and a body.

use std::path::Path;

use super::wire;

/// A request before it is sent.
#[derive(Clone)]
pub struct Request {
    pub id: u16,
    pub role: u16,
    /// The connection must be kept.
    pub is_kept: bool,
    pub params: Vec<(Vec<u8>, Vec<u8>)>,
    pub body: Vec<u8>,
}

impl Request {
    /// `GET` for this stream.
    pub fn of(stream: &str) -> Self {
        let request = Self {
            id: 1,
            role: wire::RESPONDER,
            is_kept: false,
            params: Vec::new(),
            body: Vec::new(),
        };
        request
            .set("GATEWAY_INTERFACE", "CGI/1.1")
            .set("SERVER_PROTOCOL", "HTTP/1.1")
            .set("REQUEST_METHOD", "GET")
            .set("SCRIPT_NAME", "/events")
            .set("QUERY_STRING", "")
            .set("SSE_STREAM", stream)
    }

    /// Of the file, with heartbeats later than any test waits, because each of them also polls
    /// the file.
    pub fn tail(file: &Path) -> Self {
        let file = file.to_str().expect("a path in UTF-8");
        Self::of("tail")
            .set("SSE_FILE", file)
            .set("SSE_HEARTBEAT", "25s")
    }

    pub fn set(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.params.retain(|(own, _)| own != name.as_ref());
        self.add(name, value)
    }

    /// A second value does not replace the first.
    pub fn add(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        let pair = (name.as_ref().to_vec(), value.as_ref().to_vec());
        self.params.push(pair);
        self
    }

    pub fn method(self, method: &str) -> Self {
        self.set("REQUEST_METHOD", method)
    }

    pub fn query(self, query: &str) -> Self {
        self.set("QUERY_STRING", query)
    }

    /// A first-time client has none.
    pub fn last_id(self, id: &str) -> Self {
        self.set("HTTP_LAST_EVENT_ID", id)
    }

    /// The last value of a parameter; empty without one.
    pub fn param(&self, name: &str) -> &[u8] {
        let mut params = self.params.iter().rev();
        let found = params.find(|(own, _)| own == name.as_bytes());
        found.map_or(b"", |(_, value)| value)
    }

    /// In FastCGI only.
    pub fn id(mut self, id: u16) -> Self {
        self.id = id;
        self
    }

    /// In FastCGI only.
    pub fn role(mut self, role: u16) -> Self {
        self.role = role;
        self
    }

    /// The connection must be kept.
    pub fn keep(mut self) -> Self {
        self.is_kept = true;
        self
    }

    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }
}

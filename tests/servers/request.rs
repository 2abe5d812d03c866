//! One HTTP/1.x request, written by hand so that a test determines every byte of it.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};

use super::answer::{Answer, Expect};
use crate::support::wait::PATIENCE;

/// A request to a server on this machine; `send` opens a connection for it.
#[derive(Clone)]
pub struct Request {
    port: u16,
    method: String,
    target: String,
    version: &'static str,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    pub fn new(port: u16, method: &str, target: &str) -> Request {
        Request {
            port,
            method: method.to_owned(),
            target: target.to_owned(),
            version: "HTTP/1.1",
            fields: vec![("Host".to_owned(), "localhost".to_owned())],
            body: Vec::new(),
        }
    }

    /// Adds a header field; there is one `Host` only.
    pub fn field(mut self, name: &str, value: &str) -> Request {
        self.fields
            .retain(|(own, _)| own != "Host" || name != "Host");
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a body, and its length to the head.
    pub fn body(self, body: &[u8]) -> Request {
        let mut request = self.field("Content-Length", &body.len().to_string());
        request.body = body.to_vec();
        request
    }

    /// Adds a chunked body, whose length is unknown before its end.
    pub fn chunked(self, chunks: &[&[u8]]) -> Request {
        let mut request = self.field("Transfer-Encoding", "chunked");
        for chunk in chunks.iter().chain([&&b""[..]]) {
            let head = format!("{:x}\r\n", chunk.len());
            request
                .body
                .extend([head.as_bytes(), chunk, b"\r\n"].concat());
        }
        request
    }

    /// Uses HTTP/1.0 instead of HTTP/1.1.
    pub fn http_1_0(mut self) -> Request {
        self.version = "HTTP/1.0";
        self
    }

    /// Sends it and reads the response's head.
    #[track_caller]
    pub fn send(&self) -> Answer {
        let mut text = format!("{} {} {}\r\n", self.method, self.target, self.version);
        for (name, value) in &self.fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))
            .unwrap_or_else(|error| panic!("connect to port {}: {error}", self.port));
        socket
            .set_write_timeout(Some(PATIENCE))
            .expect("a time limit that is not zero is accepted");
        socket
            .write_all(text.as_bytes())
            .unwrap_or_else(|error| panic!("send {text:?}: {error}"));
        let expect = if self.method == "HEAD" {
            Expect::HeadOnly
        } else {
            Expect::Body
        };
        // A server that refuses may close before it has read all.
        let _ = socket.write_all(&self.body);
        Answer::read(Box::new(socket), expect)
    }
}

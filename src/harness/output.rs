//! Output: a response in CGI's form, from a program's stdout or from a responder's records.

use std::io;

use hyper::StatusCode;
use hyper::body::Bytes;

use super::departure::Departure;
use super::exchange::RoutedRequest;
use super::fastcgi::Call;
use super::program::Program;

/// Dropping it means that the client disconnected.
pub enum Output {
    Program(Program),
    Call(Call),
}

impl Output {
    /// For the log.
    pub fn name(&self) -> &str {
        match self {
            Output::Program(program) => &program.name,
            Output::Call(call) => &call.name,
        }
    }

    /// The next bytes, as soon as there are any; `None` at the end. If this future is dropped
    /// while it waits, nothing is lost.
    pub async fn read(&mut self) -> io::Result<Option<Bytes>> {
        match self {
            Output::Program(program) => program.read().await,
            Output::Call(call) => call.read().await,
        }
    }

    /// The status for a malformed head: Apache's for a program, nginx's for a responder.
    pub fn fault(&self) -> StatusCode {
        match self {
            Output::Program(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Output::Call(_) => StatusCode::BAD_GATEWAY,
        }
    }

    /// Notices that its client has disconnected. Apache's CGI programs learn it only from a
    /// failed write; FastCGI here is as under nginx, which always observes the client.
    pub fn departure(&self, asked: &RoutedRequest) -> Departure {
        match self {
            Output::Program(_) => Departure::unseen(),
            Output::Call(_) => asked.departure.clone(),
        }
    }
}

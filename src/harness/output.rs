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

    /// The next bytes, as soon as there are any; `None` at the end. Nothing is lost when this is
    /// dropped while it waits.
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

    /// What tells that its client has left. Apache's CGI programs are told by nothing but a write
    /// that fails; FastCGI here is as under nginx, which looks at the client all the time.
    pub fn departure(&self, asked: &RoutedRequest) -> Departure {
        match self {
            Output::Program(_) => Departure::unseen(),
            Output::Call(_) => asked.departure.clone(),
        }
    }
}

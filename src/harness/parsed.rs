//! Parsed: makes a response of a program's or a responder's output in CGI's form (RFC 3875 §6).
//! The body is forwarded piece by piece, each when it is written.

use std::io;
use std::net::TcpStream;
use std::os::unix::ffi::OsStringExt as _;
use std::time::Duration;

use super::environment::{self, Variables};
use super::exchange::RoutedRequest;
use super::fastcgi::Call;
use super::head::{self, BrokenHead, Head};
use super::note;
use super::program::Program;
use super::response::{Body, Response, is_bodiless};

/// The result of a request to a program or a responder.
pub enum Outcome {
    Answer(Response),
    Raw(Program),
    Redirect(Redirect),
}

/// Another path of this server, which must respond.
pub struct Redirect {
    pub location: String,
    /// Additional variables for its program.
    pub variables: Variables,
}

/// A response in CGI's form, from a program's stdout or from a responder's records. Dropping it
/// means that the client disconnected.
#[derive(Debug)]
pub enum Output {
    Program(Program),
    Call(Box<Call>),
}

/// The result of a read of a program's or a responder's output.
#[derive(Debug)]
pub enum Read {
    /// Not empty.
    Bytes(Vec<u8>),
    End,
    /// There was nothing for as long as is permitted.
    Late,
    /// The client has disconnected.
    Departed,
}

impl Output {
    /// For the log.
    pub fn name(&self) -> String {
        match self {
            Output::Program(program) => program.name.clone(),
            Output::Call(call) => call.name.clone(),
        }
    }

    /// The next bytes, as soon as there are any. That the client disconnects meanwhile ends only
    /// the wait for a responder: Apache's CGI programs learn it from a failed write, but FastCGI
    /// here is as under nginx, which always observes the client.
    ///
    /// # Errors
    /// Those of the system, and bytes that are not FastCGI.
    pub fn read(&mut self, client: Option<&TcpStream>, limit: Duration) -> io::Result<Read> {
        match self {
            Output::Program(program) => program.read(limit),
            Output::Call(call) => call.read(client, limit),
        }
    }

    /// The status for a malformed head: Apache's for a program, nginx's for a responder.
    fn fault(&self) -> u16 {
        match self {
            Output::Program(_) => 500,
            Output::Call(_) => 502,
        }
    }
}

/// Reads the head, and responds while the body is still being written. An error is a status;
/// its reason is in the log.
pub fn answer(
    asked: &RoutedRequest<'_>,
    mut output: Output,
    variables: Variables,
) -> Result<Outcome, u16> {
    let silence = asked.site.limits.silence;
    let read = read_head(&mut output, asked.client, silence);
    let (mut head, rest) = read.map_err(|error| error.status(&output, silence))?;
    if let Some(location) = head.local_redirect.take() {
        drain(&mut output, silence);
        let url = std::ffi::OsString::from_vec(asked.path.clone());
        let variables = environment::redirected(&variables, &url);
        return Ok(Outcome::Redirect(Redirect {
            location,
            variables,
        }));
    }
    // Apache delays a response without a body until the program has ended.
    let body = if asked.is_head || is_bodiless(head.status) {
        drain(&mut output, silence);
        Body::Stream(Vec::new(), output)
    } else {
        Body::Stream(rest, output)
    };
    Ok(Outcome::Answer(Response {
        status: head.status,
        reason: head.reason,
        fields: head.fields,
        body,
    }))
}

enum HeadError {
    Broken(BrokenHead),
    Silent,
    /// The client has disconnected before there was one.
    Nobody,
}

impl HeadError {
    /// Logs the reason.
    fn status(self, output: &Output, silence: Duration) -> u16 {
        let name = output.name();
        match self {
            HeadError::Broken(error) => {
                let status = output.fault();
                note(format_args!("{name}: {error}: {status}"));
                status
            }
            HeadError::Silent => {
                note(format_args!("{name}: no head within {silence:?}: 504"));
                504
            }
            // The client does not receive this; the log shows the status that nginx would log.
            HeadError::Nobody => 499,
        }
    }
}

fn read_head(
    output: &mut Output,
    client: &TcpStream,
    silence: Duration,
) -> Result<(Head, Vec<u8>), HeadError> {
    let broken = |why: &str| HeadError::Broken(BrokenHead::new(why));
    let mut written = Vec::new();
    loop {
        match output.read(Some(client), silence) {
            Ok(Read::Bytes(piece)) => written.extend_from_slice(&piece),
            Ok(Read::End) => return Err(broken("the program ended within it")),
            Ok(Read::Late) => return Err(HeadError::Silent),
            Ok(Read::Departed) => return Err(HeadError::Nobody),
            Err(error) => return Err(broken(&error.to_string())),
        }
        if let Some(head) = head::parse(&written).map_err(HeadError::Broken)? {
            let rest = written.split_off(head.length_bytes);
            return Ok((head, rest));
        }
    }
}

/// Reads and discards the rest, so that its source can end by itself.
fn drain(output: &mut Output, silence: Duration) {
    while let Ok(Read::Bytes(_)) = output.read(None, silence) {}
}

//! Parsed: makes a response of a program's or a responder's output in CGI's form (RFC 3875 §6).
//! The body is forwarded chunk by chunk, each when it is written.

use std::io;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender};
use hyper::body::Bytes;
use hyper::ext::ReasonPhrase;
use hyper::{Method, Response, StatusCode};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::body::{self, Answer, Body};
use super::departure::Departure;
use super::environment::{self, Variables};
use super::exchange::RoutedRequest;
use super::head::{self, BrokenHead, Head};
use super::note;
use super::output::Output;
use super::program::Program;

/// The result of a request to a program or a responder.
pub enum Outcome {
    Answer(Answer),
    Raw(Program),
    Redirect(Redirect),
}

/// Another path of this server, which must respond.
pub struct Redirect {
    pub location: String,
    /// Additional variables for its program.
    pub variables: Variables,
}

/// Reads the head, and responds while the body is still being written. An error is a status;
/// its reason is in the log.
pub async fn answer(
    asked: &RoutedRequest<'_>,
    mut output: Output,
    variables: Variables,
) -> Result<Outcome, StatusCode> {
    let silence = asked.site.limits.silence;
    let departure = output.departure(asked);
    let read = tokio::select! {
        read = read_head(&mut output, silence) => read,
        () = departure.seen() => Err(HeadError::Nobody),
    };
    let (mut head, rest) = read.map_err(|error| error.status(&output, silence))?;
    if let Some(location) = head.local_redirect.take() {
        drain(&mut output, silence).await;
        let url = std::ffi::OsString::from_vec(asked.path.clone());
        let variables = environment::redirected(&variables, &url);
        return Ok(Outcome::Redirect(Redirect {
            location,
            variables,
        }));
    }
    // Apache delays a response without a body until the program has ended.
    let is_bodiless = asked.parts.method == Method::HEAD
        || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&head.status);
    let (outlet, body) = channel(departure);
    if is_bodiless {
        drain(&mut output, silence).await;
    } else {
        tokio::spawn(pump(output, rest, outlet, silence));
    }
    Ok(Outcome::Answer(build(head, body)))
}

enum HeadError {
    Broken(BrokenHead),
    Silent,
    /// The client has disconnected before there was one.
    Nobody,
}

impl HeadError {
    /// Logs the reason.
    fn status(self, output: &Output, silence: Duration) -> StatusCode {
        let name = output.name();
        match self {
            HeadError::Broken(error) => {
                let status = output.fault();
                note(format_args!("{name}: {error}: {}", status.as_u16()));
                status
            }
            HeadError::Silent => {
                note(format_args!("{name}: no head within {silence:?}: 504"));
                StatusCode::GATEWAY_TIMEOUT
            }
            // The client does not receive this; the log shows the status that nginx would log.
            HeadError::Nobody => StatusCode::from_u16(499).expect("a number of three digits"),
        }
    }
}

async fn read_head(output: &mut Output, silence: Duration) -> Result<(Head, Bytes), HeadError> {
    let broken = |why: &str| HeadError::Broken(BrokenHead::new(why));
    let mut written = Vec::new();
    loop {
        let read = timeout(silence, output.read());
        match read.await.map_err(|_| HeadError::Silent)? {
            Ok(Some(chunk)) => written.extend_from_slice(&chunk),
            Ok(None) => return Err(broken("the program ended within it")),
            Err(error) => return Err(broken(&error.to_string())),
        }
        if let Some(head) = head::parse(&written).map_err(HeadError::Broken)? {
            let rest = Bytes::from(written).slice(head.length_bytes..);
            return Ok((head, rest));
        }
    }
}

fn build(head: Head, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = head.status;
    *answer.headers_mut() = head.fields;
    if let Some(reason) = head
        .reason
        .and_then(|words| ReasonPhrase::try_from(words).ok())
    {
        answer.extensions_mut().insert(reason);
    }
    answer
}

/// The sender of a body, which notices when the body is dropped.
struct Outlet {
    sender: Sender<Bytes, io::Error>,
    dropped: oneshot::Receiver<()>,
    departure: Departure,
}

impl Outlet {
    async fn is_unread(&mut self) {
        tokio::select! {
            _ = &mut self.dropped => {}
            () = self.departure.seen() => {}
        }
    }
}

fn channel(departure: Departure) -> (Outlet, Body) {
    let (sender, channel) = Channel::new(1);
    let (guard, dropped) = oneshot::channel::<()>();
    let body = body::boxed(channel.map_frame(move |frame| {
        // Owned by the body, and dropped with it; nothing is sent on it.
        let _ = &guard;
        frame
    }));
    let outlet = Outlet {
        sender,
        dropped,
        departure,
    };
    (outlet, body)
}

/// Forwards the body until its source ends, the client disconnects, or one of them is silent
/// for too long. Returning drops the source, which ends it.
async fn pump(mut output: Output, first: Bytes, mut outlet: Outlet, silence: Duration) {
    let mut chunk = first;
    loop {
        if !chunk.is_empty() {
            match timeout(silence, outlet.sender.send_data(chunk)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(late) => {
                    let name = output.name();
                    note(format_args!(
                        "{name}: its client took nothing for {silence:?}"
                    ));
                    return outlet.sender.abort(late.into());
                }
            }
        }
        let read = tokio::select! {
            read = timeout(silence, output.read()) => read,
            () = outlet.is_unread() => return,
        };
        chunk = match read {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => return,
            Ok(Err(error)) => {
                note(format_args!("{}: {error}", output.name()));
                return outlet.sender.abort(error);
            }
            Err(late) => {
                let name = output.name();
                note(format_args!("{name}: silent for {silence:?} (--timeout)"));
                return outlet.sender.abort(late.into());
            }
        };
    }
}

/// Reads and discards the rest, so that its source can end by itself.
async fn drain(output: &mut Output, silence: Duration) {
    while let Ok(Ok(Some(_))) = timeout(silence, output.read()).await {}
}

//! CGI: asks a program, and makes an answer of what it says (RFC 3875 §6). The body is passed on
//! chunk by chunk, each when it is written. `nph-` programs are only started here.

use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::Duration;

use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender};
use hyper::body::Bytes;
use hyper::ext::ReasonPhrase;
use hyper::header::CONTENT_LENGTH;
use hyper::{Method, Response, StatusCode};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::access::printable;
use super::body::{self, Answer, Body};
use super::environment::{self, Place, Request, Variables};
use super::exchange::Asked;
use super::head::{self, BrokenHead, Head};
use super::note;
use super::program::{Job, Program, StartError};
use super::route::Script;

/// What asking a program has led to.
pub enum Outcome {
    Answer(Answer),
    Raw(Program),
    Redirect(Redirect),
}

/// Another path of this server that is to answer.
pub struct Redirect {
    pub location: String,
    /// What its program gets besides its own variables.
    pub variables: Variables,
}

/// Runs the program that `script` names. An error is a status whose reason is in the log.
pub async fn run(
    asked: &Asked<'_>,
    prefix: &str,
    folder: &Path,
    script: &Script,
) -> Result<Outcome, StatusCode> {
    let name = printable(script.name.as_bytes());
    match folder.join(&script.name).metadata() {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(StatusCode::FORBIDDEN),
        Err(_) => return Err(StatusCode::NOT_FOUND),
    }
    let variables = variables(asked, prefix, folder, script);
    let job = Job {
        name: script.name.clone(),
        folder: folder.to_path_buf(),
        arguments: environment::arguments(asked.query.as_deref().unwrap_or_default()),
        variables: variables.clone(),
        input: asked.input.clone(),
    };
    let program = match asked.site.launcher.start(job) {
        Ok(program) => program,
        Err(StartError::TooMany) => {
            let most = asked.site.limits.programs;
            note(format_args!(
                "{name}: {most} programs run already (--max-programs): 503"
            ));
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        Err(StartError::System(error)) => {
            note(format_args!("start {name}: {error}: 500"));
            return Err(StatusCode::INTERNAL_SERVER_ERROR);
        }
    };
    if script.is_nph() {
        return Ok(Outcome::Raw(program));
    }
    parsed(asked, program, variables).await
}

fn variables(asked: &Asked, prefix: &str, folder: &Path, script: &Script) -> Variables {
    let parts = asked.parts;
    let uri = parts.uri.path_and_query().map_or("/", |uri| uri.as_str());
    let mut headers = parts.headers.clone();
    if asked.is_redirected() {
        headers.remove(CONTENT_LENGTH);
    }
    let request = Request {
        method: asked.method.as_str(),
        uri,
        query: asked.query.as_deref().unwrap_or_default(),
        version: parts.version,
        headers: &headers,
        server_name: &asked.server_name,
        server_port: asked.server_port,
        client: asked.ends.client,
        server: asked.ends.server,
    };
    let place = Place {
        prefix,
        programs: folder,
        pages: &asked.site.pages,
        search_path: &asked.site.search_path,
    };
    let mut variables = asked.inherited.clone();
    let own = environment::variables(request, place, script, &asked.site.settings);
    variables.extend(own);
    variables
}

async fn parsed(
    asked: &Asked<'_>,
    mut program: Program,
    variables: Variables,
) -> Result<Outcome, StatusCode> {
    let silence = asked.site.limits.silence;
    let (mut head, rest) = match read_head(&mut program, silence).await {
        Ok(read) => read,
        Err(HeadError::Broken(error)) => {
            note(format_args!("{}: {error}: 500", program.name));
            return Err(StatusCode::INTERNAL_SERVER_ERROR);
        }
        Err(HeadError::Silent) => {
            note(format_args!(
                "{}: no head within {silence:?}: 504",
                program.name
            ));
            return Err(StatusCode::GATEWAY_TIMEOUT);
        }
    };
    if let Some(location) = head.local_redirect.take() {
        drain(&mut program, silence).await;
        let url = std::ffi::OsString::from_vec(asked.path.clone());
        let variables = environment::redirected(&variables, &url);
        return Ok(Outcome::Redirect(Redirect {
            location,
            variables,
        }));
    }
    // Apache holds an answer without a body until the program has ended.
    let is_bodiless = asked.parts.method == Method::HEAD
        || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&head.status);
    let (sender, body) = channel();
    if is_bodiless {
        drain(&mut program, silence).await;
    } else {
        tokio::spawn(pump(program, rest, sender, silence));
    }
    Ok(Outcome::Answer(answer(head, body)))
}

enum HeadError {
    Broken(BrokenHead),
    Silent,
}

async fn read_head(program: &mut Program, silence: Duration) -> Result<(Head, Bytes), HeadError> {
    let broken = |why: &str| HeadError::Broken(BrokenHead::new(why));
    let mut written = Vec::new();
    loop {
        let read = timeout(silence, program.read());
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

fn answer(head: Head, body: Body) -> Answer {
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

/// The sender's side of a body, and the news that hyper has dropped the other side.
struct Outlet {
    sender: Sender<Bytes, io::Error>,
    dropped: oneshot::Receiver<()>,
}

fn channel() -> (Outlet, Body) {
    let (sender, channel) = Channel::new(1);
    let (guard, dropped) = oneshot::channel::<()>();
    let body = body::boxed(channel.map_frame(move |frame| {
        // Owned by the body, so that it goes when the body goes; it is never sent on.
        let _ = &guard;
        frame
    }));
    (Outlet { sender, dropped }, body)
}

/// Passes the body on until the program ends it, the client leaves, or either is silent for too
/// long. Leaving the function drops the program, which ends it.
async fn pump(mut program: Program, first: Bytes, mut outlet: Outlet, silence: Duration) {
    let name = program.name.clone();
    let mut chunk = first;
    loop {
        if !chunk.is_empty() {
            match timeout(silence, outlet.sender.send_data(chunk)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(late) => {
                    note(format_args!(
                        "{name}: its client took nothing for {silence:?}"
                    ));
                    return outlet.sender.abort(late.into());
                }
            }
        }
        let read = tokio::select! {
            read = timeout(silence, program.read()) => read,
            _ = &mut outlet.dropped => return,
        };
        chunk = match read {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => return,
            Ok(Err(error)) => return outlet.sender.abort(error),
            Err(late) => {
                note(format_args!("{name}: silent for {silence:?} (--timeout)"));
                return outlet.sender.abort(late.into());
            }
        };
    }
}

/// Reads what is not wanted, so that the program can end by itself.
async fn drain(program: &mut Program, silence: Duration) {
    while let Ok(Ok(Some(_))) = timeout(silence, program.read()).await {}
}

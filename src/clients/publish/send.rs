//! Sends each text to the server once.

use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::http::StatusCode;
use ureq::{Agent, Body};

use super::super::endpoint::{FailureKind, agent, describe, retry_after};
use super::super::exit::Exit;
use super::super::pace;
use super::super::sign::LinkPurpose;
use super::super::{Failure, UsageError};
use super::options::{Input, Options, TEXT_MAX_BYTES};
use super::record::{DataFormat, body};

/// A longer response does not contain an id.
const ANSWER_MAX_BYTES: u64 = 64 * 1024;

/// The first wait between attempts if the server sends no time; later ones are longer.
const RETRY: Duration = Duration::from_secs(1);

/// The longest silence within a response.
const SILENCE: Duration = Duration::from_secs(30);

/// Publishes the whole input.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    // A redirect would change the POST into a GET.
    let agent = agent(SILENCE, 0);
    let publish = |text: &[u8]| {
        let body = body(options.event.as_deref(), options.form, text)
            .map_err(|problem| Failure::new(Exit::Usage, problem))?;
        print_id(post(&agent, options, &body)?)
    };
    match &options.input {
        Input::Text(text) => publish(text),
        Input::Whole => {
            let mut text = Vec::new();
            let limit = TEXT_MAX_BYTES as u64 + 2;
            let read = io::stdin().lock().take(limit).read_to_end(&mut text);
            read.map_err(unreadable)?;
            publish(without_line_end(&text)?)
        }
        Input::Lines => by_lines(options.form, publish),
    }
}

fn by_lines(
    form: DataFormat,
    publish: impl Fn(&[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut stdin = io::stdin().lock();
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let limit = TEXT_MAX_BYTES as u64 + 2;
        let read = (&mut stdin).take(limit).read_until(b'\n', &mut line);
        if read.map_err(unreadable)? == 0 {
            break;
        }
        let done = without_line_end(&line).and_then(|text| {
            if form == DataFormat::Json && text.trim_ascii().is_empty() {
                return Ok(());
            }
            publish(text)
        });
        done.map_err(|failure| {
            Failure::new(failure.exit, format!("line {number}: {}", failure.text))
        })?;
    }
    Ok(())
}

fn unreadable(error: io::Error) -> Failure {
    Failure::new(Exit::System, format!("read stdin: {error}"))
}

fn without_line_end(text: &[u8]) -> Result<&[u8], Failure> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if text.len() > TEXT_MAX_BYTES {
        let problem = UsageError(format!("more than {TEXT_MAX_BYTES} bytes"));
        return Err(Failure::new(Exit::Usage, problem.to_string()));
    }
    Ok(text)
}

/// Sends a body until it is published or a retry cannot help. Returns its id, if the server
/// sent one.
fn post(agent: &Agent, options: &Options, body: &str) -> Result<Option<String>, Failure> {
    let deadline = Instant::now() + options.retry;
    for failures in 1.. {
        let (failure, wish) = match attempt(agent, options, body) {
            PostOutcome::Published(id) => return Ok(id),
            PostOutcome::Failed(failure) => return Err(failure),
            PostOutcome::NotNow(failure, wish) => (failure, wish),
        };
        let wait = pace::wait(RETRY, failures, wish, fastrand::f64());
        if Instant::now() + wait > deadline {
            return Err(failure);
        }
        std::thread::sleep(wait);
    }
    unreachable!("the deadline comes before the numbers end")
}

enum PostOutcome {
    Published(Option<String>),
    /// Certainly nothing was published.
    NotNow(Failure, Option<Duration>),
    Failed(Failure),
}

fn attempt(agent: &Agent, options: &Options, body: &str) -> PostOutcome {
    let url = options.endpoint.shown();
    let address = options.endpoint.address(LinkPurpose::Publish);
    let request = options.endpoint.apply(agent.post(&address));
    let request = request.header("Content-Type", "application/json");
    let request = request.header("Accept", "application/json");
    let mut response = match request.send(body) {
        Ok(response) => response,
        Err(error) => {
            let text = format!("{url}: {}", describe(&error));
            return match FailureKind::of(&error) {
                FailureKind::Lasting => PostOutcome::Failed(Failure::new(Exit::Refused, text)),
                FailureKind::Insecure => {
                    let text = format!("{text}; nothing was sent");
                    PostOutcome::Failed(Failure::new(Exit::System, text))
                }
                FailureKind::Unsent => {
                    let text = format!("{text}; nothing was sent");
                    PostOutcome::NotNow(Failure::new(Exit::System, text), None)
                }
                FailureKind::Broken => {
                    let text = format!("{text}; it may have been published");
                    PostOutcome::Failed(Failure::new(Exit::System, text))
                }
            };
        }
    };
    let status = response.status();
    let wish = retry_after(response.headers());
    let answer = answer(response.body_mut());
    let field = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
    if status.is_success() {
        return PostOutcome::Published(field("id"));
    }
    let text = match field("error") {
        Some(error) => format!("{url}: HTTP {status}: {error}"),
        None => format!("{url}: HTTP {status}"),
    };
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            PostOutcome::NotNow(Failure::new(Exit::System, text), wish)
        }
        StatusCode::REQUEST_TIMEOUT => PostOutcome::Failed(Failure::new(Exit::System, text)),
        status if status.is_server_error() => PostOutcome::Failed(Failure::new(Exit::System, text)),
        _ => PostOutcome::Failed(Failure::new(Exit::Refused, text)),
    }
}

/// The JSON of a response; null for any other response.
fn answer(body: &mut Body) -> Value {
    let text = body
        .with_config()
        .limit(ANSWER_MAX_BYTES)
        .read_to_string()
        .unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Ignores a closed stdout, which must not stop the publishing.
fn print_id(id: Option<String>) -> Result<(), Failure> {
    let Some(id) = id else { return Ok(()) };
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{id}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            let text = format!("write to stdout: {error}");
            Err(Failure::new(Exit::System, text))
        }
        _ => Ok(()),
    }
}

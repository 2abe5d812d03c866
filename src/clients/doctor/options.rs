//! Options: the command line of `sse-doctor`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;
use ureq::http::Uri;

use super::super::UsageError;
use super::super::endpoint::Endpoint;
use super::super::units::duration;
use super::{config, probe, servers};

pub(super) const HELP: &str = "\
sse-doctor: says what is wrong with a deployment of Server-Sent Events, and who does it

usage: sse-doctor [option]... URL
       sse-doctor --local DIR [--subscribers N] [--json]
       sse-doctor config SERVER [option]...    prints a configuration; see config --help
       sse-doctor probe [option]... URL        checks any server; see probe --help
       sse-doctor servers                      prints the table of servers it knows

It reads the stream at URL as a browser would, for the time of --for, over at most four
connections, and reports: whether events arrive when they were sent, what holds them
back, compresses or ends them, whether Last-Event-ID gets through, heartbeats, HEAD,
CORS, login pages and wrong types. It names the server that causes a fault, and the
directive that mends it. It posts nothing unless --publish is given.

Whether events arrive at once can be told of a clock (SSE_STREAM=clock, nph-clock.cgi) or
by --publish; of another stream only by the pattern in which they arrive.

  --for TIME         how long to read, such as 10s, 90s [35s]. Limits of a server on
                     silence show only if they are shorter: nginx's is 60s
  --origin ORIGIN    asks as a page of this origin, such as https://www.example.org,
                     and reports whether that may read the stream (CORS)
  --publish URL      posts one short text there, and reports when it arrives
  --status URL       the status page (SSE_STREAM=status): reports when the server
                     notices that a client has left, up to 55s
  --token-file FILE  sends the token in FILE as Authorization: Bearer
  --sign-key FILE    signs a link for each request, with the first key of FILE: see
                     docs/signed-links.md
  --header TEXT      sends a field, 'Name: value'; @FILE: each line of FILE, which
                     other users of the machine cannot see in the list of processes
  --http2            uses HTTP/2 without TLS, too; with TLS it is used if offered
  --json             prints one JSON object, for monitoring
  --watch            keeps one stream open, and shows a line of its state every second
                     (without a terminal: every minute), until --for [for ever]
  --local DIR        reads the configuration of nginx or Apache in this folder, such as
                     /etc/nginx or /etc/apache2, instead of a URL: which limits do not
                     fit the number of subscribers
  --subscribers N    that number [1000]
  --help, --version

stdout: the report, one line each: ok, note, unknown, warning or FAULT, and what to do
exit:   0 no fault (warnings are none); 1 a fault; 100 wrong usage; 111 the server cannot
        be reached
";

/// The meaning of the command line.
#[derive(Debug)]
pub(super) enum Command {
    /// Diagnose.
    Diagnose(Box<Plan>),
    /// Judge the limits of a configuration.
    Local {
        folder: PathBuf,
        subscribers: u64,
        form: OutputForm,
    },
    /// Watch one stream.
    Watch(Box<Plan>),
    /// Probe a server.
    Probe {
        endpoint: Box<Endpoint>,
        time: Duration,
        is_json: bool,
    },
    /// Print a text.
    Print(String),
}

/// What to diagnose.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) endpoint: Endpoint,
    pub(super) duration: Duration,
    pub(super) origin: Option<String>,
    pub(super) publish: Option<Uri>,
    pub(super) status: Option<Uri>,
    /// HTTP/2 without TLS.
    pub(super) http2: bool,
    pub(super) form: OutputForm,
}

/// The form of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutputForm {
    Text,
    Json,
}

/// Long enough for two heartbeats of sse-cgi, and for the limit of h2o.
const DURATION: Duration = Duration::from_secs(35);

/// Longer than this `--watch` does not run without being asked: the longest `--for`.
const WATCH: Duration = Duration::from_secs(7 * 24 * 3600);

/// Reads the arguments, without the program's name.
pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut arguments = arguments.into_iter().peekable();
    match arguments.peek().and_then(|first| first.to_str()) {
        Some("config") => return Ok(Command::Print(config::run(arguments.skip(1))?)),
        Some("probe") => {
            return Ok(match probe::parse(arguments.skip(1))? {
                probe::Command::Help => Command::Print(probe::HELP.into()),
                probe::Command::Probe {
                    endpoint,
                    time,
                    is_json,
                } => Command::Probe {
                    endpoint: Box::new(endpoint),
                    time,
                    is_json,
                },
            });
        }
        Some("servers") => return Ok(Command::Print(servers::table())),
        _ => {}
    }
    let mut parser = lexopt::Parser::from_args(arguments);
    let (mut url, mut headers, mut token_file) = (None, Vec::new(), None);
    let mut sign_key = None;
    let (mut time, mut origin, mut publish, mut status) = (None, None, None, None);
    let (mut http2, mut form, mut is_watch) = (false, OutputForm::Text, false);
    let (mut local, mut subscribers) = (None, 1000);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("help") | Short('h') => return Ok(Command::Print(HELP.into())),
            Long("version") | Short('V') => {
                let version = concat!("sse-doctor ", env!("CARGO_PKG_VERSION"), "\n");
                return Ok(Command::Print(version.into()));
            }
            Long("for") => time = Some(duration("--for", &parser.value()?.string()?)?),
            Long("origin") => origin = Some(parsed_origin(&parser.value()?.string()?)?),
            Long("publish") => publish = Some(Endpoint::to(&parser.value()?.string()?)?.url),
            Long("status") => status = Some(Endpoint::to(&parser.value()?.string()?)?.url),
            Long("token-file") => token_file = Some(PathBuf::from(parser.value()?)),
            Long("sign-key") => sign_key = Some(PathBuf::from(parser.value()?)),
            Long("header") => headers.push(parser.value()?.string()?),
            Long("local") => local = Some(PathBuf::from(parser.value()?)),
            Long("subscribers") => {
                let text = parser.value()?.string()?;
                let number = text.parse().ok().filter(|n| (1..=10_000_000).contains(n));
                subscribers = number.ok_or_else(|| {
                    UsageError(format!("--subscribers {text}: want a number from 1"))
                })?;
            }
            Long("http2") => http2 = true,
            Long("json") => form = OutputForm::Json,
            Long("watch") => is_watch = true,
            Value(value) if url.is_none() => url = Some(value.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let url = match (url, local) {
        (Some(_), Some(_)) => return Err(UsageError("a URL or --local: choose one".into())),
        (None, Some(folder)) => {
            return Ok(Command::Local {
                folder,
                subscribers,
                form,
            });
        }
        (url, None) => url.ok_or_else(|| UsageError("want a URL".into()))?,
    };
    let mut endpoint = Endpoint::to(&url)?;
    headers.iter().try_for_each(|text| endpoint.header(text))?;
    if let Some(path) = token_file {
        endpoint.token_file(&path)?;
    }
    if let Some(path) = sign_key {
        endpoint.sign_key(&path)?;
    }
    let plan = Box::new(Plan {
        endpoint,
        duration: time.unwrap_or(if is_watch { WATCH } else { DURATION }),
        origin,
        publish,
        status,
        http2,
        form,
    });
    if is_watch {
        return Ok(Command::Watch(plan));
    }
    Ok(Command::Diagnose(plan))
}

/// An origin as browsers send it (RFC 6454 §6.2).
fn parsed_origin(text: &str) -> Result<String, UsageError> {
    let wrong = || {
        UsageError(format!(
            "--origin {text}: want an origin such as https://www.example.org"
        ))
    };
    let url = Endpoint::to(text)?.url;
    let is_bare = url
        .path_and_query()
        .is_none_or(|target| target.as_str() == "/");
    let scheme = url.scheme_str().filter(|_| is_bare).ok_or_else(wrong)?;
    let authority = url.authority().ok_or_else(wrong)?;
    Ok(format!("{scheme}://{authority}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(arguments: &[&str]) -> Result<Plan, String> {
        match parse(arguments.iter().map(OsString::from)) {
            Ok(Command::Diagnose(plan) | Command::Watch(plan)) => Ok(*plan),
            Ok(Command::Print(text)) => Err(text),
            Ok(Command::Probe { .. } | Command::Local { .. }) => Err("no URL".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_help_names_the_real_default() {
        let duration = plan(&["http://a/"]).unwrap().duration;
        assert!(HELP.contains(&format!("[{}s]", duration.as_secs())));
        let origin = plan(&["http://a/", "--origin", "https://b.example/"])
            .unwrap()
            .origin;
        assert_eq!(origin.as_deref(), Some("https://b.example"));
    }

    #[test]
    fn what_is_wrong_or_unknown_is_refused() {
        for wrong in [
            &[][..],
            &["a"],
            &["http://a/", "http://b/"],
            &["http://a/", "--for", "90"],
            &["http://a/", "--origin", "https://b.example/path"],
            &["http://a/", "--origin", "b.example"],
            &["http://a/", "--publish", "/b"],
            &["http://a/", "--local", "/etc/nginx"],
            &["--local", "/etc/nginx", "--subscribers", "0"],
            &["http://a/", "--nonsense"],
        ] {
            assert!(plan(wrong).is_err(), "{wrong:?}");
        }
    }
}

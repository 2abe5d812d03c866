//! Options: the command line of `sse-cat`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;

use super::super::UsageError;
use super::super::endpoint::Endpoint;
use super::super::units::duration;

pub(super) const HELP: &str = "\
sse-cat: prints a stream of Server-Sent Events, and resumes it after a disconnect

usage: sse-cat [option]... URL [--exec PROGRAM [ARGUMENT]...]

It prints the data of each event and a newline, until the stream's event `close`, or
until the server ends the stream by the status 204. When a connection ends it reconnects
after the stream's `retry:` time (0.75 to 1.5 times that), after repeated failures within
a minute, and misses no event that the server still has.

  --json             prints each event as one line {\"id\",\"event\",\"data\"}; `gap`,
                     `unavailable` and `close` too. Without --json, the first two
                     are reported on stderr only, and `close` is not reported
  --event NAME       only events of this name; may be repeated. An event without a
                     name is called message
  --state FILE       begins after the id in FILE, and stores there the id of the last
                     event that was printed, or that the command has processed. Only
                     one sse-cat can use a FILE at a time. FILE contains an id and a
                     newline; it need not exist
  --last-id ID       begins after this id; an id in FILE takes precedence
  --count N          ends after N events
  --timeout TIME     ends after this time, such as 500ms, 30s, 5m, 1h
  --silence TIME     how long a server may be silent before the connection counts as
                     lost [60s: more than twice the longest heartbeat of sse-cgi]
  --token-file FILE  sends the token in FILE as Authorization: Bearer
  --sign-key FILE    signs a link for each request, with the first key of FILE: see
                     docs/signed-links.md
  --header TEXT      sends a field, 'Name: value'; @FILE: each line of FILE, which
                     other users of the machine cannot see in the list of processes.
                     After a redirect, these fields and the token are sent to the
                     URL's own scheme, host and port only
  --exec PROGRAM [ARGUMENT]...
                     runs this for every event, one after another, instead of
                     printing it. Everything that follows belongs to it. No shell is
                     used: for one, write --exec sh -c '...'. The data and a newline (with
                     --json: the line) are its stdin, and SSE_EVENT and SSE_ID are in
                     its environment; it inherits stdout and stderr. If it fails,
                     sse-cat ends, and its event is not counted as done
  --keep-going       continues when the command fails
  --help, --version

stderr: errors, each gap in the stream, and why the server has nothing to send
exit:   0 the stream has ended, --count or --timeout is reached, or stdout was closed;
        1 the command failed; 22 the server refused (its status is printed), or the
        response is not an event stream, for example a login page; 100 wrong usage;
        111 an error of the system, or --timeout before the server responded; 124
        --timeout before --count events. After SIGINT or SIGTERM it finishes the
        current event and ends by the signal; a second one ends it at once
";

/// The meaning of the command line.
#[derive(Debug)]
pub(super) enum Command {
    /// Read.
    Read(Box<Options>),
    /// Print the help.
    Help,
    /// Print the version.
    Version,
}

/// The options for reading.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) endpoint: Endpoint,
    pub(super) form: OutputFormat,
    /// The names of the selected events; all events if it is empty.
    pub(super) events: Vec<String>,
    pub(super) state: Option<PathBuf>,
    pub(super) last_id: String,
    pub(super) count: Option<u64>,
    pub(super) timeout: Option<Duration>,
    pub(super) silence: Duration,
    /// A program and its arguments.
    pub(super) exec: Option<(OsString, Vec<OsString>)>,
    pub(super) on_failure: OnFailure,
}

/// The form in which an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutputFormat {
    /// Its data.
    Data,
    /// A JSON object.
    Json,
}

/// The action when the command fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnFailure {
    /// End, so that the event is repeated by the next run.
    End,
    /// Continue with the next event.
    GoOn,
}

/// Reads the arguments, without the program's name.
pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let (mut url, mut headers) = (None, Vec::new());
    let (mut token_file, mut sign_key) = (None, None);
    let (mut form, mut on_failure) = (OutputFormat::Data, OnFailure::End);
    let (mut events, mut state, mut last_id) = (Vec::new(), None, String::new());
    let (mut count, mut timeout, mut silence) = (None, None, Duration::from_secs(60));
    let mut exec = None;
    while let Some(argument) = parser.next()? {
        match argument {
            Long("help") | Short('h') => return Ok(Command::Help),
            Long("version") | Short('V') => return Ok(Command::Version),
            Long("json") => form = OutputFormat::Json,
            Long("keep-going") => on_failure = OnFailure::GoOn,
            Long("event") => events.push(parser.value()?.string()?),
            Long("state") => state = Some(parser.value()?.into()),
            Long("last-id") => last_id = parser.value()?.string()?,
            Long("count") => count = Some(number(&parser.value()?.string()?)?),
            Long("timeout") => {
                timeout = Some(duration("--timeout", &parser.value()?.string()?)?);
            }
            Long("silence") => silence = duration("--silence", &parser.value()?.string()?)?,
            Long("sign-key") => sign_key = Some(PathBuf::from(parser.value()?)),
            Long("token-file") => token_file = Some(PathBuf::from(parser.value()?)),
            Long("header") => headers.push(parser.value()?.string()?),
            Long("exec") => {
                let program = parser.value()?;
                exec = Some((program, parser.raw_args()?.collect()));
            }
            Value(value) if url.is_none() => url = Some(value.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let Some(url) = url else {
        return Err(UsageError("want a URL (before --exec)".into()));
    };
    let mut endpoint = Endpoint::to(&url)?;
    headers.iter().try_for_each(|text| endpoint.header(text))?;
    if let Some(path) = token_file {
        endpoint.token_file(&path)?;
    }
    if let Some(path) = sign_key {
        endpoint.sign_key(&path)?;
    }
    Ok(Command::Read(Box::new(Options {
        endpoint,
        form,
        events,
        state,
        last_id,
        count,
        timeout,
        silence,
        exec,
        on_failure,
    })))
}

fn number(text: &str) -> Result<u64, UsageError> {
    let number = text.parse().ok().filter(|n| *n > 0);
    number.ok_or_else(|| UsageError(format!("--count {text}: want a number from 1")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Result<Options, String> {
        match parse(arguments.iter().map(OsString::from)) {
            Ok(Command::Read(options)) => Ok(*options),
            Ok(_) => Err("no reading".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_command_takes_all_that_follows() {
        let url = "http://localhost/";
        let read = options(&["--json", url, "--exec", "sh", "-c", "cat", "--json", "--"]);
        let (program, arguments) = read.unwrap().exec.unwrap();
        assert_eq!(program, "sh");
        assert_eq!(arguments, ["-c", "cat", "--json", "--"]);
        let said = options(&["--exec", "cat", url]).unwrap_err();
        assert_eq!(said, "want a URL (before --exec)");
    }

    #[test]
    fn what_is_wrong_or_unknown_is_refused() {
        for wrong in [
            &[][..],
            &["http://a/", "http://b/"],
            &["http://a/", "--count", "0"],
            &["http://a/", "--count", "-1"],
            &["http://a/", "--timeout", "5"],
            &["http://a/", "--exec"],
            &["http://a/", "--header", "x"],
            &["http://a/", "--token-file", "/nonexistent"],
            &["http://a/", "--other"],
            &["a"],
        ] {
            assert!(options(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_help_names_the_real_default() {
        let silence = options(&["http://a/"]).unwrap().silence;
        assert!(HELP.contains(&format!("[{}s", silence.as_secs())));
    }
}

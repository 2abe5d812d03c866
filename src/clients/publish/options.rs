//! Options: the command line of `sse-publish`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;

use super::super::UsageError;
use super::super::endpoint::Endpoint;
use super::super::units::duration;
use super::record::DataFormat;

pub(super) const HELP: &str = "\
sse-publish: publishes to a stream, and prints the ids of the events

usage: sse-publish [option]... URL [TEXT]

URL is that of publish.cgi, or of a location of sse-fcgi with SSE_STREAM=publish. The
text is TEXT, or else all of stdin without the newline at its end. The id is that of
the event in the stream.

  --event NAME       the event's name; default: no name
  --json             the text is JSON, and becomes the data unchanged; default: the
                     data is text. Bytes that are not UTF-8 become U+FFFD
  --lines            every line of stdin is an event, published when it is read, over
                     one connection; with --json, empty lines are skipped. It ends
                     at the first failure
  --token-file FILE  sends the token in FILE as Authorization: Bearer
  --sign-key FILE    signs a link for each request, with the first key of FILE: see
                     docs/signed-links.md
  --header TEXT      sends a field, 'Name: value'; @FILE: each line of FILE, which
                     other users of the machine cannot see in the list of processes
  --retry TIME       after 429, 503 or a failed connection, tries again for so long,
                     such as 30s, not before the time of Retry-After [not at all].
                     If it is unknown whether the text was published, it does not
                     try again, so nothing is published twice
  --help, --version

stdout: an id for each event
stderr: errors
exit:   0 everything is published; 22 the server refused (its reason is printed); 100
        wrong usage, or the text is not JSON; 111 an error of the system, the network
        or the server that may be temporary
";

/// The longest text, in bytes. A server's limit is lower, by default 64K.
pub(super) const TEXT_MAX_BYTES: usize = 64 << 20;

/// The meaning of the command line.
#[derive(Debug)]
pub(super) enum Command {
    /// Publish.
    Publish(Box<Options>),
    /// Print the help.
    Help,
    /// Print the version.
    Version,
}

/// The options for publishing.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) endpoint: Endpoint,
    pub(super) event: Option<String>,
    pub(super) form: DataFormat,
    pub(super) input: Input,
    /// How long to try again; zero: not at all.
    pub(super) retry: Duration,
}

/// The source of the text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// On the command line.
    Text(Vec<u8>),
    /// All of stdin as one text.
    Whole,
    /// Each line of stdin as a text.
    Lines,
}

/// Reads the arguments, without the program's name.
pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let (mut url, mut text, mut headers) = (None, None, Vec::new());
    let (mut token_file, mut sign_key) = (None, None);
    let (mut event, mut form, mut by_lines, mut retry) =
        (None, DataFormat::Text, false, Duration::ZERO);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("help") | Short('h') => return Ok(Command::Help),
            Long("version") | Short('V') => return Ok(Command::Version),
            Long("event") => event = Some(parser.value()?.string()?),
            Long("json") => form = DataFormat::Json,
            Long("lines") => by_lines = true,
            Long("sign-key") => sign_key = Some(PathBuf::from(parser.value()?)),
            Long("token-file") => token_file = Some(PathBuf::from(parser.value()?)),
            Long("header") => headers.push(parser.value()?.string()?),
            Long("retry") => retry = duration("--retry", &parser.value()?.string()?)?,
            Value(value) if url.is_none() => url = Some(value.string()?),
            Value(value) if text.is_none() => text = Some(value.into_encoded_bytes()),
            other => return Err(other.unexpected().into()),
        }
    }
    let url = url.ok_or_else(|| UsageError("want a URL".into()))?;
    let input = match (text, by_lines) {
        (Some(_), true) => return Err(UsageError("--lines reads stdin: want no TEXT".into())),
        (Some(text), false) => Input::Text(text),
        (None, true) => Input::Lines,
        (None, false) => Input::Whole,
    };
    let mut endpoint = Endpoint::to(&url)?;
    headers.iter().try_for_each(|text| endpoint.header(text))?;
    if let Some(path) = token_file {
        endpoint.token_file(&path)?;
    }
    if let Some(path) = sign_key {
        endpoint.sign_key(&path)?;
    }
    Ok(Command::Publish(Box::new(Options {
        endpoint,
        event,
        form,
        input,
        retry,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(arguments: &[&str]) -> Option<Input> {
        match parse(arguments.iter().map(OsString::from)) {
            Ok(Command::Publish(options)) => Some(options.input),
            _ => None,
        }
    }

    #[test]
    fn the_text_is_an_argument_or_stdin() {
        let url = "http://localhost/";
        assert_eq!(input(&[url]), Some(Input::Whole));
        assert_eq!(input(&[url, "--lines"]), Some(Input::Lines));
        assert_eq!(input(&[url, ""]), Some(Input::Text(Vec::new())));
        assert_eq!(
            input(&["--", url, "--json"]),
            Some(Input::Text(b"--json".to_vec()))
        );
    }

    #[test]
    fn what_is_wrong_or_unknown_is_refused() {
        for wrong in [
            &[][..],
            &["http://a/", "x", "y"],
            &["http://a/", "x", "--lines"],
            &["http://a/", "--retry", "3"],
            &["http://a/", "--other"],
            &["a", "x"],
        ] {
            assert_eq!(input(wrong), None, "{wrong:?}");
        }
    }
}

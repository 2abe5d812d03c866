//! A program typed in a terminal: every setting is an option.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use lexopt::{Arg, Parser, ValueExt as _};

use crate::request::{MetaVariables, Value};
use crate::source::Stream;

/// What was typed.
pub(crate) enum Typed {
    /// Settings, as names and values of meta-variables.
    Settings(Vec<(String, Vec<u8>)>),
    /// A question, and its answer.
    Question { answer: String },
    /// Something that is no option, and what to say of it.
    Wrong(String),
}

/// An option: the setting it stands for, what its value looks like, its default and why.
struct Choice {
    setting: &'static str,
    value: &'static str,
    help: &'static str,
}

const fn choice(setting: &'static str, value: &'static str, help: &'static str) -> Choice {
    Choice {
        setting,
        value,
        help,
    }
}

const CHOICES: &[Choice] = &[
    choice(
        "SSE_FILE",
        "PATH",
        "the file to read; it may be there later",
    ),
    choice(
        "SSE_FORMAT",
        "lines|jsonl|state",
        "default: jsonl for .jsonl and .ndjson, else lines",
    ),
    choice(
        "SSE_ENCODING",
        "LABEL",
        "utf-8 (default) or latin1; for the format state utf-16 too",
    ),
    choice(
        "SSE_LINE_END",
        "lf|any",
        "any: a CR ends a line too, as progress bars write it; default lf",
    ),
    choice(
        "SSE_FLUSH",
        "DURATION",
        "an unfinished last line is a record after so much quiet; default: never",
    ),
    choice(
        "SSE_COMMAND",
        "COMMAND",
        "the program to run and its arguments; no shell reads it",
    ),
    choice(
        "SSE_COMMAND_TIMEOUT",
        "DURATION",
        "a program that runs for longer is ended; default 1h",
    ),
    choice(
        "SSE_COMMAND_OUTPUT",
        "SIZE",
        "a program that writes more is ended; default 64M",
    ),
    choice(
        "SSE_FILTER",
        "TEXT|/REGEX/",
        "only records that contain this; a leading ! inverts",
    ),
    choice(
        "SSE_SOURCE_ID",
        "yes|no",
        "pass on a jsonl record's own id in an object; default no",
    ),
    choice(
        "SSE_STATE_MAX",
        "SIZE",
        "the largest file in the format state; default 1M",
    ),
    choice(
        "SSE_SETTLE",
        "DURATION",
        "how long a state file must have been left alone; default 50ms, an emptied one 2s",
    ),
    choice(
        "SSE_EVENT",
        "NAME",
        "event name for lines; default: none, which is message",
    ),
    choice(
        "SSE_SPOOL",
        "PATH",
        "a folder for sessions, which nobody else may write in; it is made if need be",
    ),
    choice(
        "SSE_SESSION_GRACE",
        "DURATION",
        "how long a session outlives its stream; default 2m, so that a laptop may be carried",
    ),
    choice(
        "SSE_BACKLOG",
        "N",
        "records that a first-time client gets; default 10, so that a page is not empty",
    ),
    choice(
        "SSE_REPLAY",
        "SIZE",
        "how far back a last id may reach; default 16M, some hours of a busy log",
    ),
    choice(
        "SSE_MAX_LINE",
        "SIZE",
        "a longer record is cut, and a gap says so; default 1M",
    ),
    choice(
        "SSE_INTERVAL",
        "DURATION",
        "between events; default 1s, at least 10ms",
    ),
    choice(
        "SSE_COUNT",
        "N",
        "where a countdown starts (default 10); a clock ends after N (default: never)",
    ),
    choice(
        "SSE_HEARTBEAT",
        "DURATION",
        "a comment after this much silence; default 15s, because servers cut silent streams after 30s",
    ),
    choice(
        "SSE_RETRY",
        "DURATION",
        "reconnection time, sent with jitter; default 3s, the browsers' own",
    ),
    choice(
        "SSE_SEND_TIMEOUT",
        "DURATION",
        "a reader that takes nothing for so long is left; default 30s",
    ),
    choice(
        "SSE_MAX_AGE",
        "DURATION",
        "the stream ends after this; default: never in a terminal, 1h under CGI",
    ),
    choice(
        "SSE_LOG",
        "PATH",
        "a file to log to, as JSON lines; default: stderr",
    ),
];

/// Settings of every stream.
const COMMON: &[&str] = &[
    "SSE_HEARTBEAT",
    "SSE_RETRY",
    "SSE_SEND_TIMEOUT",
    "SSE_MAX_AGE",
    "SSE_LOG",
];

/// Reads the command line.
pub(crate) fn read(stream: &Stream, arguments: impl Iterator<Item = OsString>) -> Typed {
    let arguments: Vec<OsString> = arguments.collect();
    match parse(stream, arguments) {
        Ok(typed) => typed,
        Err(error) => Typed::Wrong(format!("{error}; try --help")),
    }
}

fn parse(stream: &Stream, arguments: Vec<OsString>) -> Result<Typed, lexopt::Error> {
    let mut parser = Parser::from_args(arguments);
    let mut settings: Vec<(String, Vec<u8>)> = Vec::new();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => {
                return Ok(Typed::Question {
                    answer: help(stream),
                });
            }
            Arg::Short('V') | Arg::Long("version") => {
                let version = format!("sse-cgi {}\n", env!("CARGO_PKG_VERSION"));
                return Ok(Typed::Question { answer: version });
            }
            Arg::Long("last-event-id") => {
                settings.push(("HTTP_LAST_EVENT_ID".into(), parser.value()?.into_vec()));
            }
            Arg::Long(name) => {
                let Some(choice) = choices(stream).find(|c| option_name(c.setting) == name) else {
                    return Err(argument.unexpected());
                };
                settings.push((choice.setting.into(), parser.value()?.into_vec()));
            }
            Arg::Value(value) => match stream.argument {
                Some(setting) if settings.iter().all(|(name, _)| name != setting) => {
                    settings.push((setting.into(), value.into_vec()));
                }
                _ => {
                    let text = value.string().unwrap_or_default();
                    return Err(format!("unexpected argument {text:?}").into());
                }
            },
            Arg::Short(_) => return Err(argument.unexpected()),
        }
    }
    Ok(Typed::Settings(settings))
}

fn choices<'a>(stream: &'a Stream) -> impl Iterator<Item = &'static Choice> + 'a {
    let uses = |c: &&Choice| stream.settings.contains(&c.setting) || COMMON.contains(&c.setting);
    CHOICES.iter().filter(uses)
}

/// The options of a stream, by setting: messages call settings so, except those that the
/// environment sets.
pub(crate) fn options_of(
    stream: &Stream,
    typed: &[(String, Vec<u8>)],
    environment: &MetaVariables,
) -> Vec<(&'static str, String)> {
    let is_option = |choice: &&Choice| {
        let is_typed = typed.iter().any(|(name, _)| name == choice.setting);
        is_typed || environment.get(choice.setting) == Value::Absent
    };
    let option = |choice: &Choice| {
        let option = format!("--{}", option_name(choice.setting));
        (choice.setting, option)
    };
    choices(stream).filter(is_option).map(option).collect()
}

fn option_name(setting: &str) -> String {
    setting
        .trim_start_matches("SSE_")
        .to_ascii_lowercase()
        .replace('_', "-")
}

fn help(stream: &Stream) -> String {
    let name = stream.name;
    let argument = stream
        .argument
        .map(|setting| format!(" [{}]", option_name(setting).to_uppercase()));
    let argument = argument.unwrap_or_default();
    let mut text = format!(
        "nph-{name}: {}, as Server-Sent Events\n\n\
         usage: nph-{name} [OPTIONS]{argument}\n\n\
         In a terminal the stream is written to stdout. Copied into cgi-bin as\n\
         nph-{name}.cgi or {name}.cgi it serves browsers; settings then come from the\n\
         server's configuration, under the names on the right, and the command line is\n\
         not read.\n\noptions:\n",
        stream.summary
    );
    for choice in choices(stream) {
        let option = format!("--{} {}", option_name(choice.setting), choice.value);
        text.push_str(&format!(
            "  {option:<30} {}\n      {}\n",
            choice.setting, choice.help
        ));
    }
    text.push_str(
        "  --last-event-id ID             Last-Event-ID\n      \
         go on after this event, as a browser does when it returns\n  \
         -V, --version\n  -h, --help\n\n\
         exit codes: 0 done, 100 wrong option or setting, 111 the system refused\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::STREAMS;

    #[test]
    fn every_setting_of_every_stream_is_an_option() {
        for stream in STREAMS {
            for setting in stream.settings {
                let found = choices(stream).any(|choice| choice.setting == *setting);
                assert!(found, "{}: {setting}", stream.name);
            }
        }
    }
}

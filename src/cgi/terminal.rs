//! The command line of a program in a terminal: every setting is an option.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use lexopt::{Arg, Parser, ValueExt as _};

use crate::request::settings::{option_name, options_help};
use crate::request::{MetaVariables, Setting, Value};
use crate::source::Stream;

/// The meaning of a command line.
pub(crate) enum CommandLine {
    /// Run with these settings: names and values of meta-variables.
    Run(Vec<(String, Vec<u8>)>),
    /// Check the settings file of this folder of programs; `None`: of the program's own.
    Check(Option<OsString>),
    /// Print this text.
    Print(String),
    /// An invalid command line, and the reason.
    Wrong(String),
}

/// Whether a program has `--check`.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Checking {
    Offered,
    Absent,
}

/// Reads the command line.
pub(crate) fn read(
    stream: &Stream,
    checking: Checking,
    arguments: impl Iterator<Item = OsString>,
) -> CommandLine {
    let arguments: Vec<OsString> = arguments.collect();
    parse(stream, checking, arguments)
        .unwrap_or_else(|error| CommandLine::Wrong(format!("{error}; try --help")))
}

fn parse(
    stream: &Stream,
    checking: Checking,
    arguments: Vec<OsString>,
) -> Result<CommandLine, lexopt::Error> {
    let mut parser = Parser::from_args(arguments);
    let mut settings: Vec<(String, Vec<u8>)> = Vec::new();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => {
                return Ok(CommandLine::Print(help(stream, checking)));
            }
            Arg::Short('V') | Arg::Long("version") => {
                let version = format!("sse-cgi {}\n", env!("CARGO_PKG_VERSION"));
                return Ok(CommandLine::Print(version));
            }
            Arg::Long("check") if checking == Checking::Absent => {
                return Err("only nph-tail has --check; it checks all programs of a folder".into());
            }
            Arg::Long("check") => {
                let folder = match parser.next()? {
                    Some(Arg::Value(folder)) => Some(folder),
                    Some(other) => return Err(other.unexpected()),
                    None => None,
                };
                return Ok(CommandLine::Check(folder));
            }
            Arg::Long("last-event-id") => {
                settings.push(("HTTP_LAST_EVENT_ID".into(), parser.value()?.into_vec()));
            }
            Arg::Long(name) => {
                let Some(setting) = setting_of(stream.all_settings(), name) else {
                    return Err(argument.unexpected());
                };
                settings.push((setting.spec.name.into(), parser.value()?.into_vec()));
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
    Ok(CommandLine::Run(settings))
}

/// The setting that an option stands for.
pub(super) fn setting_of(
    mut settings: impl Iterator<Item = &'static Setting>,
    option: &str,
) -> Option<&'static Setting> {
    settings.find(|setting| option_name(setting.spec.name) == option)
}

/// The option of each setting, by the setting's name: messages then name the option, except for
/// settings from the environment.
pub(crate) fn options_of(
    settings: impl Iterator<Item = &'static Setting>,
    given: &[(String, Vec<u8>)],
    environment: &MetaVariables,
) -> Vec<(&'static str, String)> {
    let is_option = |setting: &&Setting| {
        let name = setting.spec.name;
        let is_given = given.iter().any(|(given, _)| given == name);
        is_given || environment.get(name) == Value::Absent
    };
    let option = |setting: &'static Setting| (setting.spec.name, setting.option());
    settings.filter(is_option).map(option).collect()
}

fn help(stream: &Stream, checking: Checking) -> String {
    let name = stream.name;
    let check = match checking {
        Checking::Absent => "",
        Checking::Offered => {
            "  --check [FOLDER]               report the settings of the programs in a folder, by \
             default\n      \
             that of this program: which apply, where they come from (.htsse, the environment,\n      \
             defaults), and whether the files can be read\n"
        }
    };
    let argument = stream
        .argument
        .map(|setting| format!(" [{}]", option_name(setting).to_uppercase()));
    let argument = argument.unwrap_or_default();
    format!(
        "nph-{name}: {}, as Server-Sent Events\n\n\
         usage: nph-{name} [OPTIONS]{argument}\n\n\
         In a terminal the stream is written to stdout. In a cgi-bin folder, as\n\
         nph-{name}.cgi or {name}.cgi, it serves browsers; settings then come from the\n\
         server's configuration, under the names on the right, and the command line is\n\
         ignored.\n\noptions:\n\
         {}  --last-event-id ID             Last-Event-ID\n      \
         resume after this event, as a browser does when it reconnects\n\
         {check}  -V, --version\n  -h, --help\n\n\
         exit codes: 0 done, 100 wrong option or setting, 111 error of the system\n",
        stream.summary,
        options_help(stream.all_settings()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::settings::{Streams, TABLE};
    use crate::source::STREAMS;

    #[test]
    fn every_setting_of_every_stream_is_an_option() {
        for setting in TABLE {
            let option = setting.option();
            let mut count = 0;
            for stream in STREAMS.iter().filter(|stream| setting.is_for(stream.name)) {
                let arguments = [&option, "value"].map(OsString::from);
                match read(stream, Checking::Absent, arguments.into_iter()) {
                    CommandLine::Run(settings) => assert_eq!(
                        settings,
                        [(setting.spec.name.to_owned(), b"value".to_vec())]
                    ),
                    CommandLine::Print(_) | CommandLine::Check(_) => {
                        panic!("{} {option}: help", stream.name)
                    }
                    CommandLine::Wrong(problem) => panic!("{} {option}: {problem}", stream.name),
                }
                assert!(
                    help(stream, Checking::Absent).contains(&format!("\n  {option} ")),
                    "{option}"
                );
                count += 1;
            }
            let is_for_none = match setting.streams {
                Streams::Every => false,
                Streams::Only(names) => names.iter().all(|name| name.starts_with("publish")),
                Streams::Responder => true,
            };
            assert_eq!(count == 0, is_for_none, "{option}");
        }
    }
}

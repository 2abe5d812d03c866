//! `sse-doctor config SERVER`: prints a configuration, made of the file that the project ships and
//! tests, with the reader's names and paths in it.

mod blocks;
mod templates;

use std::ffi::OsString;

use lexopt::prelude::*;

use super::super::UsageError;
use blocks::only;
use templates::{TEMPLATES, Template};

pub(super) const HELP: &str = "\
sse-doctor config: prints a ready configuration for a web server

usage: sse-doctor config SERVER [option]...

SERVER is one of: apache, apache-h2, apache-fastcgi, apache-fcgid, htaccess, nginx,
lighttpd, h2o, caddy, haproxy, systemd. The output's first comment says where the file
belongs. It is the file that the project ships and tests, with these changes:

  --host NAME        the site's host name
  --port N           the port to listen on
  --stream NAME      only this stream of those in the file: clock, countdown, flights,
                     timers, tail, publish, room, logs, status; may be repeated
  --at PATH          the URL's path of the one --stream, such as /events/builds
  --file PATH        the file that the streams tail and publish use
  --data DIR         the folder of data [/var/lib/sse-cgi]
  --pages DIR        the folder of pages [/var/www/sse-cgi]
  --cgi-bin DIR      the folder of CGI programs [/usr/local/lib/sse-cgi/cgi-bin]
  --socket PATH      the responder's socket [/run/sse-fcgi/sse-fcgi.sock]
  --user NAME        systemd: the web server's user, who may connect to the socket
  --responder PATH   the program sse-fcgi [/usr/local/bin/sse-fcgi]
  --help

A change that the server's file has no place for is an error.
";

/// What to change.
#[derive(Debug, Default)]
struct Changes {
    values: Vec<(&'static str, String)>,
    streams: Vec<String>,
}

/// The options, and the characters that no value may contain: they would end a word or a string
/// in one of the configurations.
const OPTIONS: [&str; 9] = [
    "host", "port", "at", "file", "data", "pages", "cgi-bin", "socket", "user",
];
const FORBIDDEN: &[char] = &[
    '"', '\'', ';', '{', '}', '\\', '$', '#', '`', ' ', '\t', '\n', '\r',
];

/// Reads the arguments after `config` and returns the text.
pub(super) fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<String, UsageError> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut template = None;
    let mut changes = Changes::default();
    while let Some(argument) = parser.next()? {
        let name = match argument {
            Long("help") | Short('h') => return Ok(HELP.into()),
            Value(value) if template.is_none() => {
                template = Some(template_named(&value.string()?)?);
                continue;
            }
            Long(name) => name.to_owned(),
            other => return Err(other.unexpected().into()),
        };
        let known = OPTIONS
            .iter()
            .chain(&["responder"])
            .find(|own| **own == name);
        match (name.as_str(), known) {
            ("stream", _) => changes.streams.push(parser.value()?.string()?),
            (_, Some(own)) => {
                let value = parser.value()?.string()?;
                checked(own, &value)?;
                changes.values.push((own, value));
            }
            _ => return Err(UsageError(format!("invalid option '--{name}'"))),
        }
    }
    let template = template.ok_or_else(|| UsageError("want the name of a server".into()))?;
    make(template, &changes)
}

fn template_named(name: &str) -> Result<&'static Template, UsageError> {
    let found = TEMPLATES.iter().find(|template| template.name == name);
    found.ok_or_else(|| {
        let names: Vec<_> = TEMPLATES.iter().map(|template| template.name).collect();
        UsageError(format!("{name}: want one of {}", names.join(", ")))
    })
}

fn checked(option: &str, value: &str) -> Result<(), UsageError> {
    let wrong = |what: &str| Err(UsageError(format!("--{option} {value}: {what}")));
    if value.is_empty() || value.contains(FORBIDDEN) || value.chars().any(char::is_control) {
        return wrong("want no spaces, quotes or other special characters");
    }
    match option {
        "port" if value.parse::<u16>().is_ok_and(|port| port > 0) => Ok(()),
        "port" => wrong("want a number from 1 to 65535"),
        "host" | "user" => match value.starts_with(['-', '/']) {
            true => wrong("want a name"),
            false => Ok(()),
        },
        _ if !value.starts_with('/') => wrong("want a path that begins with /"),
        _ if value.ends_with('/') => wrong("want a path without / at its end"),
        _ => Ok(()),
    }
}

fn make(template: &Template, changes: &Changes) -> Result<String, UsageError> {
    let mut text = template.text.to_owned();
    if let Some((from, to)) = template.always {
        text = text.replace(from, to);
    }
    let at = changes.values.iter().find(|(name, _)| *name == "at");
    if !changes.streams.is_empty() {
        text = only(&text, template.blocks, &changes.streams).map_err(|missing| {
            UsageError(format!(
                "--stream {missing}: the file for {} has no such stream",
                template.name
            ))
        })?;
    }
    // `--data` comes last: the default of `--file` is a path below it.
    let mut values: Vec<_> = changes.values.iter().collect();
    values.sort_by_key(|(name, _)| *name == "data");
    for (name, value) in values {
        if *name == "at" {
            continue;
        }
        let places = template.places.iter().filter(|place| place.option == *name);
        let mut is_changed = false;
        for place in places {
            if text.contains(place.from) {
                text = text.replace(place.from, &place.to.replace("{}", value));
                is_changed = true;
            }
        }
        if !is_changed {
            return Err(UsageError(format!(
                "--{name}: the file for {} has no place for it",
                template.name
            )));
        }
    }
    if let Some((_, path)) = at {
        let [stream] = &changes.streams[..] else {
            return Err(UsageError("--at: want one --stream".into()));
        };
        let old = format!("/events/{stream}");
        if !text.contains(&old) {
            let what = "its URL is that of the program, or of the folder";
            return Err(UsageError(format!(
                "--at: not with {} and {stream}: {what}",
                template.name
            )));
        }
        text = text.replace(&old, path);
        text = template.after_move(&text, path);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(arguments: &[&str]) -> Result<String, String> {
        run(arguments.iter().map(OsString::from)).map_err(|error| error.0)
    }

    #[test]
    fn without_options_it_is_the_shipped_file() {
        for template in TEMPLATES
            .iter()
            .filter(|template| template.always.is_none())
        {
            assert_eq!(config(&[template.name]).as_deref(), Ok(template.text));
        }
    }

    #[test]
    fn a_stream_alone_has_its_path_and_its_file() {
        for name in [
            "nginx",
            "lighttpd",
            "h2o",
            "caddy",
            "haproxy",
            "apache-fastcgi",
        ] {
            let text = config(&[
                name,
                "--stream",
                "tail",
                "--at",
                "/events/builds",
                "--file",
                "/srv/builds.jsonl",
            ])
            .unwrap();
            assert!(
                text.contains("/events/builds") && text.contains("/srv/builds.jsonl"),
                "{name}"
            );
            let kept = text
                .lines()
                .filter(|line| !line.trim_start().starts_with('#'));
            for gone in [
                "/events/clock",
                "/events/flights",
                "SSE_SPOOL",
                "events.jsonl",
            ] {
                let kept = kept
                    .clone()
                    .filter(|line| line.contains(gone) && !line.contains("IfDefine"));
                assert_eq!(kept.count(), 0, "{name}: {gone}\n{text}");
            }
        }
    }

    #[test]
    fn what_is_wrong_or_has_no_place_is_refused() {
        for (arguments, expected) in [
            (&[][..], "want the name of a server"),
            (&["iis"], "iis: want one of apache, "),
            (&["nginx", "--port", "0"], "--port 0: want a number"),
            (&["nginx", "--file", "/a;b"], "--file /a;b: want no spaces"),
            (&["nginx", "--file", "a"], "--file a: want a path"),
            (&["nginx", "--at", "/x"], "--at: want one --stream"),
            (
                &["nginx", "--stream", "x"],
                "--stream x: the file for nginx",
            ),
            (
                &["nginx", "--cgi-bin", "/x"],
                "--cgi-bin: the file for nginx",
            ),
            (
                &["apache", "--stream", "tail", "--at", "/x"],
                "--at: not with apache",
            ),
            (&["nginx", "--nonsense"], "invalid option '--nonsense'"),
        ] {
            let error = config(arguments).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}

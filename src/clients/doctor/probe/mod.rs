//! `sse-doctor probe URL`: whether a server does what WHATWG's text asks of an event stream.
//!
//! It asks one question after another, each over a connection of its own that is closed before
//! the next, so it is as much of a burden as one reader. It sends GET and HEAD only.

mod questions;
mod verdicts;

use std::ffi::OsString;
use std::time::Duration;

use lexopt::prelude::*;

use super::super::exit::Exit;
use super::super::{UsageError, endpoint::Endpoint, print, units::duration};
use verdicts::{Outcome, Verdict, judge};

pub(super) const HELP: &str = "\
sse-doctor probe: checks a server against the text of WHATWG's HTML standard, section 9.2

usage: sse-doctor probe [option]... URL

Any server of event streams can be checked. It sends GET and HEAD only, over one
connection at a time, about a dozen in all. A stream that sends an event with an id
within --for shows the most; what a stream does not show is skipped.

  --for TIME         how long to read the first stream [16s: a comment each 15 s or so is
                     what the standard recommends]
  --json             prints JSON instead of TAP
  --token-file FILE  sends the token in FILE as Authorization: Bearer
  --header TEXT      sends a field, 'Name: value'; @FILE: each line of FILE
  --help

stdout: TAP version 13: a line for each check. What the standard requires of a server is
        `ok` or `not ok`; what it recommends is marked TODO where it fails
exit:   0 nothing required fails; 1 something does; 100 wrong usage; 111 no connection
";

/// What the command line says.
pub(super) enum Command {
    Help,
    Probe {
        endpoint: Endpoint,
        time: Duration,
        is_json: bool,
    },
}

/// Reads the arguments after `probe`.
pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let (mut url, mut headers, mut token_file) = (None, Vec::new(), None);
    let (mut time, mut is_json) = (Duration::from_secs(16), false);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("help") | Short('h') => return Ok(Command::Help),
            Long("for") => time = duration("--for", &parser.value()?.string()?)?,
            Long("json") => is_json = true,
            Long("token-file") => token_file = Some(std::path::PathBuf::from(parser.value()?)),
            Long("header") => headers.push(parser.value()?.string()?),
            Value(value) if url.is_none() => url = Some(value.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let url = url.ok_or_else(|| UsageError("probe: want a URL".into()))?;
    let mut endpoint = Endpoint::to(&url)?;
    headers.iter().try_for_each(|text| endpoint.header(text))?;
    if let Some(path) = token_file {
        endpoint.token_file(&path)?;
    }
    Ok(Command::Probe {
        endpoint,
        time,
        is_json,
    })
}

/// Probes, prints the outcomes and returns the exit code.
pub(super) fn run(endpoint: &Endpoint, time: Duration, is_json: bool) -> Exit {
    let answers = match questions::ask(endpoint, time) {
        Ok(answers) => answers,
        Err(unreachable) => {
            super::note("sse-doctor", &unreachable.0);
            return Exit::System;
        }
    };
    let outcomes = judge(&answers);
    let text = if is_json {
        json(endpoint, &outcomes)
    } else {
        super::printable(&tap(&outcomes))
    };
    match print(&text) {
        Exit::Done if outcomes.iter().any(|own| own.verdict == Verdict::Broken) => Exit::Faulty,
        exit => exit,
    }
}

/// The Test Anything Protocol, version 13.
fn tap(outcomes: &[Outcome]) -> String {
    let mut text = format!("TAP version 13\n1..{}\n", outcomes.len());
    for (number, outcome) in outcomes.iter().enumerate() {
        let number = number + 1;
        let Outcome { check, seen, .. } = outcome;
        // A # would begin a directive.
        let seen = seen.replace('#', "");
        text.push_str(&match outcome.verdict {
            Verdict::Kept => format!("ok {number} - {check}\n"),
            Verdict::Broken => {
                format!("not ok {number} - {check}\n  ---\n  seen: {seen:?}\n  ...\n")
            }
            Verdict::Discouraged => {
                format!("not ok {number} - {check} # TODO recommended: {seen}\n")
            }
            Verdict::NotSeen => format!("ok {number} - {check} # SKIP {seen}\n"),
        });
    }
    text
}

fn json(endpoint: &Endpoint, outcomes: &[Outcome]) -> String {
    let checks: Vec<_> = outcomes
        .iter()
        .map(|outcome| {
            serde_json::json!({
                "check": outcome.check,
                "source": outcome.source,
                "verdict": outcome.verdict.name(),
                "seen": outcome.seen,
            })
        })
        .collect();
    format!(
        "{}\n",
        serde_json::json!({ "url": endpoint.shown(), "checks": checks })
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tap_says_what_is_required_recommended_and_not_seen() {
        let outcome = |verdict, seen: &str| Outcome {
            check: "a",
            source: "§",
            verdict,
            seen: seen.into(),
        };
        let outcomes = [
            outcome(Verdict::Kept, ""),
            outcome(Verdict::Broken, "x\n"),
            outcome(Verdict::Discouraged, "y"),
            outcome(Verdict::NotSeen, "#z"),
        ];
        let expected = "TAP version 13\n1..4\nok 1 - a\nnot ok 2 - a\n  ---\n  seen: \"x\\n\"\n  ...\n\
                        not ok 3 - a # TODO recommended: y\nok 4 - a # SKIP z\n";
        assert_eq!(tap(&outcomes), expected);
    }
}

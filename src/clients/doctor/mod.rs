//! `sse-doctor`: diagnoses a deployment from the client's side.
//!
//! ```text
//!   options ─> observe ─> observation ─> diagnosis ─> report
//!                │  └─ exchange ─> connection            └─ servers: the measured table
//!                └─ record: what arrived when
//! ```
//!
//! Only `connection` and `observe` use sockets and clocks. The diagnosis is a function of the
//! observations.

mod config;
mod connection;
mod diagnosis;
mod exchange;
mod http2;
mod local;
mod message;
mod observation;
mod observe;
mod options;
mod probe;
mod record;
mod report;
mod second;
mod servers;
mod watch;

use std::process::ExitCode;

use super::exit::Exit;
use super::{arguments, note, print};
use diagnosis::{Verdict, diagnose};
use options::{Command, OutputForm, Plan};

/// Runs `sse-doctor` with the arguments of the process.
///
/// Exit codes: 0 no fault, 1 a fault was found, 100 wrong usage, 111 the server cannot be reached.
#[must_use]
pub fn main() -> ExitCode {
    let exit = match options::parse(arguments()) {
        Ok(Command::Print(text)) => print(&text),
        Ok(Command::Diagnose(plan)) => run(&plan),
        Ok(Command::Local {
            folder,
            subscribers,
            form,
        }) => local::run(&folder, subscribers, form),
        Ok(Command::Watch(plan)) => watch::run(&plan),
        Ok(Command::Probe {
            endpoint,
            time,
            is_json,
        }) => probe::run(&endpoint, time, is_json),
        Err(error) => {
            note("sse-doctor", &format!("{error}\ntry sse-doctor --help"));
            Exit::Usage
        }
    };
    exit.into()
}

fn run(plan: &Plan) -> Exit {
    let seen = observe::observe(plan);
    let diagnosis = diagnose(&seen);
    let text = match plan.form {
        OutputForm::Text => printable(&report::text(&seen, &diagnosis)),
        OutputForm::Json => report::json(&seen, &diagnosis),
    };
    let printed = print(&text);
    match diagnosis.worst() {
        _ if printed != Exit::Done => printed,
        _ if seen.unreachable.is_some() => Exit::System,
        Verdict::Fault => Exit::Faulty,
        _ => Exit::Done,
    }
}

/// The text without control characters: a server's would be commands to a terminal.
fn printable(text: &str) -> String {
    let shown = |c: char| match c {
        c if c.is_control() && c != '\n' => c.escape_default().to_string(),
        c => c.to_string(),
    };
    text.chars().map(shown).collect()
}

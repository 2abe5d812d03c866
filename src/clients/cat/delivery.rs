//! Delivery: writes an event to stdout or gives it to a command.

use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde::ser::{SerializeMap, Serializer};

use super::super::exit::Exit;
use super::super::{Failure, note};
use super::options::{OnFailure, Options, OutputFormat};
use super::parser::Event;

/// Printed events are written to stdout when they exceed this size.
const BUFFER_BYTES: usize = 64 * 1024;

/// The names of the events that report on the stream itself.
const OWN_NAMES: [&str; 6] = [
    "gap",
    "unavailable",
    "expired",
    "close",
    "heartbeat",
    "place",
];

/// The destination of events.
#[derive(Debug)]
pub(super) struct Delivery<'a> {
    options: &'a Options,
    /// Printed but not written yet: events that arrive together are written together.
    printed: Vec<u8>,
}

/// The result of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeliveryOutcome {
    /// It is done, or will be with the next [`Delivery::flush`].
    Yes,
    /// The event was not selected.
    NotWanted,
    /// The reader of stdout has closed it.
    ReaderLeft,
}

impl<'a> Delivery<'a> {
    pub(super) fn new(options: &'a Options) -> Self {
        Self {
            options,
            printed: Vec::new(),
        }
    }

    /// Whether each event is complete when [`Self::deliver`] returns.
    pub(super) fn is_immediate(&self) -> bool {
        self.options.exec.is_some()
    }

    /// Delivers an event, if it was selected.
    pub(super) fn deliver(&mut self, event: &Event) -> Result<DeliveryOutcome, Failure> {
        let Options { events, form, .. } = self.options;
        let is_wanted = if events.is_empty() {
            match form {
                OutputFormat::Data => !OWN_NAMES.contains(&&*event.name),
                // What tells of the connection is not printed. The other events about the stream
                // show whether the output is complete.
                OutputFormat::Json => !["expired", "heartbeat", "place"].contains(&&*event.name),
            }
        } else {
            events.contains(&event.name)
        };
        if !is_wanted {
            return Ok(DeliveryOutcome::NotWanted);
        }
        let mut line = match form {
            OutputFormat::Data => event.data.clone().into_bytes(),
            OutputFormat::Json => json(event),
        };
        line.push(b'\n');
        if let Some((program, arguments)) = &self.options.exec {
            let mut command = Command::new(program);
            command.args(arguments);
            self.run(command, event, &line)?;
            return Ok(DeliveryOutcome::Yes);
        }
        self.printed.append(&mut line);
        if self.printed.len() > BUFFER_BYTES {
            return self.flush();
        }
        Ok(DeliveryOutcome::Yes)
    }

    /// Writes the events that were printed.
    pub(super) fn flush(&mut self) -> Result<DeliveryOutcome, Failure> {
        let mut stdout = io::stdout().lock();
        let written = stdout
            .write_all(&self.printed)
            .and_then(|()| stdout.flush());
        self.printed.clear();
        match written {
            Ok(()) => Ok(DeliveryOutcome::Yes),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(DeliveryOutcome::ReaderLeft),
            Err(error) => {
                let text = format!("write to stdout: {error}");
                Err(Failure::new(Exit::System, text))
            }
        }
    }

    /// Runs the command and waits for its end.
    fn run(&self, mut command: Command, event: &Event, line: &[u8]) -> Result<(), Failure> {
        // An environment variable ends at a NUL, and an event name may contain one.
        command
            .env("SSE_EVENT", event.name.replace('\0', ""))
            .env("SSE_ID", event.id.replace('\0', ""))
            .stdin(Stdio::piped());
        let program = Path::new(command.get_program()).display().to_string();
        let status = command.spawn().and_then(|child| feed(child, line));
        let trouble = match status {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => format!("{program}: {status}"),
            Err(error) => format!("{program}: {error}"),
        };
        match self.options.on_failure {
            OnFailure::End => Err(Failure::new(Exit::CommandFailed, trouble)),
            OnFailure::GoOn => {
                note("sse-cat", &trouble);
                Ok(())
            }
        }
    }
}

/// Writes a command's input and waits for its end. The command need not read its input.
fn feed(mut child: Child, line: &[u8]) -> io::Result<std::process::ExitStatus> {
    let fed = match child.stdin.take() {
        Some(mut stdin) => stdin.write_all(line),
        None => Ok(()),
    };
    let status = child.wait()?;
    match fed {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
        _ => Ok(status),
    }
}

/// `{"id":…,"event":…,"data":…}`. The data is text; a reader parses JSON in it.
fn json(event: &Event) -> Vec<u8> {
    let mut line = Vec::with_capacity(event.data.len() + 64);
    let mut serializer = serde_json::Serializer::new(&mut line);
    let mut write = || {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("id", &*event.id)?;
        map.serialize_entry("event", &event.name)?;
        map.serialize_entry("data", &event.data)?;
        map.end()
    };
    write().expect("text always becomes JSON, and memory takes it");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_of_json() {
        let event = Event {
            id: "1".into(),
            name: "a\"b".into(),
            data: "x\n\u{2028}\0ž".into(),
        };
        let expected = "{\"id\":\"1\",\"event\":\"a\\\"b\",\"data\":\"x\\n\u{2028}\\u0000ž\"}";
        assert_eq!(json(&event), expected.as_bytes());
    }
}

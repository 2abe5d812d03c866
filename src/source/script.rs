//! Script: timed events from a JSON Lines file.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::path::Path;

use super::lines::reserved;
use super::record::{JsonLine, text_of};
use super::{
    CLOCK_SKEW_MS, Next, Now, OpenError, Opened, Opening, Source, Stream, digits, moment,
    resume_point,
};
use crate::event::{Batch, Event, EventId, EventName, Gap, Reason};
use crate::request::{SettingError, duration};

/// The stream `script`.
pub static STREAM: Stream = Stream {
    name: "script",
    summary: "timed events from a JSON Lines script",
    open,
    settings: settings_of!("script"),
    argument: Some("SSE_FILE"),
    shared: None,
};

/// The largest script, in bytes: every stream reads it whole.
const SCRIPT_MAX_BYTES: u64 = 4 << 20;

/// How many missed times of one `every` line are sent later. Missed events with `after` are all
/// sent, however long ago they were due.
const MISSED_BEATS_MAX: u64 = 1_000;

/// The shortest `every`, in milliseconds, as for `SSE_INTERVAL`.
const EVERY_MIN_MS: u64 = 10;

/// Plays a script. A line `{"after":"3s","event":…,"data":…}` is sent once, three seconds after the
/// stream's start. A line `{"every":"3s",…}` is repeated, the first time after three seconds (or
/// after its `after`, if it has one too).
///
/// Events that are due together are sent in the order of their lines. The stream ends with `close`:
/// after an event of that name, or after the last line if none repeats.
///
/// An id is `<start>-<due>-<line>`: the start of this stream, in milliseconds since 1970; when the
/// event was due after it, in milliseconds; and its line. The last one is `<start>-end`. Any
/// process with the script and the id can resume: missed events are sent at once, the rest when due.
pub struct Script {
    lines: Vec<Line>,
    start_unix_ms: u64,
    /// The last time that was sent.
    position: Beat,
    /// The next time of every line that has one, the earliest on top.
    due: BinaryHeap<Reverse<Beat>>,
}

/// One line of the script.
struct Line {
    after_ms: u64,
    every_ms: Option<u64>,
    event: Option<EventName<'static>>,
    data: Vec<u8>,
    retry_ms: Option<u64>,
    comment: Option<Vec<u8>>,
    is_event: bool,
}

/// A time at which a line of the script is due. Lines count from 1, so `Beat { due_ms: 0, line:
/// 0 }` precedes all of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Beat {
    due_ms: u64,
    line: usize,
}

enum Point {
    Sent { start_unix_ms: u64, beat: Beat },
    End,
}

fn parse_id(id: &str) -> Option<Point> {
    let (start, rest) = id.split_once('-')?;
    let start_unix_ms = digits(start)?;
    if rest == "end" {
        return Some(Point::End);
    }
    let (due, line) = rest.split_once('-')?;
    let beat = Beat {
        due_ms: digits(due)?,
        line: usize::try_from(digits(line)?).ok()?,
    };
    Some(Point::Sent {
        start_unix_ms,
        beat,
    })
}

fn open(opening: &Opening<'_>) -> Result<Opened, OpenError> {
    let path = opening.settings.required_file()?;
    let lines = load(opening, &path)?;
    let (point, mut gap) = resume_point(&opening.request.last_id, parse_id);
    let now_unix_ms = opening.now.unix_ms;
    let mut start_unix_ms = now_unix_ms;
    let mut position = Beat { due_ms: 0, line: 0 };
    match point {
        Some(Point::End) => return Ok(Opened::Finished),
        Some(Point::Sent {
            start_unix_ms: start,
            beat,
            // An event is due before it is sent: a position in the future was not issued by
            // this server, and would delay everything until then.
        }) if start.saturating_add(beat.due_ms) <= now_unix_ms + CLOCK_SKEW_MS
            && beat.line <= lines.len() =>
        {
            start_unix_ms = start;
            position = beat;
        }
        Some(Point::Sent { .. }) => gap = Some(Gap::new(Reason::UnknownId)),
        None => {}
    }
    let elapsed_ms = now_unix_ms.saturating_sub(start_unix_ms);
    let (script, expired) = Script::new(lines, start_unix_ms, position, elapsed_ms);
    if expired {
        gap = gap.or(Some(Gap::new(Reason::Expired)));
    }
    Ok(Opened::Stream(Box::new(script), gap))
}

fn load(opening: &Opening<'_>, path: &Path) -> Result<Vec<Line>, OpenError> {
    let wrong =
        |remedy: String| SettingError::new("SSE_FILE", path.as_os_str().as_encoded_bytes(), remedy);
    let bytes = match opening.host.read(path, SCRIPT_MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(error) => {
            let remedy = format!("{error}; name a script of JSON lines that this user can read");
            return Err(match error.kind() {
                // It is not a regular file, or it is too long.
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => wrong(remedy).into(),
                // It may be about to be replaced: a 500 would end the client's stream
                // permanently.
                _ => OpenError::Temporary(wrong(remedy).to_string()),
            });
        }
    };
    let text = String::from_utf8_lossy(&bytes);
    // Notepad's byte order mark is not part of the first line.
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(&text);
    let mut lines = Vec::new();
    for (index, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let number = index + 1;
        let mut parsed =
            parse_line(line).map_err(|problem| wrong(format!("line {number}: {problem}")))?;
        if let Some(name) = parsed.event.take_if(|name| may_not_name(name)) {
            let problem = format!("line {number}: {}", reserved(&name));
            opening.host.warn(&wrong(problem).to_string());
        }
        lines.push(parsed);
    }
    Ok(lines)
}

/// Whether a script must not use this name: `close` ends a script, and the other reserved names
/// have no meaning in one.
fn may_not_name(name: &EventName<'_>) -> bool {
    name.is_reserved() && *name != EventName::CLOSE
}

fn parse_line(line: &str) -> Result<Line, String> {
    let record = JsonLine::parse(line).map_err(|error| {
        format!("{error}; write one JSON object, such as {{\"after\":\"3s\",\"data\":\"x\"}}")
    })?;
    let time = |name: &str, text: &Option<Cow<'_, [u8]>>| {
        let Some(text) = text else { return Ok(None) };
        let parsed = std::str::from_utf8(text).ok().and_then(duration);
        parsed.map(|d| Some(d.as_millis() as u64)).ok_or_else(|| {
            format!(
                "{name}: not a duration; write a whole number and ms, s, m or h, such as \"3s\""
            )
        })
    };
    let after_ms = time("after", &record.after)?;
    let every_ms = time("every", &record.every)?.map(|ms| ms.max(EVERY_MIN_MS));
    let first_ms = after_ms.or(every_ms);
    let mut parsed = Line {
        after_ms: first_ms.ok_or(
            "neither after nor every; write when the event is due, such as \"after\":\"3s\"",
        )?,
        every_ms,
        event: None,
        data: line.into(),
        retry_ms: None,
        comment: None,
        is_event: true,
    };
    // Foreign JSON is the data as a whole; its fields are not interpreted.
    if !record.is_foreign_in_script() {
        parsed.is_event = record.is_event();
        parsed.event = record.event.map(EventName::into_owned);
        let has_only_a_name =
            record.data.is_none() && parsed.event.as_ref().is_some_and(may_not_name);
        if !has_only_a_name {
            parsed.data = record.data.map(text_of).unwrap_or_default().into_owned();
        }
        parsed.retry_ms = record.retry_ms;
        parsed.comment = record.comment.map(Cow::into_owned);
    }
    Ok(parsed)
}

impl Script {
    /// The second value is whether times were skipped because there were too many.
    fn new(lines: Vec<Line>, start_unix_ms: u64, position: Beat, elapsed_ms: u64) -> (Self, bool) {
        let mut expired = false;
        let mut due = BinaryHeap::new();
        for (index, line) in lines.iter().enumerate() {
            let first = Beat {
                due_ms: line.after_ms,
                line: index + 1,
            };
            let Some(mut beat) = line.beat_after(first, position) else {
                continue;
            };
            if let Some(every_ms) = line.every_ms {
                let missed = elapsed_ms.saturating_sub(beat.due_ms) / every_ms;
                if missed > MISSED_BEATS_MAX {
                    expired = true;
                    beat.due_ms += (missed - MISSED_BEATS_MAX) * every_ms;
                }
            }
            due.push(Reverse(beat));
        }
        (
            Self {
                lines,
                start_unix_ms,
                position,
                due,
            },
            expired,
        )
    }

    fn id(&self, position: impl std::fmt::Display) -> Option<EventId<'static>> {
        EventId::new(format!("{}-{position}", self.start_unix_ms)).ok()
    }
}

impl Line {
    /// The line's first time after `position`.
    fn beat_after(&self, first: Beat, position: Beat) -> Option<Beat> {
        if first > position {
            return Some(first);
        }
        let every_ms = self.every_ms?;
        let beats = (position.due_ms - first.due_ms) / every_ms;
        let candidate = Beat {
            due_ms: first.due_ms + beats * every_ms,
            ..first
        };
        if candidate > position {
            return Some(candidate);
        }
        Some(Beat {
            due_ms: candidate.due_ms.checked_add(every_ms)?,
            ..first
        })
    }
}

impl Source for Script {
    fn poll(&mut self, now: Now, out: &mut Batch) -> Next {
        while let Some(&Reverse(beat)) = self.due.peek() {
            let due_unix_ms = self.start_unix_ms.saturating_add(beat.due_ms);
            if due_unix_ms > now.unix_ms {
                return Next::At(moment(now, due_unix_ms));
            }
            if out.is_full() {
                return Next::More;
            }
            self.due.pop();
            self.position = beat;
            let id = self.position();
            let line = &self.lines[beat.line - 1];
            if let Some(every_ms) = line.every_ms {
                if let Some(due_ms) = beat.due_ms.checked_add(every_ms) {
                    self.due.push(Reverse(Beat { due_ms, ..beat }));
                }
            }
            if let Some(comment) = &line.comment {
                out.comment(comment);
            }
            if let Some(retry_ms) = line.retry_ms {
                out.retry(retry_ms);
            }
            if !line.is_event {
                continue;
            }
            let ends = line.event.as_ref() == Some(&EventName::CLOSE);
            let id = if ends { self.id("end") } else { id };
            out.event(&Event {
                id,
                name: line.event.clone(),
                data: &line.data,
            });
            if ends {
                return Next::End;
            }
        }
        out.close(self.id("end"));
        Next::End
    }

    fn position(&self) -> Option<EventId<'static>> {
        self.id(format_args!(
            "{}-{}",
            self.position.due_ms, self.position.line
        ))
    }
}

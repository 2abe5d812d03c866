//! A program's output, line by line, then `close` with its exit code.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::lines::LineEncoding;
use super::{Changes, Next, Now, OpenError, Opened, Opening, Source, Stream, digits, resume_point};
use crate::event::{Batch, Event, EventId, EventName, Gap, Reason};
use crate::request::{CommandSharing, Format, Method, Request, SettingError, Settings};

/// The stream `command`.
pub static STREAM: Stream = Stream {
    name: "command",
    summary: "a program's output, line by line",
    open,
    settings: settings_of!("command"),
    argument: Some("SSE_COMMAND"),
    shared: Some(shared),
};

/// A running program. `store` implements it; dropping it ends the program and everything that
/// it has started.
pub trait Process {
    /// Reports that it has written something or has ended; `None` (the default) if nothing
    /// does.
    fn changes(&self) -> Option<Rc<dyn Changes>> {
        None
    }

    /// Reads its standard output; returns 0 at the end.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing now.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Its exit code, or 128 plus the number of the signal that ended it; `None` while it runs.
    fn exit_code(&mut self) -> Option<i32>;
}

/// How soon the exit code of a program that has closed its output is checked again: most are
/// about to end. The interval doubles each time, up to the second value.
const EXIT_CHECK_INTERVAL: (Duration, Duration) =
    (Duration::from_millis(1), Duration::from_millis(100));

/// The size of one read, in bytes.
const READ_BYTES: usize = 16 * 1024;

/// Events for the lines of a program's output.
///
/// An id is `<start>-<n>`: the time at which the program was started, in milliseconds since
/// 1970, and the number of the line; the last one is `<start>-end`. The output is not stored
/// and cannot be read again. So a client that reconnects gets a `gap`, and the output of
/// another run, or of the shared one if the program is shared.
///
/// The stream ends when the program has ended and its output is closed, which a process that it
/// left in the background may keep open.
pub struct Command {
    /// `None` after the end: dropping it ends whatever still runs.
    process: Option<Box<dyn Process>>,
    /// It must be shared before it emits anything, or other subscribers would start another
    /// run.
    is_to_be_shared: bool,
    check_after: Duration,
    start_unix_ms: u64,
    lines: u64,
    encoding: LineEncoding,
    max_line_bytes: usize,
    /// The beginning of a line whose end has not been read.
    held_back: Vec<u8>,
    /// How many bytes of that line were omitted.
    left_out_bytes: u64,
    /// Output that was read and did not fit into the last batch.
    unread: Vec<u8>,
    /// How many bytes may still be read.
    output_left_bytes: u64,
    ends_at: Duration,
}

/// A program is shared if its location says so.
fn shared(settings: &Settings, _: &Request) -> Option<Vec<u8>> {
    match settings.command_sharing {
        CommandSharing::Alone => None,
        CommandSharing::Shared => Some(vec![settings.format.unwrap_or(Format::Lines) as u8]),
    }
}

enum Point {
    Line,
    End,
}

fn parse(id: &str) -> Option<Point> {
    let (start, line) = id.split_once('-')?;
    digits(start)?;
    match line {
        "end" => Some(Point::End),
        _ => digits(line).map(|_| Point::Line),
    }
}

fn open(opening: &Opening<'_>) -> Result<Opened, OpenError> {
    let settings = opening.settings;
    if settings.command.is_empty() {
        let remedy = "not set; set SSE_COMMAND to the program that is to run, and its arguments";
        return Err(SettingError::new("SSE_COMMAND", b"", remedy).into());
    }
    let (point, mut gap) = resume_point(&opening.request.last_id, parse);
    match point {
        Some(Point::End) => return Ok(Opened::Finished),
        Some(Point::Line) => gap = Some(Gap::new(Reason::UnknownId)),
        None => {}
    }
    if opening.request.method == Method::Head {
        let start = EventId::new(format!("{}-0", opening.now.unix_ms)).ok();
        return start.map_or(Err(OpenError::NotFound), |start| {
            Ok(Opened::Stream(Box::new(AttachingSource(start)), gap))
        });
    }
    if let Some(live) = opening.live {
        return Ok(Opened::Stream(Box::new(AttachingSource(live.clone())), gap));
    }
    let process = opening.host.start(&settings.command).map_err(|error| {
        let name = &settings.command[0];
        match error.kind() {
            io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::ArgumentListTooLong
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::InvalidData => {
                let remedy = format!("{error}; name a program that this user can run");
                SettingError::new("SSE_COMMAND", name.as_bytes(), remedy).into()
            }
            _ => OpenError::Temporary(format!("SSE_COMMAND={name}: {error}")),
        }
    })?;
    let host = Rc::clone(opening.host);
    let program = settings.command[0].clone();
    let format = settings.format.unwrap_or(Format::Lines);
    let encoding = LineEncoding::new(settings, format, move |problem| {
        host.warn(&format!("SSE_COMMAND={program}: {problem}"));
    });
    Ok(Opened::Stream(
        Box::new(Command::new(process, encoding, settings, opening.now)),
        gap,
    ))
}

impl Command {
    fn new(
        process: Box<dyn Process>,
        encoding: LineEncoding,
        settings: &Settings,
        now: Now,
    ) -> Self {
        Self {
            process: Some(process),
            is_to_be_shared: settings.command_sharing == CommandSharing::Shared,
            check_after: EXIT_CHECK_INTERVAL.0,
            start_unix_ms: now.unix_ms,
            lines: 0,
            encoding,
            max_line_bytes: settings.max_line_bytes,
            held_back: Vec::new(),
            left_out_bytes: 0,
            unread: Vec::new(),
            output_left_bytes: settings.command_output_bytes,
            ends_at: now.monotonic + settings.command_timeout,
        }
    }

    fn take(&mut self, bytes: &[u8], out: &mut Batch) {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            if out.is_full() {
                self.unread = rest.to_vec();
                return;
            }
            self.hold_back(&rest[..end]);
            self.emit(out);
            rest = &rest[end + 1..];
        }
        self.hold_back(rest);
    }

    fn hold_back(&mut self, bytes: &[u8]) {
        let room = self.max_line_bytes - self.held_back.len().min(self.max_line_bytes);
        let kept = room.min(bytes.len());
        self.held_back.extend_from_slice(&bytes[..kept]);
        self.left_out_bytes += (bytes.len() - kept) as u64;
    }

    /// Appends the line that was held back.
    fn emit(&mut self, out: &mut Batch) {
        let mut line = std::mem::take(&mut self.held_back);
        if self.left_out_bytes > 0 {
            let kept = whole_characters(&line);
            self.left_out_bytes += (line.len() - kept) as u64;
            line.truncate(kept);
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        self.lines += 1;
        self.encoding.record(&line, self.position(), out);
        if self.left_out_bytes > 0 {
            let gap = Gap::of(Reason::Cut, self.left_out_bytes);
            out.gap(&gap, self.position());
            self.left_out_bytes = 0;
        }
        line.clear();
        self.held_back = line;
    }

    fn close(&mut self, reason: &str, out: &mut Batch) -> Next {
        for line in std::mem::take(&mut self.unread).split_inclusive(|&b| b == b'\n') {
            self.hold_back(line.strip_suffix(b"\n").unwrap_or(line));
            if line.ends_with(b"\n") {
                self.emit(out);
            }
        }
        if !self.held_back.is_empty() {
            self.emit(out);
        }
        self.process = None;
        out.event(&Event {
            id: EventId::new(format!("{}-end", self.start_unix_ms)).ok(),
            name: Some(EventName::CLOSE),
            data: reason.as_bytes(),
        });
        Next::End
    }
}

/// The length of the whole characters in a text that was cut.
fn whole_characters(text: &[u8]) -> usize {
    match std::str::from_utf8(text) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => text.len(),
    }
}

impl Source for Command {
    fn poll(&mut self, now: Now, out: &mut Batch) -> Next {
        if std::mem::take(&mut self.is_to_be_shared) {
            return Next::At(now.monotonic);
        }
        if self.process.is_none() {
            return Next::End;
        }
        if now.monotonic >= self.ends_at {
            return self.close("timeout", out);
        }
        let unread = std::mem::take(&mut self.unread);
        self.take(&unread, out);
        let mut buffer = [0; READ_BYTES];
        while !out.is_full() {
            let Some(process) = &mut self.process else {
                return Next::End;
            };
            match process.read(&mut buffer) {
                Ok(0) => {
                    if let Some(code) = process.exit_code() {
                        return self.close(&code.to_string(), out);
                    }
                    let at = now.monotonic + self.check_after;
                    self.check_after = (2 * self.check_after).min(EXIT_CHECK_INTERVAL.1);
                    return Next::At(self.ends_at.min(at));
                }
                Ok(count) => {
                    let taken = (count as u64).min(self.output_left_bytes);
                    self.take(&buffer[..taken as usize], out);
                    self.output_left_bytes -= taken;
                    if taken < count as u64 {
                        return self.close("too much output", out);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Next::At(self.ends_at);
                }
                Err(error) => return self.close(&error.to_string(), out),
            }
        }
        Next::More
    }

    fn position(&self) -> Option<EventId<'static>> {
        let last = if self.process.is_none() {
            "end".to_owned()
        } else {
            self.lines.to_string()
        };
        EventId::new(format!("{}-{last}", self.start_unix_ms)).ok()
    }

    fn can_go_back(&self) -> bool {
        false
    }

    fn changes(&self) -> Option<Rc<dyn Changes>> {
        self.process.as_ref()?.changes()
    }

    fn rest(&mut self) {
        self.held_back.shrink_to_fit();
    }
}

/// Emits nothing. It has the position of a shared program until its subscriber attaches to the
/// channel; or it stands for the program in the response to a HEAD request.
struct AttachingSource(EventId<'static>);

impl Source for AttachingSource {
    fn poll(&mut self, _: Now, _: &mut Batch) -> Next {
        Next::Change
    }

    fn position(&self) -> Option<EventId<'static>> {
        Some(self.0.clone())
    }

    fn can_go_back(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Lifetime, MetaVariables};
    use std::collections::VecDeque;

    /// Reads these in order, one at each read, then ends.
    struct Prints {
        lines: VecDeque<&'static [u8]>,
        code: i32,
    }

    impl Process for Prints {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.lines.pop_front() {
                Some(b"") => Err(io::ErrorKind::WouldBlock.into()),
                Some(bytes) => {
                    buffer[..bytes.len()].copy_from_slice(bytes);
                    Ok(bytes.len())
                }
                None => Ok(0),
            }
        }

        fn exit_code(&mut self) -> Option<i32> {
            Some(self.code)
        }
    }

    fn command(process: impl Process + 'static, settings: &Settings, now: Now) -> Command {
        let format = settings.format.unwrap_or(Format::Lines);
        let encoding = LineEncoding::new(settings, format, |_| {});
        Command::new(Box::new(process), encoding, settings, now)
    }

    fn check(settings: &[(&str, &str)], lines: &[&'static [u8]], code: i32, expected: &str) {
        let meta = MetaVariables::of(settings);
        let settings = Settings::parse(&meta, Lifetime::Unlimited).unwrap().0;
        let now = Now {
            monotonic: Duration::ZERO,
            unix_ms: 7,
        };
        let process = Prints {
            lines: lines.iter().copied().collect(),
            code,
        };
        let mut command = command(process, &settings, now);
        let mut out = Batch::new();
        while command.poll(now, &mut out) != Next::End {}
        let text = String::from_utf8(out.as_bytes().to_vec()).unwrap();
        assert_eq!(text, expected);
    }

    #[test]
    fn lines_are_events_and_the_end_contains_the_exit_code() {
        check(
            &[],
            &[b"one\ntw", b"", b"o\r\n", b"three"],
            3,
            "id: 7-1\ndata: one\n\nid: 7-2\ndata: two\n\nid: 7-3\ndata: three\n\n\
             id: 7-end\nevent: close\ndata: 3\n\n",
        );
    }

    #[test]
    fn json_lines_describe_the_events() {
        check(
            &[("SSE_FORMAT", "jsonl")],
            &[b"{\"event\":\"piece\",\"data\":\"a\"}\nno\n\n"],
            0,
            "id: 7-1\nevent: piece\ndata: a\n\nid: 7-2\nevent: invalid\ndata: no\n\n\
             id: 7-end\nevent: close\ndata: 0\n\n",
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_between_two_characters() {
        check(
            &[("SSE_MAX_LINE", "16")],
            &["0123456789abcdeé!\n".as_bytes()],
            0,
            "id: 7-1\ndata: 0123456789abcde\n\n\
             id: 7-1\nevent: gap\ndata: {\"reason\":\"cut\",\"bytes\":3}\n\n\
             id: 7-end\nevent: close\ndata: 0\n\n",
        );
    }

    #[test]
    fn more_output_than_permitted_ends_it() {
        check(
            &[("SSE_COMMAND_OUTPUT", "4")],
            &[b"1\n2\n3\n"],
            0,
            "id: 7-1\ndata: 1\n\nid: 7-2\ndata: 2\n\n\
             id: 7-end\nevent: close\ndata: too much output\n\n",
        );
    }

    #[test]
    fn a_client_s_size_limit_is_exceeded_by_at_most_one_event() {
        let meta = MetaVariables::of(&[]);
        let settings = Settings::parse(&meta, Lifetime::Unlimited).unwrap().0;
        let now = Now {
            monotonic: Duration::ZERO,
            unix_ms: 7,
        };
        let process = Prints {
            lines: VecDeque::from([b"1\n2\n3\n4".as_slice(), b"5\n6".as_slice()]),
            code: 0,
        };
        let mut command = command(process, &settings, now);
        let mut text = String::new();
        for expected in ["1", "2", "3", "45", "6"] {
            let mut out = Batch::new();
            out.limit(0);
            let next = command.poll(now, &mut out);
            text = String::from_utf8(out.as_bytes().to_vec()).unwrap();
            assert!(text.contains(&format!("data: {expected}\n\n")), "{text}");
            assert_eq!(next == Next::End, expected == "6", "{expected}");
        }
        let last = "id: 7-5\ndata: 6\n\nid: 7-end\nevent: close\ndata: 0\n\n";
        assert_eq!(text, last);
    }

    /// A program that has closed its output, and ends at this number of checks.
    struct Lingers(u32);

    impl Process for Lingers {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Ok(0)
        }

        fn exit_code(&mut self) -> Option<i32> {
            self.0 = self.0.saturating_sub(1);
            (self.0 == 0).then_some(0)
        }
    }

    #[test]
    fn a_program_that_closed_its_output_is_checked_soon_and_then_less_and_less_often() {
        let settings = Settings::parse(&MetaVariables::of(&[]), Lifetime::Unlimited);
        let mut now = Now {
            monotonic: Duration::ZERO,
            unix_ms: 7,
        };
        let mut command = command(Lingers(10), &settings.unwrap().0, now);
        let mut out = Batch::new();
        let mut pauses_ms = Vec::new();
        while let Next::At(at) = command.poll(now, &mut out) {
            pauses_ms.push((at - now.monotonic).as_millis());
            now.monotonic = at;
        }
        assert_eq!(pauses_ms, [1, 2, 4, 8, 16, 32, 64, 100, 100]);
        assert_eq!(command.poll(now, &mut out), Next::End);
    }

    #[test]
    fn a_shared_program_emits_nothing_before_it_is_attached() {
        let meta = MetaVariables::of(&[("SSE_COMMAND_SHARED", "yes")]);
        let settings = Settings::parse(&meta, Lifetime::Unlimited).unwrap().0;
        let now = Now {
            monotonic: Duration::ZERO,
            unix_ms: 7,
        };
        let process = Prints {
            lines: VecDeque::from([b"one\n".as_slice()]),
            code: 0,
        };
        let mut command = command(process, &settings, now);
        let mut out = Batch::new();
        assert_eq!(command.poll(now, &mut out), Next::At(now.monotonic));
        assert!(out.is_empty());
        assert_eq!(command.poll(now, &mut out), Next::End);
        assert_eq!(out.events(), 2);
    }
}

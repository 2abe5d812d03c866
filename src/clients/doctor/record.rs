//! Record: what arrived on a stream, and when.

use std::sync::Arc;
use std::time::Duration;

use super::super::cat::parser::{Item, Parser};

/// The most pieces and events that are remembered; of later ones only the numbers are.
const KEPT_MAX: usize = 10_000;

/// So much of an event's data is remembered, to find a published text in it.
const DATA_KEPT_BYTES: usize = 512;

/// What one read returned. `at` counts from the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) at: Duration,
    pub(super) bytes: usize,
    pub(super) events: usize,
    pub(super) comments: usize,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SeenEvent {
    pub(super) at: Duration,
    pub(super) id: Arc<str>,
    pub(super) name: String,
    /// The beginning of its data.
    pub(super) data: String,
    /// When the server made it, in its own clock: the `epoch_ms` of the stream `clock`.
    pub(super) made_ms: Option<u64>,
}

/// Everything that arrived.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) pieces: Vec<Piece>,
    pub(super) events: Vec<SeenEvent>,
    /// All events, also those that are not remembered.
    pub(super) event_count: u64,
    pub(super) comment_count: u64,
    pub(super) byte_count: u64,
    pub(super) retry: Option<Duration>,
    /// Lines whose field is unknown, which a browser ignores.
    pub(super) unknown_lines: u64,
    /// The first line of an HTML page within the stream.
    pub(super) html: Option<String>,
    /// When the last bytes before that page arrived.
    pub(super) before_html: Option<Duration>,
    pub(super) has_bom: bool,
    /// Lines that are not UTF-8.
    pub(super) bad_text_lines: u64,
    /// The bytes that arrived last end an event or a line, so that nothing is cut.
    pub(super) ends_at_line_end: bool,
    /// The last line before the end of what arrived.
    pub(super) last_line: String,
    /// An event, or an id, that exceeds the limits of the parser.
    pub(super) is_too_long: bool,
    parser: Parser,
    line: Vec<u8>,
    is_after_first_line: bool,
    is_after_cr: bool,
}

/// So much of a line is looked at.
const LINE_KEPT_BYTES: usize = 200;

impl Record {
    /// Takes the next bytes of the body.
    pub(super) fn take(&mut self, at: Duration, bytes: &[u8]) {
        let mut items = Vec::new();
        self.is_too_long |= self.parser.feed(bytes, &mut items).is_err();
        let (events_before, comments_before) = (self.event_count, self.comment_count);
        self.look_at_lines(bytes);
        for item in items {
            match item {
                Item::Event(event) => {
                    self.event_count += 1;
                    if self.events.len() < KEPT_MAX {
                        let made_ms = made_ms(&event.data);
                        self.events.push(SeenEvent {
                            at,
                            id: event.id,
                            name: event.name,
                            data: start_of(&event.data, DATA_KEPT_BYTES).to_owned(),
                            made_ms,
                        });
                    }
                }
                Item::Retry(retry) => self.retry = Some(retry),
                Item::LongId(_) => self.is_too_long = true,
                Item::Position(_) => {}
            }
        }
        self.byte_count += bytes.len() as u64;
        if self.pieces.len() < KEPT_MAX {
            let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
            self.pieces.push(Piece {
                at,
                bytes: bytes.len(),
                events: count(self.event_count - events_before),
                comments: count(self.comment_count - comments_before),
            });
        }
    }

    fn look_at_lines(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'\n' if self.is_after_cr => {}
                b'\n' | b'\r' => self.end_line(),
                _ if self.line.len() < LINE_KEPT_BYTES => self.line.push(byte),
                _ => {}
            }
            self.is_after_cr = byte == b'\r';
        }
        self.ends_at_line_end = self.line.is_empty();
    }

    fn end_line(&mut self) {
        let mut line = std::mem::take(&mut self.line);
        if !std::mem::replace(&mut self.is_after_first_line, true)
            && line.starts_with("\u{FEFF}".as_bytes())
        {
            self.has_bom = true;
            line.drain(..3);
        }
        // (A line that was cut at the limit may end within a character.)
        if line.len() < LINE_KEPT_BYTES && std::str::from_utf8(&line).is_err() {
            self.bad_text_lines += 1;
        }
        let text = String::from_utf8_lossy(&line).into_owned();
        let field = text.split(':').next().unwrap_or_default();
        if text.starts_with(':') {
            self.comment_count += 1;
        } else if !text.is_empty() && !["data", "event", "id", "retry"].contains(&field) {
            self.unknown_lines += 1;
            let lower = text.trim_start().to_ascii_lowercase();
            if self.html.is_none() && (lower.starts_with("<!doctype") || lower.starts_with("<html"))
            {
                self.html = Some(text.clone());
                self.before_html = self.pieces.last().map(|piece| piece.at);
            }
        }
        if !text.is_empty() {
            self.last_line = text;
        }
    }

    /// When the last bytes arrived.
    pub(super) fn last_at(&self) -> Option<Duration> {
        self.pieces.last().map(|piece| piece.at)
    }

    /// The longest time between two reads, and when it began.
    pub(super) fn longest_silence(&self) -> Option<(Duration, Duration)> {
        let pairs = self.pieces.windows(2);
        pairs
            .map(|pair| (pair[1].at - pair[0].at, pair[0].at))
            .max()
    }

    /// Whether an event of this name has arrived.
    pub(super) fn has_event(&self, name: &str) -> bool {
        self.events.iter().any(|event| event.name == name)
    }
}

/// The beginning of a text, cut between characters.
fn start_of(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn made_ms(data: &str) -> Option<u64> {
    let value: serde_json::Value = serde_json::from_str(data).ok()?;
    value.get("epoch_ms")?.as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(pieces: &[(u64, &str)]) -> Record {
        let mut record = Record::default();
        for (ms, text) in pieces {
            record.take(Duration::from_millis(*ms), text.as_bytes());
        }
        record
    }

    #[test]
    fn a_piece_counts_the_events_and_comments_that_it_completes() {
        let record = record(&[
            (1, ":open\nretry: 2000\n"),
            (2, "id: 7\ndata: {\"epoch_ms\":5}\n"),
            (900, "\ndata: x\n\n:\n"),
        ]);
        let counts: Vec<_> = record
            .pieces
            .iter()
            .map(|p| (p.events, p.comments))
            .collect();
        assert_eq!(counts, [(0, 1), (0, 0), (2, 1)]);
        assert_eq!(record.retry, Some(Duration::from_secs(2)));
        assert_eq!(record.events[0].made_ms, Some(5));
        assert_eq!(&*record.events[1].id, "7");
        assert_eq!(
            record.longest_silence(),
            Some((Duration::from_millis(898), Duration::from_millis(2)))
        );
        assert!(record.ends_at_line_end && record.last_line == ":");
    }

    #[test]
    fn what_is_no_stream_is_seen() {
        let record = record(&[(1, "\u{FEFF}data: a\r\n\r\n<!DOCTYPE HTML><p>")]);
        assert!(record.has_bom && record.html.is_none() && !record.ends_at_line_end);
        let record = self::record(&[(1, "<!DOCTYPE HTML>\n<title>500</title>\n")]);
        assert_eq!(record.html.as_deref(), Some("<!DOCTYPE HTML>"));
        let mut record = Record::default();
        record.take(Duration::ZERO, b"data: \xff\n");
        assert_eq!(record.bad_text_lines, 1);
    }

    #[test]
    fn a_long_run_takes_no_more_memory() {
        let mut record = Record::default();
        for _ in 0..KEPT_MAX + 5 {
            record.take(Duration::ZERO, b"data: x\n\n");
        }
        assert_eq!(
            (record.events.len(), record.pieces.len()),
            (KEPT_MAX, KEPT_MAX)
        );
        assert_eq!(record.event_count, KEPT_MAX as u64 + 5);
    }
}

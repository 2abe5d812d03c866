//! The text of one event (WHATWG HTML §9.2.5).

use super::{EventId, EventName};
use memchr::{memchr2, memchr3};

/// One event, borrowed from the buffer that contains its bytes.
///
/// ```
/// use sse_cgi::event::{Event, EventId, EventName};
/// let mut wire = Vec::new();
/// Event {
///     id: Some(EventId::new("7").unwrap()),
///     name: Some(EventName::new("arrival").unwrap()),
///     data: b"two\nlines",
/// }
/// .encode(&mut wire);
/// assert_eq!(wire, b"id: 7\nevent: arrival\ndata: two\ndata: lines\n\n");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The id that the client sends back when it reconnects.
    pub id: Option<EventId<'a>>,
    /// The event's name; `None` is dispatched as `message`.
    pub name: Option<EventName<'a>>,
    /// Any bytes. CR, LF and CRLF each end a line and arrive as LF. Bad UTF-8 is replaced by
    /// U+FFFD, and then NUL is removed.
    pub data: &'a [u8],
}

impl Event<'_> {
    /// The usual number of bytes for an id, a name and the field names, used to reserve memory.
    const USUAL_FIELDS_BYTES: usize = 96;

    /// Appends the event to `out`: `id:`, `event:`, one `data:` per line, and the blank line.
    /// There is always a `data:` line, since browsers ignore an event that has none.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.data.len() + Self::USUAL_FIELDS_BYTES);
        if let Some(id) = &self.id {
            out.extend_from_slice(b"id: ");
            out.extend_from_slice(id.as_bytes());
            out.push(b'\n');
        }
        if let Some(name) = &self.name {
            out.extend_from_slice(b"event: ");
            out.extend_from_slice(name.as_str().as_bytes());
            out.push(b'\n');
        }
        data_lines(self.data, out);
        out.push(b'\n');
    }
}

/// Appends one `data:` line for each line of `data`.
fn data_lines(data: &[u8], out: &mut Vec<u8>) {
    if plain_line(data, out) {
        return;
    }
    let mut rest = data;
    while let Some(end) = memchr2(b'\r', b'\n', rest) {
        data_line(&rest[..end], out);
        let crlf = rest[end] == b'\r' && rest.get(end + 1) == Some(&b'\n');
        rest = &rest[end + 1 + usize::from(crlf)..];
    }
    data_line(rest, out);
}

/// Appends `data` unchanged if it is one line of ASCII text, as most log lines are; returns
/// whether it was. One pass without a branch for each byte, during the copy, is much cheaper
/// than to search for line ends, then for NUL, then for bad UTF-8.
fn plain_line(data: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    out.extend_from_slice(b"data: ");
    let mut is_plain = !data.is_empty();
    out.extend(data.iter().map(|&byte| {
        is_plain &= is_text(byte);
        byte
    }));
    if is_plain {
        out.push(b'\n');
    } else {
        out.truncate(start);
    }
    is_plain
}

/// Whether the byte is neither a line end nor NUL nor part of a multi-byte character.
fn is_text(byte: u8) -> bool {
    (byte.wrapping_sub(0x0E) < 0x72) | (byte == b'\t')
}

fn data_line(line: &[u8], out: &mut Vec<u8>) {
    if line.is_empty() {
        out.extend_from_slice(b"data:\n");
        return;
    }
    // The parser removes this space, so a space at the start of the line itself is kept.
    out.extend_from_slice(b"data: ");
    clean_text(line, out);
    out.push(b'\n');
}

/// Appends `bytes` as UTF-8 without NUL. The order matters: if NUL were removed first, the two
/// parts of a broken character could be joined.
fn clean_text(bytes: &[u8], out: &mut Vec<u8>) {
    if memchr::memchr(0, bytes).is_none() && std::str::from_utf8(bytes).is_ok() {
        out.extend_from_slice(bytes);
        return;
    }
    for chunk in bytes.utf8_chunks() {
        out.extend(chunk.valid().bytes().filter(|&b| b != 0));
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{FFFD}".as_bytes());
        }
    }
}

/// Appends a comment: lines that begin with a colon. No blank line follows, since some clients
/// dispatch an event at every blank line.
pub(super) fn comment(text: &[u8], out: &mut Vec<u8>) {
    if !text.is_empty() && text.iter().all(|&byte| is_text(byte)) {
        out.extend_from_slice(b": ");
        out.extend_from_slice(text);
        out.push(b'\n');
        return;
    }
    let mut rest = text;
    loop {
        let end = memchr3(b'\r', b'\n', 0, rest);
        let line = &rest[..end.unwrap_or(rest.len())];
        out.push(b':');
        if !line.is_empty() {
            out.push(b' ');
            clean_text(line, out);
        }
        out.push(b'\n');
        match end {
            Some(end) => rest = &rest[end + 1..],
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(data: &[u8], expected: &str) {
        let mut out = Vec::new();
        Event {
            id: None,
            name: None,
            data,
        }
        .encode(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn every_kind_of_line_end_ends_a_line() {
        check(b"a", "data: a\n\n");
        check(b"a\nb\rc\r\nd", "data: a\ndata: b\ndata: c\ndata: d\n\n");
        check(b"\r\n", "data:\ndata:\n\n");
        check(b"\n\r", "data:\ndata:\ndata:\n\n");
    }

    #[test]
    fn what_looks_odd_but_ends_no_line_is_left_alone() {
        check(b"\t \x0E\x1B[1m~\x7F", "data: \t \x0E\x1B[1m~\x7F\n\n");
        check(b"a\x0Bb\x0Cc\x08", "data: a\x0Bb\x0Cc\x08\n\n");
        let long = "x".repeat(70) + "\u{E9}";
        check(long.as_bytes(), &format!("data: {long}\n\n"));
    }

    #[test]
    fn an_event_without_data_still_has_a_data_line() {
        check(b"", "data:\n\n");
    }

    #[test]
    fn a_leading_space_and_a_colon_survive() {
        check(b" x", "data:  x\n\n");
        check(b":x", "data: :x\n\n");
    }

    #[test]
    fn bad_utf8_is_replaced_before_nul_is_removed() {
        check(b"a\xFFb", "data: a\u{FFFD}b\n\n");
        check(b"a\0b", "data: ab\n\n");
        // C3 00 A9: if NUL were removed first, the result would be an é that is not in the
        // input.
        check(b"\xC3\0\xA9", "data: \u{FFFD}\u{FFFD}\n\n");
        check(b"\xE2\x82", "data: \u{FFFD}\n\n");
    }

    #[test]
    fn a_comment_stays_a_comment() {
        let mut out = Vec::new();
        comment(b"a\nevent: x\0data: y", &mut out);
        assert_eq!(out, b": a\n: event: x\n: data: y\n");
    }
}

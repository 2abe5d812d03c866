//! The head of a response (RFC 9112 §4).

use crate::request::{Head, Status};

/// What becomes of the connection, as the head of a response says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Persistence {
    /// `Connection: close`.
    Close,
    /// Nothing has to be said in HTTP/1.1.
    Keep,
    /// `Connection: keep-alive`, for HTTP/1.0.
    KeepAndSay,
}

/// Whether a response with this status has content, though it may be empty (RFC 9110 §6.4.1).
pub(super) fn has_content(status: Status) -> bool {
    status != Status::NoContent
}

/// The bytes of a head. `date` is the value of `Date`; `length_bytes` is said unless the head
/// says it.
pub(super) fn write(
    head: &Head,
    date: &str,
    length_bytes: Option<usize>,
    persistence: Persistence,
) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {}\r\nDate: {date}\r\n", head.status.as_str());
    for (name, value) in &head.fields {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    let says_length = (head.fields.iter()).any(|(name, _)| *name == "Content-Length");
    if let Some(length) = length_bytes {
        if !says_length {
            text.push_str(&format!("Content-Length: {length}\r\n"));
        }
    }
    text.push_str(match persistence {
        Persistence::Close => "Connection: close\r\n\r\n",
        Persistence::Keep => "\r\n",
        Persistence::KeepAndSay => "Connection: keep-alive\r\n\r\n",
    });
    text.into_bytes()
}

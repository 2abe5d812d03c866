//! Query: the fields of a query that a stream uses.

mod redact;

use std::borrow::Cow;

use super::nick::Nick;
use super::selection::StreamsAsked;
use super::status_page::StatusFormat;

pub use redact::redacted;

/// What a client requests in the query. Most fields are those of widespread polyfills.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Bytes of comment that the client wants to receive first: `evs_preamble=N` (amvtek), at most
    /// [`Query::PREAMBLE_MAX_BYTES`], or `padding=true` (Yaffle), which means
    /// [`Query::PADDING_BYTES`].
    pub preamble_bytes: usize,
    /// `evs_buffer_size_limit=N`: the client keeps the whole response in memory and wants it to
    /// end at an event boundary after this many bytes.
    pub size_limit_bytes: Option<u64>,
    /// `filter=…`, used only with `SSE_ALLOW_FILTER=yes`.
    pub filter: Option<Vec<u8>>,
    /// `format=json` or `format=prometheus`, for a status page.
    pub figures: Option<StatusFormat>,
    /// `heartbeat=event`: the heartbeat is an event, which a page can see.
    pub heartbeat: Heartbeat,
    /// `nick=…`: the name that a member of a room chooses.
    pub nick: Option<Nick>,
    /// `s=NAME` and `as=field`: which of several streams, and how their events show it.
    pub streams: StreamsAsked,
}

/// What is sent when a stream has been silent for `SSE_HEARTBEAT`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Heartbeat {
    /// A comment, which no client shows to its page.
    #[default]
    Comment,
    /// The event `heartbeat`: when the stream opens, and then after each `SSE_HEARTBEAT`
    /// without an event. A page that misses it knows that the connection is lost.
    Event,
}

impl Query {
    /// The largest preamble that a client can request, in bytes.
    pub const PREAMBLE_MAX_BYTES: usize = 4096;
    /// The size of `padding=true`: old browser engines process nothing before 2 kB.
    pub const PADDING_BYTES: usize = 2048;

    /// Reads a query string (`application/x-www-form-urlencoded`, WHATWG URL §5.1).
    /// Unknown and malformed fields are ignored.
    #[must_use]
    pub fn parse(query: &[u8]) -> Self {
        let mut parsed = Self::default();
        for (name, value) in fields(query) {
            match &*name {
                b"padding" if &*value == b"true" => {
                    parsed.preamble_bytes = parsed.preamble_bytes.max(Self::PADDING_BYTES);
                }
                b"evs_preamble" => {
                    let wanted = number(&value)
                        .unwrap_or(0)
                        .min(Self::PREAMBLE_MAX_BYTES as u64);
                    parsed.preamble_bytes = parsed.preamble_bytes.max(wanted as usize);
                }
                b"evs_buffer_size_limit" => parsed.size_limit_bytes = number(&value),
                b"format" if &*value == b"json" => parsed.figures = Some(StatusFormat::Json),
                b"format" if &*value == b"prometheus" => {
                    parsed.figures = Some(StatusFormat::Prometheus);
                }
                b"filter" if !value.is_empty() => parsed.filter = Some(value.into_owned()),
                b"heartbeat" if &*value == b"event" => parsed.heartbeat = Heartbeat::Event,
                b"s" => parsed.streams.add(&value),
                b"as" => parsed.streams.label(&value),
                b"nick" => parsed.nick = Nick::cleaned(&String::from_utf8_lossy(&value)),
                _ => {}
            }
        }
        parsed
    }
}

/// A plain decimal number; one that is too large becomes the largest.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0u64, |n, d| {
        n.saturating_mul(10).saturating_add(u64::from(d - b'0'))
    }))
}

/// The fields of a query as bytes, percent-decoded, with `+` as a space.
///
/// form_urlencoded turns bad UTF-8 into U+FFFD, which no id or number contains, so nothing
/// relevant is lost.
pub(crate) fn fields(query: &[u8]) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    fn bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
        match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        }
    }
    form_urlencoded::parse(query).map(|(name, value)| (bytes(name), bytes(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, preamble_bytes: usize, size_limit_bytes: Option<u64>) {
        let got = Query::parse(query.as_bytes());
        assert_eq!(
            (got.preamble_bytes, got.size_limit_bytes),
            (preamble_bytes, size_limit_bytes)
        );
    }

    #[test]
    fn what_the_polyfills_ask_for_is_bounded() {
        check("", 0, None);
        check("padding=true", 2048, None);
        check("padding=yes", 0, None);
        check(
            "evs_preamble=2056&evs_buffer_size_limit=262144",
            2056,
            Some(262_144),
        );
        check("evs_preamble=99999999999999999999999", 4096, None);
        check("heartbeat=event&padding=true", 2048, None);
        check("evs_preamble=-1&evs_buffer_size_limit=x", 0, None);
    }
}

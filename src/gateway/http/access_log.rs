//! Access: the line of the access log about one response.
//!
//! What a client sent is escaped when its request is received, and cut to a length. So a line is
//! shorter than 4096 bytes, which a pipe takes whole (PIPE_BUF), and a stream that is open for
//! weeks keeps a few hundred bytes for it.

use core::fmt::Write as _;
use core::time::Duration;

use chrono::{DateTime, FixedOffset, SecondsFormat, Utc};
use serde_json::json;

use crate::request::{MetaVariables, redacted};

/// The longest target, in bytes of its escaped form.
const TARGET_MAX_BYTES: usize = 1500;

/// The longest value of another field.
const VALUE_MAX_BYTES: usize = 600;

/// The longest method, version or address.
const WORD_MAX_BYTES: usize = 64;

/// What stands for the rest of a longer text.
const CUT: &str = "...";

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessFormat {
    /// Apache's `combined`, and the seconds from the request to the end of the response.
    Combined,
    /// An object.
    Json,
}

impl AccessFormat {
    /// Reads the name of a format.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "combined" => Some(Self::Combined),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// When a request was received.
#[derive(Clone, Copy, Debug)]
pub struct ReceivedAt {
    /// In milliseconds since 1970.
    pub unix_ms: u64,
    /// How far local time is ahead of UTC.
    pub offset_seconds: i32,
}

/// A request in the access log: its line, without what the response adds.
#[derive(Clone, Debug)]
pub struct AccessRequest {
    format: AccessFormat,
    /// What precedes the status, and what follows the duration.
    text: Box<str>,
    split_at: u16,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub struct AccessResponse<'a> {
    /// The status code.
    pub status: u16,
    /// How many bytes of the body the kernel has accepted.
    pub body_bytes: u64,
    /// From the request to the end of the response.
    pub took: Duration,
    /// The stream that it was.
    pub stream: Option<AccessStream<'a>>,
}

/// A stream that has ended.
#[derive(Clone, Copy, Debug)]
pub struct AccessStream<'a> {
    /// The name of the stream.
    pub name: &'a str,
    /// How many events were sent.
    pub events: u64,
    /// Why it ended.
    pub reason: &'a str,
}

/// The texts of a request.
struct Parts<'a> {
    client: &'a [u8],
    /// The request line as one text.
    line: &'a [u8],
    method: &'a [u8],
    target: &'a [u8],
    protocol: &'a [u8],
    host: &'a [u8],
    referer: &'a [u8],
    user_agent: &'a [u8],
}

impl AccessRequest {
    /// The request of these meta-variables.
    #[must_use]
    pub fn of(format: AccessFormat, meta: &MetaVariables, at: ReceivedAt) -> Self {
        let value = |name: &str| meta.get(name).last().unwrap_or_default();
        let method = value("REQUEST_METHOD");
        let target = redacted(value("REQUEST_URI"));
        let protocol = value("SERVER_PROTOCOL");
        let parts = Parts {
            client: value("REMOTE_ADDR"),
            line: &[method, &target, protocol].join(&b' '),
            method,
            target: &target,
            protocol,
            host: value("HTTP_HOST"),
            referer: &redacted(value("HTTP_REFERER")),
            user_agent: value("HTTP_USER_AGENT"),
        };
        Self::new(format, &parts, at)
    }

    /// A request that was rejected: of its head, only the first line counts, which may be
    /// incomplete.
    #[must_use]
    pub fn rejected(format: AccessFormat, client: &str, line: &[u8], at: ReceivedAt) -> Self {
        let line = redacted(line.trim_ascii_end());
        let (method, rest) = split_at_space(&line);
        let (target, protocol) = match rest.iter().rposition(|b| *b == b' ') {
            Some(space) if rest[space + 1..].starts_with(b"HTTP/") => {
                (&rest[..space], &rest[space + 1..])
            }
            _ => (rest, &b""[..]),
        };
        let parts = Parts {
            client: client.as_bytes(),
            line: &line,
            method,
            target,
            protocol,
            host: b"",
            referer: b"",
            user_agent: b"",
        };
        Self::new(format, &parts, at)
    }

    fn new(format: AccessFormat, parts: &Parts<'_>, at: ReceivedAt) -> Self {
        let (mut text, after) = match format {
            AccessFormat::Combined => combined(parts, at),
            AccessFormat::Json => as_json(parts, at),
        };
        // Both are shorter than 4096 bytes.
        let split_at = u16::try_from(text.len()).unwrap_or_default();
        text.push_str(&after);
        Self {
            format,
            text: text.into(),
            split_at,
        }
    }

    /// The line, with its end.
    #[must_use]
    pub fn line(&self, response: &AccessResponse<'_>) -> String {
        let (before, after) = self.text.split_at(self.split_at.into());
        let AccessResponse {
            status, body_bytes, ..
        } = response;
        let (seconds, ms) = (response.took.as_secs(), response.took.subsec_millis());
        match self.format {
            AccessFormat::Combined => {
                let bytes = match body_bytes {
                    0 => "-".to_owned(),
                    bytes => bytes.to_string(),
                };
                format!("{before}{status} {bytes}{after} {seconds}.{ms:03}\n")
            }
            AccessFormat::Json => {
                let stream = response.stream.map_or(String::new(), |stream| {
                    let (name, end) = (json!(stream.name), json!(stream.reason));
                    format!(
                        ",\"stream\":{name},\"events\":{},\"end\":{end}",
                        stream.events
                    )
                });
                format!(
                    "{before}\"status\":{status},\"bytes\":{body_bytes},\
                     \"seconds\":{seconds}.{ms:03}{after}{stream}}}\n"
                )
            }
        }
    }
}

fn split_at_space(line: &[u8]) -> (&[u8], &[u8]) {
    match line.iter().position(|b| *b == b' ') {
        Some(space) => (&line[..space], &line[space + 1..]),
        None => (line, b""),
    }
}

fn moment(at: ReceivedAt) -> DateTime<Utc> {
    let unix_ms = i64::try_from(at.unix_ms).unwrap_or_default();
    DateTime::from_timestamp_millis(unix_ms).unwrap_or_default()
}

fn combined(parts: &Parts<'_>, at: ReceivedAt) -> (String, String) {
    let zone = FixedOffset::east_opt(at.offset_seconds);
    let time = moment(at);
    let time = match zone {
        Some(zone) => time
            .with_timezone(&zone)
            .format("%d/%b/%Y:%H:%M:%S %z")
            .to_string(),
        None => time.format("%d/%b/%Y:%H:%M:%S +0000").to_string(),
    };
    let before = format!(
        "{} - - [{time}] \"{}\" ",
        escaped(parts.client, WORD_MAX_BYTES),
        escaped(parts.line, TARGET_MAX_BYTES),
    );
    let after = format!(
        " \"{}\" \"{}\"",
        escaped(parts.referer, VALUE_MAX_BYTES),
        escaped(parts.user_agent, VALUE_MAX_BYTES),
    );
    (before, after)
}

/// As Apache writes it: `\"`, `\\`, `\n` and the like, `\xhh` for any other byte that is no
/// visible ASCII; `-` for nothing.
fn escaped(bytes: &[u8], most: usize) -> String {
    if bytes.is_empty() {
        return "-".into();
    }
    let mut text = String::new();
    for &byte in bytes {
        let before = text.len();
        match byte {
            b'"' | b'\\' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            b' '..=b'~' => text.push(char::from(byte)),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            _ => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
        if text.len() > most {
            text.truncate(before);
            text.push_str(CUT);
            break;
        }
    }
    text
}

fn as_json(parts: &Parts<'_>, at: ReceivedAt) -> (String, String) {
    let time = moment(at).to_rfc3339_opts(SecondsFormat::Millis, true);
    let before = format!(
        "{{\"time\":{},\"client\":{},\"method\":{},\"target\":{},\"protocol\":{},",
        json!(time),
        quoted(parts.client, WORD_MAX_BYTES),
        quoted(parts.method, WORD_MAX_BYTES),
        quoted(parts.target, TARGET_MAX_BYTES),
        quoted(parts.protocol, WORD_MAX_BYTES),
    );
    let after = format!(
        ",\"host\":{},\"referer\":{},\"user_agent\":{}",
        quoted(parts.host, VALUE_MAX_BYTES / 2),
        quoted(parts.referer, VALUE_MAX_BYTES),
        quoted(parts.user_agent, VALUE_MAX_BYTES),
    );
    (before, after)
}

/// A JSON string of at most so many bytes; `null` for nothing. A byte that is no UTF-8 becomes
/// U+FFFD.
fn quoted(bytes: &[u8], most: usize) -> String {
    if bytes.is_empty() {
        return "null".into();
    }
    let mut text = String::from("\"");
    for c in String::from_utf8_lossy(bytes).chars() {
        let before = text.len();
        match c {
            '"' | '\\' => {
                text.push('\\');
                text.push(c);
            }
            // Also DEL and the controls after it, which a terminal obeys.
            c if c.is_control() => {
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
        if text.len() > most {
            text.truncate(before);
            text.push_str(CUT);
            break;
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: ReceivedAt = ReceivedAt {
        unix_ms: 1_795_941_015_250,
        offset_seconds: 3600,
    };

    const RESPONSE: AccessResponse<'_> = AccessResponse {
        status: 200,
        body_bytes: 1234,
        took: Duration::from_millis(61_005),
        stream: None,
    };

    fn meta() -> MetaVariables {
        MetaVariables::of(&[
            ("REMOTE_ADDR", "192.0.2.1"),
            ("REQUEST_METHOD", "GET"),
            ("REQUEST_URI", "/events/app.log?token=a&x=1"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("HTTP_HOST", "localhost"),
            ("HTTP_REFERER", "http://localhost/?t=secret"),
            ("HTTP_USER_AGENT", "a \"b\" \\ \u{1b}[2J é"),
            ("HTTP_AUTHORIZATION", "Bearer secret"),
            ("HTTP_COOKIE", "secret"),
        ])
    }

    #[test]
    fn a_combined_line_is_apache_s_with_the_seconds_at_its_end() {
        let request = AccessRequest::of(AccessFormat::Combined, &meta(), AT);
        assert_eq!(
            request.line(&RESPONSE),
            "192.0.2.1 - - [29/Nov/2026:09:30:15 +0100] \
             \"GET /events/app.log?token=***&x=1 HTTP/1.1\" 200 1234 \
             \"http://localhost/?t=***\" \"a \\\"b\\\" \\\\ \\x1b[2J \\xc3\\xa9\" 61.005\n"
        );
    }

    #[test]
    fn a_json_line_is_an_object_with_the_same_and_the_stream_s_end() {
        let request = AccessRequest::of(AccessFormat::Json, &meta(), AT);
        let stream = AccessStream {
            name: "tail",
            events: 3,
            reason: "left",
        };
        let response = AccessResponse {
            stream: Some(stream),
            ..RESPONSE
        };
        assert_eq!(
            request.line(&response),
            "{\"time\":\"2026-11-29T08:30:15.250Z\",\"client\":\"192.0.2.1\",\
             \"method\":\"GET\",\"target\":\"/events/app.log?token=***&x=1\",\
             \"protocol\":\"HTTP/1.1\",\"status\":200,\"bytes\":1234,\"seconds\":61.005,\
             \"host\":\"localhost\",\"referer\":\"http://localhost/?t=***\",\
             \"user_agent\":\"a \\\"b\\\" \\\\ \\u001b[2J é\",\
             \"stream\":\"tail\",\"events\":3,\"end\":\"left\"}\n"
        );
    }

    #[test]
    fn a_rejected_request_is_its_first_line() {
        let combined = |line: &[u8]| {
            let request = AccessRequest::rejected(AccessFormat::Combined, "::1", line, AT);
            let response = AccessResponse {
                status: 400,
                body_bytes: 0,
                took: Duration::ZERO,
                stream: None,
            };
            request.line(&response)
        };
        let expected = |line: &str| {
            format!("::1 - - [29/Nov/2026:09:30:15 +0100] \"{line}\" 400 - \"-\" \"-\" 0.000\n")
        };
        assert_eq!(combined(b""), expected("-"));
        assert_eq!(
            combined(b"GET /?t=x HTTP/1.1\r\n"),
            expected("GET /?t=*** HTTP/1.1")
        );
        assert_eq!(
            combined(b"\x16\x03\x01\0"),
            expected("\\x16\\x03\\x01\\x00")
        );
    }

    #[test]
    fn whatever_a_client_sends_a_line_is_one_short_line_and_json_is_json() {
        for byte in 0..=255 {
            let long = vec![byte; 16_000];
            let mut meta = MetaVariables::default();
            for name in [
                "REMOTE_ADDR",
                "REQUEST_METHOD",
                "REQUEST_URI",
                "SERVER_PROTOCOL",
                "HTTP_HOST",
                "HTTP_REFERER",
                "HTTP_USER_AGENT",
            ] {
                meta.push(name, &long);
            }
            for format in [AccessFormat::Combined, AccessFormat::Json] {
                let rejected = AccessRequest::rejected(format, "", &long, AT);
                for request in [AccessRequest::of(format, &meta, AT), rejected] {
                    let line = request.line(&RESPONSE);
                    assert!(line.len() < 4096, "{}", line.len());
                    let text = line.strip_suffix('\n').unwrap();
                    assert!(!text.contains(char::is_control), "{text:?}");
                    if format == AccessFormat::Json {
                        serde_json::from_str::<serde_json::Value>(text).unwrap();
                    }
                }
            }
        }
    }
}

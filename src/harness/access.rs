//! AccessLog: one line of the access log, in the Common Log Format followed by the duration in
//! seconds. It is written to stderr at the end of the response; so, as with Apache, a stream's
//! line appears at its end.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::Instant;

use chrono::{DateTime, Local};

use crate::request::redacted;

/// A request that is being answered.
#[derive(Debug)]
pub struct AccessLog {
    client: IpAddr,
    request_line: String,
    began: DateTime<Local>,
    started: Instant,
}

impl AccessLog {
    pub fn begin(client: IpAddr, request_line: String) -> AccessLog {
        AccessLog {
            client,
            request_line,
            began: Local::now(),
            started: Instant::now(),
        }
    }

    /// `status` is `None` if a program that writes its own head wrote no status line.
    pub fn write(&self, status: Option<u16>, sent_bytes: u64) {
        let seconds = self.started.elapsed().as_secs_f64();
        let mut line = self.line(status, sent_bytes, seconds);
        line.push('\n');
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
    }

    fn line(&self, status: Option<u16>, sent_bytes: u64, seconds: f64) -> String {
        let mut line = format!(
            "{} - - [{}] \"{}\" ",
            self.client,
            self.began.format("%d/%b/%Y:%H:%M:%S %z"),
            printable(&redacted(self.request_line.as_bytes())),
        );
        let written = match status {
            Some(status) => write!(line, "{status} {sent_bytes} {seconds:.3}"),
            None => write!(line, "- {sent_bytes} {seconds:.3}"),
        };
        written.expect("writing to a string cannot fail");
        line
    }
}

/// Text for a terminal, which control characters from a client or a program must not reach.
pub fn printable(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for character in String::from_utf8_lossy(bytes).chars() {
        match character {
            '\t' => shown.push('\t'),
            control if control.is_control() => shown.extend(control.escape_default()),
            plain => shown.push(plain),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeZone;

    #[test]
    fn a_line_is_common_log_format_and_a_duration() {
        let access = AccessLog {
            client: "127.0.0.1".parse().unwrap(),
            request_line: "GET /x HTTP/1.1".to_string(),
            began: Local.timestamp_opt(0, 0).unwrap(),
            started: Instant::now(),
        };
        let time = access.began.format("%d/%b/%Y:%H:%M:%S %z");
        assert_eq!(
            access.line(Some(200), 5, 0.0124),
            format!("127.0.0.1 - - [{time}] \"GET /x HTTP/1.1\" 200 5 0.012"),
        );
        let access = AccessLog {
            request_line: "GET /x?e=1&p=/x&t=00ff HTTP/1.1".to_string(),
            ..access
        };
        let line = access.line(Some(200), 5, 0.0);
        assert!(
            line.contains("\"GET /x?e=1&p=/x&t=*** HTTP/1.1\""),
            "{line}"
        );
        assert!(access.line(None, 0, 1.0).ends_with("\" - 0 1.000"));
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable(b"a\x1b[31m\tb\xff"), "a\\u{1b}[31m\tb\u{fffd}");
    }
}

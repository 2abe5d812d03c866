//! CGI (RFC 3875) and its non-parsed-header form.
//!
//! The same program supports both. If its name begins with `nph-`, the server forwards its
//! bytes unchanged, so it writes the status line and the fields that belong to it (RFC 3875
//! §5). Under any other name it writes a `Status:` field (§6.3.3), and the server does the
//! rest.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::request::{Head, MetaVariables, Status};

/// How the head of a response is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A status line, `Date` and `Connection: close`: `nph-` programs.
    NonParsed,
    /// `Status:`, and the server does the rest.
    Parsed,
    /// No head at all: a terminal or a pipe.
    Bare,
}

impl Framing {
    /// Determines it by how the program was started: without a gateway `Bare`, otherwise by the
    /// base name of `SCRIPT_FILENAME`, of `SCRIPT_NAME`, or of `program`.
    #[must_use]
    pub fn of(meta: &MetaVariables, program: &OsStr) -> Self {
        if !meta.from_gateway() {
            return Self::Bare;
        }
        let script = meta
            .get("SCRIPT_FILENAME")
            .last()
            .or(meta.get("SCRIPT_NAME").last());
        let path = script.map_or(Path::new(program), |name| {
            Path::new(OsStr::from_bytes(name))
        });
        let is_nph = path
            .file_name()
            .is_some_and(|name| name.as_bytes().starts_with(b"nph-"));
        if is_nph {
            Self::NonParsed
        } else {
            Self::Parsed
        }
    }

    /// The bytes of the head, including the blank line. `date` is the value of the `Date` field
    /// (RFC 9110 §6.6.1); a server that parses the head adds its own.
    #[must_use]
    pub fn write(self, head: &Head, date: &str) -> Vec<u8> {
        let mut text = match self {
            Self::Bare => return Vec::new(),
            Self::NonParsed => format!("HTTP/1.1 {}\r\nDate: {date}\r\n", head.status.as_str()),
            Self::Parsed => format!("Status: {}\r\n", head.status.as_str()),
        };
        for (name, value) in &head.fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let tells_its_length = head
            .fields
            .iter()
            .any(|(name, _)| *name == "Content-Length");
        // A stream has no length and ends with its connection; 204 has no body by definition
        // (RFC 9110 §15.3.5).
        if !tells_its_length && !matches!(head.status, Status::Ok | Status::NoContent) {
            text.push_str("Content-Length: 0\r\n");
        }
        if self == Self::NonParsed {
            text.push_str("Connection: close\r\n");
        }
        text.push_str("\r\n");
        text.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&str, &str)], program: &str, expected: Framing) {
        assert_eq!(
            Framing::of(&MetaVariables::of(pairs), OsStr::new(program)),
            expected
        );
    }

    #[test]
    fn the_name_decides_how_the_head_is_written() {
        let gateway = ("GATEWAY_INTERFACE", "CGI/1.1");
        let file = ("SCRIPT_FILENAME", "/cgi-bin/nph-tail.cgi");
        check(&[], "nph-tail", Framing::Bare);
        check(&[gateway, file], "tail", Framing::NonParsed);
        check(
            &[gateway, ("SCRIPT_FILENAME", "/nph-x/tail.cgi")],
            "nph-tail",
            Framing::Parsed,
        );
        check(
            &[gateway, ("SCRIPT_NAME", "/cgi-bin/nph-tail.cgi")],
            "tail",
            Framing::NonParsed,
        );
        check(
            &[gateway],
            "/usr/lib/cgi-bin/nph-tail.cgi",
            Framing::NonParsed,
        );
        check(
            &[gateway, ("SCRIPT_FILENAME", "")],
            "./tail.cgi",
            Framing::Parsed,
        );
    }

    #[test]
    fn a_head_is_whole_for_each_gateway() {
        let date = "Sat, 21 Nov 2026 08:00:00 GMT";
        let write =
            |framing: Framing, head: Head| String::from_utf8(framing.write(&head, date)).unwrap();
        assert_eq!(
            write(Framing::NonParsed, Head::event_stream()),
            "HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 08:00:00 GMT\r\n\
             Content-Type: text/event-stream; charset=utf-8\r\n\
             Cache-Control: no-cache, no-transform\r\n\
             X-Accel-Buffering: no\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(
            write(Framing::Parsed, Head::event_stream()),
            "Status: 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
             Cache-Control: no-cache, no-transform\r\nX-Accel-Buffering: no\r\n\r\n"
        );
        assert_eq!(
            write(
                Framing::Parsed,
                Head::new(Status::MethodNotAllowed).with("Allow", "GET")
            ),
            "Status: 405 Method Not Allowed\r\nAllow: GET\r\nContent-Length: 0\r\n\r\n"
        );
        assert_eq!(
            write(Framing::Parsed, Head::new(Status::NoContent)),
            "Status: 204 No Content\r\n\r\n"
        );
        assert_eq!(write(Framing::Bare, Head::event_stream()), "");
    }
}

//! A web server that speaks FastCGI.
//!
//! It also checks what always holds: records belong to the request, STDOUT is ended once and
//! before END_REQUEST, and nothing follows that.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use fastrand::Rng;

use super::client::{End, Piece};
use super::protocol::Protocol;
use super::request::Request;
use super::wire;

/// One connection.
pub struct FastCgi {
    /// The id of the request that is being served.
    id: u16,
    has_stdout_ended: bool,
}

impl Protocol for FastCgi {
    type Shared = ();

    const PROGRAM: &'static str = env!("CARGO_BIN_EXE_sse-fcgi");

    const HAS_NO_WEB_SERVER: bool = false;

    fn listen(path: &Path) -> [OsString; 2] {
        ["--socket".into(), path.into()]
    }

    fn allows_commands() -> Option<&'static str> {
        Some("--allow-commands")
    }

    fn shared(_: &mut Vec<OsString>, _: &Path, _: PathBuf) {}

    fn started((): &(), _: u32) {}

    fn new((): &()) -> Self {
        Self {
            id: 1,
            has_stdout_ended: false,
        }
    }

    fn head(&mut self, request: &Request, dice: &mut Rng) -> Vec<u8> {
        let params = wire::pairs(&request.params, dice);
        let flags = if request.is_kept { wire::KEEP_CONN } else { 0 };
        let mut bytes = wire::begin(request.id, request.role, flags, dice);
        bytes.extend(wire::stream(wire::PARAMS, request.id, &params, dice));
        bytes
    }

    /// Two bytes on the wire are a hundred in memory.
    fn unfinished_head(dice: &mut Rng) -> Vec<u8> {
        let mut bytes = wire::begin(1, wire::RESPONDER, 0, dice);
        bytes.extend(wire::record(wire::PARAMS, 1, &[0; 3_900], dice));
        bytes
    }

    fn body(&mut self, request: &Request, dice: &mut Rng) -> Vec<u8> {
        wire::stream(wire::STDIN, request.id, &request.body, dice)
    }

    fn piece_of_body(&mut self, content: &[u8], dice: &mut Rng) -> Vec<u8> {
        let mut bytes = Vec::new();
        for piece in content.chunks(0xFFFF) {
            bytes.extend(wire::record(wire::STDIN, self.id, piece, dice));
        }
        bytes
    }

    fn end_of_body(&mut self, dice: &mut Rng) -> Vec<u8> {
        wire::record(wire::STDIN, self.id, b"", dice)
    }

    fn head_as_cgi(head: &str) -> String {
        head.to_owned()
    }

    fn abort(dice: &mut Rng) -> Option<Vec<u8>> {
        Some(wire::record(wire::ABORT_REQUEST, 1, b"", dice))
    }

    fn expect(&mut self, request: &Request) {
        self.id = request.id;
        self.has_stdout_ended = false;
    }

    fn take(&mut self, unread: &mut Vec<u8>) -> Option<Piece> {
        loop {
            let record = wire::take(unread)?;
            if record.id != self.id {
                return Some(Piece::Other(record));
            }
            let content = record.content;
            match record.kind {
                wire::STDOUT if content.is_empty() => {
                    assert!(!self.has_stdout_ended, "STDOUT ends twice");
                    self.has_stdout_ended = true;
                }
                wire::STDOUT => {
                    assert!(!self.has_stdout_ended, "STDOUT goes on after its end");
                    return Some(Piece::Response(content));
                }
                wire::STDERR => return Some(Piece::Log(content)),
                wire::END_REQUEST => {
                    let [a, b, c, d, protocol_status, _, _, _] = content[..] else {
                        panic!("an END_REQUEST of {content:?}");
                    };
                    let app_status = u32::from_be_bytes([a, b, c, d]);
                    assert!(self.has_stdout_ended || protocol_status != 0);
                    return Some(Piece::End(End {
                        app_status,
                        protocol_status,
                    }));
                }
                kind => panic!("a record of type {kind}: {content:?}"),
            }
        }
    }

    fn end_of_input(&mut self) -> Option<End> {
        None
    }

    /// `Status:` with 200 as its default (RFC 3875 §6.3.3).
    fn status(head: &str) -> u16 {
        let line = head.lines().find_map(|line| line.strip_prefix("Status: "));
        line.map_or(200, |line| line[..3].parse().expect("a code"))
    }
}

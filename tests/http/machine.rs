//! A server of one connection around the HTTP machine: what it sees, and what it answers.

use sse_cgi::gateway::After;
use sse_cgi::gateway::http::{Connection, Incoming, Limits, Malformed, Peer};
use sse_cgi::request::{Head, MetaVariables, Status};

pub const DATE: &str = "Sat, 21 Nov 2026 08:00:00 GMT";

/// What the server sees and does. The pieces of a body are joined, since their number is
/// chance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Method, target, and the fields of the head as meta-variables.
    Request(String),
    Body(Vec<u8>),
    BodyEnd,
    /// Status and reason.
    Rejected(String),
    Finished(After),
}

/// When the server answers a request.
#[derive(Clone, Copy, Debug)]
pub enum Answers {
    /// At its head, whatever comes as its body.
    AtHead,
    AtBodyEnd,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub seen: Vec<Seen>,
    /// All that the client gets.
    pub reply: Vec<u8>,
    pub is_incomplete: bool,
    pub end: Result<(), Malformed>,
}

/// Feeds pieces until the connection is to be closed.
pub fn outcome<'a>(
    limits: Limits,
    pieces: impl Iterator<Item = &'a [u8]>,
    answers: Answers,
) -> Outcome {
    let peer = Peer {
        client: Some(([192, 0, 2, 1], 50_000).into()),
        server: Some(([192, 0, 2, 2], 8080).into()),
    };
    let mut connection = Connection::new(limits, peer);
    let mut outcome = Outcome {
        seen: Vec::new(),
        reply: Vec::new(),
        is_incomplete: false,
        end: Ok(()),
    };
    'pieces: for mut input in pieces {
        loop {
            let incoming = match connection.take(&mut input, &mut outcome.reply) {
                Ok(Some(incoming)) => incoming,
                Ok(None) => {
                    assert!(input.is_empty(), "{} bytes are left", input.len());
                    break;
                }
                Err(malformed) => {
                    outcome.end = Err(malformed);
                    break 'pieces;
                }
            };
            let mut finishes = false;
            match incoming {
                Incoming::Request(meta) => {
                    outcome.seen.push(Seen::Request(shown(&meta)));
                    finishes = matches!(answers, Answers::AtHead);
                }
                Incoming::Body(piece) => {
                    assert!(!piece.is_empty());
                    match outcome.seen.last_mut() {
                        Some(Seen::Body(body)) => body.extend_from_slice(piece),
                        _ => outcome.seen.push(Seen::Body(piece.to_vec())),
                    }
                }
                Incoming::BodyEnd => {
                    outcome.seen.push(Seen::BodyEnd);
                    assert!(connection.is_served());
                    finishes = true;
                }
                Incoming::Rejected(rejection) => {
                    let (head, text) = rejection.response();
                    let status = head.status.as_str();
                    let line = format!("{status}: {}", text.trim_end());
                    outcome.seen.push(Seen::Rejected(line));
                    let response = connection.response(&head, DATE, text.as_bytes());
                    outcome.reply.extend(response);
                    assert_eq!(connection.finish(), After::Close);
                    // Whatever follows is not looked at.
                    break 'pieces;
                }
            }
            if finishes {
                let head = Head::new(Status::Ok).with("Content-Type", "text/plain");
                outcome
                    .reply
                    .extend(connection.response(&head, DATE, b"ok"));
                let after = connection.finish();
                outcome.seen.push(Seen::Finished(after));
                if after == After::Close {
                    break 'pieces;
                }
            }
        }
    }
    outcome.is_incomplete = connection.is_incomplete();
    outcome
}

fn shown(meta: &MetaVariables) -> String {
    let mut text = String::new();
    for name in meta.names() {
        let name = std::str::from_utf8(name).expect("a name in ASCII");
        let value = meta.joined(name).unwrap_or_default();
        text.push_str(&format!("{name}={}\n", value.escape_ascii()));
    }
    text
}

/// Pieces of the sizes given, again and again.
fn split<'a>(wire: &'a [u8], sizes: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = wire;
    sizes.iter().cycle().map_while(move |size| {
        let (piece, after) = rest.split_at(rest.len().min(*size));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Feeds `wire` whole, byte by byte and split by `sizes`; all must come to the same, but for
/// `100 Continue`, which is sent to whoever waits for it.
pub fn same_for_all_splits(
    limits: Limits,
    wire: &[u8],
    sizes: &[usize],
    answers: Answers,
) -> Outcome {
    let whole = outcome(limits, std::iter::once(wire), answers);
    let without_continue = |outcome: Outcome| {
        let text = outcome.reply.escape_ascii().to_string();
        let line = b"HTTP/1.1 100 Continue\r\n\r\n".escape_ascii().to_string();
        (
            outcome.seen,
            text.replace(&line, ""),
            outcome.is_incomplete,
            outcome.end,
        )
    };
    let expected = without_continue(whole.clone());
    let bytes = outcome(limits, wire.chunks(1), answers);
    assert_eq!(without_continue(bytes), expected, "byte by byte");
    let pieces = outcome(limits, split(wire, sizes), answers);
    assert_eq!(without_continue(pieces), expected, "{sizes:?}");
    whole
}

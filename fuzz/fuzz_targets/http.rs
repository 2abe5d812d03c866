//! Arbitrary bytes on an HTTP connection, split anywhere: the same requests, the same
//! answers, no second answer to a request, and no panic.
//!
//! The first byte of the input says when a request is answered and whether a PROXY protocol
//! header precedes the first one, the second byte how the rest is split.

#![no_main]
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzz_target;
use sse_cgi::gateway::After;
use sse_cgi::gateway::http::{Connection, Incoming, Limits, Peer};
use sse_cgi::request::{Head, Status};

const LIMITS: Limits = Limits {
    head_bytes: 1000,
    fields: 8,
    unwanted_bytes: 50,
    proxy_header_bytes: 100,
};

#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// One letter for each event, a body's bytes as they are.
    seen: Vec<u8>,
    responses: usize,
    has_ended: bool,
}

fn outcome<'a>(pieces: impl Iterator<Item = &'a [u8]>, choices: u8) -> Outcome {
    let answers_at_head = choices & 1 == 0;
    let mut connection = match choices & 2 == 0 {
        true => Connection::new(LIMITS, Peer::default()),
        false => Connection::behind_proxy(LIMITS, Peer::default()),
    };
    let mut outcome = Outcome::default();
    let (mut requests, mut reply) = (0, Vec::new());
    for mut input in pieces {
        loop {
            let incoming = match connection.take(&mut input, &mut reply) {
                Ok(Some(incoming)) => incoming,
                Ok(None) => break,
                Err(_) => {
                    outcome.has_ended = true;
                    return outcome;
                }
            };
            let mut status = None;
            match incoming {
                Incoming::Request(meta) => {
                    requests += 1;
                    for name in meta.names() {
                        outcome.seen.extend(name);
                    }
                    outcome.seen.extend(meta.joined("REMOTE_ADDR").unwrap_or_default());
                    status = answers_at_head.then_some(Status::Ok);
                }
                Incoming::Body(piece) => {
                    assert!(!piece.is_empty());
                    outcome.seen.extend(piece);
                }
                Incoming::BodyEnd => {
                    outcome.seen.push(b'E');
                    status = Some(Status::Ok);
                }
                Incoming::Rejected(rejection) => {
                    requests += 1;
                    outcome.seen.extend(rejection.to_string().bytes());
                    status = Some(rejection.response().0.status);
                }
            }
            if let Some(status) = status {
                let _ = connection.response(&Head::new(status), "now", b"x");
                outcome.responses += 1;
                assert!(outcome.responses <= requests);
                if connection.finish() == After::Close {
                    outcome.has_ended = true;
                    return outcome;
                }
            }
        }
        assert!(input.is_empty());
    }
    outcome
}

fuzz_target!(|input: &[u8]| {
    let [choices, seed, wire @ ..] = input else {
        return;
    };
    let whole = outcome(std::iter::once(wire), *choices);
    assert_eq!(outcome(wire.chunks(1), *choices), whole);
    let size = usize::from(*seed) + 1;
    assert_eq!(outcome(wire.chunks(size), *choices), whole);
});

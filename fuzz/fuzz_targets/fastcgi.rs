//! Arbitrary bytes on a FastCGI connection, split anywhere: the same events, the same
//! answers, and no panic.
//!
//! The first byte of the input says at which event the request is ended, the second how
//! the rest is split.

#![no_main]
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzz_target;
use sse_cgi::gateway::fastcgi::{Connection, Incoming, Limits, Malformed};

const LIMITS: Limits = Limits {
    params_bytes: 1000,
    pairs: 16,
    connections_max: 1,
};

#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// One letter for each event, a body's bytes as they are.
    seen: Vec<u8>,
    reply: Vec<u8>,
    end: Option<Malformed>,
}

fn outcome<'a>(pieces: impl Iterator<Item = &'a [u8]>, ends_at: u8) -> Outcome {
    let mut connection = Connection::new(LIMITS);
    let mut outcome = Outcome::default();
    // Pieces of a body do not count: their number is chance.
    let mut events = 0;
    for mut input in pieces {
        loop {
            let incoming = match connection.take(&mut input, &mut outcome.reply) {
                Ok(Some(incoming)) => incoming,
                Ok(None) => break,
                Err(malformed) => {
                    outcome.end = Some(malformed);
                    return outcome;
                }
            };
            match incoming {
                Incoming::Stdin(piece) => {
                    assert!(!piece.is_empty());
                    outcome.seen.extend(piece);
                    continue;
                }
                Incoming::Request(meta) => {
                    outcome.seen.push(b'R');
                    for name in meta.names() {
                        outcome.seen.extend(name);
                    }
                    assert!(meta.names().count() <= LIMITS.pairs);
                }
                Incoming::StdinEnd => outcome.seen.push(b'E'),
                Incoming::Abort => outcome.seen.push(b'A'),
                Incoming::Refused(after) => outcome.seen.extend(format!("{after:?}").bytes()),
            }
            if events == ends_at {
                let after = connection.finish(events.into(), &mut outcome.reply);
                outcome.seen.extend(format!("{after:?}").bytes());
            }
            events = (events + 1) % 4;
        }
        assert!(input.is_empty());
    }
    outcome
}

fuzz_target!(|input: &[u8]| {
    let [ends_at, seed, wire @ ..] = input else {
        return;
    };
    let ends_at = ends_at % 5;
    let whole = outcome(std::iter::once(wire), ends_at);
    assert_eq!(outcome(wire.chunks(1), ends_at), whole);
    let size = usize::from(*seed) + 1;
    assert_eq!(outcome(wire.chunks(size), ends_at), whole);
});

//! The memory of the FastCGI state machine, counted by the allocator. It is one test in a
//! process of its own, since other tests would be counted too.

use std::alloc::System;

use cap::Cap;
use sse_cgi::gateway::fastcgi::{Connection, Incoming, Limits, Malformed};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const KIB: usize = 1024;
const BEGIN: &[u8] = b"\x01\x01\x00\x01\x00\x08\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00";
const PARAMS_END: &[u8] = b"\x01\x04\x00\x01\x00\x00\x00\x00";

/// `content` as records of one type for request `id`, of `size` bytes each.
fn records(kind: u8, id: u8, content: &[u8], size: usize) -> Vec<u8> {
    let record = |piece: &[u8]| {
        let [bytes1, bytes0] = u16::try_from(piece.len()).unwrap().to_be_bytes();
        [&[1, kind, 0, id, bytes1, bytes0, 0, 0], piece].concat()
    };
    content.chunks(size).flat_map(record).collect()
}

/// The maximum memory while `wire` is fed in reads of `size` bytes, and the result. A request
/// is dropped by then.
fn peak(wire: &[u8], size: usize) -> (usize, Result<bool, Malformed>) {
    let mut reply = Vec::with_capacity(64 * KIB);
    let before = ALLOCATOR.allocated();
    let (mut peak, mut was_request) = (0, false);
    let mut connection = Connection::new(Limits::default());
    for mut input in wire.chunks(size) {
        loop {
            let taken = connection.take(&mut input, &mut reply);
            peak = peak.max(ALLOCATOR.allocated().saturating_sub(before));
            match taken {
                Ok(None) => break,
                Ok(Some(Incoming::Request(_))) => was_request = true,
                Ok(Some(_)) => {}
                Err(malformed) => return (peak, Err(malformed)),
            }
        }
    }
    (peak, Ok(was_request))
}

#[test]
fn what_is_held_is_bounded_by_the_limits_and_nothing_while_serving() {
    let limits = Limits::default();
    // No memory for lengths that are only announced.
    for lengths in [&b"\x00\xFF\xFF\xFF\xFF"[..], b"\x80\x03\xFF\x00\x00"] {
        let (peak, _) = peak(&[BEGIN, &records(4, 1, lengths, 9)].concat(), 1);
        assert!(peak < KIB, "{peak} for {lengths:x?}");
    }
    // As much as the limits allow, in the worst sizes: one long value in small pieces,
    // two thousand small ones, ten thousand empty ones.
    let length = (limits.params_bytes as u32 - 5) | 0x8000_0000;
    let long = [
        &[0][..],
        &length.to_be_bytes(),
        &vec![b'x'; limits.params_bytes - 5],
    ]
    .concat();
    let small: Vec<u8> = (0..2000)
        .flat_map(|_| [&[1, 120][..], &[b'x'; 121]].concat())
        .collect();
    for (params, expected) in [
        (long, Ok(true)),
        (small, Ok(true)),
        (vec![0; 20_000], Err(Malformed::TooManyPairs(2000))),
    ] {
        for (record, read) in [(65_535, 65_536), (1000, 4096), (7, 1)] {
            let wire = [BEGIN, &records(4, 1, &params, record), PARAMS_END].concat();
            let (peak, end) = peak(&wire, read);
            assert_eq!(end, expected);
            assert!(
                peak < 2 * limits.params_bytes + limits.pairs * 100,
                "{peak}"
            );
        }
    }
    // Ignored and forwarded content is not stored: a body, another request, unknown records.
    let noise = vec![b'x'; 1000 * KIB];
    for (kind, id) in [(5, 1), (4, 2), (5, 2), (8, 1), (99, 0), (10, 0)] {
        let wire = [BEGIN, PARAMS_END, &records(kind, id, &noise, 60_000)].concat();
        let (peak, end) = peak(&wire, 4096);
        assert!(peak < KIB, "{peak} for type {kind} of request {id}");
        assert_eq!(end, Ok(true));
    }
    // A thousand served requests need only the struct.
    let wire = [BEGIN, &records(4, 1, b"\x01\x01A1", 4), PARAMS_END].concat();
    let mut connections: Vec<Connection> = Vec::with_capacity(1000);
    let limits = std::rc::Rc::new(limits);
    let before = ALLOCATOR.allocated();
    for _ in 0..1000 {
        let mut connection = Connection::new(std::rc::Rc::clone(&limits));
        let incoming = connection.take(&mut &wire[..], &mut Vec::new());
        assert!(matches!(incoming, Ok(Some(Incoming::Request(_)))));
        drop(incoming);
        connections.push(connection);
    }
    let held = ALLOCATOR.allocated().saturating_sub(before);
    assert!(held < KIB, "{held} for {} connections", connections.len());
}

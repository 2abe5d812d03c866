//! Some clients stop reading.

use std::time::Duration;

use super::crowd::AtTheEnd;
use super::numbered::Numbered;
use super::site::Site;
use super::steady::Pace;

const CLIENTS: usize = 500;
const STALLED: usize = 20;

/// Long lines, ten at a time: the slow part here is this test's own reading, which is not
/// optimized.
const LINE_BYTES: u64 = 3000;
const BYTES_PER_SECOND: u64 = 600_000;
const WRITES_PER_SECOND: u64 = 20;

/// The buffers between the responder and a client that does not read must be filled in a second
/// or two, instead of seven.
const RECEIVE_BYTES: usize = 64 * 1024;

const PATIENCE: Duration = Duration::from_secs(40);

/// How long they do not read; `SSE_LOAD_STALL_SECONDS=60` is the long run.
fn stall() -> Duration {
    let seconds = std::env::var("SSE_LOAD_STALL_SECONDS").ok();
    Duration::from_secs(seconds.and_then(|text| text.parse().ok()).unwrap_or(10))
}

#[test]
fn twenty_of_500_stop_reading_and_the_others_do_not_notice_nor_does_the_memory() {
    let mut site = Site::start(Numbered::of(LINE_BYTES as usize));
    // A client that is disconnected because it does not read returns.
    let mut crowd = site.crowd(AtTheEnd::Return);
    crowd.open_with(STALLED, None, Some(RECEIVE_BYTES), PATIENCE);
    crowd.open(CLIENTS - STALLED, None, PATIENCE);
    let (stalled, others) = (0..STALLED, STALLED..CLIENTS);
    let pace = Pace::of(BYTES_PER_SECOND, LINE_BYTES, WRITES_PER_SECOND);
    let span = stall();
    let write = |site: &mut Site, lines| site.write(lines);
    let without = pace.keep(
        &mut crowd,
        others.clone(),
        span.min(Duration::from_secs(6)),
        |lines| write(&mut site, lines),
        |_| {},
    );
    crowd.read_until(0..CLIENTS, site.written(), PATIENCE);
    crowd.pause(stalled.clone());
    let before = site.responder().memory_bytes;
    let mut most = before;
    let pid = site.responder_pid();
    let with = pace.keep(
        &mut crowd,
        others.clone(),
        span,
        |lines| write(&mut site, lines),
        |_| most = most.max(super::usage::Usage::of(pid).memory_bytes),
    );
    crowd.read_until(others, site.written(), PATIENCE);
    for client in &crowd.clients[stalled.clone()] {
        assert!(client.next + 300 < site.written(), "it has read on");
    }
    crowd.resume(stalled.clone());
    crowd.read_until(stalled.clone(), site.written(), PATIENCE);
    let goal = site.write(1);
    crowd.read_until(0..CLIENTS, goal, PATIENCE);
    for percentile in [50, 99] {
        let (without, with) = (without.percentile(percentile), with.percentile(percentile));
        let ratio = with.as_secs_f64() / without.as_secs_f64();
        println!("{percentile} of 100: {without:?} without, {with:?} with them: {ratio:.2}");
    }
    let returns: u32 = crowd.clients[stalled]
        .iter()
        .map(|client| client.returns)
        .sum();
    println!("{span:?} of {BYTES_PER_SECOND} bytes a second; {returns} of them had to return");
    let grown = most - before;
    println!("the responder's memory grew by {grown} bytes, at most");
    for (number, client) in crowd.clients.iter().enumerate() {
        assert!(client.others.is_empty(), "client {number}: {client:?}");
        assert!(
            number < STALLED || client.returns == 0,
            "client {number} was let go of"
        );
    }
    // The ring, and for each of them the memory of one batch.
    assert!(grown < 12 << 20, "{grown} bytes");
    // On a machine with other work, only large differences are visible.
    let (without, with) = (without.percentile(50), with.percentile(50));
    let bound = without * 5 + Duration::from_millis(200);
    assert!(with < bound, "{with:?} with them, {without:?} without");
}

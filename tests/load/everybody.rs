//! As many subscribers as there are descriptors for.

use std::time::{Duration, Instant};

use super::crowd::{AtTheEnd, descriptors};
use super::numbered::Numbered;
use super::site::Site;

const SUBSCRIBERS: usize = 9_000;

/// How long they may take to connect, and to receive one line each, on a busy machine.
const OPENING: Duration = Duration::from_secs(60);
const ROUND: Duration = Duration::from_secs(30);

/// The memory of a subscriber in the responder, without the system's memory for its socket.
const MEMORY_BYTES: u64 = 600;

/// Longer than the heartbeats of all clients.
const IDLE: Duration = Duration::from_secs(16);

#[test]
fn every_one_of_9000_gets_every_line_in_order_and_costs_600_bytes_and_no_cpu_while_idle() {
    // nginx needs two for each, and keeps a sixteenth more free.
    let most = (descriptors() - 100) * 16 / 17 / 2;
    let subscribers = SUBSCRIBERS.min(most);
    println!("{subscribers} subscribers; the limit on descriptors allows {most}");
    let mut site = Site::start(Numbered::of(100));
    let mut crowd = site.crowd(AtTheEnd::Fail);
    crowd.open(100, None, OPENING);
    crowd.read_until(0..100, site.written(), ROUND);
    let before = site.responder();
    let started = Instant::now();
    crowd.open(subscribers - 100, None, OPENING);
    println!("opened in {:?}", started.elapsed());
    // One at a time, and many at once.
    for count in [1, 1, 1, 100, 1] {
        let goal = site.write(count);
        let started = Instant::now();
        crowd.read_until(0..subscribers, goal, ROUND);
        println!("{count} lines to all in {:?}", started.elapsed());
    }
    for (number, client) in crowd.clients.iter().enumerate() {
        assert_eq!(client.first, Some(0), "client {number}");
        assert!(client.others.is_empty(), "client {number}: {client:?}");
    }
    // Until it has released the memory of the burst.
    crowd.read_for(Duration::from_secs(1));
    let idle = site.responder();
    let each = idle.memory_bytes.saturating_sub(before.memory_bytes) / (subscribers as u64 - 100);
    println!("{each} bytes of the responder's memory for each");
    let nginx = site.nginx().memory_bytes / subscribers as u64;
    println!("{nginx} bytes of nginx's");
    crowd.read_for(IDLE);
    let spent = site.responder().cpu - idle.cpu;
    println!("{spent:?} of CPU in {IDLE:?} of silence, with a heartbeat of everybody's");
    assert!(each <= MEMORY_BYTES, "{each} bytes for each subscriber");
    assert!(spent < IDLE / 20, "{spent:?} of CPU in {IDLE:?} of silence");
    site.has_logged_no_trouble();
}

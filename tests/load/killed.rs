//! The responder crashes.

use std::time::{Duration, Instant};

use super::crowd::AtTheEnd;
use super::numbered::Numbered;
use super::site::Site;

const CLIENTS: usize = 200;
const CRASHES: u32 = 10;
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn ten_crashes_of_the_responder_lose_and_double_nothing_for_200_clients_that_return() {
    let mut site = Site::start(Numbered::of(100));
    let mut crowd = site.crowd(AtTheEnd::Return);
    crowd.open(CLIENTS, None, PATIENCE);
    for crash in 0..CRASHES {
        // It is killed at any moment: during a request, while it catches up, while it sends.
        let until = Instant::now() + Duration::from_millis(100 + 40 * u64::from(crash));
        while Instant::now() < until {
            site.write(5);
            crowd.turn(Duration::from_millis(2));
        }
        site.kill_responder();
        site.write(100);
        // Some reconnect too early.
        crowd.read_for(Duration::from_millis(50));
        site.start_responder();
    }
    let goal = site.write(1);
    crowd.read_until(0..CLIENTS, goal, PATIENCE);
    let returns: u32 = crowd.clients.iter().map(|client| client.returns).sum();
    let refusals: u32 = crowd.clients.iter().map(|client| client.refusals).sum();
    println!("{goal} lines, {returns} returns, {refusals} of them in vain");
    assert!(returns >= CRASHES * CLIENTS as u32 / 2);
    for (number, client) in crowd.clients.iter().enumerate() {
        assert_eq!(client.first, Some(0), "client {number}");
        assert!(client.others.is_empty(), "client {number}: {client:?}");
    }
}

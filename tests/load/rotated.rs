//! The file rotates.

use std::time::Duration;

use super::crowd::AtTheEnd;
use super::numbered::Numbered;
use super::site::Site;

const LISTENING: usize = 1_000;
const CATCHING_UP: usize = 100;
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_thousand_listen_and_a_hundred_catch_up_while_the_file_rotates_and_nothing_is_lost() {
    let mut site = Site::start(Numbered::of(1000));
    let mut crowd = site.crowd(AtTheEnd::Fail);
    crowd.open(1, None, PATIENCE);
    let start = crowd.clients[0].last_id();
    crowd.open(LISTENING - 1, None, PATIENCE);
    // A megabyte: catching up takes many turns.
    let mut goal = 0;
    for _ in 0..4 {
        goal = site.write(250);
    }
    crowd.read_until(0..LISTENING, goal, PATIENCE);
    let all = LISTENING + CATCHING_UP;
    for number in 1..=4 {
        // These must catch up from the beginning, through every rotation so far.
        crowd.open(CATCHING_UP / 4, Some(&start), PATIENCE);
        for _ in 0..10 {
            site.write(10);
            crowd.turn(Duration::from_millis(1));
        }
        site.rotate(5 - number);
        site.write(1);
        crowd.turn(Duration::from_millis(1));
        site.write(50);
    }
    crowd.read_until(0..all, site.written(), PATIENCE);
    for (number, client) in crowd.clients.iter().enumerate() {
        let first = u64::from(number >= LISTENING);
        assert_eq!(client.first, Some(first), "client {number}");
        assert!(client.others.is_empty(), "client {number}: {client:?}");
    }
    site.has_logged_no_trouble();
}

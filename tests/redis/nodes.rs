//! Two nodes behind nginx, for as long as `SSE_REDIS_SECONDS` says: clients that switch nodes,
//! publishers, connections that are killed, an engine and nodes that are killed and started again.
//!
//! What each client received is the stream, or has a `gap` where it is not; nothing comes twice,
//! and nothing out of order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::request;
use super::support::folder::Folder;
use super::support::random;
use super::support::redis::Redis;
use super::traffic::{
    COMPLETE_WITHIN, KEY, Nginx, Nodes, Publisher, Reader, Way, settings, whole_stream,
};

#[test]
fn clients_of_two_nodes_behind_nginx_receive_the_stream() {
    let folder = Folder::in_memory();
    let mut redis = Redis::start(&folder, &["--appendonly", "yes", "--appendfsync", "always"]);
    let seconds = random::number("SSE_REDIS_SECONDS", 12);
    let readers_number = random::number("SSE_REDIS_READERS", 60) as usize;
    let mut dice = random::random();
    let mut nodes = Nodes::start();
    let request = request(&redis, &folder, KEY)
        .set("SSE_RETRY", "1s")
        .set("SSE_PUBLISH_ALLOW", "anyone");
    let settings = settings(&request);
    let nginx = Nginx::start(&folder, &nodes.sockets(), &settings);
    let first = redis.add(KEY, "first");
    let ends = Arc::new(AtomicBool::new(false));
    let publishers = [
        Publisher::start(0, Way::Nodes(nginx.socket.clone()), &ends),
        Publisher::start(1, Way::Nodes(nginx.socket.clone()), &ends),
        Publisher::start(2, Way::Engine(redis.socket.clone()), &ends),
    ];
    let mut readers: Vec<Reader> = (0..readers_number).map(|_| Reader::new(&first)).collect();
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut engine_returns_at = None;
    while Instant::now() < end {
        // Each of these happens so often, in seconds, at intervals of about 10 ms.
        let mut happens = |every: f64| dice.f64() < 0.01 / every;
        if engine_returns_at.is_none() && happens(1.5) {
            for user in ["reader", "publisher"] {
                redis.run(&["CLIENT", "KILL", "USER", user]);
            }
            *counts.entry("connections killed").or_default() += 1;
        }
        if engine_returns_at.is_none() && happens(6.0) {
            redis.kill();
            let down = Duration::from_millis(dice.u64(0..1500));
            engine_returns_at = Some(Instant::now() + down);
            *counts.entry("engine killed").or_default() += 1;
        }
        if engine_returns_at.is_some_and(|at| Instant::now() >= at) {
            redis.start_again();
            engine_returns_at = None;
        }
        if dice.f64() < 0.01 / 4.0 {
            let down = Duration::from_millis(dice.u64(0..1000));
            if nodes.kill(dice.usize(0..2), down) {
                *counts.entry("node killed").or_default() += 1;
            }
        }
        nodes.go_on(false);
        for reader in &mut readers {
            if reader.stream.is_some() && dice.f64() < 0.01 / 5.0 {
                *counts.entry("switched").or_default() += 1;
                reader.leave(Duration::from_millis(dice.u64(0..300)));
            }
            reader.go_on(&nginx.socket);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    if engine_returns_at.is_some() {
        redis.start_again();
    }
    nodes.go_on(true);
    ends.store(true, Ordering::Relaxed);
    let acknowledged = publishers.map(|publisher| publisher.thread.join().expect("a publisher"));
    let stream = whole_stream(&mut redis);
    let last = *stream.last_key_value().expect("entries").0;
    let late = Instant::now() + COMPLETE_WITHIN;
    loop {
        for reader in &mut readers {
            reader.go_on(&nginx.socket);
        }
        let missing = readers.iter().filter(|reader| !reader.has_last(last));
        let missing = missing.count();
        if missing == 0 {
            break;
        }
        assert!(
            Instant::now() < late,
            "{missing} of {readers_number} readers are not complete: {counts:?}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    for (id, data) in acknowledged.iter().flatten() {
        assert_eq!(stream.get(id), Some(data), "{id:?} was acknowledged");
    }
    let gaps = readers
        .iter()
        .map(|reader| reader.check(&stream, &format!("{counts:?}")))
        .sum::<usize>();
    assert_eq!(gaps, 0, "nothing was lost: {counts:?}");
    let [by_nodes, others, by_xadd] = acknowledged.each_ref().map(Vec::len);
    println!(
        "{by_nodes} + {others} by nodes and {by_xadd} by XADD acknowledged, {} events to {readers_number} readers, {counts:?}",
        stream.len()
    );
}

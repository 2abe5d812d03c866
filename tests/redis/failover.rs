//! Two nodes behind nginx that find Redis by Sentinel, for as long as `SSE_REDIS_SECONDS` says:
//! clients that switch nodes, publishers, failovers that are asked for, a primary that is killed
//! or stopped and returns, connections and nodes that are killed.
//!
//! What each client received is the stream that the last primary has, or has a `gap` where it is
//! not; nothing comes twice without a `gap` between. What a replica had confirmed is there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::sentinel::Service;
use super::support::random;
use super::support::redis::Redis;
use super::support::wait::wait_for;
use super::traffic::{
    COMPLETE_WITHIN, KEY, Nginx, Nodes, Publisher, Reader, Way, settings, whole_stream,
};

/// How long it may take until the servers are one primary and its replica again: a Sentinel waits
/// for 8 s before it makes a primary that has returned a replica.
const WHOLE_WITHIN: Duration = Duration::from_secs(40);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Cause {
    Asked,
    Killed,
    Stopped,
}

/// What is done to the primary, and when it returns from that.
struct Trouble {
    cause: Cause,
    primary: usize,
    returns_at: Option<Instant>,
    /// Whether it is made a replica at once, and not by the Sentinels.
    is_told: bool,
    /// Whether the other one is the primary by now.
    is_replaced: bool,
    since: Instant,
}

impl Trouble {
    /// `None` if the Sentinels refuse a failover now.
    fn start(service: &mut Service, primary: usize, cause: Cause, is_told: bool) -> Option<Self> {
        match cause {
            Cause::Asked if !service.fail_over() => return None,
            Cause::Asked => {}
            Cause::Killed => service.server(primary).kill(),
            Cause::Stopped => signal(service.server(primary), Signal::SIGSTOP),
        }
        Some(Self {
            cause,
            primary,
            returns_at: None,
            is_told,
            is_replaced: false,
            since: Instant::now(),
        })
    }

    /// Goes on; true when there is one primary, and a replica that is connected to it.
    fn go_on(&mut self, service: &mut Service, down: Duration) -> bool {
        let other = 1 - self.primary;
        let is_down = self.cause != Cause::Asked;
        assert!(
            self.since.elapsed() < WHOLE_WITHIN,
            "{:?}: there is no primary with a replica: {}; {}",
            self.cause,
            self.is_replaced,
            role(service.server(other)),
        );
        if self.is_replaced || service.is_named(other) {
            self.is_replaced = true;
            let returns_at = *self.returns_at.get_or_insert_with(|| Instant::now() + down);
            if Instant::now() < returns_at {
                return false;
            }
            if is_down {
                let server = service.server(self.primary);
                match self.cause {
                    Cause::Killed => server.start_again(),
                    _ => signal(server, Signal::SIGCONT),
                }
                self.cause = Cause::Asked;
            }
            if self.is_told {
                service.follow_other(self.primary);
                self.is_told = false;
            }
            let role = role(service.server(self.primary));
            return role.starts_with("slave") && role.contains("\nconnected\n");
        }
        false
    }
}

fn signal(server: &Redis, signal: Signal) {
    kill(Pid::from_raw(server.id() as i32), signal).expect("a process");
}

/// The reply to ROLE.
fn role(server: &mut Redis) -> String {
    // Sentinels close the connections of a server whose role they change.
    wait_for("a role", || {
        let role = server.try_run(&["ROLE"]);
        if role.is_none() {
            server.connect_again();
        }
        role
    })
}

#[test]
fn clients_of_two_nodes_receive_the_stream_over_failovers() {
    let mut service = Service::with(&["--appendonly", "yes"]);
    let seconds = random::number("SSE_REDIS_SECONDS", 8);
    let readers_number = random::number("SSE_REDIS_READERS", 30) as usize;
    let mut dice = random::random();
    let mut nodes = Nodes::start();
    let request = service
        .request()
        .set("SSE_RETRY", "1s")
        .set("SSE_PUBLISH_ALLOW", "anyone");
    let nginx = Nginx::start(&service.folder, &nodes.sockets(), &settings(&request));
    let first = service.first.add(KEY, "first");
    service.first.run(&["WAIT", "1", "0"]);
    let ends = Arc::new(AtomicBool::new(false));
    let publishers = [
        Publisher::start(0, Way::Nodes(nginx.socket.clone()), &ends),
        Publisher::start(1, Way::Replicated(nginx.socket.clone()), &ends),
    ];
    let mut readers: Vec<Reader> = (0..readers_number).map(|_| Reader::new(&first)).collect();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut count = |what: &str| *counts.entry(what.to_owned()).or_default() += 1;
    // Sentinels wait for 6 s between two failovers, unless they are asked.
    let mut causes = [Cause::Killed, Cause::Asked, Cause::Stopped, Cause::Asked];
    causes.rotate_left(2 * dice.usize(0..2));
    let mut turn = 0;
    let mut primary = 0;
    let mut trouble: Option<Trouble> = None;
    let mut next_at = Instant::now() + Duration::from_millis(500);
    let end = Instant::now() + Duration::from_secs(seconds);
    // It ends with a primary and its replica.
    while Instant::now() < end || trouble.is_some() {
        match &mut trouble {
            None if Instant::now() >= next_at => {
                let cause = causes[turn % causes.len()];
                // Only a long run waits for the Sentinels.
                let is_told = seconds < 60 || dice.bool();
                trouble = Trouble::start(&mut service, primary, cause, is_told);
                match &trouble {
                    None => next_at = Instant::now() + Duration::from_millis(200),
                    Some(_) => {
                        turn += 1;
                        count(&format!("{cause:?}"));
                    }
                }
            }
            None if dice.f64() < 0.01 / 1.5 => {
                for user in ["reader", "publisher"] {
                    let kill = ["CLIENT", "KILL", "USER", user];
                    let _ = service.server(primary).try_run(&kill);
                }
                count("connections killed");
            }
            None => {}
            Some(now) => {
                let down = Duration::from_millis(dice.u64(0..1500));
                if now.go_on(&mut service, down) {
                    primary = 1 - now.primary;
                    trouble = None;
                    next_at = Instant::now() + Duration::from_millis(dice.u64(200..1500));
                }
            }
        }
        if dice.f64() < 0.01 / 4.0 {
            let down = Duration::from_millis(dice.u64(0..1000));
            if nodes.kill(dice.usize(0..2), down) {
                count("node killed");
            }
        }
        nodes.go_on(false);
        for reader in &mut readers {
            if reader.stream.is_some() && dice.f64() < 0.01 / 5.0 {
                count("switched");
                reader.leave(Duration::from_millis(dice.u64(0..300)));
            }
            reader.go_on(&nginx.socket);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    nodes.go_on(true);
    ends.store(true, Ordering::Relaxed);
    let acknowledged = publishers.map(|publisher| publisher.thread.join().expect("a publisher"));
    role(service.server(primary));
    let last = service.server(primary).add(KEY, "last");
    service.server(primary).run(&["WAIT", "1", "0"]);
    let stream = whole_stream(service.server(primary));
    let last = super::traffic::id(&last);
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
    let context = format!("{counts:?}");
    let gaps: usize = readers
        .iter()
        .map(|reader| reader.check(&stream, &context))
        .sum();
    let [plain, replicated] = &acknowledged;
    for (id, data) in replicated {
        let own = stream.get(id);
        assert_eq!(
            own,
            Some(data),
            "{id:?} was confirmed by a replica; {context}"
        );
    }
    let is_lost = |(id, data): &&(_, String)| stream.get(id) != Some(data);
    let lost = plain.iter().filter(is_lost).count();
    println!(
        "{} acknowledged, of which {lost} are lost, and {} by a replica too; \
         {} events to {readers_number} readers with {gaps} gaps, {context}",
        plain.len(),
        replicated.len(),
        stream.len()
    );
}

//! Streams without events: heartbeats, ages, and their cost.

use std::time::{Duration, Instant};

use super::peer::{COMPLETE, Client, Folder, Request, Responder, wait_for};
use crate::support::event_stream::Item;

/// Waits for a heartbeat, and returns when it arrived.
fn beat(client: &mut Client) -> Instant {
    loop {
        match client.next() {
            Some(Item::Comment(text)) if text.is_empty() => return Instant::now(),
            Some(Item::Comment(_) | Item::Retry(_) | Item::Blank { .. }) => {}
            other => panic!("no heartbeat but {other:?}"),
        }
    }
}

#[test]
fn heartbeats_count_from_the_last_byte_of_each_subscriber() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "");
    let responder = Responder::start(&folder);
    let request = Request::tail(&file).set("SSE_HEARTBEAT", "1s");
    let at_least = Duration::from_millis(980);
    // Both refer to the same clock, but not at the same time.
    let start = Instant::now();
    let mut early = responder.ask(&request).opened();
    early.is_silent_after_opening_for(Duration::from_millis(500));
    let middle = Instant::now();
    let mut late = responder.ask(&request).opened();
    let first = beat(&mut early);
    assert!(
        (at_least..3 * at_least).contains(&(first - start)),
        "{:?}",
        first - start
    );
    let first_of_late = beat(&mut late);
    assert!(
        first_of_late - middle >= at_least,
        "{:?}",
        first_of_late - middle
    );
    // An event ends the silence for both.
    folder.append("log", "1\n");
    let event = Instant::now();
    for client in [&mut early, &mut late] {
        client.says(&["1"]);
    }
    for client in [&mut early, &mut late] {
        let after = beat(client) - event;
        assert!((at_least..3 * at_least).contains(&after), "{after:?}");
    }
    let again = beat(&mut early) - event;
    assert!(again >= 2 * at_least, "{again:?}");
}

impl Client {
    /// The opening may still be on its way.
    fn is_silent_after_opening_for(&mut self, time: Duration) {
        let Some(Item::Blank { .. }) = self.next() else {
            panic!("no place");
        };
        self.is_silent_for(time);
    }
}

#[test]
fn what_a_filter_held_back_moves_the_id_at_the_next_heartbeat() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "keep 1\n");
    let responder = Responder::start(&folder);
    let request = Request::tail(&file)
        .set("SSE_FILTER", "keep")
        .set("SSE_HEARTBEAT", "1s");
    let mut clients = [0, 1].map(|_| responder.ask(&request));
    for client in &mut clients {
        client.says(&["keep 1"]);
    }
    let before = clients[0].last_id().to_owned();
    folder.append("log", "drop 2\ndrop 3\n");
    let moved = clients.each_mut().map(|client| {
        loop {
            match client.next() {
                Some(Item::Blank { id, dropped: None }) if id != before => return id,
                Some(Item::Comment(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    });
    assert_eq!(moved[0], moved[1]);
    folder.append("log", "keep 4\n");
    for client in &mut clients {
        client.says(&["keep 4"]);
    }
    let mut again = responder.ask(&request.last_id(&moved[0]));
    again.says(&["keep 4"]);
}

#[test]
fn a_stream_that_has_its_age_ends_between_two_events_and_its_client_goes_on() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "");
    let responder = Responder::start(&folder);
    let request = Request::tail(&file)
        .set("SSE_MAX_AGE", "1s")
        .set("SSE_BACKLOG", "1000");
    let mut clients = [0, 1].map(|_| responder.ask(&request).opened());
    let mut said: [Vec<String>; 2] = Default::default();
    let (mut lines, start) = (0, Instant::now());
    let mut ends = 0;
    while ends < 6 {
        assert!(start.elapsed() < Duration::from_secs(15), "{ends} ends");
        folder.append("log", format!("{lines}\n"));
        lines += 1;
        std::thread::sleep(Duration::from_millis(5));
        for (client, said) in clients.iter_mut().zip(&mut said) {
            client.read_some(65_536);
            while let Some(item) = client.ready() {
                if let Item::Event(event) = item {
                    said.push(event.data);
                }
            }
            if client.end.is_some() {
                assert_eq!(client.whole(), COMPLETE);
                ends += 1;
                *client = responder.ask(&request.clone().last_id(client.last_id()));
            }
        }
    }
    for (client, said) in clients.iter_mut().zip(&mut said) {
        while said.len() < lines {
            said.push(client.event().data);
        }
        let all: Vec<String> = (0..lines).map(|n| n.to_string()).collect();
        assert_eq!(*said, all);
    }
}

#[test]
fn idle_subscribers_wake_nobody_but_for_their_heartbeats() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "1\n");
    let responder = Responder::start(&folder);
    let _all: Vec<Client> = (0..500)
        .map(|_| {
            let mut client = responder.ask(&Request::tail(&file));
            client.says(&["1"]);
            client
        })
        .collect();
    // The memory of a burst is released once, after a quiet time.
    let mut last = (0, Instant::now());
    wait_for("a responder that sleeps", || {
        let count = responder.proc_status("voluntary_ctxt_switches");
        if count != last.0 {
            last = (count, Instant::now());
        }
        (last.1.elapsed() > Duration::from_millis(500)).then_some(())
    });
    // (Changes in the folders above cause a poll, and other tests have their folders there.)
    let mut wakes = Vec::new();
    let is_idle = (0..6).any(|_| {
        let before = responder.proc_status("voluntary_ctxt_switches");
        std::thread::sleep(Duration::from_secs(2));
        wakes.push(responder.proc_status("voluntary_ctxt_switches") - before);
        wakes.last().is_some_and(|wakes| *wakes <= 1)
    });
    assert!(is_idle, "every two seconds {wakes:?}");
}

#[test]
fn paths_that_cannot_be_read_cost_no_processor_time() {
    let folder = Folder::in_memory();
    std::os::unix::fs::symlink("absent", folder.path("nowhere")).unwrap();
    folder.write("plain", "x\n");
    let responder = Responder::start(&folder);
    let paths = ["missing", "no/such/folder/log", "nowhere", "plain/log"];
    let mut clients: Vec<Client> = Vec::new();
    for path in paths {
        for _ in 0..3 {
            let request = Request::tail(&folder.path(path));
            clients.push(responder.ask(&request).opened());
        }
    }
    let missing =
        Request::of("tail").set("SSE_ROOT", folder.path("").as_os_str().as_encoded_bytes());
    let missing = missing
        .set("PATH_INFO", "/missing.log")
        .set("SSE_AWAIT", "yes");
    clients.push(responder.ask(&missing).opened());
    // The polls of each path without a notification, at most twice a second.
    let before = responder.proc_status("voluntary_ctxt_switches");
    std::thread::sleep(Duration::from_secs(2));
    let wakes = responder.proc_status("voluntary_ctxt_switches") - before;
    assert!(wakes <= 60, "{wakes}");
    folder.write("missing", "there\n");
    for client in &mut clients[..3] {
        client.says(&["there"]);
    }
}

#[test]
fn an_idle_subscriber_costs_a_few_hundred_bytes() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    // The responder reserves an eighth.
    let count = 5_000.min(most as usize * 3 / 4);
    assert!(count > 500, "raise the limit of descriptors (ulimit -n)");
    let folder = Folder::in_memory();
    let file = folder.write("log", "1\n");
    let responder = Responder::start(&folder);
    let join = |count: usize| -> Vec<Client> {
        let ask = |_| {
            let mut client = responder.ask(&Request::tail(&file));
            client.says(&["1"]);
            client
        };
        (0..count).map(ask).collect()
    };
    // The first ones also pay for shared memory.
    let _first = join(200);
    let before = responder.proc_status("VmRSS");
    let _others = join(count);
    let settled = |limit: u64| {
        wait_for("memory that is given back", || {
            let kilobytes = responder.proc_status("VmRSS").saturating_sub(before);
            (kilobytes * 1024 / count as u64 <= limit).then_some(kilobytes)
        })
    };
    let grown = settled(1_000);
    eprintln!(
        "{} bytes for each of {count} idle subscribers",
        grown * 1024 / count as u64
    );
    folder.append("log", "2\n");
}

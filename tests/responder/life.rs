//! Signals, restarts and crashes.

use std::fs;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::time::{Duration, Instant};

use fastrand::Rng;
use nix::sys::signal::Signal;

use super::peer::{COMPLETE, Client, Crowd, DEADLINE, Folder, Request, Responder, Start, wait_for};
use crate::support::event_stream::Item;

/// The items of a stream that was asked to end: `retry:` is last.
fn farewell(client: &mut Client) -> Vec<Item> {
    let items = client.items();
    let Some(Item::Retry(ms)) = items.last() else {
        panic!("no retry at the end: {:?}", items.last());
    };
    assert!((2_250..=4_500).contains(ms), "{ms}");
    assert_eq!(client.whole(), COMPLETE);
    items
}

#[test]
fn sigterm_ends_every_stream_at_the_end_of_an_event_and_then_the_process() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "1\n");
    let mut responder = Start::at_socket(&folder).argument("--drain=15s").start();
    let mut live = responder.ask(&Request::tail(&file));
    let mut kept = responder.ask(&Request::tail(&file).keep().id(3));
    let mut clock = responder.ask(&Request::of("clock"));
    for client in [&mut live, &mut kept, &mut clock] {
        client.event();
    }
    let mut idle = responder.connect();
    idle.ask(&Request::of("clock").method("HEAD").keep());
    assert_eq!(idle.whole(), COMPLETE);
    let start = Instant::now();
    responder.signal(Signal::SIGTERM);
    for client in [&mut live, &mut clock, &mut kept] {
        farewell(client);
    }
    live.is_closed_soon();
    // Connections that the web server would keep do not keep the process.
    assert_eq!(responder.code(), 0);
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    assert!(!folder.path("socket").exists());
    assert!(responder.try_connect().is_err());
    idle.is_closed_soon();
}

#[test]
fn who_lags_is_ended_at_the_end_of_an_event_too_and_resumes() {
    let folder = Folder::in_memory();
    let lines: String = (0..20_000)
        .map(|n| format!("{n} {}\n", "x".repeat(200)))
        .collect();
    let file = folder.write("log", lines);
    let mut responder = Start::at_socket(&folder).argument("--drain=15s").start();
    let request = Request::tail(&file).set("SSE_BACKLOG", "100000");
    let mut lagging = responder.ask(&request);
    let mut among = responder.ask(&Request::tail(&file)).opened();
    for _ in 0..10 {
        among.event();
    }
    let big = format!("{}\n", "y".repeat(900_000));
    folder.append("log", &big);
    wait_for("bytes on their way", || {
        (responder.figure("bytes") > 200_000).then_some(())
    });
    let mut numbers = vec![lagging.event().data];
    responder.signal(Signal::SIGTERM);
    wait_for("a closed door", || {
        responder.try_connect().is_err().then_some(())
    });
    let said = farewell(&mut among);
    assert!(said.len() <= 2, "{} items", said.len());
    for item in farewell(&mut lagging) {
        if let Item::Event(event) = item {
            numbers.push(event.data);
        }
    }
    assert_eq!(responder.code(), 0);
    assert!(numbers.len() < 20_000);
    let responder = Responder::start(&folder);
    let mut again = responder.ask(&request.last_id(lagging.last_id()));
    while numbers.len() < 20_000 {
        numbers.push(again.event().data);
    }
    for (number, data) in numbers.iter().enumerate() {
        assert_eq!(data.split(' ').next(), Some(number.to_string().as_str()));
    }
}

#[test]
fn who_takes_nothing_does_not_keep_the_process_longer_than_the_drain() {
    let folder = Folder::in_memory();
    let file = folder.write("log", format!("{}\n", "x".repeat(500_000)).repeat(4));
    for (drain, signals) in [("1s", 1), ("1h", 2)] {
        let mut responder = Start::at_socket(&folder)
            .argument(format!("--drain={drain}"))
            .start();
        let mut stuck = responder.ask(&Request::tail(&file));
        stuck.head();
        wait_for("bytes on their way", || {
            (responder.figure("bytes") > 100_000).then_some(())
        });
        let start = Instant::now();
        responder.signal(Signal::SIGTERM);
        wait_for("a closed door", || {
            responder.try_connect().is_err().then_some(())
        });
        if signals == 2 {
            assert!(!responder.has_ended());
            responder.signal(Signal::SIGTERM);
        }
        assert_eq!(responder.code(), 0);
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{:?}",
            start.elapsed()
        );
        assert!(!folder.path("socket").exists());
    }
}

#[test]
fn a_socket_that_is_another_s_by_now_is_not_removed() {
    let folder = Folder::in_memory();
    let mut responder = Responder::start(&folder);
    fs::remove_file(folder.path("socket")).unwrap();
    let _other = UnixListener::bind(folder.path("socket")).unwrap();
    responder.signal(Signal::SIGTERM);
    assert_eq!(responder.code(), 0);
    assert!(folder.path("socket").exists());
}

#[test]
fn systemd_is_told_of_readiness_and_of_the_end() {
    let folder = Folder::in_memory();
    let socket = UnixDatagram::bind(folder.path("notify")).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let hears = || {
        let mut bytes = [0; 100];
        let count = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    };
    let start = Start::at_socket(&folder).set("NOTIFY_SOCKET", folder.path("notify"));
    let mut responder = start.spawn();
    assert_eq!(hears(), "READY=1");
    // The notification is sent when it is ready.
    responder.connect();
    responder.signal(Signal::SIGTERM);
    assert_eq!(hears(), "STOPPING=1");
    assert_eq!(responder.code(), 0);
}

#[test]
fn ten_crashes_lose_no_event_and_double_none() {
    let folder = Folder::in_memory();
    let file = folder.write("log", "");
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut dice = Rng::with_seed(seed);
    let mut lines = 0;
    let mut kept: Vec<(Vec<String>, String)> = vec![Default::default(); 30];
    for round in 0..=10 {
        let mut responder = Responder::start(&folder);
        let mut crowd = Crowd::new();
        for (_, id) in &kept {
            let request = Request::tail(&file).last_id(id);
            let mut client = responder.connect();
            client.may_break();
            client.ask(&request);
            // The first client must have connected before there is anything to read.
            let client = if round == 0 { client.opened() } else { client };
            crowd.take_in(client);
        }
        for _ in 0..dice.usize(5..40) {
            let count = dice.usize(1..30);
            let text: String = (lines..lines + count).map(|n| format!("{n}\n")).collect();
            folder.append("log", text);
            lines += count;
            crowd.pump(Duration::from_millis(dice.u64(..3)), 0);
            if dice.u8(..40) == 0 && round < 9 {
                folder.rename("log", &format!("log.2026-{round:02}{lines:08}"));
                fs::File::create(&file).unwrap();
            }
        }
        if round == 10 {
            let last = (lines - 1).to_string();
            crowd.until("the last line", DEADLINE, 0, |member| {
                member.said.last().is_some_and(|(_, data)| *data == last)
            });
        } else {
            responder.kill();
            crowd.until("the end", DEADLINE, 0, |member| member.client.is_closed);
        }
        for (member, (said, id)) in crowd.iter().zip(&mut kept) {
            said.extend(member.said.iter().map(|(_, data)| data.clone()));
            if !member.client.last_id().is_empty() {
                *id = member.client.last_id().to_owned();
            }
        }
    }
    let all: Vec<String> = (0..lines).map(|n| n.to_string()).collect();
    for (said, _) in &kept {
        assert!(*said == all, "seed {seed}: {} of {lines}", said.len());
    }
}

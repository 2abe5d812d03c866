//! Subscribers that stop reading.

use std::time::{Duration, Instant};

use super::peer::{COMPLETE, Crowd, DEADLINE, Folder, Member, Request, Responder, Start, wait_for};

#[test]
fn who_stops_reading_costs_the_others_nothing_and_loses_nothing() {
    const ALL: usize = 60;
    const STOPPED: usize = 6;
    const ROUNDS: usize = 240;
    const LINES: usize = 20;
    let folder = Folder::in_memory();
    let file = folder.write("log", "");
    let responder = Responder::start(&folder);
    // A subscriber that stops does so for longer than this test takes.
    let request = Request::tail(&file).set("SSE_SEND_TIMEOUT", "1h");
    let mut crowd = Crowd::new();
    for _ in 0..ALL {
        let place = crowd.take_in(responder.ask(&request).opened());
        crowd.member(place).client.only_count();
    }
    for place in 0..STOPPED {
        crowd.pause(place);
    }
    let filler = "x".repeat(2_500);
    let mut number = 0;
    let mut write = || {
        let lines = (0..LINES).map(|_| {
            number += 1;
            format!("{} {filler}\n", number - 1)
        });
        folder.append("log", lines.collect::<String>());
        number
    };
    // A first run, so that the memory of a burst is counted already.
    let has = |count: usize| move |member: &Member| member.client.counted() == count;
    for _ in 0..20 {
        crowd.until("the first lines", DEADLINE, 0, has(write()));
    }
    let before = responder.proc_status("VmRSS");
    for _ in 20..ROUNDS {
        crowd.until("the next lines", DEADLINE, 0, has(write()));
    }
    let grown = responder.proc_status("VmRSS").saturating_sub(before);
    eprintln!("12 MB, {STOPPED} of {ALL} stopped: {grown} kB more");
    assert!(grown < 6_000, "{grown} kB");
    for place in 0..STOPPED {
        crowd.go_on(place);
    }
    crowd.until("the rest", 3 * DEADLINE, 0, has(ROUNDS * LINES));
    wait_for("all among others", || {
        (responder.figure("catching_up") == 0).then_some(())
    });
    crowd.until("one more", DEADLINE, 0, has(write()));
    let grown = responder.proc_status("VmRSS").saturating_sub(before);
    assert!(grown < 8_000, "{grown} kB after catching up");
    assert_eq!(responder.figure("dropped"), 0);
}

#[test]
fn who_takes_nothing_is_closed_after_the_send_timeout_and_counted() {
    let folder = Folder::in_memory();
    let line = format!("{}\n", "x".repeat(999));
    let file = folder.write("log", "");
    let log = folder.path("own-log");
    let responder = Start::at_socket(&folder).set("SSE_LOG", &log).start();
    let request = Request::tail(&file);
    // One is blocked while it is live, one while it reads by itself.
    let mut live = responder
        .ask(&request.clone().set("SSE_SEND_TIMEOUT", "1s"))
        .opened();
    let mut reader = responder.ask(&request).opened();
    folder.append("log", line.repeat(2_000));
    for _ in 0..2_000 {
        reader.event();
    }
    let lagging = request
        .clone()
        .set("SSE_BACKLOG", "100000")
        .set("SSE_SEND_TIMEOUT", "1s");
    let mut lagging = responder.ask(&lagging);
    let start = Instant::now();
    wait_for("two that were dropped", || {
        (responder.figure("dropped") == 2).then_some(())
    });
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(responder.figure("subscribers"), 1);
    assert_eq!(folder.read("own-log").matches("takes nothing").count(), 2);
    for client in [&mut live, &mut lagging] {
        client.may_break();
        client.is_closed_soon();
        assert_eq!(client.end, None);
    }
    folder.append("log", "next\n");
    reader.says(&["next"]);
}

#[test]
fn who_reads_slowly_but_steadily_stays() {
    let folder = Folder::in_memory();
    let line = format!("{}\n", "x".repeat(999));
    let file = folder.write("log", line.repeat(3_000));
    let responder = Responder::start(&folder);
    let request = Request::tail(&file)
        .set("SSE_BACKLOG", "3000")
        .set("SSE_SEND_TIMEOUT", "1s");
    let mut client = responder.ask(&request);
    let start = Instant::now();
    // More at a time than a kernel waits for before it reports room.
    while start.elapsed() < Duration::from_secs(3) {
        client.read_some(65_536);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(responder.figure("dropped"), 0);
    for _ in 0..3_000 {
        client.event();
    }
    client.leave();
    assert_eq!(client.whole(), COMPLETE);
}

#[test]
fn who_reads_one_byte_at_a_time_stays() {
    let folder = Folder::in_memory();
    let line = format!("{}\n", "x".repeat(999));
    let file = folder.write("log", line.repeat(5_000));
    let responder = Responder::start(&folder);
    let request = Request::tail(&file)
        .set("SSE_BACKLOG", "5000")
        .set("SSE_SEND_TIMEOUT", "1s");
    let mut client = responder.ask(&request);
    let _silent = responder.ask(&request);
    let start = Instant::now();
    // Longer than two timeouts.
    while start.elapsed() < Duration::from_millis(2500) {
        client.read_some(1);
    }
    assert_eq!(responder.figure("dropped"), 1);
    assert_eq!(responder.figure("subscribers"), 1);
}

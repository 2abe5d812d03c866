//! The clock and the countdown.

use std::time::{Duration, Instant};

use crate::stage::{Program, Running};

fn countdown(count: &str) -> Program {
    let program = Program::nph("countdown").set("SSE_COUNT", count);
    program.set("SSE_INTERVAL", "40ms")
}

fn is_finished(program: Program) {
    let (code, head, items) = program.run();
    assert_eq!((code, items), (0, vec![]));
    let line = head.lines().next().unwrap();
    assert!(line.ends_with("204 No Content"), "{head}");
    assert!(!head.contains("Content-"), "{head}");
}

#[test]
fn a_clock_tells_the_time_it_is_and_goes_on_telling_it() {
    let mut clock = Program::nph("clock")
        .set("SSE_INTERVAL", "20ms")
        .set("TZ", "Asia/Kolkata")
        .start();
    let mut before = 0;
    for event in clock.events(5) {
        let data: serde_json::Value = serde_json::from_str(&event.data).unwrap();
        let ms = data["epoch_ms"].as_u64().unwrap();
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
        assert!(ms > before && now.abs_diff(ms) < 10_000);
        before = ms;
        assert_eq!(event.id, ms.to_string());
        assert_eq!(data["zone"], "+05:30");
        let time = data["time"].as_str().unwrap();
        assert!(time.ends_with("+05:30") && time.len() == 29, "{time}");
        assert_eq!(time[20..23], format!("{:03}", ms % 1000));
    }
}

#[test]
fn a_clock_with_a_count_ends_and_says_so() {
    let clock = || {
        Program::nph("clock")
            .set("SSE_COUNT", "3")
            .set("SSE_INTERVAL", "10ms")
    };
    let mut stream = clock().start();
    let events = stream.rest();
    assert_eq!((events.len(), stream.code()), (4, 0));
    assert_eq!(
        (events[3].name.as_str(), events[3].data.as_str()),
        ("close", "")
    );
    is_finished(clock().last_id(stream.last_id()));
    // A client that received two of three gets one more.
    let mut again = clock().last_id(&events[1].id).start();
    assert_eq!(again.rest().len(), 2);
}

#[test]
fn a_countdown_counts_to_zero_closes_and_does_not_start_again() {
    let mut stream = countdown("3").start();
    let start = Instant::now();
    stream.says(&["3", "2", "1", "0", "close: "]);
    let took = start.elapsed();
    assert!(took > Duration::from_millis(100), "{took:?}");
    assert_eq!((stream.next(), stream.code()), (None, 0));
    assert!(stream.last_id().ends_with("-end"));
    is_finished(countdown("3").last_id(stream.last_id()));
    is_finished(Program::plain("countdown").last_id(stream.last_id()));
}

#[test]
fn a_countdown_goes_on_from_any_of_its_ids_in_another_process() {
    let mut first = countdown("5").start();
    let ids: Vec<String> = first.rest().into_iter().map(|event| event.id).collect();
    let whole = ["5", "4", "3", "2", "1", "0", "close: "];
    for (seen, id) in ids.iter().enumerate().take(6) {
        countdown("5").last_id(id).start().says(&whole[seen + 1..]);
    }
}

#[test]
fn a_countdown_that_was_interrupted_gives_what_was_missed_at_once_and_the_rest_when_due() {
    let slow = || {
        Program::nph("countdown")
            .set("SSE_COUNT", "6")
            .set("SSE_INTERVAL", "300ms")
    };
    let mut stream = slow().start();
    let start = Instant::now();
    stream.says(&["6"]);
    let id = stream.last_id().to_owned();
    drop(stream);
    // The client is away for two numbers, which become due only by time.
    std::thread::sleep(Duration::from_millis(700).saturating_sub(start.elapsed()));
    let mut again = slow().last_id(&id).start();
    again.says(&["5", "4"]);
    assert!(
        start.elapsed() < Duration::from_millis(880),
        "{:?}",
        start.elapsed()
    );
    again.says(&["3"]);
    assert!(
        start.elapsed() >= Duration::from_millis(880),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_countdown_whose_count_was_changed_says_what_it_can() {
    let mut first = countdown("5").start();
    first.says(&["5"]);
    let id = first.last_id().to_owned();
    drop(first);
    // Lower than every number that was sent: this id is not of this countdown.
    let mut shorter = countdown("2").last_id(&id).start();
    shorter.says(&["gap: {\"reason\":\"unknown-id\"}", "2", "1", "0", "close: "]);
    // Higher: it counts down from there.
    let mut longer = countdown("7").last_id(&id).start();
    longer.says(&["4", "3", "2", "1", "0", "close: "]);
}

#[test]
fn ids_that_mean_nothing_start_anew_after_a_gap() {
    for (name, id, reason) in [
        ("countdown", "nonsense", "bad-id"),
        ("countdown", "5, 6", "bad-id"),
        ("countdown", "99999999999999999999-3", "bad-id"),
        ("countdown", "9999999999999999-3", "unknown-id"),
        ("countdown", "1-18446744073709551615", "unknown-id"),
        ("clock", "x", "bad-id"),
        ("clock", "1-2-3", "bad-id"),
    ] {
        let mut stream: Running = Program::nph(name).last_id(id).start();
        let gap = stream.event();
        let data = format!("{{\"reason\":\"{reason}\"}}");
        assert_eq!((gap.name.as_str(), gap.data), ("gap", data), "{name} {id}");
        // The gap's own id can be resumed, so that the gap is not repeated.
        let again = Program::nph(name).last_id(&gap.id).start().event();
        assert_eq!(again.name, "message", "{name} {id}: {again:?}");
    }
}

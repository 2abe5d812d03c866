//! What reaches the client, and when: each event once, without delay.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::servers::answer::Answer;
use crate::servers::apache::{Apache, Mpm};
use crate::support::folder::append;
use crate::support::wait::PATIENCE;

under_both!(
    each_line_arrives_when_it_is_written_and_not_later,
    each_tick_of_the_clock_arrives_when_it_is_due,
    compression_of_event_streams_elsewhere_in_the_server_does_not_hold_events_back,
    a_client_that_returns_to_a_tail_gets_what_it_missed_and_nothing_twice,
    a_countdown_closes_and_answers_204_to_who_returns,
    a_script_is_played_to_its_end,
    the_servers_own_access_log_is_followed_while_it_is_written,
);

/// More than a busy machine needs; far less than a heartbeat, which would push out a delayed
/// event.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Appends one line at a time, each after the previous one has arrived, so a delayed event
/// would never arrive.
#[track_caller]
fn write_and_await_in_lockstep(apache: &Apache, stream: &mut Answer, label: &str) {
    for number in 0..10 {
        let line = format!("{label} {number}");
        let written = Instant::now();
        append(&apache.tail_file(), &format!("{line}\n"));
        let event = stream.event();
        assert_eq!(
            (event.name.as_str(), event.data.as_str()),
            ("message", line.as_str())
        );
        let delay = event.arrived - written;
        assert!(delay < AT_ONCE, "{line:?} took {delay:?}");
    }
}

fn each_line_arrives_when_it_is_written_and_not_later(mpm: Mpm) {
    let apache = Apache::with(mpm).start();
    append(&apache.tail_file(), "from before\n");
    for program in ["nph-tail.cgi", "tail.cgi"] {
        let mut newest = apache.get(program).send();
        while newest.event().data != "from before" {}
        write_and_await_in_lockstep(&apache, &mut newest, program);

        let mut oldest = apache.get(program).http_1_0().send();
        // A first-time client gets the last ten.
        assert_eq!(oldest.data_of(10)[9], format!("{program} 9"));
        write_and_await_in_lockstep(&apache, &mut oldest, "HTTP/1.0");
        append(&apache.tail_file(), "from before\n");
    }
}

fn each_tick_of_the_clock_arrives_when_it_is_due(mpm: Mpm) {
    let apache = Apache::with(mpm).set("SSE_INTERVAL", "100ms").start();
    for program in ["nph-clock.cgi", "clock.cgi"] {
        let mut stream = apache.get(program).send();
        for _ in 0..10 {
            let event = stream.event();
            let said = event.data.split(r#""epoch_ms":"#).nth(1).and_then(|rest| {
                let digits = rest.split(|sign: char| !sign.is_ascii_digit()).next()?;
                digits.parse::<u64>().ok()
            });
            let said = Duration::from_millis(said.expect("the time is told"));
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .expect("it is past 1970");
            assert!(now < said + AT_ONCE, "{} arrived at {now:?}", event.data);
        }
    }
}

fn compression_of_event_streams_elsewhere_in_the_server_does_not_hold_events_back(mpm: Mpm) {
    let apache = Apache::with(mpm)
        .directive("AddOutputFilterByType DEFLATE text/event-stream")
        .start();
    for program in ["nph-tail.cgi", "tail.cgi"] {
        append(&apache.tail_file(), "from before\n");
        let mut stream = apache.get(program).field("Accept-Encoding", "gzip").send();
        assert_eq!(stream.head.field("Content-Encoding"), None);
        while stream.event().data != "from before" {}
        write_and_await_in_lockstep(&apache, &mut stream, program);
    }
}

fn a_client_that_returns_to_a_tail_gets_what_it_missed_and_nothing_twice(mpm: Mpm) {
    let apache = Apache::with(mpm).start();
    for program in ["nph-tail.cgi", "tail.cgi"] {
        let _ = std::fs::remove_file(apache.tail_file());
        append(&apache.tail_file(), "1\n2\n3\n");
        let mut first = apache.get(program).send();
        assert_eq!(first.data_of(3), ["1", "2", "3"]);
        let last_id = first.parser.last_id.clone();
        drop(first);

        append(&apache.tail_file(), "4\n5\n6\n");
        let mut second = apache.get(program).field("Last-Event-ID", &last_id).send();
        assert_eq!(second.data_of(3), ["4", "5", "6"]);
        append(&apache.tail_file(), "7\n");
        assert_eq!(second.data_of(1), ["7"]);

        // In a polyfill's notation.
        let query = format!("{program}?lastEventId={last_id}");
        let mut third = apache.get(&query).send();
        assert_eq!(third.data_of(4), ["4", "5", "6", "7"]);
    }
}

fn a_countdown_closes_and_answers_204_to_who_returns(mpm: Mpm) {
    let apache = Apache::with(mpm)
        .set("SSE_COUNT", "3")
        .set("SSE_INTERVAL", "50ms")
        .start();
    for program in ["nph-countdown.cgi", "countdown.cgi"] {
        let events = apache.get(program).send().events_to_end(PATIENCE);
        let told: Vec<_> = events
            .iter()
            .map(|event| (event.name.as_str(), event.data.as_str()))
            .collect();
        let expected = [
            ("message", "3"),
            ("message", "2"),
            ("message", "1"),
            ("message", "0"),
            ("close", ""),
        ];
        assert_eq!(told, expected);

        let back = apache
            .get(program)
            .field("Last-Event-ID", &events[4].id)
            .send();
        assert_eq!(back.head.status, 204);
        assert_eq!(back.head.field("Content-Type"), None);

        // A client that left after the second number gets the others, and no number twice.
        let mut back = apache
            .get(program)
            .field("Last-Event-ID", &events[1].id)
            .send();
        let rest: Vec<_> = back
            .events_to_end(PATIENCE)
            .into_iter()
            .map(|event| event.data)
            .collect();
        assert_eq!(rest, ["1", "0", ""]);
    }
}

fn a_script_is_played_to_its_end(mpm: Mpm) {
    let apache = Apache::with(mpm).start();
    std::fs::write(
        apache.path("data/flights.jsonl"),
        concat!(
            r#"{"after":"0s","event":"flightStateUpdate","data":{"flight":"I768"}}"#,
            "\n",
            r#"{"after":"200ms","event":"flightRemoval","data":"I768"}"#,
            "\n",
        ),
    )
    .expect("the data folder can be written");
    for program in ["nph-flights.cgi", "flights.cgi"] {
        let events = apache.get(program).send().events_to_end(PATIENCE);
        let names: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(names, ["flightStateUpdate", "flightRemoval", "close"]);
        assert_eq!(events[0].data, r#"{"flight":"I768"}"#);
        let between = events[1].arrived - events[0].arrived;
        assert!(
            between >= Duration::from_millis(100),
            "came together: {between:?}"
        );
    }
}

fn the_servers_own_access_log_is_followed_while_it_is_written(mpm: Mpm) {
    let apache = Apache::with(mpm)
        .directive("Define EVENTS_TAIL_OVERRIDE {root}/logs/sse-cgi-access.log")
        .directive("<Files nph-access.cgi>")
        .directive("SetEnv SSE_FILE ${EVENTS_TAIL_OVERRIDE}")
        .directive("</Files>")
        .start();
    std::fs::hard_link(
        apache.path("cgi-bin/nph-tail.cgi"),
        apache.path("cgi-bin/nph-access.cgi"),
    )
    .expect("the cgi-bin can be written");
    let mut stream = apache.get("nph-access.cgi").send();
    for number in 0..10 {
        let page = format!("/page-{number}-of-{}", std::process::id());
        let asked = Instant::now();
        let answer = apache.get_path(&page).field("Connection", "close").send();
        assert_eq!(answer.head.status, 404);
        let event = loop {
            let event = stream.event();
            if event.data.contains(&page) {
                break event;
            }
            assert!(
                event.data.contains("/mark.txt"),
                "twice, or out of order: {event:?}"
            );
        };
        assert!(
            event.data.ends_with(&format!(
                "\"GET {page} HTTP/1.1\" 404 {}",
                event.data.rsplit(' ').next().unwrap_or_default()
            )),
            "{}",
            event.data
        );
        let delay = event.arrived - asked;
        assert!(delay < AT_ONCE, "took {delay:?}");
    }
}

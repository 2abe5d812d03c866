//! HTTP/2: plain names stream. nph names, whose output Apache holds back there, send short
//! responses that lose nothing. The peer is curl.

use std::time::{Duration, Instant};

use crate::servers::apache::{Apache, Mpm};
use crate::servers::curl::get_over_http2;
use crate::support::folder::append;
use crate::support::wait::PATIENCE;

under_both!(
    a_plain_name_streams_event_by_event,
    an_nph_name_gives_every_line_once_to_a_client_that_returns,
    the_answer_to_a_finished_streams_client_is_204,
);

fn a_plain_name_streams_event_by_event(mpm: Mpm) {
    let apache = Apache::with(mpm).with_http2().start();
    append(&apache.tail_file(), "from before\n");
    let mut stream = get_over_http2(apache.port(), &apache.target("tail.cgi"), &[]);
    assert!(
        stream.head.raw.starts_with("HTTP/2 200"),
        "{}",
        stream.head.raw
    );
    assert_eq!(
        stream.head.field("content-type"),
        Some("text/event-stream; charset=utf-8")
    );
    assert_eq!(
        stream.head.field("cache-control"),
        Some("no-cache, no-transform")
    );
    assert_eq!(stream.event().data, "from before");
    for number in 0..10 {
        let written = Instant::now();
        append(&apache.tail_file(), &format!("{number}\n"));
        let event = stream.event();
        assert_eq!(event.data, number.to_string());
        let delay = event.arrived - written;
        assert!(delay < Duration::from_secs(1), "took {delay:?}");
    }
}

fn an_nph_name_gives_every_line_once_to_a_client_that_returns(mpm: Mpm) {
    const LINES: usize = 300;
    let apache = Apache::with(mpm)
        .with_http2()
        .set("SSE_HEARTBEAT", "1s")
        // Whatever is written before the first answer.
        .set("SSE_BACKLOG", "300")
        .start();
    append(&apache.tail_file(), "0\n");
    let file = apache.tail_file();
    let writer = std::thread::spawn(move || {
        for number in 1..LINES {
            append(&file, &format!("{number}\n"));
            // This does not wait for a condition: it is a file that grows while it is read.
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let deadline = Instant::now() + 3 * PATIENCE;
    let target = apache.target("nph-tail.cgi");
    let mut received = Vec::new();
    let mut answers = 0;
    let mut last_id = String::new();
    while received.len() < LINES {
        assert!(
            Instant::now() < deadline,
            "{} of {LINES} in {answers} answers",
            received.len()
        );
        let field = format!("Last-Event-ID: {last_id}");
        let fields: &[&str] = if last_id.is_empty() { &[] } else { &[&field] };
        let mut answer = get_over_http2(apache.port(), &target, fields);
        assert_eq!(answer.head.status, 200);
        for event in answer.events_to_end(PATIENCE) {
            assert_eq!(event.name, "message", "{event:?}");
            received.push(event.data);
        }
        assert!(
            answer.parser.retry.is_some_and(|retry| retry >= 1),
            "no retry"
        );
        answer.parser.last_id.clone_into(&mut last_id);
        answers += 1;
    }
    writer.join().expect("the writer does not fail");
    let expected: Vec<_> = (0..LINES).map(|number| number.to_string()).collect();
    assert_eq!(received, expected);
    assert!(answers > 1, "one answer is no proof");

    // No new event: the response ends after a heartbeat, so that no process waits for a client
    // whose departure Apache would not report.
    let field = format!("Last-Event-ID: {last_id}");
    let started = Instant::now();
    let mut answer = get_over_http2(apache.port(), &target, &[&field]);
    assert!(answer.events_to_end(PATIENCE).is_empty());
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "took {:?}",
        started.elapsed()
    );
    apache.wait_until_no_program_runs(PATIENCE);
}

fn the_answer_to_a_finished_streams_client_is_204(mpm: Mpm) {
    let apache = Apache::with(mpm)
        .with_http2()
        .set("SSE_COUNT", "2")
        .set("SSE_INTERVAL", "50ms")
        .start();
    for program in ["nph-countdown.cgi", "countdown.cgi"] {
        let target = apache.target(program);
        let mut last_id = String::new();
        let mut received = Vec::new();
        for _ in 0..10 {
            let field = format!("Last-Event-ID: {last_id}");
            let fields: &[&str] = if last_id.is_empty() { &[] } else { &[&field] };
            let mut answer = get_over_http2(apache.port(), &target, fields);
            if answer.head.status == 204 {
                break;
            }
            received.extend(answer.events_to_end(PATIENCE));
            answer.parser.last_id.clone_into(&mut last_id);
        }
        let told: Vec<_> = received
            .iter()
            .map(|event| (event.name.as_str(), event.data.as_str()))
            .collect();
        let expected = [
            ("message", "2"),
            ("message", "1"),
            ("message", "0"),
            ("close", ""),
        ];
        assert_eq!(told, expected, "{program}");
    }
}

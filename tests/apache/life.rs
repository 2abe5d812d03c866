//! Beginning and end of a program's process: it ends with its client, its maximum age or its
//! server, and only then.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::servers::apache::{Apache, Mpm};
use crate::support::folder::append;
use crate::support::wait::{PATIENCE, wait_until};

under_both!(
    a_client_that_left_is_noticed_by_the_second_heartbeat,
    a_client_that_shut_its_sending_side_still_gets_its_stream,
    a_stream_that_reached_its_age_ends_and_is_resumed,
    a_client_that_stops_reading_is_let_go,
    a_short_timeout_of_the_server_does_not_end_a_silent_stream,
    a_graceful_restart_keeps_streams_going,
    a_stop_of_the_server_leaves_no_program_behind,
    a_crash_of_the_server_leaves_no_program_behind,
);

const BOTH: [&str; 2] = ["nph-tail.cgi", "tail.cgi"];

fn a_client_that_left_is_noticed_by_the_second_heartbeat(mpm: Mpm) {
    let apache = Apache::with(mpm).set("SSE_HEARTBEAT", "1s").start();
    for program in BOTH {
        // A missing file: only heartbeats are written.
        let mut streams: Vec<_> = (0..3).map(|_| apache.get(program).send()).collect();
        for stream in &mut streams {
            stream.wait_for_comments(1, PATIENCE);
        }
        assert_eq!(apache.programs().len(), 3);
        drop(streams);
        // Two heartbeats of a second, and a second to end after SIGTERM.
        apache.wait_until_no_program_runs(Duration::from_millis(3500));
    }
}

fn a_client_that_shut_its_sending_side_still_gets_its_stream(mpm: Mpm) {
    let apache = Apache::with(mpm).set("SSE_HEARTBEAT", "1s").start();
    for program in BOTH {
        let mut stream = apache.get(program).send();
        stream.shut_sending();
        // The first comment and two heartbeats, which a program would not send if it took a
        // half-closed connection for a closed one.
        stream.wait_for_comments(3, PATIENCE);
        append(&apache.tail_file(), "still here\n");
        assert_eq!(stream.event().data, "still here");
        std::fs::remove_file(apache.tail_file()).expect("it was written above");
    }
}

fn a_stream_that_reached_its_age_ends_and_is_resumed(mpm: Mpm) {
    let apache = Apache::with(mpm).set("SSE_MAX_AGE", "1s").start();
    for program in BOTH {
        let _ = std::fs::remove_file(apache.tail_file());
        append(&apache.tail_file(), "1\n");
        let mut stream = apache.get(program).send();
        assert_eq!(stream.event().data, "1");
        assert!(stream.events_to_end(PATIENCE).is_empty());
        assert!(!stream.cut, "the last chunk is missing");
        append(&apache.tail_file(), "2\n");
        let last_id = stream.parser.last_id.clone();
        let mut stream = apache.get(program).field("Last-Event-ID", &last_id).send();
        assert_eq!(stream.event().data, "2");
    }
    apache.wait_until_no_program_runs(PATIENCE);
}

fn a_client_that_stops_reading_is_let_go(mpm: Mpm) {
    let apache = Apache::with(mpm)
        .set("SSE_SEND_TIMEOUT", "1s")
        .set("SSE_BACKLOG", "1000")
        .start();
    // More than the sockets and Apache buffer together.
    let line = "x".repeat(500_000) + "\n";
    append(&apache.tail_file(), &line.repeat(60));
    for program in BOTH {
        let stream = apache.get(program).send();
        wait_until("it has started", PATIENCE, || apache.programs().len() == 1);
        apache.wait_until_no_program_runs(PATIENCE);
        drop(stream);
    }
}

fn a_short_timeout_of_the_server_does_not_end_a_silent_stream(mpm: Mpm) {
    let apache = Apache::with(mpm)
        .directive("Timeout 1")
        .set("SSE_HEARTBEAT", "2s")
        .start();
    let mut streams = BOTH.map(|program| apache.get(program).send());
    for stream in &mut streams {
        stream.wait_for_comments(3, PATIENCE);
    }
    append(&apache.tail_file(), "a line\n");
    for stream in &mut streams {
        assert_eq!(stream.event().data, "a line");
    }
}

fn a_graceful_restart_keeps_streams_going(mpm: Mpm) {
    let apache = Apache::with(mpm).start();
    append(&apache.tail_file(), "before\n");
    let mut streams = BOTH.map(|program| apache.get(program).send());
    for stream in &mut streams {
        assert_eq!(stream.event().data, "before");
    }
    let restarts = |apache: &Apache| apache.logs().matches("resuming normal operations").count();
    wait_until("Apache has started", PATIENCE, || restarts(&apache) == 1);
    apache.signal(Signal::SIGUSR1);
    wait_until("Apache has restarted", PATIENCE, || restarts(&apache) == 2);

    for line in ["after", "and after"] {
        append(&apache.tail_file(), &format!("{line}\n"));
        for stream in &mut streams {
            assert_eq!(stream.event().data, line);
        }
    }
    for program in BOTH {
        assert_eq!(
            apache.get(program).send().data_of(3),
            ["before", "after", "and after"]
        );
    }
}

fn a_stop_of_the_server_leaves_no_program_behind(mpm: Mpm) {
    // With the default heartbeat they do not notice it by their next write.
    let mut apache = Apache::with(mpm).start();
    append(&apache.tail_file(), "a line\n");
    let mut streams: Vec<_> = BOTH.map(|program| apache.get(program).send()).into();
    for stream in &mut streams {
        stream.event();
    }
    assert_eq!(apache.programs().len(), 2);
    apache.signal(Signal::SIGTERM);
    apache.wait_until_no_program_runs(Duration::from_secs(12));
    for mut stream in streams {
        assert!(stream.events_to_end(PATIENCE).is_empty());
    }
    apache.wait_until_ended(PATIENCE);
}

fn a_crash_of_the_server_leaves_no_program_behind(mpm: Mpm) {
    let apache = Apache::with(mpm).start();
    append(&apache.tail_file(), "a line\n");
    let mut streams = BOTH.map(|program| apache.get(program).send());
    for stream in &mut streams {
        stream.event();
    }
    apache.crash();
    apache.wait_until_no_program_runs(Duration::from_secs(2));
}

//! Where settings come from: never from a client.

use crate::servers::apache::{Apache, Mpm};
use crate::support::folder::append;

under_both!(
    a_query_that_apache_turns_into_arguments_changes_nothing,
    header_fields_and_queries_set_nothing,
    a_bad_setting_is_told_to_the_log_once_and_to_the_client_not_at_all,
    only_finished_programs_can_be_asked_for,
);

const BOTH: [&str; 2] = ["nph-tail.cgi", "tail.cgi"];

fn a_query_that_apache_turns_into_arguments_changes_nothing(mpm: Mpm) {
    let apache = Apache::with(mpm).start();
    append(&apache.tail_file(), "the right file\n");
    for program in BOTH {
        for query in [
            "--file+/etc/passwd",
            "--help",
            "/etc/passwd",
            "--version",
            "-h",
        ] {
            let mut stream = apache.get(&format!("{program}?{query}")).send();
            assert_eq!(stream.head.status, 200, "{query}");
            assert_eq!(
                stream.head.field("Content-Type"),
                Some("text/event-stream; charset=utf-8")
            );
            assert_eq!(stream.event().data, "the right file", "{query}");
        }
    }
}

fn header_fields_and_queries_set_nothing(mpm: Mpm) {
    let apache = Apache::with(mpm).start();
    append(&apache.tail_file(), "the right file\n");
    for program in BOTH {
        let mut stream = apache
            .get(&format!("{program}?SSE_FILE=/etc/passwd&file=/etc/passwd"))
            .field("SSE-FILE", "/etc/passwd")
            .field("SSE_FILE", "/etc/passwd")
            .field("Proxy", "http://evil.example/")
            .send();
        assert_eq!(stream.event().data, "the right file");
    }
}

fn a_bad_setting_is_told_to_the_log_once_and_to_the_client_not_at_all(mpm: Mpm) {
    let apache = Apache::with(mpm).set("SSE_HEARTBEAT", "soon").start();
    for (asked, program) in BOTH.into_iter().enumerate() {
        let answer = apache.get(program).field("Connection", "close").send();
        assert_eq!(answer.head.status, 500);
        let told = answer.head.raw.clone() + &answer.text();
        assert!(!told.contains("SSE_") && !told.contains("soon"), "{told}");
        crate::support::wait::wait_until(
            "the log has the line",
            crate::support::wait::PATIENCE,
            || apache.logs().matches("SSE_HEARTBEAT").count() > asked,
        );
        let log = apache.logs();
        let lines: Vec<_> = log.lines().filter(|line| line.contains("soon")).collect();
        assert_eq!(lines.len(), asked + 1, "{log}");
        assert!(lines[asked].contains("SSE_HEARTBEAT"), "{}", lines[asked]);
        // The correct notation.
        assert!(lines[asked].contains("15s"), "{}", lines[asked]);
    }
}

fn only_finished_programs_can_be_asked_for(mpm: Mpm) {
    let apache = Apache::with(mpm).start();
    append(&apache.path("cgi-bin/.install.1234"), "#!/bin/sh\n");
    append(&apache.path("cgi-bin/notes.txt"), "not for the public\n");
    for name in ["", ".install.1234", "notes.txt", "../data/flights.jsonl"] {
        let answer = apache.get(name).field("Connection", "close").send();
        assert!(
            matches!(answer.head.status, 400 | 403 | 404),
            "{name}: {}",
            answer.head.raw
        );
    }
}
